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

const SPIN_MS = 0.03;
/** Looks at the word between two looks at the clock. */
const LOOKS = 50;
/** Waits that park at once after one that was in vain. */
const PARKED_AFTER = 16;

export class Spin {
  #parked = 0;

  /** Whether the word has changed from what was seen; if not, park. */
  until(memory: ThreadMemory, offset: number, seen: number): boolean {
    if (this.#parked > 0) {
      this.#parked--;
      return false;
    }
    const end = performance.now() + SPIN_MS;
    do {
      for (let looks = 0; looks < LOOKS; looks++) if (memory.load(offset) !== seen) return true;
    } while (performance.now() < end);
    this.#parked = PARKED_AFTER;
    return false;
  }
}
