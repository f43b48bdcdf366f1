/**
 * Keys and values as bytes: copies, order, and times inside keys.
 *
 * Owns:        nothing.
 * Invariants:  an id is the key's bytes as a string of one character each: ids are equal, and ordered
 *              by `<`, exactly as the bytes are.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';

/** What keys and values may be given as; a string is its UTF-8. */
export type Bytes = Uint8Array | string;

/** Times are whole milliseconds from 0 up to this one, and unlimited bounds are this one too. */
export const TIME_MAX: number = Number.MAX_SAFE_INTEGER;
export const TIME_BYTES = 8;
const WORD = 2 ** 32;
/** Below it a loop is faster than the call into the runtime. */
const LOOP_BYTES_MAX = 64;

/** @throws {TypeError} neither bytes nor a string. */
export function bytesOf(value: Bytes, what: string): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  throw new TypeError(`${what} is a Uint8Array or a string, not ${typeof value}`);
}

/** A copy that nobody else has: whoever gave the bytes may use them again. */
export function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

export function idOf(key: Uint8Array): string {
  return Buffer.prototype.latin1Slice.call(key, 0, key.length);
}

/** Less than 0, 0, or more than 0, as the bytes are ordered. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return compareAt(a, 0, b, 0, b.length);
}

/** The same of `a` and what `b` has from `at` to `end`, whose first `shared` bytes are alike. */
export function compareAt(
  a: Uint8Array,
  shared: number,
  b: Uint8Array,
  at: number,
  end: number,
): number {
  const common = Math.min(a.length, end - at);
  if (common - shared > LOOP_BYTES_MAX) return Buffer.compare(a, b.subarray(at, end));
  for (let index = shared; index < common; index++) {
    const difference = (a[index] as number) - (b[at + index] as number);
    if (difference !== 0) return difference;
  }
  return a.length - (end - at);
}

/** With how many bytes all keys from `low` on, below `high`, begin alike. */
export function sharedBytes(low: Uint8Array | undefined, high: Uint8Array | undefined): number {
  if (low === undefined || high === undefined) return 0;
  const most = Math.min(low.length, high.length);
  let count = 0;
  while (count < most && low[count] === high[count]) count++;
  return count;
}

/** Four bytes, big-endian. */
export function writeWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 24;
  bytes[at + 1] = word >>> 16;
  bytes[at + 2] = word >>> 8;
  bytes[at + 3] = word;
}

export function readWord(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16);
  return (high | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)) >>> 0;
}

/** Eight bytes, big-endian, two's complement: any safe integer. */
export function writeTime(bytes: Uint8Array, at: number, time: number): void {
  const high = Math.floor(time / WORD);
  writeWord(bytes, at, high);
  writeWord(bytes, at + 4, time - high * WORD);
}

export function readTime(bytes: Uint8Array, at: number): number {
  return (readWord(bytes, at) | 0) * WORD + readWord(bytes, at + 4);
}

/** The first key above all that begin with `prefix`; undefined: there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const end = prefix.slice(0, length);
  end[length - 1] = (end[length - 1] as number) + 1;
  return end;
}
