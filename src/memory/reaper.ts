/**
 * Gives back what a dead thread held, or poisons the pool if that cannot be done.
 *
 * Owns:        a dead thread's slot while it is at it (assembly/threads.ts has the steps).
 * Invariants:  G1, I1 as stated there: pins and shared latches go back, an exclusive latch, a lock
 *              or an undecided intent poisons.
 * Threads:     any; the slot's state lets one thread through.
 */
import { taskMayLive } from '../fs/proc.ts';
import {
  BUSY,
  H_OPENER,
  H_STATUS,
  OK,
  S_NODE_THREAD,
  S_START_TIME,
  S_TID,
  SLICE,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
  STATUS_OPEN,
  UNDECIDED,
} from '../generated/layout.ts';
import { poison } from './poison.ts';
import type { ThreadMemory } from './pool-memory.ts';

/** Locks are held for microseconds; a reaper parks briefly and tries again. */
const REAP_PARK_MS = 10;

export class Reaper {
  readonly #memory: ThreadMemory;
  readonly #me: number;

  constructor(memory: ThreadMemory, me: number) {
    this.#memory = memory;
    this.#me = me;
  }

  /** Reaps every attached thread whose task has vanished (Linux). */
  reapVanished(): void {
    for (let slot = 0; slot < SLOTS_MAX; slot++) {
      const seen = this.#memory.control.attachedState(slot);
      if (slot === this.#me || seen === 0) continue;
      const at = SLOTS + slot * SLOT_BYTES;
      const task = {
        tid: this.#memory.load(at + S_TID),
        startTime: this.#memory.loadU64(at + S_START_TIME),
      };
      if (!taskMayLive(task)) this.reap(slot, seen);
    }
  }

  /** Reaps the slots of a worker whose `exit` event has come. */
  reapNodeThread(nodeThread: number): void {
    for (let slot = 0; slot < SLOTS_MAX; slot++) {
      const seen = this.#memory.control.attachedState(slot);
      if (seen === 0) continue;
      if (this.#memory.load(SLOTS + slot * SLOT_BYTES + S_NODE_THREAD) === nodeThread) {
        this.reap(slot, seen);
      }
    }
  }

  /**
   * Gives back what the slot holds. The caller knows that the thread which had it when its state
   * word was `seen` is gone (or is that thread).
   */
  reap(slot: number, seen: number): void {
    const { control } = this.#memory;
    const self = slot === this.#me;
    if (control.beginReap(slot, seen, this.#me) === BUSY) return;
    const wasOpener = !self && this.#memory.load(H_OPENER) === slot + 1;
    if (wasOpener && this.#memory.load(H_STATUS) === STATUS_OPEN) {
      this.#poison('The thread that had opened the pool has died.');
    }
    if (control.reapSlot(slot) === UNDECIDED) {
      this.#poison('A thread died while it held a lock of the pool.');
    } else {
      for (let frame = 0; frame < this.#memory.shared.frames; frame++) this.#reapFrame(slot, frame);
    }
    control.endReap(slot);
  }

  #reapFrame(slot: number, frame: number): void {
    const { control } = this.#memory;
    const result = this.#retry(() => control.reapFrame(slot, frame, this.#me, REAP_PARK_MS));
    if (result === UNDECIDED) {
      const id = control.blobOf(frame);
      this.#poison(
        `A thread died while it held blob ${id} exclusively: its bytes may be half changed.`,
      );
    }
    if (result !== BUSY) return;
    this.#retry(() => control.unmap(frame, this.#me, REAP_PARK_MS));
    this.#retry(() => control.giveFree(frame, this.#me, REAP_PARK_MS));
  }

  /** Locks are free of dead owners here, or the pool is poisoned and it no longer matters. */
  #retry(step: () => number): number {
    let result = step();
    while (result === SLICE && this.#memory.load(H_STATUS) === STATUS_OPEN) result = step();
    return result === SLICE ? OK : result;
  }

  #poison(message: string): void {
    poison(this.#memory, 'WORKER_DIED', message);
  }
}
