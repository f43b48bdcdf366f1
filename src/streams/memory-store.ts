/**
 * An inner store in memory: ordered, and gone with the process.
 *
 * Owns:        its entries; keys and values are those that it was given.
 * Threads:     private to a thread.
 */

import type { ByteEntry, ByteRange, ByteWrite, SyncByteStore } from './byte-store.ts';
import { idOf } from './bytes.ts';
import { type Cursor, SortedMap } from './sorted-map.ts';

class MemoryRange implements IterableIterator<ByteEntry> {
  readonly #cursor: Cursor<ByteEntry>;

  constructor(cursor: Cursor<ByteEntry>) {
    this.#cursor = cursor;
  }

  next(): IteratorResult<ByteEntry> {
    const value = this.#cursor.next();
    return value === undefined ? { done: true, value } : { done: false, value };
  }

  [Symbol.iterator](): this {
    return this;
  }
}

/** A store in memory. */
export class MemoryStore implements SyncByteStore {
  readonly mode = 'sync';
  readonly #entries = new SortedMap<ByteEntry>();

  /** How many entries it has. */
  get size(): number {
    return this.#entries.size;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#entries.get(idOf(key))?.[1];
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#entries.set(idOf(key), [key, value]);
  }

  delete(key: Uint8Array): void {
    this.#entries.delete(idOf(key));
  }

  range({ low, high, reverse }: ByteRange): Iterable<ByteEntry> {
    const span = { low: low && idOf(low), high: high && idOf(high), reverse };
    return new MemoryRange(this.#entries.cursor(span));
  }

  clear(): void {
    this.#entries.clear();
  }

  batch(writes: readonly ByteWrite[]): void {
    for (const { key, value } of writes) {
      if (value === undefined) this.delete(key);
      else this.put(key, value);
    }
  }
}
