/**
 * One thread's place in a pool: its slot, its memory, and the one way to wait.
 *
 * Owns:        the thread slot from `attach` to `detach`.
 * Invariants:  D1  who holds a latch only tries: kernels return BUSY instead of parking then;
 *              G1  detaching gives back what the thread still holds.
 * Threads:     one object for each thread and pool.
 *
 * Every park lasts at most PARK_MS. After it the thread looks whether the pool has stopped and
 * whether somebody that it may wait for has died, and gives back what the dead one held.
 */
import { threadId } from 'node:worker_threads';
import { WeirpoolError } from '../errors.ts';
import { currentTask } from '../fs/proc.ts';
import {
  type ControlExports,
  H_STATUS,
  NONE,
  S_LATCHES,
  S_OUT,
  SLICE,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
  STATUS_CLOSING,
  STATUS_OPEN,
  STATUS_OPENING,
} from '../generated/layout.ts';
import { poison, stoppedError } from './poison.ts';
import { type PoolMemory, ThreadMemory } from './pool-memory.ts';
import { Reaper } from './reaper.ts';

/** Longest park, in ms: how long a death or a poison can go unnoticed. */
export const PARK_MS = 100;

export class PoolThread {
  readonly memory: ThreadMemory;
  readonly control: ControlExports;
  /** Number of this thread's slot. */
  readonly me: number;
  readonly reaper: Reaper;
  /** Set while this thread closes the pool: its own last commits go on, nothing else does. */
  closing = false;
  #attached = true;

  constructor(shared: PoolMemory) {
    this.memory = new ThreadMemory(shared);
    this.control = this.memory.control;
    this.me = this.#attach();
    this.reaper = new Reaper(this.memory, this.me);
  }

  #attach(): number {
    const task = currentTask();
    let slot = this.control.attachSlot(threadId, task.tid, task.startTime);
    if (slot === NONE) {
      new Reaper(this.memory, SLOTS_MAX).reapVanished();
      slot = this.control.attachSlot(threadId, task.tid, task.startTime);
    }
    if (slot === NONE) {
      throw new WeirpoolError(
        'THREADS_EXHAUSTED',
        `All ${SLOTS_MAX} thread slots of the pool are taken. Close the pool in threads that no ` +
          'longer need it.',
        { details: { slots: SLOTS_MAX } },
      );
    }
    return slot;
  }

  /** Byte offset of a field of this thread's slot in the control memory. */
  slotField(field: number): number {
    return SLOTS + this.me * SLOT_BYTES + field;
  }

  /** Index of the kernels' f64 results in `memory.f64`. */
  get outIndex(): number {
    return this.slotField(S_OUT) / Float64Array.BYTES_PER_ELEMENT;
  }

  get attached(): boolean {
    return this.#attached;
  }

  /** Latches that this thread holds now. */
  get latchesHeld(): number {
    return this.memory.load(this.slotField(S_LATCHES));
  }

  /** Calls `step` until it says something other than SLICE, with a look around after each park. */
  wait(step: () => number): number {
    let result = step();
    while (result === SLICE) {
      this.lookAround();
      result = step();
    }
    return result;
  }

  /** After a park: throws if the pool has stopped, reaps who has died. */
  lookAround(): void {
    this.reaper.reapVanished();
    this.assertRunning();
  }

  /**
   * @throws {WeirpoolError} `POISONED` or `POOL_CLOSED` unless the pool is open (or being opened
   *                         or closed by this call).
   */
  assertRunning(): void {
    const status = this.memory.load(H_STATUS);
    if (this.#attached) {
      if (status === STATUS_OPEN || status === STATUS_OPENING) return;
      if (status === STATUS_CLOSING && this.closing) return;
    }
    throw this.stopped();
  }

  stopped(): WeirpoolError {
    return stoppedError(this.memory);
  }

  poison(cause: WeirpoolError): void {
    poison(this.memory, cause.code, cause.message);
  }

  /** Gives the slot back, with everything that is still held. Idempotent. */
  detach(): void {
    if (!this.#attached) return;
    this.#attached = false;
    this.reaper.reap(this.me, this.control.attachedState(this.me));
  }
}
