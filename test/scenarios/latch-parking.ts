/**
 * Four threads, more than there may be cores, want one exclusive latch whose holder sleeps: the
 * others must park instead of burning the cores, and all must get their turns.
 */
import { isMainThread, workerData } from 'node:worker_threads';
import type { PoolHandle } from '../../src/pool/attach.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import { Barrier, check, checkEqual, runWorkers, sleepSync } from '../support/checks.ts';

const BLOB_BYTES = 4096;
const THREADS = 4;
const TURNS = 40;

interface Task {
  readonly handle: PoolHandle;
  readonly id: number;
  readonly barrier: SharedArrayBuffer;
}

async function work({ handle, id, barrier }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  new Barrier(barrier, THREADS).meet();
  for (let turn = 0; turn < TURNS; turn++) {
    const guard = pool.write(id);
    const seen = guard.u32[0] as number;
    sleepSync(1);
    checkEqual(guard.u32[0], seen, 'I1 the exclusive latch excludes');
    guard.u32[0] = seen + 1;
    guard.release();
  }
  await pool.close();
}

async function main(): Promise<void> {
  const options = { store: 'memory', frames: 4, blobBytes: BLOB_BYTES } as const;
  const pool = await BufferPool.open('memory', options);
  const id = pool.allocate();
  pool.writeBlob(id, new Uint8Array(BLOB_BYTES));
  const task: Task = { handle: pool.handle, id, barrier: Barrier.shared() };
  await runWorkers(import.meta.url, new Array<Task>(THREADS).fill(task));
  checkEqual(pool.read(id).u32[0], THREADS * TURNS, 'I1 every turn counts');
  const { parks } = pool.stats();
  check(parks > THREADS, `D1 waiting threads park: ${parks} parks`);
  console.log(`${parks} parks`);
}

if (isMainThread) await main();
else await work(workerData as Task);
