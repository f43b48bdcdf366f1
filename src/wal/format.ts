/**
 * The log's bytes: records, groups, segment headers. Described byte by byte in docs/format.md.
 *
 * Owns:        the format; knows nothing of files.
 * Invariants:  a record is summed together with store id, epoch and position, a group's header
 *              with store id, epoch, segment and offset: bytes of another store, opening or place
 *              never pass for valid, so that segments may be used again without being zeroed;
 *              groups begin on 4 KiB boundaries, so that no append can tear what was synced before.
 * Threads:     private to the caller.
 *
 * Positions. A record begins at a logical position, counted in bytes of records, and its seq is the
 * position at which it ends. What lies between groups in a file is not counted. A record of a ring
 * becomes one by its length word, which is stored last and is the only word that no sum covers by
 * itself: the sum depends on the number of bytes that it was made of.
 */
import { Checksummer } from '../memory/checksum.ts';
import type { WasmModule } from '../memory/webassembly.ts';

export const LOG_FORMAT_VERSION: number = 1;
export const LOG_BLOCK_BYTES: number = 4096;
export const GROUP_HEADER_BYTES: number = 64;
export const RECORD_HEADER_BYTES: number = 40;
/** Records begin on multiples of it, in the ring and in files. */
export const RECORD_ALIGNMENT: number = 8;
/** The largest ring: a record is at most half as large, and so much may be lost unwritten. */
export const RING_BYTES_MAX: number = 64 * 1024 * 1024;

/** "WEIRWLOG", "WGRP" in the order of their bytes. */
const SEGMENT_MAGIC = 0x474f_4c57_5249_4557n;
const GROUP_MAGIC = 0x5052_4757;

const SUM_BYTES = 8;
const SEGMENT_SUM = LOG_BLOCK_BYTES - SUM_BYTES;
/** Where the part of a record begins that its sum covers. */
const RECORD_SUMMED = 16;
const ID_BYTES = 8;
const TWO_TO_32 = 2 ** 32;
/** Seeds are safe integers: 53 bits. */
const SEED_SHIFT = 11n;
const SCRATCH_BYTES_MIN = 65536;
const PREAMBLE_BYTES = 16;

export interface LogRecord {
  /** Where it begins; `seq` is where it ends. */
  readonly position: number;
  readonly seq: number;
  /** Above 0; given its meaning by those who write records. */
  readonly kind: number;
  readonly owner: number;
  readonly created: readonly number[];
  readonly deleted: readonly number[];
  /** A view: of what was read, it stays as it is. */
  readonly payload: Uint8Array;
}

export type RecordContent = Omit<LogRecord, 'position' | 'seq'>;

export interface GroupHeader {
  readonly epoch: number;
  readonly segment: number;
  /** Of this header in the file. */
  readonly offset: number;
  /** Where its first record begins. */
  readonly position: number;
  /** Known to be durable when the group was written. */
  readonly durableSeq: number;
  /** Bytes of records, without header and padding. */
  readonly recordBytes: number;
}

/** The end of what counts in a segment. */
export interface LogPlace {
  /** 0: there is none before. */
  readonly segment: number;
  /** Where the last record ends in the file. */
  readonly offset: number;
  readonly seq: number;
}

export interface SegmentHeader {
  readonly formatVersion: number;
  readonly storeId: bigint;
  readonly epoch: number;
  readonly segment: number;
  readonly segmentBytes: number;
  /** Position of the first record: every seq in the segment is above it. */
  readonly firstPosition: number;
  readonly previous: LogPlace;
}

export function paddedBytes(bytes: number): number {
  return Math.ceil(bytes / LOG_BLOCK_BYTES) * LOG_BLOCK_BYTES;
}

/** Bytes of a group in the file that holds so many bytes of records. */
export function groupBytes(recordBytes: number): number {
  return paddedBytes(GROUP_HEADER_BYTES + recordBytes);
}

/** Bytes of a record: the distance from its position to its seq. */
export function recordBytesOf(created: number, deleted: number, payloadBytes: number): number {
  const bytes = RECORD_HEADER_BYTES + (created + deleted) * ID_BYTES + payloadBytes;
  return Math.ceil(bytes / RECORD_ALIGNMENT) * RECORD_ALIGNMENT;
}

/** Size of a segment that surely holds a record of that size. */
export function segmentBytesFor(recordBytesMax: number): number {
  return LOG_BLOCK_BYTES + groupBytes(recordBytesMax);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A count from 64 bits, or NaN if it is none that we could have written. */
function countAt(view: DataView, at: number): number {
  const value = view.getUint32(at + 4, true) * TWO_TO_32 + view.getUint32(at, true);
  return value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN;
}

function putCount(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_TO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_TO_32), true);
}

/** Exclusive or of safe integers. */
function xor(a: number, b: number): number {
  const high = Math.floor(a / TWO_TO_32) ^ Math.floor(b / TWO_TO_32);
  const low = ((a % TWO_TO_32) ^ (b % TWO_TO_32)) >>> 0;
  return high * TWO_TO_32 + low;
}

// --- sums ----------------------------------------------------------------------------------------

/** Checksums of the log, with a scratch area that grows with what is summed. */
export class LogSums {
  readonly #kernels: WasmModule;
  #checksummer: Checksummer;

  constructor(kernels: WasmModule) {
    this.#kernels = kernels;
    this.#checksummer = new Checksummer(kernels, SCRATCH_BYTES_MIN);
  }

  of(bytes: Uint8Array, seed: number): bigint {
    if (bytes.length > this.#checksummer.bytesMax) {
      const bytesMax = 2 ** Math.ceil(Math.log2(bytes.length));
      this.#checksummer = new Checksummer(this.#kernels, bytesMax);
    }
    return this.#checksummer.of(bytes, seed);
  }

  /** What ties bytes to a store and an opening; epoch 0 is for headers, which name their own. */
  seed(storeId: bigint, epoch: number): number {
    const preamble = new Uint8Array(PREAMBLE_BYTES);
    const view = viewOf(preamble);
    view.setBigUint64(0, storeId, true);
    putCount(view, 8, epoch);
    return Number(this.of(preamble, 0) >> SEED_SHIFT);
  }
}

// --- segment header --------------------------------------------------------------------------------

export function encodeSegmentHeader(sums: LogSums, header: SegmentHeader): Uint8Array {
  const block = new Uint8Array(LOG_BLOCK_BYTES);
  const view = viewOf(block);
  view.setBigUint64(0, SEGMENT_MAGIC, true);
  view.setUint32(8, header.formatVersion, true);
  view.setBigUint64(16, header.storeId, true);
  putCount(view, 24, header.epoch);
  putCount(view, 32, header.segment);
  putCount(view, 40, header.segmentBytes);
  putCount(view, 48, header.firstPosition);
  putCount(view, 56, header.previous.segment);
  putCount(view, 64, header.previous.offset);
  putCount(view, 72, header.previous.seq);
  const sum = sums.of(block.subarray(0, SEGMENT_SUM), sums.seed(header.storeId, 0));
  view.setBigUint64(SEGMENT_SUM, sum, true);
  return block;
}

/** The header in the first block of a segment, of whichever store, or undefined. */
export function decodeSegmentHeader(sums: LogSums, file: Uint8Array): SegmentHeader | undefined {
  if (file.length < LOG_BLOCK_BYTES) return undefined;
  const view = viewOf(file);
  if (view.getBigUint64(0, true) !== SEGMENT_MAGIC) return undefined;
  const storeId = view.getBigUint64(16, true);
  const sum = sums.of(file.subarray(0, SEGMENT_SUM), sums.seed(storeId, 0));
  if (sum !== view.getBigUint64(SEGMENT_SUM, true)) return undefined;
  return {
    formatVersion: view.getUint32(8, true),
    storeId,
    epoch: countAt(view, 24),
    segment: countAt(view, 32),
    segmentBytes: countAt(view, 40),
    firstPosition: countAt(view, 48),
    previous: {
      segment: countAt(view, 56),
      offset: countAt(view, 64),
      seq: countAt(view, 72),
    },
  };
}

// --- group header ----------------------------------------------------------------------------------

/** Writes the header to the beginning of `target`. */
export function encodeGroupHeader(
  sums: LogSums,
  headerSeed: number,
  target: Uint8Array,
  header: GroupHeader,
): void {
  const bytes = target.subarray(0, GROUP_HEADER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(8, GROUP_MAGIC, true);
  view.setUint32(12, 0, true);
  putCount(view, 16, header.epoch);
  putCount(view, 24, header.segment);
  putCount(view, 32, header.offset);
  putCount(view, 40, header.position);
  putCount(view, 48, header.durableSeq);
  putCount(view, 56, header.recordBytes);
  view.setBigUint64(0, sums.of(bytes.subarray(SUM_BYTES), headerSeed), true);
}

/** The header of a group of this segment at this offset, or undefined if there is none. */
export function decodeGroupHeader(
  sums: LogSums,
  headerSeed: number,
  file: Uint8Array,
  place: { readonly segment: number; readonly offset: number },
): GroupHeader | undefined {
  const { segment, offset } = place;
  if (offset + GROUP_HEADER_BYTES > file.length) return undefined;
  const bytes = file.subarray(offset, offset + GROUP_HEADER_BYTES);
  const view = viewOf(bytes);
  if (view.getUint32(8, true) !== GROUP_MAGIC) return undefined;
  if (countAt(view, 24) !== segment || countAt(view, 32) !== offset) return undefined;
  const sum = sums.of(bytes.subarray(SUM_BYTES), headerSeed);
  if (sum !== view.getBigUint64(0, true)) return undefined;
  const header: GroupHeader = {
    epoch: countAt(view, 16),
    segment,
    offset,
    position: countAt(view, 40),
    durableSeq: countAt(view, 48),
    recordBytes: countAt(view, 56),
  };
  // One that is no number would make every later comparison false: no hole would be damage.
  const { epoch, position, durableSeq, recordBytes } = header;
  return Number.isNaN(epoch + position + durableSeq + recordBytes) ? undefined : header;
}

// --- records ---------------------------------------------------------------------------------------

/** Of what `countAt` gives. */
function isNoId(id: number): boolean {
  return !(id > 0);
}

function assertId(id: number): void {
  if (Number.isSafeInteger(id) && id > 0) return;
  throw new RangeError(`${id} is no blob id`);
}

/**
 * Writes all of a record but its length word, which publishes it and belongs to the caller.
 *
 * @param recordSeed  `LogSums.seed` of store and epoch.
 * @param target      As long as `recordBytesOf` says.
 */
export function encodeRecordBody(
  sums: LogSums,
  recordSeed: number,
  target: Uint8Array,
  record: RecordContent & { readonly position: number },
): void {
  const { created, deleted, payload, position } = record;
  const view = viewOf(target);
  view.setUint32(4, 0, true);
  putCount(view, 16, record.owner);
  view.setUint32(24, record.kind, true);
  view.setUint32(28, payload.length, true);
  view.setUint32(32, created.length, true);
  view.setUint32(36, deleted.length, true);
  let at = RECORD_HEADER_BYTES;
  for (const id of [...created, ...deleted]) {
    assertId(id);
    putCount(view, at, id);
    at += ID_BYTES;
  }
  target.set(payload, at);
  target.fill(0, at + payload.length);
  const sum = sums.of(target.subarray(RECORD_SUMMED), xor(recordSeed, position));
  view.setBigUint64(8, sum, true);
}

/** A whole record for `position`. */
export function encodeRecord(
  sums: LogSums,
  recordSeed: number,
  content: RecordContent,
  position: number,
): Uint8Array {
  const { created, deleted, payload } = content;
  const record = new Uint8Array(recordBytesOf(created.length, deleted.length, payload.length));
  encodeRecordBody(sums, recordSeed, record, { ...content, position });
  viewOf(record).setUint32(0, record.length, true);
  return record;
}

/** Bytes of the record whose length word stands at `at`, or 0 if that cannot be a length. */
export function recordLengthAt(bytes: Uint8Array, at: number): number {
  if (at + 4 > bytes.length) return 0;
  const byte = (n: number): number => bytes[at + n] as number;
  const length = byte(0) + byte(1) * 0x100 + byte(2) * 0x1_0000 + byte(3) * 0x100_0000;
  return length >= RECORD_HEADER_BYTES && length % RECORD_ALIGNMENT === 0 ? length : 0;
}

const NO_IDS: readonly number[] = [];

function getIds(view: DataView, from: number, count: number): readonly number[] {
  if (count === 0) return NO_IDS;
  return Array.from({ length: count }, (_, index) => countAt(view, from + index * ID_BYTES));
}

/**
 * The record at byte `at` of the file, or undefined if there is no whole and valid one.
 *
 * @param view  Of the file: made once, since an opening may read millions of records.
 */
export function decodeRecord(
  sums: LogSums,
  recordSeed: number,
  file: Uint8Array,
  view: DataView,
  place: { readonly at: number; readonly end: number; readonly position: number },
): LogRecord | undefined {
  const { at, end, position } = place;
  const length = recordLengthAt(file, at);
  if (length === 0 || at + length > end) return undefined;
  const sum = sums.of(file.subarray(at + RECORD_SUMMED, at + length), xor(recordSeed, position));
  if (sum !== view.getBigUint64(at + 8, true) || view.getUint32(at + 4, true) !== 0) {
    return undefined;
  }
  const payloadBytes = view.getUint32(at + 28, true);
  const created = view.getUint32(at + 32, true);
  const deleted = view.getUint32(at + 36, true);
  if (recordBytesOf(created, deleted, payloadBytes) !== length) return undefined;
  const idsAt = at + RECORD_HEADER_BYTES;
  const payloadAt = idsAt + (created + deleted) * ID_BYTES;
  const owner = countAt(view, at + 16);
  const createdIds = getIds(view, idsAt, created);
  const deletedIds = getIds(view, idsAt + created * ID_BYTES, deleted);
  if (Number.isNaN(owner) || createdIds.some(isNoId) || deletedIds.some(isNoId)) return undefined;
  return {
    position,
    seq: position + length,
    kind: view.getUint32(at + 24, true),
    owner,
    created: createdIds,
    deleted: deletedIds,
    payload: file.subarray(payloadAt, payloadAt + payloadBytes),
  };
}
