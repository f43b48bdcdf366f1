/**
 * How a thread joins a pool that another one has opened.
 *
 * Owns:        the making of this thread's parts; the handle is the opener's.
 * Threads:     runs in the thread that joins; also in the loader thread.
 */
import { WeirpoolError } from '../errors.ts';
import { Checksummer } from '../memory/checksum.ts';
import type { PoolMemory } from '../memory/pool-memory.ts';
import { NoServices, WorkerServices } from '../memory/services.ts';
import { PoolThread } from '../memory/thread.ts';
import { attachBackend } from '../store/attach-backend.ts';
import type { BackendContext, BackendHandle } from '../store/contract.ts';
import { MappedStore } from '../store/mapped-store.ts';
import { PoolCore } from './core.ts';
import { assertHandle } from './handle.ts';
import type { LogShared } from './pool-log.ts';

/** Room for the largest manifest record that a checksum is wanted for, beside a whole blob. */
const RECORD_BYTES_MAX = 1024 * 1024;

/** Everything that another thread needs to attach; travels by `workerData` or `postMessage`. */
export interface PoolHandle {
  /** @internal */
  readonly memory: PoolMemory;
  /** @internal Undefined when the store cannot leave the opener's thread. */
  readonly backend: BackendHandle | undefined;
  /** @internal */
  readonly backendWords: SharedArrayBuffer;
  /** @internal */
  readonly frameWaitMs: number;
  /** @internal */
  readonly readOnly: boolean;
  /** @internal Undefined for a pool without a log. */
  readonly log: LogShared | undefined;
}

export function backendContext(
  kernels: PoolMemory['modules']['kernels'],
  blobBytes: number,
  words: SharedArrayBuffer,
): BackendContext {
  return {
    blobBytes,
    shared: new BigInt64Array(words),
    checksummer: new Checksummer(kernels, Math.max(blobBytes, RECORD_BYTES_MAX)),
  };
}

/**
 * Joins the pool.
 *
 * @param place  Word of the header that names the slot of the loader from its first moment on: others
 *               do not count it among the threads that use the pool.
 * @throws {TypeError} not a handle.
 * @throws {WeirpoolError} `ALREADY_ATTACHED`, `THREADS_EXHAUSTED`, `POOL_CLOSED`, `POISONED`, `ABI_MISMATCH`, `STORE_IO`.
 */
export async function attachCore(handle: PoolHandle, place?: number): Promise<PoolCore> {
  assertHandle(handle);
  if (handle.backend === undefined) {
    throw new WeirpoolError(
      'POOL_CLOSED',
      "The pool was opened with threads: 'inline' and belongs to its thread alone.",
    );
  }
  const { memory } = handle;
  const thread = new PoolThread(memory);
  if (place !== undefined) thread.memory.store(place, thread.me + 1);
  try {
    thread.assertRunning();
    if (thread.attachedTwice) {
      throw new WeirpoolError(
        'ALREADY_ATTACHED',
        'This thread has the pool already: pass that object on instead of attaching again.',
      );
    }
    const { kernels } = memory.modules;
    const context = backendContext(kernels, memory.blobBytes, handle.backendWords);
    const backend = await attachBackend(handle.backend, context);
    const store = new MappedStore(thread, backend, new Checksummer(kernels, memory.blobBytes));
    const { frameWaitMs, readOnly, log } = handle;
    if (log !== undefined) {
      thread.services = readOnly ? new NoServices() : new WorkerServices(thread.memory);
    }
    return new PoolCore({ thread, store, frameWaitMs, readOnly, log });
  } catch (error) {
    if (place !== undefined) thread.memory.store(place, 0);
    thread.detach();
    throw error;
  }
}
