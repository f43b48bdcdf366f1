/**
 * Races of trees, staged: a second thread changes the tree at the very moment between two steps of
 * the first, which waits for it.
 *
 * Argument: the play, by the step that is interrupted.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Weirpool, type WeirpoolHandle } from '../../src/index.ts';
import { Catalog } from '../../src/tree/catalog.ts';
import { clearRange } from '../../src/tree/clear.ts';
import { Cursor } from '../../src/tree/cursor.ts';
import { TreeStore } from '../../src/tree/store.ts';
import type { Tree } from '../../src/tree/tree.ts';
import { check, checkEqual } from '../support/checks.ts';

const KEYS = 60;
const VALUE_BYTES = 50;
/** Keys that a scan has had when it is interrupted. */
const FIRST = 10;

type Method = (...args: never[]) => unknown;

/** Runs `meanwhile` once, before or after the next call of a method of this one object. */
function interrupt<T extends object>(
  object: T,
  name: keyof T,
  when: 'before' | 'after',
  meanwhile: () => void,
): () => boolean {
  const method = object[name] as Method;
  let done = false;
  const replaced = (...args: never[]): unknown => {
    const isNow = !done;
    done = true;
    if (isNow && when === 'before') meanwhile();
    const result = method.apply(object, args);
    if (isNow && when === 'after') meanwhile();
    return result;
  };
  Object.defineProperty(object, name, { value: replaced, configurable: true });
  return () => done;
}

function keyOf(n: number): string {
  return `key/${String(n).padStart(4, '0')}`;
}

function bytesFor(n: number): Buffer {
  return Buffer.alloc(VALUE_BYTES, n + 1);
}

interface Stage {
  readonly store: TreeStore;
  readonly root: number;
  /** Has the other thread make its change, and waits until it has. */
  readonly meanwhile: () => void;
}

/** What the other thread does in each play. */
const changes: Record<string, (tree: Tree<string>) => void> = {
  /** Splits the leaf that has the last keys, so that key KEYS - 1 moves to another one. */
  child: splitLast,
  get: splitLast,
  has: splitLast,
  read: splitLast,
  latch: splitLast,
  visit: splitLast,
  value(tree) {
    tree.clear({ gte: keyOf(KEYS - 20) });
    // Until the leaf was built anew, and something else lies where the value lay.
    for (let n = 0; n < 200; n++) tree.put(keyOf(KEYS + 1), Buffer.alloc(30 + (n % 40), 0xee));
  },
  /** Empties the last leaf, which is merged away. */
  gone(tree) {
    tree.clear({ gte: keyOf(10) });
  },
  /** Takes out what the scan has had already: what it has not had moves to other slots. */
  scan(tree) {
    for (let n = 0; n < FIRST / 2; n++) tree.delete(keyOf(n));
  },
};

function splitLast(tree: Tree<string>): void {
  for (let n = 0; n < 60; n++) tree.put(`${keyOf(KEYS - 2)}/${n}`, bytesFor(n));
}

function valueIn(stage: Stage): string | undefined {
  return stage.store.get(stage.root, keyOf(KEYS - 1))?.toString('hex');
}

const LAST = bytesFor(KEYS - 1).toString('hex');

const plays: Record<string, (stage: Stage) => void> = {
  /** Between the look at the parent and the look at its child. */
  child(stage) {
    const wasInterrupted = interrupt(stage.store.nodes, 'childOf', 'after', stage.meanwhile);
    checkEqual(valueIn(stage), LAST, 'the key that has moved');
    check(wasInterrupted(), 'nothing was interrupted');
  },

  /** Between finding a leaf and looking into it: what has moved must not look absent. */
  get(stage) {
    const wasInterrupted = interrupt(stage.store.descent, 'tryTo', 'after', stage.meanwhile);
    checkEqual(valueIn(stage), LAST, 'the key that has moved');
    check(wasInterrupted(), 'nothing was interrupted');
  },

  has({ store, root, meanwhile }) {
    const wasInterrupted = interrupt(store.descent, 'tryTo', 'after', meanwhile);
    checkEqual(store.has(root, keyOf(KEYS - 1)), true, 'whether the key that has moved is there');
    check(wasInterrupted(), 'nothing was interrupted');
  },

  read({ store, root, meanwhile }) {
    const wasInterrupted = interrupt(store.descent, 'tryTo', 'after', meanwhile);
    const length = store.read(root, keyOf(KEYS - 1), (_bytes, start, end) => end - start);
    checkEqual(length, VALUE_BYTES, 'bytes of the value that has moved');
    check(wasInterrupted(), 'nothing was interrupted');
  },

  /** Between finding an entry and copying its value. */
  value(stage) {
    const wasInterrupted = interrupt(stage.store.nodes, 'leafGet', 'after', stage.meanwhile);
    checkEqual(valueIn(stage), undefined, 'a key that was deleted before it was read');
    check(wasInterrupted(), 'nothing was interrupted');
  },

  /** Between finding a leaf and latching it. */
  latch(stage) {
    const { store, root, meanwhile } = stage;
    const wasInterrupted = interrupt(store.descent, 'tryId', 'after', meanwhile);
    store.put(root, keyOf(KEYS - 1), bytesFor(7));
    check(wasInterrupted(), 'nothing was interrupted');
    checkEqual(valueIn(stage), bytesFor(7).toString('hex'), 'what was put');
  },

  /** Between finding a leaf to clear and latching it. */
  gone({ store, root, meanwhile }) {
    const wasInterrupted = interrupt(store.descent, 'tryId', 'after', meanwhile);
    const low = Buffer.from(keyOf(KEYS - 1));
    checkEqual(clearRange(store, root, { low, high: undefined }), 0, 'keys that were left');
    check(wasInterrupted(), 'nothing was interrupted');
    checkEqual(store.has(root, keyOf(9)), true, 'a key before the range');
  },

  /** With pins and shared latches: between the pin of a child and its latch. */
  visit({ store, root, meanwhile }) {
    const { residency } = store.core;
    store.nodes.setKey(keyOf(KEYS - 1));
    let calls = 0;
    const acquire = residency.acquireShared.bind(residency);
    Object.defineProperty(residency, 'acquireShared', {
      value: (frame: number, id: number) => {
        if (++calls === 2) meanwhile();
        return acquire(frame, id);
      },
    });
    const found = store.descent.with(root, 0, (frame) => store.nodes.leafGet(frame));
    check(calls >= 2, 'nothing was interrupted');
    checkEqual(found, 1, 'whether the key that has moved was found');
  },

  /** Before a scan collects what it has found the place of. */
  scan({ store, root, meanwhile }) {
    const bounds = { low: undefined, lowExclusive: false, high: undefined, highInclusive: false };
    const cursor = new Cursor(store, root, bounds, { what: 1, reverse: false });
    const seen = new Set<string>();
    let batch = cursor.next(FIRST);
    const wasInterrupted = interrupt(store.nodes, 'collect', 'before', meanwhile);
    for (; batch !== undefined; batch = cursor.next()) {
      for (let index = 0; index < batch.count; index++) {
        const at = batch.places[index * 3] as number;
        const key = batch.bytes.toString('utf8', at, batch.places[index * 3 + 1]);
        check(!seen.has(key), `${key} came twice`);
        seen.add(key);
      }
    }
    check(wasInterrupted(), 'nothing was interrupted');
    for (let n = 0; n < KEYS; n++) check(seen.has(keyOf(n)), `${keyOf(n)} was skipped`);
  },
};

const TEXT_KEYS = { key: 'utf8' } as const;
const WAITING = 0;
const TOLD = 1;
const DONE = 2;

interface Job {
  readonly handle: WeirpoolHandle;
  readonly play: string;
  readonly state: Int32Array;
}

async function runPlay(name: string): Promise<void> {
  const play = plays[name];
  if (play === undefined) throw new TypeError(`no play ${name}`);
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-stage-'));
  try {
    const db = await Weirpool.open(directory, {
      blobBytes: 4096,
      frames: 64,
      log: { ringBytes: 2 ** 16, segmentBytes: 2 ** 16, bytesMax: 2 ** 20 },
    });
    const tree = db.tree('t', TEXT_KEYS);
    for (let n = 0; n < KEYS; n++) tree.put(keyOf(n), bytesFor(n));
    const state = new Int32Array(new SharedArrayBuffer(4));
    const job: Job = { handle: db.handle, play: name, state };
    const worker = new Worker(new URL(import.meta.url), { workerData: job });
    const ended = once(worker, 'exit');
    await once(worker, 'message');
    const { core } = db.pool;
    const store = new TreeStore(core, core.log as NonNullable<typeof core.log>);
    const meanwhile = (): void => {
      Atomics.store(state, 0, TOLD);
      Atomics.notify(state, 0);
      Atomics.wait(state, 0, TOLD);
    };
    play({ store, root: new Catalog(store).open('t'), meanwhile });
    await ended;
    await db.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function change({ handle, play, state }: Job): Promise<void> {
  const db = await Weirpool.attach(handle);
  const tree = db.tree('t', TEXT_KEYS);
  parentPort?.postMessage('ready');
  Atomics.wait(state, 0, WAITING);
  try {
    (changes[play] as (tree: Tree<string>) => void)(tree);
  } finally {
    Atomics.store(state, 0, DONE);
    Atomics.notify(state, 0);
  }
  await db.close();
}

if (isMainThread) await runPlay(process.argv[2] ?? '');
else await change(workerData as Job);
