/**
 * What the scenarios about dying threads share: ways to die, a store with hooks, a look at the raw
 * words of the control memory.
 */
import { isMainThread, type TransferListItem, Worker } from 'node:worker_threads';
import {
  B_WAITERS,
  DESC_B,
  DESC_SHIFT,
  FRAME_VALID,
  H_FRAME_WAITERS,
  LOCKS,
  LOCKS_END,
  S_NODE_THREAD,
  SLOTS,
} from '../../src/generated/layout.ts';
import { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import type { BackendContext, BackendHandle, StoreBackend } from '../../src/store/contract.ts';
import { FileBackend, type FileHandle } from '../../src/store/file-backend.ts';
import { MemoryBackend, type MemoryStoreData } from '../../src/store/memory-backend.ts';
import { check, checkEqual, checkThrows, sleepSync } from '../support/checks.ts';

export const BLOB_BYTES = 4096;
export const FRAMES = 4;

// --- dying -----------------------------------------------------------------------------------

export type How = 'terminate' | 'throw' | 'exit' | 'oom';
export const HOWS: readonly How[] = ['terminate', 'throw', 'exit', 'oom'];

/** Ends the calling worker; for `terminate` it waits for its end. */
export function die(how: How): never {
  if (how === 'throw') throw new Error('this worker ends as planned');
  if (how === 'exit') process.exit(3);
  const hoard: unknown[] = [];
  for (;;) {
    if (how === 'terminate') sleepSync(50);
    else hoard.push(new Array(10_000).fill(hoard.length));
  }
}

export interface Ending {
  readonly worker: Worker;
  /** Settles when the worker is gone, however that happened. */
  readonly gone: Promise<void>;
}

/** Starts a worker that may end in any way. */
export function startMortal(
  self: string,
  data: unknown,
  transferList: TransferListItem[] = [],
): Ending {
  const worker = new Worker(new URL(self), {
    workerData: data,
    transferList,
    resourceLimits: { maxOldGenerationSizeMb: 48, maxYoungGenerationSizeMb: 8 },
  });
  worker.on('error', () => undefined);
  const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  return { worker, gone };
}

// --- signals ---------------------------------------------------------------------------------

/** Named words of shared memory that threads wait for. */
export class Signals {
  readonly words: Int32Array;

  constructor(words: Int32Array = new Int32Array(new SharedArrayBuffer(64))) {
    this.words = words;
  }

  raise(signal: number): void {
    Atomics.add(this.words, signal, 1);
    Atomics.notify(this.words, signal);
  }

  is(signal: number): boolean {
    return Atomics.load(this.words, signal) !== 0;
  }

  waitSync(signal: number): void {
    while (!this.is(signal)) Atomics.wait(this.words, signal, 0, 100);
  }

  async wait(signal: number): Promise<void> {
    while (!this.is(signal)) await pause(1);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(1);
}

// --- a store with hooks ----------------------------------------------------------------------

/** Called by this thread's backend in the middle of a call, if set. */
export const hooks: { read: (() => void) | undefined; commit: (() => void) | undefined } = {
  read: undefined,
  commit: undefined,
};

export interface HookedOptions {
  /** A store in memory … */
  readonly data?: MemoryStoreData;
  /** … or in a directory; `inner` in threads other than the opener's. */
  readonly directory?: string;
  readonly inner?: FileHandle;
  /** For `hooks` of threads whose program is not the scenario: the loader. */
  readonly signals?: Int32Array;
}

function innerBackend(options: HookedOptions, context: BackendContext): StoreBackend {
  if (options.inner !== undefined) return FileBackend.attach(options.inner, context);
  if (options.directory !== undefined) return new FileBackend(options.directory, context);
  return new MemoryBackend(context, options.data);
}

/** `createBackend` of a scenario; its bundle is the module. */
export function hookedBackend(
  self: string,
  context: BackendContext,
  options: HookedOptions,
): StoreBackend {
  const inner = innerBackend(options, context);
  const handle = (): BackendHandle => {
    const given = inner.handle();
    const own =
      given.kind === 'file' ? { inner: given as FileHandle } : { data: given['data'] as never };
    return { kind: 'module', module: self, options: { ...options, ...own } };
  };
  return {
    open: () => inner.open(),
    handle,
    readSlot(slot, target) {
      target.fill(0xee);
      hooks.read?.();
      inner.readSlot(slot, target);
    },
    writeSlot: (slot, source) => inner.writeSlot(slot, source),
    writeSlots: (writes) => inner.writeSlots(writes),
    sync: () => inner.sync(),
    commit(change) {
      hooks.commit?.();
      inner.commit(change);
    },
    usage: () => inner.usage(),
    close: () => inner.close(),
  };
}

// --- looking ---------------------------------------------------------------------------------

export function filled(value: number): Uint8Array {
  return new Uint8Array(BLOB_BYTES).fill(value);
}

/** Allocates and writes `count` blobs; blob `ids[n]` is full of `ids[n]`. */
export function writeBlobs(pool: BufferPool, count: number): number[] {
  const ids = Array.from({ length: count }, () => pool.allocate());
  for (const id of ids) pool.writeBlob(id, filled(id));
  return ids;
}

/** A second place of this thread in the pool, which the pool takes for another thread's. */
export function attachOther(pool: BufferPool): Promise<BufferPool> {
  new ThreadMemory(pool.handle.memory).store(SLOTS + S_NODE_THREAD, 1_000_000);
  return BufferPool.attach(pool.handle);
}

/** The one value that all bytes of the blob have. */
export function blobValue(pool: BufferPool, id: number): number {
  const bytes = filled(0);
  pool.readInto(id, bytes);
  const value = bytes[0] as number;
  check(
    bytes.every((byte) => byte === value),
    `I1 blob ${id} is whole`,
  );
  return value;
}

export function checkPoisoned(body: () => unknown, message: string): void {
  const error = checkThrows(body, 'POISONED', message);
  const cause = error.cause as { readonly code?: string } | undefined;
  checkEqual(cause?.code, 'WORKER_DIED', `${message}: cause`);
}

/** Nothing is held, nobody is registered as a waiter, no lock is taken. */
export function checkNothingHeld(pool: BufferPool): void {
  const memory = new ThreadMemory(pool.handle.memory);
  const { control } = memory;
  for (let frame = 0; frame < memory.shared.frames; frame++) {
    checkEqual(control.holdsOf(frame), 0, `G1 holds of frame ${frame}`);
    const waiters = memory.load(DESC_B + frame * 2 ** DESC_SHIFT + B_WAITERS);
    checkEqual(waiters, 0, `G1 waiters of frame ${frame}`);
    if (control.stateOf(frame) !== FRAME_VALID) continue;
    checkEqual(control.latchFlags(frame), 0, `G1 flags of frame ${frame}`);
  }
  checkEqual(memory.load(H_FRAME_WAITERS), 0, 'G1 threads that wait for a frame');
  for (let lock = LOCKS; lock < LOCKS_END; lock += 64) {
    checkEqual(control.lockOwner(lock), 0, 'D1 owner of a lock');
  }
  const { pinned, latched, loading } = pool.stats();
  checkEqual(pinned + latched + loading, 0, 'G1 frames that somebody holds');
}

/** Whether this thread is the pool's loader and no part of the scenario. */
export function isLoader(workerData: unknown): boolean {
  return !isMainThread && (workerData as { role?: string } | null)?.role === 'loader';
}
