/**
 * What is below a caching store: bytes by bytes, in the order of the keys.
 *
 * Owns:        nothing; the contract of inner stores.
 * Threads:     an inner store is called by the thread that has the caching store over it.
 */

/** An entry as an inner store gives it. */
export type ByteEntry = readonly [key: Uint8Array, value: Uint8Array];

/** A change of an inner store; without a value the key is deleted. */
export interface ByteWrite {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/** Which keys of an inner store: from `low` on, below `high`; absent: all of them on that side. */
export interface ByteRange {
  readonly low: Uint8Array | undefined;
  readonly high: Uint8Array | undefined;
  /** From the largest key down. */
  readonly reverse: boolean;
}

/** What both kinds of inner stores may have. */
interface OfBothKinds {
  /** Changes that one `batch` is given at most. Default: all of a flush. */
  readonly batchMax?: number;
  /** Whether `batch` refused so much at once, and less may be accepted. Default: it never does. */
  isTooLarge?(error: unknown): boolean;
  /**
   * Throws if the store could never take this entry: then `put` refuses it, rather than `flush`. Without
   * a value the key is to be deleted.
   */
  assertEntry?(key: Uint8Array, value: Uint8Array | undefined): void;
}

/**
 * An inner store that answers at once. Bytes that it is given are not changed afterwards; those that
 * it gives are not changed either. Deleting what is not there is no error.
 */
export interface SyncByteStore extends OfBothKinds {
  readonly mode: 'sync';
  get(key: Uint8Array): Uint8Array | undefined;
  put(key: Uint8Array, value: Uint8Array): unknown;
  delete(key: Uint8Array): unknown;
  /** Entries in order. It goes on, and skips or repeats nothing, when the store is changed meanwhile. */
  range(range: ByteRange): Iterable<ByteEntry>;
  clear(): unknown;
  /** Makes all changes or, if it throws, none, also after a crash. */
  batch?(writes: readonly ByteWrite[]): unknown;
}

/**
 * The same with promises: a store that is reached by a network, or that must not block the thread. None
 * of its methods waits for a flush, clear or close of the caching store above it, which waits for them.
 */
export interface AsyncByteStore extends OfBothKinds {
  readonly mode: 'async';
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  put(key: Uint8Array, value: Uint8Array): Promise<unknown>;
  delete(key: Uint8Array): Promise<unknown>;
  range(range: ByteRange): AsyncIterable<ByteEntry>;
  clear(): Promise<unknown>;
  batch?(writes: readonly ByteWrite[]): Promise<unknown>;
}

export type ByteStore = SyncByteStore | AsyncByteStore;

/** What a method gives: the value itself over a store that answers at once, else a promise of it. */
export type Answer<S extends ByteStore, T> = S extends SyncByteStore ? T : Promise<T>;

/**
 * Entries of a range: iterable at once or asynchronously, as the inner store is. Each iteration
 * begins anew and sees what was there when it began, or what came later.
 */
export type Entries<S extends ByteStore, T> = S extends SyncByteStore
  ? SyncEntries<T>
  : AsyncEntries<T>;

export interface SyncEntries<T> extends Iterable<T> {
  toArray(): T[];
}

export interface AsyncEntries<T> extends AsyncIterable<T> {
  toArray(): Promise<T[]>;
}
