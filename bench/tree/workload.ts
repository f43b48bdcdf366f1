/**
 * What every store of the tree benchmark holds: path-shaped keys and values of 100 bytes.
 *
 * Key `index` lies in bucket index / 10,000 and directory index / 1,000 of it, so the first 200,000 are
 * 20 buckets of 10 directories of 1,000 files, and ascending indexes are ascending keys. Word 0 of a
 * value is the index: whoever reads checks that.
 *
 * Each thread makes its keys before it is measured, as flat strings, in the order in which it uses them:
 * so they lie beside each other in memory, and a key is at hand as one is that was just made. Taken
 * from a list in another order each would be a wait for memory, as long as all else that a get does.
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

function keyOf(index: number): string {
  const bucket = pad(Math.floor(index / BUCKET_KEYS), 3);
  const directory = pad(Math.floor(index / 1000) % 10, 2);
  const key = `bucket-${bucket}/dir-${directory}/file-${pad(index, 6)}.jpg`;
  // By way of bytes: a string that was put together is flattened by whoever reads it first.
  return Buffer.from(key).toString('latin1');
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

/** The numbers from `from` to `end` - 1 in the order of their seed. */
export function shuffled(seed: number, from: number, end: number): Uint32Array {
  const order = Uint32Array.from({ length: end - from }, (_, at) => from + at);
  const random = new Random(seed);
  for (let at = order.length - 1; at > 0; at--) {
    const other = random.int(at + 1);
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

/** Keys in the order of their use, and values to put. */
export class Supply {
  readonly keys: readonly string[];
  /** Of each key its index. */
  readonly indexes: Uint32Array;
  readonly values: Values;

  constructor(indexes: Uint32Array, values: Values = new Values()) {
    this.indexes = indexes;
    this.keys = Array.from(indexes, keyOf);
    this.values = values;
  }

  get count(): number {
    return this.keys.length;
  }

  /** Other keys with the same values. */
  with(indexes: Uint32Array): Supply {
    return new Supply(indexes, this.values);
  }

  /** The value to put for the key at `position`. */
  valueAt(position: number): Buffer {
    return this.values.of(this.indexes[position] as number);
  }
}
