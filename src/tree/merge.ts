/**
 * Merging a sparse node with its neighbour, in a mini-transaction of its own.
 *
 * Owns:        nothing beyond the mini-transaction.
 * Invariants:  R1   the record tells which nodes were merged: doing it again decides nothing;
 *              a root with one child takes over the child's entries, and keeps its id;
 *              the lower node stays, the upper one becomes a pending delete.
 * Threads:     any; whoever deletes.
 */
import type { WeirpoolError } from '../errors.ts';
import { RestartError } from '../pool/want.ts';
import type { BlobId } from '../store/contract.ts';
import type { Op } from '../txn/op.ts';
import { type AskedEntry, nodeCapacity } from './change.ts';
import { changedError, nodeCorrupt } from './descent.ts';
import { encodeMerge, type MergeRecord } from './record.ts';
import { type Key, type PutOptions, TREE_OWNER, type TreeStore } from './store.ts';

/** Two nodes become one if they fill it at most so far: it must not split again at once. */
const FULL_SHARE = 3 / 4;
/** Bytes of a merge's record. */
const RECORD_BYTES = 40;

/** What came of one attempt: merged, no neighbour under the same parent, or nothing to do. */
type Outcome = 'merged' | 'alone' | 'nothing';

/** Merges around the key, from the leaf upwards as long as there is something to merge. */
export function mergeAround(store: TreeStore, tree: BlobId, key: Key): void {
  // Merging parents gives their children new neighbours: from the leaf again.
  for (let more = true; more; ) more = mergeUpwards(store, tree, key) || collapse(store, tree);
}

/** Makes changes of several keys, then merges what they have left sparse: their seq. */
export function changeAndMerge(
  store: TreeStore,
  entries: readonly AskedEntry[],
  options?: PutOptions,
): number {
  const seq = store.change(entries, options);
  for (const { tree, key } of store.takeSparse()) mergeAround(store, tree, key);
  return seq;
}

/** Whether anything was merged. */
function mergeUpwards(store: TreeStore, tree: BlobId, key: Key): boolean {
  let merged = false;
  for (let level = 0; ; level++) {
    const outcome = attempt(store, (op) => mergeLevel(store, op, tree, key, level));
    if (outcome === 'nothing') return merged;
    merged ||= outcome === 'merged';
  }
}

function collapse(store: TreeStore, tree: BlobId): boolean {
  return attempt(store, (op) => collapseRoot(store, op, tree)) === 'merged';
}

/** Merging is worth no waiting: where it would have to, it is left for the next time. */
function attempt({ log }: TreeStore, step: (op: Op) => Outcome): Outcome {
  try {
    return log.transactions.change(step, { owner: TREE_OWNER });
  } catch (error) {
    const { code } = error as WeirpoolError;
    const gone = code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE';
    if (gone || error instanceof RestartError) return 'nothing';
    throw error;
  }
}

function mergeLevel(store: TreeStore, op: Op, tree: BlobId, key: Key, level: number): Outcome {
  const { nodes, descent } = store;
  nodes.setKey(key);
  if (descent.heightOf(tree) <= level) return 'nothing';
  const parentId = descent.with(tree, level + 1, (_frame, id) => id);
  const parent = op.write(parentId).frameIndex;
  if (nodes.covers(parent) !== 1 || nodes.levelOf(parent) !== level + 1) throw changedError();
  const slot = nodes.childSlot(parent);
  const count = nodes.countOf(parent);
  if (slot < 0) throw nodeCorrupt(parentId, tree);
  if (count === 1) return 'alone';
  for (const at of [slot, slot - 1]) {
    if (at < 0 || at + 1 >= count) continue;
    const lower = nodes.childAt(parent, at);
    const upper = nodes.childAt(parent, at + 1);
    if (lower === 0 || upper === 0) throw nodeCorrupt(parentId, tree);
    if (!fitTogether(store, op, tree, lower, upper)) continue;
    commitMerge(store, op, { tree, parent: parentId, lower, upper });
    return 'merged';
  }
  return 'nothing';
}

function fitTogether(
  { nodes }: TreeStore,
  op: Op,
  tree: BlobId,
  lower: BlobId,
  upper: BlobId,
): boolean {
  const capacity = nodeCapacity(nodes);
  let live = 0;
  for (const id of [lower, upper]) {
    const bytes = nodes.liveOf(op.write(id).frameIndex);
    if (bytes < 0) throw nodeCorrupt(id, tree);
    live += bytes;
  }
  return live <= capacity * FULL_SHARE;
}

function collapseRoot(store: TreeStore, op: Op, tree: BlobId): Outcome {
  const { nodes } = store;
  const root = op.write(tree).frameIndex;
  if (nodes.levelOf(root) === 0 || nodes.countOf(root) !== 1) return 'nothing';
  commitMerge(store, op, { tree, parent: tree, lower: tree, upper: nodes.childAt(root, 0) });
  return 'merged';
}

function commitMerge(store: TreeStore, op: Op, merge: Omit<MergeRecord, 'type'>): void {
  applyMerge(store, op, merge, () => op.seal(RECORD_BYTES));
  op.commit(encodeMerge(merge));
}

/** Does what a merge's record says. `seal` is called when all three nodes are held. */
export function applyMerge(
  { nodes }: TreeStore,
  op: Op,
  { tree, parent, lower, upper }: Omit<MergeRecord, 'type'>,
  seal: () => void,
): void {
  const parentFrame = op.write(parent).frameIndex;
  const lowerFrame = op.write(lower).frameIndex;
  const upperFrame = op.write(upper).frameIndex;
  const slot = lower === parent ? -1 : slotOf(nodes, parentFrame, upper);
  op.delete(upper);
  seal();
  if (lower === parent) {
    nodes.copyNode(parentFrame, upperFrame);
    return;
  }
  if (nodes.merge(lowerFrame, upperFrame) !== 0) throw nodeCorrupt(lower, tree);
  if (slot < 0 || nodes.remove(parentFrame, slot) !== 0) throw nodeCorrupt(parent, tree);
}

function slotOf(nodes: TreeStore['nodes'], parent: number, child: BlobId): number {
  const count = nodes.countOf(parent);
  for (let slot = 0; slot < count; slot++) if (nodes.childAt(parent, slot) === child) return slot;
  return -1;
}
