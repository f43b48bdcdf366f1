/**
 * The journal: writes what is published in the ring, syncs for all who wait, trims.
 *
 * Owns:        the log's writer; the consuming end of the ring; written and durable seq.
 * Invariants:  W2D  the durable seq is published after the sync, and never before;
 *              records are consumed in the order of their positions, so that an acknowledgement
 *              follows physical order;
 *              a failed write is tried again at the same offset, a failed sync poisons.
 * Threads:     the journal worker; with `threads: 'inline'` whoever waits. Synchronous calls only:
 *              the threads of libuv are shared with the application.
 */
import type { WeirpoolError } from '../errors.ts';
import {
  type ControlExports,
  H_CREDIT_WAKE,
  H_LOG_CONSUMED,
  H_LOG_DISK_BYTES,
  H_LOG_DURABLE,
  H_LOG_ERROR,
  H_LOG_FAILING,
  H_LOG_TAIL,
  H_LOG_TIGHT,
  H_LOG_TRIGGER,
  H_LOG_WAKE,
  H_LOG_WRITTEN,
  H_RING_MASK,
  H_TRIM_SEQ,
  H_WANT_DURABLE,
  H_WANT_WRITTEN,
} from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import { askForRound } from '../memory/services.ts';
import { clearError, putError } from '../memory/shared-error.ts';
import type { PoolThread } from '../memory/thread.ts';
import { asWeirpoolError } from '../store/mapped-store.ts';
import type { LogRing } from './ring.ts';
import type { LogWriter } from './segment-writer.ts';

/** Records that one write takes: enough to fill the disk's queue, little enough to give room soon. */
const GROUP_BYTES_MAX = 1024 * 1024;
/** Share of the ring at which nobody needs to wait for it to be written. */
const PRESSING_SHARE = 0.25;
/** Room in the files for what may lie in the ring: records, headers and padding of their groups. */
const ROOM_PER_RING_BYTE = 2;
/** Pause after a write that failed, in ms. */
const RETRY_MS = 20;
/** Pause after a trim or a spare that failed: a spare takes a whole segment of a full disk. */
const TIDY_RETRY_MS = 1000;

export class Journal {
  readonly #control: ControlExports;
  readonly #memory: ThreadMemory;
  readonly #thread: PoolThread;
  readonly #ring: LogRing;
  readonly #writer: LogWriter;
  readonly #intervalMs: number;
  #syncedAt = 0;
  #retryAt = 0;
  #tidyAt = 0;
  #trimmedTo = 0;
  /** What was tried to be trimmed last. */
  #triedTo = 0;
  /** The last attempt to make a spare segment failed: the next one may, too. */
  #spareFailed = false;

  /** @param intervalMs  Everything is written and synced at least so often; 0: only on request. */
  constructor(thread: PoolThread, ring: LogRing, writer: LogWriter, intervalMs: number) {
    this.#thread = thread;
    this.#control = thread.control;
    this.#memory = thread.memory;
    this.#ring = ring;
    this.#writer = writer;
    this.#intervalMs = intervalMs;
    this.#publishDisk();
  }

  get writer(): LogWriter {
    return this.#writer;
  }

  /** Whether somebody waits for what has not happened yet. */
  get isAwaited(): boolean {
    const memory = this.#memory;
    return (
      memory.loadU64(H_WANT_DURABLE) > this.#writer.durableSeq ||
      memory.loadU64(H_WANT_WRITTEN) > this.#writer.writtenSeq
    );
  }

  /** Whether there is more to do at once: somebody waits, or there is enough for large writes. */
  get isPressing(): boolean {
    const memory = this.#memory;
    const waiting = memory.loadU64(H_LOG_TAIL) - this.#writer.writtenSeq;
    return this.isAwaited || waiting > memory.load(H_RING_MASK) * PRESSING_SHARE;
  }

  /** Writes, syncs and trims what is due. Whether anything was done. */
  step(): boolean {
    if (this.#writer.stopped) return false;
    const now = performance.now();
    if (now < this.#retryAt) return false;
    try {
      const wrote = this.#write();
      const synced = this.#syncIfDue(now);
      this.#recovered();
      const tidied = this.#tidy(now);
      return wrote || synced || tidied;
    } catch (error) {
      this.#failed(asWeirpoolError(error), now);
      return false;
    }
  }

  /**
   * Writes what is published now, until a sync is due. What comes meanwhile is left for the next
   * step: to run after it would end in ever smaller groups. Whether there was any.
   */
  #write(): boolean {
    const end = this.#memory.loadU64(H_LOG_TAIL);
    let wrote = false;
    while (this.#writer.writtenSeq < end && !(wrote && this.#isSyncOverdue())) {
      const from = this.#writer.writtenSeq;
      const to = this.#control.ringPublished(from, GROUP_BYTES_MAX);
      if (to === from) break;
      try {
        this.#writer.append(this.#ring.views(from, to), from);
      } finally {
        // Also what was written before a failure: it is not written a second time.
        this.#publishWritten();
      }
      wrote = true;
    }
    return wrote;
  }

  /** Who waits for a sync must not wait for those who commit without a pause. */
  #isSyncOverdue(): boolean {
    const { durableSeq, writtenSeq } = this.#writer;
    const wanted = this.#memory.loadU64(H_WANT_DURABLE);
    if (wanted > durableSeq && wanted <= writtenSeq) return true;
    return this.#intervalMs > 0 && performance.now() - this.#syncedAt >= this.#intervalMs;
  }

  #publishWritten(): void {
    const memory = this.#memory;
    const { writtenSeq, durableSeq } = this.#writer;
    if (writtenSeq > memory.loadU64(H_LOG_CONSUMED)) this.#control.ringConsume(writtenSeq);
    memory.storeU64(H_LOG_WRITTEN, writtenSeq);
    // A rotation syncs.
    memory.storeU64(H_LOG_DURABLE, durableSeq);
    memory.bump(H_LOG_WAKE);
    if (this.#control.backlog() >= this.#trigger()) askForRound(memory);
    if (this.#spareFailed) this.#publishTight();
  }

  #trigger(): number {
    return this.#memory.f64[H_LOG_TRIGGER / Float64Array.BYTES_PER_ELEMENT] as number;
  }

  #syncIfDue(now: number): boolean {
    const { durableSeq, writtenSeq } = this.#writer;
    if (durableSeq === writtenSeq) return false;
    const wanted = this.#memory.loadU64(H_WANT_DURABLE) > durableSeq;
    const lazily = this.#intervalMs > 0 && now - this.#syncedAt >= this.#intervalMs;
    if (!wanted && !lazily) return false;
    this.sync();
    return true;
  }

  /** Syncs what was written and publishes it as durable. */
  sync(): void {
    this.#memory.storeU64(H_LOG_DURABLE, this.#writer.sync());
    this.#syncedAt = performance.now();
    this.#memory.bump(H_LOG_WAKE);
  }

  /** Trims, and makes a spare. Records are written on when that fails. */
  #tidy(now: number): boolean {
    const upTo = this.#memory.loadU64(H_TRIM_SEQ);
    // After a failure there is a pause, but a new round may have made room.
    if (now < this.#tidyAt && upTo <= this.#triedTo) return false;
    this.#triedTo = upTo;
    try {
      const trimmed = this.#trim();
      const made = this.#makeSpare();
      if (trimmed || made) this.#publishDisk();
      if (made) this.#spareFailed = false;
      this.#publishTight();
      return trimmed || made;
    } catch (error) {
      if (this.#writer.stopped) throw error;
      this.#tidyAt = now + TIDY_RETRY_MS;
      this.#spareFailed = true;
      this.#publishTight();
      return false;
    }
  }

  /**
   * On a full disk no more is taken into the ring than the log's files have room for: the round that
   * would free some needs the log on the disk first.
   */
  #publishTight(): void {
    const memory = this.#memory;
    const { freeBytes, sparePresent } = this.#writer.stats;
    const lacksRoom = !sparePresent && freeBytes < memory.shared.ringBytes * ROOM_PER_RING_BYTE;
    const tight = this.#spareFailed && lacksRoom;
    if (tight) askForRound(memory);
    if (tight === (memory.load(H_LOG_TIGHT) !== 0)) return;
    memory.store(H_LOG_TIGHT, tight ? 1 : 0);
    memory.bump(H_CREDIT_WAKE);
  }

  #trim(): boolean {
    const upTo = this.#memory.loadU64(H_TRIM_SEQ);
    if (upTo <= this.#trimmedTo || upTo > this.#writer.durableSeq) return false;
    this.#writer.trim(upTo);
    this.#trimmedTo = upTo;
    return true;
  }

  /** Only when nobody waits: it takes a sync of a whole segment. */
  #makeSpare(): boolean {
    if (this.isAwaited || this.#writer.stats.sparePresent) return false;
    this.#writer.prepareSpare();
    return true;
  }

  #publishDisk(): void {
    this.#memory.storeU64(H_LOG_DISK_BYTES, this.#writer.stats.bytesOnDisk);
  }

  #recovered(): void {
    this.#retryAt = 0;
    if (this.#memory.load(H_LOG_FAILING) === 0) return;
    this.#memory.store(H_LOG_FAILING, 0);
    clearError(this.#memory, H_LOG_ERROR);
  }

  #failed(error: WeirpoolError, now: number): void {
    const memory = this.#memory;
    this.#retryAt = now + RETRY_MS;
    putError(memory, H_LOG_ERROR, error);
    memory.store(H_LOG_FAILING, 1);
    if (this.#writer.stopped) this.#thread.poison(error);
    memory.bump(H_LOG_WAKE);
  }

  /**
   * The last steps: everything that is published is written and, unless a sync has failed, synced.
   * Errors are left to whoever opens the store next: what could not be written was never promised.
   */
  finish(): void {
    try {
      while (!this.#writer.stopped && this.#write());
      if (!this.#writer.stopped) this.sync();
    } catch (error) {
      this.#failed(asWeirpoolError(error), performance.now());
    } finally {
      this.#writer.abandon();
    }
  }
}
