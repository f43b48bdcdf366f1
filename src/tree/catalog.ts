/**
 * The catalog: names of trees, in a tree of its own.
 *
 * Owns:        the catalog's root, which is the root of owner TREE_OWNER; its entries: name -> f64 id
 *              of the tree's root, u8 state.
 * Invariants:  a tree and its entry are made by one record, and go by one record;
 *              a tree that is being dropped has no name any more for those who ask, and is dropped to
 *              its end by whoever comes next.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';
import { WeirpoolError } from '../errors.ts';
import type { BlobId } from '../store/contract.ts';
import type { Op } from '../txn/op.ts';
import type { Entry } from './change.ts';
import { TreeChange } from './change.ts';
import { clearRange } from './clear.ts';
import { COLLECT_KEYS, COLLECT_VALUES, Cursor, type ScanSource } from './cursor.ts';
import {
  changeBytes,
  encodeChange,
  FLAG_DROP_TREE,
  FLAG_NEW_CATALOG,
  FLAG_NEW_TREE,
  planBytes,
} from './record.ts';
import { TREE_OWNER, type TreeStore } from './store.ts';

const ENTRY_BYTES = 9;
const STATE_LIVE = 0;
const STATE_DROPPING = 1;

export interface CatalogEntry {
  readonly root: BlobId;
  readonly dropping: boolean;
}

function encodeEntry({ root, dropping }: CatalogEntry): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES);
  bytes.writeDoubleLE(root, 0);
  bytes[8] = dropping ? STATE_DROPPING : STATE_LIVE;
  return bytes;
}

/** What stands behind a name in the catalog; undefined: it has no known form. */
export function readCatalogEntry(bytes: Uint8Array): CatalogEntry | undefined {
  if (bytes.length !== ENTRY_BYTES) return undefined;
  const root = new DataView(bytes.buffer, bytes.byteOffset, ENTRY_BYTES).getFloat64(0, true);
  const state = bytes[8] as number;
  if (!Number.isSafeInteger(root) || root <= 0 || state > STATE_DROPPING) return undefined;
  return { root, dropping: state === STATE_DROPPING };
}

/** What the catalog has of a tree. Errors: `NODE_CORRUPT`. */
export function decodeEntry(bytes: Buffer): CatalogEntry {
  const entry = readCatalogEntry(bytes);
  if (entry !== undefined) return entry;
  throw new WeirpoolError(
    'NODE_CORRUPT',
    'The catalog of the trees has an entry of no known form.',
  );
}

export class Catalog {
  readonly #store: TreeStore;

  constructor(store: TreeStore) {
    this.#store = store;
  }

  #root(): BlobId {
    return this.#store.log.roots.get(TREE_OWNER) ?? this.make();
  }

  /**
   * Root of the catalog, which is made if it is missing: by the opener, before anybody else can
   * join. Nothing would keep two threads from making one each, and the trees in one of them would
   * be lost.
   *
   * @throws {WeirpoolError} `READ_ONLY`: there is none, and nobody may make it.
   */
  make(): BlobId {
    const { log, nodes } = this.#store;
    return log.transactions.change(
      (op) => {
        const there = log.roots.get(TREE_OWNER);
        if (there !== undefined) return there;
        const blob = op.create();
        op.setRoot(TREE_OWNER, blob.id);
        op.seal(changeBytes([]));
        nodes.init(blob.frameIndex, 0, blob.id);
        op.commit(encodeChange({ entries: [], flags: FLAG_NEW_CATALOG, dropped: 0, plan: [] }));
        return blob.id;
      },
      { owner: TREE_OWNER },
    );
  }

  /** Root of a tree, undefined if there is none of that name. */
  find(name: string): BlobId | undefined {
    const catalog = this.#store.log.roots.get(TREE_OWNER);
    if (catalog === undefined) return undefined;
    const bytes = this.#store.get(catalog, name);
    if (bytes === undefined) return undefined;
    const { root, dropping } = decodeEntry(bytes);
    return dropping ? undefined : root;
  }

  /** Root of a tree, which is made if it is missing. */
  open(name: string): BlobId {
    const catalog = this.#root();
    for (;;) {
      const found = this.find(name);
      if (found !== undefined) return found;
      this.endDrop(name);
      const made = this.#store.log.transactions.change((op) => this.#makeTree(op, catalog, name), {
        owner: TREE_OWNER,
      });
      if (made === undefined) continue;
      this.#store.flushIfDue();
      return made;
    }
  }

  #makeTree(op: Op, catalog: BlobId, name: string): BlobId | undefined {
    const { nodes } = this.#store;
    const root = op.create();
    const value = encodeEntry({ root: root.id, dropping: false });
    const entries: Entry[] = [{ tree: catalog, key: name, value }];
    const change = new TreeChange(this.#store, op);
    change.acquire(entries);
    // Only now nobody else can make it: the leaf of the catalog is latched.
    if (change.isThere(entries[0] as Entry)) return undefined;
    op.seal(changeBytes(entries) + planBytes(change.splitsMax));
    nodes.init(root.frameIndex, 0, root.id);
    change.apply(entries);
    op.commit(encodeChange({ entries, flags: FLAG_NEW_TREE, dropped: 0, plan: change.plan }));
    return root.id;
  }

  /** Names of all trees, in order. */
  names(): string[] {
    const catalog = this.#store.log.roots.get(TREE_OWNER);
    if (catalog === undefined) return [];
    return namesIn(this.#store, catalog);
  }

  /** Drops a tree with everything in it: whether there was one. */
  drop(name: string): boolean {
    const root = this.find(name);
    if (root === undefined) return this.endDrop(name);
    const catalog = this.#root();
    this.#store.put(catalog, name, encodeEntry({ root, dropping: true }));
    return this.endDrop(name);
  }

  /** Ends a drop that was begun: whether there was one. */
  endDrop(name: string): boolean {
    const catalog = this.#root();
    const bytes = this.#store.get(catalog, name);
    if (bytes === undefined) return false;
    const { root, dropping } = decodeEntry(bytes);
    if (!dropping) return false;
    clearRange(this.#store, root, { low: Buffer.alloc(0), high: undefined });
    this.#store.log.transactions.change((op) => this.#dropRoot(op, catalog, name, root), {
      owner: TREE_OWNER,
    });
    this.#store.flushIfDue();
    return true;
  }

  #dropRoot(op: Op, catalog: BlobId, name: string, root: BlobId): void {
    const entries: Entry[] = [{ tree: catalog, key: name, value: undefined }];
    const change = new TreeChange(this.#store, op);
    change.acquire(entries);
    if (!change.isThere(entries[0] as Entry) || !op.delete(root)) return;
    op.seal(changeBytes(entries) + planBytes(change.splitsMax));
    change.apply(entries);
    op.commit(encodeChange({ entries, flags: FLAG_DROP_TREE, dropped: root, plan: change.plan }));
  }
}

/** Names of the trees in a catalog, in order. */
export function namesIn(source: ScanSource, catalog: BlobId): string[] {
  const bounds = { low: undefined, lowExclusive: false, high: undefined, highInclusive: false };
  const options = { what: COLLECT_KEYS | COLLECT_VALUES, reverse: false };
  const cursor = new Cursor(source, catalog, bounds, options);
  const names: string[] = [];
  for (let batch = cursor.next(); batch !== undefined; batch = cursor.next()) {
    for (let index = 0; index < batch.count; index++) {
      const [keyAt = 0, valueAt = 0, end = 0] = batch.places.subarray(index * 3, index * 3 + 3);
      if (decodeEntry(batch.bytes.subarray(valueAt, end)).dropping) continue;
      names.push(batch.bytes.toString('utf8', keyAt, valueAt));
    }
  }
  return names;
}
