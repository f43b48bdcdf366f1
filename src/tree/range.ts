/**
 * Ranges: what a scan of a tree gives to `for ... of`.
 *
 * Owns:        the snapshot of a consistent range, until its one iteration has ended.
 * Threads:     private to a thread.
 */
import type { Buffer } from 'node:buffer';
import type { Batch, Cursor } from './cursor.ts';
import type { Snapshot } from './snapshot.ts';
import { snapshotClosed } from './snapshot-reader.ts';

/** Entries of the first batch of a range: many ranges are short. */
export const FIRST_BATCH = 64;

/**
 * What a range gives: iterate it, at once or asynchronously. Each iteration begins anew; a consistent
 * range has one.
 */
export interface Range<T> extends Iterable<T>, AsyncIterable<T> {
  toArray(): T[];
}

/** Key and value of one entry of a batch. */
export function keyIn({ bytes, places }: Batch, index: number): Buffer {
  return bytes.subarray(
    places[index * 3],
    (places[index * 3] as number) + keyBytes(bytes, places, index),
  );
}

function keyBytes(bytes: Buffer, places: Uint32Array, index: number): number {
  return bytes.readUInt32LE((places[index * 3] as number) - 8);
}

export function valueIn({ bytes, places }: Batch, index: number): Buffer {
  return bytes.subarray(places[index * 3 + 1], places[index * 3 + 2]);
}

export type MakeItem<T> = (batch: Batch, index: number) => T;

export interface RangeParts<T> {
  readonly open: () => Cursor;
  readonly limit: number;
  readonly make: MakeItem<T>;
  /** What the one iteration of a consistent range closes. */
  readonly own: Snapshot | undefined;
}

export class TreeRange<T> implements Range<T> {
  readonly #parts: RangeParts<T>;
  #begun = false;

  constructor(parts: RangeParts<T>) {
    this.#parts = parts;
  }

  [Symbol.iterator](): Iterator<T> {
    const { open, limit, make, own } = this.#parts;
    if (own === undefined) return new RangeIterator(open(), limit, make);
    if (this.#begun) throw snapshotClosed();
    this.#begun = true;
    try {
      return new OwningIterator(new RangeIterator(open(), limit, make), own);
    } catch (error) {
      own.close();
      throw error;
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    const items = this[Symbol.iterator]();
    let sinceTurn = 0;
    return {
      async next(): Promise<IteratorResult<T>> {
        if (++sinceTurn > FIRST_BATCH * 4) {
          sinceTurn = 0;
          await new Promise((done) => setImmediate(done));
        }
        return items.next();
      },
      async return(): Promise<IteratorResult<T>> {
        return items.return?.() ?? { done: true, value: undefined };
      },
    };
  }

  toArray(): T[] {
    return [...this];
  }
}

/** Closes the snapshot that it reads when it ends, however it does. */
export class OwningIterator<T> implements IterableIterator<T> {
  readonly #items: Iterator<T>;
  readonly #own: Snapshot;

  constructor(items: Iterator<T>, own: Snapshot) {
    this.#items = items;
    this.#own = own;
  }

  next(): IteratorResult<T> {
    try {
      const result = this.#items.next();
      if (result.done === true) this.#own.close();
      return result;
    } catch (error) {
      this.#own.close();
      throw error;
    }
  }

  return(): IteratorResult<T> {
    this.#own.close();
    return this.#items.return?.() ?? { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }
}

/** Written out: a generator costs more than what it wraps. */
class RangeIterator<T> implements Iterator<T> {
  readonly #cursor: Cursor;
  readonly #make: MakeItem<T>;
  #left: number;
  #batch: Batch | undefined;
  #index = 0;
  #size = FIRST_BATCH;

  constructor(cursor: Cursor, limit: number, make: MakeItem<T>) {
    this.#cursor = cursor;
    this.#left = limit;
    this.#make = make;
  }

  next(): IteratorResult<T> {
    let batch = this.#batch;
    if (batch === undefined || this.#index === batch.count) {
      if (this.#left <= 0) return { done: true, value: undefined };
      batch = this.#cursor.next(Math.min(this.#left, this.#size));
      this.#size = Number.POSITIVE_INFINITY;
      this.#batch = batch;
      this.#index = 0;
      if (batch === undefined) {
        this.#left = 0;
        return { done: true, value: undefined };
      }
      this.#left -= batch.count;
    }
    return { done: false, value: this.#make(batch, this.#index++) };
  }

  return(): IteratorResult<T> {
    this.#left = 0;
    this.#batch = undefined;
    return { done: true, value: undefined };
  }
}
