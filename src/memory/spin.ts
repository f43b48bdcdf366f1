/**
 * Looking at a word for some microseconds before the thread parks on it.
 *
 * Owns:        whether it has paid lately, for one place that waits.
 * Threads:     private to a thread.
 *
 * To park, to be woken, and to wake somebody cost a system call each, and the processor that was asleep
 * some ten microseconds; what is waited for here often takes less than that. Where it was in vain, as on a
 * machine whose processors are all busy, the next waits park at once.
 */
import { Backoff } from './backoff.ts';
import type { ThreadMemory } from './pool-memory.ts';

const SPIN_MS = 0.1;
/** Looks at the word between two looks at the clock. */
const LOOKS = 50;

export class Spin {
  readonly #backoff = new Backoff();

  /** Whether the word has changed from what was seen; if not, park. */
  until(memory: ThreadMemory, offset: number, seen: number): boolean {
    if (this.#backoff.leaves()) return false;
    const changed = this.#look(memory, offset, seen);
    this.#backoff.note(changed);
    return changed;
  }

  #look(memory: ThreadMemory, offset: number, seen: number): boolean {
    const end = performance.now() + SPIN_MS;
    do {
      for (let looks = 0; looks < LOOKS; looks++) if (memory.load(offset) !== seen) return true;
    } while (performance.now() < end);
    return false;
  }
}
