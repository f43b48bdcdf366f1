/**
 * How keys and values become bytes and come back.
 *
 * Owns:        the codecs that come with the package.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';

/** A string has at most so many bytes of UTF-8 for each of its units. */
export const UTF8_BYTES_MAX = 3;

/** A codec of one's own needs these two; `order` of keys is that of their bytes. */
export interface Codec<T> {
  /** A string is stored as UTF-8. */
  encode(value: T): Uint8Array | string;
  /** `bytes` are the callee's own. */
  decode(bytes: Buffer): T;
}

const bytes: Codec<Uint8Array> = {
  encode: (value) => value,
  decode: (value) => value,
};

const utf8: Codec<string> = {
  encode: (value) => value,
  decode: (value) => value.toString('utf8'),
};

const json: Codec<unknown> = {
  encode(value) {
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError(`${typeof value} has no JSON`);
    return text;
  },
  decode: (value) => JSON.parse(value.toString('utf8')) as unknown,
};

/** Codecs by name. */
export interface NamedCodecs {
  readonly bytes: Codec<Uint8Array>;
  readonly utf8: Codec<string>;
  readonly json: Codec<unknown>;
}

const CODECS: NamedCodecs = { bytes, utf8, json };

export type CodecName = keyof NamedCodecs;

/** @throws {TypeError} neither a name nor a codec. */
export function codecOf<T>(codec: CodecName | Codec<T> | undefined, what: string): Codec<T> {
  if (codec === undefined) return bytes as unknown as Codec<T>;
  if (typeof codec === 'string' && Object.hasOwn(CODECS, codec)) {
    return CODECS[codec] as unknown as Codec<T>;
  }
  const given = codec as Partial<Codec<T>> | null;
  if (typeof given?.encode === 'function' && typeof given.decode === 'function') {
    return given as Codec<T>;
  }
  throw new TypeError(`${what} must be 'bytes', 'utf8', 'json' or a codec with encode and decode`);
}

/** @throws {TypeError} no value, as a codec has to give it. */
export function assertEncoded(value: Uint8Array | string): void {
  if (typeof value === 'string' || value instanceof Uint8Array) return;
  throw new TypeError('A value is a Uint8Array, or what the codec of the tree takes');
}

/** Value of a key for a codec that was named. Errors as `assertEncoded`. */
export function asBytes(value: Uint8Array | string): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  assertEncoded(value);
  return value;
}
