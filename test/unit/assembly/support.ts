/**
 * The control module without a pool around it: several thread slots attached in one thread stand
 * for several threads, because each kernel is told who is calling.
 */
import { CONTROL_WASM, KERNELS_WASM } from '../../../src/generated/assets.ts';
import {
  A_WORD,
  B_HOLDS,
  type ControlExports,
  DESC_A,
  DESC_B,
  DESC_SHIFT,
  H_STATUS,
  LATCH_E,
  LATCH_FLAGS,
  LATCH_G,
  LATCH_P,
  LATCH_X,
  OK,
  S_LATCHES,
  SHARED_SHIFT,
  SLOT_BYTES,
  SLOTS,
  STATUS_OPEN,
  VERSION_SHIFT,
} from '../../../src/generated/layout.ts';
import { createPoolMemory, ThreadMemory } from '../../../src/memory/pool-memory.ts';
import { compileModules } from '../../../src/memory/wasm.ts';

export const BLOB_BYTES = 4096;

// The plain module runs everywhere; the fence only matters with more than one thread on Arm.
const modules = compileModules({
  control: CONTROL_WASM,
  controlFenced: CONTROL_WASM,
  kernels: KERNELS_WASM,
});

/** A task id of 0 is never found dead. */
const NO_TASK = 0;

export class Bench {
  readonly memory: ThreadMemory;
  readonly control: ControlExports;

  constructor(frames = 4) {
    const plan = { frames, blobBytes: BLOB_BYTES, shards: 1, blobsMax: 64, slotsMin: 0 };
    this.memory = new ThreadMemory(createPoolMemory(plan, modules));
    this.control = this.memory.control;
    this.memory.store(H_STATUS, STATUS_OPEN);
  }

  /** Slot number of one more simulated thread. */
  attach(nodeThread = 0): number {
    return this.control.attachSlot(nodeThread, NO_TASK, 0);
  }

  /** Brings a blob into a frame, as a load would; nothing is held afterwards. */
  load(id: number, me: number): number {
    const { control } = this;
    let frame = control.takeFree(me, 0);
    if (frame < 0) {
      frame = control.sweep(me, 0);
      must(frame >= 0, 'no frame');
      must(control.unmap(frame, me, 0) === OK, 'unmap');
    }
    must(control.publishLoading(id, frame, me, 0) === OK, 'publishLoading');
    must(control.finishLoad(frame, me, 0) === OK, 'finishLoad');
    must(control.unpin(frame, me) === OK, 'unpin');
    return frame;
  }

  word(frame: number): bigint {
    return this.memory.u64[(DESC_A + frame * 2 ** DESC_SHIFT + A_WORD) / 8] as bigint;
  }

  version(frame: number): bigint {
    return this.word(frame) >> BigInt(VERSION_SHIFT);
  }

  /** The flags as letters, such as `XE`. */
  flags(frame: number): string {
    const flags = this.word(frame) & LATCH_FLAGS;
    const letters: readonly (readonly [bigint, string])[] = [
      [LATCH_X, 'X'],
      [LATCH_P, 'P'],
      [LATCH_E, 'E'],
      [LATCH_G, 'G'],
    ];
    return letters.map(([bit, letter]) => ((flags & bit) === 0n ? '' : letter)).join('');
  }

  sharedCount(frame: number): number {
    return Number(this.#holds(frame) >> BigInt(SHARED_SHIFT));
  }

  pins(frame: number): number {
    return Number(this.#holds(frame) & 0xffff_ffffn);
  }

  #holds(frame: number): bigint {
    return this.memory.u64[(DESC_B + frame * 2 ** DESC_SHIFT + B_HOLDS) / 8] as bigint;
  }

  slotField(me: number, field: number): number {
    return this.memory.load(SLOTS + me * SLOT_BYTES + field);
  }

  latches(me: number): number {
    return this.slotField(me, S_LATCHES);
  }
}

function must(condition: boolean, message: string): void {
  if (!condition) throw new Error(`bench: ${message}`);
}
