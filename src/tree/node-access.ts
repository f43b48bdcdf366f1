/**
 * This thread's way to nodes in frames: its scratch areas, the search key in them, the kernels.
 *
 * Owns:        the thread's scratch area in each arena; the search key of the operation under way.
 * Threads:     one object for each thread.
 *
 * Kernels see the arena that a node lies in, and nothing else: the search key is put into the
 * scratch area of the first arena, and copied into that of another one when a node there is looked
 * at. A pool that fits one arena never does that.
 */
import { Buffer } from 'node:buffer';
import {
  KEY_BYTES_MAX,
  type KernelExports,
  N_COUNT,
  N_GARBAGE,
  N_HIGH,
  N_HIGH_BYTES,
  N_LAST,
  N_LEVEL,
  N_LOW,
  N_LOW_BYTES,
  N_MAGIC,
  N_RUN,
  N_SLOT_BYTES,
  N_SLOTS,
  N_TREE,
  NODE_MAGIC,
  RE_KEY,
  RE_KEY_BYTES,
  TEMPLATE_BYTES,
} from '../generated/layout.ts';
import {
  batchAreaOf,
  type PoolMemory,
  SCRATCH_KEY_BYTES,
  type ThreadMemory,
} from '../memory/pool-memory.ts';
import { UTF8_BYTES_MAX } from './codec.ts';

/** Longest key in bytes. */
export function keyBytesMax(blobBytes: number): number {
  return Math.min(KEY_BYTES_MAX, blobBytes / 8);
}

// Offsets behind the two blobs of a scratch area.
const PAD = 0;
const OUT = PAD + TEMPLATE_BYTES;
const SEPARATOR = OUT + TEMPLATE_BYTES;
const TEMPORARY = SEPARATOR + KEY_BYTES_MAX;
const RECORD = TEMPORARY + TEMPLATE_BYTES;
/** Bytes of a record before its first entry, and before the key of that. */
export const RECORD_HEADER_BYTES = 8;
const RECORD_KEY_OFFSET: number = RECORD_HEADER_BYTES + RE_KEY;

interface Arena {
  readonly kernels: KernelExports;
  readonly bytes: Uint8Array;
  readonly buffer: Buffer;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
  readonly scratch: number;
  readonly pad: number;
  readonly out: number;
  readonly separator: number;
  readonly temporary: number;
  readonly record: number;
  /** Where the search key lies; in the first arena perhaps in the record of a batch. */
  key: number;
  /** The record of a batch, its entries in order, what was found of them. */
  readonly batch: number;
  readonly order: number;
  readonly found: number;
}

/** What nodes lie in: the frames of a pool, or those of a snapshot's reader. */
export interface NodeMemory
  extends Pick<ThreadMemory, 'scratchOf' | 'kernelsOf' | 'arenaOf' | 'offsetOf' | 'frame'> {
  readonly shared: Pick<PoolMemory, 'blobBytes' | 'arenas' | 'framesPerArena'>;
}

interface SharedBuffer extends Buffer {
  utf8Write(text: string, offset: number, length: number): number;
}

/** Longest string that is written character by character: beyond it a call costs less. */
const ASCII_MAX = 64;

/** Writes a short string of ASCII: its length, -1 if it is not one. */
function writeAscii(text: string, bytes: Uint8Array, at: number): number {
  const { length } = text;
  if (length > ASCII_MAX) return -1;
  for (let index = 0; index < length; index++) {
    const unit = text.charCodeAt(index);
    if (unit > 0x7f) return -1;
    bytes[at + index] = unit;
  }
  return length;
}

export class NodeAccess {
  readonly blobBytes: number;
  readonly keyBytesMax: number;
  readonly #memory: NodeMemory;
  readonly #arenas: readonly Arena[];
  readonly #first: Arena;
  readonly #single: boolean;
  /** Where a short change makes its record: the search key lies RECORD_KEY_OFFSET bytes behind. */
  readonly recordBytes: Uint8Array;
  readonly recordView: DataView;
  readonly recordAt: number;
  /** The same for the record of a batch, and how long it may be. */
  readonly batchAt: number;
  readonly batchBytesMax: number;
  /** Length of the search key, and the arena that has it too. */
  keyBytes = 0;
  #keyIn = 0;

  constructor(memory: NodeMemory, me: number) {
    this.#memory = memory;
    this.blobBytes = memory.shared.blobBytes;
    this.keyBytesMax = keyBytesMax(this.blobBytes);
    const { recordBytes, listBytes } = batchAreaOf(this.blobBytes);
    this.batchBytesMax = recordBytes;
    this.#arenas = memory.shared.arenas.map(({ buffer }, index) => {
      const scratch = memory.scratchOf(index, me);
      const keys = scratch + 2 * this.blobBytes;
      const batch = keys + SCRATCH_KEY_BYTES;
      return {
        kernels: memory.kernelsOf(index * memory.shared.framesPerArena),
        bytes: new Uint8Array(buffer),
        buffer: Buffer.from(buffer as unknown as ArrayBuffer),
        u32: new Uint32Array(buffer),
        u64: new BigUint64Array(buffer),
        scratch,
        pad: keys + PAD,
        out: keys + OUT,
        separator: keys + SEPARATOR,
        temporary: keys + TEMPORARY,
        record: keys + RECORD,
        key: keys + RECORD + RECORD_KEY_OFFSET,
        batch,
        order: batch + recordBytes,
        found: batch + recordBytes + listBytes,
      };
    });
    this.#first = this.#arenas[0] as Arena;
    this.#single = this.#arenas.length === 1;
    this.recordBytes = this.#first.bytes;
    this.recordView = new DataView(this.#first.bytes.buffer);
    this.recordAt = this.#first.record;
    this.batchAt = this.#first.batch;
  }

  // --- the search key ------------------------------------------------------------------------------

  /**
   * Makes a key the search key.
   *
   * @throws {RangeError} too long; {TypeError} neither a string nor bytes.
   */
  setKey(key: string | Uint8Array): void {
    const at = this.recordAt + RECORD_KEY_OFFSET;
    this.#useKey(at, this.writeKey(key, at));
  }

  /** Writes a key into this thread's scratch area: its length. Errors as `setKey`. */
  writeKey(key: string | Uint8Array, at: number): number {
    this.assertKey(key);
    return this.write(key, at);
  }

  /** Errors as `setKey`. */
  assertKey(key: string | Uint8Array): void {
    if (typeof key !== 'string' && !(key instanceof Uint8Array)) {
      throw new TypeError('A key is a string or a Uint8Array');
    }
    const most = typeof key === 'string' ? key.length * UTF8_BYTES_MAX : key.length;
    if (most <= this.keyBytesMax) return;
    const bytes = Buffer.byteLength(key);
    if (bytes <= this.keyBytesMax) return;
    throw new RangeError(`A key has at most ${this.keyBytesMax} bytes here, not ${bytes}`);
  }

  /** Writes a key or a value there, where there is room for it: its length. */
  write(given: string | Uint8Array, at: number): number {
    const { buffer, bytes } = this.#first;
    if (typeof given === 'string') {
      const length = writeAscii(given, bytes, at);
      if (length >= 0) return length;
      const room = Math.min(given.length * UTF8_BYTES_MAX, buffer.length - at);
      return (buffer as SharedBuffer).utf8Write(given, at, room);
    }
    bytes.set(given, at);
    return given.length;
  }

  #useKey(at: number, length: number): void {
    const first = this.#first;
    first.kernels.padKey(at, length, first.pad);
    first.key = at;
    this.keyBytes = length;
    this.#keyIn = 0;
  }

  // --- the entries of a batch --------------------------------------------------------------------------

  /** Puts the entries of the record at `batchAt`, `bytes` long, in order. */
  sortBatch(count: number, bytes: number): void {
    const { kernels, batch, order, scratch } = this.#first;
    kernels.runSort(batch, RECORD_HEADER_BYTES, count, order, scratch);
    this.#batchBytes = bytes;
    this.#batchCount = count;
    this.#batchIn.clear();
  }

  #batchBytes = 0;
  #batchCount = 0;
  readonly #batchIn = new Set<Arena>();

  /** The id of the tree that the `index`-th entry belongs to; its key is the search key then. */
  useEntry(index: number): number {
    const { batch, order, u32 } = this.#first;
    const view = this.recordView;
    const at = batch + (u32[(order >>> 2) + index] as number);
    this.#useKey(at + RE_KEY, view.getUint16(at + RE_KEY_BYTES, true));
    return view.getFloat64(at, true);
  }

  /** The arena of a frame, with the batch in it. */
  #batchArenaOf(frame: number): Arena {
    const arena = this.#arenaOf(frame);
    const first = this.#first;
    if (arena === first || this.#batchIn.has(arena)) return arena;
    const copy = (to: number, from: number, bytes: number): void => {
      arena.bytes.set(first.bytes.subarray(from, from + bytes), to);
    };
    copy(arena.batch, first.batch, this.#batchBytes);
    copy(arena.order, first.order, this.#batchCount * Uint32Array.BYTES_PER_ELEMENT);
    this.#batchIn.add(arena);
    return arena;
  }

  /** End of the run of entries from `from` on that belong to the node; negative: corrupt. */
  runEnd(frame: number, from: number): number {
    const { kernels, batch, order } = this.#batchArenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    return kernels.runEnd(at, this.blobBytes, batch, order, from, this.#batchCount);
  }

  /**
   * What a run takes: 0 with `need` in bytes and `exceeding`, the first entry beyond the node's room;
   * RUN_GENERAL; negative: corrupt.
   */
  runNeed(frame: number, from: number, end: number): number {
    const { kernels, batch, order, found, pad, out, u32 } = this.#batchArenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    const size = this.blobBytes;
    const done = kernels.runNeed(at, size, batch, order, found, from, end, pad, out);
    this.need = u32[out >>> 2] as number;
    this.exceeding = u32[(out >>> 2) + 1] as number;
    return done;
  }

  need = 0;
  exceeding = 0;

  /** Does the entries of a run; the caller has the frame exclusively. 0, or negative. */
  runApply(frame: number, from: number, end: number, need: number): number {
    const { kernels, batch, order, found, pad } = this.#batchArenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    return kernels.runApply(at, this.blobBytes, batch, order, found, from, end, need, pad);
  }

  /** A copy of the search key. */
  copyKey(): Buffer {
    const { bytes, key } = this.#first;
    return Buffer.from(bytes.subarray(key, key + this.keyBytes));
  }

  /** The arena of a frame, with the search key in it. */
  #arenaOf(frame: number): Arena {
    if (this.#single) return this.#first;
    const index = this.#memory.arenaOf(frame);
    const arena = this.#arenas[index] as Arena;
    if (index !== 0 && index !== this.#keyIn) {
      const { bytes, key } = this.#first;
      arena.bytes.set(bytes.subarray(key, key + this.keyBytes), arena.key);
      arena.kernels.padKey(arena.key, this.keyBytes, arena.pad);
      this.#keyIn = index;
    }
    return arena;
  }

  // --- looking ---------------------------------------------------------------------------------------

  /** Whether the frame holds a node of that tree. */
  isNode(frame: number, tree: number): boolean {
    const { u32 } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame) >>> 2;
    // Two halves: a BigInt would be made and thrown away.
    const low = u32[at + N_TREE / 4] as number;
    const high = u32[at + N_TREE / 4 + 1] as number;
    return u32[at + N_MAGIC / 4] === NODE_MAGIC && low + high * 2 ** 32 === tree;
  }

  levelOf(frame: number): number {
    return this.#arenaOf(frame).bytes[this.#memory.offsetOf(frame) + N_LEVEL] as number;
  }

  /** Entries; 0 where there cannot be so many: loops end, and looking for a key tells. */
  countOf(frame: number): number {
    const { u32 } = this.#arenaOf(frame);
    const count = u32[(this.#memory.offsetOf(frame) + N_COUNT) >>> 2] as number;
    return count * N_SLOT_BYTES <= this.blobBytes - N_SLOTS ? count : 0;
  }

  /** Bytes that entries and slots take; negative: corrupt. */
  liveOf(frame: number): number {
    const room = this.roomOf(frame);
    if (room < 0) return room;
    const { bytes } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    const low = (bytes[at + N_LOW_BYTES] as number) + 256 * (bytes[at + N_LOW_BYTES + 1] as number);
    const high =
      (bytes[at + N_HIGH_BYTES] as number) + 256 * (bytes[at + N_HIGH_BYTES + 1] as number);
    return this.blobBytes - N_SLOTS - low - high - room;
  }

  /** Bytes that entries may take without a rebuild. */
  gapOf(frame: number): number {
    return this.roomOf(frame) - this.garbageOf(frame);
  }

  garbageOf(frame: number): number {
    return this.#arenaOf(frame).u32[(this.#memory.offsetOf(frame) + N_GARBAGE) >>> 2] as number;
  }

  /** Where the last insertion went. */
  lastOf(frame: number): number {
    return this.#arenaOf(frame).u32[(this.#memory.offsetOf(frame) + N_LAST) >>> 2] as number;
  }

  runOf(frame: number): number {
    const at = this.#memory.offsetOf(frame) + N_RUN;
    const { bytes } = this.#arenaOf(frame);
    return (bytes[at] as number) + 256 * (bytes[at + 1] as number);
  }

  /** Child of an inner node that the search key belongs to; 0: corrupt. */
  childOf(frame: number): number {
    const { kernels, key, pad } = this.#arenaOf(frame);
    return kernels.childOf(this.#memory.offsetOf(frame), this.blobBytes, key, this.keyBytes, pad);
  }

  /** The last child whose keys lie below the search key (at the end: the last child); 0: corrupt. */
  childBefore(frame: number, end: boolean): number {
    const { kernels, key, pad } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    if (end) return kernels.childAt(at, this.blobBytes, this.countOf(frame) - 1);
    return kernels.childBelow(at, this.blobBytes, key, this.keyBytes, pad);
  }

  childSlot(frame: number): number {
    const { kernels, key, pad } = this.#arenaOf(frame);
    return kernels.childSlot(this.#memory.offsetOf(frame), this.blobBytes, key, this.keyBytes, pad);
  }

  childAt(frame: number, slot: number): number {
    const { kernels } = this.#arenaOf(frame);
    return kernels.childAt(this.#memory.offsetOf(frame), this.blobBytes, slot);
  }

  /** Position << 1 | found; negative: corrupt. */
  find(frame: number): number {
    const { kernels, key, pad } = this.#arenaOf(frame);
    return kernels.find(this.#memory.offsetOf(frame), this.blobBytes, key, this.keyBytes, pad);
  }

  /** Value of the search key: 1 with `valueOffset` and `valueWord`, 0, or negative: corrupt. */
  leafGet(frame: number): number {
    const { kernels, key, pad, out, u32 } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    const found = kernels.leafGet(at, this.blobBytes, key, this.keyBytes, pad, out);
    if (found === 1) {
      this.valueOffset = u32[out >>> 2] as number;
      this.valueWord = u32[(out >>> 2) + 1] as number;
    }
    return found;
  }

  valueOffset = 0;
  valueWord = 0;

  /** The same for a slot: 1, or negative: corrupt. */
  valueAt(frame: number, slot: number): number {
    const { kernels, out, u32 } = this.#arenaOf(frame);
    const found = kernels.valueAt(this.#memory.offsetOf(frame), this.blobBytes, slot, out);
    if (found === 1) {
      this.valueOffset = u32[out >>> 2] as number;
      this.valueWord = u32[(out >>> 2) + 1] as number;
    }
    return found;
  }

  /** A copy of the key in a slot; undefined: corrupt. */
  keyOf(frame: number, slot: number): Buffer | undefined {
    const { kernels, out, u32, bytes } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    if (kernels.keyAt(at, this.blobBytes, slot, out) !== 1) return undefined;
    const from = at + (u32[out >>> 2] as number);
    return Buffer.from(bytes.subarray(from, from + (u32[(out >>> 2) + 1] as number)));
  }

  /** Whether the search key belongs to the node: 1; 0 above, -1 below; -2 corrupt. */
  covers(frame: number): number {
    const { kernels, key } = this.#arenaOf(frame);
    return kernels.nodeCovers(this.#memory.offsetOf(frame), this.blobBytes, key, this.keyBytes);
  }

  /** A copy of the node's lower bound; undefined: none. The node holds still, or is validated. */
  lowOf(frame: number): Buffer | undefined {
    return this.#bound(frame, N_LOW, N_LOW_BYTES);
  }

  /** The same for the upper bound, exclusive. */
  highOf(frame: number): Buffer | undefined {
    return this.#bound(frame, N_HIGH, N_HIGH_BYTES);
  }

  #bound(frame: number, offsetAt: number, lengthAt: number): Buffer | undefined {
    const { u32, bytes } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    const offset = u32[(at + offsetAt) >>> 2] as number;
    if (offset === 0 || offset > this.blobBytes) return undefined;
    const length = (bytes[at + lengthAt] as number) + 256 * (bytes[at + lengthAt + 1] as number);
    const end = Math.min(offset + length, this.blobBytes);
    return Buffer.from(bytes.subarray(at + offset, at + end));
  }

  /**
   * Copies entries from slot `from` to `end` (exclusive; downwards with step -1) into the scratch
   * area: where they lie there; undefined: corrupt. `next` is the slot after the last one.
   */
  collect(
    frame: number,
    from: number,
    end: number,
    step: 1 | -1,
    what: number,
  ): Buffer | undefined {
    const { kernels, scratch, out, u32, buffer } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    const size = this.blobBytes;
    const room = 2 * size;
    if (kernels.nodeCollect(at, size, from, end, step, what, scratch, room, out) !== 0)
      return undefined;
    this.next = (u32[out >>> 2] as number) | 0;
    return buffer.subarray(scratch, scratch + (u32[(out >>> 2) + 1] as number));
  }

  next = 0;

  /** Bytes that entries and slots may still take; negative: corrupt. */
  roomOf(frame: number): number {
    const { kernels } = this.#arenaOf(frame);
    return kernels.nodeRoom(this.#memory.offsetOf(frame), this.blobBytes);
  }

  keyMaxOf(frame: number): number {
    const { kernels } = this.#arenaOf(frame);
    return kernels.nodeKeyMax(this.#memory.offsetOf(frame), this.blobBytes);
  }

  /** Copies a whole node; the caller has the frame that it goes to exclusively. */
  copyNode(to: number, from: number): void {
    this.#copyInto(to, from, this.#memory.offsetOf(from));
  }

  /** Copies a node that lies at `at` in the arena of `from` into a frame. */
  #copyInto(to: number, from: number, at: number): void {
    const { kernels, bytes } = this.#arenaOf(from);
    const size = this.blobBytes;
    // `set` of a shared array goes byte by byte.
    if (this.#memory.arenaOf(to) === this.#memory.arenaOf(from)) {
      kernels.copy(this.#memory.offsetOf(to), at, size);
    } else {
      this.bytesOf(to).set(bytes.subarray(at, at + size));
    }
  }

  // --- changing; the caller has the frame exclusively -------------------------------------------------

  init(frame: number, level: number, tree: number): void {
    const { kernels } = this.#arenaOf(frame);
    kernels.nodeInit(this.#memory.offsetOf(frame), this.blobBytes, level, tree);
  }

  /** Puts the search key with room for a value: its offset in the frame; -1 no room, -2 corrupt. */
  put(frame: number, word: number): number {
    const { kernels, key, pad } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    return kernels.nodePut(at, this.blobBytes, key, this.keyBytes, pad, 0, word);
  }

  /** The same with a value that lies behind the record's key in the scratch area. */
  putValue(frame: number, from: number, bytes: number): number {
    const arena = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    const value = arena === this.#first ? from : 0;
    const { kernels, key, pad } = arena;
    const offset = kernels.nodePut(at, this.blobBytes, key, this.keyBytes, pad, value, bytes);
    if (value === 0 && offset >= 0) {
      arena.bytes.set(this.#first.bytes.subarray(from, from + bytes), at + offset);
    }
    return offset;
  }

  /** The same with a child's id as the value. */
  putChild(frame: number, id: number): number {
    const { kernels, key, pad, out, u64 } = this.#arenaOf(frame);
    u64[out / 8] = BigInt(id);
    const at = this.#memory.offsetOf(frame);
    return kernels.nodePut(at, this.blobBytes, key, this.keyBytes, pad, out, 8);
  }

  remove(frame: number, slot: number): number {
    const { kernels } = this.#arenaOf(frame);
    return kernels.nodeRemove(this.#memory.offsetOf(frame), this.blobBytes, slot);
  }

  /** Rebuilds the node without garbage: 0, or negative: corrupt. */
  compact(frame: number): number {
    const { kernels, scratch, temporary } = this.#arenaOf(frame);
    return kernels.nodeCompact(this.#memory.offsetOf(frame), this.blobBytes, scratch, temporary);
  }

  /**
   * Splits the node at a slot; the upper part goes to `upper`. The separator is made from the
   * search key (`inOrder`), which then belongs to the upper part, or from the keys beside the split.
   * Undefined: corrupt.
   */
  split(frame: number, slot: number, upper: number, inOrder: boolean): Buffer | undefined {
    const { kernels, bytes, scratch, separator, temporary, key } = this.#arenaOf(frame);
    const at = this.#memory.offsetOf(frame);
    const size = this.blobBytes;
    const length = inOrder
      ? kernels.nodeSeparatorOf(at, size, slot, key, this.keyBytes, separator)
      : kernels.nodeSeparator(at, size, slot, separator);
    if (length < 0) return undefined;
    const right = scratch + size;
    const done = kernels.nodeSplit(at, size, slot, separator, length, scratch, right, temporary);
    if (done !== 0) return undefined;
    this.#copyInto(upper, frame, right);
    return Buffer.from(bytes.subarray(separator, separator + length));
  }

  /** Merges the node at `right` into the one before it: 0, or negative. */
  merge(frame: number, right: number): number {
    const { kernels, bytes, scratch, temporary } = this.#arenaOf(frame);
    const size = this.blobBytes;
    bytes.set(this.bytesOf(right), scratch + size);
    const at = this.#memory.offsetOf(frame);
    return kernels.nodeMerge(at, size, scratch + size, scratch, temporary);
  }

  removeRange(frame: number, from: number, end: number): number {
    const { kernels } = this.#arenaOf(frame);
    return kernels.nodeRemoveRange(this.#memory.offsetOf(frame), this.blobBytes, from, end);
  }

  middleOf(frame: number): number {
    const { kernels } = this.#arenaOf(frame);
    return kernels.nodeMiddle(this.#memory.offsetOf(frame), this.blobBytes);
  }

  /** The frame's bytes. */
  bytesOf(frame: number): Uint8Array {
    return this.#memory.frame(frame).bytes;
  }

  /** All bytes of the arena that the frame lies in, and where the frame begins there. */
  arenaBytes(frame: number): Uint8Array {
    return this.#single ? this.#first.bytes : this.#arenaOf(frame).bytes;
  }

  offsetOf(frame: number): number {
    return this.#memory.offsetOf(frame);
  }

  arena(frame: number): Arena {
    return this.#arenaOf(frame);
  }
}
