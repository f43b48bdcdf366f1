/**
 * Four workers count in one blob, under exclusive latches, and the sum is right and durable.
 *
 *   node examples/shared-counter.mjs
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { BufferPool } from 'weirpool';

const WORKERS = 4;
const STEPS = 100_000;

async function count() {
  const pool = await BufferPool.attach(workerData.pool);
  for (let step = 0; step < STEPS; step++) {
    const guard = pool.write(workerData.id);
    guard.u32[0]++;
    guard.release();
  }
  await pool.close();
}

async function main() {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-example-'));
  let pool = await BufferPool.open(directory, { frames: 16 });
  const id = pool.allocate();
  pool.writeBlob(id, new Uint8Array(pool.blobBytes));
  const ended = Array.from({ length: WORKERS }, () => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { pool: pool.handle, id } });
    return new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
  });
  await Promise.all(ended);
  await pool.close(); // writes what is dirty

  pool = await BufferPool.open(directory, { frames: 16 });
  const sum = pool.optimistic(id, (frame) => frame.u32[0]);
  await pool.close();
  rmSync(directory, { recursive: true });
  console.log(`${WORKERS} workers counted to ${sum}`);
  if (sum !== WORKERS * STEPS) process.exitCode = 1;
}

await (isMainThread ? main() : count());
