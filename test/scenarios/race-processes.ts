/**
 * Two processes and one directory (race 24).
 *
 * Cases: `locked` (the second one is refused, and gets the store when the first one was killed);
 * `hold` is the other process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BufferPool, WeirpoolError } from '../../src/index.ts';
import { check, checkEqual, violation } from '../support/checks.ts';
import { BLOB_BYTES, blobOf, inDirectory, perform } from '../support/stage.ts';

const OPTIONS = { frames: 4, blobBytes: BLOB_BYTES, blobsMax: 128 } as const;

async function holdCase(): Promise<void> {
  const pool = await BufferPool.open(process.argv[3] ?? '', OPTIONS);
  const id = pool.allocate();
  pool.writeBlob(id, blobOf(id, process.pid));
  process.stdout.write(`${id}\n`);
  // Until it is killed.
  setInterval(() => undefined, 1000);
}

/** Another process that holds the directory; resolves once it says so. */
async function startHolder(directory: string): Promise<{ holder: ChildProcess; id: number }> {
  const self = fileURLToPath(import.meta.url);
  const holder = spawn(process.execPath, [self, 'hold', directory], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (holder.stdout === null) violation('no pipe to the other process');
  const said: unknown[] = await once(holder.stdout, 'data');
  return { holder, id: Number(String(said[0])) };
}

async function refusal(directory: string): Promise<WeirpoolError> {
  let pool: BufferPool;
  try {
    pool = await BufferPool.open(directory, OPTIONS);
  } catch (error) {
    check(error instanceof WeirpoolError, `a WeirpoolError, not ${String(error)}`);
    return error;
  }
  await pool.close();
  violation('a directory that is in use was opened');
}

async function lockedCase(): Promise<void> {
  await inDirectory(async (directory) => {
    for (let round = 0; round < 3; round++) {
      const { holder, id } = await startHolder(directory);
      const before = readdirSync(directory).sort().join();
      const error = await refusal(directory);
      checkEqual(error.code, 'STORE_LOCKED', 'the refusal');
      checkEqual(error.details['pid'], holder.pid, 'the pid in the error');
      check(error.message.includes(`process ${holder.pid} `), `the pid in "${error.message}"`);
      checkEqual(readdirSync(directory).sort().join(), before, 'files after the refusal');
      const exit = once(holder, 'exit');
      holder.kill('SIGKILL');
      await exit;
      const pool = await BufferPool.open(directory, OPTIONS);
      checkEqual((await refusal(directory)).details['pid'], process.pid, 'the pid of the next one');
      const guard = pool.read(id);
      checkEqual(guard.u32[1], holder.pid, 'what the killed process had written');
      guard.release();
      checkEqual(pool.list().length, round + 1, 'blobs of all the processes');
      checkEqual(pool.verify().length, 0, 'findings');
      await pool.close();
    }
  });
}

await perform({ locked: lockedCase, hold: holdCase });
