/**
 * Entry of the workers of an index: each attaches to the store, and reads and writes by itself.
 *
 * Owns:        this thread's place in the pool, its tally.
 * Threads:     as many as were asked for; they share the queue and the counters.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { toWire, Weirpool, type WeirpoolHandle, type WireError } from '../../index.ts';
import { ContentHasher } from './content.ts';
import { type Counters, countersOf } from './counters.ts';
import {
  emptyTally,
  type IndexerParts,
  indexDirectory,
  type Problem,
  type Tally,
} from './directory.ts';
import { DirectoryQueue, type QueueMemory } from './queue.ts';

export interface WorkerData {
  readonly db: WeirpoolHandle;
  readonly tree: string;
  /** Absolute; a byte string. */
  readonly root: string;
  readonly keyBytesMax: number;
  readonly store: { readonly dev: number; readonly ino: number };
  /** Algorithm, undefined for no hashes. */
  readonly hash: string | undefined;
  readonly queue: QueueMemory;
  readonly counters: SharedArrayBuffer;
  /** This worker's place in the counters. */
  readonly place: number;
}

/** What a worker tells: problems as they come, in the end its tally, or why it could not go on. */
export type WorkerMessage =
  | { readonly type: 'problem'; readonly problem: Problem }
  | { readonly type: 'tally'; readonly tally: Tally; readonly hashedBytes: number }
  | { readonly type: 'failure'; readonly error: WireError };

function send(message: WorkerMessage): void {
  parentPort?.postMessage(message);
}

function run(db: Weirpool, data: WorkerData, queue: DirectoryQueue): void {
  const { root, keyBytesMax, store } = data;
  const counters: Counters = countersOf(data.counters, data.place);
  const hasher = data.hash === undefined ? undefined : new ContentHasher(data.hash);
  const tally = emptyTally();
  const parts: IndexerParts = {
    tree: db.tree(data.tree),
    root,
    keyBytesMax,
    store,
    hasher,
    tally,
    found: (directories) => queue.add(directories),
    report: (problem) => send({ type: 'problem', problem }),
    stepped: () => counters.set(tally, hasher?.bytes ?? 0),
    isStopped: () => queue.isStopped,
  };
  for (let next = queue.next(); next !== undefined; next = queue.next()) {
    indexDirectory(parts, next);
    queue.done();
    counters.set(tally, hasher?.bytes ?? 0);
  }
  send({ type: 'tally', tally, hashedBytes: hasher?.bytes ?? 0 });
}

const data = workerData as WorkerData;
const queue = new DirectoryQueue(data.queue);
try {
  const db = await Weirpool.attach(data.db);
  try {
    run(db, data, queue);
  } finally {
    await db.close();
  }
} catch (error) {
  // The others wait for directories that this one will not give.
  queue.stop();
  send({ type: 'failure', error: toWire(error) });
}
