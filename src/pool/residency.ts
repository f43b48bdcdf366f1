/**
 * Which blobs are in frames: misses, loads, eviction, dropping and refreshing.
 *
 * Owns:        frames between two states, for as long as this thread has X and E on them.
 * Invariants:  I4  a load is published as LOADING before the store is read: a second thread that
 *                  misses the same blob waits for the first, and finds its error if it fails;
 *              I1  every removal goes through `mayEvict` (assembly/frames.ts);
 *              D1  who holds a latch never waits for a frame: it gets OP_RESTART. It may wait for a
 *                  load, its own or another thread's: a load itself waits for nobody.
 * Threads:     any. A load is always completed by the thread that claimed the frame, without its
 *              event loop.
 */
import { channel } from 'node:diagnostics_channel';
import { ERROR_CODES, type ErrorCode, WeirpoolError } from '../errors.ts';
import {
  BUSY,
  type ControlExports,
  GONE,
  H_FREE_COUNT,
  HELD,
  MISS,
  NONE,
  OK,
  S_MISSES,
  STOPPED,
} from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import type { BlobId } from '../store/contract.ts';
import { asWeirpoolError, type MappedStore, notFound } from '../store/mapped-store.ts';
import { countFrames } from './stats.ts';
import { RestartError } from './want.ts';

/** Published to `weirpool:evict`, in the thread that evicts, once it has come to its end. */
export interface EvictEvent {
  readonly id: BlobId;
}

const EVICT_CHANNEL = channel('weirpool:evict');
/** Evictions that are told of in one turn of the thread at most. */
const EVICTED_MAX = 4096;

/** Found by another thread in the meantime: look again. */
const LOST_RACE = -1;

/**
 * @throws {TypeError}  not a number.
 * @throws {RangeError} not a positive safe integer.
 */
export function checkBlobId(id: unknown): BlobId {
  if (typeof id !== 'number') throw new TypeError(`A blob id is a number, not ${typeof id}`);
  if (!Number.isSafeInteger(id) || id < 1) {
    throw new RangeError(`A blob id is a positive safe integer, not ${id}`);
  }
  return id;
}

export class Residency {
  /** Blobs whose eviction is to be told. */
  readonly #evicted: BlobId[] = [];
  readonly #thread: PoolThread;
  readonly #memory: ThreadMemory;
  readonly #control: ControlExports;
  readonly #me: number;
  readonly #store: MappedStore;
  /** How long a thread waits for a frame, and for what else a round or the disk gives. */
  readonly frameWaitMs: number;
  /** Frames of this thread's own that are to be used first. */
  readonly #spares: number[] = [];

  constructor(thread: PoolThread, store: MappedStore, frameWaitMs: number) {
    this.#thread = thread;
    this.#memory = thread.memory;
    this.#control = thread.control;
    this.#me = thread.me;
    this.#store = store;
    this.frameWaitMs = frameWaitMs;
  }

  // --- pinning -------------------------------------------------------------------------------

  /**
   * Pins the blob after the fast path did not: waits for a load or an eviction, or loads.
   *
   * @param counted  Whether a miss is counted and the recency touched.
   * @returns        The frame, with one pin of this thread.
   * @throws {WeirpoolError} `BLOB_NOT_FOUND`, `BLOB_CORRUPT`, `STORE_IO`, `POOL_EXHAUSTED`,
   *                         `OP_RESTART`, `LATCH_HELD`, `POISONED`, `POOL_CLOSED`.
   */
  pin(id: BlobId, counted: boolean): number {
    checkBlobId(id);
    this.#thread.assertRunning();
    let missed = false;
    for (;;) {
      const frame = this.#pinInTable(id, counted && !missed, true);
      if (frame !== MISS) return frame;
      if (counted && !missed) this.#countMiss();
      missed = true;
      const loaded = this.#load(id);
      if (loaded !== LOST_RACE) return loaded;
    }
  }

  /** Pins the blob if it is in a frame, waiting for a load under way: the frame, or MISS. */
  pinCached(id: BlobId): number {
    this.#thread.assertRunning();
    return this.#pinInTable(id, false, true);
  }

  /**
   * Pins the blob where the page table has it, or says MISS; waits for a load or an eviction under
   * way. With `shared`, the error of a load that it waited for is this thread's error too.
   */
  #pinInTable(id: BlobId, counted: boolean, shared: boolean): number {
    const control = this.#control;
    for (;;) {
      const there = this.frameOf(id);
      if (there === MISS) return MISS;
      const frame = control.pinThere(there, id, this.#me, counted ? 1 : 0);
      if (frame >= 0) return frame;
      if (frame === STOPPED) throw this.#thread.stopped();
      const code = this.#awaitMoved(there, id);
      if (shared && code !== 0) throw this.#sharedFailure(id, code);
    }
  }

  /** The blob's frame, in whatever state, or MISS: the page table's last word. */
  frameOf(id: BlobId): number {
    return this.#thread.wait(() => this.#control.findLocked(id, this.#me, PARK_MS));
  }

  #countMiss(): void {
    const at = this.#thread.slotField(S_MISSES) / BigUint64Array.BYTES_PER_ELEMENT;
    this.#memory.u64[at] = (this.#memory.u64[at] as bigint) + 1n;
  }

  /** Waits until the frame has stopped changing to or from the blob; 0, or why a load failed. */
  #awaitMoved(frame: number, id: BlobId): number {
    const control = this.#control;
    const version = control.movingVersion(frame, id);
    if (version < 0) return 0;
    if (control.latchOwner(frame) === this.#me + 1) throw heldError(id);
    this.#thread.wait(() => control.waitMoved(frame, version, this.#me, PARK_MS));
    return control.loadFailure(frame, version);
  }

  // --- loading -------------------------------------------------------------------------------

  #load(id: BlobId): number {
    if (!this.#store.has(id)) throw notFound(id);
    const frame = this.obtainFrame();
    const control = this.#control;
    const me = this.#me;
    if (this.#thread.wait(() => control.publishLoading(id, frame, me, PARK_MS)) === BUSY) {
      this.giveBack(frame);
      return LOST_RACE;
    }
    try {
      // Once more: a delete that was committed since is known before its frame leaves the table.
      if (!this.#store.has(id)) throw notFound(id);
      this.#store.readFrame(id, this.#memory.frame(frame));
    } catch (error) {
      const failure = asWeirpoolError(error, 'not_applied');
      const code = ERROR_CODES.indexOf(failure.code) + 1;
      control.noteLoadFailure(frame, me, code);
      this.#unmap(frame);
      this.giveBack(frame);
      throw failure;
    }
    this.#thread.wait(() => control.finishLoad(frame, me, PARK_MS));
    return frame;
  }

  /** The error of another thread's load, for one who waited for it. */
  #sharedFailure(id: BlobId, mark: number): WeirpoolError {
    const code: ErrorCode = ERROR_CODES[mark - 1] ?? 'STORE_IO';
    return new WeirpoolError(code, `Blob ${id} could not be loaded by the thread that tried.`, {
      details: { id },
    });
  }

  // --- frames --------------------------------------------------------------------------------

  /**
   * A frame that is this thread's own: a free one, else a victim's.
   *
   * @throws {WeirpoolError} `POOL_EXHAUSTED` after `frameWaitMs`; `OP_RESTART` at once when this
   *                         thread holds a latch or has frames of a mini-transaction.
   */
  obtainFrame(): number {
    const spare = this.#spares.pop();
    if (spare !== undefined) return spare;
    const frame = this.#tryObtain();
    if (frame !== NONE) return frame;
    if (this.#thread.isHolding) {
      throw new RestartError({ kind: 'frame' });
    }
    return this.#waitForFrame();
  }

  /**
   * Waits, holding nothing, for `wanted` frames, and keeps them: the next ones that are obtained
   * come from these. Who waits here keeps frames from others, but no more than its share, and a
   * round needs none. Errors as `obtainFrame`.
   */
  reserveFrames(wanted: number): void {
    try {
      while (this.#spares.length < wanted) {
        const frame = this.#tryObtain();
        this.#spares.push(frame === NONE ? this.#waitForFrame() : frame);
      }
    } catch (error) {
      this.returnSpares();
      throw error;
    }
  }

  /** Gives back what `reserveFrames` took and nobody used. */
  returnSpares(): void {
    if (this.#spares.length === 0) return;
    for (let frame = this.#spares.pop(); frame !== undefined; frame = this.#spares.pop()) {
      this.giveBack(frame);
    }
  }

  #tryObtain(): number {
    const control = this.#control;
    const free = this.#thread.wait(() => control.takeFree(this.#me, PARK_MS));
    if (free !== NONE) return free;
    const victim = this.#thread.wait(() => control.sweep(this.#me, PARK_MS));
    if (victim !== NONE) this.#unmapVictim(victim);
    return victim;
  }

  #waitForFrame(): number {
    const control = this.#control;
    const deadline = performance.now() + this.frameWaitMs;
    for (;;) {
      const seen = control.enterFrameQueue(this.#me);
      let left: number;
      try {
        const frame = this.#tryObtain();
        if (frame !== NONE) return frame;
        const { services } = this.#thread;
        left = services?.hopeless === true ? 0 : deadline - performance.now();
        services?.round();
        if (left > 0 && services?.inline !== true)
          control.waitForFrame(this.#me, seen, Math.min(PARK_MS, Math.ceil(left)));
      } finally {
        control.leaveFrameQueue(this.#me);
      }
      this.#thread.lookAround();
      if (left <= 0) throw this.#exhausted();
    }
  }

  #exhausted(): WeirpoolError {
    const { pinned, dirty, latched, loading } = countFrames(this.#memory);
    const { frames } = this.#memory.shared;
    return new WeirpoolError(
      'POOL_EXHAUSTED',
      `None of the ${frames} frames may be evicted: ${pinned} pinned, ${dirty} dirty, ${latched} ` +
        `latched, ${loading} loading. Release guards, write dirty blobs, or open the pool with ` +
        'more `frames`.',
      { details: { frames, pinned, dirty, latched, loading } },
    );
  }

  #unmap(frame: number): void {
    this.#thread.waitThrough(() => this.#control.unmap(frame, this.#me, PARK_MS));
  }

  /** Puts a frame of this thread's own on the free list. */
  giveBack(frame: number): void {
    this.#thread.waitThrough(() => this.#control.giveFree(frame, this.#me, PARK_MS));
  }

  // --- evicting, dropping, refreshing ----------------------------------------------------------

  /** Evicts the blob if the one rule lets it go; false also when it is not cached. */
  evict(id: BlobId): boolean {
    const frame = this.frameOf(id);
    return frame !== MISS && this.evictFrom(frame, id);
  }

  /** The same for a frame; with id 0, whatever is in it, also a deleted blob that nobody pins. */
  evictFrom(frame: number, id: BlobId | 0): boolean {
    const control = this.#control;
    if (this.#thread.wait(() => control.evictFrame(frame, id, this.#me, PARK_MS)) !== OK) {
      return false;
    }
    this.#unmapVictim(frame);
    this.giveBack(frame);
    return true;
  }

  #unmapVictim(frame: number): void {
    const id = this.#control.blobOf(frame);
    this.#unmap(frame);
    // A deleted blob has left before: only its frame was kept, by pins.
    if (id !== 0 && EVICT_CHANNEL.hasSubscribers) this.#tellLater(id);
  }

  /** Not here: a listener may use the pool, and this is in the middle of something that does. */
  #tellLater(id: BlobId): void {
    if (this.#evicted.length >= EVICTED_MAX) return;
    if (this.#evicted.push(id) > 1) return;
    queueMicrotask(() => {
      for (const evicted of this.#evicted.splice(0)) {
        EVICT_CHANNEL.publish({ id: evicted } satisfies EvictEvent);
      }
    });
  }

  get framesFree(): number {
    return this.#memory.load(H_FREE_COUNT);
  }

  /**
   * Latches the blob exclusively if it is in a frame: the frame, or MISS. It is pinned until then:
   * who waits for the latch of a frame that was given back waits until somebody uses that frame.
   */
  latchCached(id: BlobId): number {
    for (;;) {
      const frame = this.#pinInTable(id, false, false);
      if (frame === MISS) return MISS;
      try {
        if (this.acquireExclusive(frame, id) === OK) return frame;
      } finally {
        this.#control.unpin(frame, this.#me);
      }
    }
  }

  /** OK or GONE; waits. Takes its claim back if it has to throw. */
  acquireExclusive(frame: number, id: BlobId): number {
    const control = this.#control;
    let result: number;
    try {
      result = this.#thread.wait(() => control.acquireExclusive(frame, this.#me, PARK_MS));
    } catch (error) {
      control.abandonExclusive(frame, this.#me);
      throw error;
    }
    return this.#latchResult(result, id);
  }

  acquireShared(frame: number, id: BlobId): number {
    const control = this.#control;
    const result = this.#thread.wait(() => control.acquireShared(frame, this.#me, PARK_MS));
    return this.#latchResult(result, id);
  }

  #latchResult(result: number, id: BlobId): number {
    if (result === OK || result === GONE) return result;
    if (result === STOPPED) throw this.#thread.stopped();
    if (result === HELD) throw heldError(id);
    throw new RestartError({ kind: 'latch', id });
  }

  /** Makes a cached image equal to what was committed, and clean. */
  refresh(id: BlobId, bytes: Uint8Array): void {
    const frame = this.latchCached(id);
    if (frame === MISS) return;
    try {
      this.#memory.frame(frame).bytes.set(bytes);
      this.#control.clearDirty(frame);
    } finally {
      this.#control.releaseExclusive(frame, this.#me);
    }
  }

  /** Drops a deleted blob's frame; pins that are left read GONE. */
  drop(id: BlobId): void {
    const frame = this.latchCached(id);
    if (frame === MISS) return;
    this.#dropLatched(frame);
  }

  #dropLatched(frame: number): void {
    this.#unmap(frame);
    const control = this.#control;
    if (this.#thread.waitThrough(() => control.dropBlob(frame, this.#me, PARK_MS)) === OK) {
      this.giveBack(frame);
    }
  }

  // --- for mini-transactions -------------------------------------------------------------------

  /** Pins and latches a blob; loads it if need be. The frame. Errors as `pin`, and `BLOB_GONE`. */
  latchForOp(id: BlobId, exclusive: boolean): number {
    const frame = this.pin(id, true);
    try {
      const result = exclusive ? this.acquireExclusive(frame, id) : this.acquireShared(frame, id);
      if (result === GONE) throw goneError(id);
      return frame;
    } catch (error) {
      this.#control.unpin(frame, this.#me);
      throw error;
    }
  }

  /** Waits, holding nothing, until nobody else holds the blob's latch. */
  awaitLatch(id: BlobId): void {
    const frame = this.latchCached(id);
    if (frame !== MISS) this.#control.releaseExclusive(frame, this.#me);
  }

  /** Inside the gate: a created blob, in a frame of this thread's own, is there for everybody. */
  publishCreated(frame: number, id: BlobId, seq: number): void {
    const control = this.#control;
    const step = (): number => control.publishLoading(id, frame, this.#me, PARK_MS);
    if (this.#thread.waitThrough(step) !== OK) {
      throw new WeirpoolError('INVARIANT_BROKEN', `Blob ${id} was in a frame before its creation.`);
    }
    this.#thread.waitThrough(() => control.finishCreated(frame, this.#me, seq, PARK_MS));
  }

  /** Inside the gate: a blob that this thread has pinned and latched exclusively is deleted. */
  dropForOp(frame: number, id: BlobId, seq: number): void {
    const control = this.#control;
    // First the table that keeps others from loading the old image, then the page table.
    this.#thread.waitThrough(() => control.deleteAdd(id, seq, this.#me, PARK_MS));
    control.unpin(frame, this.#me);
    this.#dropLatched(frame);
  }
}

export function heldError(id: BlobId): WeirpoolError {
  return new WeirpoolError(
    'LATCH_HELD',
    `This thread already holds blob ${id} in a conflicting mode. Release that guard first.`,
    { details: { id } },
  );
}

export function goneError(id: BlobId): WeirpoolError {
  return new WeirpoolError('BLOB_GONE', `Blob ${id} was deleted while it was pinned.`, {
    details: { id },
  });
}
