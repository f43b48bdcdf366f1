/**
 * The manifest's bytes: header, close block, records. Described byte by byte in docs/format.md.
 *
 * Owns:        the format; knows nothing of files.
 * Invariants:  each part begins on a 4 KiB boundary and fills whole blocks, so that no append can
 *              tear what was synced before; each is summed over its whole blocks together with
 *              store id, generation and position, so that bytes of another store, file or place
 *              never pass for it.
 * Threads:     private to the caller; the checksummer's scratch area is used.
 */
import type { Checksummer } from '../memory/checksum.ts';
import type { BlobId, BlobMapping } from './contract.ts';
import type { StateChange } from './store-state.ts';

export const FORMAT_VERSION: number = 1;
export const BLOCK_BYTES: number = 4096;
export const CLOSE_POSITION: number = BLOCK_BYTES;
export const FIRST_RECORD: number = 2 * BLOCK_BYTES;

export const KIND_SNAPSHOT: number = 1;
export const KIND_CHANGE: number = 2;

/** "WEIRMANI", "WEIRDONE", "WREC" in the order of their bytes. */
const HEADER_MAGIC = 0x494e_414d_5249_4557n;
const CLOSE_MAGIC = 0x454e_4f44_5249_4557n;
const RECORD_MAGIC = 0x4345_5257;

const SUM_BYTES = 8;
const HEADER_SUM = BLOCK_BYTES - SUM_BYTES;
const RECORD_HEAD_BYTES = 72;
const MAPPED_BYTES = 24;
const DELETED_BYTES = 8;
const ROOT_BYTES = 16;

/** Summed in pieces, each with the sum of those before it: scratch areas have at least 64 KiB. */
const PIECE_BYTES = 32 * 1024;
const PREAMBLE_BYTES = 32;

/** What ties bytes to their place. */
export interface ManifestSeal {
  readonly checksummer: Checksummer;
  readonly storeId: bigint;
  readonly generation: number;
}

export interface ManifestHeader {
  readonly formatVersion: number;
  readonly blobBytes: number;
  readonly storeId: bigint;
  readonly generation: number;
  readonly epoch: number;
}

/** Written by a clean close: what the file must then contain. */
export interface CloseBlock {
  readonly logEnd: number;
  readonly commitNumber: number;
}

export interface ManifestRecord {
  readonly kind: number;
  /** With padding: the next record begins so much later. */
  readonly paddedBytes: number;
  readonly change: StateChange;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Checksum of whole words at `position`, tied to store, generation and position. */
function sealedSum(seal: ManifestSeal, bytes: Uint8Array, position: number): bigint {
  let sum = 0n;
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    const scratch = seal.checksummer.scratch(PREAMBLE_BYTES + piece.length);
    const preamble = viewOf(scratch);
    preamble.setBigUint64(0, seal.storeId, true);
    preamble.setBigUint64(8, BigInt(seal.generation), true);
    preamble.setBigUint64(16, BigInt(position + at), true);
    preamble.setBigUint64(24, sum, true);
    scratch.set(piece, PREAMBLE_BYTES);
    sum = seal.checksummer.ofScratch(scratch.length, 0);
  }
  return sum;
}

/** A count from 64 bits, or NaN if it is none that we could have written. */
function countAt(view: DataView, at: number): number {
  const value = Number(view.getBigUint64(at, true));
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

function putCount(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}

// --- header and close block ------------------------------------------------------------------

export function encodeHeader(checksummer: Checksummer, header: ManifestHeader): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const view = viewOf(block);
  view.setBigUint64(0, HEADER_MAGIC, true);
  view.setUint32(8, header.formatVersion, true);
  view.setUint32(12, header.blobBytes, true);
  view.setBigUint64(16, header.storeId, true);
  putCount(view, 24, header.generation);
  putCount(view, 32, header.epoch);
  const seal = { checksummer, storeId: header.storeId, generation: header.generation };
  view.setBigUint64(HEADER_SUM, sealedSum(seal, block.subarray(0, HEADER_SUM), 0), true);
  return block;
}

/** The header in the first block, or undefined if it is damaged. */
export function decodeHeader(
  checksummer: Checksummer,
  file: Uint8Array,
): ManifestHeader | undefined {
  if (file.length < BLOCK_BYTES) return undefined;
  const block = file.subarray(0, BLOCK_BYTES);
  const view = viewOf(block);
  const header: ManifestHeader = {
    formatVersion: view.getUint32(8, true),
    blobBytes: view.getUint32(12, true),
    storeId: view.getBigUint64(16, true),
    generation: countAt(view, 24),
    epoch: countAt(view, 32),
  };
  if (view.getBigUint64(0, true) !== HEADER_MAGIC) return undefined;
  if (Number.isNaN(header.generation) || Number.isNaN(header.epoch)) return undefined;
  const seal = { checksummer, storeId: header.storeId, generation: header.generation };
  const sum = sealedSum(seal, block.subarray(0, HEADER_SUM), 0);
  return sum === view.getBigUint64(HEADER_SUM, true) ? header : undefined;
}

export function encodeClose(seal: ManifestSeal, close: CloseBlock): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const view = viewOf(block);
  view.setBigUint64(0, CLOSE_MAGIC, true);
  putCount(view, 8, close.logEnd);
  putCount(view, 16, close.commitNumber);
  const sum = sealedSum(seal, block.subarray(0, HEADER_SUM), CLOSE_POSITION);
  view.setBigUint64(HEADER_SUM, sum, true);
  return block;
}

/** The close block, or undefined if the file was not closed cleanly (or the block is damaged). */
export function decodeClose(seal: ManifestSeal, file: Uint8Array): CloseBlock | undefined {
  if (file.length < FIRST_RECORD) return undefined;
  const block = file.subarray(CLOSE_POSITION, FIRST_RECORD);
  const view = viewOf(block);
  if (view.getBigUint64(0, true) !== CLOSE_MAGIC) return undefined;
  const sum = sealedSum(seal, block.subarray(0, HEADER_SUM), CLOSE_POSITION);
  if (sum !== view.getBigUint64(HEADER_SUM, true)) return undefined;
  return { logEnd: countAt(view, 8), commitNumber: countAt(view, 16) };
}

// --- records -----------------------------------------------------------------------------------

function recordBytes(mapped: number, deleted: number, roots: number): number {
  return RECORD_HEAD_BYTES + mapped * MAPPED_BYTES + deleted * DELETED_BYTES + roots * ROOT_BYTES;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

function putEntries(view: DataView, change: StateChange): void {
  let at = RECORD_HEAD_BYTES;
  for (const { id, slot, checksum } of change.mapped) {
    putCount(view, at, id);
    putCount(view, at + 8, slot);
    view.setBigUint64(at + 16, checksum, true);
    at += MAPPED_BYTES;
  }
  for (const id of change.deleted) {
    putCount(view, at, id);
    at += DELETED_BYTES;
  }
  for (const [owner, id] of change.roots) {
    putCount(view, at, owner);
    putCount(view, at + 8, id);
    at += ROOT_BYTES;
  }
}

/** The record in whole blocks, sealed for `position`. */
export function encodeRecord(
  seal: ManifestSeal,
  kind: number,
  change: StateChange,
  position: number,
): Uint8Array {
  const { mapped, deleted, roots } = change;
  const length = recordBytes(mapped.length, deleted.length, roots.size);
  const record = new Uint8Array(padded(length));
  const view = viewOf(record);
  view.setUint32(8, RECORD_MAGIC, true);
  view.setUint32(12, kind, true);
  putCount(view, 16, length);
  putCount(view, 24, change.commitNumber);
  putCount(view, 32, change.epoch);
  putCount(view, 40, change.nextBlobId);
  putCount(view, 48, change.checkpointSeq);
  view.setUint32(56, mapped.length, true);
  view.setUint32(60, deleted.length, true);
  view.setUint32(64, roots.size, true);
  putEntries(view, change);
  const sum = sealedSum(seal, record.subarray(SUM_BYTES), position + SUM_BYTES);
  view.setBigUint64(0, sum, true);
  return record;
}

function getMapped(view: DataView, count: number): BlobMapping[] {
  return Array.from({ length: count }, (_, index) => {
    const at = RECORD_HEAD_BYTES + index * MAPPED_BYTES;
    return {
      id: countAt(view, at),
      slot: countAt(view, at + 8),
      checksum: view.getBigUint64(at + 16, true),
    };
  });
}

function getDeleted(view: DataView, from: number, count: number): BlobId[] {
  return Array.from({ length: count }, (_, index) => countAt(view, from + index * DELETED_BYTES));
}

function getRoots(view: DataView, from: number, count: number): Map<number, BlobId> {
  const roots = new Map<number, BlobId>();
  for (let index = 0; index < count; index++) {
    const at = from + index * ROOT_BYTES;
    roots.set(countAt(view, at), countAt(view, at + 8));
  }
  return roots;
}

/** Length with padding of what claims to be a record at `position`, or undefined. */
function claimedBytes(file: Uint8Array, position: number): number | undefined {
  if (position + BLOCK_BYTES > file.length) return undefined;
  const view = viewOf(file.subarray(position, position + BLOCK_BYTES));
  const length = countAt(view, 16);
  const counted = recordBytes(
    view.getUint32(56, true),
    view.getUint32(60, true),
    view.getUint32(64, true),
  );
  if (view.getUint32(8, true) !== RECORD_MAGIC || length !== counted) return undefined;
  return position + padded(length) <= file.length ? padded(length) : undefined;
}

/** The record at `position`, or undefined if there is no whole and valid one. */
export function decodeRecord(
  seal: ManifestSeal,
  file: Uint8Array,
  position: number,
): ManifestRecord | undefined {
  const paddedBytes = claimedBytes(file, position);
  if (paddedBytes === undefined) return undefined;
  const record = file.subarray(position, position + paddedBytes);
  const view = viewOf(record);
  const sum = sealedSum(seal, record.subarray(SUM_BYTES), position + SUM_BYTES);
  if (sum !== view.getBigUint64(0, true)) return undefined;
  const mapped = view.getUint32(56, true);
  const deleted = view.getUint32(60, true);
  const deletedFrom = recordBytes(mapped, 0, 0);
  const change: StateChange = {
    mapped: getMapped(view, mapped),
    deleted: getDeleted(view, deletedFrom, deleted),
    roots: getRoots(view, recordBytes(mapped, deleted, 0), view.getUint32(64, true)),
    commitNumber: countAt(view, 24),
    epoch: countAt(view, 32),
    nextBlobId: countAt(view, 40),
    checkpointSeq: countAt(view, 48),
  };
  return { kind: view.getUint32(12, true), paddedBytes, change };
}
