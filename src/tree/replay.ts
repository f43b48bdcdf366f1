/**
 * Doing the records of trees again after a crash.
 *
 * Owns:        nothing; it runs in the opener, before there are other threads.
 * Invariants:  R1   a record is done as it says: where splits were made, which nodes were merged, and
 *                   which ids new blobs got; nothing is decided anew.
 * Threads:     the opener.
 */
import type { Owner } from '../recovery/replay.ts';
import type { Op } from '../txn/op.ts';
import type { LogRecord } from '../wal/format.ts';
import { TreeChange } from './change.ts';
import { clearLeaf } from './clear.ts';
import { applyMerge } from './merge.ts';
import {
  type ChangeRecord,
  decodeRecord,
  FLAG_DROP_TREE,
  FLAG_NEW_CATALOG,
  FLAG_NEW_TREE,
  FLAG_RUNS,
  RECORD_CHANGE,
  RECORD_MERGE,
  RECORD_SPLIT,
  type SplitRecord,
} from './record.ts';
import { TREE_OWNER, type TreeStore } from './store.ts';

/** The owner of all trees' records; `store` is made when the first record comes. */
export function treeOwner(store: () => TreeStore): Owner {
  return {
    replay(record, op) {
      const change = decodeRecord(record.payload);
      if (change.type === RECORD_CHANGE) replayChange(store(), record, op, change);
      else if (change.type === RECORD_SPLIT) replaySplit(store(), record, op, change);
      else if (change.type === RECORD_MERGE) applyMerge(store(), op, change, () => op.seal());
      else clearLeaf(store(), op, change, () => op.seal());
      op.commit(record.payload);
    },
  };
}

function replayChange(store: TreeStore, record: LogRecord, op: Op, change: ChangeRecord): void {
  const { flags, entries, dropped, plan } = change;
  if ((flags & FLAG_RUNS) !== 0) {
    store.replayBatch(record.payload, op);
    return;
  }
  let created = record.created.length;
  const isNew = (flags & (FLAG_NEW_TREE | FLAG_NEW_CATALOG)) !== 0;
  const root = isNew ? op.create() : undefined;
  if (root !== undefined) {
    created--;
    if ((flags & FLAG_NEW_CATALOG) !== 0) op.setRoot(TREE_OWNER, root.id);
  }
  if ((flags & FLAG_DROP_TREE) !== 0) op.delete(dropped);
  const run = new TreeChange(store, op, [...plan]);
  run.acquire(entries);
  run.reserveNamed(created - run.overflowBlobs);
  op.seal();
  if (root !== undefined) store.nodes.init(root.frameIndex, 0, root.id);
  run.apply(entries);
}

function replaySplit(store: TreeStore, record: LogRecord, op: Op, split: SplitRecord): void {
  const { tree, key, plan } = split;
  const run = new TreeChange(store, op, [...plan]);
  run.acquireSplit(tree, key);
  run.reserveNamed(record.created.length);
  op.seal();
  run.applySplit(tree, key);
}
