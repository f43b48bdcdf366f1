/**
 * Keys of the history: base, key, epoch, so that they are in the order of the keys, and of one key in the
 * order of the epochs.
 *
 *   base   u32 big-endian
 *   key    each byte 00 as 00 FF
 *   00 00
 *   epoch  u32 big-endian
 *
 * Invariants:  no key is the beginning of another one: behind a key comes 00 00, within one 00 is followed
 *              by FF.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';

const BASE_BYTES = 4;
const END_BYTES = 2;
const EPOCH_BYTES = 4;
/** What a key in the history has beside the key, its zero bytes counted twice. */
export const HISTORY_KEY_BYTES: number = BASE_BYTES + END_BYTES + EPOCH_BYTES;
const ESCAPED = 0xff;
/** Behind all epochs of a key (00 00 ...), before all that goes on with a zero byte (00 FF). */
const BEHIND_KEY = 1;

function zerosIn(key: Uint8Array): number {
  let count = 0;
  for (let at = key.indexOf(0); at >= 0; at = key.indexOf(0, at + 1)) count++;
  return count;
}

/** Bytes of a key in the history. */
export function historyKeyBytes(key: Uint8Array): number {
  return HISTORY_KEY_BYTES + key.length + zerosIn(key);
}

/** Base and key, and room for so many bytes more behind them; the first of these is at `end`. */
function begin(base: number, key: Uint8Array, more: number): { bytes: Buffer; end: number } {
  const zeros = zerosIn(key);
  const bytes = Buffer.allocUnsafe(BASE_BYTES + key.length + zeros + more);
  bytes.writeUInt32BE(base, 0);
  if (zeros === 0) {
    bytes.set(key, BASE_BYTES);
    return { bytes, end: BASE_BYTES + key.length };
  }
  let end = BASE_BYTES;
  for (const byte of key) {
    bytes[end++] = byte;
    if (byte === 0) bytes[end++] = ESCAPED;
  }
  return { bytes, end };
}

export function historyKey(base: number, key: Uint8Array, epoch: number): Buffer {
  const { bytes, end } = begin(base, key, END_BYTES + EPOCH_BYTES);
  bytes.writeUInt16BE(0, end);
  bytes.writeUInt32BE(epoch, end + END_BYTES);
  return bytes;
}

/** Below everything of a key, or with `behind` above it. */
export function historyBound(base: number, key: Uint8Array, behind: boolean): Buffer {
  const { bytes, end } = begin(base, key, END_BYTES);
  bytes[end] = 0;
  bytes[end + 1] = behind ? BEHIND_KEY : 0;
  return bytes;
}

/** Below everything of a base. */
export function historyBase(base: number): Buffer {
  const bytes = Buffer.allocUnsafe(BASE_BYTES);
  bytes.writeUInt32BE(base, 0);
  return bytes;
}

export function epochIn(historical: Buffer): number {
  return historical.readUInt32BE(historical.length - EPOCH_BYTES);
}

/** Base and key as they stand in the history: equal for all that is saved of one key. */
export function escapedIn(historical: Buffer): Buffer {
  return historical.subarray(0, historical.length - END_BYTES - EPOCH_BYTES);
}

/** The key itself. */
export function keyIn(historical: Buffer): Buffer {
  const escaped = historical.subarray(BASE_BYTES, historical.length - END_BYTES - EPOCH_BYTES);
  if (escaped.indexOf(0) < 0) return escaped;
  const key = Buffer.allocUnsafe(escaped.length);
  let end = 0;
  for (let at = 0; at < escaped.length; at++) {
    const byte = escaped[at] as number;
    key[end++] = byte;
    if (byte === 0) at++;
  }
  return key.subarray(0, end);
}
