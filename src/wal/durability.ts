/**
 * Waiting until records are written, or survive power loss.
 *
 * Owns:        this thread's promises that wait for a seq.
 * Invariants:  an acknowledgement is given only when the watermark has reached the seq.
 * Threads:     one object for each thread. All of its promises share one wait; a pending one keeps
 *              the process alive.
 */
import { WeirpoolError } from '../errors.ts';
import {
  H_LOG_DURABLE,
  H_LOG_TAIL,
  H_LOG_WAKE,
  H_LOG_WRITTEN,
  H_STATUS,
  H_WANT_DURABLE,
  H_WANT_WRITTEN,
  S_LAST_SEQ,
  STATUS_CLOSED,
  STATUS_POISONED,
} from '../generated/layout.ts';
import type { LogServices } from '../memory/services.ts';
import { Spin } from '../memory/spin.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import { waitAsync } from '../memory/wait-async.ts';
import { assertLogWritable } from './failing.ts';

/**
 * How safe a commit is: `none` in memory, `written` in the operating system (survives the end of
 * the process), `synced` on the disk (survives power loss).
 */
export type DurabilityLevel = 'none' | 'written' | 'synced';

export const DURABILITY_LEVELS: readonly DurabilityLevel[] = ['none', 'written', 'synced'];

/** @throws {TypeError} not a level. */
export function checkDurability(level: unknown): DurabilityLevel {
  if (DURABILITY_LEVELS.includes(level as DurabilityLevel)) return level as DurabilityLevel;
  throw new TypeError(`durability must be 'none', 'written' or 'synced', not ${String(level)}`);
}

interface Waiter {
  readonly seq: number;
  readonly watermark: number;
  readonly since: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Durability {
  readonly #thread: PoolThread;
  readonly #services: () => LogServices;
  readonly #waitMs: number;
  readonly #level: DurabilityLevel;
  readonly #spin = new Spin();
  #waiters: Waiter[] = [];
  #waiting = false;

  /** @param waitMs  How long the log may fail to be written before a wait is given up. */
  constructor(
    thread: PoolThread,
    services: () => LogServices,
    level: DurabilityLevel,
    waitMs: number,
  ) {
    this.#thread = thread;
    this.#services = services;
    this.#level = level;
    this.#waitMs = waitMs;
  }

  /** Seq of this thread's last record, 0 if it has none. */
  get lastSeq(): number {
    return this.#thread.memory.loadU64(this.#thread.slotField(S_LAST_SEQ));
  }

  #check(seq: number | undefined): number {
    if (seq === undefined) return this.lastSeq;
    if (typeof seq !== 'number') throw new TypeError(`A seq is a number, not ${typeof seq}`);
    const tail = this.#thread.memory.loadU64(H_LOG_TAIL);
    // A change without a record carries the end of the log + 1; all that it rests on is before it.
    if (Number.isSafeInteger(seq) && seq >= 0 && seq <= tail + 1) return Math.min(seq, tail);
    throw new RangeError(`No record has the seq ${seq}: the last one has ${tail}`);
  }

  /** Says what is wanted, and gives the watermark that must reach the seq. */
  #want(seq: number, level: DurabilityLevel): number {
    const { memory } = this.#thread;
    const synced = level === 'synced';
    const watermark = synced ? H_LOG_DURABLE : H_LOG_WRITTEN;
    if (memory.loadU64(watermark) < seq) {
      memory.raiseU64(synced ? H_WANT_DURABLE : H_WANT_WRITTEN, seq);
      this.#services().journal();
    }
    return watermark;
  }

  /** Blocks this thread until the record is as safe as asked for. Errors as `durable`. */
  durableSync(seq?: number, level: DurabilityLevel = this.#level): void {
    this.#assertNotOver();
    const until = this.#check(seq);
    if (checkDurability(level) === 'none') return;
    if (this.#thread.isHolding) {
      throw new WeirpoolError(
        'LATCH_HELD',
        'This thread holds a latch, and the log may wait for the disk. Release the guards, and end ' +
          'the mini-transaction, first.',
      );
    }
    const { memory, control } = this.#thread;
    const since = performance.now();
    for (;;) {
      const seen = memory.load(H_LOG_WAKE);
      const watermark = this.#want(until, level);
      if (memory.loadU64(watermark) >= until) return;
      if (!this.#services().inline && !this.#spins(level, seen)) {
        control.park(H_LOG_WAKE, seen, PARK_MS);
      }
      if (memory.loadU64(watermark) >= until) return;
      this.#thread.reapNowAndThen();
      this.#assertNotOver();
      this.#assertWritable(since);
    }
  }

  /** A write takes microseconds, a sync does not. */
  #spins(level: DurabilityLevel, seen: number): boolean {
    return level === 'written' && this.#spin.until(this.#thread.memory, H_LOG_WAKE, seen);
  }

  /** What was committed is still written while the pool closes, not once it has stopped. */
  #assertNotOver(): void {
    const { memory, attached } = this.#thread;
    const status = memory.load(H_STATUS);
    if (attached && status !== STATUS_POISONED && status !== STATUS_CLOSED) return;
    const { code, message, details, cause } = this.#thread.stopped();
    // The change is made; whether it survives is what the caller does not learn.
    throw new WeirpoolError(code, message, { outcome: 'unknown', details, cause });
  }

  #assertWritable(since: number): void {
    const then = 'The change is in memory, and will be written when the disk takes it.';
    assertLogWritable(this.#thread.memory, since, this.#waitMs, then, 'unknown');
  }

  /**
   * Resolves when the record is as safe as asked for.
   *
   * @param seq    What `commit` returned; without it, this thread's last one.
   * @param level  Default: the pool's.
   * @throws {WeirpoolError} with outcome `unknown`: `POISONED`; `POOL_CLOSED`; `STORE_IO` when the
   *         log cannot be written. {TypeError}, {RangeError} not a seq, not a level.
   */
  async durable(seq?: number, level: DurabilityLevel = this.#level): Promise<void> {
    this.#assertNotOver();
    const until = this.#check(seq);
    if (checkDurability(level) === 'none') return;
    const watermark = this.#want(until, level);
    if (this.#thread.memory.loadU64(watermark) >= until) return;
    await new Promise<void>((resolve, reject) => {
      this.#waiters.push({ seq: until, watermark, since: performance.now(), resolve, reject });
      if (!this.#waiting) void this.#serve();
    });
  }

  /** One wait for all promises of this thread. */
  async #serve(): Promise<void> {
    const { memory } = this.#thread;
    const index = H_LOG_WAKE / Int32Array.BYTES_PER_ELEMENT;
    this.#waiting = true;
    // A pending wait does not keep the process alive by itself.
    const alive = setInterval(() => undefined, 2 ** 30);
    try {
      for (;;) {
        const seen = Atomics.load(memory.i32, index);
        this.#settle();
        if (this.#waiters.length === 0) return;
        this.#services().journal();
        const wait = waitAsync(memory.i32, index, seen, PARK_MS);
        await wait.value;
      }
    } finally {
      this.#waiting = false;
      clearInterval(alive);
    }
  }

  #settle(): void {
    const { memory } = this.#thread;
    const left: Waiter[] = [];
    for (const waiter of this.#waiters) {
      if (memory.loadU64(waiter.watermark) >= waiter.seq) waiter.resolve();
      else if (!this.#rejects(waiter)) left.push(waiter);
    }
    this.#waiters = left;
  }

  #rejects(waiter: Waiter): boolean {
    try {
      this.#assertNotOver();
      this.#assertWritable(waiter.since);
      return false;
    } catch (error) {
      waiter.reject(error as Error);
      return true;
    }
  }
}
