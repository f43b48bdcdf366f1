/**
 * A write-behind cache: reads and writes at the speed of memory, before a backing store that is slow.
 *
 * Owns:        nothing of the entries; the life of one cache object, its background flushes.
 * Invariants:  B1 to B7, see entries.ts, cache-work.ts, claims.ts, words.ts;
 *              a call that needs no store has had its effect when it returns.
 * Threads:     memory: one; durable: one object for each thread.
 */
import { channel } from 'node:diagnostics_channel';
import { integerBetween } from '../pool/integer-between.ts';
import type { Weirpool } from '../tree/weirpool.ts';
import { Background } from './background.ts';
import { CacheWork } from './cache-work.ts';
import type { Entries } from './entries.ts';
import { asynchronous, BackingStoreError, cacheClosed } from './failure.ts';
import { MemoryEntries } from './memory-entries.ts';
import { type CacheHandle, joinCache, openCache } from './open.ts';
import {
  type AttachOptions,
  type CacheOptions,
  capacityOf,
  commonOf,
  type DurableOptions,
  keyCodecOf,
  type MemoryOptions,
} from './options.ts';
import { advance, type Steps } from './steps.ts';
import type { BackingStore } from './store.ts';

/** Figures of the whole cache, also where several threads have it; counted since it was opened. */
export interface CacheStats {
  readonly entries: number;
  readonly dirty: number;
  readonly capacity: number;
  /** Calls that flushed, not what eviction wrote. */
  readonly flushes: number;
  /** Entries written, by flushes and by eviction. */
  readonly entriesFlushed: number;
}

export interface CloseOptions {
  /** Default true. False leaves dirty entries: for the next opening, or in memory to be lost. */
  readonly flush?: boolean;
}

interface Parts<K, V> {
  readonly entries: Entries<K, V>;
  readonly store: BackingStore<K, V>;
  readonly options: CacheOptions;
  readonly handle?: CacheHandle;
  readonly leave?: () => void;
}

const ERRORS = channel('weirpool:write-behind:error');
const COUNT_MAX = Number.MAX_SAFE_INTEGER;

export class WriteBehind<K, V> implements AsyncDisposable {
  /** What this thread reads from and writes to. */
  readonly store: BackingStore<K, V>;
  readonly #entries: Entries<K, V>;
  readonly #work: CacheWork<K, V>;
  readonly #background: Background;
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #handle: CacheHandle | undefined;
  readonly #leave: (() => void) | undefined;
  /** Calls that wait. */
  readonly #pending = new Set<Promise<unknown>>();
  #isOpen = true;
  #closing: Promise<void> | undefined;

  private constructor({ entries, store, options, handle, leave }: Parts<K, V>) {
    const { concurrency, flush, onError, clock } = commonOf(options);
    this.store = store;
    this.#entries = entries;
    this.#onError = onError;
    this.#handle = handle;
    this.#leave = leave;
    const tell = (error: unknown): void => {
      this.#tell(error);
    };
    const now = (): number => clock.now();
    this.#work = new CacheWork({ entries, store, now, concurrency, onError: tell });
    this.#background = new Background({
      clock,
      count: flush.count,
      ageMs: flush.ageMs,
      intervalMs: flush.intervalMs,
      dirtyCount: () => entries.dirtyCount,
      isShared: handle !== undefined,
      flush: () => this.flush(),
      flushOlderThan: (ms) => this.flushOlderThan(ms),
      onError: tell,
    });
    this.#background.start();
  }

  /**
   * A cache in the heap of this thread. Dirty entries are lost with the process.
   *
   * @throws {TypeError}, {RangeError} an option is none, the store has not its three methods.
   */
  static memory<K, V>(
    store: BackingStore<K, V>,
    options: MemoryOptions<K> = {},
  ): WriteBehind<K, V> {
    assertStore(store);
    commonOf(options);
    const entries = new MemoryEntries<K, V>(capacityOf(options), keyCodecOf(options.key));
    return new WriteBehind({ entries, store, options });
  }

  /**
   * A cache in trees of `db`: what is dirty survives a crash, and other threads `attach`. Deletions that
   * a crash has interrupted are ended first; if the store refuses, by the next flush.
   *
   * @throws {WeirpoolError} `CACHE_OPEN`, `FORMAT_UNSUPPORTED`, and as `Weirpool.tree`. {TypeError},
   *         {RangeError} as `memory`.
   */
  static async open<K = string, V = unknown>(
    db: Weirpool,
    store: BackingStore<K, V>,
    options: DurableOptions<K, V> = {},
  ): Promise<WriteBehind<K, V>> {
    assertStore(store);
    commonOf(options);
    const cache = new WriteBehind({ ...openCache(db, options), store, options });
    try {
      const failures = await advance(cache.#work.endLeftDeletes(false));
      if (failures.length > 0) cache.#tell(new BackingStoreError(failures, 'not_applied'));
      return cache;
    } catch (error) {
      // Nobody has the object: nobody else could close it.
      await cache.close({ flush: false });
      throw error;
    }
  }

  /**
   * Joins a cache that another thread of this process has opened.
   *
   * @param db       The Weirpool of `handle.db`, which this thread has joined.
   * @param options  Codecs as the opener's; how this thread flushes by itself.
   * @throws {WeirpoolError} `CACHE_OPEN`: this thread has it; `CACHE_CLOSED`: the handle is of an earlier
   *         opening. {TypeError}, {RangeError} as `open`.
   */
  static attach<K = string, V = unknown>(
    db: Weirpool,
    handle: CacheHandle,
    store: BackingStore<K, V>,
    options: AttachOptions<K, V> = {},
  ): WriteBehind<K, V> {
    assertStore(store);
    commonOf(options);
    return new WriteBehind({ ...joinCache(db, handle, options), store, options });
  }

  /** For other threads. @throws {TypeError} a cache in memory is its thread's. */
  get handle(): CacheHandle {
    if (this.#handle !== undefined) return this.#handle;
    throw new TypeError('A cache in memory belongs to its thread: open one over a Weirpool');
  }

  // --- reading, writing -----------------------------------------------------------------------------------

  /**
   * The value, read through if it is not cached; undefined: the store has none either. Gets of one key
   * share one read. What is put or deleted during it wins over what it brings.
   *
   * @throws {WeirpoolError} `BACKING_STORE_FAILED`, `CACHE_CLOSED`.
   */
  async get(key: K): Promise<V | undefined> {
    const cached = this.peek(key);
    return cached === undefined ? this.#track(this.#work.read(key, false)) : cached;
  }

  /**
   * The same at once. Serves what is cached, whatever the store is; what is not, from a store that
   * gives no promises.
   *
   * @throws {WeirpoolError} `BACKING_STORE_ASYNC`, and as `get`.
   */
  getSync(key: K): V | undefined {
    const cached = this.peek(key);
    return cached === undefined ? this.#atOnce(this.#work.read(key, true)) : cached;
  }

  /** The cached value, without reading; undefined: not cached. */
  peek(key: K): V | undefined {
    if (!this.#isOpen) throw cacheClosed();
    return this.#entries.get(key);
  }

  /**
   * Puts a value: dirty until it is flushed. At capacity the oldest entry makes room, which waits for
   * the store if that is dirty; else the value is put when the call returns.
   *
   * @throws {WeirpoolError} `BACKING_STORE_FAILED`: the oldest entry could not be written, and nothing
   *         was put; `CACHE_CLOSED`. {TypeError} undefined is no value.
   */
  async put(key: K, value: V): Promise<void> {
    const waits = this.#put(key, value, false);
    if (waits !== undefined) await this.#track(waits);
  }

  /** The same at once. @throws {WeirpoolError} `BACKING_STORE_ASYNC`, and as `put`. */
  putSync(key: K, value: V): void {
    const waits = this.#put(key, value, true);
    if (waits !== undefined) this.#atOnce(waits);
  }

  #put(key: K, value: V, sync: boolean): void | Promise<void> {
    if (!this.#isOpen) throw cacheClosed();
    if (value === undefined) throw new TypeError('undefined is no value: delete the key instead');
    const waits = this.#work.put(key, value, sync);
    const look = (): void => this.#background.look();
    if (waits !== undefined) waits.then(look, () => undefined);
    else if (this.#entries.dirtyCount >= this.#background.count) look();
    return waits;
  }

  /**
   * Deletes a key in the store, cached or not, then here, with its dirty mark: whether it was cached.
   *
   * @throws {WeirpoolError} `BACKING_STORE_FAILED`: the cache is as it was, the store may not be;
   *         `CACHE_CLOSED`.
   */
  async delete(key: K): Promise<boolean> {
    return this.#run(this.#work.delete(key, false));
  }

  /** The same at once. @throws {WeirpoolError} `BACKING_STORE_ASYNC`, and as `delete`. */
  deleteSync(key: K): boolean {
    return this.#runSync(this.#work.delete(key, true));
  }

  /** Whether the key is cached. */
  contains(key: K): boolean {
    if (!this.#isOpen) throw cacheClosed();
    return this.#entries.has(key);
  }

  get size(): number {
    return this.#entries.size;
  }

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  get capacity(): number {
    return this.#entries.capacity;
  }

  // --- dirty entries ---------------------------------------------------------------------------------------

  isDirty(key: K): boolean {
    if (!this.#isOpen) throw cacheClosed();
    return this.#entries.isDirty(key);
  }

  get dirtyCount(): number {
    return this.#entries.dirtyCount;
  }

  /** In the order in which they became dirty, which is that of flushing. */
  dirtyKeys(): K[] {
    if (!this.#isOpen) throw cacheClosed();
    return this.#entries.dirtyKeys().map(({ key }) => key);
  }

  /** Takes an entry for written, without writing it: whether it was dirty. */
  markClean(key: K): boolean {
    if (!this.#isOpen) throw cacheClosed();
    return this.#entries.markClean(key);
  }

  /**
   * Writes all entries that are dirty at the call: how many. What is changed while it is being written
   * stays dirty.
   *
   * @throws {WeirpoolError} `BACKING_STORE_FAILED` with the keys that could not be written, which stay
   *         dirty; the others are written, unless so many failed in a row that the store seems down.
   */
  async flush(): Promise<number> {
    return this.#run(this.#work.flush(false));
  }

  /** The same at once. @throws {WeirpoolError} `BACKING_STORE_ASYNC`, and as `flush`. */
  flushSync(): number {
    return this.#runSync(this.#work.flush(true));
  }

  /** Flushes if `count` entries are dirty, or more: how many were written; else 0. Errors as `flush`. */
  async flushIfNeeded(count: number): Promise<number> {
    return this.#isNeeded(count) ? this.flush() : 0;
  }

  flushIfNeededSync(count: number): number {
    return this.#isNeeded(count) ? this.flushSync() : 0;
  }

  #isNeeded(count: number): boolean {
    integerBetween('count', count, 0, COUNT_MAX);
    if (!this.#isOpen) throw cacheClosed();
    return this.dirtyCount >= count;
  }

  /**
   * Writes entries whose last change is `ms` ago or longer, 0: all dirty ones; how many. Counts as a
   * flush only if it wrote any. Errors as `flush`.
   */
  async flushOlderThan(ms: number): Promise<number> {
    integerBetween('ms', ms, 0, COUNT_MAX);
    return this.#run(this.#work.flushOlderThan(ms, false));
  }

  flushOlderThanSync(ms: number): number {
    integerBetween('ms', ms, 0, COUNT_MAX);
    return this.#runSync(this.#work.flushOlderThan(ms, true));
  }

  stats(): CacheStats {
    const { size, dirtyCount, capacity, flushes, entriesFlushed } = this.#entries;
    return { entries: size, dirty: dirtyCount, capacity, flushes, entriesFlushed };
  }

  // --- safety, end -----------------------------------------------------------------------------------------

  /**
   * Resolves when everything that was done before the call survives what the option `durability` says;
   * in memory nothing survives, and it resolves at once. Errors as `Weirpool.durable`.
   */
  async durable(): Promise<void> {
    await this.#entries.ahead(false);
  }

  /** The same at once. */
  durableSync(): void {
    this.#atOnce(this.#entries.ahead(true));
  }

  /**
   * Flushes, and ends the cache for this thread: calls under way end first, later ones are refused.
   *
   * @throws {WeirpoolError} `BACKING_STORE_FAILED`: not everything could be written, and the cache is
   *         still open. Close it again, or with `{ flush: false }`.
   */
  close({ flush = true }: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(flush);
    return this.#closing;
  }

  async #close(flush: boolean): Promise<void> {
    this.#isOpen = false;
    try {
      await this.#background.stop();
      while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
      if (flush) await advance(this.#work.flush(false));
    } catch (error) {
      this.#isOpen = true;
      this.#closing = undefined;
      this.#background.start();
      throw error;
    }
    this.#leave?.();
  }

  /** Closes, flushing. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // --- calls -----------------------------------------------------------------------------------------------

  #run<T>(steps: Steps<T>): T | Promise<T> {
    if (!this.#isOpen) throw cacheClosed();
    return this.#track(advance(steps));
  }

  #runSync<T>(steps: Steps<T>): T {
    if (!this.#isOpen) throw cacheClosed();
    return this.#atOnce(advance(steps));
  }

  /** Closing waits for what is under way. */
  #track<T>(result: T | Promise<T>): T | Promise<T> {
    if (!(result instanceof Promise)) return result;
    const done = (): void => {
      this.#pending.delete(result);
    };
    this.#pending.add(result);
    result.then(done, done);
    return result;
  }

  /** A synchronous call has found out that the store is none: what it began goes on without it. */
  #atOnce<T>(result: T | Promise<T>): T {
    if (!(result instanceof Promise)) return result;
    void this.#track(result);
    result.catch((error: unknown) => {
      this.#tell(error);
    });
    throw asynchronous('the backing store', 'unknown');
  }

  #tell(error: unknown): void {
    ERRORS.publish({ error, cache: this });
    if (this.#onError === undefined) {
      if (!ERRORS.hasSubscribers) process.emitWarning(error as Error);
      return;
    }
    try {
      this.#onError(error);
    } catch (thrown) {
      // There is nobody to throw it to, and flushing goes on.
      process.emitWarning(thrown instanceof Error ? thrown : String(thrown));
    }
  }
}

function assertStore(store: unknown): void {
  const { read, write, delete: remove } = (store ?? {}) as Partial<BackingStore<unknown, unknown>>;
  if ([read, write, remove].every((method) => typeof method === 'function')) return;
  throw new TypeError('A backing store has the methods read, write and delete');
}
