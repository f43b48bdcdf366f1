/**
 * One checkpoint round: capture, log first, copy, write, sync, commit, retire, trim.
 *
 * Owns:        everything between a capture and its retiring or restoring: the list of captured
 *              frames, slots, staging frames of the round.
 * Invariants:  I1   retiring comes after the mapping names the image, and spares what was changed
 *                   again; a failure puts every captured frame back;
 *              I2   the log is trimmed to the S of a synced manifest record;
 *              I3   frames, deletes and roots are taken in one instant, while the gate is closed;
 *              I6   images go to slots that the mapping does not name; slots of a failed round are
 *                   free again only after every write has settled, and a slot whose write failed
 *                   stays out of use;
 *              W2D  nothing is written before the log is durable up to S;
 *              D1   the checkpointer never waits for a latch or a staging frame while it has
 *                   anything to write: a captured frame keeps its bytes whoever holds its latch.
 * Threads:     the checkpointer; rounds exclude each other. `runRound` writes one image after the
 *              other and never yields; `runRoundAsync` keeps several writes in flight.
 */
import type { WeirpoolError } from '../errors.ts';
import {
  BUSY,
  type ControlExports,
  DELETE_ENTRIES,
  H_CHECKPOINT_SEQ,
  H_DELETES,
  H_GATE_WAKE,
  H_LOG_BASE,
  H_LOG_DURABLE,
  H_LOG_TAIL,
  H_LOG_WAKE,
  H_ROOTS,
  H_ROUND,
  H_ROUND_PHASE,
  H_STAGING_FIRST,
  H_TRIM_SEQ,
  H_WANT_DURABLE,
  NONE,
  OK,
  ROOT_ENTRIES,
  ROUND_PHASES,
} from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import type { LogServices } from '../memory/services.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import type { BlobId, BlobMapping } from '../store/contract.ts';
import { asWeirpoolError, type MappedStore } from '../store/mapped-store.ts';
import { assertLogWritable } from '../wal/failing.ts';

/** Writes that are under way at the same time. */
const WRITES_IN_FLIGHT = 8;
/** Pause while the last captured frames are being copied by their writers, in ms. */
const COPY_NAP_MS = 1;

/** Published to `weirpool:round:start`, `:end` and `:error`. */
export interface RoundEvent {
  readonly kind: 'start' | 'end' | 'error';
  /** Rounds attempted since the pool was opened, this one counted. */
  readonly attempt: number;
  /** At the end: seq of the cut, blobs written and deleted, bytes, duration. */
  readonly seq?: number;
  readonly frames?: number;
  readonly deletes?: number;
  readonly bytes?: number;
  readonly ms?: number;
  /** After a failure. */
  readonly error?: { readonly code: string; readonly message: string };
}

export interface RoundHost {
  readonly thread: PoolThread;
  readonly store: MappedStore;
  readonly services: LogServices;
  /** How long the log may fail to be written before a round gives up. */
  readonly logWaitMs: number;
  /** Hears of every round. */
  readonly onRound: (event: RoundEvent) => void;
}

/** Nothing of such a write lands later: the slot is as good as before. */
function isDiskFull(error: Error): boolean {
  const { errno } = (error as Partial<WeirpoolError>).details ?? {};
  return errno === 'ENOSPC' || errno === 'EDQUOT';
}

/** What a capture has taken. */
export interface Capture {
  readonly round: number;
  /** S: the cut contains every record up to it and none beyond. */
  readonly seq: number;
  readonly frames: number;
  readonly roots: ReadonlyMap<number, BlobId>;
}

/** How a round went. */
export interface RoundOutcome {
  readonly seq: number;
  readonly frames: number;
  readonly deletes: number;
  readonly bytes: number;
  /** ms of the phases 1 to 8. */
  readonly phases: readonly number[];
}

export class Round {
  readonly #thread: PoolThread;
  readonly #control: ControlExports;
  readonly #memory: ThreadMemory;
  readonly #store: MappedStore;
  readonly #services: LogServices;
  readonly #logWaitMs: number;
  readonly #stagingFirst: number;
  readonly #phases = new Array<number>(ROUND_PHASES).fill(0);
  #phaseFrom = performance.now();
  #phase = 0;
  /** Indices of captures whose bytes this thread has not copied yet. */
  #uncopied: number[] = [];
  readonly #captureOf = new Map<number, number>();
  #slots: number[] = [];
  readonly #mapped: BlobMapping[] = [];
  readonly #lostSlots = new Set<number>();
  #failure: WeirpoolError | undefined;

  constructor({ thread, store, services, logWaitMs }: RoundHost) {
    this.#thread = thread;
    this.#control = thread.control;
    this.#memory = thread.memory;
    this.#store = store;
    this.#services = services;
    this.#logWaitMs = logWaitMs;
    this.#stagingFirst = thread.memory.load(H_STAGING_FIRST);
  }

  #enter(phase: number): void {
    const now = performance.now();
    if (this.#phase > 0) this.#phases[this.#phase - 1] = now - this.#phaseFrom;
    this.#phase = phase;
    this.#phaseFrom = now;
    this.#memory.store(H_ROUND_PHASE, phase);
  }

  // --- 1. capture --------------------------------------------------------------------------------

  /** Takes everything that is dirty, in one instant. */
  capture(): Capture {
    this.#enter(1);
    const memory = this.#memory;
    this.#closeGate();
    try {
      const round = memory.loadU64(H_ROUND) + 1;
      memory.storeU64(H_ROUND, round);
      this.#discardImages();
      const frames = this.#control.captureAll(round);
      return { round, frames, seq: memory.loadU64(H_LOG_TAIL), roots: this.#changedRoots() };
    } finally {
      this.#control.gateOpen();
    }
  }

  #closeGate(): void {
    const control = this.#control;
    control.gateClose();
    try {
      for (;;) {
        const seen = this.#memory.load(H_GATE_WAKE);
        if (control.gateInside() === 0) return;
        control.park(H_GATE_WAKE, seen, PARK_MS);
        this.#thread.lookAround();
      }
    } catch (error) {
      control.gateOpen();
      throw error;
    }
  }

  /** Images that were preserved for a round that has failed since. */
  #discardImages(): void {
    let staging = this.#control.stagingNext(0);
    while (staging !== NONE) {
      this.#control.stagingGive(staging);
      staging = this.#control.stagingNext(staging);
    }
  }

  #changedRoots(): Map<number, BlobId> {
    const roots = new Map<number, BlobId>();
    if (this.#memory.load(H_ROOTS) === 0) return roots;
    const since = this.#memory.loadU64(H_CHECKPOINT_SEQ);
    for (let index = 0; index < ROOT_ENTRIES; index++) {
      const owner = this.#control.rootChangedAt(index, since);
      if (owner >= 0) roots.set(owner, this.#control.rootOf(owner));
    }
    return roots;
  }

  // --- 2. log first --------------------------------------------------------------------------------

  /**
   * Waits until the log is durable up to S.
   *
   * @throws {WeirpoolError} `STORE_IO` when the log cannot be written for `logWaitMs`.
   */
  logFirst({ seq }: Capture): void {
    this.#enter(2);
    const memory = this.#memory;
    const since = performance.now();
    for (;;) {
      const seen = memory.load(H_LOG_WAKE);
      if (memory.loadU64(H_LOG_DURABLE) >= seq) return;
      memory.raiseU64(H_WANT_DURABLE, seq);
      this.#services.journal();
      if (memory.loadU64(H_LOG_DURABLE) >= seq) return;
      if (!this.#services.inline) this.#control.park(H_LOG_WAKE, seen, PARK_MS);
      this.#thread.lookAround();
      assertLogWritable(memory, since, this.#logWaitMs, 'The round is put off.');
    }
  }

  // --- 3. copy, 4. write through ---------------------------------------------------------------------

  #prepare({ frames }: Capture): void {
    for (let index = 0; index < frames; index++) {
      this.#uncopied.push(index);
      this.#captureOf.set(this.#control.captureFrame(index), index);
    }
    this.#uncopied.reverse();
    this.#slots = this.#store.exclusively(() => this.#store.takeSlots(frames));
  }

  /**
   * An image that is to be written, in a staging frame: one that a writer has preserved, else one
   * that is copied now; NONE if there is none at the moment.
   */
  nextImage({ round }: Capture): number {
    const preserved = this.#control.stagingNext(0);
    if (preserved !== NONE) return preserved;
    for (let left = this.#uncopied.length; left > 0; left--) {
      const index = this.#uncopied.pop() as number;
      const staging = this.#copy(this.#control.captureFrame(index), round);
      if (staging >= 0) return staging;
      if (staging === BUSY) this.#uncopied.unshift(index);
      if (staging === NONE) {
        this.#uncopied.push(index);
        return NONE;
      }
    }
    return NONE;
  }

  /** Copies a captured frame: the staging frame; NONE without one; BUSY, MISS: a writer copies. */
  #copy(frame: number, round: number): number {
    const control = this.#control;
    const staging = control.stagingTake();
    if (staging === NONE) return NONE;
    const result = control.beginCopy(frame, round);
    if (result !== OK) {
      control.stagingGive(staging);
      return result;
    }
    this.#memory.copy(this.#stagingFirst + staging, frame);
    control.endCopy(frame);
    control.stagingReady(staging, frame, round);
    return control.stagingNext(staging);
  }

  /** The blob of an image, with its sum and the slot that it goes to. */
  #place(staging: number): BlobMapping {
    const index = this.#captureOf.get(this.#control.stagingFrame(staging)) as number;
    const id = this.#control.captureId(index);
    const checksum = this.#memory.checksum(this.#stagingFirst + staging, id);
    return { id, slot: this.#slots[index] as number, checksum };
  }

  #written(staging: number, image: BlobMapping, error: Error | undefined): void {
    this.#control.stagingGive(staging);
    if (error === undefined) {
      this.#mapped.push(image);
    } else {
      if (!isDiskFull(error)) this.#lostSlots.add(image.slot);
      this.#failure ??= asWeirpoolError(error, 'not_applied');
    }
  }

  /** Writes every captured image, one after the other. */
  writeThrough(capture: Capture): void {
    this.#enter(3);
    this.#prepare(capture);
    while (this.#mapped.length < capture.frames) {
      const staging = this.nextImage(capture);
      if (staging === NONE) this.#awaitWriters();
      else this.#writeOne(staging);
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  #writeOne(staging: number): void {
    const image = this.#place(staging);
    const { bytes } = this.#memory.frame(this.#stagingFirst + staging);
    let failure: Error | undefined;
    try {
      this.#store.backend.writeSlot(image.slot, bytes);
    } catch (error) {
      failure = error as Error;
    }
    this.#written(staging, image, failure);
  }

  /** The same with several writes in flight. */
  async writeThroughAsync(capture: Capture): Promise<void> {
    this.#enter(3);
    this.#prepare(capture);
    const inFlight = new Set<Promise<void>>();
    while (this.#mapped.length < capture.frames && this.#failure === undefined) {
      const staging = inFlight.size < WRITES_IN_FLIGHT ? this.nextImage(capture) : NONE;
      if (staging !== NONE) {
        const write: Promise<void> = this.#writeAsync(staging).finally(() =>
          inFlight.delete(write),
        );
        inFlight.add(write);
      } else if (inFlight.size > 0) {
        await Promise.race(inFlight);
      } else {
        this.#awaitWriters();
      }
    }
    // A slot is free again only after every write has settled.
    await Promise.all(inFlight);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #writeAsync(staging: number): Promise<void> {
    const image = this.#place(staging);
    const { bytes } = this.#memory.frame(this.#stagingFirst + staging);
    this.#written(staging, image, await this.#store.writeSlot(image.slot, bytes));
  }

  /** Every frame is copied or being copied by a writer, who is inside the gate. */
  #awaitWriters(): void {
    this.#control.park(H_GATE_WAKE, this.#memory.load(H_GATE_WAKE), COPY_NAP_MS);
    this.#thread.lookAround();
  }

  // --- 5. sync, 6. commit, 7. publish and retire, 8. trim ----------------------------------------------

  /** Makes the cut the store's content, in one manifest record. The deletes that it carried. */
  commit(capture: Capture): number {
    const store = this.#store;
    this.#enter(5);
    if (this.#mapped.length > 0) store.sync();
    this.#enter(6);
    const deleted = this.#deletedUpTo(capture.seq);
    const known = deleted.filter((id) => store.lookup(id) !== undefined);
    const fresh = this.#mapped.filter(({ id }) => store.lookup(id) === undefined).length;
    store.exclusively(() => {
      store.commitSynced({
        mapped: this.#mapped,
        deleted: known,
        nextBlobId: store.leaseEnd,
        checkpointSeq: capture.seq,
        roots: capture.roots,
      });
      // Under the lock: who copies the mapping knows which cut it is.
      this.#memory.raiseU64(H_CHECKPOINT_SEQ, capture.seq);
    });
    this.#enter(7);
    for (const id of deleted) {
      this.#thread.waitThrough(() => this.#control.deleteRemove(id, this.#thread.me, PARK_MS));
    }
    // Created and gone again before any round: it was never named.
    store.returnName(fresh + deleted.length - known.length);
    this.retire(capture);
    this.#memory.raiseU64(H_LOG_BASE, capture.seq);
    return deleted.length;
  }

  #deletedUpTo(seq: number): BlobId[] {
    const ids: BlobId[] = [];
    if (this.#memory.load(H_DELETES) === 0) return ids;
    for (let index = 0; index < DELETE_ENTRIES; index++) {
      const id = this.#control.deleteIdAt(index, seq);
      if (id !== 0) ids.push(id);
    }
    return ids;
  }

  /** Frames whose image is committed are clean, unless they were changed again. */
  retire({ frames }: Capture): void {
    for (let index = 0; index < frames; index++) this.#control.retire(index);
    this.#control.wakeFrameWaiters();
  }

  /** Lets the log up to S go. */
  trim({ seq }: Capture): void {
    this.#enter(8);
    this.#memory.raiseU64(H_TRIM_SEQ, seq);
    this.#services.journal();
  }

  // --- failure ---------------------------------------------------------------------------------------

  /** Puts everything captured back, merged by minimum with what was marked since. */
  restore({ frames }: Capture): void {
    this.#closeGate();
    try {
      for (let index = 0; index < frames; index++) this.#control.restore(index);
      this.#discardImages();
    } finally {
      this.#control.gateOpen();
    }
    const kept = this.#slots.filter((slot) => !this.#lostSlots.has(slot));
    this.#store.exclusively(() => this.#store.returnSlots(kept));
  }

  // --- all of it -----------------------------------------------------------------------------------

  #isEmpty({ seq, frames, roots }: Capture): boolean {
    const memory = this.#memory;
    if (frames > 0 || roots.size > 0 || memory.load(H_DELETES) > 0) return false;
    return seq === memory.loadU64(H_CHECKPOINT_SEQ);
  }

  #end(capture: Capture, deletes: number): RoundOutcome {
    this.#enter(0);
    const { seq, frames } = capture;
    const bytes = frames * this.#memory.shared.blobBytes;
    return { seq, frames, deletes, bytes, phases: this.#phases };
  }

  #failed(capture: Capture, error: unknown): WeirpoolError {
    const cause = asWeirpoolError(error);
    try {
      // After a poison nothing is put back: only reopening tells what the store holds.
      this.#thread.assertRunning();
      this.restore(capture);
    } catch {
      // Stopped meanwhile.
    }
    this.#enter(0);
    return cause;
  }

  /** Runs the round without yielding. Errors: the cause of the failure; all is put back. */
  run(): RoundOutcome {
    const capture = this.capture();
    if (this.#isEmpty(capture)) return this.#end(capture, 0);
    try {
      this.logFirst(capture);
      this.writeThrough(capture);
      return this.#conclude(capture);
    } catch (error) {
      throw this.#failed(capture, error);
    }
  }

  /** The same with several writes in flight. */
  async runAsync(): Promise<RoundOutcome> {
    const capture = this.capture();
    if (this.#isEmpty(capture)) return this.#end(capture, 0);
    try {
      this.logFirst(capture);
      await this.writeThroughAsync(capture);
      return this.#conclude(capture);
    } catch (error) {
      throw this.#failed(capture, error);
    }
  }

  #conclude(capture: Capture): RoundOutcome {
    const deletes = this.commit(capture);
    this.trim(capture);
    return this.#end(capture, deletes);
  }
}
