/**
 * Shared memory of a pool: one control memory, one or more arenas of frames.
 *
 * Owns:        the sizes; the addresses are assembly/layout.ts's.
 * Threads:     the opener creates; every thread, the opener too, makes a ThreadMemory of its own.
 */
import {
  ABI_VERSION,
  BUCKETS_MAX,
  type ControlExports,
  DESC_A,
  GHOST_WAYS,
  H_ABI,
  H_BLOB_BYTES,
  H_BUCKET_SHIFT,
  H_FRAMES,
  H_GHOST_BUCKETS,
  H_MAGIC,
  H_MAP_BASE,
  H_MAP_MASK,
  H_RING,
  H_RING_MASK,
  H_SHARD_MASK,
  H_SMALL_TARGET,
  H_SPAN_BASE,
  H_STAGING_COUNT,
  H_STAGING_FIRST,
  H_STATUS,
  H_STORE_SLOTS,
  HOLD_SHIFT,
  type KernelExports,
  LINE,
  MAGIC,
  MAP_ENTRY,
  PREFETCH_ENTRIES,
  PREFETCH_ENTRY,
  SHARDS_MAX,
  SLOT_BITS,
  SLOTS_MAX,
  SPAN_ENTRY,
  STATUS_OPENING,
} from '../generated/layout.ts';
import { Frame } from './frame.ts';
import { instantiateControl, instantiateKernels, type WasmModules } from './wasm.ts';
import { type WasmMemory, wasm } from './webassembly.ts';

const PAGE_BYTES = 65536;
/** Room for keys, results and short values beside the two blobs of a thread's scratch area. */
export const SCRATCH_KEY_BYTES: number = 32 * 1024;
const BATCH_BYTES_MIN = 16 * 1024;
/** An entry of a batch has at least so many bytes for each byte of its place in two lists. */
const LIST_SHARE = 4;
const ARENA_BYTES_MAX = 65536 * PAGE_BYTES;
const BITS_PER_BYTE = 8;
/** The bitmap is whole 64-bit words, so that the mapping behind it is aligned. */
const BITS_PER_WORD = 64;
/** Slots beyond one for each blob: new bytes go to fresh slots, and readers keep old ones. */
const SLOTS_SPARE = 256;
/** Two descriptor lines, a ghost, and a hold for each thread. */
const BYTES_PER_FRAME = 2 * LINE + 8 + SLOTS_MAX * 2 ** HOLD_SHIFT;
/** Share of the frames that the small replacement queue may fill, see bench/README.md. */
const SMALL_SHARE = 0.2;
const SMALL_TARGET_MIN = 4;

export interface MemoryPlan {
  readonly frames: number;
  readonly blobBytes: number;
  readonly shards: number;
  /** Mapping entries; the table has room for twice as many. */
  readonly blobsMax: number;
  /** Slots that the store has in use already: the highest one + 1. */
  readonly slotsMin: number;
  /** Ring of the log and frames in which rounds keep images; absent without a log. */
  readonly log?: { readonly ringBytes: number; readonly stagingFrames: number };
}

/** Everything that another thread needs to see the same memory; can be posted. */
export interface PoolMemory {
  readonly control: WasmMemory;
  readonly arenas: readonly WasmMemory[];
  readonly modules: WasmModules;
  readonly frames: number;
  /** Behind the frames of the pool lie those in which rounds keep images; 0 without a log. */
  readonly stagingFrames: number;
  /** 0 without a log. */
  readonly ringBytes: number;
  readonly framesPerArena: number;
  /** Behind the frames of an arena each thread has room of its own for kernels; 0 without a log. */
  readonly scratchBytes: number;
  readonly blobBytes: number;
  /** Bytes of the control memory that a pool of this size can ever touch. */
  readonly controlBytes: number;
}

function ceilPowerOfTwo(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, value)));
}

function ceilToPage(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

/** The last part of a thread's scratch area: the record of a batch, then two lists of its entries. */
export function batchAreaOf(blobBytes: number): { recordBytes: number; listBytes: number } {
  const recordBytes = Math.max(BATCH_BYTES_MIN, blobBytes / 2);
  return { recordBytes, listBytes: recordBytes / LIST_SHARE };
}

/** Two blobs that kernels build in, keys, a batch. */
export function scratchBytesOf(blobBytes: number): number {
  const { recordBytes, listBytes } = batchAreaOf(blobBytes);
  return 2 * blobBytes + SCRATCH_KEY_BYTES + recordBytes + 2 * listBytes;
}

/** Frames that lie in one arena beside the scratch areas of all threads. */
export function framesPerArenaOf(blobBytes: number, scratchBytes: number): number {
  return Math.floor((ARENA_BYTES_MAX - SLOTS_MAX * scratchBytes) / blobBytes);
}

function sharedMemory(bytes: number): WasmMemory {
  const pages = Math.ceil(bytes / PAGE_BYTES);
  return new wasm.Memory({ initial: pages, maximum: pages, shared: true });
}

/** Reserves and initialises the memory; untouched parts of it cost address space only. */
export function createPoolMemory(plan: MemoryPlan, modules: WasmModules): PoolMemory {
  const mapCapacity = ceilPowerOfTwo(plan.blobsMax * 2);
  // With a log, a round writes every dirty frame to a fresh slot before it gives the old one back.
  const fresh = plan.log === undefined ? 0 : plan.frames;
  const slotsWanted = Math.max(mapCapacity, plan.slotsMin) + SLOTS_SPARE + fresh;
  const storeSlots = Math.ceil(slotsWanted / BITS_PER_WORD) * BITS_PER_WORD;
  const mapBase = SLOT_BITS + storeSlots / BITS_PER_BYTE;
  const spanBase = mapBase + mapCapacity * MAP_ENTRY;
  const ringBase = ceilToPage(spanBase + storeSlots * SPAN_ENTRY);
  const { ringBytes, stagingFrames } = plan.log ?? { ringBytes: 0, stagingFrames: 0 };
  const control = sharedMemory(ringBase + ringBytes);
  const buckets = Math.min(BUCKETS_MAX, Math.max(SHARDS_MAX, ceilPowerOfTwo(plan.frames * 2)));
  const header = new Uint32Array(control.buffer);
  const set = (offset: number, value: number): void => {
    header[offset / Uint32Array.BYTES_PER_ELEMENT] = value;
  };
  set(H_MAGIC, MAGIC);
  set(H_ABI, ABI_VERSION);
  set(H_FRAMES, plan.frames);
  set(H_BLOB_BYTES, plan.blobBytes);
  set(H_BUCKET_SHIFT, 64 - Math.log2(buckets));
  set(H_SHARD_MASK, plan.shards - 1);
  set(H_MAP_MASK, mapCapacity - 1);
  set(H_MAP_BASE, mapBase);
  set(H_STORE_SLOTS, storeSlots);
  set(H_SPAN_BASE, spanBase);
  set(H_GHOST_BUCKETS, Math.max(1, Math.floor(plan.frames / GHOST_WAYS)));
  set(H_SMALL_TARGET, smallTarget(plan.frames));
  if (ringBytes > 0) {
    set(H_RING, ringBase);
    set(H_RING_MASK, ringBytes - 1);
    set(H_STAGING_FIRST, plan.frames);
    set(H_STAGING_COUNT, stagingFrames);
  }
  set(H_STATUS, STATUS_OPENING);
  const scratchBytes = plan.log === undefined ? 0 : scratchBytesOf(plan.blobBytes);
  const perArena = framesPerArenaOf(plan.blobBytes, scratchBytes);
  instantiateControl(modules.control, control).initFrames(plan.frames);
  return {
    control,
    arenas: createArenas(plan.frames + stagingFrames, plan.blobBytes, scratchBytes, perArena),
    framesPerArena: perArena,
    scratchBytes,
    modules,
    frames: plan.frames,
    stagingFrames,
    ringBytes,
    blobBytes: plan.blobBytes,
    controlBytes:
      DESC_A +
      plan.frames * BYTES_PER_FRAME +
      buckets * Uint32Array.BYTES_PER_ELEMENT +
      PREFETCH_ENTRIES * PREFETCH_ENTRY +
      storeSlots / BITS_PER_BYTE +
      mapCapacity * MAP_ENTRY +
      storeSlots * SPAN_ENTRY +
      ringBytes,
  };
}

function smallTarget(frames: number): number {
  const least = Math.max(2, Math.min(SMALL_TARGET_MIN, Math.floor(frames / 2)));
  return Math.max(least, Math.floor(frames * SMALL_SHARE));
}

function createArenas(
  frames: number,
  blobBytes: number,
  scratchBytes: number,
  perArena: number,
): WasmMemory[] {
  const arenas: WasmMemory[] = [];
  for (let left = frames; left > 0; left -= perArena) {
    const bytes = Math.min(left, perArena) * blobBytes + SLOTS_MAX * scratchBytes;
    arenas.push(sharedMemory(bytes));
  }
  return arenas;
}

/** One thread's instances and views of the pool's memory. */
export class ThreadMemory {
  readonly shared: PoolMemory;
  readonly control: ControlExports;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  readonly u64: BigUint64Array;
  /** The whole control memory as bytes. */
  readonly u8: Uint8Array;
  readonly #frames: (Frame | undefined)[];
  readonly #kernels: KernelExports[];
  readonly #framesPerArena: number;

  constructor(shared: PoolMemory) {
    this.shared = shared;
    const { buffer } = shared.control;
    this.control = instantiateControl(shared.modules.control, shared.control);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.u8 = new Uint8Array(buffer);
    const frames = shared.frames + shared.stagingFrames;
    this.#frames = new Array<Frame | undefined>(frames).fill(undefined);
    this.#kernels = shared.arenas.map((arena) => instantiateKernels(shared.modules.kernels, arena));
    this.#framesPerArena = shared.framesPerArena;
  }

  /** The frame's views, the same objects each time. */
  frame(index: number): Frame {
    return this.#frames[index] ?? this.#makeFrame(index);
  }

  #makeFrame(index: number): Frame {
    const arena = this.shared.arenas[Math.floor(index / this.#framesPerArena)];
    if (arena === undefined || index >= this.#frames.length) {
      throw new RangeError(`frame ${index} of ${this.#frames.length}`);
    }
    const frame = new Frame(index, arena.buffer, this.offsetOf(index), this.shared.blobBytes);
    this.#frames[index] = frame;
    return frame;
  }

  /** The kernels of the arena that the frame lies in. */
  kernelsOf(index: number): KernelExports {
    return this.#kernels[Math.floor(index / this.#framesPerArena)] as KernelExports;
  }

  /** Where the frame begins in its arena. */
  offsetOf(index: number): number {
    return (index % this.#framesPerArena) * this.shared.blobBytes;
  }

  arenaOf(index: number): number {
    return Math.floor(index / this.#framesPerArena);
  }

  /** Where the scratch area of a thread slot begins in an arena. */
  scratchOf(arena: number, slot: number): number {
    const { frames, stagingFrames, blobBytes, scratchBytes } = this.shared;
    const before = arena * this.#framesPerArena;
    const here = Math.min(frames + stagingFrames - before, this.#framesPerArena);
    return here * blobBytes + slot * scratchBytes;
  }

  /** Checksum of the frame's bytes, seeded with the blob's id. */
  checksum(index: number, seed: number): bigint {
    const sum = this.kernelsOf(index).checksum(this.offsetOf(index), this.shared.blobBytes, seed);
    return BigInt.asUintN(64, sum);
  }

  /** Copies a whole frame; one instruction when both lie in the same arena. */
  copy(to: number, from: number): void {
    const toArena = Math.floor(to / this.#framesPerArena);
    if (toArena === Math.floor(from / this.#framesPerArena)) {
      const kernels = this.#kernels[toArena] as KernelExports;
      kernels.copy(this.offsetOf(to), this.offsetOf(from), this.shared.blobBytes);
    } else {
      this.frame(to).bytes.set(this.frame(from).bytes);
    }
  }

  /** Makes a whole frame zeros. `fill` of a shared array goes byte by byte, and takes forty times as long. */
  clear(index: number): void {
    this.kernelsOf(index).fill(this.offsetOf(index), 0, this.shared.blobBytes);
  }

  /** One u32 of the control memory, read atomically. */
  load(offset: number): number {
    return Atomics.load(this.u32, offset / Uint32Array.BYTES_PER_ELEMENT);
  }

  store(offset: number, value: number): void {
    Atomics.store(this.u32, offset / Uint32Array.BYTES_PER_ELEMENT, value);
  }

  /** One u64 of the control memory that is known to be a safe integer, read atomically. */
  loadU64(offset: number): number {
    return Number(Atomics.load(this.u64, offset / BigUint64Array.BYTES_PER_ELEMENT));
  }

  storeU64(offset: number, value: number): void {
    Atomics.store(this.u64, offset / BigUint64Array.BYTES_PER_ELEMENT, BigInt(value));
  }

  /** Moves a u32 on by one and wakes whoever parks on it. */
  bump(offset: number): void {
    Atomics.add(this.u32, offset / Uint32Array.BYTES_PER_ELEMENT, 1);
    this.notify(offset);
  }

  /** Raises a u64 to at least `value`. */
  raiseU64(offset: number, value: number): void {
    const index = offset / BigUint64Array.BYTES_PER_ELEMENT;
    let seen = Atomics.load(this.u64, index);
    while (seen < BigInt(value)) {
      const was = Atomics.compareExchange(this.u64, index, seen, BigInt(value));
      if (was === seen) return;
      seen = was;
    }
  }

  /** Wakes whoever parks on the u32 at `offset`. */
  notify(offset: number): void {
    Atomics.notify(this.i32, offset / Int32Array.BYTES_PER_ELEMENT);
  }
}
