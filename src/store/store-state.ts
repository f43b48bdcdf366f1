/**
 * What a store has committed, as a value that changes are applied to.
 *
 * Owns:        the checks that a change must pass before anything is written.
 * Threads:     private to whoever reads a manifest.
 */
import type { BlobId, BlobMapping, StoreChange, StoreImage } from './contract.ts';

const CHECKSUM_END = 2n ** 64n;

/** The numbers of a store that every record carries on. */
export interface StoreNumbers {
  readonly nextBlobId: BlobId;
  readonly checkpointSeq: number;
  readonly commitNumber: number;
  readonly epoch: number;
}

/** One record of a manifest: a change with what it leaves behind. */
export interface StateChange extends StoreNumbers {
  readonly mapped: readonly BlobMapping[];
  readonly deleted: readonly BlobId[];
  readonly roots: ReadonlyMap<number, BlobId>;
}

const NO_ROOTS: ReadonlyMap<number, BlobId> = new Map();

/** The record for a change that follows on `last`: nothing goes back, commits are consecutive. */
export function recordOf(change: StoreChange, last: StoreNumbers): StateChange {
  return {
    mapped: change.mapped,
    deleted: change.deleted,
    roots: change.roots ?? NO_ROOTS,
    nextBlobId: Math.max(last.nextBlobId, change.nextBlobId),
    checkpointSeq: Math.max(last.checkpointSeq, change.checkpointSeq ?? 0),
    commitNumber: last.commitNumber + 1,
    epoch: last.epoch,
  };
}

export class StoreState {
  readonly blobs: Map<BlobId, BlobMapping>;
  readonly roots: Map<number, BlobId>;
  nextBlobId: BlobId;
  checkpointSeq: number;
  commitNumber: number;
  epoch: number;

  /** The state of a store in which nothing has ever been committed. */
  constructor() {
    this.blobs = new Map();
    this.roots = new Map();
    this.nextBlobId = 1;
    this.checkpointSeq = 0;
    this.commitNumber = 0;
    this.epoch = 0;
  }

  apply(change: StateChange): void {
    for (const id of change.deleted) this.blobs.delete(id);
    for (const entry of change.mapped) this.blobs.set(entry.id, entry);
    for (const [owner, id] of change.roots) {
      if (id === 0) this.roots.delete(owner);
      else this.roots.set(owner, id);
    }
    this.nextBlobId = change.nextBlobId;
    this.checkpointSeq = change.checkpointSeq;
    this.commitNumber = change.commitNumber;
    this.epoch = change.epoch;
  }

  /** The change that makes this state out of an empty one; blobs and roots in ascending order. */
  snapshot(): StateChange {
    return {
      mapped: [...this.blobs.values()].sort((a, b) => a.id - b.id),
      deleted: [],
      roots: new Map([...this.roots].sort(([a], [b]) => a - b)),
      nextBlobId: this.nextBlobId,
      checkpointSeq: this.checkpointSeq,
      commitNumber: this.commitNumber,
      epoch: this.epoch,
    };
  }

  /** @param storeId  Of the store that this is the state of. */
  image(storeId: bigint): StoreImage {
    const { mapped, roots, nextBlobId, checkpointSeq, commitNumber, epoch } = this.snapshot();
    return { storeId, blobs: mapped, roots, nextBlobId, checkpointSeq, commitNumber, epoch };
  }

  /** Two blobs that share a slot, or undefined. */
  sharedSlot(): readonly [BlobMapping, BlobMapping] | undefined {
    const bySlot = new Map<number, BlobMapping>();
    for (const entry of this.blobs.values()) {
      const other = bySlot.get(entry.slot);
      if (other !== undefined) return [other, entry];
      bySlot.set(entry.slot, entry);
    }
    return undefined;
  }

  /** The blob in the highest slot, or undefined if there are none. */
  lastBlob(): BlobMapping | undefined {
    let last: BlobMapping | undefined;
    for (const entry of this.blobs.values()) {
      if (last === undefined || entry.slot > last.slot) last = entry;
    }
    return last;
  }
}

function assertCount(name: string, value: number, min: number): void {
  if (!Number.isSafeInteger(value) || value < min) {
    throw new RangeError(`${name} must be a whole number of at least ${min}, not ${value}`);
  }
}

function assertMapped({ id, slot, checksum }: BlobMapping): void {
  assertCount('id', id, 1);
  assertCount('slot', slot, 0);
  if (typeof checksum !== 'bigint' || checksum < 0n || checksum >= CHECKSUM_END) {
    throw new RangeError(`checksum of blob ${id} must be a bigint of 64 bits, not ${checksum}`);
  }
}

/**
 * Refuses a change that no store could hold, before anything is written.
 *
 * @throws {RangeError} ids, slots or checksums out of range; an id or a slot named twice.
 */
export function assertChange(change: StoreChange): void {
  const ids = new Set<BlobId>();
  const slots = new Set<number>();
  for (const entry of change.mapped) {
    assertMapped(entry);
    ids.add(entry.id);
    slots.add(entry.slot);
  }
  for (const id of change.deleted) {
    assertCount('id', id, 1);
    ids.add(id);
  }
  for (const [owner, id] of change.roots ?? []) {
    assertCount('owner', owner, 0);
    assertCount('root', id, 0);
  }
  assertCount('nextBlobId', change.nextBlobId, 1);
  assertCount('checkpointSeq', change.checkpointSeq ?? 0, 0);
  if (slots.size !== change.mapped.length) throw new RangeError('a change names a slot twice');
  if (ids.size !== change.mapped.length + change.deleted.length) {
    throw new RangeError('a change names an id twice');
  }
}

/**
 * Refuses bytes that would not fill exactly one slot: more would run into the next blob.
 *
 * @throws {RangeError}
 */
export function assertSlotBytes(slot: number, bytes: Uint8Array, blobBytes: number): void {
  assertCount('slot', slot, 0);
  if (bytes.length === blobBytes) return;
  throw new RangeError(`a slot takes ${blobBytes} bytes, not ${bytes.length}`);
}
