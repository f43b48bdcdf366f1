/**
 * Everything that writes to an inner store: flushes, writes past the cache, clearing.
 *
 * Owns:        the order of writes to the inner store.
 * Invariants:  one flush or clear at a time, in the order of the calls; a write past the cache and a
 *              flush of the same key never overlap; no entry is written by two flushes unless it was
 *              put in between; what has landed is clean, what has not is dirty, also after a failure;
 *              what was put, or asked for past the cache, after a clear was called is written after it.
 *              Nobody who reads or puts waits for any of it.
 * Threads:     private to a thread. Over a store that answers at once nothing is ever under way
 *              between two calls, and none of the waiting happens.
 */

import type { ByteStore } from './byte-store.ts';
import { idOf } from './bytes.ts';
import type { FlushedEntry } from './context.ts';
import { FlushError } from './flush-error.ts';
import type { CacheNode, DirtyEntry, NamedCache } from './named-cache.ts';
import { isPromise, type Steps, settled } from './steps.ts';

export interface FlushOptions {
  /** Looks up what the inner store has before it is overwritten. */
  readonly withOld: boolean;
  /** Flushed first; nothing is flushed if it has become clean meanwhile. */
  readonly victim?: CacheNode | undefined;
}

/** What the inner store is busy with: all keys, or some. */
interface Busy {
  readonly ids: ReadonlySet<string> | undefined;
  readonly ended: Promise<void>;
}

interface Turn {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

/** A clear from its call to its end. */
export interface Clear {
  /** Number of the cache's last put before it was called. */
  readonly version: number;
  readonly ended: Promise<void>;
  hasFailed: boolean;
}

/** A write past the cache, or a read in the order of these, from its call to its end. */
interface Direct {
  /** Never rejects. */
  readonly ended: Promise<void>;
  /** The clear that it comes behind. */
  readonly behind: Clear | undefined;
  /** The one of the same key that was asked for before, until it has ended. */
  before: Direct | undefined;
}

const AT_ONCE: Turn = { promise: Promise.resolve(), resolve: () => undefined };

export type Landed = FlushedEntry[];

export class Writer {
  readonly #inner: ByteStore;
  readonly #cache: NamedCache;
  /** Called with what has landed, in order, also before a failure is thrown. */
  readonly #onLanded: (landed: Landed) => void;
  readonly #isAsync: boolean;
  /** Ends when the flushes and clears that were called so far have ended. */
  #last: Promise<void> | undefined;
  #busy: Busy | undefined;
  #isWriting = false;
  /** Clears that have been called and have not ended, in the order of the calls. */
  readonly #clears: Clear[] = [];
  /** The last one of each key. */
  readonly #direct = new Map<string, Direct>();
  /** Entries of a batch that the inner store wants, and that it has been found to take. */
  readonly #batchLimit: number;
  #batchMax: number;
  flushes = 0;
  flushed = 0;

  constructor(inner: ByteStore, cache: NamedCache, onLanded: (landed: Landed) => void) {
    this.#inner = inner;
    this.#cache = cache;
    this.#onLanded = onLanded;
    this.#isAsync = inner.mode === 'async';
    this.#batchLimit = inner.batchMax ?? Number.POSITIVE_INFINITY;
    this.#batchMax = this.#batchLimit;
  }

  /**
   * Whether a change of the inner store's entry is under way, or waits for its turn, that does not come
   * from the cache.
   */
  isChanging(id: string): boolean {
    return this.#clears.length > 0 || this.#direct.has(id);
  }

  /** Settles when such a change has ended; never rejects. */
  changed(id: string): Promise<void> {
    return this.#direct.get(id)?.ended ?? this.#clears.at(-1)?.ended ?? AT_ONCE.promise;
  }

  /** The last clear that was called and is to drop what the cache has there. */
  doomOf({ version }: CacheNode): Clear | undefined {
    const clear = this.#clears.at(-1);
    return this.#isAsync && clear !== undefined && version <= clear.version ? clear : undefined;
  }

  /** Waits until all earlier flushes and clears have ended: one's own turn, to be ended. */
  *#turn(): Steps<Turn> {
    if (!this.#isAsync) return AT_ONCE;
    const before = this.#last;
    const turn = promiseOf();
    this.#last = turn.promise;
    if (before !== undefined) yield before;
    return turn;
  }

  /**
   * Keys are written from here on, all of them or some: what is written past the cache from now on
   * waits, and what was asked for `earlier` is waited for.
   */
  *#begin(
    turn: Turn,
    ids: ReadonlySet<string> | undefined,
    earlier: readonly Promise<void>[],
  ): Steps<void> {
    this.#isWriting = true;
    if (!this.#isAsync) return;
    this.#busy = { ids, ended: turn.promise };
    if (earlier.length > 0) yield Promise.all(earlier);
  }

  /** Of these keys what goes on by itself: not what comes behind a clear, which waits for this turn. */
  #running(ids: ReadonlySet<string>): Promise<void>[] {
    const running: Promise<void>[] = [];
    for (let [id, direct] of this.#direct as Iterable<[string, Direct | undefined]>) {
      if (!ids.has(id)) continue;
      while (direct?.behind !== undefined && this.#clears.includes(direct.behind)) {
        direct = direct.before;
      }
      if (direct !== undefined) running.push(direct.ended);
    }
    return running;
  }

  #end({ promise, resolve }: Turn): void {
    this.#isWriting = false;
    this.#busy = undefined;
    if (this.#last === promise) this.#last = undefined;
    resolve();
  }

  // --- flushing ------------------------------------------------------------------------------------------

  /**
   * Writes all dirty entries through, in the order of their last puts; not those that were put after
   * the call of a clear that waits behind it, and would wipe them out.
   *
   * @throws {FlushError} `FLUSH_FAILED`
   */
  *flush({ withOld, victim }: FlushOptions): Steps<Landed> {
    // Called by the inner store itself, in the middle of a flush: that flush is enough.
    if (!this.#isAsync && this.#isWriting) return [];
    const turn = yield* this.#turn();
    const landed: Landed = [];
    const failures: unknown[] = [];
    try {
      if (victim?.isDirty === false) return landed;
      this.flushes++;
      const taken = this.#cache.takeDirty(victim, this.#clears[0]?.version);
      const ids = new Set(this.#isAsync ? taken.map(({ node }) => node.id) : []);
      yield* this.#begin(turn, ids, this.#running(ids));
      yield* this.#write(taken, withOld, landed);
    } catch (error) {
      failures.push(error);
    } finally {
      this.#end(turn);
    }
    this.flushed += landed.length;
    try {
      if (landed.length > 0) this.#onLanded(landed);
    } catch (error) {
      failures.push(error);
    }
    if (failures.length === 0) return landed;
    const cause = failures.length === 1 ? failures[0] : new AggregateError(failures);
    throw new FlushError(cause, landed, this.#cache.dirtyCount);
  }

  *#write(taken: readonly DirtyEntry[], withOld: boolean, landed: Landed): Steps<void> {
    const { batch } = this.#inner;
    for (let at = 0; at < taken.length; ) {
      if (batch === undefined) {
        yield* this.#writeOne(taken[at++] as DirtyEntry, withOld, landed);
        continue;
      }
      const part = at === 0 && taken.length <= this.#batchMax ? taken : this.#part(taken, at);
      if (yield* this.#writeBatch(part, withOld, landed)) at += part.length;
      else this.#batchMax = part.length >>> 1;
    }
    // A batch was refused for what was in it: others may be smaller.
    if (taken.length > 0) this.#batchMax = Math.min(2 * this.#batchMax, this.#batchLimit);
  }

  #part(taken: readonly DirtyEntry[], at: number): readonly DirtyEntry[] {
    return taken.slice(at, at + this.#batchMax);
  }

  *#writeOne(entry: DirtyEntry, withOld: boolean, landed: Landed): Steps<void> {
    const { key, value } = entry;
    const olds = withOld ? [yield* settled(this.#inner.get(key))] : undefined;
    const written = value === undefined ? this.#inner.delete(key) : this.#inner.put(key, value);
    if (isPromise(written)) yield written;
    this.#land([entry], olds, landed);
  }

  /** Whether the batch was taken; if not, less of it may be. */
  *#writeBatch(part: readonly DirtyEntry[], withOld: boolean, landed: Landed): Steps<boolean> {
    const olds: (Uint8Array | undefined)[] | undefined = withOld ? [] : undefined;
    if (olds !== undefined) {
      for (const { key } of part) olds.push(yield* settled(this.#inner.get(key)));
    }
    try {
      // Nothing of ours with it: an entry's node would bring the whole cache along.
      const written = this.#inner.batch?.(part.map(({ key, value }) => ({ key, value })));
      if (isPromise(written)) yield written;
    } catch (error) {
      if (part.length > 1 && this.#inner.isTooLarge?.(error) === true) return false;
      throw error;
    }
    this.#land(part, olds, landed);
    return true;
  }

  #land(
    part: readonly DirtyEntry[],
    olds: readonly (Uint8Array | undefined)[] | undefined,
    landed: Landed,
  ): void {
    part.forEach((entry, index) => {
      this.#cache.land(entry);
      const { key, value, context } = entry;
      landed.push(
        olds === undefined
          ? { key, value, context }
          : { key, value, context, oldValue: olds[index] },
      );
    });
  }

  // --- past the cache ------------------------------------------------------------------------------------

  /**
   * Does something with one key of the inner store, in its turn: after what was asked for earlier, also
   * to clear everything, and not while a flush writes the key.
   */
  *past<T>(key: Uint8Array, work: () => T | PromiseLike<T>): Steps<T> {
    if (!this.#isAsync) return work() as T;
    const id = idOf(key);
    const before = this.#direct.get(id);
    const behind = this.#clears.at(-1);
    const busy = this.#busy;
    const isBusy = busy !== undefined && (busy.ids === undefined || busy.ids.has(id));
    const { promise: ended, resolve } = promiseOf();
    const direct: Direct = { ended, behind, before };
    this.#direct.set(id, direct);
    try {
      if (before !== undefined) yield before.ended;
      direct.before = undefined;
      if (behind !== undefined) yield behind.ended;
      // Only the flush that was running: one that has begun since waits for this work.
      if (isBusy) yield busy.ended;
      return yield* settled(work());
    } finally {
      if (this.#direct.get(id) === direct) this.#direct.delete(id);
      resolve();
    }
  }

  /** Empties the inner store, then drops what the cache had at the call. */
  *clear(): Steps<void> {
    const { version } = this.#cache;
    const { promise: ended, resolve } = this.#isAsync ? promiseOf() : AT_ONCE;
    const earlier = Array.from(this.#direct.values(), (direct) => direct.ended);
    const clear = { version, ended, hasFailed: false };
    this.#clears.push(clear);
    const turn = yield* this.#turn();
    try {
      yield* this.#begin(turn, undefined, earlier);
      const cleared = this.#inner.clear();
      if (isPromise(cleared)) yield cleared;
      this.#cache.clear(version);
    } catch (error) {
      clear.hasFailed = true;
      throw error;
    } finally {
      // Turns go in the order of the calls.
      this.#clears.shift();
      this.#end(turn);
      resolve();
    }
  }
}

/** Of Node.js 22 on: Promise.withResolvers. */
function promiseOf(): Turn {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
