/**
 * The asking end of prefetching.
 *
 * Owns:        the number of ids that this thread has pushed.
 * Threads:     one object for each thread; the loader thread counts what it has dealt with in the
 *              asking thread's slot (S_PREFETCHED) and wakes it.
 */
import { FULL, H_DOORBELL, H_LOADER, S_PREFETCHED, SLICE } from '../generated/layout.ts';
import { PARK_MS } from '../memory/thread.ts';
import { waitAsync } from '../memory/wait-async.ts';
import type { BlobId } from '../store/contract.ts';
import type { PoolCore } from './core.ts';
import { checkBlobId } from './residency.ts';

/** Time between two attempts while the ring is full, in ms. */
const RING_FULL_NAP_MS = 2;

export class Prefetcher {
  readonly #core: PoolCore;
  /** Starts the loader, in the opener; rings for it elsewhere. Undefined: load in this thread. */
  readonly #start: (() => void) | undefined;
  #pushed = 0;

  constructor(core: PoolCore, start: (() => void) | undefined) {
    this.#core = core;
    this.#start = start;
  }

  /**
   * Resolves when the loader has dealt with all ids, whether it could load them or not, or when the
   * pool has stopped.
   */
  async prefetch(ids: readonly BlobId[]): Promise<void> {
    for (const id of ids) checkBlobId(id);
    this.#core.thread.assertRunning();
    if (this.#start === undefined) {
      for (const id of ids) this.#loadHere(id);
      return;
    }
    try {
      await this.#ask(ids, this.#start);
    } catch (error) {
      // Nobody may be waiting for a hint: that the pool has stopped meanwhile is no error of it.
      if (this.#core.thread.isRunning) throw error;
    }
  }

  async #ask(ids: readonly BlobId[], start: () => void): Promise<void> {
    for (const id of ids) {
      while (!this.#push(id)) {
        if (this.#core.memory.load(H_LOADER) === 0) start();
        await new Promise((done) => setTimeout(done, RING_FULL_NAP_MS));
      }
    }
    const target = this.#pushed;
    await this.#dealtWith(target);
  }

  #loadHere(id: BlobId): void {
    const { control, me, residency } = this.#core;
    try {
      control.unpin(residency.pin(id, false), me);
    } catch {
      // A prefetch is a hint: whoever pins the blob gets the error.
    }
  }

  #push(id: BlobId): boolean {
    const { control, me, thread } = this.#core;
    thread.assertRunning();
    const result = control.prefetchPush(id, me, PARK_MS);
    if (result === SLICE) thread.lookAround();
    if (result === SLICE || result === FULL) return false;
    this.#pushed++;
    return true;
  }

  async #dealtWith(target: number): Promise<void> {
    const { memory, thread } = this.#core;
    const index = thread.slotField(S_PREFETCHED) / Int32Array.BYTES_PER_ELEMENT;
    // A pending wait does not keep the process alive by itself; a promise of ours does.
    const alive = setInterval(() => undefined, 2 ** 30);
    try {
      for (;;) {
        const done = Atomics.load(memory.i32, index);
        if (((target - done) | 0) <= 0) return; // counters wrap
        if (memory.load(H_LOADER) === 0) this.#start?.();
        const wait = waitAsync(memory.i32, index, done, PARK_MS);
        if (wait.async) await wait.value;
        thread.assertRunning();
      }
    } finally {
      clearInterval(alive);
    }
  }
}

/** Asks the opener for a loader thread. */
export function ringForLoader(core: PoolCore): void {
  const { memory } = core;
  Atomics.add(memory.i32, H_DOORBELL / Int32Array.BYTES_PER_ELEMENT, 1);
  memory.notify(H_DOORBELL);
}
