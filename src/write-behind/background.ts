/**
 * Flushing in the background: by count, by age, by interval.
 *
 * Owns:        its timers, at most one of each kind; at most one flush at a time.
 * Invariants:  a timer keeps no process alive; after a failure the next try waits RETRY_MS at least.
 * Threads:     private to a thread.
 */
import type { Clock } from './clock.ts';

/** Pause after a failure before the number of dirty entries starts another flush. */
const RETRY_MS = 1000;
/** How often the dirty entries of other threads are looked at, of which no put here tells. */
const LOOK_MS = 1000;

export interface BackgroundParts {
  readonly clock: Clock;
  /** Dirty entries at which all are flushed; undefined: never. */
  readonly count: number | undefined;
  readonly ageMs: number | undefined;
  readonly intervalMs: number | undefined;
  readonly dirtyCount: () => number;
  /** Other threads put, too. */
  readonly isShared: boolean;
  readonly flush: () => Promise<unknown>;
  readonly flushOlderThan: (ms: number) => Promise<unknown>;
  readonly onError: (error: unknown) => void;
}

export class Background {
  /** Read by whoever puts. */
  readonly count: number;
  readonly #parts: BackgroundParts;
  readonly #stops = new Map<string, () => void>();
  #running: Promise<void> | undefined;
  #stopped = true;

  constructor(parts: BackgroundParts) {
    this.#parts = parts;
    this.count = parts.count ?? Number.POSITIVE_INFINITY;
  }

  start(): void {
    this.#stopped = false;
    const { ageMs, intervalMs, isShared, flush, flushOlderThan } = this.#parts;
    this.look();
    if (isShared && this.count !== Number.POSITIVE_INFINITY) this.#lookEvery();
    if (intervalMs !== undefined) this.#every('interval', intervalMs, flush);
    if (ageMs === undefined) return;
    // An entry waits half as long again at most.
    this.#every('age', Math.max(1, ageMs / 2), () => flushOlderThan(ageMs));
  }

  #lookEvery(): void {
    const stop = this.#parts.clock.after(LOOK_MS, () => {
      this.look();
      this.#lookEvery();
    });
    this.#stops.set('look', stop);
  }

  /** Flushes soon if there are `count` dirty entries, or more. */
  look(): void {
    if (this.#parts.dirtyCount() < this.count) return;
    if (this.#stops.has('count') || this.#stopped) return;
    this.#after('count', 0, () => this.#run(this.#parts.flush));
  }

  /** Ends the timers; what is under way ends by itself. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const stop of this.#stops.values()) stop();
    this.#stops.clear();
    await this.#running;
  }

  #after(name: string, ms: number, call: () => Promise<boolean>): void {
    const stop = this.#parts.clock.after(ms, () => {
      void call().then((went) => {
        if (this.#stopped) return;
        this.#stops.delete(name);
        if (!went) this.#after(name, RETRY_MS, call);
        // What was put during the flush has asked for none.
        else this.look();
      });
    });
    this.#stops.set(name, stop);
  }

  #every(name: string, ms: number, flush: () => Promise<unknown>): void {
    const stop = this.#parts.clock.after(ms, () => {
      void this.#run(flush).then(() => {
        if (!this.#stopped) this.#every(name, ms, flush);
      });
    });
    this.#stops.set(name, stop);
  }

  /** Whether it went well; one at a time. */
  async #run(flush: () => Promise<unknown>): Promise<boolean> {
    await this.#running;
    if (this.#stopped) return true;
    let went = true;
    const run = (async () => {
      try {
        await flush();
      } catch (error) {
        went = false;
        this.#parts.onError(error);
      }
    })();
    this.#running = run;
    try {
      await run;
    } finally {
      if (this.#running === run) this.#running = undefined;
    }
    return went;
  }
}
