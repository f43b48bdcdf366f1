/**
 * Keys and values of window stores, byte by byte (Kafka: WindowKeySchema, and ValueAndTimestamp of
 * KIP-258).
 *
 *   key    the user's key | start of the window, 8 bytes big-endian | sequence number, 4 bytes
 *   value  timestamp of the record, 8 bytes big-endian, two's complement | payload
 *
 * Owns:        the format.
 * Threads:     any.
 */
import { integerBetween } from '../pool/integer-between.ts';
import { copyOf, readTime, readWord, TIME_BYTES, TIME_MAX, writeTime, writeWord } from './bytes.ts';
import { Slot } from './slot.ts';
import { keyWithTime, timeOf } from './times.ts';

const SEQUENCE_BYTES = 4;
export const SEQUENCE_MAX = 0xffff_ffff;
/** What is behind the user's key. */
export const WINDOW_SUFFIX_BYTES: number = TIME_BYTES + SEQUENCE_BYTES;

/** What a window has. */
export interface WindowValue {
  /** Of the record, in milliseconds; -1: unknown. */
  readonly timestamp: number;
  readonly value: Uint8Array;
}

/** The same with the window that it is of. */
export interface WindowEntry extends WindowValue {
  readonly key: Uint8Array;
  /** Of the window, in milliseconds. */
  readonly start: number;
  readonly sequence: number;
}

/** @throws {RangeError} {TypeError} a start or a sequence number that is none. */
export function windowKey(key: Uint8Array, start: number, sequence = 0): Uint8Array {
  timeOf(start, 'The start of a window');
  integerBetween('sequence', sequence, 0, SEQUENCE_MAX);
  const bytes = keyWithTime(key, start, SEQUENCE_BYTES);
  writeWord(bytes, key.length + TIME_BYTES, sequence);
  return bytes;
}

/** @throws {RangeError} these are no bytes of a window's key. */
export function assertWindowKey(bytes: Uint8Array): void {
  if (bytes.length >= WINDOW_SUFFIX_BYTES && startOf(bytes) >= 0 && startOf(bytes) <= TIME_MAX) {
    return;
  }
  throw new RangeError('Not the key of a window: key bytes, 8 bytes of time, 4 of a number');
}

/** @throws {RangeError} these are no bytes of a window's value. */
export function assertWindowValue(bytes: Uint8Array): void {
  if (bytes.length >= TIME_BYTES) return;
  throw new RangeError('Not the value of a window: 8 bytes of time, and the payload');
}

/** The start of the window in a stored key. */
export function startOf(stored: Uint8Array): number {
  return readTime(stored, stored.length - WINDOW_SUFFIX_BYTES);
}

/** @throws {TypeError} {RangeError} the timestamp is no whole number of milliseconds. */
export function windowValue(value: Uint8Array, timestamp: number): Uint8Array {
  integerBetween('timestamp', timestamp, -TIME_MAX, TIME_MAX);
  const bytes = new Uint8Array(TIME_BYTES + value.length);
  writeTime(bytes, 0, timestamp);
  bytes.set(value, TIME_BYTES);
  return bytes;
}

export function readWindowValue(stored: Uint8Array): WindowValue {
  return { timestamp: readTime(stored, 0), value: stored.subarray(TIME_BYTES) };
}

export function readWindow(stored: Uint8Array, value: Uint8Array): WindowEntry {
  const slot = new Slot();
  slot.set(stored, value);
  return windowIn(slot);
}

/** The window in a slot; `key`: the user's key, if it is known. */
export function windowIn(
  slot: Slot,
  key: Uint8Array = copyOf(slot.keyBut(WINDOW_SUFFIX_BYTES)),
): WindowEntry {
  const at = slot.keyEnd - WINDOW_SUFFIX_BYTES;
  return {
    key,
    start: readTime(slot.key, at),
    sequence: readWord(slot.key, at + TIME_BYTES),
    timestamp: readTime(slot.value, slot.valueAt),
    value: slot.valueFrom(TIME_BYTES),
  };
}
