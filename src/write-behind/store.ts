/**
 * What a write-behind cache stands before: the contract of a backing store.
 *
 * Owns:        nothing.
 * Threads:     each thread that has the cache brings a store of its own, for the same data.
 */

/**
 * A slow store of values by key. A method that returns a promise is awaited; what it throws, or
 * rejects with, comes back as `BACKING_STORE_FAILED` with that as its cause. Of one key at most one
 * `write` or `delete` is under way at a time, in all threads of a cache; each may come twice, after a
 * crash or a failure.
 */
export interface BackingStore<K, V> {
  /** The value; undefined: there is none. */
  read(key: K): V | undefined | PromiseLike<V | undefined>;
  /** Puts a value, new or in place of another one. */
  write(key: K, value: V): unknown;
  /** Deletes a key. Deleting what is not there is no error. */
  delete(key: K): unknown;
}

export type StoreOperation = 'read' | 'write' | 'delete';
