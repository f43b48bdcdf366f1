/**
 * The buffer pool as one thread sees it: the ways in.
 *
 * Owns:        this thread's place in the pool; in the opener also store and services.
 * Invariants:  I1 to I6 in the modules below.
 * Threads:     one object for each thread: `open` in one, `attach` in the others.
 */
import type { Worker } from 'node:worker_threads';
import type { RoundReport } from '../checkpoint/requests.ts';
import { WeirpoolError } from '../errors.ts';
import { type ControlExports, GONE, H_DIRTY_COUNT, MISS } from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import { watchWorker } from '../memory/worker-watch.ts';
import type { BlobId, BlobStore, StoreFinding } from '../store/contract.ts';
import type { BulkLoad } from '../txn/bulk-load.ts';
import type { Op } from '../txn/op.ts';
import type { Change, ChangeOptions } from '../txn/transactions.ts';
import type { DurabilityLevel } from '../wal/durability.ts';
import { attachCore, type PoolHandle } from './attach.ts';
import { assertIdle, closeOpened } from './close.ts';
import type { PoolCore } from './core.ts';
import { PoisonWatch } from './events.ts';
import { ExclusiveGuard, Pin, SEQ_UNLOGGED, SharedGuard } from './guards.ts';
import { integerBetween } from './integer-between.ts';
import { leftControl } from './left-control.ts';
import { logStats } from './log-stats.ts';
import { type MakeOwners, type OpenedPool, openCore } from './open.ts';
import { BLOBS_MAX_LIMIT, type PoolOptions } from './options.ts';
import type { PoolLog } from './pool-log.ts';
import { Prefetcher, ringForLoader } from './prefetcher.ts';
import { RESTART, type Read } from './read.ts';
import { checkBlobId, goneError } from './residency.ts';
import { WorkerWatch } from './services.ts';
import { attachedThreads, countFrames, countThreads, type PoolStats } from './stats.ts';
import * as unflushed from './unflushed.ts';

/** Optimistic attempts before a reader takes a shared latch. */
const ATTEMPTS_MAX = 8;

export class BufferPool implements BlobStore, AsyncDisposable {
  readonly #core: PoolCore;
  readonly #opened: OpenedPool | undefined;
  #control: ControlExports;
  readonly #memory: ThreadMemory;
  readonly #f64: Float64Array;
  readonly #me: number;
  readonly #out: number;
  readonly #watch: WorkerWatch;
  readonly #poison: PoisonWatch;
  readonly #prefetcher: Prefetcher;
  #closed: Promise<void> | undefined;

  /** For other threads: `await BufferPool.attach(handle)`. Goes by `workerData` or `postMessage`. */
  readonly handle: PoolHandle;

  private constructor(core: PoolCore, handle: PoolHandle, opened: OpenedPool | undefined) {
    this.#core = core;
    this.#opened = opened;
    this.handle = handle;
    this.#control = core.control;
    this.#memory = core.memory;
    this.#f64 = core.memory.f64;
    this.#me = core.me;
    this.#out = core.thread.outIndex;
    this.#watch = new WorkerWatch(core);
    this.#poison = new PoisonWatch(core);
    this.#prefetcher = new Prefetcher(core, this.#loaderStarter());
  }

  #loaderStarter(): (() => void) | undefined {
    const opened = this.#opened;
    if (opened === undefined) return () => ringForLoader(this.#core);
    const { loader } = opened;
    return loader === undefined ? undefined : () => loader.start();
  }

  /**
   * Opens the store in `directory`, which is made if it is missing, and takes it for this process
   * (not with `readOnly`). What its log has beyond the store is done again first.
   *
   * @throws {TypeError}  an option of the wrong type; {RangeError} one out of its bounds.
   * @throws {WeirpoolError} `STORE_LOCKED` another process (or pool) has it; `STORE_IO`;
   *         `BLOB_SIZE_MISMATCH`; `FORMAT_UNSUPPORTED`; `MANIFEST_CORRUPT`; `STORE_FULL`;
   *         `LOGGED_POOL`; `WAL_CORRUPT`; `REPLAY_FAILED`; `POOL_EXHAUSTED` too few frames to replay.
   * @remarks Memory: frames x blobBytes outside the heap, reserved at once and touched when used.
   */
  static open(directory: string, options: PoolOptions = {}): Promise<BufferPool> {
    return BufferPool.openWith(directory, options);
  }

  /** @internal With owners that are made of the pool's parts. */
  static async openWith(
    directory: string,
    options: PoolOptions,
    owners?: MakeOwners,
  ): Promise<BufferPool> {
    const opened = await openCore(directory, options, owners);
    return new BufferPool(opened.core, opened.handle, opened);
  }

  /**
   * Joins a pool that another thread of this process has opened.
   *
   * @throws {WeirpoolError} `ALREADY_ATTACHED` this thread has the pool already; `POOL_CLOSED`,
   *         `POISONED`, `THREADS_EXHAUSTED`, `ABI_MISMATCH`, `STORE_IO`; {TypeError} not a handle.
   */
  static async attach(handle: PoolHandle): Promise<BufferPool> {
    return new BufferPool(await attachCore(handle), handle, undefined);
  }

  /** @internal For indexes that come with the package. */
  get core(): PoolCore {
    return this.#core;
  }

  /** Size of every blob in bytes. */
  get blobBytes(): number {
    return this.#memory.shared.blobBytes;
  }

  // --- reading in place ------------------------------------------------------------------------

  /**
   * Reads a blob in place, without a pin and without writing shared memory; loads it if it is not
   * cached. `arg` is passed on, so that a hot `read` need not be a new closure each time.
   *
   * @throws whatever `read` throws over bytes that held still, and what `pin` throws.
   */
  optimistic<T, A = undefined>(id: BlobId, read: Read<T, A>, arg?: A): T {
    if (typeof id !== 'number') checkBlobId(id);
    const control = this.#control;
    const index = control.locate(id, this.#me);
    if (index >= 0) {
      const version = this.#f64[this.#out] as number;
      try {
        const result = read(this.#memory.frame(index), arg as A);
        if (control.validate(index, version) !== 0) return result;
      } catch (error) {
        if (control.validate(index, version) !== 0) throw error;
      }
      this.#core.noteRestart();
    }
    return this.#readPinned(id, read, arg as A);
  }

  /** One attempt on a cached blob: the result, or RESTART. Waits for nothing, loads nothing. */
  tryOptimistic<T, A = undefined>(id: BlobId, read: Read<T, A>, arg?: A): T | typeof RESTART {
    if (typeof id !== 'number') checkBlobId(id);
    const control = this.#control;
    const index = control.locate(id, this.#me);
    if (index < 0) {
      checkBlobId(id);
      this.#core.thread.assertRunning();
      return RESTART;
    }
    const version = this.#f64[this.#out] as number;
    try {
      const result = read(this.#memory.frame(index), arg as A);
      if (control.validate(index, version) !== 0) return result;
    } catch (error) {
      if (control.validate(index, version) !== 0) throw error;
    }
    this.#core.noteRestart();
    return RESTART;
  }

  /** The slow way of `optimistic`: pinned, a few more attempts, then under a shared latch. */
  #readPinned<T, A>(id: BlobId, read: Read<T, A>, arg: A): T {
    const control = this.#control;
    const pin = this.pin(id);
    try {
      const frame = pin.optimisticFrame();
      for (let attempt = 1; attempt < ATTEMPTS_MAX; attempt++) {
        const version = control.optimistic(frame.index);
        if (version < 0) break; // somebody writes: wait for the latch instead of spinning
        try {
          const result = read(frame, arg);
          if (control.validate(frame.index, version) !== 0) return result;
        } catch (error) {
          if (control.validate(frame.index, version) !== 0) throw error;
        }
        this.#core.noteRestart();
      }
      this.#core.noteFallback();
      const latch = pin.read();
      try {
        return read(frame, arg);
      } finally {
        latch.release();
      }
    } finally {
      pin.release();
    }
  }

  // --- guards ------------------------------------------------------------------------------------

  /**
   * Keeps the blob in its frame until the pin is released; loads it if it is not cached.
   *
   * @throws {WeirpoolError} `BLOB_NOT_FOUND`, `BLOB_CORRUPT`, `STORE_IO`, `POOL_EXHAUSTED`,
   *         `OP_RESTART` (it would have to wait while this thread holds a latch), `POISONED`,
   *         `POOL_CLOSED`; {TypeError}, {RangeError} not a blob id.
   */
  pin(id: BlobId): Pin {
    if (typeof id !== 'number') checkBlobId(id);
    let index = this.#control.pin(id, this.#me, 1);
    if (index < 0) index = this.#core.residency.pin(id, true);
    return new Pin(this.#core, this.#memory.frame(index), id, true);
  }

  /** As `pin`, for statistics and checks: neither counters nor recency change. */
  pinSilent(id: BlobId): Pin {
    if (typeof id !== 'number') checkBlobId(id);
    let index = this.#control.pin(id, this.#me, 0);
    if (index < 0) index = this.#core.residency.pin(id, false);
    return new Pin(this.#core, this.#memory.frame(index), id, true);
  }

  /** Pin and shared latch in one step. Errors as `pin` and `Pin.read`. */
  read(id: BlobId): SharedGuard {
    if (typeof id !== 'number') checkBlobId(id);
    const index = this.#control.pinShared(id, this.#me);
    if (index >= 0) return new SharedGuard(this.#core, this.#memory.frame(index), id, true);
    return this.#readSlowly(id);
  }

  #readSlowly(id: BlobId): SharedGuard {
    const index = this.#core.residency.pin(id, true);
    try {
      if (this.#core.residency.acquireShared(index, id) === GONE) throw goneError(id);
    } catch (error) {
      this.#control.unpin(index, this.#me);
      throw error;
    }
    return new SharedGuard(this.#core, this.#memory.frame(index), id, true);
  }

  /**
   * On a pool without a log: pin and exclusive latch in one step; marks the frame dirty, so that it
   * stays until `writeBlob` or `close` has written it. Errors as `pin` and `Pin.write`.
   */
  write(id: BlobId): ExclusiveGuard {
    if (typeof id !== 'number') checkBlobId(id);
    if (!this.#core.writable) throw this.#core.refused('write');
    const index = this.#control.pinExclusive(id, this.#me, SEQ_UNLOGGED);
    if (index >= 0) return new ExclusiveGuard(this.#core, this.#memory.frame(index), id, true);
    return this.#writeSlowly(id);
  }

  #writeSlowly(id: BlobId): ExclusiveGuard {
    const index = this.#core.residency.pin(id, true);
    try {
      if (this.#core.residency.acquireExclusive(index, id) === GONE) throw goneError(id);
    } catch (error) {
      this.#control.unpin(index, this.#me);
      throw error;
    }
    this.#control.markDirty(index, SEQ_UNLOGGED);
    return new ExclusiveGuard(this.#core, this.#memory.frame(index), id, true);
  }

  // --- copies, hints ---------------------------------------------------------------------------

  /**
   * Copies the blob into `target` (blobBytes long) under a shared latch; loads it if need be.
   * Errors as `read`, and {RangeError} for a target of another size.
   */
  readInto(id: BlobId, target: Uint8Array): void {
    this.#checkBytes(target);
    const guard = this.read(id);
    try {
      target.set(guard.bytes);
    } finally {
      guard.release();
    }
  }

  /** As `readInto`, but loads nothing: false if the blob is not in a frame. Counts nothing. */
  copyCached(id: BlobId, target: Uint8Array): boolean {
    checkBlobId(id);
    this.#checkBytes(target);
    const index = this.#core.residency.pinCached(id);
    if (index === MISS) return false;
    try {
      if (this.#core.residency.acquireShared(index, id) === GONE) return false;
      try {
        target.set(this.#memory.frame(index).bytes);
      } finally {
        this.#control.releaseShared(index, this.#me);
      }
    } finally {
      this.#control.unpin(index, this.#me);
    }
    return true;
  }

  /**
   * Asks the loader thread to bring the blobs into frames; resolves when it has tried. A hint: a
   * blob that cannot be loaded is no error, nor a pool that is closed only after the call.
   */
  prefetch(ids: readonly BlobId[]): Promise<void> {
    return this.#prefetcher.prefetch(ids);
  }

  #checkBytes(bytes: Uint8Array): void {
    if (!(bytes instanceof Uint8Array)) throw new TypeError('Bytes are given as a Uint8Array');
    if (bytes.length !== this.blobBytes) {
      throw new RangeError(`A blob has ${this.blobBytes} bytes, not ${bytes.length}`);
    }
  }

  // --- blobs -------------------------------------------------------------------------------------

  /** The next blob id; never handed out again, also not after a crash. */
  allocate(): BlobId {
    this.#core.thread.assertRunning();
    this.#core.assertWritable('allocate');
    return this.#core.store.allocate();
  }

  /** Whether there is such a blob. A cached one is not looked up in the store. */
  has(id: BlobId): boolean {
    checkBlobId(id);
    this.#core.thread.assertRunning();
    return unflushed.hasBlob(this.#core, id);
  }

  /** All blob ids in ascending order. */
  list(): BlobId[] {
    this.#core.thread.assertRunning();
    return unflushed.listBlobs(this.#core);
  }

  /** Blobs that are in frames now. */
  cachedCount(): number {
    this.#core.thread.assertRunning();
    return countFrames(this.#memory).cached;
  }

  /** Takes the blob out of its frame; true only if the eviction rule let it go. */
  evict(id: BlobId): boolean {
    checkBlobId(id);
    this.#core.thread.assertRunning();
    return this.#core.residency.evict(id);
  }

  /**
   * On a pool without a log: writes a whole blob to the store, atomically and durably, then makes a
   * cached image equal to it and clean. A blob that is not cached is not brought into a frame.
   *
   * @param id     From `allocate`.
   * @param bytes  blobBytes long; copied before they are written.
   * @throws {WeirpoolError} `STORE_IO`, `STORE_FULL`, `FENCED`, `LATCH_HELD` (this thread holds a
   *         latch), `LOGGED_POOL`, `POISONED`, `POOL_CLOSED`; {RangeError} wrong size, or an id never
   *         handed out.
   * @remarks Cost: two syncs. One thread writes at a time; if the blob is cached, it waits until
   *          nobody holds it, and others wait with it.
   */
  writeBlob(id: BlobId, bytes: Uint8Array): void {
    if (!this.#core.writable) throw this.#core.refused('writeBlob');
    this.#checkAllocated(id);
    this.#checkBytes(bytes);
    const { residency, store } = this.#core;
    store.exclusively(() => {
      store.assertRoom(store.has(id) ? 0 : 1);
      const staged = store.stage(id, bytes);
      store.commit([staged.blob], []);
      residency.refresh(id, staged.bytes);
    });
  }

  #checkAllocated(id: BlobId): void {
    checkBlobId(id);
    this.#core.thread.assertRunning();
    if (!this.#core.store.isAllocated(id)) {
      throw new RangeError(`Blob id ${id} was never handed out: ask allocate() for one`);
    }
  }

  /**
   * On a pool without a log: deletes a blob from the store, from its frame, with its dirty mark.
   * Pins that are left read `BLOB_GONE`. False, and nothing done, if there is no such blob. Errors
   * as `writeBlob`.
   */
  deleteBlob(id: BlobId): boolean {
    if (!this.#core.writable) throw this.#core.refused('deleteBlob');
    checkBlobId(id);
    const { residency, store } = this.#core;
    return store.exclusively(() => {
      if (!store.has(id)) return false;
      store.commit([], [id]);
      residency.drop(id);
      return true;
    });
  }

  // --- mini-transactions, on a pool with a log -----------------------------------------------------

  /** @param writes  What changes the store, if it does. */
  #log(writes?: string): PoolLog {
    const { log, thread } = this.#core;
    if (writes !== undefined) this.#core.assertWritable(writes);
    if (log !== undefined) return log;
    thread.assertRunning();
    throw new WeirpoolError(
      'UNLOGGED_POOL',
      'The pool has no log. Open it with `log: true` to change blobs in mini-transactions.',
    );
  }

  /**
   * Makes one atomic change of some blobs. The callback acquires them through `op`, seals, changes
   * bytes, and commits one record; it runs again from its beginning after an `OP_RESTART`, which it
   * must let through. One that returns without a commit changes nothing.
   *
   * @returns What the callback returns.
   * @throws {WeirpoolError} what the callback throws: before the seal nothing was changed; after it
   *         the pool is poisoned unless `undo` was asked for. `TX_NESTED`, `LATCH_HELD`,
   *         `OP_RESTART` (after `frameWaitMs`), `POOL_EXHAUSTED`, `STORE_IO` (the log or the rounds
   *         cannot be written for that long), `READ_ONLY`, `UNLOGGED_POOL`, `POISONED`,
   *         `POOL_CLOSED`; {TypeError} the callback returns a promise, or leaves a sealed op open.
   * @remarks Acknowledges `none` unless `durability` says more: see `durable`.
   */
  change<T>(change: Change<T>, options?: ChangeOptions): T {
    return this.#log('change').transactions.change(change, options);
  }

  /**
   * Begins a mini-transaction that the caller ends itself, by `commit`, `abort` or `using`. Where it
   * would have to wait it is given up with `OP_RESTART`; the next `begin` waits for what it lacked.
   * Errors as `change`.
   */
  begin(options?: ChangeOptions): Op {
    return this.#log('begin').transactions.begin(options);
  }

  /** Root blob of an owner, undefined if it has none; see `Op.setRoot`. */
  root(owner: number): BlobId | undefined {
    this.#core.thread.assertRunning();
    return this.#log().roots.get(owner);
  }

  /**
   * Resolves when a record is as safe as asked for. A pending promise keeps the process alive.
   *
   * @param seq    What `commit` returned; without it, this thread's last one.
   * @param level  Default: the pool's `durability`.
   * @throws {WeirpoolError} `POISONED`; `POOL_CLOSED`; `STORE_IO`, outcome `unknown`, when the log
   *         cannot be written. {TypeError}, {RangeError} not a seq, not a level.
   */
  async durable(seq?: number, level?: DurabilityLevel): Promise<void> {
    await this.#log().durability.durable(seq, level);
  }

  /** As `durable`, but blocks this thread. Errors as `durable`, and `LATCH_HELD`. */
  durableSync(seq?: number, level?: DurabilityLevel): void {
    this.#log().durability.durableSync(seq, level);
  }

  // --- rounds, on a pool with a log ------------------------------------------------------------------

  /**
   * Runs a round: everything that was committed before the call is in the store when this resolves.
   *
   * @throws {WeirpoolError} why the round failed (`STORE_IO`, `STORE_FULL`): nothing is lost, and it
   *         may be tried again; `READ_ONLY`, `UNLOGGED_POOL`, `POISONED`, `POOL_CLOSED`.
   */
  async checkpoint(): Promise<RoundReport> {
    return this.#log('checkpoint').checkpoint();
  }

  /** Runs a round if the blob is cached and newer than the store. Errors as `checkpoint`. */
  async flush(id: BlobId): Promise<void> {
    return this.#log('flush').flush(id);
  }

  /** Runs a round if at least `threshold` frames are dirty: how many it wrote. Errors as `checkpoint`. */
  async flushIfNeeded(threshold: number): Promise<number> {
    return this.#log('flushIfNeeded').flushIfNeeded(threshold);
  }

  /** Runs a round if a frame has been dirty for `ms`: how many it wrote. Errors as `checkpoint`. */
  async flushOlderThan(ms: number): Promise<number> {
    return this.#log('flushOlderThan').flushOlderThan(ms);
  }

  /**
   * Begins a bulk load of up to `blobsMax` blobs, which go straight to the store: commit it, then let
   * a mini-transaction adopt the range.
   *
   * @throws {WeirpoolError} `STORE_FULL`, `STORE_IO`, `READ_ONLY`, `UNLOGGED_POOL`, `LATCH_HELD`.
   */
  bulkLoad(blobsMax: number): BulkLoad {
    integerBetween('blobsMax', blobsMax, 1, BLOBS_MAX_LIMIT);
    return this.#log('bulkLoad').bulkLoad(blobsMax);
  }

  /** Frames that the next round would write. */
  dirtyFrames(): number {
    this.#core.thread.assertRunning();
    return this.#memory.load(H_DIRTY_COUNT);
  }

  /** Blobs that are newer than the store, those in a running round too, with their lowest seq. */
  dirtyBlobs(): unflushed.DirtyBlob[] {
    this.#core.thread.assertRunning();
    return unflushed.dirtyBlobs(this.#core);
  }

  /** Blobs that were deleted and that the next round takes out of the store. */
  pendingDeletes(): BlobId[] {
    this.#core.thread.assertRunning();
    return unflushed.pendingDeletes(this.#core);
  }

  /** Lowest seq whose change is in a frame and not in the store; undefined when all is clean. */
  minUnflushedSeq(): number | undefined {
    this.#core.thread.assertRunning();
    return unflushed.minUnflushedSeq(this.#core);
  }

  // --- the pool itself -----------------------------------------------------------------------------

  /** Counts of now, and counters since the pool was opened. Changes none of them. */
  stats(): PoolStats {
    const memory = this.#memory;
    const { frames, blobBytes } = memory.shared;
    return {
      ...countFrames(memory),
      ...countThreads(memory),
      frames,
      blobBytes,
      threads: attachedThreads(memory),
      memoryBytes: frames * blobBytes + memory.shared.controlBytes,
      store: this.#core.store.stats(),
      log: this.#core.logged ? logStats(memory) : undefined,
    };
  }

  /** Reads every blob from the store and checks it: what is wrong, nothing if all is well. */
  verify(): StoreFinding[] {
    this.#core.thread.assertRunning();
    return this.#core.store.verify();
  }

  /**
   * Tells this thread's pool of a worker that was started before the pool was opened, so that its
   * death is noticed where the platform has no /proc. Later workers are noticed by themselves.
   */
  watch(worker: Worker): void {
    watchWorker(worker);
  }

  /**
   * Calls `listener` once when the pool has stopped for good, soon if it has already.
   *
   * @returns Takes the listener off again.
   */
  onPoison(listener: (error: WeirpoolError) => void): () => void {
    return this.#poison.add(listener);
  }

  /**
   * In the opener: refuses new operations, waits for other threads' latches, writes dirty frames
   * (with a log by a round), gives the store back. Elsewhere: leaves the pool. Aborts this thread's
   * bulk loads. Idempotent.
   *
   * @throws {WeirpoolError} `LATCH_HELD`: this thread still holds a latch, or `TX_NESTED`: it has
   *         begun a mini-transaction (nothing was done); `LATCH_HELD`: another one never released a
   *         dirty blob (all else is closed); `STORE_IO`; `POISONED`: the pool had stopped, and records
   *         that nobody has waited for may be missing (all is closed).
   */
  async close(): Promise<void> {
    if (this.#closed === undefined) assertIdle(this.#core);
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const core = this.#core;
    try {
      if (this.#opened !== undefined) {
        await closeOpened(this.#opened);
      } else {
        await core.log?.abortLoads();
        core.detach();
        this.#control = leftControl(this.#control);
        await core.store.backend.close();
      }
    } finally {
      this.#watch.stop();
      this.#poison.stop();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
