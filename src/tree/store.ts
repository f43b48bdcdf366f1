/**
 * Trees as one thread has them: looking up, changing, doing again.
 *
 * Owns:        the thread's search key and scratch areas, by NodeAccess.
 * Invariants:  what an optimistic look gives is copied before it is validated, and counts after it;
 *              D1   the leaf is found before the mini-transaction holds anything.
 * Threads:     one object for each thread of a pool.
 */
import { Buffer } from 'node:buffer';
import {
  H_LOG_DURABLE,
  NODE_CORRUPT,
  OPERATION_DELETE,
  OPERATION_PUT,
} from '../generated/layout.ts';
import type { PoolCore } from '../pool/core.ts';
import type { PoolLog } from '../pool/pool-log.ts';
import type { BlobId } from '../store/contract.ts';
import type { Op } from '../txn/op.ts';
import type { DurabilityLevel } from '../wal/durability.ts';
import { Batch, type BatchHost, type SparsePlace } from './batch.ts';
import {
  type AskedEntry,
  type Entry,
  entryBytes,
  type Guard,
  inlineBytesMax,
  inOrder,
  nodeCapacity,
  TreeChange,
} from './change.ts';
import { UTF8_BYTES_MAX } from './codec.ts';
import { ATTEMPTS_MAX, changedError, Descent, nodeCorrupt } from './descent.ts';
import { NodeAccess, RECORD_HEADER_BYTES } from './node-access.ts';
import {
  isOverflow,
  missingOverflow,
  overflowBlobs,
  type Reference,
  readOverflow,
  readReference,
} from './overflow.ts';
import {
  changeBytes,
  ENTRY_HEADER_BYTES,
  encodeChange,
  encodeSplit,
  planBytes,
  RECORD_CHANGE,
  splitBytes,
  TREE_RECORD_VERSION,
} from './record.ts';

/** Owner of all trees' records and of the catalog's root. */
export const TREE_OWNER = 1;
/** Longest value of which the record is made in the scratch area. */
const RECORD_OVERHEAD_BYTES = 8 * 1024;
/** A leaf and a parent that split, a root that grows, and what they split into. */
const NODES_OF_PUT_MAX = 7;
const SHORT_VALUE_BYTES = 8 * 1024;
/** A leaf whose entries take less than this share of its room is merged, if a neighbour has room. */
const SPARSE_SHARE = 1 / 4;

export type Key = Uint8Array | string;

/** Decides what a change does with what is there; runs with the leaf latched, may run again. */
export type Decide = (current: Buffer | undefined) => Uint8Array | undefined | false;

/** Reads a value in place: `bytes` from `start` to `end`. */
export type ReadValue<T> = (bytes: Uint8Array, start: number, end: number) => T;

export interface PutOptions {
  /** Blocks the thread until the change is so safe. Default `none`. */
  readonly durability?: DurabilityLevel;
}

/** Of this thread's own ways to change: `flush` false leaves waiting for `flushBytes` to the caller. */
export interface InternalPutOptions extends PutOptions {
  readonly flush?: boolean;
}

export interface Deleted {
  readonly seq: number;
  readonly existed: boolean;
  readonly isSparse: boolean;
}

export class TreeStore implements BatchHost {
  readonly core: PoolCore;
  readonly log: PoolLog;
  readonly nodes: NodeAccess;
  readonly descent: Descent;
  readonly #inlineMax: number;
  readonly #sparse: number;
  readonly #flushBytes: number;
  readonly #changeShort: (op: Op) => number;
  readonly #batch: Batch;
  // The short change under way.
  #tree: BlobId = 0;
  #value: Uint8Array | undefined;
  #guard: Guard | undefined;
  #refused = false;
  #existed = false;
  #isSparse = false;
  /** Leaves that the last batch has left sparse, or may have. */
  #left: readonly SparsePlace[] = NO_PLACES;

  constructor(core: PoolCore, log: PoolLog, flushBytes?: number) {
    this.#flushBytes = flushBytes ?? Number.POSITIVE_INFINITY;
    this.core = core;
    this.log = log;
    this.nodes = new NodeAccess(core.memory, core.me);
    this.descent = new Descent(core, this.nodes);
    this.#inlineMax = inlineBytesMax(this.nodes);
    this.#sparse = nodeCapacity(this.nodes) * (1 - SPARSE_SHARE);
    // One closure for all changes: a new one each time costs more than the call.
    this.#changeShort = (op) => this.#applyShort(op);
    this.#batch = new Batch(this, log.transactions);
  }

  // --- looking up ------------------------------------------------------------------------------------

  /** A copy of the value, undefined if there is none. */
  get(tree: BlobId, key: Key): Buffer | undefined {
    const { nodes, descent } = this;
    const { control } = this.core;
    nodes.setKey(key);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const frame = descent.tryTo(tree, 0);
      if (frame < 0) break;
      const found = nodes.leafGet(frame);
      if (found === 1 && !isOverflow(nodes.valueWord)) {
        const length = nodes.valueWord;
        const from = nodes.offsetOf(frame) + nodes.valueOffset;
        const value = Buffer.allocUnsafe(length);
        value.set(nodes.arenaBytes(frame).subarray(from, from + length));
        if (control.validate(frame, descent.version) !== 0) return value;
      } else if (control.validate(frame, descent.version) !== 0) {
        if (found === 0) return undefined;
        if (found < 0) throw nodeCorrupt(descent.id, tree);
        break;
      }
      this.core.noteRestart();
    }
    return this.#copyOf(tree, key);
  }

  /** The same with latches on the way. A long value is read after them: that may wait for frames. */
  #copyOf(tree: BlobId, key: Key): Buffer | undefined {
    const { nodes, descent } = this;
    for (;;) {
      nodes.setKey(key);
      const found = descent.with(tree, 0, (frame, id) => this.#valueOrReference(tree, frame, id));
      if (found === undefined || found instanceof Uint8Array) return found;
      try {
        return readOverflow(this.core, tree, found);
      } catch (error) {
        const { code } = error as { code?: string };
        // The key was changed since. Its blobs never are, and an id is never used again.
        if (code !== 'BLOB_NOT_FOUND' && code !== 'BLOB_GONE') throw error;
        if (this.#isStill(tree, key, found)) throw error;
        this.core.noteRestart();
      }
    }
  }

  /** Whether the key has that very value. */
  #isStill(tree: BlobId, key: Key, { first }: Reference): boolean {
    this.nodes.setKey(key);
    const now = this.descent.with(tree, 0, (frame, id) => this.#valueOrReference(tree, frame, id));
    return now !== undefined && !(now instanceof Uint8Array) && now.first === first;
  }

  #valueOrReference(tree: BlobId, frame: number, id: BlobId): Buffer | Reference | undefined {
    const { nodes } = this;
    const found = nodes.leafGet(frame);
    if (found < 0) throw nodeCorrupt(id, tree);
    if (found === 0) return undefined;
    if (!isOverflow(nodes.valueWord)) return this.valueOf(tree, frame);
    return readReference(nodes.bytesOf(frame), nodes.valueOffset);
  }

  /** The leaf's latch is held; a long value is read while it is. */
  #copyValue(tree: BlobId, frame: number, id: BlobId): Buffer | undefined {
    const { nodes } = this;
    const found = nodes.leafGet(frame);
    if (found < 0) throw nodeCorrupt(id, tree);
    return found === 0 ? undefined : this.valueOf(tree, frame);
  }

  /** A copy of the value that `nodes` has just found in a leaf that holds still. */
  valueOf(tree: BlobId, frame: number): Buffer {
    const { nodes } = this;
    const bytes = nodes.bytesOf(frame);
    const { valueOffset: from, valueWord } = nodes;
    if (isOverflow(valueWord)) return readOverflow(this.core, tree, readReference(bytes, from));
    const value = Buffer.allocUnsafe(valueWord);
    value.set(bytes.subarray(from, from + valueWord));
    return value;
  }

  overflow(tree: BlobId, reference: Reference): Buffer {
    return readOverflow(this.core, tree, reference);
  }

  has(tree: BlobId, key: Key): boolean {
    const { nodes, descent } = this;
    const { control } = this.core;
    nodes.setKey(key);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const frame = descent.tryTo(tree, 0);
      if (frame < 0) break;
      const found = nodes.find(frame);
      if (control.validate(frame, descent.version) === 0) continue;
      if (found < 0) throw nodeCorrupt(descent.id, tree);
      return (found & 1) === 1;
    }
    return descent.with(tree, 0, (frame, id) => {
      const found = nodes.find(frame);
      if (found < 0) throw nodeCorrupt(id, tree);
      return (found & 1) === 1;
    });
  }

  /**
   * Reads a value in place. `look` may run several times and may see bytes that are changing: what it
   * returns or throws counts only once they have been found untouched.
   */
  read<T>(tree: BlobId, key: Key, look: ReadValue<T>): T | undefined {
    const { nodes, descent } = this;
    const { control } = this.core;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      // Each time: `look` may have looked up something else.
      nodes.setKey(key);
      const frame = descent.tryTo(tree, 0);
      if (frame < 0) break;
      const { version } = descent;
      const found = nodes.leafGet(frame);
      if (found !== 1 || isOverflow(nodes.valueWord)) {
        if (control.validate(frame, version) === 0) continue;
        if (found === 0) return undefined;
        if (found < 0) throw nodeCorrupt(descent.id, tree);
        break;
      }
      const start = nodes.offsetOf(frame) + nodes.valueOffset;
      try {
        const result = look(nodes.arenaBytes(frame), start, start + nodes.valueWord);
        if (control.validate(frame, version) !== 0) return result;
      } catch (error) {
        if (control.validate(frame, version) !== 0) throw error;
      }
      this.core.noteRestart();
    }
    const copy = this.#copyOf(tree, key);
    return copy === undefined ? undefined : look(copy, 0, copy.length);
  }

  /**
   * Longest value: the largest record's payload less what a record has beside.
   *
   * @throws {RangeError}
   */
  assertValue(value: Uint8Array | string): void {
    const max = this.valueBytesMax;
    const most = typeof value === 'string' ? value.length * UTF8_BYTES_MAX : value.length;
    if (most <= max) return;
    const length = Buffer.byteLength(value);
    if (length <= max) return;
    throw new RangeError(
      `A value has at most ${max} bytes here, not ${length}. Open the store with ` +
        'a larger `log.ringBytes`, or cut it up.',
    );
  }

  get valueBytesMax(): number {
    return this.log.ring.payloadBytesMax - RECORD_OVERHEAD_BYTES;
  }

  /**
   * Makes sure that the largest value can be put.
   *
   * @throws {RangeError} too few frames.
   */
  assertFrames(): void {
    const { frames, blobBytes } = this.core.memory.shared;
    const needed = overflowBlobs(this.valueBytesMax, blobBytes) + NODES_OF_PUT_MAX;
    if (Math.floor(frames / 2) >= needed) return;
    throw new RangeError(
      `The largest value of ${this.valueBytesMax} bytes takes ${needed} frames at once, and a change may ` +
        `have half of the ${frames}. Open the store with at least ${needed * 2} frames, or with a ` +
        'smaller `log.ringBytes`.',
    );
  }

  // --- changing --------------------------------------------------------------------------------------

  /** Puts a value: the seq of its record. */
  put(tree: BlobId, key: Key, value: Uint8Array, options?: InternalPutOptions): number {
    const { nodes } = this;
    nodes.setKey(key);
    const short = value.length <= SHORT_VALUE_BYTES;
    if (short && nodes.keyBytes + value.length <= this.#inlineMax) {
      this.#tree = tree;
      this.#value = value;
      const seq = this.log.transactions.change(this.#changeShort, this.#options(options));
      if (seq !== 0) return this.#flushed(seq, options);
    }
    return this.change([{ tree, key, value }], options);
  }

  /** Waits until the change is on the disk if too much is not. */
  #flushed(seq: number, options?: InternalPutOptions): number {
    if (options?.flush !== false && this.isFlushDue(seq)) {
      this.log.durability.durableSync(seq, 'synced');
    }
    return seq;
  }

  /** Waits until this thread's changes are on the disk if too much is not. */
  flushIfDue(): void {
    this.#flushed(this.log.durability.lastSeq);
  }

  /** Whether more than `flushBytes` of records are not on the disk. */
  isFlushDue(seq: number): boolean {
    if (this.#flushBytes === Number.POSITIVE_INFINITY) return false;
    return seq - this.core.memory.loadU64(H_LOG_DURABLE) > this.#flushBytes;
  }

  /** A blob that reading a key takes and that is not in the pool; 0 if nothing is missing. */
  missingFor(tree: BlobId, key: Key): BlobId {
    const { nodes, descent } = this;
    nodes.setKey(key);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const frame = descent.tryTo(tree, 0);
      if (frame < 0) {
        if (descent.missing !== 0) return descent.missing;
        continue;
      }
      const isLong = nodes.leafGet(frame) === 1 && isOverflow(nodes.valueWord);
      const reference = isLong && readReference(nodes.bytesOf(frame), nodes.valueOffset);
      if (this.core.control.validate(frame, descent.version) === 0) continue;
      return reference === false ? 0 : missingOverflow(this.core, reference);
    }
    return 0;
  }

  #options({ durability = 'none' }: PutOptions = {}): {
    owner: number;
    durability: DurabilityLevel;
  } {
    return durability === 'none' ? LAZY : { owner: TREE_OWNER, durability };
  }

  /**
   * Deletes a key: whether it was there, the seq, and whether the leaf may be merged with a neighbour
   * now.
   */
  delete(tree: BlobId, key: Key, options?: PutOptions): Deleted {
    this.nodes.setKey(key);
    this.#tree = tree;
    this.#value = undefined;
    this.#existed = false;
    this.#isSparse = false;
    let seq = this.log.transactions.change(this.#changeShort, this.#options(options));
    if (seq === 0 && this.#existed) {
      // A long value, which somebody else may have deleted since.
      const drop = (current: Buffer | undefined): undefined | false =>
        current === undefined ? false : undefined;
      seq = this.update(tree, key, drop, options) ?? 0;
      this.#isSparse = true;
    }
    const existed = seq !== 0;
    if (!existed) return { seq: this.log.durability.lastSeq, existed, isSparse: false };
    return { seq: this.#flushed(seq), existed, isSparse: this.#isSparse };
  }

  /** A change of one leaf that needs no room made: its seq; 0 when it takes more than that. */
  #applyShort(op: Op): number {
    const { nodes } = this;
    const tree = this.#tree;
    const value = this.#value;
    const frame = this.latchLeaf(op, tree);
    const found = nodes.find(frame);
    if (found < 0) throw nodeCorrupt(this.descent.id, tree);
    const isThere = (found & 1) === 1;
    this.#existed = isThere;
    if (value === undefined && !isThere) return 0;
    if (isThere && (nodes.valueAt(frame, found >> 1) !== 1 || isOverflow(nodes.valueWord)))
      return 0;
    const guard = this.#guard;
    if (guard !== undefined && !this.#holds(guard, frame, isThere)) return 0;
    const valueBytes = value?.length ?? 0;
    const keyBytes = nodes.keyBytes;
    const inPlace = isThere && nodes.valueWord === valueBytes;
    if (value !== undefined && !inPlace && nodes.gapOf(frame) < entryBytes(keyBytes, valueBytes)) {
      return 0;
    }
    const { recordBytes: bytes, recordAt: at, recordView: view } = nodes;
    const end = RECORD_HEADER_BYTES + ENTRY_HEADER_BYTES + keyBytes;
    view.setUint32(at, TREE_RECORD_VERSION | (RECORD_CHANGE << 8), true);
    view.setUint32(at + 4, 1, true);
    view.setFloat64(at + 8, tree, true);
    const operation = value === undefined ? OPERATION_DELETE : OPERATION_PUT;
    view.setUint32(at + 16, operation | (keyBytes << 16), true);
    view.setUint32(at + 20, valueBytes, true);
    if (value !== undefined) bytes.set(value, at + end);
    op.seal(end + valueBytes);
    guard?.sealed();
    if (value === undefined) {
      nodes.remove(frame, found >> 1);
      this.#isSparse = this.#isWorthMerging(frame);
    } else {
      nodes.putValue(frame, at + end, valueBytes);
    }
    return op.commit(bytes.subarray(at, at + end + valueBytes));
  }

  /** Asks a guard; `nodes` has just found its entry, if there is one. */
  #holds(guard: Guard, frame: number, isThere: boolean): boolean {
    const { nodes } = this;
    if (!isThere) this.#refused = !guard.holds(undefined, 0);
    else if (!isOverflow(nodes.valueWord)) {
      this.#refused = !guard.holds(nodes.bytesOf(frame), nodes.valueOffset);
    } else this.#refused = !guard.holds(this.valueOf(guard.tree, frame), 0);
    return !this.#refused;
  }

  /** Whether the guard lets a change be made whose leaf is latched. */
  admits(guard: Guard, frame: number): boolean {
    const found = this.nodes.leafGet(frame);
    if (found < 0) throw nodeCorrupt(this.descent.id, guard.tree);
    return this.#holds(guard, frame, found === 1);
  }

  /** Makes changes at once if the guard holds, whose entry is one of them: the seq, or 0. */
  changeIf(entries: readonly Entry[], guard: Guard): number {
    const { transactions } = this.log;
    const [only] = entries as readonly [Entry];
    let seq = 0;
    this.#refused = false;
    if (entries.length > 1) {
      seq = this.#batch.run(entries, LAZY, guard);
      this.#left = this.#batch.sparse;
    } else if (only.value !== undefined && only.value.length <= SHORT_VALUE_BYTES) {
      this.nodes.setKey(only.key);
      this.#tree = only.tree;
      this.#value = only.value;
      this.#guard = guard;
      try {
        if (this.nodes.keyBytes + only.value.length <= this.#inlineMax) {
          seq = transactions.change(this.#changeShort, LAZY);
        }
      } finally {
        this.#guard = undefined;
      }
    }
    if (seq === 0 && !this.#refused) {
      const ordered = inOrder(entries);
      seq = transactions.change((op) => this.#commit(op, ordered, guard), LAZY);
      this.#left = seq === 0 ? NO_PLACES : placesOf(ordered);
    }
    return seq === 0 ? 0 : this.#flushed(seq);
  }

  /**
   * Whether a neighbour should be looked at. Not after each delete from a sparse leaf: the neighbour
   * may be full, or not cached.
   */
  #isWorthMerging(frame: number): boolean {
    const count = this.nodes.countOf(frame);
    return (count & (count - 1)) === 0 && this.isSparse(frame);
  }

  isSparse(frame: number): boolean {
    return this.nodes.roomOf(frame) > this.#sparse;
  }

  /** Leaves that the last `change` may have left sparse: see mergeAround. */
  takeSparse(): readonly SparsePlace[] {
    const sparse = this.#left;
    this.#left = NO_PLACES;
    return sparse;
  }

  /** Finds the leaf of the search key and latches it exclusively: its frame. */
  latchLeaf(op: Op, tree: BlobId, holdsNothing = true): number {
    const { nodes, descent } = this;
    let id = descent.tryId(tree, 0);
    for (let attempt = 1; id === 0 && attempt < ATTEMPTS_MAX; attempt++) {
      id = descent.tryId(tree, 0);
    }
    if (id === 0) {
      // Waiting for a latch while others are held could be for ever.
      if (!holdsNothing) throw changedError();
      id = descent.with(tree, 0, (_frame, found) => found);
    }
    descent.id = id;
    const frame = this.#write(op, id);
    const covers = nodes.covers(frame);
    // An id is never used again: whatever has changed, the blob is a node of this tree.
    if (covers === NODE_CORRUPT || !nodes.isNode(frame, tree)) throw nodeCorrupt(id, tree);
    if (covers !== 1 || nodes.levelOf(frame) !== 0) throw changedError();
    return frame;
  }

  #write(op: Op, id: BlobId): number {
    try {
      return op.write(id).frameIndex;
    } catch (error) {
      const { code } = error as { code?: string };
      // It was merged into another one since it was found.
      throw code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE' ? changedError() : error;
    }
  }

  /** Makes several changes at once, in order, atomically: their seq. */
  change(entries: readonly AskedEntry[], options?: InternalPutOptions): number {
    const { transactions } = this.log;
    const given = this.#options(options);
    let seq = entries.length > 1 ? this.#batch.run(entries, given) : 0;
    if (seq !== 0) {
      this.#left = this.#batch.sparse;
    } else {
      const ordered = inOrder(entries);
      seq = transactions.change((op) => this.#commit(op, ordered), given);
      this.#left = placesOf(ordered);
    }
    return this.#flushed(seq, options);
  }

  /** Does the record of a batch again; the caller commits. */
  replayBatch(payload: Uint8Array, op: Op): void {
    this.#batch.replay(payload, op);
  }

  /** Splits the leaf of a key, so that it has room. */
  splitLeaf(tree: BlobId, key: Uint8Array): void {
    this.log.transactions.change((op) => {
      const change = new TreeChange(this, op);
      if (!change.acquireSplit(tree, key)) return;
      op.seal(splitBytes(key) + planBytes(change.splitsMax));
      change.applySplit(tree, key);
      op.commit(encodeSplit({ tree, key, plan: change.plan }));
    }, LAZY);
  }

  /** The seq; 0, and nothing is done, when the guard does not hold. */
  #commit(op: Op, entries: readonly Entry[], guard?: Guard): number {
    if (guard !== undefined) {
      this.nodes.setKey(guard.key);
      if (!this.admits(guard, this.latchLeaf(op, guard.tree))) return 0;
    }
    const change = new TreeChange(this, op);
    change.acquire(entries);
    op.seal(changeBytes(entries) + planBytes(change.splitsMax));
    guard?.sealed();
    change.apply(entries);
    return op.commit(encodeChange({ entries, flags: 0, dropped: 0, plan: change.plan }));
  }

  /**
   * Changes a key depending on what is there: `decide` gives the new value, undefined to delete the
   * key, false to leave it. The seq, or undefined if it was left.
   */
  update(tree: BlobId, key: Key, decide: Decide, options?: PutOptions): number | undefined {
    const seq = this.log.transactions.change((op) => {
      this.nodes.setKey(key);
      const frame = this.latchLeaf(op, tree);
      const current = this.#copyValue(tree, frame, this.descent.id);
      const value = decide(current);
      if (value === false || (value === undefined && current === undefined)) return undefined;
      return this.#commit(op, [{ tree, key, value }]);
    }, this.#options(options));
    return seq === undefined ? undefined : this.#flushed(seq);
  }
}

const NO_PLACES: readonly SparsePlace[] = [];

/** Where entries were deleted. */
function placesOf(entries: readonly Entry[]): readonly SparsePlace[] {
  return entries
    .filter(({ value }) => value === undefined)
    .map(({ tree, key }) => ({ tree, key: Buffer.from(key as Uint8Array) }));
}

const LAZY = { owner: TREE_OWNER, durability: 'none' } as const;
