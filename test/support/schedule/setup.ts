/**
 * The memory of a program: made once, put back to the same bytes before every schedule.
 *
 * Owns:        the list of regions that a small pool touches.
 * Threads:     main thread, while no worker runs.
 */
import {
  A_ID,
  A_NEXT,
  A_QUEUE,
  A_WORD,
  B_HOLDS,
  B_NEXT,
  B_WAITERS,
  BUCKETS,
  CAPTURE_ENTRY,
  CAPTURES,
  type ControlExports,
  DELETE_ENTRIES,
  DELETE_ENTRY,
  DELETES,
  DESC_A,
  DESC_B,
  DESC_SHIFT,
  GHOSTS,
  H_BUCKET_SHIFT,
  H_FRAME_WAITERS,
  H_FREE_COUNT,
  H_FREE_HEAD,
  H_STATUS,
  HOLD_SHIFT,
  HOLDS,
  HOLDS_STRIDE,
  LATCH_P,
  LOCKS_END,
  OK,
  SLOT_BITS,
  SLOT_BYTES,
  SLOTS,
  SNAPSHOT_ENTRY,
  SNAPSHOTS,
  STAGING,
  STAGING_ENTRY,
  STATUS_OPEN,
} from '../../../src/generated/layout.ts';
import { createPoolMemory, type PoolMemory } from '../../../src/memory/pool-memory.ts';
import { instantiateControl } from '../../../src/memory/wasm.ts';
import type { WasmModule } from '../../../src/memory/webassembly.ts';
import { DEAD, type SharedWords, THREADS_MAX } from './protocol.ts';

const BLOB_BYTES = 4096;
const BLOBS_MAX = 32;
const GOLDEN = 0x9e37_79b9_7f4a_7c15n;

export function slotOf(me: number): number {
  return SLOTS + me * SLOT_BYTES;
}

export function descA(frame: number): number {
  return DESC_A + frame * 2 ** DESC_SHIFT;
}

export function descB(frame: number): number {
  return DESC_B + frame * 2 ** DESC_SHIFT;
}

export function holdAt(me: number, frame: number): number {
  return HOLDS + me * HOLDS_STRIDE + frame * 2 ** HOLD_SHIFT;
}

/** What a program with a log has beyond the others. */
export interface LogPart {
  readonly ringBytes: number;
  readonly stagingFrames: number;
}

/** Blobs that programs delete, and how many may have one place. */
const IDS_OF_DELETES = [1, 2];
const DELETES_SPAN = 4;

/** Where the id of a pending delete is looked for first. */
export function homeOfDelete(id: number): number {
  return Number(((BigInt(id) * GOLDEN) & 0xffff_ffff_ffff_ffffn) >> 32n) & (DELETE_ENTRIES - 1);
}

interface Region {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export class Setup {
  readonly shared: PoolMemory;
  readonly control: ControlExports;
  readonly frames: number;
  readonly data: Int32Array;
  /** Schedules that ended with a pool that is poisoned. */
  undecided = 0;
  readonly #words: Int32Array;
  readonly #u8: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #u64: BigUint64Array;
  #regions: Region[] = [];
  #dataAtStart: Int32Array = new Int32Array(0);

  constructor(
    modules: { readonly control: WasmModule; readonly kernels: WasmModule },
    options: {
      readonly frames: number;
      readonly shards: number;
      readonly threads: number;
      readonly log: LogPart | undefined;
    },
    { data, words }: SharedWords,
  ) {
    this.#words = words;
    const { frames, shards, log } = options;
    const plan = { frames, blobBytes: BLOB_BYTES, shards, blobsMax: BLOBS_MAX, slotsMin: 0 };
    this.shared = createPoolMemory(log === undefined ? plan : { ...plan, log }, modules);
    this.control = instantiateControl(modules.control, this.shared.control);
    this.frames = frames;
    this.data = data;
    const { buffer } = this.shared.control;
    this.#u8 = new Uint8Array(buffer);
    this.#u32 = new Uint32Array(buffer);
    this.#u64 = new BigUint64Array(buffer);
    this.storeU32(H_STATUS, STATUS_OPEN);
    for (let me = 0; me < options.threads; me++) {
      if (this.control.attachSlot(me + 1, 0, 0) !== me) throw new Error(`slot ${me} is taken`);
    }
    data.fill(0);
  }

  u32(offset: number): number {
    return this.#u32[offset / 4] as number;
  }

  u64(offset: number): bigint {
    return this.#u64[offset / 8] as bigint;
  }

  storeU32(offset: number, value: number): void {
    this.#u32[offset / 4] = value;
  }

  /** Puts the blob into a frame whose halves are `id`, without a pin: the frame. */
  load(id: number): number {
    const { control } = this;
    const frame = control.takeFree(0, 0);
    if (control.publishLoading(id, frame, 0, 0) !== OK) throw new Error(`blob ${id} is there`);
    control.finishLoad(frame, 0, 0);
    control.unpin(frame, 0);
    this.data[frame * 2] = id;
    this.data[frame * 2 + 1] = id;
    return frame;
  }

  bucketOf(id: number): number {
    return Number(
      ((BigInt(id) * GOLDEN) & 0xffff_ffff_ffff_ffffn) >> BigInt(this.u32(H_BUCKET_SHIFT)),
    );
  }

  /** The smallest ids that share the bucket of `id`, or that do not. */
  others(id: number, count: number, sameBucket: boolean): number[] {
    const found: number[] = [];
    for (let other = id + 1; found.length < count; other++) {
      if ((this.bucketOf(other) === this.bucketOf(id)) === sameBucket) found.push(other);
    }
    return found;
  }

  // --- the same bytes for every schedule ---------------------------------------------------------

  remember(): void {
    const line = 2 ** DESC_SHIFT;
    const spans: [number, number][] = [
      [0, LOCKS_END],
      [SLOTS, SLOT_BYTES * (THREADS_MAX + 1)],
      [DESC_A, this.frames * line],
      [DESC_B, this.frames * line],
      [BUCKETS, 2 ** (64 - this.u32(H_BUCKET_SHIFT)) * 4],
      [GHOSTS, line],
      [STAGING, this.shared.stagingFrames * STAGING_ENTRY],
      [CAPTURES, this.shared.stagingFrames > 0 ? this.frames * CAPTURE_ENTRY : 0],
      ...this.#deletes(),
      [SNAPSHOTS, THREADS_MAX * SNAPSHOT_ENTRY],
      [SLOT_BITS, this.#u8.length - SLOT_BITS],
    ];
    for (let me = 0; me <= THREADS_MAX; me++) {
      spans.push([holdAt(me, 0), this.frames * 2 ** HOLD_SHIFT]);
    }
    this.#regions = spans.map(([offset, length]) => {
      return { offset, bytes: this.#u8.slice(offset, offset + length) };
    });
    this.#dataAtStart = this.data.slice();
  }

  /** Places of pending deletes that the programs' small ids may take. */
  #deletes(): [number, number][] {
    if (this.shared.stagingFrames === 0) return [];
    const homes = new Set(IDS_OF_DELETES.map(homeOfDelete));
    return [...homes].map((home) => [DELETES + home * DELETE_ENTRY, DELETES_SPAN * DELETE_ENTRY]);
  }

  reset(): void {
    for (const { offset, bytes } of this.#regions) this.#u8.set(bytes, offset);
    this.data.set(this.#dataAtStart);
  }

  // --- what must hold when nobody runs -----------------------------------------------------------

  /** Whether the victim died in the schedule that has just ended. */
  get died(): boolean {
    return this.#words[DEAD] === 1;
  }

  get poisoned(): boolean {
    return this.u32(H_STATUS) !== STATUS_OPEN;
  }

  /** Counts against the tables that explain them. */
  wrongCounts(): string | undefined {
    for (let frame = 0; frame < this.frames; frame++) {
      let holds = 0n;
      for (let me = 0; me <= THREADS_MAX; me++) holds += this.u64(holdAt(me, frame));
      const counted = this.u64(descB(frame) + B_HOLDS);
      if (counted !== holds)
        return `G1 frame ${frame} counts holds ${counted}, listed are ${holds}`;
      const waiters = this.u32(descB(frame) + B_WAITERS);
      if (waiters !== 0) return `D1 frame ${frame} counts ${waiters} waiters, and nobody is there`;
      if ((this.u64(descA(frame) + A_WORD) & LATCH_P) !== 0n) return `D1 frame ${frame} keeps P`;
    }
    const waiters = this.u32(H_FRAME_WAITERS);
    return waiters === 0 ? undefined : `D1 ${waiters} wait for a frame, and nobody is there`;
  }

  /** Each frame is free, or in one queue and in at most one chain. */
  wrongFrames(): string | undefined {
    const free = new Set<number>();
    for (let ref = this.u32(H_FREE_HEAD); ref !== 0; ref = this.u32(descB(ref - 1) + B_NEXT)) {
      if (free.has(ref)) return `I4 frame ${ref - 1} is free twice`;
      free.add(ref);
    }
    if (free.size !== this.u32(H_FREE_COUNT)) return `I4 the free list does not have its length`;
    const ids = new Set<bigint>();
    for (let frame = 0; frame < this.frames; frame++) {
      const id = this.u64(descA(frame) + A_ID);
      if (free.has(frame + 1)) {
        if (id !== 0n) return `I4 frame ${frame} is free and has blob ${id}`;
        continue;
      }
      if (this.u32(descA(frame) + A_QUEUE) === 0) return `I4 frame ${frame} is lost: in no list`;
      if (id === 0n) continue;
      if (ids.has(id)) return `I4 two frames have blob ${id}`;
      ids.add(id);
      if (this.#chained(id) !== frame + 1) return `I4 blob ${id} is not in its chain`;
    }
    return undefined;
  }

  #chained(id: bigint): number {
    let ref = this.u32(BUCKETS + this.bucketOf(Number(id)) * 4);
    for (let step = 0; ref !== 0 && step <= this.frames; step++) {
      if (this.u64(descA(ref - 1) + A_ID) === id) return ref;
      ref = this.u32(descA(ref - 1) + A_NEXT);
    }
    return 0;
  }
}
