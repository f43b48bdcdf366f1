/**
 * Bytes of the tree as abstract-level's formats: `utf8` strings, Buffers, plain Uint8Arrays.
 *
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';
import type { ReadValue } from '../tree/store.ts';

export type Format = 'utf8' | 'buffer' | 'view';

/** What stands for a key or a value on the way to and from the encodings. */
export type Formatted = string | Uint8Array;

interface Slices {
  /** Decodes UTF-8 of any Uint8Array, shared memory too, without a copy in between. */
  utf8Slice(this: Uint8Array, start: number, end: number): string;
}

const { utf8Slice } = Buffer.prototype as unknown as Slices;

function viewOf(bytes: Buffer, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}

/** A part of bytes that are the caller's own. */
export function formatPart(bytes: Buffer, start: number, end: number, format: Format): Formatted {
  if (format === 'utf8') return utf8Slice.call(bytes, start, end);
  return format === 'view' ? viewOf(bytes, start, end) : bytes.subarray(start, end);
}

export function formatWhole(bytes: Buffer, format: Format): Formatted {
  return format === 'buffer' ? bytes : formatPart(bytes, 0, bytes.length, format);
}

const readUtf8: ReadValue<string> = (bytes, start, end) => utf8Slice.call(bytes, start, end);

const readBuffer: ReadValue<Buffer> = (bytes, start, end) => {
  const value = Buffer.allocUnsafe(end - start);
  value.set(bytes.subarray(start, end));
  return value;
};

const readView: ReadValue<Uint8Array> = (bytes, start, end) => {
  const value = new Uint8Array(end - start);
  value.set(bytes.subarray(start, end));
  return value;
};

/** How a value is read in place, by the format that is asked for. */
export const READERS: Readonly<Record<Format, ReadValue<Formatted>>> = {
  utf8: readUtf8,
  buffer: readBuffer,
  view: readView,
};

export function bytesOf(value: Formatted): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value;
}
