/**
 * What is newer than the store: dirty blobs, created ones, pending deletes.
 *
 * Owns:        nothing; reads leave counters and recency alone.
 * Threads:     any; the numbers are a look in passing, not a cut.
 */
import { DELETE_ENTRIES, FRAME_VALID, H_DELETES, H_LOG_TAIL, MISS } from '../generated/layout.ts';
import type { BlobId } from '../store/contract.ts';
import type { PoolCore } from './core.ts';

/** A blob whose frame is newer than its image in the store. */
export interface DirtyBlob {
  readonly id: BlobId;
  /** Lowest seq whose change is in the frame and not in the store. */
  readonly seq: number;
}

/** All of them, those that a running round is writing too; in ascending order of id. */
export function dirtyBlobs({ control, memory }: PoolCore): DirtyBlob[] {
  const blobs: DirtyBlob[] = [];
  for (let frame = 0; frame < memory.shared.frames; frame++) {
    const id = control.blobOf(frame);
    const seq = control.unflushedSeq(frame);
    const there = control.stateOf(frame) === FRAME_VALID && control.blobOf(frame) === id;
    if (there && id !== 0 && seq !== 0) blobs.push({ id, seq });
  }
  return blobs.sort((a, b) => a.id - b.id);
}

/** Blobs that were deleted and that the store still has, or never had, until the next round. */
export function pendingDeletes({ control, memory }: PoolCore): BlobId[] {
  const ids: BlobId[] = [];
  if (memory.load(H_DELETES) === 0) return ids;
  const seq = memory.loadU64(H_LOG_TAIL);
  for (let index = 0; index < DELETE_ENTRIES; index++) {
    const id = control.deleteIdAt(index, seq);
    if (id !== 0) ids.push(id);
  }
  return ids.sort((a, b) => a - b);
}

/** Lowest dirty or flushing seq; undefined when every frame is clean. */
export function minUnflushedSeq({ control }: PoolCore): number | undefined {
  const seq = control.lowestUnflushed();
  return seq === 0 ? undefined : seq;
}

/** All blobs, also those that were created since the last round, in ascending order. */
export function listBlobs(core: PoolCore): BlobId[] {
  if (!core.logged) return core.store.list();
  // Frames first: what a round commits meanwhile is in the mapping when that is read.
  const dirty = dirtyBlobs(core);
  const ids = new Set(core.store.list());
  for (const { id } of dirty) if (core.control.isCached(id) !== 0) ids.add(id);
  return [...ids].sort((a, b) => a - b);
}

/** Whether there is such a blob. A cached one is not looked up in the store. */
export function hasBlob({ control, logged, residency, store }: PoolCore, id: BlobId): boolean {
  if (control.isCached(id) !== 0 || store.has(id)) return true;
  // One that was created lately is in a frame alone, and a look without the lock may pass it by.
  return logged && residency.frameOf(id) !== MISS;
}
