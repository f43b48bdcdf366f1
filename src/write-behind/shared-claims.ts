/**
 * Claims among several threads: a word for each stripe of keys, which names who has it.
 *
 * Owns:        this thread's claims, in the shared words.
 * Invariants:  B4   as stated in claims.ts, also among threads;
 *              B7   what a dead thread has claimed is taken over, by whoever wants it: its slot in the
 *                   pool is no longer in the state in which it joined.
 * Threads:     one object for each thread.
 *
 * A claim is no lease: however long a store takes, nobody else comes in between, as long as the thread
 * that waits for it lives. What a dead thread has asked of its store may still be on its way there.
 */
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import { waitAsync } from '../memory/wait-async.ts';
import { type Claims, LocalClaims } from './claims.ts';
import type { Steps } from './steps.ts';
import { type SharedWords, STRIPES, stripeOf } from './words.ts';

export class SharedClaims implements Claims {
  readonly #words: SharedWords;
  readonly #thread: PoolThread;
  readonly #local = new LocalClaims();
  readonly #mine: number;

  constructor(words: SharedWords, thread: PoolThread) {
    this.#words = words;
    this.#thread = thread;
    this.#mine = thread.me + 1;
    // What is claimed in the name of this slot is a dead thread's that had it before.
    for (let stripe = 0; stripe < STRIPES; stripe++) this.#free(stripe, this.#mine);
    Atomics.store(words.i32, words.ownerAt(thread.me), this.#stateOf(thread.me));
  }

  #stateOf(slot: number): number {
    return this.#thread.control.attachedState(slot) | 0;
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
        if (this.#isDead(seen - 1)) this.#free(stripe, seen);
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

  #free(stripe: number, owner: number): void {
    const { i32 } = this.#words;
    const at = this.#words.claimAt(stripe);
    if (Atomics.compareExchange(i32, at, owner, 0) === owner) Atomics.notify(i32, at);
  }

  #isDead(slot: number): boolean {
    const state = this.#stateOf(slot);
    return state === 0 || state !== Atomics.load(this.#words.i32, this.#words.ownerAt(slot));
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
