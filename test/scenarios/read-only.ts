/**
 * A worker reads through a pool that was opened for reading only: blobs of the store, what the log
 * has changed, and, while all other frames are pinned, one that it has to wait for.
 */
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, workerData } from 'node:worker_threads';
import { H_FRAME_WAITERS } from '../../src/generated/layout.ts';
import { BufferPool, type Owners, type PoolHandle } from '../../src/index.ts';
import { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { checkEqual, checkThrows, startWorker } from '../support/checks.ts';

const OPTIONS = { frames: 4, blobBytes: 4096, frameWaitMs: 20_000, log: { ringBytes: 16384 } };

const owners: Owners = {
  0: {
    replay({ payload }, op) {
      const blob = payload[0] === 0 ? op.create() : op.write(payload[0] as number);
      op.seal();
      blob.bytes.fill(payload[1] as number);
    },
  },
};

function put(pool: BufferPool, id: number, value: number): void {
  pool.change((op) => {
    const blob = id === 0 ? op.create() : op.write(id);
    op.seal(2);
    blob.bytes.fill(value);
    op.commit(Uint8Array.of(id, value));
  });
}

function byteOf(pool: BufferPool, id: number): number | undefined {
  return pool.optimistic(id, ({ bytes }) => bytes[17]);
}

async function work({ handle, last }: { handle: PoolHandle; last: number }): Promise<void> {
  const pool = await BufferPool.attach(handle);
  checkEqual(byteOf(pool, 1), 101, 'R1 a worker sees what the log has changed');
  // The main thread has pinned every other frame: it lets go when it sees this one wait.
  checkEqual(byteOf(pool, last), last, 'a worker waits for a frame');
  checkThrows(() => pool.begin(), 'READ_ONLY', 'a worker begins a change');
  checkThrows(() => pool.allocate(), 'READ_ONLY', 'a worker takes an id');
  await pool.close();
}

async function newStore(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-read-only-'));
  const writing = await BufferPool.open(join(directory, 'live'), { ...OPTIONS, owners });
  for (let id = 1; id <= 5; id++) {
    put(writing, 0, id);
    await writing.checkpoint();
  }
  put(writing, 1, 101);
  writing.durableSync();
  const copy = join(directory, 'copy');
  cpSync(join(directory, 'live'), copy, { recursive: true });
  for (const name of readdirSync(copy)) if (name.startsWith('lock-')) rmSync(join(copy, name));
  await writing.close();
  return directory;
}

async function main(): Promise<void> {
  const directory = await newStore();
  const pool = await BufferPool.open(join(directory, 'copy'), {
    ...OPTIONS,
    owners,
    readOnly: true,
  });
  checkEqual(pool.dirtyFrames(), 1, 'R1 one frame is newer than the store');
  const pins = [2, 3, 4].map((id) => pool.pin(id));
  const memory = new ThreadMemory(pool.handle.memory);
  const { done } = startWorker(import.meta.url, { handle: pool.handle, last: 5 });
  while (memory.load(H_FRAME_WAITERS) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const pin of pins) pin.release();
  checkEqual(await done, 0, 'exit code of the worker');
  await pool.close();
  rmSync(directory, { recursive: true });
}

await (isMainThread ? main() : work(workerData as { handle: PoolHandle; last: number }));
