/**
 * What a store of blobs is, at two levels.
 *
 *   BlobStore     blobs by id: what a caller sees. The file store, the memory store and a pool
 *                 without a log all behave like this, and one conformance suite runs on all.
 *   StoreBackend  store slots and atomic commits: what differs between files, memory and custom
 *                 stores. `MappedStore` makes a BlobStore out of it and the shared mapping.
 *
 * Invariants:  I6   a committed mapping never names a slot that is being written: new bytes go to
 *                   fresh slots, and a slot is free again only after the commit that left it;
 *              W2D  `commit` comes after a `sync` of the slots that it names.
 * Threads:     each thread has a backend of its own, built from the handle. `open` runs in the
 *              opener alone. `commit`, and whatever touches `shared`, runs under the commit lock.
 */

import type { Checksummer } from '../memory/checksum.ts';

/** Positive safe integer, handed out in increasing order, never used again. */
export type BlobId = number;

/** Bytes of a blob: a power of two within these. */
export const BLOB_BYTES_MIN: number = 4 * 1024;
export const BLOB_BYTES_MAX: number = 4 * 1024 * 1024;

export function isBlobSize(bytes: number): boolean {
  const isWithin = bytes >= BLOB_BYTES_MIN && bytes <= BLOB_BYTES_MAX;
  return isWithin && Number.isInteger(Math.log2(bytes));
}

/**
 * Owners from here on are no indexes but ranges of blobs that a bulk load has committed and that no
 * record has adopted: `owner - BULK_OWNER` is the first id of the range, the owner's root the last.
 */
export const BULK_OWNER: number = 2 ** 52;

/** One entry of the mapping. */
export interface BlobMapping {
  readonly id: BlobId;
  /** Store slot: position in units of the blob size. */
  readonly slot: number;
  /** Checksum of the blob's bytes, seeded with its id; 64 bits. */
  readonly checksum: bigint;
}

/** What a store holds after its last commit. */
export interface StoreImage {
  /** Ties log records to this store: 64 random bits from its making, the same at each opening. */
  readonly storeId: bigint;
  readonly blobs: readonly BlobMapping[];
  /** Ids below this one may have been handed out. */
  readonly nextBlobId: BlobId;
  /** Number of the last commit, 0 for a new store. */
  readonly commitNumber: number;
  /** Moves by one at each opening for writing; fences off a writer that lost the directory. */
  readonly epoch: number;
  /** Seq up to which the log is contained in the store; 0 without a log. */
  readonly checkpointSeq: number;
  /** Root blobs by owner. */
  readonly roots: ReadonlyMap<number, BlobId>;
}

/**
 * One atomic change of the mapping. What is left out stays as it is: the checkpoint seq, and the
 * root of every owner that `roots` does not name; an owner given the id 0 has no root any more.
 * The next id and the checkpoint seq never go back.
 */
export interface StoreChange {
  readonly mapped: readonly BlobMapping[];
  readonly deleted: readonly BlobId[];
  readonly nextBlobId: BlobId;
  readonly checkpointSeq?: number;
  readonly roots?: ReadonlyMap<number, BlobId>;
}

/** Space that a store takes. */
export interface BackendUsage {
  readonly dataBytes: number;
  readonly manifestBytes: number;
}

/** What a backend is given in every thread. */
export interface BackendContext {
  readonly blobBytes: number;
  /** For what a backend sums itself; its scratch area is lost with every call of the backend. */
  readonly checksummer: Checksummer;
  /**
   * 16 words of shared memory, zero at first, for positions that all threads of the pool must
   * agree on. Read and written only under the commit lock (and in `open`, before there are others).
   */
  readonly shared: BigInt64Array;
}

/** Cloneable description from which another thread builds its own backend. */
export interface BackendHandle {
  readonly kind: 'file' | 'memory' | 'module';
  readonly [field: string]: unknown;
}

export interface StoreBackend {
  /**
   * Takes the store for exclusive use, reads what is committed, and begins a new epoch. Opener only.
   * A backend that is for reading only takes nothing and leaves the epoch as it is stored.
   *
   * @throws {WeirpoolError} `STORE_LOCKED`, `MANIFEST_CORRUPT`, `FORMAT_UNSUPPORTED`,
   *                         `BLOB_SIZE_MISMATCH`, `STORE_IO`.
   */
  open(): Promise<StoreImage>;

  /** For `attachBackend` in another thread. */
  handle(): BackendHandle;

  /**
   * Reads one slot into `target` (blobBytes long, possibly shared memory), synchronously.
   *
   * @throws {WeirpoolError} `STORE_IO` with operation, path, slot and offset; also when the store
   *                         ends before the slot does.
   */
  readSlot(slot: number, target: Uint8Array): void;

  /**
   * Writes one slot, synchronously; nothing is durable before `sync`. Errors as `readSlot`; and
   * this and every call that writes throw `READ_ONLY` in a backend that is for reading only.
   */
  writeSlot(slot: number, source: Uint8Array): void;

  /** Several slots, several writes in flight; settles only when every write has settled. */
  writeSlots(writes: readonly SlotWrite[]): Promise<readonly SlotWriteResult[]>;

  /** Makes written slots survive power loss. A failure is final: the caller must poison. */
  sync(): void;

  /**
   * Appends one change, atomically and durably: after a crash it is there whole or not at all.
   *
   * @throws {WeirpoolError} `STORE_IO` with outcome `not_applied` when the store surely is as
   *         before and may be used on; with outcome `unknown` when the caller must poison;
   *         `FENCED` when another writer has taken the store.
   */
  commit(change: StoreChange): void;

  usage(): BackendUsage;

  /**
   * Gives back what this thread opened; in the opener also the exclusive use. Idempotent.
   *
   * @param clean  False after a poison: the end is not recorded as a clean one. Default true.
   */
  close(clean?: boolean): Promise<void>;
}

export interface SlotWrite {
  readonly slot: number;
  readonly source: Uint8Array;
}

export interface SlotWriteResult {
  readonly slot: number;
  /** Undefined when the write succeeded. */
  readonly error: Error | undefined;
}

/** Finding of a verification, one line each. */
export interface StoreFinding {
  readonly code: 'BLOB_CORRUPT' | 'STORE_IO' | 'SLOT_SHARED' | 'SLOT_MISSING';
  readonly id: BlobId;
  readonly slot: number;
  readonly message: string;
}

export interface StoreStats {
  readonly blobs: number;
  /** Store slots that are in use, those that are kept included. */
  readonly slotsUsed: number;
  /** Slots that only snapshots still read. */
  readonly slotsKept: number;
  /** Snapshots that are open, of all threads: commits that are read, as often as it may be. */
  readonly snapshots: number;
  readonly dataBytes: number;
  readonly manifestBytes: number;
  readonly commits: number;
}

/** Blobs by id; every change is atomic and durable when the call returns. */
export interface BlobStore {
  /** Size of every blob in bytes. */
  readonly blobBytes: number;
  /** The next id; never handed out again, also not after a restart. */
  allocate(): BlobId;
  has(id: BlobId): boolean;
  /** All ids in ascending order. */
  list(): BlobId[];
  /**
   * Copies the blob into `target` (blobBytes long).
   *
   * @throws {WeirpoolError} `BLOB_NOT_FOUND`, `BLOB_CORRUPT`, `STORE_IO`.
   */
  readInto(id: BlobId, target: Uint8Array): void;
  /**
   * Writes the whole blob (blobBytes long) under an id that `allocate` has handed out.
   *
   * @throws {WeirpoolError} `STORE_IO`, `STORE_FULL`, `POISONED`; {RangeError} wrong size or id.
   */
  writeBlob(id: BlobId, bytes: Uint8Array): void;
  /** Deletes the blob; false if there is none. */
  deleteBlob(id: BlobId): boolean;
  close(): Promise<void>;
}
