/**
 * What every store of the tree benchmark holds: path-shaped keys and values of 100 bytes.
 *
 * Key `index` lies in bucket index / 10,000 and directory index / 1,000 of it, so the first 200,000 are
 * 20 buckets of 10 directories of 1,000 files, and ascending indexes are ascending keys. Word 0 of a
 * value is the index: whoever reads checks that. Each thread makes its keys once, as flat strings:
 * what is measured draws an index and takes the string that is there.
 */
import { Buffer } from 'node:buffer';
import { Random } from '../../test/support/seed.ts';

export const KEYS = 200_000;
export const VALUE_BYTES = 100;
/** Puts of one batch. */
export const BATCH_KEYS = 1000;
/** Keys of one bucket, which are a common prefix of a roll-up. */
export const BUCKET_KEYS = 10_000;
/** Keys of the store that is larger than its pool. */
export const COLD_KEYS = 400_000;

/** Values that may be on their way into a store at once, before one is filled anew. */
const VALUES = 4096;

function pad(value: number, digits: number): string {
  return String(value).padStart(digits, '0');
}

/** Keys by their index, ascending. */
export function makeKeys(count: number = KEYS): readonly string[] {
  const keys: string[] = [];
  for (let index = 0; index < count; index++) {
    const bucket = pad(Math.floor(index / BUCKET_KEYS), 3);
    const directory = pad(Math.floor(index / 1000) % 10, 2);
    const key = `bucket-${bucket}/dir-${directory}/file-${pad(index, 6)}.jpg`;
    // By way of bytes: a string that was put together is flattened by whoever reads it first.
    keys.push(Buffer.from(key).toString('latin1'));
  }
  return keys;
}

/** Values that are filled in turn. */
export class Values {
  readonly #values: readonly Buffer[];
  #next = 0;

  constructor() {
    // Bytes that no store can compress.
    const random = new Random(VALUES);
    const draw = (): number => random.int(256);
    this.#values = Array.from({ length: VALUES }, () =>
      Buffer.from(Array.from({ length: VALUE_BYTES }, draw)),
    );
  }

  of(index: number): Buffer {
    const value = this.#values[this.#next] as Buffer;
    this.#next = (this.#next + 1) % VALUES;
    value.writeUInt32LE(index, 0);
    return value;
  }
}

/** Index that a value was made for; -1 if it cannot be a value. */
export function indexOf(value: Uint8Array | undefined): number {
  if (value?.length !== VALUE_BYTES) return -1;
  return wordAt(value, 0);
}

export function wordAt(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
  return low | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
}

/** Draws indexes; the sequence is that of its seed. */
export class Draw {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  }

  /** 0 to `count` - 1. */
  below(count: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return Math.floor(((x >>> 0) / 4294967296) * count);
  }
}

/** The numbers from `from` to `end` - 1 in the order of their seed. */
export function shuffled(seed: number, from: number, end: number): Uint32Array {
  const order = Uint32Array.from({ length: end - from }, (_, at) => from + at);
  const draw = new Draw(seed);
  for (let at = order.length - 1; at > 0; at--) {
    const other = draw.below(at + 1);
    const kept = order[at] as number;
    order[at] = order[other] as number;
    order[other] = kept;
  }
  return order;
}

/** Indexes below `count`, `length` of them, with probabilities 1 / rank ** alpha. */
export function zipf(
  {
    count,
    alpha,
    length,
    seed,
  }: {
    readonly count: number;
    readonly alpha: number;
    readonly length: number;
    readonly seed: number;
  },
  indexOfRank: (rank: number) => number,
): Uint32Array {
  const bounds = new Float64Array(count);
  let total = 0;
  for (let rank = 0; rank < count; rank++) {
    total += 1 / (rank + 1) ** alpha;
    bounds[rank] = total;
  }
  const random = new Random(seed);
  return Uint32Array.from({ length }, () => {
    const point = random.float() * total;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((bounds[middle] as number) < point) low = middle + 1;
      else high = middle;
    }
    return indexOfRank(low);
  });
}
