/**
 * Gives back what a dead thread held, or poisons the pool if that cannot be done.
 *
 * Owns:        a dead thread's slot while it is at it (assembly/threads.ts has the steps).
 * Invariants:  G1, I1 as stated there: pins and shared latches go back, an exclusive latch, a lock
 *              or an undecided intent poisons.
 * Threads:     any; the slot's state lets one thread through. A reaper that dies itself is followed
 *              by another, who repeats the steps: each of them can be repeated.
 */
import { threadId } from 'node:worker_threads';
import { type TaskIdentity, taskMayLive } from '../fs/proc.ts';
import {
  BUSY,
  H_CHECKPOINTER,
  H_JOURNAL,
  H_OPENER,
  H_STATUS,
  OK,
  S_NODE_THREAD,
  S_REAPER,
  S_REAPER_START,
  S_REAPER_TID,
  S_START_TIME,
  S_TID,
  SLICE,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
  STATUS_CLOSING,
  STATUS_OPEN,
  STATUS_POISONED,
  UNDECIDED,
} from '../generated/layout.ts';
import { poison } from './poison.ts';
import type { ThreadMemory } from './pool-memory.ts';

/** Locks are held for microseconds; a reaper parks briefly and tries again. */
const REAP_PARK_MS = 10;

/** A slot whose thread, or whose reaper, may be dead. */
interface Candidate {
  readonly slot: number;
  /** Its state word; if it has moved, somebody else was faster. */
  readonly seen: number;
  readonly task: TaskIdentity;
  readonly nodeThread: number;
}

export class Reaper {
  readonly #memory: ThreadMemory;
  readonly #me: number;
  readonly #task: TaskIdentity;

  /**
   * @param me    The reaper's own slot, or SLOTS_MAX for a thread that has none yet.
   * @param task  The reaper's own task, by which others see that it died.
   */
  constructor(memory: ThreadMemory, me: number, task: TaskIdentity) {
    this.#memory = memory;
    this.#me = me;
    this.#task = task;
  }

  /** Reaps every thread whose task has vanished (Linux), and goes on where a reaper has died. */
  reapVanished(): void {
    for (const candidate of this.#candidates()) {
      if (!taskMayLive(candidate.task)) this.reap(candidate.slot, candidate.seen);
    }
  }

  /** The same for a worker whose `exit` event has come. */
  reapNodeThread(nodeThread: number): void {
    for (const candidate of this.#candidates()) {
      if (candidate.nodeThread === nodeThread) this.reap(candidate.slot, candidate.seen);
    }
  }

  *#candidates(): Generator<Candidate> {
    const { control } = this.#memory;
    for (let slot = 0; slot < SLOTS_MAX; slot++) {
      if (slot === this.#me) continue;
      const attached = control.attachedState(slot);
      if (attached !== 0) {
        yield this.#candidate(
          slot,
          attached,
          S_TID,
          S_START_TIME,
          this.#field(slot, S_NODE_THREAD),
        );
        continue;
      }
      const reaped = control.reapedState(slot);
      if (reaped !== 0) {
        const reaper = this.#field(slot, S_REAPER) - 1;
        yield this.#candidate(slot, reaped, S_REAPER_TID, S_REAPER_START, reaper);
      }
    }
  }

  #field(slot: number, field: number): number {
    return this.#memory.load(SLOTS + slot * SLOT_BYTES + field);
  }

  #candidate(
    slot: number,
    seen: number,
    tidField: number,
    startField: number,
    nodeThread: number,
  ): Candidate {
    const startTime = this.#memory.loadU64(SLOTS + slot * SLOT_BYTES + startField);
    return { slot, seen, task: { tid: this.#field(slot, tidField), startTime }, nodeThread };
  }

  /**
   * Gives back what the slot holds. The caller knows that the thread which had it when its state
   * word was `seen` is gone (or is that thread).
   */
  reap(slot: number, seen: number): void {
    const { control } = this.#memory;
    const { tid, startTime } = this.#task;
    if (control.beginReap(slot, seen, threadId, tid, startTime) === BUSY) return;
    const status = this.#memory.load(H_STATUS);
    const running = status === STATUS_OPEN || status === STATUS_CLOSING;
    if (slot !== this.#me && running) this.#mourn(slot + 1);
    if (control.reapSlot(slot) === UNDECIDED) {
      this.#poison('A thread died while it held a lock of the pool.');
    } else {
      for (let frame = 0; frame < this.#memory.shared.frames; frame++) this.#reapFrame(slot, frame);
    }
    control.endReap(slot);
  }

  /** The pool does not outlive the threads that hold its store and its log. */
  #mourn(owner: number): void {
    if (this.#memory.load(H_OPENER) === owner) {
      this.#poison('The thread that had opened the pool has died.');
    } else if (this.#memory.load(H_JOURNAL) === owner) {
      this.#poison('The journal worker has died.');
    } else if (this.#memory.load(H_CHECKPOINTER) === owner) {
      this.#poison('The checkpointer worker has died.');
    }
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

  /**
   * Repeats a step that needs a lock. The lock may be another dead thread's: that one is reaped
   * meanwhile (once, its slot's state sees to it), which poisons the pool and ends the waiting.
   */
  #retry(step: () => number): number {
    let result = step();
    while (result === SLICE && this.#memory.load(H_STATUS) !== STATUS_POISONED) {
      this.reapVanished();
      result = step();
    }
    return result === SLICE ? OK : result;
  }

  #poison(message: string): void {
    poison(this.#memory, 'WORKER_DIED', message);
  }
}
