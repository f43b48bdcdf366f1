/**
 * When a write is acknowledged.
 *
 * Owns:        nothing in shared memory: it asks the journal, and waits.
 * Invariants:  an acknowledged write is as safe as was asked for.
 * Threads:     one object for each `WeirLevel`.
 *
 * All writes of one turn of the event loop are waited for at once: that they are given to the operating
 * system takes one pass of the journal. It is over in some microseconds, less than going through the event
 * loop takes, so the thread waits that long itself, a millisecond at most; not when that was in vain lately.
 */
import { H_LOG_WAKE, H_LOG_WRITTEN, H_WANT_WRITTEN } from '../generated/layout.ts';
import { Backoff } from '../memory/backoff.ts';
import type { LogServices } from '../memory/services.ts';
import { Spin } from '../memory/spin.ts';
import type { Weirpool } from '../tree/weirpool.ts';
import type { DurabilityLevel } from '../wal/durability.ts';
import type { Group } from './group.ts';

/** Parks of a millisecond at most. */
const PARK_MS = 1;
const PARKS_MAX = 4;
/** Longest wait in the thread itself. */
const WAIT_MS = 1;

interface Settling {
  readonly group: Group;
  readonly level: DurabilityLevel;
  readonly done: Promise<void>;
}

export class Settler {
  readonly #db: Weirpool;
  #seq = 0;
  #turn: Promise<void> | undefined;
  #last: Settling | undefined;
  /** A wait in vain keeps the thread from others: the next ones are left to the event loop. */
  readonly #backoff = new Backoff();
  readonly #spin = new Spin();

  constructor(db: Weirpool) {
    this.#db = db;
  }

  /** Resolves when the group is made, at the end of this turn if that can be, and as safe as asked for. */
  settleGroup(group: Group, level: DurabilityLevel): Promise<void> {
    const last = this.#last;
    if (last?.group === group && last.level === level) return last.done;
    const done = this.#settleMade(group, level);
    this.#last = { group, level, done };
    return done;
  }

  async #settleMade(group: Group, level: DurabilityLevel): Promise<void> {
    await Promise.resolve(); // until here all writes of this turn come
    if (!group.make()) await this.#makeLater(group);
    await this.settle(group.seq, level);
  }

  /** Waits for the end of what this thread is in the middle of, as long as for a frame. */
  async #makeLater(group: Group): Promise<void> {
    const until = performance.now() + this.#db.pool.core.residency.frameWaitMs;
    do await new Promise((done) => setImmediate(done));
    while (!group.make(performance.now() > until));
  }

  /** Resolves when the record is as safe as asked for; undefined: it is. */
  settle(seq: number, level: DurabilityLevel): Promise<void> | undefined {
    if (level === 'none' || seq === 0) return undefined;
    if (level === 'synced') return this.#db.durable(seq, level);
    this.#seq = Math.max(this.#seq, seq);
    this.#turn ??= this.#settleTurn();
    return this.#turn;
  }

  async #settleTurn(): Promise<void> {
    await Promise.resolve(); // until here all writes of this turn come
    this.#turn = undefined;
    const seq = this.#seq;
    if (!this.#waitShortly(seq)) await this.#db.durable(seq, 'written');
  }

  #waitShortly(seq: number): boolean {
    const { services } = this.#db.pool.core.thread;
    if (services === undefined || services.inline || this.#backoff.leaves()) return false;
    const isWritten = this.#waitInThread(seq, services);
    this.#backoff.note(isWritten);
    return isWritten;
  }

  #waitInThread(seq: number, services: LogServices): boolean {
    const { memory, control } = this.#db.pool.core;
    memory.raiseU64(H_WANT_WRITTEN, seq);
    const until = performance.now() + WAIT_MS;
    for (let parks = 0; parks < PARKS_MAX; parks++) {
      const seen = memory.load(H_LOG_WAKE);
      services.journal();
      if (memory.loadU64(H_LOG_WRITTEN) >= seq) return true;
      if (!this.#spin.until(memory, H_LOG_WAKE, seen)) control.park(H_LOG_WAKE, seen, PARK_MS);
      if (memory.loadU64(H_LOG_WRITTEN) >= seq) return true;
      if (performance.now() >= until) break;
    }
    return false;
  }
}
