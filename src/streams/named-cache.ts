/**
 * The cache of one store (Kafka: NamedCache): entries by key, the order in which they were used, and
 * the order in which dirty ones are flushed.
 *
 * Owns:        its entries; it knows no inner store.
 * Invariants:  the dirty entries are in the order of the last put of their keys; an entry stays dirty,
 *              and so in the cache, until it is told that this very put has landed in the inner store;
 *              a tombstone that has landed leaves the cache; what has left it is not dirty; the sum of bytes is that of the entries.
 * Threads:     private to a thread; no method waits.
 */
import { WeirpoolError } from '../errors.ts';
import { idOf } from './bytes.ts';
import { NO_CONTEXT, type RecordContext } from './context.ts';
import { SortedMap } from './sorted-map.ts';
import type { ThreadCache } from './thread-cache.ts';

/**
 * What an entry takes besides the bytes of its key and value: objects, views, places in the map, in
 * the order and in the set of dirty ones; measured as growth of the heap.
 */
export const ENTRY_OVERHEAD_BYTES = 400;

/** What is put: a value, or undefined for a tombstone. */
export interface CacheEntry {
  readonly value: Uint8Array | undefined;
  readonly isDirty: boolean;
  readonly context: RecordContext;
}

/** A key with its entry. */
export class CacheNode implements CacheEntry {
  readonly id: string;
  readonly key: Uint8Array;
  value: Uint8Array | undefined;
  context: RecordContext;
  isDirty = false;
  /** Number of its last put in this cache. */
  version = 0;
  /** Neighbours in the order of use. */
  newer: CacheNode | undefined = undefined;
  older: CacheNode | undefined = undefined;

  constructor(id: string, key: Uint8Array, { value, context }: CacheEntry) {
    this.id = id;
    this.key = key;
    this.value = value;
    this.context = context;
  }

  get bytes(): number {
    return this.key.length + (this.value?.length ?? 0) + ENTRY_OVERHEAD_BYTES;
  }
}

/** A put that is to be written through. */
export interface DirtyEntry {
  readonly node: CacheNode;
  readonly version: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly context: RecordContext;
}

/** Keys and values of a span at one moment, in the order that was asked for. */
export interface CachedRun {
  readonly keys: readonly Uint8Array[];
  readonly values: readonly (Uint8Array | undefined)[];
}

export const NOTHING: CachedRun = { keys: [], values: [] };

/** What a cache has counted. */
export interface CacheCounts {
  hits: number;
  misses: number;
  /** Puts of keys that were there. */
  overwrites: number;
  evictions: number;
}

export class NamedCache {
  readonly counts: CacheCounts = { hits: 0, misses: 0, overwrites: 0, evictions: 0 };
  readonly #thread: ThreadCache;
  readonly #nodes = new Map<string, CacheNode>();
  readonly #order = new SortedMap<CacheNode>();
  readonly #dirty = new Set<CacheNode>();
  #newest: CacheNode | undefined;
  #oldest: CacheNode | undefined;
  #bytes = 0;
  #version = 0;

  constructor(thread: ThreadCache) {
    this.#thread = thread;
  }

  get size(): number {
    return this.#nodes.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  /** Number of the last put. */
  get version(): number {
    return this.#version;
  }

  /** The entry that was used least recently: the next to be evicted. */
  /** @internal */
  get oldest(): CacheNode | undefined {
    return this.#oldest;
  }

  /** @internal */
  get newest(): CacheNode | undefined {
    return this.#newest;
  }

  /** Keys of dirty entries, in the order in which they are flushed. */
  dirtyKeys(): Uint8Array[] {
    return Array.from(this.#dirty, ({ key }) => key);
  }

  /** The entry, which is now the one used last. */
  get(key: Uint8Array, id: string = idOf(key)): CacheNode | undefined {
    const node = this.#nodes.get(id);
    if (node === undefined) {
      this.counts.misses++;
      return undefined;
    }
    this.counts.hits++;
    this.#promote(node);
    return node;
  }

  /** The entry, without a trace that somebody looked. */
  peek(key: Uint8Array, id: string = idOf(key)): CacheNode | undefined {
    return this.#nodes.get(id);
  }

  /**
   * Puts an entry, which is now the one used last and, if it is dirty, the last to be flushed. `key` is
   * kept.
   *
   * @throws {WeirpoolError} `ENTRY_DIRTY`: a clean entry over a dirty one would lose a change.
   */
  put(key: Uint8Array, entry: CacheEntry, id: string = idOf(key)): void {
    const known = this.#nodes.get(id);
    if (known?.isDirty === true && !entry.isDirty) throw entryDirty(key);
    const node = known ?? new CacheNode(id, key, entry);
    if (known === undefined) {
      this.#nodes.set(id, node);
      this.#order.set(id, node);
      this.#link(node);
    } else {
      this.counts.overwrites++;
      this.#count(-node.bytes);
      node.value = entry.value;
      node.context = entry.context;
      this.#promote(node);
    }
    this.#count(node.bytes);
    node.version = ++this.#version;
    if (!entry.isDirty) return;
    node.isDirty = true;
    this.#dirty.delete(node);
    this.#dirty.add(node);
  }

  /**
   * The dirty entries as they are now, in order, of those that were put up to `version`; `first`
   * before the others if it is one of them.
   *
   * @internal
   */
  takeDirty(first?: CacheNode, version: number = this.#version): DirtyEntry[] {
    const taken: DirtyEntry[] = [];
    if (first?.isDirty === true && first.version <= version) taken.push(dirtyOf(first));
    for (const node of this.#dirty) {
      // All that follow were put still later.
      if (node.version > version) break;
      if (node !== first) taken.push(dirtyOf(node));
    }
    return taken;
  }

  /**
   * What was taken is in the inner store: clean now, unless it was put again since.
   *
   * @internal
   */
  land({ node, version }: DirtyEntry): void {
    if (node.version !== version) return;
    node.isDirty = false;
    this.#dirty.delete(node);
    if (node.value === undefined) this.remove(node);
  }

  remove(node: CacheNode): void {
    if (!this.#nodes.delete(node.id)) return;
    this.#order.delete(node.id);
    this.#dirty.delete(node);
    // Whoever still waits to flush it must not find it dirty.
    node.isDirty = false;
    this.#unlink(node);
    this.#count(-node.bytes);
  }

  /** @returns  How many entries went: those that were put up to `version`. */
  clear(version: number = this.#version): number {
    const before = this.size;
    if (version === this.#version) this.#empty();
    else for (const node of this.#nodes.values()) if (node.version <= version) this.remove(node);
    return before - this.size;
  }

  #empty(): void {
    this.#count(-this.#bytes);
    this.#nodes.clear();
    this.#order.clear();
    for (const node of this.#dirty) node.isDirty = false;
    this.#dirty.clear();
    this.#newest = undefined;
    this.#oldest = undefined;
  }

  /**
   * The entries of a span. With `isHit` they were used now, from the first to the last of the run, as
   * an iterator of Kafka's cache does.
   *
   * @internal
   */
  run(
    low: Uint8Array | undefined,
    high: Uint8Array | undefined,
    options: { readonly reverse: boolean; readonly isHit: boolean },
  ): CachedRun {
    if (this.#nodes.size === 0) return NOTHING;
    const { reverse, isHit } = options;
    const cursor = this.#order.cursor({ low: low && idOf(low), high: high && idOf(high), reverse });
    const keys: Uint8Array[] = [];
    const values: (Uint8Array | undefined)[] = [];
    for (let node = cursor.next(); node !== undefined; node = cursor.next()) {
      keys.push(node.key);
      values.push(node.value);
      if (isHit) this.#promote(node);
    }
    if (isHit) this.counts.hits += keys.length;
    return { keys, values };
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#thread.bytes += bytes;
  }

  #promote(node: CacheNode): void {
    if (node === this.#newest) return;
    this.#unlink(node);
    this.#link(node);
  }

  #link(node: CacheNode): void {
    node.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = node;
    else this.#newest.newer = node;
    this.#newest = node;
  }

  #unlink(node: CacheNode): void {
    const { newer, older } = node;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    node.newer = undefined;
    node.older = undefined;
  }
}

/** @internal An entry as it is put: dirty unless it was read. */
export function entryOf(
  value: Uint8Array | undefined,
  context: RecordContext = NO_CONTEXT,
  isDirty = true,
): CacheEntry {
  return { value, context, isDirty };
}

function dirtyOf(node: CacheNode): DirtyEntry {
  const { version, key, value, context } = node;
  return { node, version, key, value, context };
}

function entryDirty(key: Uint8Array): WeirpoolError {
  return new WeirpoolError(
    'ENTRY_DIRTY',
    'The cache has a change of this key that is not in the inner store yet; a clean entry over it ' +
      'would lose that change.',
    { details: { keyBytes: key.length } },
  );
}
