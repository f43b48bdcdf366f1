/**
 * What a program of a schedule test is made of, and what its threads can do.
 *
 * A program is a set-up (main thread, before every schedule the same bytes), one body for each
 * thread (workers, gated), and a check of what is left (main thread, when all bodies have ended).
 */

import type { ControlExports } from '../../../src/generated/layout.ts';
import {
  A_ID,
  DESC_A,
  DESC_SHIFT,
  H_STATUS,
  OK,
  S_OUT,
  SLICE,
  STATUS_OPEN,
  STOPPED,
} from '../../../src/generated/layout.ts';
import type { ThreadMemory } from '../../../src/memory/pool-memory.ts';
import type { PoolThread } from '../../../src/memory/thread.ts';
import { Residency } from '../../../src/pool/residency.ts';
import type { MappedStore } from '../../../src/store/mapped-store.ts';
import { type Gate, Violation } from './gate.ts';
import { DATA_WORDS } from './protocol.ts';
import { type LogPart, type Setup, slotOf } from './setup.ts';

export const PARK_MS = 100;
/** Data words from here on record what a thread did, without a step: `note`. */
const NOTES = DATA_WORDS / 2;

/** The pool was stopped: the body ends. */
export class Stopped extends Error {}

export class Thread {
  readonly me: number;
  readonly gate: Gate;
  readonly memory: ThreadMemory;
  readonly control: ControlExports;
  readonly #data: Int32Array;

  constructor(me: number, gate: Gate, memory: ThreadMemory, data: Int32Array) {
    this.me = me;
    this.gate = gate;
    this.memory = memory;
    this.control = memory.control;
    this.#data = data;
  }

  /** The first check that failed, also if the product has caught what the check threw. */
  violation: Violation | undefined;

  check(condition: boolean, message: string): void {
    if (condition || this.gate.ended) return;
    this.violation ??= new Violation(message);
    throw this.violation;
  }

  equal(actual: unknown, expected: unknown, message: string): void {
    if (Object.is(actual, expected)) return;
    this.check(false, `${message}: ${String(actual)} instead of ${String(expected)}`);
  }

  /** First and second result that a kernel left in this thread's slot. */
  get out(): number {
    return this.memory.f64[(slotOf(this.me) + S_OUT) / 8] as number;
  }

  get outChecksum(): bigint {
    return this.memory.u64[(slotOf(this.me) + S_OUT) / 8 + 1] as bigint;
  }

  /** A data word that nobody changes; no step. */
  peek(index: number): number {
    return this.#data[index] as number;
  }

  /** As PoolThread.wait: calls `step` until it says something other than SLICE. */
  wait(step: () => number): number {
    let result = step();
    while (result === SLICE) {
      if (this.memory.load(H_STATUS) !== STATUS_OPEN) throw new Stopped('the pool has stopped');
      this.gate.yield();
      result = step();
    }
    return result;
  }

  ok(step: () => number, what: string): void {
    const result = this.wait(step);
    if (result === STOPPED) throw new Stopped('the pool has stopped');
    this.equal(result, OK, what);
  }

  /** Enters what only one thread may be in; data words `area` and the next count who is there. */
  enterAlone(area: number, message: string): void {
    const inside = this.gate.read(area);
    this.equal(inside, 0, message);
    this.gate.write(area, this.me + 1);
  }

  leaveAlone(area: number, message: string): void {
    this.equal(this.gate.read(area), this.me + 1, message);
    this.gate.write(area, 0);
  }

  /** Both halves of the bytes of a frame. */
  writeHalves(frame: number, value: number): void {
    this.gate.write(frame * 2, value);
    this.gate.write(frame * 2 + 1, value);
  }

  readHalves(frame: number): readonly [number, number] {
    return [this.gate.read(frame * 2), this.gate.read(frame * 2 + 1)];
  }

  /** Adds to a note; no step, no part of the interleaving. */
  note(index: number, by = 1): void {
    const at = NOTES + index;
    this.#data[at] = (this.#data[at] as number) + by;
  }

  noted(index: number): number {
    return this.#data[NOTES + index] as number;
  }

  /** The blob of a frame as it is in memory now, without a step. */
  peekBlob(frame: number): number {
    return Number(this.memory.u64[(DESC_A + frame * 2 ** DESC_SHIFT + A_ID) / 8]);
  }

  framesOf(id: number): number[] {
    const frames = Array.from({ length: this.memory.shared.frames }, (_, frame) => frame);
    return frames.filter((frame) => this.peekBlob(frame) === id);
  }

  /** The product's own residency code over the gated kernels; `read` stands for the store. */
  residency(
    read: (id: number, frame: number) => void,
    has: (id: number) => boolean = () => true,
  ): Residency {
    const { memory, control, me } = this;
    const assertRunning = () => {
      if (memory.load(H_STATUS) !== STATUS_OPEN) throw new Stopped('the pool has stopped');
    };
    const thread = {
      memory,
      control,
      me,
      wait: (step: () => number) => this.wait(step),
      // Nobody closes the pool in a schedule: it stops by poison alone, which ends both waits.
      waitThrough: (step: () => number) => this.wait(step),
      assertRunning,
      lookAround: assertRunning,
      stopped: () => new Stopped('the pool has stopped'),
      slotField: fieldOf(me),
      isHolding: false,
      services: undefined,
    };
    const store = {
      has,
      readFrame: (id: number, frame: { readonly index: number }) => read(id, frame.index),
    };
    return new Residency(
      thread as unknown as PoolThread,
      store as unknown as MappedStore,
      FRAME_WAIT_MS,
    );
  }
}

const FRAME_WAIT_MS = 3_600_000;

function fieldOf(me: number): (field: number) => number {
  return (field) => slotOf(me) + field;
}

export type Body = (t: Thread) => void;

export interface Program {
  readonly name: string;
  readonly frames?: number;
  readonly shards?: number;
  /** A ring and staging frames. */
  readonly log?: LogPart;
  readonly setup: (s: Setup) => void;
  readonly bodies: readonly Body[];
  /** What is wrong with the memory afterwards, if anything. */
  readonly after?: (s: Setup) => string | undefined;
  /** The thread that dies at every one of its steps. */
  readonly victim?: number;
  /** Gates before plain stores too. */
  readonly plain?: boolean;
  /** Somebody may have to wait for a time-out, as when a thread died. */
  readonly timeouts?: boolean;
}
