/**
 * What a write-behind cache does with its store: reading through, writing through, evicting, deleting.
 *
 * Owns:        reads that are under way; the queue of puts that wait for room.
 * Invariants:  B4   of one key at most one `write` or `delete` is under way (claims), and each writes
 *                   what is cached at its beginning: the store never ends with an older value;
 *              B5   before the store changes a key, what was done to its entry is as safe as promised:
 *                   a crash never takes the cache back behind the store;
 *              what failed leaves the entry as it was.
 * Threads:     one object for each thread.
 *
 * Procedures are Steps: with a store that gives no promises they end before they return.
 */
import { WeirpoolError } from '../errors.ts';
import { LocalClaims } from './claims.ts';
import {
  type DirtyKey,
  type Doomed,
  type Entries,
  type Filled,
  isSameStamp,
  isTaken,
  type ReadToken,
  type Stamp,
} from './entries.ts';
import { asynchronous, BackingStoreError, type StoreFailure } from './failure.ts';
import { advance, isPromise, type Steps } from './steps.ts';
import type { BackingStore, StoreOperation } from './store.ts';

/** Reads of a key that keeps changing before one is returned without being kept. */
const READS_MAX = 3;
/** Failed writes in a row after which a flush leaves the others for later: the store is down. */
const FAILURES_MAX = 16;
/** What those who wait for room queue for. */
const ROOM = Symbol('room');

export interface WorkParts<K, V> {
  readonly entries: Entries<K, V>;
  readonly store: BackingStore<K, V>;
  readonly now: () => number;
  /** Writes of a flush that may be under way at the same time. */
  readonly concurrency: number;
  /** Told of what nobody is there to be told otherwise. */
  readonly onError: (error: unknown) => void;
}

/** What is to be written of a key. */
interface Goal<K> {
  /** What is known to be safe (B5). */
  readonly safe?: DirtyKey<K>;
  /** Nothing that was changed later. */
  readonly until?: number | undefined;
}

interface Flush<K> {
  readonly keys: readonly DirtyKey<K>[];
  readonly until: number | undefined;
  readonly failures: StoreFailure[];
}

/** One read that all who want the key wait for. */
interface Flight<V> {
  token: ReadToken | undefined;
  promise: Promise<V | undefined> | undefined;
}

/** Puts that took effect while deletions of the key waited. */
interface PutsBehind {
  deletions: number;
  puts: number;
}

export class CacheWork<K, V> {
  readonly #entries: Entries<K, V>;
  readonly #store: BackingStore<K, V>;
  readonly #now: () => number;
  readonly #concurrency: number;
  readonly #onError: (error: unknown) => void;
  readonly #flights = new Map<unknown, Flight<V>>();
  readonly #room = new LocalClaims();
  /** Puts and deletions of a key in the queue for room. */
  readonly #waiting = new Map<unknown, number>();
  /** Keys of deletions that wait for their claim. */
  readonly #doomed = new Map<unknown, PutsBehind>();
  /** What the store has answered with a promise: it does not do that in synchronous calls. */
  readonly #promised = new Set<StoreOperation>();

  constructor({ entries, store, now, concurrency, onError }: WorkParts<K, V>) {
    this.#entries = entries;
    this.#store = store;
    this.#now = now;
    this.#concurrency = concurrency;
    this.#onError = onError;
  }

  // --- calls of the store ------------------------------------------------------------------------------

  /** Calls the store: what it returned. */
  #begin<T>(operation: StoreOperation, key: K, sync: boolean, call: () => T): T {
    if (sync && this.#promised.has(operation))
      throw asynchronous(`the ${operation} of the store`, 'not_applied');
    try {
      const result = call();
      if (isPromise(result)) this.#promised.add(operation);
      return result;
    } catch (cause) {
      throw storeFailed(operation, key, cause);
    }
  }

  *#call(operation: 'write' | 'delete', key: K, sync: boolean, call: () => unknown): Steps<void> {
    const result = this.#begin(operation, key, sync, call);
    if (!isPromise(result)) return;
    try {
      yield result;
    } catch (cause) {
      throw storeFailed(operation, key, cause);
    }
  }

  // --- reading -------------------------------------------------------------------------------------------

  /** The value of a key that is not cached, read through. */
  read(key: K, sync: boolean): V | undefined | Promise<V | undefined> {
    const id = this.#entries.idOf(key);
    const under = this.#flights.get(id);
    // A read that began before the key was put or deleted is none for those who come afterwards.
    if (under?.token !== undefined && this.#entries.isCurrent(under.token)) {
      if (sync) throw asynchronous('a read that is under way', 'not_applied');
      return under.promise;
    }
    const flight: Flight<V> = { token: undefined, promise: undefined };
    const result = advance(this.#readThrough(this.#entries.own(key), sync, flight));
    if (!isPromise(result)) return result;
    flight.promise = result;
    this.#flights.set(id, flight);
    const land = (): void => {
      if (this.#flights.get(id) === flight) this.#flights.delete(id);
    };
    result.then(land, land);
    return result;
  }

  *#readThrough(key: K, sync: boolean, flight: Flight<V>): Steps<V | undefined> {
    const entries = this.#entries;
    for (let reads = 1; ; reads++) {
      const token = entries.beginRead(key);
      flight.token = token;
      let value: V | undefined;
      try {
        // Another thread may have put it since the last look: the token would not tell. Once that is
        // written and evicted, what a store gives that has looked before would be kept.
        const put = entries.get(key);
        if (put !== undefined) return put;
        value = yield* this.#readOnce(key, sync);
        if (yield* this.#keep(key, value, token, sync)) return value;
      } finally {
        flight.token = undefined;
        entries.endRead(token);
      }
      // It was put or deleted meanwhile: that wins.
      const cached = entries.get(key);
      if (cached !== undefined) return cached;
      // What was read is as old as the call at most.
      if (reads === READS_MAX) return value;
    }
  }

  *#readOnce(key: K, sync: boolean): Steps<V | undefined> {
    const result = this.#begin('read', key, sync, () => this.#store.read(key));
    if (!isPromise(result)) return result as V | undefined;
    try {
      return (yield result) as V | undefined;
    } catch (cause) {
      throw storeFailed('read', key, cause);
    }
  }

  /** Keeps what was read, if the key was not changed meanwhile: whether it was not. */
  *#keep(key: K, value: V | undefined, token: ReadToken, sync: boolean): Steps<boolean> {
    const entries = this.#entries;
    if (value === undefined) return entries.isCurrent(token);
    for (;;) {
      const filled = this.#fill(key, value, token);
      if (filled === 'refused') return entries.isCurrent(token);
      if (filled !== 'full') return filled === 'filled';
      try {
        yield* this.#evictOne(sync);
      } catch (error) {
        if (!(error instanceof BackingStoreError)) throw error;
        // The value is there, only no room to keep it in.
        this.#onError(error);
        return entries.isCurrent(token);
      }
    }
  }

  /** A value that cannot be kept, too long or none that the codec takes, is a value all the same. */
  #fill(key: K, value: V, token: ReadToken): Filled | 'refused' {
    try {
      return this.#entries.fill(key, value, token);
    } catch (error) {
      // The pool's own failures concern the caller.
      if (error instanceof WeirpoolError) throw error;
      this.#onError(error);
      return 'refused';
    }
  }

  // --- putting, evicting -----------------------------------------------------------------------------------

  /** Puts a value, making room first if need be. */
  put(key: K, value: V, sync: boolean): void | Promise<void> {
    const entries = this.#entries;
    // Nobody takes the room of those who wait for it; a second put of a key comes after the first.
    const isFree = this.#waiting.size === 0 || (!this.#isWaiting(key) && entries.has(key));
    if (isFree && this.#putNow(key, value)) return;
    return advance(this.#putWithRoom(entries.own(key), value, sync));
  }

  #putNow(key: K, value: V): boolean {
    if (!this.#entries.put(key, value, this.#now())) return false;
    if (this.#doomed.size > 0) {
      const behind = this.#doomed.get(this.#entries.idOf(key));
      if (behind !== undefined) behind.puts++;
    }
    return true;
  }

  #isWaiting(key: K): boolean {
    return this.#waiting.has(this.#entries.idOf(key));
  }

  *#putWithRoom(key: K, value: V, sync: boolean): Steps<void> {
    const id = this.#entries.idOf(key);
    yield* this.#queue(id, sync);
    try {
      while (!this.#putNow(key, value)) yield* this.#evictOne(sync);
    } finally {
      this.#leaveQueue(id);
    }
  }

  /** Takes its turn for room: what is called later for the key comes behind it. */
  *#queue(id: unknown, sync: boolean): Steps<void> {
    this.#waiting.set(id, (this.#waiting.get(id) ?? 0) + 1);
    try {
      yield* this.#room.take(ROOM, sync);
    } catch (error) {
      this.#uncount(id);
      throw error;
    }
  }

  #leaveQueue(id: unknown): void {
    this.#room.release(ROOM);
    this.#uncount(id);
  }

  #uncount(id: unknown): void {
    const left = (this.#waiting.get(id) as number) - 1;
    if (left === 0) this.#waiting.delete(id);
    else this.#waiting.set(id, left);
  }

  /** Drops the oldest entry if it is clean; else writes it, which makes it clean if it is not changed. */
  *#evictOne(sync: boolean): Steps<void> {
    const victim = this.#entries.victim();
    if (victim === undefined) return;
    if (!victim.dirty) this.#entries.evict(victim);
    else yield* this.#writeThrough(victim.key, sync);
  }

  // --- flushing ----------------------------------------------------------------------------------------------

  /** Writes an entry if it is still dirty, and to be written: whether it was. */
  *#writeThrough(key: K, sync: boolean, { safe, until }: Goal<K> = {}): Steps<boolean> {
    const { claims } = this.#entries;
    const id = this.#entries.idOf(key);
    yield* claims.take(id, sync);
    try {
      yield* this.#endLeftDelete(key, sync);
      const entry = this.#entries.dirty(key);
      if (entry === undefined || (until !== undefined && entry.changedAt > until)) return false;
      if (safe === undefined || !isSameStamp(safe, entry)) yield this.#entries.ahead(sync);
      try {
        yield* this.#call('write', key, sync, () => this.#store.write(key, entry.value));
        this.#entries.written(key, entry);
      } finally {
        this.#entries.forgetRead(key, entry);
      }
      return true;
    } finally {
      claims.release(id);
    }
  }

  /** Ends a deletion that its thread, or the process, has not lived to end. */
  *#endLeftDelete(key: K, sync: boolean): Steps<void> {
    const left = this.#entries.leftDelete(key);
    if (left === undefined) return;
    yield* this.#deleteInStore(key, sync);
    this.#entries.endDelete(left);
  }

  /** All of them; what the store refuses is left again. */
  *endLeftDeletes(sync: boolean): Steps<StoreFailure[]> {
    const { claims } = this.#entries;
    const failures: StoreFailure[] = [];
    for (const key of this.#entries.leftDeletes()) {
      const id = this.#entries.idOf(key);
      yield* claims.take(id, sync);
      try {
        yield* this.#endLeftDelete(key, sync);
      } catch (error) {
        failures.push(...failuresOf(error));
      } finally {
        claims.release(id);
      }
    }
    return failures;
  }

  /** Writes all dirty entries, which counts as a flush in any case: how many. */
  *flush(sync: boolean): Steps<number> {
    const written = yield* this.#flush(undefined, sync);
    this.#entries.noteFlush();
    return written;
  }

  /** Writes those that were last changed `ms` ago or earlier; 0: all. */
  *flushOlderThan(ms: number, sync: boolean): Steps<number> {
    const written = yield* this.#flush(ms === 0 ? undefined : this.#now() - ms, sync);
    if (written > 0) this.#entries.noteFlush();
    return written;
  }

  *#flush(until: number | undefined, sync: boolean): Steps<number> {
    const failures = yield* this.endLeftDeletes(sync);
    const keys = this.#entries.dirtyKeys(until);
    const todo = { keys, until, failures };
    const written = keys.length === 0 ? 0 : yield* this.#writeAll(todo, sync);
    if (failures.length > 0) throw new BackingStoreError(failures, 'unknown');
    return written;
  }

  *#writeAll({ keys, until, failures }: Flush<K>, sync: boolean): Steps<number> {
    yield this.#entries.ahead(sync);
    const work = this;
    let next = 0;
    let written = 0;
    let inRow = 0;
    function* lane(): Steps<void> {
      while (next < keys.length && inRow < FAILURES_MAX) {
        const item = keys[next++] as DirtyKey<K>;
        try {
          if (yield* work.#writeThrough(item.key, sync, { safe: item, until })) written++;
          inRow = 0;
        } catch (error) {
          failures.push(...failuresOf(error));
          inRow++;
        }
      }
    }
    const lanes = sync ? 1 : Math.min(this.#concurrency, keys.length);
    if (lanes === 1) yield* lane();
    else yield settle(Array.from({ length: lanes }, async () => advance(lane())));
    return written;
  }

  // --- deleting ------------------------------------------------------------------------------------------------

  /** Deletes a key in the store, then in the cache: whether it was cached. */
  *delete(given: K, sync: boolean): Steps<boolean> {
    const { claims } = this.#entries;
    const key = this.#entries.own(given);
    const id = this.#entries.idOf(key);
    const doomed = { key, stamp: yield* this.#stampAtCall(key, id, sync) };
    const behind = this.#doomed.get(id) ?? { deletions: 0, puts: 0 };
    this.#doomed.set(id, behind);
    behind.deletions++;
    const { puts } = behind;
    try {
      yield* claims.take(id, sync);
      try {
        if (!this.#isReplaced(doomed, behind.puts > puts)) yield* this.#deleteDoomed(doomed, sync);
        return doomed.stamp !== undefined;
      } finally {
        claims.release(id);
      }
    } finally {
      if (--behind.deletions === 0) this.#doomed.delete(id);
    }
  }

  /** What the deletion is of: before any put that is called later, behind one that waits for room. */
  *#stampAtCall(key: K, id: unknown, sync: boolean): Steps<Stamp | undefined> {
    if (!this.#waiting.has(id)) return this.#entries.stampOf(key);
    yield* this.#queue(id, sync);
    try {
      return this.#entries.stampOf(key);
    } finally {
      this.#leaveQueue(id);
    }
  }

  /**
   * Something else was put since the call, and another thread has written it: deleting would lose it.
   * What this thread has put may be gone from the cache again. What another one has put, and is gone, was
   * put before: the call has not returned.
   */
  #isReplaced(doomed: Doomed<K>, wasPut: boolean): boolean {
    const { key } = doomed;
    if (this.#entries.isDirty(key)) return false;
    const now = this.#entries.stampOf(key);
    return wasPut || (now !== undefined && !isTaken(now, doomed));
  }

  *#deleteDoomed(doomed: Doomed<K>, sync: boolean): Steps<void> {
    this.#entries.beginDelete(doomed);
    try {
      yield* this.#deleteInStore(doomed.key, sync);
    } catch (error) {
      this.#entries.cancelDelete(doomed);
      throw error;
    }
    this.#entries.endDelete(doomed);
  }

  *#deleteInStore(key: K, sync: boolean): Steps<void> {
    yield this.#entries.ahead(sync);
    yield* this.#call('delete', key, sync, () => this.#store.delete(key));
  }
}

function storeFailed(operation: StoreOperation, key: unknown, cause: unknown): BackingStoreError {
  const outcome = operation === 'read' ? 'not_applied' : 'unknown';
  return new BackingStoreError([{ operation, key, cause }], outcome);
}

/** Of a call of the store; whatever else has gone wrong goes on. */
function failuresOf(error: unknown): readonly StoreFailure[] {
  if (error instanceof BackingStoreError) return error.failures;
  throw error;
}

/** Waits for all, then fails as the first one that did. */
async function settle(lanes: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(lanes)) {
    if (result.status === 'rejected') throw result.reason;
  }
}
