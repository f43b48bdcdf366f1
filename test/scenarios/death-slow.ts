/**
 * Nobody dies, one worker is only slow: it holds a latch for several park slices. Time alone must
 * never take it away. The argument says which latch: `shared`, `exclusive` or `load`.
 */
import { isMainThread, workerData } from 'node:worker_threads';
import type { PoolHandle } from '../../src/pool/attach.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import type { BackendContext, StoreBackend } from '../../src/store/contract.ts';
import { check, checkEqual, sleepSync, startWorker } from '../support/checks.ts';
import {
  BLOB_BYTES,
  blobValue,
  checkNothingHeld,
  FRAMES,
  filled,
  type HookedOptions,
  hookedBackend,
  hooks,
  Signals,
  writeBlobs,
} from './death-support.ts';

const HOLDING = 0;
const DONE = 1;
/** Longer than three park slices. */
const SLOW_MS = 350;

interface Task {
  readonly role: 'slow';
  readonly what: string;
  readonly handle: PoolHandle;
  readonly words: Int32Array;
  readonly ids: readonly number[];
}

export function createBackend(context: BackendContext, options: unknown): StoreBackend {
  return hookedBackend(import.meta.url, context, options as HookedOptions);
}

async function slow({ what, handle, words, ids }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  const signals = new Signals(words);
  const [first] = ids as [number];
  const linger = (): void => {
    signals.raise(HOLDING);
    sleepSync(SLOW_MS);
    signals.raise(DONE);
  };
  if (what === 'load') {
    hooks.read = linger;
    checkEqual(blobValue(pool, ids.at(-1) as number), ids.at(-1), 'I4 what was loaded slowly');
  } else if (what === 'shared') {
    const guard = pool.read(first);
    linger();
    checkEqual(guard.bytes[0], first, 'I1 nobody writes under a shared latch');
    guard.release();
  } else {
    const guard = pool.write(first);
    guard.bytes.fill(77, 0, BLOB_BYTES / 2);
    linger();
    guard.bytes.fill(77);
    guard.release();
  }
  await pool.close();
}

async function main(what: string): Promise<void> {
  const pool = await BufferPool.open('memory', {
    frames: FRAMES,
    blobBytes: BLOB_BYTES,
    store: { module: import.meta.url, options: {} },
  });
  const ids = writeBlobs(pool, 3);
  const [first] = ids as [number];
  pool.read(first).release();
  const signals = new Signals();
  const task: Task = { role: 'slow', what, handle: pool.handle, words: signals.words, ids };
  const { done } = startWorker(import.meta.url, task);
  await signals.wait(HOLDING);
  if (what === 'load') {
    checkEqual(blobValue(pool, ids.at(-1) as number), ids.at(-1), 'I4 what another one loads');
  } else if (what === 'shared') {
    const guard = pool.write(first);
    check(signals.is(DONE), 'I1 the shared latch of a slow thread stays its own');
    guard.bytes.set(filled(99));
    guard.release();
  } else {
    checkEqual(blobValue(pool, first), 77, 'I1 the change of a slow thread is seen whole');
  }
  check(signals.is(DONE), `I1 ${what}: the slow thread was waited for`);
  checkEqual(await done, 0, 'the slow thread ends well');
  checkNothingHeld(pool);
  await pool.close();
}

// No top-level await: the pool imports this very module while `main` waits for it.
if (isMainThread) void main(process.argv[2] ?? 'shared');
else if ((workerData as Task | null)?.role === 'slow') void slow(workerData as Task);
