/**
 * Two readers hand a blob's shared latch to each other so that it is never free, unless a pending
 * writer keeps them out. The writer must get in; no clock decides what is too late, but the number
 * of hand-overs while it waits.
 */
import { isMainThread, workerData } from 'node:worker_threads';
import type { PoolHandle } from '../../src/pool/attach.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import { check, checkEqual, runWorkers } from '../support/checks.ts';

const BLOB_BYTES = 4096;
const WRITES = 20;
const READERS = 2;
/** Hand-overs in one wait of the writer, after which it counts as starved. */
const HANDOVERS_MAX = 2000;
/** A reader lets go after this time even if the other one did not come: the writer is pending. */
const HOLD_MS = 10;

/** Shared words: turns of reader 0 and 1, hand-overs since the writer asked, writer waits, done. */
const HANDOVERS = 2;
const WAITING = 3;
const DONE = 4;

interface Task {
  readonly handle: PoolHandle;
  readonly words: Int32Array;
  readonly id: number;
  readonly reader: number;
}

async function read({ handle, words, id, reader }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  const other = 1 - reader;
  while (Atomics.load(words, DONE) === 0) {
    const seen = Atomics.load(words, other);
    const guard = pool.read(id);
    const [first, last] = [guard.bytes[0], guard.bytes[BLOB_BYTES - 1]];
    checkEqual(first, last, 'I1 nobody writes under a shared latch');
    Atomics.add(words, reader, 1);
    Atomics.notify(words, reader);
    if (Atomics.load(words, WAITING) === 1) {
      const handovers = Atomics.add(words, HANDOVERS, 1);
      check(handovers < HANDOVERS_MAX, 'D1 a writer is not starved by readers');
    }
    Atomics.wait(words, other, seen, HOLD_MS);
    guard.release();
  }
  await pool.close();
}

async function write({ handle, words, id }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  for (let n = 1; n <= WRITES; n++) {
    // Both readers are at it, and then this thread asks.
    const turns = [Atomics.load(words, 0), Atomics.load(words, 1)] as const;
    while (Atomics.load(words, 0) === turns[0]) Atomics.wait(words, 0, turns[0], 100);
    while (Atomics.load(words, 1) === turns[1]) Atomics.wait(words, 1, turns[1], 100);
    Atomics.store(words, HANDOVERS, 0);
    Atomics.store(words, WAITING, 1);
    const guard = pool.write(id);
    Atomics.store(words, WAITING, 0);
    guard.bytes.fill(n);
    guard.release();
  }
  Atomics.store(words, DONE, 1);
  await pool.close();
}

async function main(): Promise<void> {
  const options = { store: 'memory', frames: 4, blobBytes: BLOB_BYTES } as const;
  const pool = await BufferPool.open('memory', options);
  const id = pool.allocate();
  pool.writeBlob(id, new Uint8Array(BLOB_BYTES));
  const words = new Int32Array(new SharedArrayBuffer(64));
  const task: Omit<Task, 'reader'> = { handle: pool.handle, words, id };
  const readers = Array.from({ length: READERS }, (_, reader): Task => ({ ...task, reader }));
  await runWorkers(import.meta.url, [...readers, { ...task, reader: -1 }]);
  checkEqual(pool.read(id).bytes[0], WRITES, 'every write was made');
  console.log(`readers took ${words[0]} and ${words[1]} turns`);
}

const task = workerData as Task;
if (isMainThread) await main();
else if (task.reader < 0) await write(task);
else await read(task);
