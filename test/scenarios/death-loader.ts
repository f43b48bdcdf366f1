/**
 * The loader thread dies in the middle of a prefetch. The argument says who looks next: the main
 * thread `parked` for the very blob, or a worker (`worker`), or nobody (`prefetch`: a new loader
 * goes on with the rest).
 */
import { isMainThread, workerData } from 'node:worker_threads';
import type { PoolHandle } from '../../src/pool/attach.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import type { BackendContext, StoreBackend } from '../../src/store/contract.ts';
import { check, checkEqual, startWorker } from '../support/checks.ts';
import {
  BLOB_BYTES,
  blobValue,
  checkNothingHeld,
  type HookedOptions,
  hookedBackend,
  hooks,
  isLoader,
  Signals,
  writeBlobs,
} from './death-support.ts';

/** Signals: loaders die from now on; one is in the middle; it may go; loaders that died. */
const MORTAL = 0;
const LOADING = 1;
const DIE = 2;
const DEAD = 3;
const FRAMES = 16;
const BLOBS = 12;

interface Task {
  readonly role: 'asks';
  readonly handle: PoolHandle;
  readonly ids: readonly number[];
}

export function createBackend(context: BackendContext, given: unknown): StoreBackend {
  const options = given as HookedOptions;
  if (isLoader(workerData)) hooks.read = () => maybeDie(new Signals(options.signals));
  return hookedBackend(import.meta.url, context, options);
}

function maybeDie(signals: Signals): void {
  if (!signals.is(MORTAL)) return;
  Atomics.store(signals.words, MORTAL, 0);
  signals.raise(LOADING);
  signals.waitSync(DIE);
  signals.raise(DEAD);
  process.exit(9);
}

async function ask({ handle, ids }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  await pool.prefetch(ids);
  for (const id of ids) checkEqual(blobValue(pool, id), id, 'I4 what a worker had prefetched');
  await pool.close();
}

async function main(mode: string): Promise<void> {
  const signals = new Signals();
  const options: HookedOptions = { signals: signals.words };
  const pool = await BufferPool.open('memory', {
    frames: FRAMES,
    blobBytes: BLOB_BYTES,
    store: { module: import.meta.url, options },
  });
  const ids = writeBlobs(pool, BLOBS);
  signals.raise(MORTAL);
  if (mode === 'worker') {
    const task: Task = { role: 'asks', handle: pool.handle, ids };
    const { done } = startWorker(import.meta.url, task);
    await signals.wait(LOADING);
    signals.raise(DIE);
    checkEqual(await done, 0, 'a worker whose loader died ends well');
  } else {
    const fetched = pool.prefetch(ids);
    await signals.wait(LOADING);
    signals.raise(DIE);
    // The loader has claimed the frame of the first blob and will never fill it.
    if (mode === 'parked') {
      checkEqual(blobValue(pool, ids[0] as number), ids[0], 'I4 the blob whose loader died');
    }
    await fetched;
  }
  check(signals.is(DEAD), 'the loader has died in the middle');
  checkEqual(pool.cachedCount(), BLOBS, 'I4 all blobs are in frames: a new loader went on');
  for (const id of ids) checkEqual(blobValue(pool, id), id, 'I4 what was prefetched');
  checkNothingHeld(pool);
  await pool.close();
}

// No top-level await: the pool imports this very module while `main` waits for it.
if (isMainThread) void main(process.argv[2] ?? 'prefetch');
else if ((workerData as Task | null)?.role === 'asks') void ask(workerData as Task);
