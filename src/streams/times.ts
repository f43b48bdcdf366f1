/**
 * Times as bounds and in keys: what window and session keys have in common.
 *
 * A stored key is the user's key and a suffix of fixed length, so it is taken apart from its end: no
 * two keys with their times give the same bytes, whatever the keys' lengths and bytes are. In order,
 * though, the keys of others may lie between those of one key: who reads a range has to look at each.
 *
 * Owns:        nothing.
 * Threads:     any.
 */
import { compareAt, compareBytes, TIME_BYTES, TIME_MAX, writeTime } from './bytes.ts';
import type { Slot } from './slot.ts';

/** @throws {TypeError} {RangeError} not a whole number of milliseconds from 0 to 2^53 - 1. */
export function timeOf(time: number, what: string): number {
  if (typeof time !== 'number') throw new TypeError(`${what} is a number, not ${typeof time}`);
  if (Number.isSafeInteger(time) && time >= 0) return time;
  throw new RangeError(`${what} is a whole number of ms from 0 to ${TIME_MAX}, not ${time}`);
}

/** A lower bound: absent or negative ones are 0. */
export function lowerTime(time: number | undefined): number {
  if (time === undefined) return 0;
  return Math.max(0, Math.ceil(boundOf(time)));
}

/** An upper bound, inclusive: an absent one is unlimited; below 0 there is nothing. */
export function upperTime(time: number | undefined): number {
  if (time === undefined) return TIME_MAX;
  return Math.min(TIME_MAX, Math.floor(boundOf(time)));
}

function boundOf(time: number): number {
  if (typeof time !== 'number') throw new TypeError(`A time is a number, not ${typeof time}`);
  if (Number.isNaN(time)) throw new RangeError('NaN is no time');
  return time;
}

/** The user's key with a time behind it, and room for more. */
export function keyWithTime(key: Uint8Array, time: number, more = 0): Uint8Array {
  const bytes = new Uint8Array(key.length + TIME_BYTES + more);
  bytes.set(key);
  writeTime(bytes, key.length, time);
  return bytes;
}

/**
 * A key above all stored ones whose user's key is at most `last` and whose time is at most `time`,
 * and above as few others as it can be. A shorter key than `last` may be stored behind it: of `b` and
 * its prefix `a`, or none, whichever goes on with larger bytes. (Kafka: OrderedBytes.upperRange, which
 * takes keys to have a byte at least.)
 */
export function endOfKeys(last: Uint8Array, time: number): Uint8Array {
  const suffix = new Uint8Array(TIME_BYTES);
  // Times end below 2^53: one more still fits.
  writeTime(suffix, 0, time + 1);
  let end = keyWithTime(last, time + 1);
  for (let length = last.length - 1; length >= 0; length--) {
    if (compareBytes(suffix, end.subarray(length)) <= 0) continue;
    end = new Uint8Array(length + TIME_BYTES);
    end.set(last.subarray(0, length));
    end.set(suffix, length);
  }
  return end;
}

/** Bounds of keys the wrong way round: there is nothing between them. */
export function areCrossed(from: Uint8Array | undefined, to: Uint8Array | undefined): boolean {
  return from !== undefined && to !== undefined && compareBytes(from, to) > 0;
}

/** Whether the user's key in a slot, which goes up to `end`, is between two others, both inclusive. */
export function isKeyBetween(
  { key, keyAt }: Slot,
  end: number,
  from: Uint8Array | undefined,
  to: Uint8Array | undefined,
): boolean {
  if (from !== undefined && compareAt(from, 0, key, keyAt, end) > 0) return false;
  return to === undefined || compareAt(to, 0, key, keyAt, end) >= 0;
}
