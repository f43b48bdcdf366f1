/**
 * Claims among several threads: a word for each stripe of keys, which names who has it.
 *
 * Owns:        this thread's claims, in the shared words.
 * Invariants:  B4   as stated in claims.ts, also among threads;
 *              B7   what a dead thread has claimed is taken over, by whoever wants it. A word names
 *                   slot and generation of its thread: no thread's claims look like another one's,
 *                   and whose name its slot bears no longer will never have it again.
 * Threads:     one object for each thread.
 *
 * A claim is no lease: however long a store takes, nobody else comes in between, as long as the thread
 * that waits for it lives. What a dead thread has asked of its store may still be on its way there.
 */
import { SLOT_STATE_MASK } from '../generated/layout.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import { waitAsync } from '../memory/wait-async.ts';
import { type Claims, LocalClaims } from './claims.ts';
import type { Steps } from './steps.ts';
import { type SharedWords, stripeOf } from './words.ts';

export class SharedClaims implements Claims {
  readonly #words: SharedWords;
  readonly #thread: PoolThread;
  readonly #local = new LocalClaims();
  /** What stands in the words of what this thread has. */
  readonly #mine: number;

  constructor(words: SharedWords, thread: PoolThread) {
    this.#words = words;
    this.#thread = thread;
    this.#mine = this.#nameOf(thread.me);
  }

  /** Names the thread that has the slot now, and none before or after it; 0: nobody has it. */
  #nameOf(slot: number): number {
    const state = this.#thread.control.attachedState(slot);
    return state === 0 ? 0 : (state & ~SLOT_STATE_MASK) | (slot + 1);
  }

  *take(id: unknown, sync: boolean): Steps<void> {
    const stripe = stripeOf(id as string);
    yield* this.#local.take(stripe, sync);
    try {
      const at = this.#words.claimAt(stripe);
      const { i32 } = this.#words;
      for (;;) {
        const seen = Atomics.compareExchange(i32, at, 0, this.#mine);
        if (seen === 0) return;
        if (this.#isDead(seen)) this.#free(stripe, seen);
        else yield this.#wait(at, seen, sync);
      }
    } catch (error) {
      this.#local.release(stripe);
      throw error;
    }
  }

  release(id: unknown): void {
    const stripe = stripeOf(id as string);
    this.#free(stripe, this.#mine);
    this.#local.release(stripe);
  }

  /** Only if `owner` still has it: the claim may have changed hands since it was looked at. */
  #free(stripe: number, owner: number): void {
    const { i32 } = this.#words;
    const at = this.#words.claimAt(stripe);
    if (Atomics.compareExchange(i32, at, owner, 0) === owner) Atomics.notify(i32, at);
  }

  #isDead(owner: number): boolean {
    return this.#nameOf((owner & SLOT_STATE_MASK) - 1) !== owner;
  }

  /** Parks until the claim has moved, or for a while, and looks who has died. */
  #wait(at: number, seen: number, sync: boolean): Promise<void> | undefined {
    const { i32 } = this.#words;
    if (!sync) return this.#park(at, seen);
    Atomics.wait(i32, at, seen, PARK_MS);
    this.#thread.lookAround();
    return undefined;
  }

  async #park(at: number, seen: number): Promise<void> {
    // A pending wait does not keep the process alive by itself.
    const alive = setInterval(() => undefined, 2 ** 30);
    try {
      const wait = waitAsync(this.#words.i32, at, seen, PARK_MS);
      if (wait.async) await wait.value;
    } finally {
      clearInterval(alive);
    }
    this.#thread.lookAround();
  }
}
