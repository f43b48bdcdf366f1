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
import { compareBytes } from './bytes.ts';
import type { CachedRun } from './named-cache.ts';

/** What a range gives for an entry; undefined: the entry is not meant. */
export type MakeItem<T> = (key: Uint8Array, value: Uint8Array) => T | undefined;

/** What one iteration begins with. */
export interface Beginning<I> {
  readonly run: CachedRun;
  readonly inner: I;
  readonly reverse: boolean;
}

const MORE: unique symbol = Symbol('the next inner entry is needed');
const END: unique symbol = Symbol('end');

/** Merges what it is fed; knows nothing of waiting. */
class Merger<T> {
  readonly #run: CachedRun;
  readonly #length: number;
  readonly #sign: number;
  readonly #make: MakeItem<T>;
  #at = 0;
  #head: ByteEntry | undefined;
  #isInnerAtEnd = false;

  constructor(run: CachedRun, reverse: boolean, make: MakeItem<T>) {
    this.#run = run;
    this.#length = run.keys.length;
    this.#sign = reverse ? -1 : 1;
    this.#make = make;
  }

  /** The next inner entry; undefined: there are no more. */
  feed(entry: ByteEntry | undefined): void {
    this.#head = entry;
    this.#isInnerAtEnd = entry === undefined;
  }

  /** The next item; `MORE`: feed the next inner entry first. */
  take(): T | typeof MORE | typeof END {
    for (;;) {
      const head = this.#head;
      if (head === undefined && !this.#isInnerAtEnd) return MORE;
      if (this.#at < this.#length) {
        const order = head === undefined ? -1 : this.#order(head);
        if (order === 0) this.#head = undefined;
        if (order <= 0) {
          const item = this.#cached();
          if (item !== undefined) return item;
          continue;
        }
      } else if (head === undefined) return END;
      this.#head = undefined;
      const item = this.#make((head as ByteEntry)[0], (head as ByteEntry)[1]);
      if (item !== undefined) return item;
      if (!this.#isInnerAtEnd) return MORE;
    }
  }

  #order(head: ByteEntry): number {
    return compareBytes(this.#run.keys[this.#at] as Uint8Array, head[0]) * this.#sign;
  }

  #cached(): T | undefined {
    const at = this.#at++;
    const value = this.#run.values[at];
    return value && this.#make(this.#run.keys[at] as Uint8Array, value);
  }
}

class SyncIteration<T> implements Iterator<T> {
  readonly #merger: Merger<T>;
  readonly #inner: Iterator<ByteEntry>;
  #isDone = false;

  constructor({ run, inner, reverse }: Beginning<Iterable<ByteEntry>>, make: MakeItem<T>) {
    this.#merger = new Merger(run, reverse, make);
    this.#inner = inner[Symbol.iterator]();
  }

  next(): IteratorResult<T> {
    while (!this.#isDone) {
      const item = this.#merger.take();
      if (item === MORE) {
        const { done, value } = this.#inner.next();
        this.#merger.feed(done === true ? undefined : value);
      } else if (item === END) this.#isDone = true;
      else return { done: false, value: item };
    }
    return { done: true, value: undefined };
  }

  return(): IteratorResult<T> {
    if (!this.#isDone) this.#inner.return?.();
    this.#isDone = true;
    return { done: true, value: undefined };
  }
}

/** @internal A range over an inner store that answers at once. */
export class SyncRange<T> implements SyncEntries<T> {
  readonly #begin: () => Beginning<Iterable<ByteEntry>>;
  readonly #make: MakeItem<T>;

  constructor(begin: () => Beginning<Iterable<ByteEntry>>, make: MakeItem<T>) {
    this.#begin = begin;
    this.#make = make;
  }

  [Symbol.iterator](): Iterator<T> {
    return new SyncIteration(this.#begin(), this.#make);
  }

  toArray(): T[] {
    const { run, inner, reverse } = this.#begin();
    const items: T[] = [];
    const merger = new Merger(run, reverse, this.#make);
    const iterator = inner[Symbol.iterator]();
    for (let item = merger.take(); item !== END; item = merger.take()) {
      if (item === MORE) {
        const { done, value } = iterator.next();
        merger.feed(done === true ? undefined : value);
      } else items.push(item);
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
  { run, inner, reverse }: Beginning<AsyncIterable<ByteEntry>>,
  make: MakeItem<T>,
): AsyncGenerator<T, void, undefined> {
  const merger = new Merger(run, reverse, make);
  const ready = function* (): Generator<T, void, undefined> {
    for (let item = merger.take(); item !== MORE && item !== END; item = merger.take()) yield item;
  };
  for await (const entry of inner) {
    merger.feed(entry);
    yield* ready();
  }
  merger.feed(undefined);
  yield* ready();
}
