/**
 * What the two modes of a write-behind cache have in common: entries, their dirty marks, their order.
 *
 * Owns:        the contract between the procedures (cache-work.ts) and where the entries live.
 * Invariants:  each method is atomic, also against other threads, and waits for no store;
 *              B1   an entry that is dirty stays until it was written with this very value, marked
 *                   clean, or deleted;
 *              B2   entries stand in the order of their insertion, dirty ones in the order in which
 *                   they became dirty; neither a get nor another put changes that;
 *              B3   what a read has brought is kept only if the key was neither put nor deleted since
 *                   the read began.
 * Threads:     memory: one; durable: all that have attached.
 */
import type { Claims } from './claims.ts';

/** Tells one put of a key from every other one. */
export interface Stamp {
  /** The insertion. */
  readonly inserted: number;
  /** Puts since then; 0: it was only read. */
  readonly version: number;
}

export interface DirtyEntry<V> extends Stamp {
  readonly value: V;
  readonly changedAt: number;
}

export interface DirtyKey<K> extends Stamp {
  readonly key: K;
}

export interface Victim<K> extends Stamp {
  readonly key: K;
  readonly dirty: boolean;
}

/** A read of the backing store that is under way. */
export interface ReadToken {
  readonly id: unknown;
  readonly epoch: number;
}

/** What a key was when its deletion was asked for. */
export interface Doomed<K> {
  readonly key: K;
  /** Undefined: not cached. */
  readonly stamp: Stamp | undefined;
}

export type Filled = 'filled' | 'stale' | 'full';

export interface Entries<K, V> {
  readonly capacity: number;
  readonly size: number;
  readonly dirtyCount: number;
  readonly flushes: number;
  readonly entriesFlushed: number;
  readonly claims: Claims;

  /** What stands for a key in maps: the same for keys that are the same. */
  idOf(key: K): unknown;
  /** The same key, which its caller cannot change. @throws {TypeError} as `put`. */
  own(key: K): K;
  get(key: K): V | undefined;
  has(key: K): boolean;
  isDirty(key: K): boolean;
  /**
   * Puts a value, dirty; false, and nothing is done, when that takes room that there is not.
   *
   * @throws {TypeError} the codec of keys does not give back what it has encoded.
   */
  put(key: K, value: V, now: number): boolean;

  beginRead(key: K): ReadToken;
  /** Whether the key was neither inserted nor deleted since. */
  isCurrent(token: ReadToken): boolean;
  endRead(token: ReadToken): void;
  /** Keeps what a read has brought, clean. */
  fill(key: K, value: V, token: ReadToken): Filled;

  /** The oldest entry. */
  victim(): Victim<K> | undefined;
  /** Drops a clean entry, unless it has changed. */
  evict(victim: Victim<K>): void;

  /** Dirty keys that were last changed at `until` or before. */
  dirtyKeys(until?: number): DirtyKey<K>[];
  dirty(key: K): DirtyEntry<V> | undefined;
  /** The value of that stamp has been written: clean, unless it was changed since. */
  written(key: K, stamp: Stamp): void;
  /**
   * The store was about to change a key, whose entry was of that stamp then: what a read has brought
   * meanwhile, once that entry was gone, may be older, and goes.
   */
  forgetRead(key: K, since: Stamp): void;
  markClean(key: K): boolean;
  noteFlush(): void;

  /** Of what is cached now. */
  stampOf(key: K): Stamp | undefined;
  /** Deleting in three steps: while the store is at it, the entry is still there. */
  beginDelete(doomed: Doomed<K>): void;
  /** Drops what was there when it was asked for, or was read since; what was put since stays. */
  endDelete(doomed: Doomed<K>): void;
  cancelDelete(doomed: Doomed<K>): void;
  /** Deletions that somebody has begun who is no longer there. Beside them, live ones. */
  leftDeletes(): K[];
  /** The deletion of the key that was left; the caller has the claim. */
  leftDelete(key: K): Doomed<K> | undefined;

  /** Waits until all that was done to the entries so far is safe enough for the store to follow. */
  ahead(sync: boolean): void | Promise<void>;
}

export function isSameStamp(a: Stamp, b: Stamp): boolean {
  return a.inserted === b.inserted && a.version === b.version;
}

/**
 * Whether the deletion of `doomed` takes what is there now: it is still the same, or a read has
 * brought it meanwhile.
 */
export function isTaken(now: Stamp, { stamp }: Doomed<unknown>): boolean {
  if (stamp?.inserted === now.inserted) return stamp.version === now.version;
  return now.version === 0;
}
