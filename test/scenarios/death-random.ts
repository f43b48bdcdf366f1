/**
 * Workers that pin and read as fast as they can are terminated at random moments, again and again.
 * With `hits` all blobs are in frames; with `misses` every other look loads and evicts.
 */
import { isMainThread, workerData } from 'node:worker_threads';
import type { PoolHandle } from '../../src/pool/attach.ts';
import type { Pin } from '../../src/pool/guards.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import { checkEqual, violation } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';
import {
  BLOB_BYTES,
  blobValue,
  checkNothingHeld,
  type Ending,
  pause,
  Signals,
  startMortal,
  writeBlobs,
} from './death-support.ts';

const FRAMES = 8;
const ROUNDS = 8;
const WORKERS = 4;
const RUNNING = 0;

interface Task {
  readonly mode: string;
  readonly handle: PoolHandle;
  readonly words: Int32Array;
  readonly ids: readonly number[];
  readonly seed: number;
}

async function hammer({ mode, handle, words, ids, seed }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  const random = new Random(seed);
  new Signals(words).raise(RUNNING);
  try {
    for (;;) look(pool, mode, ids, random);
  } catch (error) {
    const { code } = error as { readonly code?: string };
    if (code !== 'POISONED') violation(`a thread that hammers the pool: ${String(error)}`);
  }
}

function look(pool: BufferPool, mode: string, ids: readonly number[], random: Random): void {
  const id = random.pick(ids);
  const kind = random.int(5);
  if (kind === 0) pool.pin(id).release();
  else if (kind === 1) checkEqual(blobValue(pool, id), id, 'I1 bytes of a blob');
  else if (kind === 2) optimistic(pool, id);
  else if (kind === 3) several(pool, id, random.pick(ids));
  else if (mode === 'misses') pool.evict(id);
}

function optimistic(pool: BufferPool, id: number): void {
  const value = pool.optimistic(id, ({ bytes }) => bytes[5]);
  checkEqual(value, id, 'I5 what an optimistic look saw');
}

function several(pool: BufferPool, id: number, other: number): void {
  const pins: Pin[] = [pool.pin(id), pool.pin(id)];
  if (other !== id) pins.push(pool.pin(other));
  const guard = (pins[0] as Pin).read();
  checkEqual(guard.bytes[9], id, 'I1 bytes under a latch');
  guard.release();
  for (const pin of pins) pin.release();
}

interface Opened {
  readonly pool: BufferPool;
  readonly ids: readonly number[];
}

async function round(mode: string, { pool, ids }: Opened, random: Random): Promise<void> {
  const signals = new Signals();
  const workers: Ending[] = Array.from({ length: WORKERS }, () => {
    const seed = random.uint32();
    const task: Task = { mode, handle: pool.handle, words: signals.words, ids, seed };
    return startMortal(import.meta.url, task);
  });
  try {
    while (Atomics.load(signals.words, RUNNING) < WORKERS) await pause(1);
    for (const { worker } of random.shuffled(workers)) {
      await pause(random.int(6));
      void worker.terminate();
      // The others go on, and so does this thread, whatever the dead one held.
      const id = random.pick(ids);
      checkEqual(blobValue(pool, id), id, 'I1 bytes of a blob beside dying threads');
    }
  } finally {
    await Promise.all(workers.map(({ worker }) => worker.terminate()));
    await Promise.all(workers.map(({ gone }) => gone));
  }
  checkNothingHeld(pool);
  checkEqual(pool.stats().threads, 1, 'G1 threads that are attached');
  // Each blob can be latched by everybody, and goes when it is asked to.
  for (const id of ids) pool.read(id).release();
  for (const id of ids) pool.evict(id);
  checkEqual(pool.stats().free, FRAMES, 'I4 no frame was lost');
}

async function open(mode: string): Promise<Opened> {
  const options = { store: 'memory', frames: FRAMES, blobBytes: BLOB_BYTES } as const;
  const pool = await BufferPool.open('memory', options);
  return { pool, ids: writeBlobs(pool, mode === 'hits' ? FRAMES : FRAMES * 2) };
}

/** A thread that ends inside a lock of the pool stops it: allowed where there are locks to take. */
function isDeathInLock(error: unknown): boolean {
  const { code, cause } = error as { readonly code?: string; readonly cause?: unknown };
  return code === 'POISONED' && /held a lock/.test(String(cause));
}

async function main(mode: string): Promise<void> {
  const random = new Random(testSeed());
  let poisons = 0;
  let opened = await open(mode);
  for (let n = 0; n < ROUNDS; n++) {
    try {
      if (mode === 'hits') for (const id of opened.ids) opened.pool.read(id).release();
      await round(mode, opened, random);
    } catch (error) {
      if (mode === 'hits' || !isDeathInLock(error)) throw error;
      poisons++;
      await opened.pool.close();
      opened = await open(mode);
    }
  }
  await opened.pool.close();
  console.log(`${ROUNDS * WORKERS} terminated, ${poisons} times poisoned`);
}

if (isMainThread) void main(process.argv[2] ?? 'hits');
else void hammer(workerData as Task);
