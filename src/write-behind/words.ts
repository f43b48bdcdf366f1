/**
 * What the threads of a durable cache share beside the trees: counts, claims, epochs.
 *
 * Owns:        one SharedArrayBuffer, made by the opener; it ends with the process.
 * Invariants:  B6   size and dirty count change while the leaf of the entry is latched, and the change
 *                   can no longer fail: they are those of the trees, whichever thread dies.
 * Threads:     all that have the cache.
 */

/** Keys share a claim and an epoch by their hash. */
export const STRIPES = 1024;

const I64_BYTES = 8;
const I32_BYTES = 4;
// Words of 64 bits.
const SEQUENCE = 0;
const FLUSHES = 1;
const FLUSHED = 2;
// Words of 32 bits, behind them.
const CAPACITY = 8;
const SIZE = 9;
const DIRTY = 10;
const DELETES = 11;
const CLAIMS = 16;
const EPOCHS = CLAIMS + STRIPES;
const WORDS_BYTES = (EPOCHS + STRIPES) * I32_BYTES;

export class SharedWords {
  readonly buffer: SharedArrayBuffer;
  readonly i32: Int32Array;
  readonly #i64: BigInt64Array;

  private constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.i32 = new Int32Array(buffer);
    this.#i64 = new BigInt64Array(buffer, 0, CAPACITY / (I64_BYTES / I32_BYTES));
  }

  static make(capacity: number): SharedWords {
    const words = new SharedWords(new SharedArrayBuffer(WORDS_BYTES));
    words.i32[CAPACITY] = capacity;
    return words;
  }

  /** @throws {TypeError} not what `make` has made. */
  static from(buffer: unknown): SharedWords {
    if (buffer instanceof SharedArrayBuffer && buffer.byteLength === WORDS_BYTES) {
      return new SharedWords(buffer);
    }
    throw new TypeError(
      'Not the handle of a cache: pass `cache.handle` of the thread that opened it',
    );
  }

  get capacity(): number {
    return this.i32[CAPACITY] as number;
  }

  get size(): number {
    return Atomics.load(this.i32, SIZE);
  }

  get dirtyCount(): number {
    return Atomics.load(this.i32, DIRTY);
  }

  /** Deletions that are under way, or were left; more if a thread has died at one. */
  get deletes(): number {
    return Atomics.load(this.i32, DELETES);
  }

  get flushes(): number {
    return Number(Atomics.load(this.#i64, FLUSHES));
  }

  get entriesFlushed(): number {
    return Number(Atomics.load(this.#i64, FLUSHED));
  }

  addSize(by: number): void {
    Atomics.add(this.i32, SIZE, by);
  }

  addDirty(by: number): void {
    Atomics.add(this.i32, DIRTY, by);
  }

  addDeletes(by: number): void {
    Atomics.add(this.i32, DELETES, by);
  }

  noteFlush(): void {
    Atomics.add(this.#i64, FLUSHES, 1n);
  }

  noteFlushed(): void {
    Atomics.add(this.#i64, FLUSHED, 1n);
  }

  /** The next number of the one sequence that insertions and dirty marks are ordered by. */
  next(): number {
    return Number(Atomics.add(this.#i64, SEQUENCE, 1n)) + 1;
  }

  /** Numbers up to this one are taken. */
  startAfter(last: number): void {
    this.#i64[SEQUENCE] = BigInt(last);
  }

  epoch(stripe: number): number {
    return Atomics.load(this.i32, EPOCHS + stripe);
  }

  moveEpoch(stripe: number): void {
    Atomics.add(this.i32, EPOCHS + stripe, 1);
  }

  /** Index of a stripe's claim in `i32`: 0, or the name of the thread that has it. */
  claimAt(stripe: number): number {
    return CLAIMS + stripe;
  }
}

/** FNV-1a over the units of a text. */
export function stripeOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return (hash ^ (hash >>> 16)) & (STRIPES - 1);
}
