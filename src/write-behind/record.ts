/**
 * Bytes of a durable cache's entries.
 *
 * Owns:        the format: a header of HEADER_BYTES, then the value; little-endian:
 *              0 u8 format, 1 u8 flags, 8 f64 inserted, 16 f64 dirtied, 24 f64 version,
 *              32 f64 changed at, in ms since 1970. Keys of the order: u64 big-endian.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';
import type { Stamp } from './entries.ts';

export const FORMAT = 1;
export const HEADER_BYTES = 40;
const FLAG_DIRTY = 1;
const SEQUENCE_BYTES = 8;

export interface Header extends Stamp {
  /** Where its dirty mark stands; 0: it is clean. */
  readonly dirtied: number;
  readonly changedAt: number;
}

/** One header in memory of its own: what is in place may be changing, and is not aligned. */
export class HeaderBytes {
  readonly bytes: Uint8Array = new Uint8Array(HEADER_BYTES);
  readonly #f64 = new Float64Array(this.bytes.buffer);

  load(from: Uint8Array, at: number): void {
    const { bytes } = this;
    for (let index = 0; index < HEADER_BYTES; index++) bytes[index] = from[at + index] as number;
  }

  save(to: Uint8Array): void {
    const { bytes } = this;
    for (let index = 0; index < HEADER_BYTES; index++) to[index] = bytes[index] as number;
  }

  get isDirty(): boolean {
    return ((this.bytes[1] as number) & FLAG_DIRTY) !== 0;
  }

  /** One put more. */
  touch(now: number): void {
    this.#f64[3] = (this.#f64[3] as number) + 1;
    this.#f64[4] = now;
  }

  get header(): Header {
    const f64 = this.#f64;
    return {
      inserted: f64[1] as number,
      dirtied: f64[2] as number,
      version: f64[3] as number,
      changedAt: f64[4] as number,
    };
  }

  set header({ inserted, dirtied, version, changedAt }: Header) {
    this.bytes.fill(0, 0, 8);
    this.bytes[0] = FORMAT;
    this.bytes[1] = dirtied === 0 ? 0 : FLAG_DIRTY;
    this.#f64[1] = inserted;
    this.#f64[2] = dirtied;
    this.#f64[3] = version;
    this.#f64[4] = changedAt;
  }
}

/** A number as a key that is ordered by it. */
export function sequenceKey(sequence: number): Buffer {
  const key = Buffer.allocUnsafe(SEQUENCE_BYTES);
  key.writeUInt32BE(Math.floor(sequence / 2 ** 32), 0);
  key.writeUInt32BE(sequence >>> 0, 4);
  return key;
}

export function readSequence(key: Uint8Array): number {
  const view = new DataView(key.buffer, key.byteOffset, SEQUENCE_BYTES);
  return view.getUint32(0) * 2 ** 32 + view.getUint32(4);
}

/** What a deletion that is under way remembers of the entry. */
export function encodeDoomed(stamp: Stamp | undefined): Buffer {
  const bytes = Buffer.alloc(2 * SEQUENCE_BYTES);
  bytes.writeDoubleLE(stamp?.inserted ?? 0, 0);
  bytes.writeDoubleLE(stamp?.version ?? 0, SEQUENCE_BYTES);
  return bytes;
}

export function decodeDoomed(bytes: Uint8Array): Stamp | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 2 * SEQUENCE_BYTES);
  const inserted = view.getFloat64(0, true);
  return inserted === 0 ? undefined : { inserted, version: view.getFloat64(SEQUENCE_BYTES, true) };
}
