/** A worker dies between seal and commit: opener and another worker are told of the poison. */
import { subscribe } from 'node:diagnostics_channel';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, workerData } from 'node:worker_threads';
import {
  BufferPool,
  type PoisonEvent,
  type PoolHandle,
  type WeirpoolError,
} from '../../src/index.ts';
import { check, checkEqual, startWorker } from '../support/checks.ts';
import { die, Signals, startMortal } from './death-support.ts';

interface Task {
  readonly role: 'dies' | 'listens';
  readonly handle: PoolHandle;
  readonly words: Int32Array;
}

const LISTENS = 0;

async function told(pool: BufferPool, where: string, ready: () => void): Promise<void> {
  let published: unknown;
  subscribe('weirpool:poison', (event) => {
    published = (event as PoisonEvent).error;
  });
  // Nothing else keeps a thread alive that waits to be told.
  const alive = setInterval(() => undefined, 1000);
  const error = await new Promise<WeirpoolError>((resolve) => {
    pool.onPoison(resolve);
    ready();
  });
  clearInterval(alive);
  checkEqual(error.code, 'POISONED', `what is told in ${where}`);
  checkEqual(error.details['cause'], 'WORKER_DIED', `the cause that is told in ${where}`);
  check(published !== undefined, `the channel tells it in ${where}`);
}

async function work({ role, handle, words }: Task): Promise<void> {
  const signals = new Signals(words);
  const pool = await BufferPool.attach(handle);
  if (role === 'listens') {
    await told(pool, 'a worker', () => signals.raise(LISTENS));
    await pool.close();
    return;
  }
  pool.change((op) => {
    op.create();
    op.seal(8);
    die('exit');
  });
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-poison-'));
  const options = { frames: 16, blobBytes: 4096, log: { ringBytes: 16384 } };
  const pool = await BufferPool.open(directory, options);
  const { words } = new Signals();
  const listener = startWorker(import.meta.url, { role: 'listens', handle: pool.handle, words });
  const signals = new Signals(words);
  while (!signals.is(LISTENS)) await new Promise((resolve) => setTimeout(resolve, 5));
  await told(pool, 'the opener', () => {
    startMortal(import.meta.url, { role: 'dies', handle: pool.handle, words });
  });
  checkEqual(await listener.done, 0, 'exit code of the listener');
  await pool.close();
  rmSync(directory, { recursive: true });
}

await (isMainThread ? main() : work(workerData as Task));
