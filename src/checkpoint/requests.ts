/**
 * Asking for rounds and waiting for them.
 *
 * Owns:        the promises of this thread that wait for a round.
 * Invariants:  a ticket is answered only by a round that began after it was drawn.
 * Threads:     one object for each thread.
 */
import { WeirpoolError } from '../errors.ts';
import {
  H_CHECKPOINT_SEQ,
  H_LOG_TAIL,
  H_ROUND,
  H_ROUND_DELETES,
  H_ROUND_DONE,
  H_ROUND_ENDED,
  H_ROUND_ERROR,
  H_ROUND_FRAMES,
  H_ROUND_OK,
  H_STATUS,
  STATUS_CLOSED,
  STATUS_POISONED,
} from '../generated/layout.ts';
import { isReached, type LogServices, roundRefused } from '../memory/services.ts';
import { getError } from '../memory/shared-error.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import { waitAsync } from '../memory/wait-async.ts';

/** What a round has done. */
export interface RoundReport {
  /** Number of the round, counted from the opening. */
  readonly round: number;
  /** Seq of the cut: everything up to it is in the store. */
  readonly seq: number;
  /** Blobs that were written. */
  readonly frames: number;
  /** Blobs that were deleted. */
  readonly deletes: number;
}

export class RoundRequests {
  readonly #thread: PoolThread;
  readonly #waitMs: number;

  /** @param waitMs  How long a thread blocks for a round before it gives up. */
  constructor(thread: PoolThread, waitMs: number) {
    this.#thread = thread;
    this.#waitMs = waitMs;
  }

  get #services(): LogServices {
    return this.#thread.services as LogServices;
  }

  /**
   * Runs a round and resolves when it is committed: everything that was committed before the call
   * is in the store then.
   *
   * @throws {WeirpoolError} why the round failed (`STORE_IO`, `STORE_FULL`): nothing is lost, and it
   *         may be tried again; `TX_NESTED`, `POISONED`, `POOL_CLOSED`.
   */
  async run(): Promise<RoundReport> {
    this.#thread.assertRunning();
    if (this.#thread.insideGate) throw roundRefused();
    const ticket = this.#services.round();
    const { memory } = this.#thread;
    const index = H_ROUND_ENDED / Int32Array.BYTES_PER_ELEMENT;
    const alive = setInterval(() => undefined, 2 ** 30);
    try {
      for (;;) {
        const seen = Atomics.load(memory.i32, index);
        if (this.#isDone(ticket)) return this.#report(ticket);
        this.#assertNotStopped();
        const wait = waitAsync(memory.i32, index, seen, PARK_MS);
        if (wait.async) await wait.value;
      }
    } finally {
      clearInterval(alive);
    }
  }

  /** A round that was asked for before a close is still run. */
  #assertNotStopped(): void {
    const status = this.#thread.memory.load(H_STATUS);
    if (status === STATUS_POISONED || status === STATUS_CLOSED || !this.#thread.attached) {
      throw this.#thread.stopped();
    }
  }

  #isDone(ticket: number): boolean {
    return isReached(this.#thread.memory.load(H_ROUND_DONE), ticket);
  }

  #report(ticket: number): RoundReport {
    const { memory } = this.#thread;
    if (!isReached(memory.load(H_ROUND_OK), ticket)) throw this.#failure();
    return {
      round: memory.loadU64(H_ROUND),
      seq: memory.loadU64(H_CHECKPOINT_SEQ),
      frames: memory.load(H_ROUND_FRAMES),
      deletes: memory.load(H_ROUND_DELETES),
    };
  }

  #failure(): WeirpoolError {
    const cause = getError(this.#thread.memory, H_ROUND_ERROR);
    return cause ?? new WeirpoolError('STORE_IO', 'The round has failed.');
  }

  /** Whether the store contains everything that was committed before the call. */
  get isSettled(): boolean {
    const { memory } = this.#thread;
    // The tail first: it only grows, and the cut never passes it.
    const tail = memory.loadU64(H_LOG_TAIL);
    return memory.loadU64(H_CHECKPOINT_SEQ) >= tail;
  }

  /** As `run`, but blocks this thread, which holds nothing. Errors as `run`. */
  runSync(): RoundReport {
    this.#thread.assertRunning();
    if (this.#thread.isHolding) throw roundRefused();
    const { memory, control } = this.#thread;
    const ticket = this.#services.round();
    for (;;) {
      const seen = memory.load(H_ROUND_ENDED);
      if (this.#isDone(ticket)) return this.#report(ticket);
      // In the middle of a round of its own, as a listener of its events is.
      if (this.#services.inline) throw roundRefused();
      control.park(H_ROUND_ENDED, seen, PARK_MS);
      this.#thread.lookAround();
    }
  }

  /**
   * Blocks this thread, which holds nothing, until a round has ended well or `enough` says so.
   *
   * @throws {WeirpoolError} the error of the last round when none has succeeded for `waitMs`.
   */
  waitSync(enough: () => boolean): void {
    const { memory, control } = this.#thread;
    const deadline = performance.now() + this.#waitMs;
    let ticket = this.#services.round();
    for (;;) {
      const seen = memory.load(H_ROUND_ENDED);
      if (enough()) return;
      if (this.#isDone(ticket)) {
        if (isReached(memory.load(H_ROUND_OK), ticket)) return;
        if (performance.now() > deadline) throw this.#failure();
        ticket = this.#services.round();
      }
      if (!this.#services.inline) control.park(H_ROUND_ENDED, seen, PARK_MS);
      this.#thread.lookAround();
      if (performance.now() > deadline && this.#isDone(ticket)) throw this.#failure();
    }
  }
}
