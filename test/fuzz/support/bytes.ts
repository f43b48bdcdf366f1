/**
 * Mutations of bytes, as values of fast-check: each says what it does wherever it is applied, so that
 * what fails can be made smaller.
 *
 * Threads:     any; what is given stays as it is.
 */
import fc from 'fast-check';

export const BLOCK = 4096;

export interface Mutation {
  readonly kind: (typeof KINDS)[number];
  /** Chooses a place: of the list of fields where there is one, else a byte. */
  readonly at: number;
  /** A second place. */
  readonly from: number;
  readonly bytes: number;
  readonly width: 1 | 2 | 4 | 8;
  readonly value: Value;
}

/** What a field gets: a number, or something made of what it had. */
export type Value =
  | { readonly set: bigint }
  | { readonly add: bigint }
  | { readonly float: number }
  | { readonly other: number };

const KINDS = [
  'field',
  'field',
  'field',
  'flip',
  'set',
  'fill',
  'cut',
  'grow',
  'insert',
  'remove',
  'copy',
  'swap',
  'stale',
] as const;

/** Where counts, lengths and ids go wrong. */
export const BOUNDARIES: readonly bigint[] = [
  0n,
  1n,
  2n,
  7n,
  8n,
  -1n,
  -8n,
  255n,
  4095n,
  4096n,
  4097n,
  65_535n,
  65_536n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 8n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 40n,
  2n ** 52n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
];

export const FLOATS: readonly number[] = [
  0,
  -0,
  -1,
  0.5,
  1.5,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 53 - 1,
  Number.MAX_VALUE,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
];

export const values: fc.Arbitrary<Value> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ set: fc.constantFrom(...BOUNDARIES) }) },
  { weight: 3, arbitrary: fc.record({ set: fc.bigInt(0n, 300n) }) },
  { weight: 3, arbitrary: fc.record({ add: fc.constantFrom(-4096n, -8n, -1n, 1n, 8n, 4096n) }) },
  { weight: 1, arbitrary: fc.record({ set: fc.bigInt(0n, 2n ** 64n - 1n) }) },
  { weight: 2, arbitrary: fc.record({ float: fc.constantFrom(...FLOATS) }) },
  { weight: 2, arbitrary: fc.record({ other: fc.nat(0xffff) }) },
);

export const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom(...KINDS),
  at: fc.nat(0x7fff_ffff),
  from: fc.nat(0x7fff_ffff),
  bytes: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.constantFrom(BLOCK, 2 * BLOCK, 512, 8)),
  width: fc.constantFrom(1, 2, 4, 8),
  value: values,
});

/** A handful: most images break with one, some only with two that fit each other. */
export const mutations: fc.Arbitrary<Mutation[]> = fc.array(mutation, {
  minLength: 1,
  maxLength: 4,
});

/** Only such as leave lengths and places as they are. */
export const fieldMutations: fc.Arbitrary<Mutation[]> = fc.array(
  mutation.map((one) => ({ ...one, kind: 'field' }) as const),
  { minLength: 1, maxLength: 4 },
);

export interface Base {
  /** Offsets of fields and how wide they are; where most mutations go. */
  readonly fields?: readonly (readonly [offset: number, width: 1 | 2 | 4 | 8])[];
  /** An older version of the same bytes. */
  readonly older?: Uint8Array | undefined;
}

function get(view: DataView, at: number, width: number): bigint {
  let value = 0n;
  for (let n = width - 1; n >= 0; n--) value = (value << 8n) | BigInt(view.getUint8(at + n));
  return value;
}

export function putField(bytes: Uint8Array, at: number, width: number, value: Value): void {
  if (at + width > bytes.length) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if ('float' in value && width === 8) {
    view.setFloat64(at, value.float, true);
    return;
  }
  let number = 0n;
  if ('set' in value) number = value.set;
  else if ('add' in value) number = get(view, at, width) + value.add;
  else if ('other' in value) {
    // What stands in another place of the same kind: ids and offsets that exist.
    const places = Math.floor((bytes.length - width) / 8) + 1;
    number = get(view, (value.other % places) * 8, width);
  } else number = BigInt(Math.trunc(Number.isFinite(value.float) ? value.float : -1));
  number = BigInt.asUintN(width * 8, number);
  for (let n = 0; n < width; n++) view.setUint8(at + n, Number((number >> BigInt(8 * n)) & 255n));
}

function aligned(place: number, bytes: number, length: number): number {
  const unit = bytes >= BLOCK ? BLOCK : 1;
  return Math.min(length, Math.floor((place % Math.max(1, length)) / unit) * unit);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function mutateOne(bytes: Uint8Array, one: Mutation, { fields = [], older }: Base): Uint8Array {
  const { kind, width, value } = one;
  const { length } = bytes;
  const at = aligned(one.at, one.bytes, length);
  const from = aligned(one.from, one.bytes, length);
  const end = Math.min(length, at + one.bytes);
  switch (kind) {
    case 'field': {
      const [place, wide] = fields[one.at % Math.max(1, fields.length)] ?? [at, width];
      putField(bytes, place, wide, value);
      return bytes;
    }
    case 'flip':
      if (at < length) bytes[at] = (bytes[at] as number) ^ (1 << (one.from & 7));
      return bytes;
    case 'set':
      putField(bytes, at, width, value);
      return bytes;
    case 'fill':
      return bytes.fill(one.from & 0x100 ? 0 : one.from, at, end);
    case 'cut':
      return bytes.slice(0, at);
    case 'grow':
      return joined(bytes, new Uint8Array(one.bytes).fill(one.from));
    case 'insert':
      return joined(bytes.subarray(0, at), new Uint8Array(one.bytes), bytes.subarray(at));
    case 'remove':
      return joined(bytes.subarray(0, at), bytes.subarray(end));
    case 'copy':
      bytes.copyWithin(at, from, from + one.bytes);
      return bytes;
    case 'swap': {
      const piece = bytes.slice(at, end);
      bytes.copyWithin(at, from, from + piece.length);
      if (from + piece.length <= length) bytes.set(piece, from);
      return bytes;
    }
    case 'stale': {
      if (older === undefined) return bytes;
      const piece = older.subarray(at, Math.min(at + Math.max(one.bytes, 512), length));
      bytes.set(piece, at);
      return bytes;
    }
  }
}

/** A copy with all mutations, one after the other. */
export function mutated(bytes: Uint8Array, list: readonly Mutation[], base: Base = {}): Uint8Array {
  return list.reduce<Uint8Array>((sofar, one) => mutateOne(sofar, one, base), bytes.slice());
}
