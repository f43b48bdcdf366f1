/**
 * Long values, in blobs of their own.
 *
 * Owns:        the layout of overflow blobs: u64 id of the next one (0: the last), u32 bytes in this
 *              one, u32 magic, then the bytes. What stands in the leaf is the first id (u64) and the
 *              length of the value (u32).
 * Invariants:  an overflow blob never changes: a new value gets new ones, and the old ones are deleted
 *              with the entry that named them.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';
import { MISS, REFERENCE_BYTES, VALUE_OVERFLOW_MASK } from '../generated/layout.ts';
import type { Frame } from '../memory/frame.ts';
import type { PoolCore } from '../pool/core.ts';
import type { BlobId } from '../store/contract.ts';
import type { Op } from '../txn/op.ts';
import type { OpBlob } from '../txn/op-blob.ts';
import { RING_BYTES_MAX } from '../wal/format.ts';
import { nodeCorrupt } from './descent.ts';

const MAGIC = 0x31_4f_57_54; // "TWO1"
const HEADER_BYTES = 16;

export { REFERENCE_BYTES };

/** The word of an overflowing value in a leaf. */
export const REFERENCE_WORD: number = (VALUE_OVERFLOW_MASK | REFERENCE_BYTES) >>> 0;

export function isOverflow(word: number): boolean {
  return word >= VALUE_OVERFLOW_MASK;
}

/** Blobs that a value of so many bytes takes. */
export function overflowBlobs(valueBytes: number, blobBytes: number): number {
  return Math.ceil(valueBytes / partBytesMax(blobBytes));
}

/** Of what a reference or a part names: it may be torn, or crafted. */
function isId(id: number): boolean {
  return Number.isSafeInteger(id) && id > 0;
}

export interface Reference {
  readonly first: BlobId;
  readonly bytes: number;
}

export function readReference(bytes: Uint8Array, at: number): Reference {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, REFERENCE_BYTES);
  return { first: Number(view.getBigUint64(0, true)), bytes: view.getUint32(8, true) };
}

export function writeReference(
  bytes: Uint8Array,
  at: number,
  { first, bytes: n }: Reference,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, REFERENCE_BYTES);
  view.setBigUint64(0, BigInt(first), true);
  view.setUint32(8, n, true);
}

/** Puts a value into blobs that were created for it; after the seal. */
export function writeOverflow(blobs: readonly OpBlob[], value: Uint8Array): Reference {
  let at = 0;
  blobs.forEach((blob, index) => {
    const { view, bytes } = blob;
    const part = value.subarray(at, at + bytes.length - HEADER_BYTES);
    view.setBigUint64(0, BigInt(blobs[index + 1]?.id ?? 0), true);
    view.setUint32(8, part.length, true);
    view.setUint32(12, MAGIC, true);
    bytes.set(part, HEADER_BYTES);
    at += part.length;
  });
  return { first: (blobs[0] as OpBlob).id, bytes: value.length };
}

/** One blob of a value. */
export interface Part {
  /** 0 in the last one. */
  readonly next: BlobId;
  readonly bytes: number;
}

/** Bytes of a value that one blob takes. */
export function partBytesMax(blobBytes: number): number {
  return blobBytes - HEADER_BYTES;
}

/** The part of a value that a blob holds. */
export function partBytes(blob: Uint8Array, { bytes }: Part): Uint8Array {
  return blob.subarray(HEADER_BYTES, HEADER_BYTES + bytes);
}

/** Undefined: the bytes are no part of a value. */
export function partOf(view: DataView, blobBytes: number): Part | undefined {
  const next = Number(view.getBigUint64(0, true));
  const bytes = view.getUint32(8, true);
  const valid = view.getUint32(12, true) === MAGIC && bytes <= partBytesMax(blobBytes);
  return valid && Number.isSafeInteger(next) ? { next, bytes } : undefined;
}

/** Longer values than any store takes: see the largest ring. */
const VALUE_BYTES_END = RING_BYTES_MAX / 2;

/**
 * Reads a value. The entry that names it may be changed meanwhile: the caller validates, and what
 * this throws counts only then.
 *
 * @throws {WeirpoolError} `NODE_CORRUPT`, `BLOB_NOT_FOUND`, `BLOB_GONE`, and as `pin`.
 */
export function readOverflow(core: PoolCore, tree: BlobId, reference: Reference): Buffer {
  return readChain(tree, reference, core.memory.shared.blobBytes, (id, take) => {
    const frame = core.residency.pin(id, true);
    try {
      return take(core.memory.frame(frame));
    } finally {
      core.control.unpin(frame, core.me);
    }
  });
}

/** Has `take` look at a blob that stays as it is while it does. */
export type WithBlob = (
  id: BlobId,
  take: (blob: Pick<Frame, 'bytes' | 'view'>) => BlobId,
) => BlobId;

/** Reads a value whose blobs `withBlob` gives. Errors: `NODE_CORRUPT`, and as `withBlob`. */
export function readChain(
  tree: BlobId,
  { first, bytes: valueBytes }: Reference,
  blobBytes: number,
  withBlob: WithBlob,
): Buffer {
  const full = partBytesMax(blobBytes);
  if (valueBytes >= VALUE_BYTES_END) throw nodeCorrupt(first, tree);
  const value = Buffer.allocUnsafe(valueBytes);
  let at = 0;
  for (let id = first; at < valueBytes; ) {
    if (!isId(id)) throw nodeCorrupt(id, tree);
    id = withBlob(id, ({ view, bytes }) => {
      const part = partOf(view, blobBytes);
      // All but the last are full: the blobs that are read are no more than the value takes.
      if (part === undefined || part.bytes !== Math.min(valueBytes - at, full)) {
        throw nodeCorrupt(id, tree);
      }
      value.set(bytes.subarray(HEADER_BYTES, HEADER_BYTES + part.bytes), at);
      at += part.bytes;
      return part.next;
    });
  }
  return value;
}

/**
 * The first blob of a value that is not in the pool, 0 if all are. A hint: what is read on the way
 * may be changing.
 */
export function missingOverflow(core: PoolCore, { first, bytes }: Reference): BlobId {
  const { blobBytes } = core.memory.shared;
  let id = first;
  for (let left = bytes; left > 0; ) {
    if (!isId(id)) return 0;
    const frame = core.control.locate(id, core.me);
    if (frame === MISS) return id;
    const part = frame < 0 ? undefined : partOf(core.memory.frame(frame).view, blobBytes);
    if (part === undefined || part.bytes === 0) return 0;
    left -= part.bytes;
    id = part.next;
  }
  return 0;
}

/** Ids of a value's blobs, in order. Errors as `readOverflow`. */
export function deleteOverflow(op: Op, tree: BlobId, { first, bytes }: Reference): void {
  let left = bytes;
  for (let id = first; left > 0; ) {
    if (!isId(id)) throw nodeCorrupt(id, tree);
    const blob = op.write(id);
    const part = partOf(blob.view, blob.bytes.length);
    const full = partBytesMax(blob.bytes.length);
    if (part?.bytes !== Math.min(left, full)) throw nodeCorrupt(id, tree);
    left -= part.bytes;
    op.delete(id);
    id = part.next;
  }
}
