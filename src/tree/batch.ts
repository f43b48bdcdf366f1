/**
 * Changes of many keys at once, the fast way: one record, and one visit to each leaf.
 *
 * Owns:        the thread's batch area: the record, its entries in the order of their keys.
 * Invariants:  D1   leaves are latched in the order of their keys, and all before the seal;
 *              R1   the record has no plan: a leaf without room is split before, by a change of its
 *                   own; a replay goes the same way, so that nodes are left with the same garbage,
 *                   which decides where later puts split.
 * Threads:     one object for each thread.
 *
 * What it cannot do is done the general way, see change.ts: records longer than the batch area, and
 * values that lie, or are to lie, in blobs of their own.
 */
import { Buffer } from 'node:buffer';
import {
  NODE_FULL,
  OPERATION_DELETE,
  OPERATION_PUT,
  RE_KEY,
  RE_KEY_BYTES,
  RE_OPERATION,
  RE_VALUE_BYTES,
  RUN_GENERAL,
} from '../generated/layout.ts';
import type { BlobId } from '../store/contract.ts';
import type { Op } from '../txn/op.ts';
import type { ChangeOptions, Transactions } from '../txn/transactions.ts';
import { type AskedEntry, type Guard, inlineBytesMax, SLACK_SHARE } from './change.ts';
import { UTF8_BYTES_MAX } from './codec.ts';
import { nodeCorrupt } from './descent.ts';
import { type NodeAccess, RECORD_HEADER_BYTES } from './node-access.ts';
import { FLAG_RUNS, RECORD_CHANGE, TREE_RECORD_VERSION } from './record.ts';

export interface BatchHost {
  readonly nodes: NodeAccess;
  /** Latches the leaf of the search key exclusively: its frame. */
  latchLeaf(op: Op, tree: BlobId, holdsNothing: boolean): number;
  /** Splits the leaf of a key, by a change of its own. */
  splitLeaf(tree: BlobId, key: Uint8Array): void;
  /** Whether a leaf has so few entries left that a neighbour should be looked at. */
  isSparse(frame: number): boolean;
  /** Whether the guard lets the change be made; the search key is the guard's. */
  admits(guard: Guard, frame: number): boolean;
}

/** Entries of one leaf. */
interface Run {
  readonly frame: number;
  readonly from: number;
  readonly end: number;
  readonly need: number;
}

/** Some key of a leaf that may be merged with a neighbour now. */
export interface SparsePlace {
  readonly tree: BlobId;
  readonly key: Uint8Array;
}

/** Splits after which a batch goes the general way: twice what it can need. */
const SPLITS_PER_ENTRY = 2;

/** What keeps a batch from being done. */
interface Lack {
  readonly tree: BlobId;
  /** Where the leaf is to be split; undefined: only the general way helps. */
  readonly key: Uint8Array | undefined;
}

/** Whether a key and a value take at most so many bytes. */
function isWithin(bytes: number, key: Uint8Array | string, value: Uint8Array | string): boolean {
  // What is no key has no length, and is refused when it is written.
  if (!((key.length + value.length) * UTF8_BYTES_MAX > bytes)) return true;
  return Buffer.byteLength(key) + Buffer.byteLength(value) <= bytes;
}

export class Batch {
  readonly #host: BatchHost;
  readonly #nodes: NodeAccess;
  readonly #transactions: Transactions;
  readonly #inlineMax: number;
  readonly #slack: number;
  readonly #change: (op: Op) => number;
  #count = 0;
  #bytes = 0;
  #lack: Lack | undefined;
  #guard: Guard | undefined;
  /** Leaves that the last batch has left sparse. */
  sparse: SparsePlace[] = [];

  constructor(host: BatchHost, transactions: Transactions) {
    this.#host = host;
    this.#nodes = host.nodes;
    this.#transactions = transactions;
    this.#inlineMax = inlineBytesMax(host.nodes);
    this.#slack = host.nodes.blobBytes * SLACK_SHARE;
    this.#change = (op) => this.#attempt(op);
  }

  /**
   * Makes the entries: the seq; 0, and nothing done, when that takes the general way, or the guard
   * does not hold. The guard's entry is the only one of its tree.
   */
  run(entries: readonly AskedEntry[], options: ChangeOptions, guard?: Guard): number {
    this.sparse = [];
    if (!this.#encode(entries)) return 0;
    this.#guard = guard;
    this.#nodes.sortBatch(this.#count, this.#bytes);
    // Each split makes room for an entry, unless others take it, or the leaf is none that splits help.
    for (let splits = 0; splits <= SPLITS_PER_ENTRY * this.#count; splits++) {
      this.#lack = undefined;
      const seq = this.#transactions.change(this.#change, options);
      const { key, tree = 0 } = (this.#lack ?? {}) as Partial<Lack>;
      if (seq !== 0 || key === undefined) return seq;
      this.#host.splitLeaf(tree, key);
    }
    return 0;
  }

  /** Makes the record in the batch area: false if it does not fit, or a value would overflow. */
  #encode(entries: readonly AskedEntry[]): boolean {
    const nodes = this.#nodes;
    const { recordBytes: bytes, recordView: view, batchAt } = nodes;
    const end = batchAt + nodes.batchBytesMax;
    let at = batchAt + RECORD_HEADER_BYTES;
    for (const { tree, key, value } of entries) {
      if (!isWithin(end - at - RE_KEY, key, value ?? '')) return false;
      const keyBytes = nodes.writeKey(key, at + RE_KEY);
      const valueBytes = value === undefined ? 0 : nodes.write(value, at + RE_KEY + keyBytes);
      if (keyBytes + valueBytes > this.#inlineMax) return false;
      view.setFloat64(at, tree, true);
      bytes[at + RE_OPERATION] = value === undefined ? OPERATION_DELETE : OPERATION_PUT;
      bytes[at + RE_OPERATION + 1] = 0;
      view.setUint16(at + RE_KEY_BYTES, keyBytes, true);
      view.setUint32(at + RE_VALUE_BYTES, valueBytes, true);
      at += RE_KEY + keyBytes + valueBytes;
    }
    view.setUint32(batchAt, TREE_RECORD_VERSION | (RECORD_CHANGE << 8) | (FLAG_RUNS << 16), true);
    view.setUint32(batchAt + 4, entries.length, true);
    this.#count = entries.length;
    this.#bytes = at - batchAt;
    return true;
  }

  /** Does the record of a batch again; the caller commits. */
  replay(payload: Uint8Array, op: Op): void {
    const nodes = this.#nodes;
    nodes.recordBytes.set(payload, nodes.batchAt);
    this.#count = nodes.recordView.getUint32(nodes.batchAt + 4, true);
    this.#bytes = payload.length;
    nodes.sortBatch(this.#count, this.#bytes);
    const runs = this.#acquire(op, true) as Run[];
    op.seal();
    this.#apply(runs);
  }

  /** Latches all leaves; undefined when one lacks room, which a replay does not ask. */
  #acquire(op: Op, isReplay: boolean): Run[] | undefined {
    const nodes = this.#nodes;
    const runs: Run[] = [];
    for (let from = 0; from < this.#count; ) {
      const tree = nodes.useEntry(from);
      const frame = this.#host.latchLeaf(op, tree, from === 0);
      const guard = isReplay ? undefined : this.#guard;
      if (guard?.tree === tree && !this.#host.admits(guard, frame)) return undefined;
      const end = nodes.runEnd(frame, from);
      if (end < 0) throw nodeCorrupt(tree, tree);
      if (isReplay) {
        if (nodes.runNeed(frame, from, end) !== 0) throw nodeCorrupt(tree, tree);
      } else if (!this.#hasRoom(tree, frame, from, end)) return undefined;
      runs.push({ frame, from, end, need: nodes.need });
      from = end;
    }
    return runs;
  }

  #apply(runs: readonly Run[]): void {
    const nodes = this.#nodes;
    this.sparse = [];
    for (const { frame, from, end, need } of runs) {
      const before = nodes.countOf(frame);
      let done = nodes.runApply(frame, from, end, need);
      if (done === NODE_FULL && nodes.compact(frame) === 0) {
        done = nodes.runApply(frame, from, end, need);
      }
      if (done !== 0) throw nodeCorrupt(0, 0);
      if (nodes.countOf(frame) < before && this.#host.isSparse(frame)) {
        this.sparse.push({ tree: nodes.useEntry(from), key: nodes.copyKey() });
      }
    }
  }

  /** The seq; 0, and nothing is done, when something is lacking. */
  #attempt(op: Op): number {
    const runs = this.#acquire(op, false);
    if (runs === undefined) return 0;
    op.seal(this.#bytes);
    this.#guard?.sealed();
    this.#apply(runs);
    const { recordBytes, batchAt } = this.#nodes;
    return op.commit(recordBytes.subarray(batchAt, batchAt + this.#bytes));
  }

  /** Whether the run fits its leaf, perhaps after a rebuild that is worth it; else what is lacking. */
  #hasRoom(tree: BlobId, frame: number, from: number, end: number): boolean {
    const nodes = this.#nodes;
    const done = nodes.runNeed(frame, from, end);
    if (done < 0) throw nodeCorrupt(tree, tree);
    if (done === RUN_GENERAL) {
      this.#lack = { tree, key: undefined };
      return false;
    }
    const { need, exceeding } = nodes;
    if (need <= nodes.gapOf(frame)) return true;
    if (need + this.#slack <= nodes.roomOf(frame)) return true;
    // What fits may stay in the lower part: leaves that are filled in order become full.
    nodes.useEntry(Math.min(exceeding, end - 1));
    const key = nodes.countOf(frame) < 2 ? undefined : nodes.copyKey();
    this.#lack = { tree, key };
    return false;
  }
}
