/**
 * Deleting a range of keys, one leaf after the other, each in a mini-transaction of its own.
 *
 * Owns:        nothing beyond the mini-transaction.
 * Invariants:  each step is atomic; what is left after a crash is a range that is partly cleared, and
 *              clearing it again ends it;
 *              a step's range lies within the bounds of one leaf, so doing it again needs no search.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';
import type { BlobId } from '../store/contract.ts';
import type { Op } from '../txn/op.ts';
import { nodeCorrupt } from './descent.ts';
import { mergeAround } from './merge.ts';
import { deleteOverflow, isOverflow, overflowBlobs, readReference } from './overflow.ts';
import { type ClearRecord, encodeClear } from './record.ts';
import { TREE_OWNER, type TreeStore } from './store.ts';

/** Keys from `low` up to `high`, exclusive; without `high` to the end. */
export interface ClearRange {
  readonly low: Uint8Array;
  readonly high: Uint8Array | undefined;
}

/** Overflow blobs after which a step ends: what is left is for the next one. */
const OVERFLOWS_MAX = 8;

/** Deletes all keys of the range: how many there were. */
export function clearRange(store: TreeStore, tree: BlobId, range: ClearRange): number {
  let cleared = 0;
  for (let low: Uint8Array | undefined = range.low; low !== undefined; ) {
    const from: Uint8Array = low;
    const step = store.log.transactions.change(
      (op) => clearStep(store, op, tree, { low: from, high: range.high }),
      { owner: TREE_OWNER },
    );
    cleared += step.cleared;
    if (step.cleared > 0) store.flushIfDue();
    if (step.sparse) mergeAround(store, tree, from);
    low = step.next;
  }
  return cleared;
}

interface Step {
  readonly cleared: number;
  /** Where the next step begins; undefined after the last one. */
  readonly next: Uint8Array | undefined;
  readonly sparse: boolean;
}

function clearStep(store: TreeStore, op: Op, tree: BlobId, range: ClearRange): Step {
  const { nodes, descent } = store;
  nodes.setKey(range.low);
  const frame = store.latchLeaf(op, tree);
  const { id } = descent;
  const bound = stepEnd(store, frame) ?? nodes.highOf(frame);
  const ends = isAtMost(range.high, bound);
  const high = ends ? range.high : bound;
  const record = { tree, low: range.low, high };
  const cleared = clearLeaf(store, op, record, () => op.seal(encodeClear(record).length), id);
  if (cleared > 0) op.commit(encodeClear(record));
  return { cleared, next: ends ? undefined : bound, sparse: cleared > 0 };
}

/** Whether the range ends at or before the bound; undefined is the end of all keys. */
function isAtMost(high: Uint8Array | undefined, bound: Uint8Array | undefined): boolean {
  if (bound === undefined) return true;
  return high !== undefined && Buffer.compare(high, bound) <= 0;
}

/** Key at which a step ends early, for the values before it are in blobs enough; else undefined. */
function stepEnd({ nodes }: TreeStore, frame: number): Buffer | undefined {
  const from = nodes.find(frame) >> 1;
  if (from < 0) return undefined; // the step itself tells
  const count = nodes.countOf(frame);
  let blobs = 0;
  for (let slot = from; slot < count; slot++) {
    if (nodes.valueAt(frame, slot) !== 1) return undefined;
    if (!isOverflow(nodes.valueWord)) continue;
    if (blobs >= OVERFLOWS_MAX) return nodes.keyOf(frame, slot);
    const { bytes } = readReference(nodes.bytesOf(frame), nodes.valueOffset);
    blobs += overflowBlobs(bytes, nodes.blobBytes);
  }
  return undefined;
}

/**
 * Does what a clear's record says: how many entries it took out. `seal` is called in between, unless
 * there are none.
 */
export function clearLeaf(
  store: TreeStore,
  op: Op,
  { tree, low, high }: Omit<ClearRecord, 'type'>,
  seal: () => void,
  held?: BlobId,
): number {
  const { nodes, descent } = store;
  nodes.setKey(low);
  // What is held already must not be looked for: it would be latched a second time.
  const id = held ?? descent.with(tree, 0, (_frame, found) => found);
  const frame = op.write(id).frameIndex;
  const from = nodes.find(frame) >> 1;
  let end = nodes.countOf(frame);
  if (high !== undefined) {
    nodes.setKey(high);
    end = nodes.find(frame) >> 1;
  }
  if (from < 0 || end < from) throw nodeCorrupt(id, tree);
  for (let slot = from; slot < end; slot++) {
    if (nodes.valueAt(frame, slot) !== 1) throw nodeCorrupt(id, tree);
    if (!isOverflow(nodes.valueWord)) continue;
    deleteOverflow(op, tree, readReference(nodes.bytesOf(frame), nodes.valueOffset));
  }
  if (end === from) return 0;
  seal();
  if (nodes.removeRange(frame, from, end) !== 0) throw nodeCorrupt(id, tree);
  return end - from;
}
