/** Two threads that read and write different blobs never wait for each other: nobody ever parks. */
import { isMainThread, workerData } from 'node:worker_threads';
import type { PoolHandle } from '../../src/pool/attach.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import { Barrier, checkEqual, runWorkers } from '../support/checks.ts';

const BLOB_BYTES = 4096;
const ROUNDS = 20_000;
const THREADS = 2;

interface Task {
  readonly handle: PoolHandle;
  readonly id: number;
  readonly barrier: SharedArrayBuffer;
}

async function work({ handle, id, barrier }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  const pin = pool.pin(id);
  new Barrier(barrier, THREADS).meet();
  for (let round = 1; round <= ROUNDS; round++) {
    const writer = pool.write(id);
    writer.u32[0] = round;
    writer.release();
    const reader = pool.read(id);
    checkEqual(reader.u32[0], round, 'I1 the own write');
    reader.release();
    checkEqual(
      pool.optimistic(id, ({ u32 }) => u32[0]),
      round,
      'I5 the own write',
    );
  }
  pin.release();
  await pool.close();
}

async function main(): Promise<void> {
  const options = { store: 'memory', frames: 4, blobBytes: BLOB_BYTES } as const;
  const pool = await BufferPool.open('memory', options);
  const barrier = Barrier.shared();
  const tasks = Array.from({ length: THREADS }, (): Task => {
    const id = pool.allocate();
    pool.writeBlob(id, new Uint8Array(BLOB_BYTES));
    return { handle: pool.handle, id, barrier };
  });
  await runWorkers(import.meta.url, tasks);
  const { parks, restarts, fallbacks } = pool.stats();
  checkEqual(parks, 0, 'D1 threads with different blobs do not wait for each other');
  checkEqual(restarts + fallbacks, 0, 'I5 nor do their optimistic reads start again');
  await pool.close();
}

if (isMainThread) await main();
else await work(workerData as Task);
