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
import { currentTask, type TaskIdentity } from '../fs/proc.ts';
import {
  type ControlExports,
  H_STATUS,
  NONE,
  S_GATE,
  S_LATCHES,
  S_NODE_THREAD,
  S_OUT,
  SLICE,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
  STATUS_CLOSING,
  STATUS_OPEN,
  STATUS_OPENING,
  STATUS_POISONED,
} from '../generated/layout.ts';
import { poison, stoppedError } from './poison.ts';
import { type PoolMemory, ThreadMemory } from './pool-memory.ts';
import { Reaper } from './reaper.ts';
import type { LogServices } from './services.ts';

/** Longest park, in ms: how long a death or a poison can go unnoticed. */
export const PARK_MS = 100;

export class PoolThread {
  readonly memory: ThreadMemory;
  readonly control: ControlExports;
  /** Number of this thread's slot. */
  readonly me: number;
  readonly reaper: Reaper;
  readonly #task: TaskIdentity;
  #lookedAroundAt = 0;
  /** Set while this thread closes the pool: its own last commits go on, nothing else does. */
  closing = false;
  /** How this thread gets rounds and the log written; undefined on a pool without a log. */
  services: LogServices | undefined;
  /** Frames that a mini-transaction of this thread has taken: while it has any, it only tries. */
  framesTaken = 0;
  #attached = true;

  constructor(shared: PoolMemory) {
    this.memory = new ThreadMemory(shared);
    this.control = this.memory.control;
    this.#task = currentTask();
    this.me = this.#attach();
    this.reaper = new Reaper(this.memory, this.me, this.#task);
  }

  #attach(): number {
    const { tid, startTime } = this.#task;
    let slot = this.control.attachSlot(threadId, tid, startTime);
    if (slot === NONE) {
      new Reaper(this.memory, SLOTS_MAX, this.#task).reapVanished();
      slot = this.control.attachSlot(threadId, tid, startTime);
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

  /** Whether this thread has another place in the same pool: it would wait for itself. */
  get attachedTwice(): boolean {
    for (let slot = 0; slot < SLOTS_MAX; slot++) {
      if (slot === this.me || this.control.attachedState(slot) === 0) continue;
      if (this.memory.load(SLOTS + slot * SLOT_BYTES + S_NODE_THREAD) === threadId) return true;
    }
    return false;
  }

  get attached(): boolean {
    return this.#attached;
  }

  /** Latches that this thread holds now. */
  get latchesHeld(): number {
    return this.memory.load(this.slotField(S_LATCHES));
  }

  /** Whether this thread is inside the commit gate: rounds wait until it is out. */
  get insideGate(): boolean {
    return this.memory.load(this.slotField(S_GATE)) !== 0;
  }

  /** D1: whether it holds what others may wait for, so that it must not wait for a disk or a round. */
  get isHolding(): boolean {
    return this.latchesHeld > 0 || this.framesTaken > 0 || this.insideGate;
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

  /**
   * The same for a step in the middle of a commit, which a close must not cut short: only poison
   * ends it.
   */
  waitThrough(step: () => number): number {
    let result = step();
    while (result === SLICE) {
      if (this.memory.load(H_STATUS) === STATUS_POISONED) throw this.stopped();
      this.reapNowAndThen();
      result = step();
    }
    return result;
  }

  /**
   * After a park: throws if the pool has stopped, reaps who has died. Looks for the dead no more
   * often than parks last: a thread may be woken many times before it gets what it waits for.
   */
  lookAround(): void {
    this.reapNowAndThen();
    this.assertRunning();
  }

  /** Reaps the dead, no more often than parks last. */
  reapNowAndThen(): void {
    const now = performance.now();
    if (now - this.#lookedAroundAt < PARK_MS) return;
    this.#lookedAroundAt = now;
    this.reaper.reapVanished();
  }

  /**
   * @throws {WeirpoolError} `POISONED` or `POOL_CLOSED` unless the pool is open (or being opened
   *                         or closed by this call).
   */
  assertRunning(): void {
    if (!this.isRunning) throw this.stopped();
  }

  get isRunning(): boolean {
    const status = this.memory.load(H_STATUS);
    if (!this.#attached) return false;
    if (status === STATUS_OPEN || status === STATUS_OPENING) return true;
    return status === STATUS_CLOSING && this.closing;
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
