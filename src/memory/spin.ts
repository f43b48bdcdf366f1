/**
 * Looking at a word for some microseconds before the thread parks on it.
 *
 * Owns:        nothing; whether it pays is remembered for each place that waits.
 * Threads:     private to a thread.
 *
 * To park, to be woken, and to wake somebody cost a system call each, and the processor that was asleep
 * some ten microseconds; what is waited for here often takes less than that. Where it was in vain, as on a
 * machine whose processors are all busy, the next waits park at once.
 */
import type { ThreadMemory } from './pool-memory.ts';

const SPIN_MS = 0.1;
/** Looks at the word between two looks at the clock. */
const LOOKS = 50;
/** Looks in vain, one after the other, that double the number of waits which park at once after them. */
const VAIN_MAX = 5;

export class Spin {
  #vain = 0;
  #parked = 0;

  /** Whether the word has changed from what was seen; if not, park. */
  until(memory: ThreadMemory, offset: number, seen: number): boolean {
    if (this.#parked > 0) {
      this.#parked--;
      return false;
    }
    const end = performance.now() + SPIN_MS;
    do {
      for (let looks = 0; looks < LOOKS; looks++)
        if (memory.load(offset) !== seen) return this.#ended();
    } while (performance.now() < end);
    this.#parked = 2 ** this.#vain;
    this.#vain = Math.min(this.#vain + 1, VAIN_MAX);
    return false;
  }

  #ended(): true {
    this.#vain = 0;
    return true;
  }
}
