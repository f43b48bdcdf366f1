/**
 * Running rounds: tickets, triggers, statistics.
 *
 * Owns:        H_ROUND_DONE and H_ROUND_OK, the figures of rounds.
 * Invariants:  manual and background rounds are the same code, one after the other: only the thread
 *              that has this object runs any.
 * Threads:     the checkpointer worker; with `threads: 'inline'`, and while a store is being opened,
 *              the opener.
 */
import {
  H_DELETES,
  H_DIRTY_COUNT,
  H_DIRTY_TRIGGER,
  H_LOG_TRIGGER,
  H_OPENED_AT,
  H_ROUND_DELETES,
  H_ROUND_DONE,
  H_ROUND_ENDED,
  H_ROUND_ERROR,
  H_ROUND_FRAMES,
  H_ROUND_MS,
  H_ROUND_OK,
  H_ROUND_WANTED,
  H_ROUNDS_ATTEMPTED,
  H_ROUNDS_BYTES,
  H_ROUNDS_FAILED,
  H_ROUNDS_SUCCEEDED,
} from '../generated/layout.ts';
import { clearError, putError } from '../memory/shared-error.ts';
import { asWeirpoolError } from '../store/mapped-store.ts';
import { Round, type RoundHost, type RoundOutcome } from './round.ts';

const F64 = Float64Array.BYTES_PER_ELEMENT;
/** After a round that failed, the next one that nobody has asked for begins so much later, in ms. */
const RETRY_MS = 500;

/** When rounds run by themselves; 0 switches a trigger off. */
export interface RoundTriggers {
  readonly intervalMs: number;
  readonly ageMs: number;
}

export class Checkpointer {
  readonly #host: RoundHost;
  readonly #triggers: RoundTriggers;
  #endedAt = performance.now();
  #retryAt = 0;
  #startedAt = 0;

  constructor(host: RoundHost, triggers: RoundTriggers) {
    this.#host = host;
    this.#triggers = triggers;
  }

  /** Whether somebody has asked for a round. */
  get isAwaited(): boolean {
    const { memory } = this.#host.thread;
    return memory.load(H_ROUND_WANTED) !== memory.load(H_ROUND_DONE);
  }

  /** Whether a round should run by itself. */
  get isDue(): boolean {
    const now = performance.now();
    const { memory, control } = this.#host.thread;
    if (now < this.#retryAt) return false;
    const dirty = memory.load(H_DIRTY_COUNT);
    const work = dirty > 0 || memory.load(H_DELETES) > 0 || control.backlog() > 0;
    const { intervalMs, ageMs } = this.#triggers;
    if (intervalMs > 0 && work && now - this.#endedAt >= intervalMs) return true;
    const dirtyMax = memory.load(H_DIRTY_TRIGGER);
    if (dirtyMax > 0 && dirty >= dirtyMax) return true;
    const backlogMax = memory.f64[H_LOG_TRIGGER / F64] as number;
    if (control.backlog() >= backlogMax) return true;
    return ageMs > 0 && dirty > 0 && oldestDirtyMs(this.#host) >= ageMs;
  }

  /** Runs one round that answers every ticket drawn so far, without yielding. */
  runSync(): void {
    const ticket = this.#begin();
    try {
      this.#succeeded(ticket, new Round(this.#host).run());
    } catch (error) {
      this.#failed(ticket, error);
    }
  }

  /** The same with several writes in flight. */
  async run(): Promise<void> {
    const ticket = this.#begin();
    try {
      this.#succeeded(ticket, await new Round(this.#host).runAsync());
    } catch (error) {
      this.#failed(ticket, error);
    }
  }

  #begin(): number {
    this.#count(H_ROUNDS_ATTEMPTED, 1);
    this.#startedAt = performance.now();
    this.#host.onRound({ kind: 'start', attempt: this.#attempt });
    return this.#host.thread.memory.load(H_ROUND_WANTED);
  }

  get #attempt(): number {
    return this.#host.thread.memory.loadU64(H_ROUNDS_ATTEMPTED);
  }

  #count(counter: number, by: number): void {
    const { memory } = this.#host.thread;
    memory.storeU64(counter, memory.loadU64(counter) + by);
  }

  #succeeded(ticket: number, outcome: RoundOutcome): void {
    const { memory } = this.#host.thread;
    this.#count(H_ROUNDS_SUCCEEDED, 1);
    this.#count(H_ROUNDS_BYTES, outcome.bytes);
    memory.store(H_ROUND_FRAMES, outcome.frames);
    memory.store(H_ROUND_DELETES, outcome.deletes);
    memory.f64.set(outcome.phases, H_ROUND_MS / F64);
    clearError(memory, H_ROUND_ERROR);
    memory.store(H_ROUND_OK, ticket);
    this.#end(ticket);
    const { seq, frames, deletes, bytes } = outcome;
    const ms = this.#endedAt - this.#startedAt;
    this.#host.onRound({ kind: 'end', attempt: this.#attempt, seq, frames, deletes, bytes, ms });
  }

  #failed(ticket: number, error: unknown): void {
    const { memory } = this.#host.thread;
    this.#count(H_ROUNDS_FAILED, 1);
    const cause = asWeirpoolError(error, 'not_applied');
    putError(memory, H_ROUND_ERROR, cause);
    this.#retryAt = performance.now() + RETRY_MS;
    this.#end(ticket);
    const { code, message } = cause;
    this.#host.onRound({ kind: 'error', attempt: this.#attempt, error: { code, message } });
  }

  #end(ticket: number): void {
    const { memory } = this.#host.thread;
    this.#endedAt = performance.now();
    memory.store(H_ROUND_DONE, ticket);
    memory.bump(H_ROUND_ENDED);
  }
}

/** Age of the frame that has been dirty longest, in ms; -1 if all are clean. */
export function oldestDirtyMs({ thread: { control, memory } }: Pick<RoundHost, 'thread'>): number {
  return control.oldestDirtyMs(Date.now() - memory.loadU64(H_OPENED_AT));
}
