/**
 * One change of one or more trees: puts and deletes, with the splits that they take.
 *
 * Owns:        what the mini-transaction has of nodes: leaves, parents that get separators, new nodes
 *              in reserve.
 * Invariants:  D1   everything is acquired before the seal: how many nodes a split may take is known
 *                   by its bytes, and what was not needed is given back;
 *              R1   the record tells where each split was made, so that doing it again gives the same
 *                   nodes whatever decides about splits then;
 *              a root keeps its id: when it splits, its entries move into a node of their own.
 * Threads:     one at a time for each thread.
 */
import { Buffer } from 'node:buffer';
import { WeirpoolError } from '../errors.ts';
import { E_KEY, N_SLOT_BYTES, N_SLOTS } from '../generated/layout.ts';
import type { BlobId } from '../store/contract.ts';
import type { Op } from '../txn/op.ts';
import type { OpBlob } from '../txn/op-blob.ts';
import { asBytes } from './codec.ts';
import { ATTEMPTS_MAX, changedError, type Descent, nodeCorrupt } from './descent.ts';
import type { NodeAccess } from './node-access.ts';
import {
  deleteOverflow,
  isOverflow,
  overflowBlobs,
  REFERENCE_BYTES,
  REFERENCE_WORD,
  readReference,
  writeOverflow,
  writeReference,
} from './overflow.ts';
import { PLAN_IN_ORDER } from './record.ts';

/** A put, or with an undefined value a delete. */
export interface Entry {
  readonly tree: BlobId;
  readonly key: Uint8Array | string;
  readonly value: Uint8Array | undefined;
}

/** An entry as it was asked for: a string stands for its UTF-8. */
export interface AskedEntry extends Omit<Entry, 'value'> {
  readonly value: Uint8Array | string | undefined;
}

/** What a change depends on: an entry, as it is when the change has latched its leaf. */
export interface Guard {
  readonly tree: BlobId;
  readonly key: Uint8Array | string;
  /**
   * Whether the change is made. The entry's value begins in `bytes` at `at`; undefined: there is no
   * such entry. It may run several times, and has no effects but on a value that is about to be put.
   */
  holds(bytes: Uint8Array | undefined, at: number): boolean;
  /** The change is sealed: nothing can keep it from being made, and nobody sees it yet. */
  sealed(): void;
}

interface Node {
  readonly id: BlobId;
  readonly frame: number;
  readonly level: number;
  readonly tree: BlobId;
}

interface Leaf extends Node {
  /** Bytes that the entries of this change may take. */
  need: number;
  /** Some key that belongs to it. */
  readonly key: Uint8Array | string;
}

/** A node gets separators of nodes that split off below it. */
interface Parent extends Node {
  need: number;
  readonly key: Uint8Array | string;
}

/** Insertions in a row after which a split expects the next one to follow too. */
const RUN_MIN = 8;
/** A rebuild must free this share of the node, or it would be needed again at once. */
export const SLACK_SHARE: number = 1 / 16;
/** Largest share of a node's room that one entry may take: halves of a full node then take it. */
const ENTRY_SHARE = 4;

export interface ChangeParts {
  readonly nodes: NodeAccess;
  readonly descent: Descent;
}

/** Sizes that a node's room follows from. */
export type NodeSizes = Pick<NodeAccess, 'blobBytes' | 'keyBytesMax'>;

/** Bytes for entries and slots in an empty node, whatever its bounds. */
export function nodeCapacity(nodes: NodeSizes): number {
  return nodes.blobBytes - N_SLOTS - 2 * nodes.keyBytesMax;
}

/** Bytes of a key and a value that fit into a leaf; longer values overflow. */
export function inlineBytesMax(nodes: NodeSizes): number {
  return Math.floor(nodeCapacity(nodes) / ENTRY_SHARE) - N_SLOT_BYTES - E_KEY;
}

export function entryBytes(keyBytes: number, valueBytes: number): number {
  return N_SLOT_BYTES + E_KEY + keyBytes + valueBytes;
}

/**
 * The entries in the order of their keys, without those whose key comes again later. Order, because a
 * split behind all keys leaves the lower part full: what came before it then would split that again,
 * and more than `TreeChange` has foreseen.
 */
export function inOrder(asked: readonly AskedEntry[]): readonly Entry[] {
  const entries = asked.map(withBytes);
  if (entries.length < 2) return entries;
  const last = new Map<string, { readonly entry: Entry; readonly text: string }>();
  for (const entry of entries) {
    const text = Buffer.from(entry.key as Uint8Array).toString('latin1');
    last.set(`${entry.tree} ${text}`, { entry, text });
  }
  return [...last.values()]
    .sort((a, b) => a.entry.tree - b.entry.tree || (a.text < b.text ? -1 : 1))
    .map(({ entry }) => entry);
}

function withBytes({ tree, key, value }: AskedEntry): Entry {
  return { tree, key, value: value === undefined ? undefined : asBytes(value) };
}

export class TreeChange {
  readonly #nodes: NodeAccess;
  readonly #descent: Descent;
  readonly #op: Op;
  readonly #capacity: number;
  readonly #inlineMax: number;
  /** Splits that were made; in a replay, those that are to be made. */
  readonly plan: number[] = [];
  readonly #replayed: number[] | undefined;
  readonly #leaves = new Map<BlobId, Leaf>();
  /** Held inner nodes by tree and level. */
  readonly #inner = new Map<BlobId, Parent[][]>();
  /** New nodes and those that were split off, beside the held ones. */
  readonly #fresh: Node[] = [];
  #reserve: OpBlob[] = [];
  readonly #overflow: OpBlob[][] = [];
  #last: Leaf | undefined;
  /** By the index of the entry; a split may have moved it on. */
  readonly #leafOfEntry: Leaf[] = [];

  constructor({ nodes, descent }: ChangeParts, op: Op, replayed?: number[]) {
    this.#nodes = nodes;
    this.#descent = descent;
    this.#op = op;
    this.#replayed = replayed;
    this.#capacity = nodeCapacity(nodes);
    this.#inlineMax = inlineBytesMax(nodes);
  }

  // --- acquiring -------------------------------------------------------------------------------------

  /** Acquires what the entries, which are in the order of their keys, need; the op is sealed next. */
  acquire(entries: readonly Entry[]): void {
    for (const { key, value } of entries) {
      if (value !== undefined) this.#acquireOverflow(key, value);
    }
    for (const entry of entries) this.#acquireLeaf(entry);
    for (const leaf of this.#leaves.values()) this.#acquireRoom(leaf);
    this.#acquireParents();
  }

  #acquireOverflow(key: Uint8Array | string, value: Uint8Array): void {
    this.#nodes.setKey(key);
    if (this.#nodes.keyBytes + value.length <= this.#inlineMax) return;
    const count = overflowBlobs(value.length, this.#nodes.blobBytes);
    this.#overflow.push(Array.from({ length: count }, () => this.#op.create()));
  }

  #acquireLeaf({ tree, key, value }: Entry): void {
    const nodes = this.#nodes;
    nodes.setKey(key);
    let leaf = this.#last;
    if (leaf === undefined || leaf.tree !== tree || nodes.covers(leaf.frame) !== 1) {
      leaf = this.#leafOf(tree, key);
      this.#last = leaf;
    }
    this.#leafOfEntry.push(leaf);
    if (value !== undefined) leaf.need += this.#needOf(value);
    const found = nodes.find(leaf.frame);
    if (found < 0) throw nodeCorrupt(leaf.id, tree);
    if ((found & 1) === 1) this.#dropOverflow(leaf, found >> 1);
  }

  #needOf(value: Uint8Array): number {
    const keyBytes = this.#nodes.keyBytes;
    const inline = keyBytes + value.length <= this.#inlineMax;
    return entryBytes(keyBytes, inline ? value.length : REFERENCE_BYTES);
  }

  /** The blobs of a value that is about to be replaced or deleted. */
  #dropOverflow({ frame, id, tree }: Leaf, slot: number): void {
    const nodes = this.#nodes;
    if (nodes.valueAt(frame, slot) !== 1) throw nodeCorrupt(id, tree);
    if (!isOverflow(nodes.valueWord)) return;
    const reference = readReference(nodes.bytesOf(frame), nodes.valueOffset);
    deleteOverflow(this.#op, tree, reference);
  }

  #leafOf(tree: BlobId, key: Uint8Array | string): Leaf {
    const id = this.#idOf(tree, 0, (held) => this.#op.holds(held));
    const there = this.#leaves.get(id);
    if (there !== undefined) return there;
    const node = this.#hold(id, tree, 0);
    const leaf = { ...node, need: 0, key };
    this.#leaves.set(id, leaf);
    return leaf;
  }

  /** Id of the node at a level that the search key belongs to. */
  #idOf(tree: BlobId, level: number, isHeld: (id: BlobId) => boolean): BlobId {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const id = this.#descent.tryId(tree, level, isHeld);
      if (id !== 0) return id;
    }
    throw changedError();
  }

  /** Latches a node exclusively and makes sure that the search key still belongs to it. */
  #hold(id: BlobId, tree: BlobId, level: number): Node {
    const nodes = this.#nodes;
    const { frameIndex: frame } = this.#write(id);
    if (!nodes.isNode(frame, tree)) throw nodeCorrupt(id, tree);
    const covers = nodes.covers(frame);
    if (covers === -2) throw nodeCorrupt(id, tree);
    if (covers !== 1 || nodes.levelOf(frame) !== level) throw changedError();
    return { id, frame, level, tree };
  }

  #write(id: BlobId): OpBlob {
    try {
      return this.#op.write(id);
    } catch (error) {
      const { code } = error as WeirpoolError;
      // It was merged into another one since it was found.
      throw code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE' ? changedError() : error;
    }
  }

  /** Whether the entry's key is there already; acquired, not sealed. */
  isThere({ tree, key }: Entry): boolean {
    this.#nodes.setKey(key);
    const { frame, id } = this.#nodeFor(tree, 0);
    const found = this.#nodes.find(frame);
    if (found < 0) throw nodeCorrupt(id, tree);
    return (found & 1) === 1;
  }

  // --- a split for itself -----------------------------------------------------------------------------

  /** Acquires what splitting the leaf of a key takes: whether it can be split. */
  acquireSplit(tree: BlobId, key: Uint8Array): boolean {
    this.#nodes.setKey(key);
    const leaf = this.#leafOf(tree, key);
    if (this.#nodes.countOf(leaf.frame) < 2) return false;
    this.#last = leaf;
    this.#acquireSplits(leaf, 1);
    this.#acquireParents();
    return true;
  }

  /** Splits the leaf; after the seal. */
  applySplit(tree: BlobId, key: Uint8Array): void {
    this.#nodes.setKey(key);
    this.#split(this.#nodeFor(tree, 0), key);
    this.#discardReserve();
  }

  // --- room --------------------------------------------------------------------------------------------

  #acquireRoom(leaf: Leaf): void {
    if (this.#fits(leaf, leaf.need)) return;
    this.#acquireSplits(leaf, this.#splitsOf(leaf, leaf.need));
  }

  #acquireSplits(leaf: Leaf, splits: number): void {
    this.#reserveNodes(splits);
    const keyMax = Math.max(this.#nodes.keyMaxOf(leaf.frame), this.#nodes.keyBytesMax / 8);
    this.#needParent(leaf, splits * entryBytes(this.#separatorMax(leaf, keyMax), 8));
  }

  /** Separators are parts of keys: of those that are there, or of those that come. */
  #separatorMax(leaf: Leaf, keyMax: number): number {
    return Math.min(this.#nodes.keyBytesMax, Math.max(keyMax, leaf.need, leaf.key.length));
  }

  #fits({ frame, id, tree }: Node, need: number): boolean {
    const room = this.#nodes.roomOf(frame);
    if (room < 0) throw nodeCorrupt(id, tree);
    return (
      room >= need + this.#nodes.blobBytes * SLACK_SHARE || room - this.#garbage(frame) >= need
    );
  }

  #garbage(frame: number): number {
    return this.#nodes.garbageOf(frame);
  }

  /** Nodes that may split off. Of a full node's parts each has a quarter of the capacity or more. */
  #splitsOf({ frame }: Node, need: number): number {
    if (need <= this.#capacity / ENTRY_SHARE) return 1;
    const live = this.#nodes.liveOf(frame);
    return Math.max(1, Math.ceil(((live + need) * ENTRY_SHARE) / this.#capacity));
  }

  #reserveNodes(count: number): void {
    if (this.#replayed !== undefined) return; // all that the record names
    for (let n = 0; n < count; n++) this.#reserve.push(this.#op.create());
  }

  #needParent(node: Node & { readonly key: Uint8Array | string }, need: number): void {
    if (node.id === node.tree) {
      this.#reserveNodes(1); // the root's entries move
      return;
    }
    this.#nodes.setKey(node.key);
    const parent = this.#parentOf(node);
    parent.need += need;
  }

  #parentOf({ id, tree, level, key }: Node & { readonly key: Uint8Array | string }): Parent {
    const nodes = this.#nodes;
    const held = this.#heldAt(tree, level + 1);
    let parent = held.find(({ frame }) => nodes.covers(frame) === 1);
    if (parent === undefined) {
      const isHeld = (other: BlobId): boolean => other === id;
      const found = this.#idOf(tree, level + 1, isHeld);
      parent = { ...this.#hold(found, tree, level + 1), need: 0, key };
      held.push(parent);
    }
    if (nodes.childOf(parent.frame) !== id) throw changedError();
    return parent;
  }

  #heldAt(tree: BlobId, level: number): Parent[] {
    let levels = this.#inner.get(tree);
    if (levels === undefined) {
      levels = [];
      this.#inner.set(tree, levels);
    }
    levels[level] ??= [];
    return levels[level];
  }

  /** Parents that have no room for their separators split too, and so on upwards. */
  #acquireParents(): void {
    for (const levels of this.#inner.values()) {
      for (let level = 1; level < levels.length; level++) {
        for (const parent of levels[level] ?? []) this.#acquireParentRoom(parent);
      }
    }
  }

  #acquireParentRoom(parent: Parent): void {
    if (this.#fits(parent, parent.need)) return;
    const splits = this.#splitsOf(parent, parent.need);
    this.#reserveNodes(splits);
    this.#needParent(parent, splits * entryBytes(this.#nodes.keyBytesMax, 8));
  }

  /** After everything was acquired, in a replay: what else the record names is in reserve. */
  reserveNamed(count: number): void {
    for (let n = 0; n < count; n++) this.#reserve.push(this.#op.create());
  }

  /** Blobs for values, before those in reserve. */
  get overflowBlobs(): number {
    return this.#overflow.reduce((sum, { length }) => sum + length, 0);
  }

  /** Splits that there may be: so many words the plan takes. */
  get splitsMax(): number {
    return this.#reserve.length;
  }

  // --- applying, after the seal --------------------------------------------------------------------------

  apply(entries: readonly Entry[]): void {
    let overflows = 0;
    for (const [index, entry] of entries.entries()) {
      this.#last = this.#leafOfEntry[index];
      this.#nodes.setKey(entry.key);
      if (entry.value === undefined) this.#applyDelete(entry);
      else if (this.#nodes.keyBytes + entry.value.length <= this.#inlineMax) {
        this.#applyPut(entry, entry.value.length, entry.value);
      } else {
        const reference = new Uint8Array(REFERENCE_BYTES);
        const blobs = this.#overflow[overflows++] as OpBlob[];
        writeReference(reference, 0, writeOverflow(blobs, entry.value));
        this.#applyPut(entry, REFERENCE_WORD, reference);
      }
    }
    this.#discardReserve();
  }

  #discardReserve(): void {
    for (const blob of this.#reserve) this.#op.discard(blob);
    this.#reserve = [];
  }

  /** The held leaf, or what has split off from one, that the search key belongs to. */
  #nodeFor(tree: BlobId, level: number): Node {
    const nodes = this.#nodes;
    const isIt = (node: Node): boolean =>
      node.tree === tree && node.level === level && nodes.covers(node.frame) === 1;
    if (level === 0) {
      const last = this.#last;
      if (last !== undefined && this.plan.length === 0) return last;
      // A root that has grown is no leaf any more.
      if (last !== undefined && this.#leaves.has(last.id) && isIt(last)) return last;
      for (const leaf of this.#leaves.values()) if (isIt(leaf)) return leaf;
    } else {
      const held = this.#heldAt(tree, level).find(isIt);
      if (held !== undefined) return held;
    }
    const fresh = this.#fresh.find(isIt);
    if (fresh !== undefined) return fresh;
    throw new WeirpoolError('INVARIANT_BROKEN', `No held node of tree ${tree} takes a key.`);
  }

  #applyDelete({ tree }: Entry): void {
    const { frame, id } = this.#nodeFor(tree, 0);
    const found = this.#nodes.find(frame);
    if (found < 0 || ((found & 1) === 1 && this.#nodes.remove(frame, found >> 1) !== 0)) {
      throw nodeCorrupt(id, tree);
    }
  }

  #applyPut({ tree, key }: Entry, word: number, value: Uint8Array): void {
    const nodes = this.#nodes;
    for (;;) {
      const node = this.#nodeFor(tree, 0);
      const offset = nodes.put(node.frame, word);
      if (offset >= 0) {
        nodes.bytesOf(node.frame).set(value, offset);
        return;
      }
      if (offset !== -1) throw nodeCorrupt(node.id, tree);
      this.#makeRoom(node, entryBytes(nodes.keyBytes, value.length), key);
    }
  }

  /** Rebuilds the node, or splits it; then `key` is the search key again. */
  #makeRoom(node: Node, need: number, key: Uint8Array | string): void {
    const nodes = this.#nodes;
    const room = nodes.roomOf(node.frame);
    const slack = this.#reserve.length === 0 ? 0 : nodes.blobBytes * SLACK_SHARE;
    if (room >= need + slack && this.#garbage(node.frame) > 0) {
      if (nodes.compact(node.frame) !== 0) throw nodeCorrupt(node.id, node.tree);
      return;
    }
    this.#split(node, key);
    nodes.setKey(key);
  }

  #takeReserve(): OpBlob {
    const blob = this.#reserve.shift();
    if (blob !== undefined) return blob;
    throw new WeirpoolError(
      'INVARIANT_BROKEN',
      'A change of a tree takes more splits than foreseen.',
    );
  }

  #split(node: Node, key: Uint8Array | string): void {
    const nodes = this.#nodes;
    const { tree } = node;
    const lower = node.id === tree ? this.#growRoot(node) : node;
    nodes.setKey(key);
    const blob = this.#takeReserve();
    const separator = this.#splitInto(lower, blob.frameIndex);
    const upper = { id: blob.id, frame: blob.frameIndex, level: lower.level, tree };
    this.#fresh.push(upper);
    this.#putSeparator(upper, separator);
  }

  /** Splits the node where it is best, or where the plan says: the separator. */
  #splitInto({ frame, id, tree }: Node, upper: number): Uint8Array {
    const nodes = this.#nodes;
    const planned = this.#replayed?.[this.plan.length];
    const choices = planned === undefined ? this.#bestSplits(frame) : [planned];
    for (const at of choices) {
      const inOrder = at >= PLAN_IN_ORDER;
      const slot = inOrder ? at - PLAN_IN_ORDER : at;
      const separator = nodes.split(frame, slot, upper, inOrder);
      if (separator === undefined) continue;
      this.plan.push(at);
      return separator;
    }
    throw nodeCorrupt(id, tree);
  }

  /**
   * Where keys that come in order go on; else in the middle, as well when the lower part, which stays
   * full in the first case, has no room for its new bound.
   */
  #bestSplits(frame: number): number[] {
    const nodes = this.#nodes;
    const middle = nodes.middleOf(frame);
    const found = nodes.find(frame);
    if (middle < 0 || found < 0) return [];
    const position = found >> 1;
    const inOrder = nodes.runOf(frame) >= RUN_MIN && nodes.lastOf(frame) + 1 === position;
    const isNew = (found & 1) === 0;
    // Before the middle the upper part would stay full, and one split would make no room.
    return isNew && inOrder && position >= middle ? [position + PLAN_IN_ORDER, middle] : [middle];
  }

  #putSeparator(upper: Node, separator: Uint8Array): void {
    const nodes = this.#nodes;
    for (;;) {
      nodes.setKey(separator);
      const parent = this.#nodeFor(upper.tree, upper.level + 1);
      const offset = nodes.putChild(parent.frame, upper.id);
      if (offset >= 0) return;
      if (offset !== -1) throw nodeCorrupt(parent.id, upper.tree);
      this.#makeRoom(parent, entryBytes(separator.length, 8), separator);
    }
  }

  /** Moves the root's entries into a node of their own, which is its only child then. */
  #growRoot(root: Node): Node {
    const nodes = this.#nodes;
    const { tree, level } = root;
    const blob = this.#takeReserve();
    const moved = { id: blob.id, frame: blob.frameIndex, level, tree };
    nodes.copyNode(moved.frame, root.frame);
    nodes.init(root.frame, level + 1, tree);
    nodes.setKey('');
    if (nodes.putChild(root.frame, moved.id) < 0) throw nodeCorrupt(root.id, tree);
    if (level === 0) this.#leaves.delete(root.id);
    else this.#removeHeld(root);
    if (this.#last?.id === root.id) this.#last = undefined;
    this.#fresh.push(moved, { ...root, level: level + 1 });
    return moved;
  }

  /** Forgets a root at the level that it had, acquired so or grown in this very change. */
  #removeHeld({ tree, level, id }: Node): void {
    for (const nodes of [this.#heldAt(tree, level), this.#fresh]) {
      const at = nodes.findIndex((node) => node.id === id && node.level === level);
      if (at >= 0) nodes.splice(at, 1);
    }
  }
}
