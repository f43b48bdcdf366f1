/**
 * The right to change a key in the backing store.
 *
 * Owns:        who has it, in this thread.
 * Invariants:  B4   of one key at most one `write` or `delete` is under way;
 *              whoever waits gets it in the order of asking; nobody waits for a second one while
 *              holding one, so nobody waits in a circle.
 * Threads:     one object for each thread; SharedClaims (shared-claims.ts) stands before the others.
 */
import { asynchronous } from './failure.ts';
import type { Steps } from './steps.ts';

export interface Claims {
  /** Takes the right, waiting for it if need be. */
  take(id: unknown, sync: boolean): Steps<void>;
  release(id: unknown): void;
}

type Wake = () => void;

/** Claims of one thread. */
export class LocalClaims implements Claims {
  readonly #held = new Map<unknown, Wake[]>();

  isHeld(id: unknown): boolean {
    return this.#held.has(id);
  }

  *take(id: unknown, sync: boolean): Steps<void> {
    const waiting = this.#held.get(id);
    if (waiting === undefined) {
      this.#held.set(id, []);
      return;
    }
    // Who has it is this thread itself, in the middle of something that goes on only afterwards.
    if (sync) throw asynchronous('an operation of the same key that is under way', 'not_applied');
    // It is handed over: nobody who comes later gets in between.
    yield new Promise<void>((wake) => {
      waiting.push(wake);
    });
  }

  release(id: unknown): void {
    const wake = this.#held.get(id)?.shift();
    if (wake === undefined) this.#held.delete(id);
    else wake();
  }
}
