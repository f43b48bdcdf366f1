/**
 * Ranges over cache and inner store together (Kafka: AbstractMergedSortedCacheStoreIterator).
 *
 * Owns:        the run of the cache that an iteration began with.
 * Invariants:  keys come in order, each once; a cached entry hides the inner one of its key, and a
 *              tombstone both. What was dirty when the iteration began is in its run, and the inner
 *              store is read later than that: nothing is older than the beginning, and nothing that
 *              was there all the time is left out, whatever is flushed and evicted meanwhile.
 * Threads:     private to a thread.
 */

import type { AsyncEntries, ByteEntry, SyncEntries } from './byte-store.ts';
import { compareAt } from './bytes.ts';
import type { CachedRun } from './named-cache.ts';
import { Slot, type Source } from './slot.ts';

/** What a range gives for an entry; undefined: the entry is not meant. */
export type MakeItem<T> = (slot: Slot) => T | undefined;

/** What one iteration begins with. */
export interface Beginning<I> {
  readonly run: CachedRun;
  readonly inner: I;
  readonly reverse: boolean;
  /** So many bytes at the beginning of all keys are the same. */
  readonly shared: number;
}

const MORE: unique symbol = Symbol('the next inner entry is needed');
const END: unique symbol = Symbol('end');

/** Merges what it is fed; knows nothing of waiting. */
class Merger<T> {
  /** The next inner entry, which whoever feeds puts here. */
  readonly head = new Slot();
  readonly #cached = new Slot();
  readonly #run: CachedRun;
  readonly #length: number;
  readonly #reverse: boolean;
  readonly #shared: number;
  readonly #make: MakeItem<T>;
  #at = 0;
  #isFed = false;
  #isInnerAtEnd = false;

  constructor({ run, reverse, shared }: Beginning<unknown>, make: MakeItem<T>) {
    this.#run = run;
    this.#length = run.keys.length;
    this.#reverse = reverse;
    this.#shared = shared;
    this.#make = make;
  }

  /** There is an entry in `head`, or there are no more. */
  feed(isThere: boolean): void {
    this.#isFed = isThere;
    this.#isInnerAtEnd = !isThere;
  }

  /** The next item; `MORE`: feed the next inner entry first. */
  take(): T | typeof MORE | typeof END {
    for (;;) {
      if (!this.#isFed && !this.#isInnerAtEnd) return MORE;
      const order = this.#order();
      // The cache wins: the inner entry of the same key is passed over.
      if (order >= 0) this.#isFed = false;
      let item: T | undefined;
      if (order <= 0) {
        if (this.#at === this.#length) return END;
        item = this.#takeCached();
      } else item = this.#make(this.head);
      if (item !== undefined) return item;
    }
  }

  /** Below 0: the cache's entry is next, or nothing is left; above: the inner one; 0: both, of one key. */
  #order(): number {
    if (!this.#isFed) return -1;
    if (this.#at === this.#length) return 1;
    const { key, keyAt, keyEnd } = this.head;
    const cached = this.#run.keys[this.#at] as Uint8Array;
    const order = compareAt(cached, this.#shared, key, keyAt, keyEnd);
    return this.#reverse ? -order : order;
  }

  #takeCached(): T | undefined {
    const at = this.#at++;
    const value = this.#run.values[at];
    if (value === undefined) return undefined;
    this.#cached.set(this.#run.keys[at] as Uint8Array, value);
    return this.#make(this.#cached);
  }
}

class SyncIteration<T> implements Iterator<T> {
  readonly #merger: Merger<T>;
  readonly #inner: Source;
  #isDone = false;

  constructor(beginning: Beginning<Source>, make: MakeItem<T>) {
    this.#merger = new Merger(beginning, make);
    this.#inner = beginning.inner;
  }

  next(): IteratorResult<T> {
    while (!this.#isDone) {
      const item = this.#merger.take();
      if (item === MORE) this.#merger.feed(this.#inner.fill(this.#merger.head));
      else if (item === END) this.#isDone = true;
      else return { done: false, value: item };
    }
    return { done: true, value: undefined };
  }

  return(): IteratorResult<T> {
    if (!this.#isDone) this.#inner.end();
    this.#isDone = true;
    return { done: true, value: undefined };
  }
}

/** @internal A range over an inner store that answers at once. */
export class SyncRange<T> implements SyncEntries<T> {
  readonly #begin: () => Beginning<Source>;
  readonly #make: MakeItem<T>;

  constructor(begin: () => Beginning<Source>, make: MakeItem<T>) {
    this.#begin = begin;
    this.#make = make;
  }

  [Symbol.iterator](): Iterator<T> {
    return new SyncIteration(this.#begin(), this.#make);
  }

  toArray(): T[] {
    const beginning = this.#begin();
    const items: T[] = [];
    const merger = new Merger(beginning, this.#make);
    for (let item = merger.take(); item !== END; item = merger.take()) {
      if (item === MORE) merger.feed(beginning.inner.fill(merger.head));
      else items.push(item);
    }
    return items;
  }
}

/** @internal A range over an inner store that answers later. */
export class AsyncRange<T> implements AsyncEntries<T> {
  readonly #begin: () => Beginning<AsyncIterable<ByteEntry>>;
  readonly #make: MakeItem<T>;

  constructor(begin: () => Beginning<AsyncIterable<ByteEntry>>, make: MakeItem<T>) {
    this.#begin = begin;
    this.#make = make;
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return mergeLater(this.#begin(), this.#make);
  }

  async toArray(): Promise<T[]> {
    const items: T[] = [];
    for await (const item of this) items.push(item);
    return items;
  }
}

async function* mergeLater<T>(
  beginning: Beginning<AsyncIterable<ByteEntry>>,
  make: MakeItem<T>,
): AsyncGenerator<T, void, undefined> {
  const merger = new Merger(beginning, make);
  const ready = function* (): Generator<T, void, undefined> {
    for (let item = merger.take(); item !== MORE && item !== END; item = merger.take()) yield item;
  };
  for await (const [key, value] of beginning.inner) {
    merger.head.set(key, value);
    merger.feed(true);
    yield* ready();
  }
  merger.feed(false);
  yield* ready();
}
