/**
 * The new store that a salvage fills: trees by the ids that their roots had in the old one.
 *
 * Owns:        which old tree has which name in the new store.
 * Invariants:  no two old trees get one name; a tree whose name is lost is named after its old root.
 * Threads:     private to the caller.
 */
import { Buffer } from 'node:buffer';
import type { BlobId } from '../store/contract.ts';
import type { LogRecord } from '../wal/format.ts';
import { readCatalogEntry } from './catalog.ts';
import { decodeRecord, FLAG_NEW_CATALOG, RECORD_CHANGE, RECORD_CLEAR } from './record.ts';
import type { CatalogTree } from './salvage-index.ts';
import { TREE_OWNER } from './store.ts';
import type { Tree } from './tree.ts';
import type { Weirpool } from './weirpool.ts';

/** Names of trees whose own are lost. */
export const RECOVERED_PREFIX = 'recovered-';

export class SalvageTarget {
  readonly #db: Weirpool;
  readonly #trees = new Map<BlobId, Tree>();
  /** Trees of which nothing but changes in the log is known. */
  readonly unknown: Set<BlobId> = new Set();
  /** Trees that were dropped, or were being dropped. */
  readonly #dropped = new Set<BlobId>();
  #catalog: BlobId | undefined;

  constructor(db: Weirpool, catalog: BlobId | undefined) {
    this.#db = db;
    this.#catalog = catalog;
  }

  /** Makes the trees of the catalog; gives those that have another name already. */
  add(trees: readonly CatalogTree[]): CatalogTree[] {
    return trees.filter((tree) => {
      const isThere = this.#trees.has(tree.root);
      if (tree.dropping) this.#dropped.add(tree.root);
      else this.#bind(tree.root, tree.name);
      return isThere;
    });
  }

  #bind(root: BlobId, name: Uint8Array): void {
    if (this.#trees.has(root)) return;
    const text = Buffer.from(name).toString('utf8');
    const isText = Buffer.compare(Buffer.from(text), name) === 0;
    this.#trees.set(root, this.#db.tree(this.#freeName(isText ? text : RECOVERED_PREFIX + root)));
  }

  #freeName(wanted: string): string {
    let name = wanted;
    while (this.#db.hasTree(name)) name += '-';
    return name;
  }

  /** Undefined: it was dropped, or is the catalog. */
  tree(root: BlobId): Tree | undefined {
    if (root === this.#catalog || this.#dropped.has(root)) return undefined;
    let tree = this.#trees.get(root);
    if (tree === undefined) {
      tree = this.#db.tree(this.#freeName(RECOVERED_PREFIX + root));
      this.#trees.set(root, tree);
    }
    return tree;
  }

  /** All trees that there are, with the ids that their roots had. */
  get trees(): ReadonlyMap<BlobId, Tree> {
    return this.#trees;
  }

  // --- the log -------------------------------------------------------------------------------------------

  /** Does a record of the log again; false if it is none of the trees. Errors as `decodeRecord`. */
  apply({ owner, payload, created }: LogRecord): boolean {
    if (owner !== TREE_OWNER) return false;
    const record = decodeRecord(payload);
    if (record.type === RECORD_CLEAR) {
      const { tree, low, high } = record;
      this.#treeOf(tree)?.clear(high === undefined ? { gte: low } : { gte: low, lt: high });
    }
    // Where nodes were merged or split is nothing to a new store.
    if (record.type !== RECORD_CHANGE) return true;
    if ((record.flags & FLAG_NEW_CATALOG) !== 0) this.#catalog = created[0];
    for (const { tree, key, value } of record.entries) {
      const name = Buffer.from(key);
      if (tree === this.#catalog) this.#changeCatalog(name, value);
      else if (value === undefined) this.#treeOf(tree)?.delete(name);
      else this.#treeOf(tree)?.put(name, value);
    }
    return true;
  }

  #treeOf(root: BlobId): Tree | undefined {
    if (!Number.isSafeInteger(root) || root <= 0) return undefined;
    const known = this.#trees.has(root);
    const tree = this.tree(root);
    if (!known && tree !== undefined) this.unknown.add(root);
    return tree;
  }

  #changeCatalog(name: Buffer, value: Uint8Array | undefined): void {
    if (value === undefined) return; // It was being dropped before that.
    const entry = readCatalogEntry(value);
    if (entry === undefined) return;
    if (entry.dropping) this.#drop(entry.root);
    else this.#bind(entry.root, name);
  }

  #drop(root: BlobId): void {
    const tree = this.#trees.get(root);
    if (tree !== undefined) this.#db.dropTree(tree.name);
    this.#trees.delete(root);
    this.#dropped.add(root);
  }
}
