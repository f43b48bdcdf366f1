/**
 * A write-back cache over an ordered inner store: what all three stores share (Kafka:
 * CachingKeyValueStore, CachingWindowStore, CachingSessionStore).
 *
 * Owns:        its cache; not the inner store, which it never closes.
 * Invariants:  what was put is seen by every call that comes later, whether it is in the cache, on its
 *              way to the inner store, or there; reading never writes.
 * Threads:     private to a thread.
 */

import { WeirpoolError } from '../errors.ts';
import { integerBetween } from '../pool/integer-between.ts';
import type {
  Answer,
  AsyncByteStore,
  ByteEntry,
  ByteRange,
  ByteStore,
  Entries,
  SyncByteStore,
} from './byte-store.ts';
import { type Bytes, bytesOf, compareBytes, copyOf, idOf, sharedBytes } from './bytes.ts';
import {
  type FlushedEntry,
  type FlushedEntryWithOld,
  NO_CONTEXT,
  type RecordContext,
} from './context.ts';
import { AsyncRange, type Beginning, type MakeItem, SyncRange } from './merge.ts';
import { entryOf, NamedCache, NOTHING } from './named-cache.ts';
import { ReadMarks } from './read-marks.ts';
import { type Source, sourceOf } from './slot.ts';
import { runAtOnce, runLater, type Steps, settled } from './steps.ts';
import { ThreadCache } from './thread-cache.ts';
import { type Clear, type Landed, Writer } from './writer.ts';

/** As of Kafka's `cache.max.bytes.buffering`. */
const CACHE_BYTES_DEFAULT = 10 * 1024 * 1024;

export interface CachingStoreOptions<S extends ByteStore> {
  /** Where flushed entries go: `new TreeStore(tree)`, `new MemoryStore()`, or your own. */
  readonly inner: S;
  /** Limit of this store's cache, in bytes; 0 writes every change through. Default 10 MiB. */
  readonly cacheBytes?: number;
  /** Instead of `cacheBytes`: a limit that several stores of this thread share. */
  readonly threadCache?: ThreadCache;
}

/** Told what has landed in the inner store, in order, after each flush, also those of evictions. */
export type FlushListener = (flushed: readonly FlushedEntry[]) => void;

export interface FlushListenerOptions {
  /** Whether entries come with `oldValue`, which costs a look-up each. Default false. */
  readonly oldValues?: boolean;
}

/** What a store has counted since it was made, and what its cache holds. */
export interface CachingStoreStats {
  readonly entries: number;
  readonly dirty: number;
  readonly bytes: number;
  readonly hits: number;
  readonly misses: number;
  readonly overwrites: number;
  readonly evictions: number;
  readonly flushes: number;
  readonly flushed: number;
}

/** Nothing, without asking the inner store for it. */
const NONE: Source & AsyncIterable<ByteEntry> = {
  fill: () => false,
  end: () => undefined,
  async *[Symbol.asyncIterator]() {},
};

function rangeAtOnce(inner: ByteStore, range: ByteRange): Source {
  return sourceOf(inner as SyncByteStore, range);
}

function rangeLater(inner: ByteStore, range: ByteRange): AsyncIterable<ByteEntry> {
  return (inner as AsyncByteStore).range(range);
}

const DONE: Promise<void> = Promise.resolve();

export class CachingStore<S extends ByteStore> {
  readonly #inner: S;
  readonly #isAsync: boolean;
  readonly #cache: NamedCache;
  readonly #thread: ThreadCache;
  readonly #writer: Writer;
  readonly #reads = new ReadMarks();
  #listener: FlushListener | undefined;
  #listenerWantsOld = false;
  #makingRoom: Promise<void> = DONE;
  #isMakingRoom = false;
  /** The close that is under way, or has been. */
  #closing: Answer<S, void>;
  #isClosing = false;
  #isClosed = false;

  /** @throws {RangeError} `cacheBytes`; {TypeError} no inner store, or both kinds of limits. */
  constructor({ inner, cacheBytes, threadCache }: CachingStoreOptions<S>) {
    if (inner?.mode !== 'sync' && inner?.mode !== 'async') {
      throw new TypeError("inner is a byte store, with mode 'sync' or 'async'");
    }
    if (cacheBytes !== undefined && threadCache !== undefined) {
      throw new TypeError('Give cacheBytes or a threadCache, not both');
    }
    const bytesMax = cacheBytes ?? CACHE_BYTES_DEFAULT;
    integerBetween('cacheBytes', bytesMax, 0, Number.MAX_SAFE_INTEGER);
    this.#inner = inner;
    this.#isAsync = inner.mode === 'async';
    this.#closing = this.answer(undefined);
    this.#thread = threadCache ?? new ThreadCache({ bytesMax });
    this.#cache = new NamedCache(this.#thread);
    this.#writer = new Writer(inner, this.#cache, (landed) => this.#listener?.(landed));
  }

  // --- reading -------------------------------------------------------------------------------------------

  /**
   * The value of a key as it is stored: the cache's, if it has the key, else the inner store's.
   * Undefined if there is none, also if a tombstone in the cache hides one. The bytes are shared with
   * the cache: do not change them.
   */
  get(key: Bytes): Answer<S, Uint8Array | undefined> {
    this.assertOpen();
    return this.fetchRaw(bytesOf(key, 'A key'), false);
  }

  /** Entries from `low` on, below `high`, as they are stored; absent: from the first, to the last. */
  range(low?: Bytes, high?: Bytes): Entries<S, [Uint8Array, Uint8Array]> {
    return this.entries(rangeOf(low, high, false), this.rawItem());
  }

  /** The same from the last key down (KIP-617). */
  reverseRange(low?: Bytes, high?: Bytes): Entries<S, [Uint8Array, Uint8Array]> {
    return this.entries(rangeOf(low, high, true), this.rawItem());
  }

  /** What raw ranges give of an entry. */
  protected rawItem(): MakeItem<[Uint8Array, Uint8Array]> {
    return pairOf;
  }

  /** All entries as they are stored. */
  scanAll(): Entries<S, [Uint8Array, Uint8Array]> {
    return this.range();
  }

  // --- flushing ------------------------------------------------------------------------------------------

  /**
   * Writes all dirty entries through to the inner store, in the order of the last puts of their keys:
   * what was written, for forwarding. An inner store with `batch` gets them as one batch, or, if that
   * is more than its `batchMax` or than it takes, as several, each of them a part of that order.
   *
   * @throws {FlushError} `FLUSH_FAILED`, with what was written before and the inner store's error as
   *         its cause: the entry that failed and the rest stay dirty.
   */
  flush(): Answer<S, FlushedEntry[]> {
    this.assertOpen();
    return this.run(this.flushSteps(false));
  }

  /** The same; each entry comes with what the inner store had before. */
  flushWithOld(): Answer<S, FlushedEntryWithOld[]> {
    this.assertOpen();
    return this.run(this.flushSteps(true)) as Answer<S, FlushedEntryWithOld[]>;
  }

  protected *flushSteps(withOld: boolean): Steps<Landed> {
    const landed = yield* this.#writer.flush({ withOld: withOld || this.#listenerWantsOld });
    while (this.#thread.isOver && this.#evictClean());
    return landed;
  }

  /**
   * Who is told of each flush; undefined: nobody. It is called when the entries are in the inner store,
   * and may use this store. What it throws comes out of the flush, as a `FlushError`.
   */
  setFlushListener(listener: FlushListener | undefined, options: FlushListenerOptions = {}): void {
    this.#listener = listener;
    this.#listenerWantsOld = listener !== undefined && options.oldValues === true;
  }

  // --- past the cache ------------------------------------------------------------------------------------

  /** Puts into the inner store, past the cache: for restoring. An entry in the cache goes on winning. */
  putInner(key: Bytes, value: Bytes): Answer<S, void> {
    this.assertWritable();
    const to = copyOf(bytesOf(key, 'A key'));
    const bytes = copyOf(bytesOf(value, 'A value'));
    return this.#past(to, () => this.#inner.put(to, bytes));
  }

  /** Deletes from the inner store, past the cache. */
  deleteInner(key: Bytes): Answer<S, void> {
    this.assertWritable();
    const from = copyOf(bytesOf(key, 'A key'));
    return this.#past(from, () => this.#inner.delete(from));
  }

  #past(key: Uint8Array, work: () => unknown): Answer<S, void> {
    return this.run(this.#touching(idOf(key), this.#writer.past(key, work)));
  }

  *#touching(id: string, steps: Steps<unknown>): Steps<void> {
    this.#reads.touch(id);
    try {
      yield* steps;
    } finally {
      this.#reads.touch(id);
    }
  }

  /**
   * Empties cache and inner store. What is put after the call stays. If the inner store fails, the
   * cache is as it was.
   */
  clear(): Answer<S, void> {
    this.assertWritable();
    return this.run(this.#clear());
  }

  *#clear(): Steps<void> {
    this.#reads.touchAll();
    try {
      yield* this.#writer.clear();
    } finally {
      this.#reads.touchAll();
    }
  }

  // --- the end -------------------------------------------------------------------------------------------

  /**
   * Flushes, then lets go the cache. From the call on nothing can be put, from its end on nothing can
   * be read. The inner store stays open. If the flush fails this store is open as before. Closing
   * again gives what the first call gave.
   */
  close(): Answer<S, void> {
    if (!this.#isClosing) this.#closing = this.run(this.#close());
    return this.#closing;
  }

  *#close(): Steps<void> {
    this.#isClosing = true;
    try {
      yield* this.flushSteps(false);
      this.#isClosed = true;
      this.#cache.clear();
    } finally {
      this.#isClosing = this.#isClosed;
    }
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  stats(): CachingStoreStats {
    const { size: entries, dirtyCount: dirty, bytes, counts } = this.#cache;
    const { flushes, flushed } = this.#writer;
    return { entries, dirty, bytes, ...counts, flushes, flushed };
  }

  /** @throws {WeirpoolError} `CACHE_CLOSED` */
  protected assertOpen(): void {
    if (this.#isClosed) throw closedError();
  }

  /** @throws {WeirpoolError} `CACHE_CLOSED` */
  protected assertWritable(): void {
    if (this.#isClosing) throw closedError();
  }

  /** Throws what the inner store says of an entry, or a tombstone, that it could never take. */
  protected assertEntry(key: Uint8Array, value: Uint8Array | undefined): void {
    this.#inner.assertEntry?.(key, value);
  }

  // --- for the stores ------------------------------------------------------------------------------------

  protected run<T>(steps: Steps<T>): Answer<S, T> {
    return (this.#isAsync ? runLater(steps) : runAtOnce(steps)) as Answer<S, T>;
  }

  protected answer<T>(value: T): Answer<S, T> {
    return (this.#isAsync ? Promise.resolve(value) : value) as Answer<S, T>;
  }

  /** Looks a key up; with `isKept` what the inner store has goes into the cache. */
  protected fetchRaw(key: Uint8Array, isKept: boolean): Answer<S, Uint8Array | undefined> {
    const id = idOf(key);
    const node = this.#cache.get(key, id);
    if (node !== undefined) return this.answer(node.value);
    if (this.#isAsync) return this.run(this.#readLater(key, id, isKept));
    const value = (this.#inner as SyncByteStore).get(key);
    if (isKept && value !== undefined) this.#keep(copyOf(key), value, id);
    return value as Answer<S, Uint8Array | undefined>;
  }

  *#readLater(given: Uint8Array, id: string, isKept: boolean): Steps<Uint8Array | undefined> {
    const key = copyOf(given);
    const mark = this.#reads.begin(id);
    try {
      const value = yield* settled((this.#inner as AsyncByteStore).get(key));
      const isFresh = !mark.isStale && !this.#writer.isChanging(id) && !this.#isClosed;
      if (isKept && isFresh && value !== undefined && this.#cache.peek(key, id) === undefined) {
        this.#keep(key, value, id);
      }
      return value;
    } finally {
      this.#reads.end(id, mark);
    }
  }

  /** Keeps what was read, unless only a flush would make room for it. */
  #keep(key: Uint8Array, value: Uint8Array, id: string): void {
    this.#cache.put(key, entryOf(value, NO_CONTEXT, false), id);
    while (this.#thread.isOver && this.#evictClean());
    const node = this.#thread.isOver ? this.#cache.peek(key, id) : undefined;
    if (node !== undefined) this.#cache.remove(node);
  }

  /**
   * The value of a key, and a decision on it of which nobody else can come in between: `decide` is
   * called with what is there at that moment.
   */
  protected *decideOn<T>(
    key: Uint8Array,
    decide: (current: Uint8Array | undefined) => T,
  ): Steps<T> {
    const id = idOf(key);
    for (;;) {
      const node = this.#cache.get(key, id);
      if (node !== undefined && !this.#writer.doomOf(node)) return decide(node.value);
      const mark = this.#reads.begin(id);
      try {
        const value = yield* settled(this.#inner.get(key));
        if (!mark.isStale && !this.#writer.isChanging(id)) return decide(value);
        if (this.#writer.isChanging(id)) yield this.#writer.changed(id);
      } finally {
        this.#reads.end(id, mark);
      }
      this.assertOpen();
    }
  }

  /** What is there at the moment of the call; read before anything that is put later gets there. */
  protected current(key: Uint8Array): Answer<S, Uint8Array | undefined> {
    const node = this.#cache.get(key);
    const doom = node && this.#writer.doomOf(node);
    if (node !== undefined && doom === undefined) return this.answer(node.value);
    return this.run(this.#currentBelow(key, node?.value, doom));
  }

  /** Behind a clear; if that fails, what was in the cache is current. */
  *#currentBelow(
    key: Uint8Array,
    cached: Uint8Array | undefined,
    doom: Clear | undefined,
  ): Steps<Uint8Array | undefined> {
    const inner = this.#inner;
    const value = yield* this.#writer.past<Uint8Array | undefined>(key, () => inner.get(key));
    return doom?.hasFailed === true ? cached : value;
  }

  /** Puts an entry, dirty. The bytes are kept: nobody may change them. */
  protected putRaw(
    key: Uint8Array,
    value: Uint8Array | undefined,
    context: RecordContext | undefined,
  ): Answer<S, void> {
    this.putCached(key, value, context);
    return this.makeRoom();
  }

  protected putCached(
    key: Uint8Array,
    value: Uint8Array | undefined,
    context: RecordContext | undefined,
  ): void {
    this.assertWritable();
    this.assertEntry(key, value);
    const id = idOf(key);
    this.#reads.touch(id);
    this.#cache.put(key, entryOf(value, context), id);
  }

  /** Evicts until the limit is kept: who puts waits for that. */
  protected makeRoom(): Answer<S, void> {
    if (!this.#isAsync) {
      if (this.#thread.isOver) runAtOnce(this.#evict());
      return undefined as Answer<S, void>;
    }
    if (!this.#isMakingRoom) {
      if (!this.#thread.isOver) return DONE as Answer<S, void>;
      this.#isMakingRoom = true;
      this.#makingRoom = runLater(this.#evict());
    }
    return this.#makingRoom as Answer<S, void>;
  }

  *#evict(): Steps<void> {
    try {
      while (this.#thread.isOver) {
        if (this.#evictClean()) continue;
        const victim = this.#cache.oldest;
        if (victim === undefined) return;
        const withOld = this.#listenerWantsOld;
        const { length } = yield* this.#writer.flush({ withOld, victim });
        // The inner store itself has put, in the middle of a flush; there is room when that has ended.
        // One that answers later has a clear before what was put: the next flush comes behind it.
        if (length === 0 && victim.isDirty && !this.#isAsync) return;
      }
    } finally {
      // Not later: what is put from now on makes room for itself.
      this.#isMakingRoom = false;
    }
  }

  /** Evicts the entry that was used least recently if it is clean: whether it was. */
  #evictClean(): boolean {
    const { oldest } = this.#cache;
    if (oldest === undefined || oldest.isDirty) return false;
    this.#cache.remove(oldest);
    this.#cache.counts.evictions++;
    return true;
  }

  /**
   * Deletes what `isGone` says of the inner store, past the cache, and drops it from the cache too:
   * how many entries. What is dirty in the cache stays.
   */
  protected *purge(isGone: (key: Uint8Array) => boolean): Steps<number> {
    const range = this.#inner.range({ low: undefined, high: undefined, reverse: false });
    const iterator = this.#isAsync
      ? (range as AsyncIterable<ByteEntry>)[Symbol.asyncIterator]()
      : (range as Iterable<ByteEntry>)[Symbol.iterator]();
    let count = 0;
    for (;;) {
      const { done, value } = yield* settled<IteratorResult<ByteEntry>>(iterator.next());
      if (done === true) return count;
      const [key] = value;
      try {
        if (!isGone(key) || this.#cache.peek(key)?.isDirty === true) continue;
        yield* this.#purgeOne(key);
      } catch (error) {
        yield* ended(iterator);
        throw error;
      }
      count++;
    }
  }

  *#purgeOne(key: Uint8Array): Steps<void> {
    const inner = this.#inner;
    yield* this.#touching(
      idOf(key),
      this.#writer.past(key, () => inner.delete(key)),
    );
    const node = this.#cache.peek(key);
    if (node?.isDirty === false) this.#cache.remove(node);
  }

  /** A range of what is stored; `isHit` false leaves the order of eviction as it is. */
  protected entries<T>(range: ByteRange, make: MakeItem<T>, isHit = true): Entries<S, T> {
    this.assertOpen();
    const { low, high, reverse } = range;
    const shared = sharedBytes(low, high);
    const isEmpty = low !== undefined && high !== undefined && compareBytes(low, high) >= 0;
    const begin = <I>(innerOf: (store: S) => I): Beginning<I> => {
      this.assertOpen();
      const run = isEmpty ? NOTHING : this.#cache.run(low, high, { reverse, isHit });
      return { run, inner: innerOf(this.#inner), reverse, shared };
    };
    const made = this.#isAsync
      ? new AsyncRange(() => begin((inner) => (isEmpty ? NONE : rangeLater(inner, range))), make)
      : new SyncRange(() => begin((inner) => (isEmpty ? NONE : rangeAtOnce(inner, range))), make);
    return made as unknown as Entries<S, T>;
  }
}

/** Lets go an iterator that is left early, because of an error that says more than one of its own. */
function* ended(iterator: Iterator<ByteEntry> | AsyncIterator<ByteEntry>): Steps<void> {
  try {
    yield* settled<unknown>(iterator.return?.());
  } catch {}
}

function closedError(): WeirpoolError {
  return new WeirpoolError('CACHE_CLOSED', 'The caching store was closed.');
}

const pairOf: MakeItem<[Uint8Array, Uint8Array]> = (slot) => [slot.keyBut(), slot.valueFrom()];

function rangeOf(low: Bytes | undefined, high: Bytes | undefined, reverse: boolean): ByteRange {
  return {
    low: low === undefined ? undefined : copyOf(bytesOf(low, 'A key')),
    high: high === undefined ? undefined : copyOf(bytesOf(high, 'A key')),
    reverse,
  };
}
