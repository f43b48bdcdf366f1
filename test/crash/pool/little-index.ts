/**
 * A little index over a pool, as a user would write one: a root that names leaves, leaves with
 * sorted entries, and a counter of a second owner. Its replay is logical and does the same changes
 * with the same code.
 *
 *   root   words 1: stamp, 2: number of leaves, from 8 on: lowest key and id of each leaf
 *   leaf   words 1: stamp, 2: number of entries, from 8 on: key and value of each
 *
 * No change is idempotent: the stamp of a blob counts its changes, and fills the blob, so that a
 * torn image shows. The last words of a blob are its scratch, which changes without a record.
 */
import type { Op } from '../../../src/txn/op.ts';
import type { OpBlob } from '../../../src/txn/op-blob.ts';

/** Two blocks of the disk, so that an image can be torn. */
export const BLOB_BYTES = 8192;
export const SCRATCH_BYTES = 32;
export const INDEX = 1;
export const COUNTER = 2;

const STAMP = 1;
const COUNT = 2;
const FIRST = 8;
const FILL_FROM = 64;
const FILL_TO = (BLOB_BYTES - SCRATCH_BYTES) / 4;
export const LEAF_ENTRIES_MAX = 6;
export const LEAVES_MAX = 14;

export const INIT = 1;
export const PUT = 2;
export const SPLIT = 3;
export const REMOVE = 4;
export const DROP = 5;
export const MOVE = 6;
export const REROOT = 7;
export const COUNT_UP = 8;
export const COUNT_BEGIN = 9;
export const COUNT_END = 10;

/** What a change has in its record: words in the payload, or nothing but ids. */
export interface Intent {
  readonly payload: Uint8Array;
  /** Of a record without a payload: how many blobs it creates, and which it deletes. */
  readonly creates: number;
  readonly deletes: readonly number[];
}

/** What an op has acquired. */
export interface Touched {
  readonly blobs: Set<OpBlob>;
  readonly created: number[];
  readonly deleted: number[];
  readonly roots: Map<number, number>;
}

export function pairs(words: Uint32Array): [number, number][] {
  return Array.from({ length: words[COUNT] as number }, (_, n) => [
    words[FIRST + 2 * n] as number,
    words[FIRST + 2 * n + 1] as number,
  ]);
}

function setPairs(words: Uint32Array, entries: readonly (readonly [number, number])[]): void {
  words[COUNT] = entries.length;
  entries.forEach(([key, value], n) => {
    words[FIRST + 2 * n] = key;
    words[FIRST + 2 * n + 1] = value;
  });
}

/** Position of the leaf that a key belongs to. */
export function leafAt(leaves: readonly (readonly [number, number])[], key: number): number {
  return Math.max(
    0,
    leaves.findLastIndex(([lowest]) => lowest <= key),
  );
}

class Changing {
  readonly touched: Touched = {
    blobs: new Set(),
    created: [],
    deleted: [],
    roots: new Map(),
  };
  readonly #op: Op;
  readonly #recordBytes: number;

  constructor(op: Op, recordBytes: number) {
    this.#op = op;
    this.#recordBytes = recordBytes;
  }

  peek(id: number): [number, number][] {
    return pairs(this.#op.read(id).u32);
  }

  write(id: number): OpBlob {
    const blob = this.#op.write(id);
    this.touched.blobs.add(blob);
    return blob;
  }

  create(): OpBlob {
    const blob = this.#op.create();
    this.touched.blobs.add(blob);
    this.touched.created.push(blob.id);
    return blob;
  }

  delete(id: number): void {
    if (!this.#op.delete(id)) throw new Error(`blob ${id} is missing`);
    for (const blob of this.touched.blobs) if (blob.id === id) this.touched.blobs.delete(blob);
    this.touched.deleted.push(id);
  }

  setRoot(owner: number, id: number): void {
    this.#op.setRoot(owner, id);
    this.touched.roots.set(owner, id);
  }

  seal(): void {
    this.#op.seal(this.#recordBytes);
  }
}

function put(leaf: OpBlob, key: number, value: number): void {
  const entries = pairs(leaf.u32).filter(([there]) => there !== key);
  setPairs(
    leaf.u32,
    [...entries, [key, value] as const].sort(([a], [b]) => a - b),
  );
}

function split(c: Changing, root: number, key: number, value: number): void {
  const top = c.write(root);
  const leaves = pairs(top.u32);
  const at = leafAt(leaves, key);
  const left = c.write(leaves[at]?.[1] as number);
  const right = c.create();
  c.seal();
  const entries = pairs(left.u32);
  const upper = entries.splice(entries.length / 2);
  setPairs(left.u32, entries);
  setPairs(right.u32, upper);
  const lowest = upper[0]?.[0] as number;
  setPairs(top.u32, leaves.toSpliced(at + 1, 0, [lowest, right.id]));
  put(key < lowest ? left : right, key, value);
}

function drop(c: Changing, root: number, key: number): void {
  const top = c.write(root);
  const leaves = pairs(top.u32);
  const at = leafAt(leaves, key);
  c.delete(leaves[at]?.[1] as number);
  c.seal();
  const left = leaves.toSpliced(at, 1);
  (left[0] as [number, number])[0] = 0;
  setPairs(top.u32, left);
}

function move(c: Changing, root: number, from: number, to: number, amount: number): void {
  const leaves = c.peek(root);
  const leafOf = (key: number): OpBlob => c.write(leaves[leafAt(leaves, key)]?.[1] as number);
  const [a, b] = [leafOf(from), leafOf(to)];
  c.seal();
  const add = (leaf: OpBlob, key: number, delta: number): void => {
    const change = ([there, value]: [number, number]): [number, number] => {
      return [there, there === key ? (value + delta) >>> 0 : value];
    };
    setPairs(leaf.u32, pairs(leaf.u32).map(change));
  };
  add(a, from, -amount);
  add(b, to, amount);
}

function reroot(c: Changing, root: number): void {
  const leaves = pairs(c.write(root).u32);
  const top = c.create();
  c.delete(root);
  c.setRoot(INDEX, top.id);
  c.seal();
  setPairs(top.u32, leaves);
}

function withLeaf(c: Changing, root: number, key: number, change: (leaf: OpBlob) => void): void {
  const leaves = c.peek(root);
  const leaf = c.write(leaves[leafAt(leaves, key)]?.[1] as number);
  c.seal();
  change(leaf);
}

const CHANGES: Readonly<Record<number, (c: Changing, args: readonly number[]) => void>> = {
  [INIT]: (c) => {
    const [top, leaf] = [c.create(), c.create()];
    c.setRoot(INDEX, top.id);
    c.seal();
    setPairs(top.u32, [[0, leaf.id]]);
  },
  [PUT]: (c, [root = 0, key = 0, value = 0]) =>
    withLeaf(c, root, key, (leaf) => put(leaf, key, value)),
  [SPLIT]: (c, [root = 0, key = 0, value = 0]) => split(c, root, key, value),
  [REMOVE]: (c, [root = 0, key = 0]) =>
    withLeaf(c, root, key, ({ u32 }) =>
      setPairs(
        u32,
        pairs(u32).filter(([there]) => there !== key),
      ),
    ),
  [DROP]: (c, [root = 0, key = 0]) => drop(c, root, key),
  [MOVE]: (c, [root = 0, from = 0, to = 0, amount = 0]) => move(c, root, from, to, amount),
  [REROOT]: (c, [root = 0]) => reroot(c, root),
  [COUNT_UP]: (c, [blob = 0]) => {
    c.write(blob);
    c.seal();
  },
  [COUNT_BEGIN]: (c) => {
    const { id } = c.create();
    c.setRoot(COUNTER, id);
    c.seal();
  },
  [COUNT_END]: (c, [blob = 0]) => {
    c.delete(blob);
    c.setRoot(COUNTER, 0);
    c.seal();
  },
};

/** Acquires, seals and changes; the caller commits. */
export function applyIntent(op: Op, { payload, creates, deletes }: Intent): Touched {
  const c = new Changing(op, payload.length);
  if (payload.length === 0) {
    for (let n = 0; n < creates; n++) c.create();
    for (const id of deletes) c.delete(id);
    c.seal();
  } else {
    const words = new Uint32Array(payload.slice(0, 20).buffer);
    (CHANGES[words[0] as number] as (typeof CHANGES)[number])(c, [...words.subarray(1)]);
  }
  for (const { u32, id } of c.touched.blobs) {
    const stamp = ((u32[STAMP] as number) + 1) >>> 0;
    u32[STAMP] = stamp;
    u32.fill(Math.imul(stamp ^ (id << 8), 0x9e3779b1), FILL_FROM, FILL_TO);
  }
  return c.touched;
}

/** The payload of a change: its words, and bytes that only make it longer. */
export function payloadOf(words: readonly number[], bytes = 0): Uint8Array {
  const payload = new Uint8Array(Math.max(20, bytes));
  new Uint32Array(payload.buffer, 0, 5).set(words);
  payload.fill(words.length, 20);
  return payload;
}
