/** Inner stores for the model test: how each is opened, opened again, and how it survives a crash. */
import type { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import {
  type AsyncByteStore,
  type ByteEntry,
  type ByteRange,
  type ByteStore,
  type ByteWrite,
  MemoryStore,
  TreeStore,
} from '../../src/streams/index.ts';
import { Weirpool } from '../../src/tree/weirpool.ts';
import type { Random } from '../support/seed.ts';
import { DIRECTORY, killed, newDisk, SMALL } from '../unit/tree/support.ts';

export interface Inner {
  open(): Promise<ByteStore>;
  /** After the caching store was closed. */
  close(): Promise<void>;
  /** Without anything having been closed. */
  crash(): Promise<void>;
}

/** Answers later, each call after a while of its own; without `batch`. */
export class SlowStore implements AsyncByteStore {
  readonly mode = 'async';
  readonly #inner: MemoryStore;
  readonly #random: Random;

  constructor(inner: MemoryStore, random: Random) {
    this.#inner = inner;
    this.#random = random;
  }

  async #later<T>(work: () => T): Promise<T> {
    for (let left = this.#random.int(4); left > 0; left--) await Promise.resolve();
    const result = work();
    for (let left = this.#random.int(4); left > 0; left--) await Promise.resolve();
    return result;
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#later(() => this.#inner.get(key));
  }

  put(key: Uint8Array, value: Uint8Array): Promise<void> {
    return this.#later(() => this.#inner.put(key, value));
  }

  delete(key: Uint8Array): Promise<void> {
    return this.#later(() => this.#inner.delete(key));
  }

  clear(): Promise<void> {
    return this.#later(() => this.#inner.clear());
  }

  async *range(range: ByteRange): AsyncGenerator<ByteEntry> {
    for (const entry of this.#inner.range(range)) yield await this.#later(() => entry);
  }
}

class BatchingSlowStore extends SlowStore {
  readonly #of: MemoryStore;

  constructor(inner: MemoryStore, random: Random) {
    super(inner, random);
    this.#of = inner;
  }

  async batch(writes: readonly ByteWrite[]): Promise<void> {
    await Promise.resolve();
    this.#of.batch(writes);
  }
}

/** The store in memory is what survives. */
function memory(wrap: (inner: MemoryStore) => ByteStore): Inner {
  const inner = new MemoryStore();
  return {
    open: async () => wrap(inner),
    close: async () => undefined,
    crash: async () => undefined,
  };
}

/** A tree in nodes of 4 KiB, on a disk that is had as `kill -9` leaves it. */
class TreeInner implements Inner {
  #disk: SimFileSystem = newDisk();
  #db: Weirpool | undefined;

  async open(): Promise<ByteStore> {
    this.#db = await Weirpool.open(DIRECTORY, { ...SMALL, fileSystem: this.#disk });
    return new TreeStore(this.#db.tree('entries'), { durability: 'written' });
  }

  async close(): Promise<void> {
    await this.#db?.close();
  }

  async crash(): Promise<void> {
    const left = killed(this.#disk);
    // What the old process still does reaches a disk that nobody has any more.
    await this.#db?.close();
    this.#disk = left;
  }
}

export const INNERS: Readonly<Record<string, (random: Random) => Inner>> = {
  memory: () => memory((inner) => inner),
  'memory, one write after the other': () =>
    memory((inner) => ({
      mode: 'sync',
      get: (key) => inner.get(key),
      put: (key, value) => inner.put(key, value),
      delete: (key) => inner.delete(key),
      range: (range) => inner.range(range),
      clear: () => inner.clear(),
    })),
  'an asynchronous store': (random) => memory((inner) => new SlowStore(inner, random)),
  'an asynchronous store with batches': (random) =>
    memory((inner) => new BatchingSlowStore(inner, random)),
  'a tree': () => new TreeInner(),
};
