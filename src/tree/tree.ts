/**
 * A tree as its users see it: typed keys and values, ranges, lists.
 *
 * Owns:        nothing; TreeStore does the work.
 * Threads:     one object for each thread; all threads may change one tree at once.
 */

import { Buffer } from 'node:buffer';
import type { BlobId } from '../store/contract.ts';
import type { AsyncAccess, AsyncOptions, AsyncPutOptions } from './async.ts';
import { type AskedEntry, inlineBytesMax } from './change.ts';
import { clearRange } from './clear.ts';
import { asBytes, assertEncoded, type Codec } from './codec.ts';
import { type Bounds, COLLECT_KEYS, COLLECT_VALUES, Cursor, isEmpty, prefixEnd } from './cursor.ts';
import { changeAndMerge, mergeAround } from './merge.ts';
import {
  FIRST_BATCH,
  keyIn,
  type MakeItem,
  OwningIterator,
  type Range,
  TreeRange,
  valueIn,
} from './range.ts';
import type { Snapshot, Snapshots, SnapshotTree } from './snapshot.ts';
import type { Key, PutOptions, ReadValue, TreeStore } from './store.ts';

/** Where a key is looked up. */
export interface ReadOptions {
  /** As the trees were when it was taken; see `Weirpool.snapshot`. */
  readonly snapshot?: Snapshot | undefined;
}

/** What a scan sees. */
export interface ScanOptions extends ReadOptions {
  /**
   * The state at the moment of the call, whatever writers do meanwhile: a snapshot of the scan's own,
   * which ends with it. Such a range is iterated once. Default false: consistent per node.
   */
  readonly consistent?: boolean | undefined;
}

/** Which keys, in which order. Crossed bounds give nothing. */
export interface RangeOptions<K> extends ScanOptions {
  readonly gt?: K;
  readonly gte?: K;
  readonly lt?: K;
  readonly lte?: K;
  readonly reverse?: boolean;
  /** At most so many entries. */
  readonly limit?: number;
}

/** Which keys. */
export type KeyRange<K> = Pick<RangeOptions<K>, 'gt' | 'gte' | 'lt' | 'lte'>;

/** A put or a delete of a batch. */
export type BatchOperation<K, V> =
  | { readonly type: 'put'; readonly key: K; readonly value: V }
  | { readonly type: 'del'; readonly key: K };

export interface ListOptions extends ScanOptions {
  /** Keys that go on beyond it, behind the prefix, are rolled up into one common prefix. */
  readonly delimiter?: string;
  /** Only what comes behind this key or common prefix. */
  readonly startAfter?: string;
  readonly limit?: number;
}

/** What a list gives: an entry, or a common prefix. */
export type ListItem<V> =
  | { readonly type: 'entry'; readonly key: string; readonly value: V }
  | { readonly type: 'prefix'; readonly prefix: string };

type Shape = 'entries' | 'keys' | 'values';

const WHAT: Readonly<Record<Shape, number>> = {
  entries: COLLECT_KEYS | COLLECT_VALUES,
  keys: COLLECT_KEYS,
  values: COLLECT_VALUES | COLLECT_KEYS,
};
export interface TreeParts<K, V> {
  readonly store: TreeStore;
  readonly snapshots: Snapshots;
  /** Id of the root, asked for at each call: a tree may be made late. */
  readonly root: () => BlobId;
  readonly name: string;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
  readonly access: AsyncAccess;
}

export class Tree<K = Uint8Array, V = Uint8Array> {
  /** The tree's name in its store. */
  readonly name: string;
  readonly #store: TreeStore;
  readonly #snapshots: Snapshots;
  readonly #root: () => BlobId;
  readonly #key: Codec<K>;
  readonly #value: Codec<V>;
  readonly #access: AsyncAccess;

  /** @internal See `Weirpool.tree`. */
  constructor({ store, snapshots, root, name, key, value, access }: TreeParts<K, V>) {
    this.#access = access;
    this.#store = store;
    this.#snapshots = snapshots;
    this.#root = root;
    this.name = name;
    this.#key = key;
    this.#value = value;
  }

  // --- one key -----------------------------------------------------------------------------------------

  /**
   * The value, a copy that is the caller's; undefined if there is none.
   *
   * @throws {WeirpoolError} `SNAPSHOT_CLOSED`, and as `BufferPool.pin`.
   */
  get(key: K, options?: ReadOptions): V | undefined {
    if (options?.snapshot !== undefined) return this.#getFrom(options.snapshot, key);
    const bytes = this.#store.get(this.#root(), this.#key.encode(key));
    return bytes === undefined ? undefined : this.#value.decode(bytes);
  }

  /**
   * The same without blocking the thread while blobs are read from the disk.
   *
   * @throws the reason of `signal` when it is aborted.
   */
  async getAsync(key: K, options?: AsyncOptions): Promise<V | undefined> {
    const bytes = await this.#access.get(this.#root(), this.#key.encode(key), options);
    return bytes === undefined ? undefined : this.#value.decode(bytes);
  }

  #getFrom(snapshot: Snapshot, key: K): V | undefined {
    const { source, root } = snapshot.treeOf(this.#store, this.name);
    const bytes = root === undefined ? undefined : source.get(root, this.#key.encode(key));
    return bytes === undefined ? undefined : this.#value.decode(bytes);
  }

  /** Errors as `get`. */
  has(key: K, options?: ReadOptions): boolean {
    if (options?.snapshot === undefined) {
      return this.#store.has(this.#root(), this.#key.encode(key));
    }
    const { source, root } = options.snapshot.treeOf(this.#store, this.name);
    return root !== undefined && source.has(root, this.#key.encode(key));
  }

  getMany(keys: readonly K[], options?: ReadOptions): (V | undefined)[] {
    return keys.map((key) => this.get(key, options));
  }

  /**
   * Reads a value without a copy: `look(bytes, start, end)`, which may run several times over bytes
   * that are changing; what it returns or throws counts only once they have been found untouched. It
   * must not write, nor keep `bytes`. Undefined if there is no value.
   */
  read<T>(key: K, look: ReadValue<T>): T | undefined {
    return this.#store.read(this.#root(), this.#key.encode(key), look);
  }

  /**
   * Puts a value: in memory and in the log's ring when it returns; the seq says what to wait for.
   *
   * @throws {RangeError} a key above 4,096 bytes (an eighth of the blob size), a value above the
   *         largest record. {WeirpoolError} as `BufferPool.change`.
   */
  put(key: K, value: V, options?: PutOptions): number {
    const bytes = asBytes(this.#value.encode(value));
    this.#store.assertValue(bytes);
    return this.#store.put(this.#root(), this.#key.encode(key), bytes, options);
  }

  /**
   * The same without blocking the thread while the log or a round is behind, while the key's leaf is
   * read from the disk, or until the change is as safe as `durability` says.
   *
   * @throws as `put`; the reason of `signal` when it is aborted before the value was put: afterwards
   *         the signal has no effect.
   */
  async putAsync(key: K, value: V, options?: AsyncPutOptions): Promise<number> {
    const bytes = asBytes(this.#value.encode(value));
    this.#store.assertValue(bytes);
    return this.#access.put(this.#root(), this.#key.encode(key), bytes, options);
  }

  /** Puts a value unless the key is there: the seq, or undefined. */
  putIfAbsent(key: K, value: V, options?: PutOptions): number | undefined {
    const bytes = asBytes(this.#value.encode(value));
    this.#store.assertValue(bytes);
    const decide = (current: Buffer | undefined): Uint8Array | false =>
      current === undefined && bytes;
    return this.#store.update(this.#root(), this.#key.encode(key), decide, options);
  }

  /**
   * Puts a value, or deletes the key with undefined, if the value that is there is `expected`
   * (undefined: none): the seq, or undefined. Values are compared as bytes.
   */
  compareAndSwap(
    key: K,
    expected: V | undefined,
    value: V | undefined,
    options?: PutOptions,
  ): number | undefined {
    const old = expected === undefined ? undefined : asBytes(this.#value.encode(expected));
    const bytes = value === undefined ? undefined : asBytes(this.#value.encode(value));
    if (bytes !== undefined) this.#store.assertValue(bytes);
    const decide = (current: Buffer | undefined): Uint8Array | undefined | false =>
      isSame(current, old) ? bytes : false;
    return this.#store.update(this.#root(), this.#key.encode(key), decide, options);
  }

  /** Deletes a key. Deleting what is not there is no error. */
  delete(key: K, options?: PutOptions): { readonly seq: number; readonly existed: boolean } {
    const root = this.#root();
    const bytes = this.#key.encode(key);
    const { seq, existed, isSparse } = this.#store.delete(root, bytes, options);
    if (isSparse) mergeAround(this.#store, root, bytes);
    return { seq, existed };
  }

  // --- several keys ------------------------------------------------------------------------------------

  /**
   * Makes all changes atomically, in order: the seq; 0 for an empty batch.
   *
   * @throws {WeirpoolError} `RECORD_TOO_LARGE`, `OP_TOO_LARGE`: too much at once, nothing was done.
   */
  batch(operations: readonly BatchOperation<K, V>[], options?: PutOptions): number {
    const entries = operations.map((operation) => this.entryOf(operation));
    return entries.length === 0 ? 0 : changeAndMerge(this.#store, entries, options);
  }

  /** @internal For layers that change several trees as one, depending on what is there. */
  get place(): { readonly store: TreeStore; readonly root: BlobId } {
    return { store: this.#store, root: this.#root() };
  }

  /** @internal */
  entryOf(operation: BatchOperation<K, V>): AskedEntry {
    const tree = this.#root();
    const key = this.#key.encode(operation.key);
    if (operation.type === 'del') return { tree, key, value: undefined };
    if (operation.type !== 'put') throw new TypeError("An operation is of type 'put' or 'del'");
    const value = this.#value.encode(operation.value);
    assertEncoded(value);
    this.#store.assertValue(value);
    return { tree, key, value };
  }

  /**
   * Deletes all keys of a range, a leaf at a time: how many there were. Each step is atomic; after a
   * crash a part may be left, and the same call ends it.
   */
  clear(range: KeyRange<K> = {}): number {
    const bounds = this.#bounds(range);
    if (isEmpty(bounds)) return 0;
    const { low, lowExclusive, high, highInclusive } = bounds;
    const { keyBytesMax } = this.#store.nodes;
    const from = low !== undefined && lowExclusive ? after(low, keyBytesMax) : (low ?? EMPTY);
    const until = high !== undefined && highInclusive ? after(high, keyBytesMax) : high;
    if (from === undefined) return 0;
    return clearRange(this.#store, this.#root(), { low: from, high: until });
  }

  // --- ranges --------------------------------------------------------------------------------------------

  /**
   * Entries in the order of their keys. Consistent per node, while the tree may change; or as the
   * options say.
   *
   * @throws {WeirpoolError} with `consistent` as `Weirpool.snapshot`; `SNAPSHOT_CLOSED`.
   */
  range(options: RangeOptions<K> = {}): Range<[K, V]> {
    const key = this.#key;
    const value = this.#value;
    return this.#rangeOf(options, 'entries', (batch, index) => [
      key.decode(keyIn(batch, index)),
      value.decode(valueIn(batch, index)),
    ]);
  }

  keys(options: RangeOptions<K> = {}): Range<K> {
    const key = this.#key;
    return this.#rangeOf(options, 'keys', (batch, index) => key.decode(keyIn(batch, index)));
  }

  values(options: RangeOptions<K> = {}): Range<V> {
    const value = this.#value;
    return this.#rangeOf(options, 'values', (batch, index) => value.decode(valueIn(batch, index)));
  }

  /** Entries whose keys begin with `prefix`. */
  prefix(
    prefix: K,
    options: Pick<RangeOptions<K>, 'reverse' | 'limit'> & ScanOptions = {},
  ): Range<[K, V]> {
    const low = toBytes(this.#key.encode(prefix));
    const bounds = { low, lowExclusive: false, high: prefixEnd(low), highInclusive: false };
    const key = this.#key;
    const value = this.#value;
    const scan = { bounds, shape: 'entries', ...options } as const;
    return this.#newRange(scan, (batch, index) => [
      key.decode(keyIn(batch, index)),
      value.decode(valueIn(batch, index)),
    ]);
  }

  #rangeOf<T>(options: RangeOptions<K>, shape: Shape, make: MakeItem<T>): Range<T> {
    return this.#newRange({ bounds: this.#bounds(options), shape, ...options }, make);
  }

  #newRange<T>({ bounds, shape, ...options }: Scan, make: MakeItem<T>): Range<T> {
    const { reverse = false, limit = Number.POSITIVE_INFINITY } = options;
    checkLimit(limit);
    const what = { what: WHAT[shape], reverse };
    const own = this.#ownSnapshot(options);
    const open = (): Cursor => this.#cursor(bounds, what, own ?? options.snapshot);
    return new TreeRange({ open, limit, make, own });
  }

  /** What a consistent scan sees; it closes it. */
  #ownSnapshot({ consistent = false, snapshot }: ScanOptions): Snapshot | undefined {
    return consistent && snapshot === undefined ? this.#snapshots.take() : undefined;
  }

  /** @internal A scan as batches of entries in bytes, for layers with iterators of their own. */
  cursor(bounds: Bounds, options: CursorOptions): Cursor {
    return new Cursor(this.#store, this.#root(), bounds, options);
  }

  /** @internal Longest key and longest value, in bytes. */
  get limits(): { readonly keyBytesMax: number; readonly valueBytesMax: number } {
    const { nodes, valueBytesMax } = this.#store;
    return { keyBytesMax: nodes.keyBytesMax, valueBytesMax };
  }

  /** @internal Bytes of a batch, and of a key and its value in it, that are made the fast way. */
  get batchLimits(): { readonly batchBytesMax: number; readonly inlineBytesMax: number } {
    const { nodes } = this.#store;
    return { batchBytesMax: nodes.batchBytesMax, inlineBytesMax: inlineBytesMax(nodes) };
  }

  /** @internal Errors as `get`. */
  assertKey(key: K): void {
    this.#store.nodes.assertKey(this.#key.encode(key));
  }

  #cursor(bounds: Bounds, what: CursorOptions, snapshot: Snapshot | undefined): Cursor {
    if (snapshot === undefined) return new Cursor(this.#store, this.#root(), bounds, what);
    return cursorIn(snapshot.treeOf(this.#store, this.name), bounds, what);
  }

  #bounds({ gt, gte, lt, lte }: KeyRange<K>): Bounds {
    const encode = (key: K | undefined): Uint8Array | undefined =>
      key === undefined ? undefined : toBytes(this.#key.encode(key));
    const above = encode(gt);
    const from = encode(gte);
    const below = encode(lt);
    const until = encode(lte);
    const lowExclusive =
      above !== undefined && (from === undefined || Buffer.compare(above, from) >= 0);
    const isBelow =
      below !== undefined && (until === undefined || Buffer.compare(below, until) <= 0);
    return {
      low: lowExclusive ? above : from,
      lowExclusive,
      high: isBelow ? below : until,
      highInclusive: !isBelow,
    };
  }

  /** How many keys there are in the range. */
  count(options: KeyRange<K> & ScanOptions = {}): number {
    const bounds = this.#bounds(options);
    const own = this.#ownSnapshot(options);
    try {
      const cursor = this.#cursor(bounds, { what: 0, reverse: false }, own ?? options.snapshot);
      let count = 0;
      for (let batch = cursor.next(); batch !== undefined; batch = cursor.next())
        count += batch.count;
      return count;
    } finally {
      own?.close();
    }
  }

  first(options: RangeOptions<K> = {}): [K, V] | undefined {
    for (const entry of this.range({ ...options, limit: 1 })) return entry;
    return undefined;
  }

  last(options: RangeOptions<K> = {}): [K, V] | undefined {
    return this.first({ ...options, reverse: true });
  }

  /**
   * Keys that begin with `prefix`, those that go on beyond a delimiter rolled up into common prefixes:
   * what lies below one of these is skipped, not read. For trees whose keys are UTF-8.
   */
  list(prefix = '', options: ListOptions = {}): IterableIterator<ListItem<V>> {
    checkLimit(options.limit ?? Number.POSITIVE_INFINITY);
    const own = this.#ownSnapshot(options);
    if (own === undefined) return this.#list(prefix, options);
    return new OwningIterator(this.#list(prefix, { ...options, snapshot: own }), own);
  }

  *#list(prefix: string, options: ListOptions): Generator<ListItem<V>, void, undefined> {
    const { delimiter = '/', startAfter, limit = Number.POSITIVE_INFINITY, snapshot } = options;
    const begin = Buffer.from(prefix);
    const mark = Buffer.from(delimiter);
    const high = prefixEnd(begin);
    let left = limit;
    let low: Buffer | undefined = begin;
    let lowExclusive = false;
    if (startAfter !== undefined && Buffer.compare(Buffer.from(startAfter), begin) > 0) {
      const behind = rollUp(Buffer.from(startAfter), begin, mark);
      low = behind === undefined ? Buffer.from(startAfter) : prefixEnd(behind);
      lowExclusive = behind === undefined;
    }
    while (low !== undefined && left > 0) {
      const bounds: Bounds = { low, lowExclusive, high, highInclusive: false };
      const cursor = this.#cursor(bounds, { what: WHAT.entries, reverse: false }, snapshot);
      low = undefined;
      let size = 2;
      scan: for (let batch = cursor.next(size); batch !== undefined; batch = cursor.next(size)) {
        size = Math.min(size * 8, FIRST_BATCH * 8);
        for (let index = 0; index < batch.count; index++) {
          if (left-- <= 0) return;
          const key = keyIn(batch, index);
          const common = rollUp(key, begin, mark);
          if (common === undefined) {
            const value = this.#value.decode(valueIn(batch, index));
            yield { type: 'entry', key: key.toString(), value };
            continue;
          }
          yield { type: 'prefix', prefix: common.toString() };
          low = prefixEnd(common);
          lowExclusive = false;
          break scan;
        }
      }
    }
  }
}

const EMPTY = Buffer.alloc(0);

/** @throws {TypeError} no number; {RangeError} neither a whole number from 0 on nor Infinity. */
function checkLimit(limit: number): void {
  if (typeof limit !== 'number') throw new TypeError('limit is a number');
  if (limit === Number.POSITIVE_INFINITY || (Number.isInteger(limit) && limit >= 0)) return;
  throw new RangeError(`limit is a whole number from 0 on, or Infinity, not ${limit}`);
}

/** The part of a key up to and with the first delimiter behind the prefix; undefined: none. */
function rollUp(key: Buffer, prefix: Buffer, delimiter: Buffer): Buffer | undefined {
  if (delimiter.length === 0) return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.subarray(0, at + delimiter.length);
}

function isSame(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(a, b) === 0;
}

function toBytes(key: Key): Uint8Array {
  return typeof key === 'string' ? Buffer.from(key, 'utf8') : key;
}

/** The next possible key; undefined if there is none. */
function after(key: Uint8Array, keyBytesMax: number): Buffer | undefined {
  return key.length < keyBytesMax ? Buffer.concat([key, Buffer.from([0])]) : prefixEnd(key);
}

export type CursorOptions = { readonly what: number; readonly reverse: boolean };

interface Scan extends ScanOptions {
  readonly bounds: Bounds;
  readonly shape: Shape;
  readonly reverse?: boolean;
  readonly limit?: number;
}

const NOTHING: Bounds = { low: EMPTY, lowExclusive: false, high: EMPTY, highInclusive: false };

/** A tree that was not there has no entries. */
function cursorIn({ source, root }: SnapshotTree, bounds: Bounds, what: CursorOptions): Cursor {
  return root === undefined
    ? new Cursor(source, 0, NOTHING, what)
    : new Cursor(source, root, bounds, what);
}
