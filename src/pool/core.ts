/**
 * What the guards and the ways into a pool share, in one thread.
 *
 * Owns:        nothing of its own; it holds the parts together.
 * Threads:     one for each thread and pool.
 */
import { WeirpoolError } from '../errors.ts';
import { type ControlExports, S_FALLBACKS, S_RESTARTS } from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import type { PoolThread } from '../memory/thread.ts';
import type { MappedStore } from '../store/mapped-store.ts';
import { readOnlyError } from '../txn/transactions.ts';
import type { GuardHost } from './guards.ts';
import { type LogShared, PoolLog } from './pool-log.ts';
import { Residency } from './residency.ts';

/** Parts that `open` and `attach` put together. */
export interface PoolParts {
  readonly thread: PoolThread;
  readonly store: MappedStore;
  readonly frameWaitMs: number;
  readonly readOnly: boolean;
  /** Undefined for a pool without a log. */
  readonly log: LogShared | undefined;
}

export class PoolCore implements GuardHost {
  readonly control: ControlExports;
  readonly me: number;
  readonly residency: Residency;
  readonly memory: ThreadMemory;
  readonly thread: PoolThread;
  readonly store: MappedStore;
  readonly log: PoolLog | undefined;
  readonly logged: boolean;
  /** Whether guards may change bytes: neither with a log nor when opened for reading only. */
  readonly writable: boolean;
  attached: boolean;
  readonly #readOnly: boolean;
  readonly #restartsAt: number;
  readonly #fallbacksAt: number;

  constructor({ thread, store, frameWaitMs, readOnly, log }: PoolParts) {
    this.thread = thread;
    this.store = store;
    this.control = thread.control;
    this.me = thread.me;
    this.memory = thread.memory;
    this.residency = new Residency(thread, store, frameWaitMs);
    this.log = log && new PoolLog(thread, store, this.residency, { ...log, readOnly });
    this.logged = log !== undefined;
    this.#readOnly = readOnly;
    this.writable = !readOnly && log === undefined;
    this.attached = true;
    this.#restartsAt = thread.slotField(S_RESTARTS) / BigUint64Array.BYTES_PER_ELEMENT;
    this.#fallbacksAt = thread.slotField(S_FALLBACKS) / BigUint64Array.BYTES_PER_ELEMENT;
  }

  #count(at: number): void {
    this.memory.u64[at] = (this.memory.u64[at] as bigint) + 1n;
  }

  noteRestart(): void {
    this.#count(this.#restartsAt);
  }

  noteFallback(): void {
    this.#count(this.#fallbacksAt);
  }

  /** @throws {WeirpoolError} `READ_ONLY`, before anything else is looked at. */
  assertWritable(what: string): void {
    if (this.#readOnly) throw readOnlyError(what);
  }

  /** Why a change outside of a mini-transaction is refused; W2D: it would have no record. */
  refused(what: string): WeirpoolError {
    if (this.#readOnly) return readOnlyError(what);
    return new WeirpoolError(
      'LOGGED_POOL',
      `${what} changes a blob without a record in the log. Use pool.change on a pool with a log.`,
    );
  }

  stopped(): Error {
    return this.thread.stopped();
  }

  /** Leaves the pool: guards refuse from now on, what this thread held is given back. */
  detach(): void {
    this.attached = false;
    this.thread.detach();
  }
}
