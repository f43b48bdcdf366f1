/**
 * Checksums anew: what was mutated gets past them, into the decoders behind.
 *
 * Owns:        a second description of what the sums cover, written from docs/format.md; an image that
 *              nobody has touched must come out as it went in, which the programs check first.
 * Threads:     private to the caller; `bytes` are changed in place.
 */
import type { Checksummer } from '../../../src/memory/checksum.ts';
import {
  GROUP_HEADER_BYTES,
  LOG_BLOCK_BYTES,
  type LogSums,
  RECORD_HEADER_BYTES,
  recordLengthAt,
} from '../../../src/wal/format.ts';

const SEGMENT_MAGIC = 0x474f_4c57_5249_4557n;
const GROUP_MAGIC = 0x5052_4757;
const HEADER_MAGIC = 0x494e_414d_5249_4557n;
const CLOSE_MAGIC = 0x454e_4f44_5249_4557n;
const MANIFEST_RECORD_MAGIC = 0x4345_5257;
const SUM_AT = LOG_BLOCK_BYTES - 8;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function safe(view: DataView, at: number): number {
  const value = Number(view.getBigUint64(at, true));
  return Number.isSafeInteger(value) ? value : 0;
}

// --- log -----------------------------------------------------------------------------------------

/** Places of the fields of a segment's headers, groups and records. */
export type Fields = (readonly [offset: number, width: 1 | 2 | 4 | 8])[];

const SEGMENT_FIELDS: Fields = [
  [8, 4],
  ...[16, 24, 32, 40, 48, 56, 64, 72].map((at) => [at, 8] as const),
];
const GROUP_FIELDS: Fields = [[12, 4], ...[16, 24, 32, 40, 48, 56].map((at) => [at, 8] as const)];
const RECORD_FIELDS: Fields = [
  [0, 4],
  [4, 4],
  [16, 8],
  [24, 4],
  [28, 4],
  [32, 4],
  [36, 4],
  [40, 8],
  [48, 8],
  [40, 1],
  [41, 1],
  [42, 1],
];

/** Calls with each group and each record of a segment, as far as their lengths lead. */
function walk(
  bytes: Uint8Array,
  group: (at: number) => void,
  record: (at: number, length: number, position: number) => void,
): void {
  const view = viewOf(bytes);
  for (let at = LOG_BLOCK_BYTES; at + LOG_BLOCK_BYTES <= bytes.length; at += LOG_BLOCK_BYTES) {
    if (view.getUint32(at + 8, true) !== GROUP_MAGIC) continue;
    let position = safe(view, at + 40);
    const end = Math.min(bytes.length, at + GROUP_HEADER_BYTES + safe(view, at + 56));
    for (let from = at + GROUP_HEADER_BYTES; from + RECORD_HEADER_BYTES <= end; ) {
      const length = recordLengthAt(bytes, from);
      if (length === 0 || from + length > end) break;
      record(from, length, position);
      position += length;
      from += length;
    }
    group(at);
  }
}

export function fieldsOfSegment(bytes: Uint8Array): Fields {
  const fields = [...SEGMENT_FIELDS];
  const add = (at: number, list: Fields) => {
    for (const [offset, width] of list) fields.push([at + offset, width]);
  };
  walk(
    bytes,
    (at) => add(at, GROUP_FIELDS),
    (at) => add(at, RECORD_FIELDS),
  );
  return fields;
}

export function resealSegment(sums: LogSums, bytes: Uint8Array): void {
  if (bytes.length < LOG_BLOCK_BYTES) return;
  const view = viewOf(bytes);
  const storeId = view.getBigUint64(16, true);
  const headerSeed = sums.seed(storeId, 0);
  const recordSeed = sums.seed(storeId, safe(view, 24));
  if (view.getBigUint64(0, true) === SEGMENT_MAGIC) {
    view.setBigUint64(SUM_AT, sums.of(bytes.subarray(0, SUM_AT), headerSeed), true);
  }
  walk(
    bytes,
    (at) => {
      const summed = bytes.subarray(at + 8, at + GROUP_HEADER_BYTES);
      view.setBigUint64(at, sums.of(summed, headerSeed), true);
    },
    (at, length, position) => {
      const seed = Number(BigInt(recordSeed) ^ BigInt(position));
      view.setBigUint64(at + 8, sums.of(bytes.subarray(at + 16, at + length), seed), true);
    },
  );
}

// --- manifest --------------------------------------------------------------------------------------

const PIECE_BYTES = 32 * 1024;

interface Seal {
  readonly checksummer: Checksummer;
  readonly storeId: bigint;
  readonly generation: bigint;
}

function sealedSum(seal: Seal, bytes: Uint8Array, position: number): bigint {
  let sum = 0n;
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    const scratch = seal.checksummer.scratch(32 + piece.length);
    const preamble = viewOf(scratch);
    preamble.setBigUint64(0, seal.storeId, true);
    preamble.setBigUint64(8, seal.generation, true);
    preamble.setBigUint64(16, BigInt(position + at), true);
    preamble.setBigUint64(24, sum, true);
    scratch.set(piece, 32);
    sum = seal.checksummer.ofScratch(scratch.length, 0);
  }
  return sum;
}

function recordsOf(bytes: Uint8Array, take: (at: number, length: number) => void): void {
  const view = viewOf(bytes);
  for (let at = 2 * LOG_BLOCK_BYTES; at + LOG_BLOCK_BYTES <= bytes.length; at += LOG_BLOCK_BYTES) {
    if (view.getUint32(at + 8, true) !== MANIFEST_RECORD_MAGIC) continue;
    const length = Math.ceil(safe(view, at + 16) / LOG_BLOCK_BYTES) * LOG_BLOCK_BYTES;
    take(at, Math.max(LOG_BLOCK_BYTES, Math.min(length, bytes.length - at)));
  }
}

export function fieldsOfManifest(bytes: Uint8Array): Fields {
  const fields: Fields = [
    [8, 4],
    [12, 4],
    [16, 8],
    [24, 8],
    [32, 8],
    [4104, 8],
    [4112, 8],
  ];
  recordsOf(bytes, (at, length) => {
    for (const offset of [12, 56, 60, 64]) fields.push([at + offset, 4]);
    for (const offset of [16, 24, 32, 40, 48]) fields.push([at + offset, 8]);
    const view = viewOf(bytes);
    const used = Math.min(length, safe(view, at + 16));
    for (let offset = 72; offset < used; offset += 8) fields.push([at + offset, 8]);
  });
  return fields;
}

export function resealManifest(checksummer: Checksummer, bytes: Uint8Array): void {
  if (bytes.length < 2 * LOG_BLOCK_BYTES) return;
  const view = viewOf(bytes);
  // What the header can say of itself: a count that is none keeps its wrong sum.
  const generation = view.getBigUint64(24, true);
  const seal = { checksummer, storeId: view.getBigUint64(16, true), generation };
  if (view.getBigUint64(0, true) === HEADER_MAGIC) {
    view.setBigUint64(SUM_AT, sealedSum(seal, bytes.subarray(0, SUM_AT), 0), true);
  }
  if (view.getBigUint64(LOG_BLOCK_BYTES, true) === CLOSE_MAGIC) {
    const block = bytes.subarray(LOG_BLOCK_BYTES, LOG_BLOCK_BYTES + SUM_AT);
    const sum = sealedSum(seal, block, LOG_BLOCK_BYTES);
    view.setBigUint64(LOG_BLOCK_BYTES + SUM_AT, sum, true);
  }
  recordsOf(bytes, (at, length) => {
    const sum = sealedSum(seal, bytes.subarray(at + 8, at + length), at + 8);
    view.setBigUint64(at, sum, true);
  });
}

// --- records of trees --------------------------------------------------------------------------------

/** Places of what a tree's record says, payload beginning at `at`: docs/format.md. */
function fieldsOfPayload(bytes: Uint8Array, at: number, length: number): Fields {
  const view = viewOf(bytes);
  const end = at + length;
  const fields: Fields = [
    [at, 1],
    [at + 1, 1],
    [at + 2, 1],
    [at + 4, 4],
  ];
  let next = at + 8;
  if (bytes[at + 1] === 1) {
    const count = Math.min(view.getUint32(at + 4, true), 40);
    for (let n = 0; n < count && next + 16 <= end; n++) {
      fields.push([next, 8], [next + 8, 1], [next + 10, 2], [next + 12, 4]);
      const keyBytes = view.getUint16(next + 10, true);
      const valueBytes = view.getUint32(next + 12, true);
      if (keyBytes > 0 && next + 16 < end) fields.push([next + 16, 1]);
      next += 16 + keyBytes + valueBytes;
    }
  } else {
    for (const offset of [0, 8, 16, 24])
      if (next + offset + 8 <= end) fields.push([next + offset, 8]);
    if (next + 12 <= end) fields.push([next + 8, 2], [next + 10, 2]);
  }
  // The plan stands last.
  for (let plan = Math.max(at + 8, end - 16); plan + 4 <= end; plan += 4) fields.push([plan, 4]);
  return fields;
}

/** What the records of a segment say, and which ids they name; not how long they are. */
export function fieldsOfRecords(bytes: Uint8Array): Fields {
  const view = viewOf(bytes);
  const fields: Fields = [];
  walk(
    bytes,
    () => undefined,
    (at) => {
      const ids = view.getUint32(at + 32, true) + view.getUint32(at + 36, true);
      for (let id = 0; id < ids; id++) fields.push([at + RECORD_HEADER_BYTES + id * 8, 8]);
      const payloadAt = at + RECORD_HEADER_BYTES + ids * 8;
      const payloadBytes = view.getUint32(at + 28, true);
      if (payloadBytes >= 8) fields.push(...fieldsOfPayload(bytes, payloadAt, payloadBytes));
      fields.push([at + 16, 8], [at + 24, 4]);
    },
  );
  return fields;
}
