/**
 * Blobs by id over a backend: the shared mapping, checksums, slots, atomic commits.
 *
 * Owns:        the mapping and the slot bitmap in the control memory, through assembly/mapping.ts.
 * Invariants:  I6   new bytes go to a slot that the mapping does not name and that nobody reads; the
 *                   old slot is free only after the commit was published, and no snapshot has it;
 *              W2D  slots are synced before the commit that names them.
 * Threads:     one object for each thread; reads take no lock, commits run under the commit lock.
 *
 * A reader announces the slot, looks the id up again, and only then reads: from then on the slot
 * is not handed out for writing. Every read is verified against the mapping's checksum.
 */
import { type Outcome, WeirpoolError } from '../errors.ts';
import {
  BUSY,
  H_CHECKPOINT_SEQ,
  H_COMMIT_NUMBER,
  H_CREATED,
  H_DELETES,
  H_LEASE_END,
  H_MAP_COUNT,
  H_MAP_MASK,
  H_NEXT_ID,
  H_SLOTS_KEPT,
  H_SLOTS_USED,
  LOCK_COMMIT,
  MISS,
  NONE,
  OK,
} from '../generated/layout.ts';
import type { Checksummer } from '../memory/checksum.ts';
import type { Frame } from '../memory/frame.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import type {
  BlobId,
  BlobMapping,
  StoreBackend,
  StoreChange,
  StoreFinding,
  StoreImage,
  StoreStats,
} from './contract.ts';

/** Ids that one manifest record reserves: each opening skips at most so many. */
export const ID_LEASE = 1024;
/** How long a reader naps while a commit is being published, in ms. */
const PUBLISH_NAP_MS = 1;
/** How often a listing is tried beside commits before it keeps them out. */
const LIST_ATTEMPTS = 8;

/** A slot that was written and summed, not yet named by the mapping. */
export interface StagedBlob {
  readonly blob: BlobMapping;
  /** What was written; valid until the next blob is staged or read in this thread. */
  readonly bytes: Uint8Array;
}

export class MappedStore {
  readonly backend: StoreBackend;
  readonly blobBytes: number;
  readonly #thread: PoolThread;
  readonly #checksummer: Checksummer;

  constructor(thread: PoolThread, backend: StoreBackend, checksummer: Checksummer) {
    this.#thread = thread;
    this.backend = backend;
    this.blobBytes = thread.memory.shared.blobBytes;
    this.#checksummer = checksummer;
  }

  // --- opening -------------------------------------------------------------------------------

  /** Takes over what the store has committed; in the opener, before there are other threads. */
  load(image: StoreImage): void {
    const { control, memory } = this.#thread;
    for (const { id, slot, checksum } of image.blobs) {
      if (control.slotMark(slot) !== OK) throw this.#manifestError(id, slot);
      if (control.mapPut(id, slot, checksum) !== OK) throw this.fullError();
    }
    memory.storeU64(H_NEXT_ID, image.nextBlobId);
    memory.storeU64(H_LEASE_END, image.nextBlobId);
    memory.storeU64(H_COMMIT_NUMBER, image.commitNumber);
    memory.storeU64(H_CHECKPOINT_SEQ, image.checkpointSeq);
  }

  #manifestError(id: BlobId, slot: number): WeirpoolError {
    return new WeirpoolError(
      'MANIFEST_CORRUPT',
      `The manifest gives slot ${slot} to blob ${id}, but it is taken or out of range.`,
      { details: { id, slot } },
    );
  }

  // --- looking up ----------------------------------------------------------------------------

  /** Where the blob is, or undefined if the store does not have it. */
  lookup(id: BlobId): BlobMapping | undefined {
    const { control, memory, me } = this.#thread;
    let result = control.mapGet(id, me);
    while (result === BUSY) {
      this.#nap();
      result = control.mapGet(id, me);
    }
    if (result === MISS) return undefined;
    const out = this.#thread.outIndex;
    return { id, slot: memory.f64[out] as number, checksum: memory.u64[out + 1] as bigint };
  }

  /** Whether the store has the blob, and nobody has deleted it since the last round. */
  has(id: BlobId): boolean {
    return !this.#isDeleted(id) && this.lookup(id) !== undefined;
  }

  #isDeleted(id: BlobId): boolean {
    const { control, memory, me } = this.#thread;
    if (memory.load(H_DELETES) === 0) return false;
    return this.#thread.waitThrough(() => control.deletePending(id, me, PARK_MS)) === OK;
  }

  /** All ids in ascending order: the state between two commits. */
  list(): BlobId[] {
    for (let attempt = 0; attempt < LIST_ATTEMPTS || this.#thread.isHolding; attempt++) {
      const ids = this.#tryList();
      if (ids !== undefined) return ids;
      this.#nap();
    }
    // Commits come faster than the table can be read: keep them out for that long.
    return this.exclusively(() => this.#tryList() ?? []);
  }

  #tryList(): BlobId[] | undefined {
    const { control, memory } = this.#thread;
    const capacity = memory.load(H_MAP_MASK) + 1;
    const version = control.mapVersion();
    if (version === BUSY) return undefined;
    const ids: BlobId[] = [];
    for (let index = 0; index < capacity; index++) {
      const id = control.mapIdAt(index);
      if (id !== 0) ids.push(id);
    }
    if (control.mapVersion() !== version) return undefined;
    const there = memory.load(H_DELETES) === 0 ? ids : ids.filter((id) => !this.#isDeleted(id));
    return there.sort((a, b) => a - b);
  }

  #nap(): void {
    // A word that nobody notifies: a bounded sleep that the publisher does not have to end.
    Atomics.wait(this.#thread.memory.i32, LOCK_COMMIT / 4 + 1, 0, PUBLISH_NAP_MS);
    this.#thread.lookAround();
  }

  // --- reading -------------------------------------------------------------------------------

  /**
   * Reads a blob into a frame that the calling thread owns.
   *
   * @throws {WeirpoolError} `BLOB_NOT_FOUND`, `BLOB_CORRUPT`, `STORE_IO`.
   */
  readFrame(id: BlobId, frame: Frame): void {
    this.#read(id, frame.bytes, () => this.#thread.memory.checksum(frame.index, id));
  }

  /** Reads a blob into this thread's scratch area; valid until the next call. Errors as above. */
  readScratch(id: BlobId): Uint8Array {
    const scratch = this.#checksummer.scratch(this.blobBytes);
    this.#read(id, scratch, () => this.#checksummer.ofScratch(this.blobBytes, id));
    return scratch;
  }

  #read(id: BlobId, target: Uint8Array, checksum: () => bigint): void {
    const { control, me } = this.#thread;
    for (;;) {
      const found = this.lookup(id);
      if (found === undefined) throw notFound(id);
      control.readBegin(found.slot, me);
      try {
        const again = this.lookup(id);
        if (again?.slot !== found.slot || again.checksum !== found.checksum) continue;
        this.backend.readSlot(found.slot, target);
      } finally {
        control.readEnd(me);
      }
      if (checksum() === found.checksum) return;
      throw blobCorrupt(found, this.blobBytes);
    }
  }

  /** @throws {WeirpoolError} `POISONED`, `POOL_CLOSED`. */
  assertRunning(): void {
    this.#thread.assertRunning();
  }

  /**
   * Reads a slot that the mapping of a snapshot names, into bytes of the caller's. No look is needed
   * before or after: the slot is kept. Errors as `readFrame`.
   */
  readKept(blob: BlobMapping, target: Uint8Array, checksum: () => bigint): void {
    this.#thread.assertRunning();
    this.backend.readSlot(blob.slot, target);
    if (checksum() === blob.checksum) return;
    // Once the pool is closed, nothing is kept any more.
    this.#thread.assertRunning();
    throw blobCorrupt(blob, this.blobBytes);
  }

  // --- names and slots for rounds ----------------------------------------------------------------

  /** Sees to it that the mapping will have room for one more blob; false if it will not. */
  reserveName(): boolean {
    const { memory } = this.#thread;
    Atomics.add(memory.u32, H_CREATED / Uint32Array.BYTES_PER_ELEMENT, 1);
    if (this.#hasRoom(0)) return true;
    this.returnName();
    return false;
  }

  #hasRoom(blobs: number): boolean {
    const { memory } = this.#thread;
    const capacity = memory.load(H_MAP_MASK) + 1;
    const named = memory.load(H_MAP_COUNT) + memory.load(H_CREATED);
    return named + blobs <= capacity - Math.floor(capacity / 8);
  }

  /**
   * The same for several.
   *
   * @throws {WeirpoolError} `STORE_FULL`.
   */
  reserveNames(count: number): void {
    const { memory } = this.#thread;
    Atomics.add(memory.u32, H_CREATED / Uint32Array.BYTES_PER_ELEMENT, count);
    try {
      this.assertRoom(0);
    } catch (error) {
      this.returnName(count);
      throw error;
    }
  }

  /** A name that was reserved is used, or not needed. */
  returnName(count = 1): void {
    const { memory } = this.#thread;
    Atomics.sub(memory.u32, H_CREATED / Uint32Array.BYTES_PER_ELEMENT, count);
  }

  /**
   * Fresh slots for the images of a round, under the commit lock.
   *
   * @throws {WeirpoolError} `STORE_FULL`; none is taken then.
   */
  takeSlots(count: number): number[] {
    const { control } = this.#thread;
    const slots: number[] = [];
    control.slotsReclaim();
    while (slots.length < count) {
      const slot = control.slotTake();
      if (slot === NONE) {
        this.returnSlots(slots);
        throw this.fullError();
      }
      slots.push(slot);
    }
    return slots;
  }

  returnSlots(slots: readonly number[]): void {
    for (const slot of slots) this.#thread.control.slotFree(slot);
  }

  /**
   * Writes one slot while others are being written. Never rejects, so that who has several writes
   * under way sees every one of them settle.
   *
   * @returns What went wrong: also where a custom backend says nothing about the slot.
   */
  async writeSlot(slot: number, source: Uint8Array): Promise<WeirpoolError | undefined> {
    try {
      const [result] = await this.backend.writeSlots([{ slot, source }]);
      if (result !== undefined && result.error === undefined) return undefined;
      return asWeirpoolError(result?.error ?? new Error('no word of the slot'), 'not_applied');
    } catch (error) {
      return asWeirpoolError(error, 'not_applied');
    }
  }

  // --- writing, under the commit lock ----------------------------------------------------------

  /**
   * Runs `action` under the commit lock.
   *
   * @throws {WeirpoolError} `LATCH_HELD` when the thread holds a latch: a commit waits for disks.
   */
  exclusively<T>(action: () => T): T {
    const { control, me } = this.#thread;
    this.#thread.assertRunning();
    this.#assertNoLatch();
    if (control.lockOwner(LOCK_COMMIT) === me + 1) {
      throw new WeirpoolError('INVARIANT_BROKEN', 'A store must not write through its own pool.');
    }
    this.#thread.wait(() => control.lockTake(LOCK_COMMIT, me, PARK_MS));
    try {
      this.#thread.assertRunning();
      return action();
    } finally {
      control.lockGive(LOCK_COMMIT);
    }
  }

  #assertNoLatch(): void {
    if (!this.#thread.isHolding) return;
    throw new WeirpoolError(
      'LATCH_HELD',
      'This thread holds a latch, and what it asks for may wait for the disk. Release the guards, ' +
        'and end the mini-transaction, first.',
    );
  }

  /** Refuses before anything is written what the mapping could not name; `blobs` are new ones. */
  assertRoom(blobs: number): void {
    if (!this.#hasRoom(blobs)) throw this.fullError();
  }

  fullError(): WeirpoolError {
    const { memory } = this.#thread;
    const blobs = memory.load(H_MAP_COUNT);
    const kept = memory.load(H_SLOTS_KEPT);
    const snapshots = kept === 0 ? '' : ` Or close snapshots: they keep ${kept} slots.`;
    return new WeirpoolError(
      'STORE_FULL',
      `The store has ${blobs} blobs and no room to name more. Open it again with a larger ` +
        `\`blobsMax\`.${snapshots}`,
      { details: { blobs, kept } },
    );
  }

  /**
   * Writes the blob to a fresh slot. The bytes are copied first, so that what is written is what
   * was summed. A slot whose write failed stays out of use until the store is reopened.
   */
  stage(id: BlobId, bytes: Uint8Array): StagedBlob {
    this.#thread.control.slotsReclaim();
    const slot = this.#thread.control.slotTake();
    if (slot === NONE) throw this.fullError();
    const scratch = this.#checksummer.scratch(this.blobBytes);
    scratch.set(bytes);
    const checksum = this.#checksummer.ofScratch(this.blobBytes, id);
    try {
      this.backend.writeSlot(slot, scratch);
    } catch (error) {
      throw asWeirpoolError(error, 'not_applied');
    }
    return { blob: { id, slot, checksum }, bytes: scratch };
  }

  /** Gives staged slots back that no commit will name. */
  unstage(staged: readonly BlobMapping[]): void {
    for (const { slot } of staged) this.#thread.control.slotFree(slot);
  }

  /**
   * Syncs, commits and publishes. A failed sync and an unknown outcome poison the pool.
   *
   * @throws {WeirpoolError} `STORE_IO`, `FENCED`; the staged slots are given back if the store
   *                         surely is as before.
   */
  commit(mapped: readonly BlobMapping[], deleted: readonly BlobId[], leaseEnd?: BlobId): void {
    const nextBlobId = leaseEnd ?? this.#thread.memory.loadU64(H_LEASE_END);
    try {
      if (mapped.length > 0) this.sync();
      this.commitSynced({ mapped, deleted, nextBlobId });
    } catch (error) {
      const cause = asWeirpoolError(error);
      if (!isFatal(cause)) this.unstage(mapped);
      throw cause;
    }
  }

  /**
   * Commits and publishes a change whose slots are synced, under the commit lock. The next id is
   * leased on with it. An unknown outcome poisons.
   *
   * @throws {WeirpoolError} `STORE_IO`, `FENCED`.
   */
  commitSynced(change: StoreChange): void {
    try {
      this.backend.commit(change);
    } catch (error) {
      const cause = asWeirpoolError(error);
      if (isFatal(cause)) this.#thread.poison(cause);
      throw cause;
    }
    try {
      this.#publish(change);
    } catch (error) {
      // The store has the change and the mapping does not: nobody may go on from here.
      const cause = asWeirpoolError(error);
      this.#thread.poison(cause);
      throw cause;
    }
  }

  /** Makes written slots durable. A failure poisons: the next sync would succeed for nothing. */
  sync(): void {
    try {
      this.backend.sync();
    } catch (error) {
      const cause = asWeirpoolError(error);
      const { code, message, details } = cause;
      const failure = new WeirpoolError(code, message, { cause, outcome: 'unknown', details });
      this.#thread.poison(failure);
      throw failure;
    }
  }

  #publish({ mapped, deleted, nextBlobId }: StoreChange): void {
    const { control, memory } = this.#thread;
    const changed = [...mapped.map(({ id }) => id), ...deleted];
    const left = changed.flatMap((id) => this.lookup(id)?.slot ?? []);
    const commit = memory.loadU64(H_COMMIT_NUMBER) + 1;
    control.slotsReclaim();
    for (const { slot } of mapped) control.slotNamed(slot, commit);
    control.mapBegin();
    for (const { id, slot, checksum } of mapped) {
      if (control.mapPut(id, slot, checksum) !== OK) throw this.fullError();
    }
    for (const id of deleted) control.mapRemove(id);
    control.mapEnd();
    for (const slot of left) control.slotLeft(slot, commit);
    memory.storeU64(H_LEASE_END, nextBlobId);
    memory.storeU64(H_COMMIT_NUMBER, commit);
  }

  /** Takes blobs out of the mapping and not out of the store, which is open for reading only. */
  forget(ids: readonly BlobId[]): void {
    const { control } = this.#thread;
    control.mapBegin();
    for (const id of ids) control.mapRemove(id);
    control.mapEnd();
  }

  // --- ids -----------------------------------------------------------------------------------

  /**
   * The next id. Ids are covered by a lease in the manifest, so that a crash never repeats one; now
   * and then that takes a commit, so a thread that holds a latch is always refused.
   */
  allocate(): BlobId {
    const { memory } = this.#thread;
    this.#assertNoLatch();
    const id = Number(Atomics.add(memory.u64, H_NEXT_ID / BigUint64Array.BYTES_PER_ELEMENT, 1n));
    if (id >= memory.loadU64(H_LEASE_END)) this.exclusively(() => this.#extendLease(id));
    return id;
  }

  #extendLease(id: BlobId): void {
    if (id < this.#thread.memory.loadU64(H_LEASE_END)) return;
    this.commit([], [], id + ID_LEASE);
  }

  /** The next id if it is covered by the lease; never waits. */
  tryAllocate(): BlobId | undefined {
    const { memory } = this.#thread;
    const at = H_NEXT_ID / BigUint64Array.BYTES_PER_ELEMENT;
    for (;;) {
      const id = Atomics.load(memory.u64, at);
      if (Number(id) >= memory.loadU64(H_LEASE_END)) return undefined;
      if (Atomics.compareExchange(memory.u64, at, id, id + 1n) === id) return Number(id);
    }
  }

  /** So many ids in a row: the first one. Waits for the disk. */
  allocateRange(count: number): BlobId {
    const { memory } = this.#thread;
    this.#assertNoLatch();
    const at = H_NEXT_ID / BigUint64Array.BYTES_PER_ELEMENT;
    const first = Number(Atomics.add(memory.u64, at, BigInt(count)));
    const last = first + count - 1;
    if (last >= memory.loadU64(H_LEASE_END)) this.exclusively(() => this.#extendLease(last));
    return first;
  }

  /** Leases more ids if there are not so many in reserve. Waits for the disk. */
  extendLease(count = 1): void {
    const last = this.#thread.memory.loadU64(H_NEXT_ID) + count - 1;
    this.exclusively(() => this.#extendLease(last));
  }

  /** End of the lease that a commit of now should carry: it costs nothing to lease on with it. */
  get leaseEnd(): BlobId {
    const { memory } = this.#thread;
    return Math.max(memory.loadU64(H_LEASE_END), memory.loadU64(H_NEXT_ID) + ID_LEASE);
  }

  /** Whether `allocate` has handed the id out. */
  isAllocated(id: BlobId): boolean {
    const { memory } = this.#thread;
    return id < Math.min(memory.loadU64(H_NEXT_ID), memory.loadU64(H_LEASE_END));
  }

  // --- checking ------------------------------------------------------------------------------

  stats(): StoreStats {
    const { control, memory } = this.#thread;
    const { dataBytes, manifestBytes } = this.backend.usage();
    return {
      blobs: memory.load(H_MAP_COUNT),
      slotsUsed: memory.load(H_SLOTS_USED),
      slotsKept: memory.load(H_SLOTS_KEPT),
      snapshots: control.snapshotCount(),
      dataBytes,
      manifestBytes,
      commits: memory.loadU64(H_COMMIT_NUMBER),
    };
  }

  /** Reads every blob from the store and checks it; reports all that is wrong. */
  verify(): StoreFinding[] {
    const findings: StoreFinding[] = [];
    for (const id of this.list()) {
      const slot = this.lookup(id)?.slot ?? 0;
      try {
        this.readScratch(id);
      } catch (error) {
        const { code, message } = asWeirpoolError(error);
        if (code === 'BLOB_NOT_FOUND') continue; // deleted since it was listed
        const known = code === 'BLOB_CORRUPT' ? code : 'STORE_IO';
        findings.push({ code: known, id, slot, message });
      }
    }
    return findings;
  }
}

export function notFound(id: BlobId): WeirpoolError {
  return new WeirpoolError('BLOB_NOT_FOUND', `There is no blob ${id} in the store.`, {
    details: { id },
  });
}

export function blobCorrupt({ id, slot }: BlobMapping, blobBytes: number): WeirpoolError {
  const offset = slot * blobBytes;
  return new WeirpoolError(
    'BLOB_CORRUPT',
    `The bytes of blob ${id} in store slot ${slot} (offset ${offset}) do not match their ` +
      'checksum. Restore the store from a backup.',
    { details: { id, slot, offset } },
  );
}

/** After these nobody knows what the store holds, or whose it is. */
function isFatal({ outcome, code }: WeirpoolError): boolean {
  return outcome === 'unknown' || code === 'FENCED';
}

/** What a custom backend throws need not be ours. */
export function asWeirpoolError(error: unknown, outcome: Outcome = 'unknown'): WeirpoolError {
  if (error instanceof WeirpoolError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new WeirpoolError('STORE_IO', `The store failed: ${message}`, {
    cause: error,
    outcome,
  });
}
