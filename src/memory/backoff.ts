/**
 * Leaving off for a while what was in vain.
 *
 * Owns:        how often it was, for one place that tries.
 * Threads:     private to a thread.
 */

/** Times in vain, one after the other, that double how often it is left. */
const VAIN_MAX = 5;

export class Backoff {
  #vain = 0;
  #left = 0;

  /** Whether to leave it this time: once after it was in vain, then 2, 4, 8, 16, and 32 times. */
  leaves(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    return true;
  }

  /** Tells how it went when it was not left. */
  note(paid: boolean): void {
    if (!paid) this.#left = 2 ** this.#vain;
    this.#vain = paid ? 0 : Math.min(this.#vain + 1, VAIN_MAX);
  }
}
