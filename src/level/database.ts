/**
 * A tree with snapshots: what a level database does in one thread, in bytes and seqs.
 *
 * Owns:        the thread's part of the epochs and of the history.
 * Invariants:  H2   what a write replaces is saved before, if a snapshot may be open;
 *              one database for each thread and tree: a thread has one row.
 * Threads:     one object for each thread and tree, shared by all that use the tree there.
 */
import type { Buffer } from 'node:buffer';
import { WeirpoolError } from '../errors.ts';
import { H_OPENER } from '../generated/layout.ts';
import type { PoolCore } from '../pool/core.ts';
import { assertEncoded, UTF8_BYTES_MAX } from '../tree/codec.ts';
import { type Bounds, isEmpty } from '../tree/cursor.ts';
import { keyIn } from '../tree/range.ts';
import type { Weirpool } from '../tree/weirpool.ts';
import { bytesOf, type Format, type Formatted, formatWhole, READERS } from './formats.ts';
import { Group, type GroupHost, type Operation } from './group.ts';
import { History, type RawTree } from './history.ts';
import { HISTORY_KEY_BYTES, historyKeyBytes } from './history-key.ts';
import { type ScanOptions, SnapshotScan } from './scan.ts';
import { areSameWords, type Closed, makeVersionWords, Versions } from './versions.ts';

const RAW = { encode: (value: Formatted) => value, decode: (value: Buffer) => value };
/** Keys saved, after which the thread looks whether somebody with an open snapshot has died. */
const WRITES_PER_LOOK = 256;
/** Keys that are deleted with one record where a range cannot be cleared as such. */
const CLEAR_KEYS = 512;

/** The tree beside a tree, for what open snapshots see. */
export function historyName(tree: string): string {
  return `weirpool:level:${tree}`;
}

function rawTree(db: Weirpool, name: string): RawTree {
  return db.tree(name, { key: RAW, value: RAW }) as RawTree;
}

interface Known {
  readonly words: SharedArrayBuffer;
  database: Database | undefined;
}

/** The databases of this thread by pool and tree; their words stay: other threads may have them. */
const known = new WeakMap<PoolCore, Map<string, Known>>();

/**
 * The database of a tree in this thread, to be given back with `release`.
 *
 * @param words  As another thread has them; undefined in the thread that has opened the store.
 * @throws {TypeError} no words, and another thread has opened the store; words of another database.
 */
export function acquireDatabase(
  db: Weirpool,
  tree: string,
  words: SharedArrayBuffer | undefined,
): Database {
  const { core } = db.pool;
  let trees = known.get(core);
  if (trees === undefined) {
    trees = new Map();
    known.set(core, trees);
  }
  let one = trees.get(tree);
  if (one === undefined) {
    const isFirst = words === undefined;
    // All words of a store come from the thread that has opened it.
    if (!isFirst && isOpener(core)) throw foreignHandle();
    if (isFirst && !isOpener(core)) {
      throw new TypeError(
        'Another thread has opened this store: make the database from its `handle`, with this store ' +
          'as `attached`',
      );
    }
    one = { words: words ?? makeVersionWords(), database: undefined };
    // What a crash has left: no snapshot is open yet.
    if (isFirst && !db.pool.handle.readOnly) rawTree(db, historyName(tree)).clear();
    trees.set(tree, one);
  } else if (words !== undefined && !areSameWords(words, one.words)) {
    throw foreignHandle();
  }
  const entry = one;
  entry.database ??= new Database(db, tree, entry.words, () => {
    entry.database = undefined;
  });
  entry.database.users++;
  return entry.database;
}

function foreignHandle(): TypeError {
  return new TypeError('The handle is that of a database in another store');
}

function isOpener({ memory, thread }: PoolCore): boolean {
  return memory.load(H_OPENER) === thread.me + 1;
}

export class Database {
  readonly main: RawTree;
  readonly words: SharedArrayBuffer;
  /** Undefined in a store that nobody can write to: there a snapshot is what is there. */
  readonly #versions: Versions | undefined;
  readonly #history: History | undefined;
  readonly #forget: () => void;
  readonly #keyBytesMax: number;
  readonly #valueBytesMax: number;
  readonly #groups: GroupHost;
  #pending: Group;
  #saves = 0;
  #sweeping = false;
  users = 0;

  constructor(db: Weirpool, tree: string, words: SharedArrayBuffer, forget: () => void) {
    this.words = words;
    this.#forget = forget;
    this.main = rawTree(db, tree);
    const { core } = db.pool;
    this.#groups = {
      ...this.main.batchLimits,
      make: (operations) => this.#makeGroup(operations),
      get isBusy(): boolean {
        return core.thread.isHolding || core.log?.transactions.isUnderWay === true;
      },
    };
    this.#pending = new Group(this.#groups);
    const { keyBytesMax, valueBytesMax } = this.main.limits;
    this.#keyBytesMax = keyBytesMax;
    // In the history a byte stands before it.
    this.#valueBytesMax = valueBytesMax - 1;
    if (db.pool.handle.readOnly) return;
    const versions = new Versions(db.pool.core, words);
    this.#versions = versions;
    this.#history = new History(this.main, rawTree(db, historyName(tree)), versions);
  }

  /** Gives it back; what its last user has open ends with it. A store that has stopped is let go too. */
  release(): void {
    this.flush();
    if (--this.users > 0) return;
    this.#forget();
    const versions = this.#versions;
    if (versions !== undefined) ending(() => this.#tidy(versions.leave()));
  }

  // --- writing -------------------------------------------------------------------------------------------

  /**
   * Adds a put or a delete to those that are made at the end of this turn, or before somebody reads: its
   * group, and what that knows it by.
   *
   * @throws {RangeError} keys or values that the tree, or for a put the history, has no room for;
   *         {TypeError} neither a string nor bytes.
   */
  later(operation: Operation): { readonly group: Group; readonly operation: Operation } {
    this.#check(operation);
    // While this thread is busy one group takes all: two of them could be made in another order.
    if (!this.#pending.admits(operation)) this.flush();
    if (this.#pending.isMade) this.#pending = new Group(this.#groups);
    const group = this.#pending;
    return { group, operation: group.add(operation) };
  }

  /** Makes what was asked for, unless this thread is in the middle of a change. */
  flush(): void {
    this.#pending.make();
  }

  /** All or nothing; the seq. Errors: as `Tree.batch`. */
  batch(operations: readonly Operation[]): number {
    this.flush();
    for (const operation of operations) this.#check(operation);
    return this.#makeBatch(operations);
  }

  #makeGroup(operations: readonly Operation[]): number {
    const [only] = operations as readonly [Operation];
    if (operations.length !== 1) return this.#makeBatch(operations);
    return this.#write([only.key], () =>
      only.type === 'put' ? this.main.put(only.key, only.value) : this.main.delete(only.key).seq,
    );
  }

  #makeBatch(operations: readonly Operation[]): number {
    const keys = operations.map(({ key }) => key);
    return this.#write(keys, () => this.main.batch(operations));
  }

  #write(keys: readonly Formatted[], change: () => number): number {
    const versions = this.#versions;
    if (versions === undefined) return change(); // which is refused
    const seq = this.#writeAmong(versions, keys, change);
    if (this.#saves >= WRITES_PER_LOOK) ending(() => this.#lookForDead(versions));
    return seq;
  }

  #writeAmong(versions: Versions, keys: readonly Formatted[], change: () => number): number {
    versions.enter();
    try {
      if (versions.isLive) this.#save(keys);
      return change();
    } finally {
      versions.exit();
    }
  }

  #save(keys: readonly Formatted[]): void {
    this.#history?.save(keys);
    this.#saves += keys.length;
  }

  /** Lets go what the dead had open. Not inside a write. */
  #lookForDead(versions: Versions): void {
    this.#saves = 0;
    this.#tidy(versions.dropDead());
  }

  /** Before anything is copied: arrays of other elements than bytes would be, as numbers. */
  #check(operation: Operation): void {
    this.main.assertKey(operation.key);
    if (operation.type !== 'put') return;
    const { key, value } = operation;
    assertEncoded(value);
    this.#checkKey(key);
    // What is short enough at three bytes for each unit need not be counted.
    if (value.length * UTF8_BYTES_MAX <= this.#valueBytesMax) return;
    const { length } = bytesOf(value);
    if (length <= this.#valueBytesMax) return;
    throw new RangeError(`A value has at most ${this.#valueBytesMax} bytes here, not ${length}`);
  }

  #checkKey(key: Formatted): void {
    // The same, and each byte of it zero.
    const most = key.length * UTF8_BYTES_MAX * 2 + HISTORY_KEY_BYTES;
    if (most <= this.#keyBytesMax) return;
    const bytes = historyKeyBytes(bytesOf(key)) - HISTORY_KEY_BYTES;
    const max = this.#keyBytesMax - HISTORY_KEY_BYTES;
    if (bytes <= max) return;
    throw new RangeError(
      `A key has at most ${max} bytes here, zero bytes counted twice, not ${bytes}`,
    );
  }

  /**
   * Deletes what lies between the bounds, as a snapshot has it or as it is, and at most so many keys. Not
   * atomic: a leaf, or some hundred keys, at a time.
   */
  clear(
    bounds: Bounds,
    options: { reverse: boolean; limit: number; epoch: number | undefined },
  ): void {
    if (isEmpty(bounds)) return;
    this.flush();
    const { limit, epoch } = options;
    if (limit === Number.POSITIVE_INFINITY && epoch === undefined && this.#clearRange(bounds))
      return;
    const scan = epoch === undefined ? this.#mainScan(bounds, options.reverse) : undefined;
    const seen =
      scan ?? this.scan({ bounds, reverse: options.reverse, values: false, epoch: epoch ?? 0 });
    let left = limit;
    while (left > 0) {
      const chunk = seen.next(Math.min(left, CLEAR_KEYS));
      if (chunk === undefined) return;
      const keys = keysOf(chunk).slice(0, left);
      left -= keys.length;
      this.batch(keys.map((key) => ({ type: 'del', key })));
    }
  }

  /** Clears a range as such: whether that could be done, for no snapshot is open. */
  #clearRange(bounds: Bounds): boolean {
    const versions = this.#versions;
    versions?.enter();
    try {
      if (versions?.isLive === true) return false;
      const { low, lowExclusive, high, highInclusive } = bounds;
      this.main.clear({
        ...(low !== undefined && (lowExclusive ? { gt: low } : { gte: low })),
        ...(high !== undefined && (highInclusive ? { lte: high } : { lt: high })),
      });
      return true;
    } finally {
      versions?.exit();
    }
  }

  #mainScan(bounds: Bounds, reverse: boolean): SnapshotScan {
    const parts = { main: this.main, history: undefined, versions: undefined };
    return new SnapshotScan(parts, { bounds, reverse, values: false, epoch: 0 });
  }

  // --- reading -------------------------------------------------------------------------------------------

  /** The value, of a snapshot if its epoch is given. */
  get(key: Formatted, format: Format, epoch?: number): Formatted | undefined {
    this.flush();
    // H2: the main tree first.
    const now = this.main.read(key, READERS[format]);
    const versions = this.#versions;
    if (epoch === undefined || versions === undefined || versions.isClean(epoch)) return now;
    const saved = this.#history?.find(key, epoch);
    if (saved === undefined) return now;
    return saved.value && formatWhole(saved.value, format);
  }

  has(key: Formatted, epoch?: number): boolean {
    this.flush();
    const now = this.main.has(key);
    const versions = this.#versions;
    if (epoch === undefined || versions === undefined || versions.isClean(epoch)) return now;
    const saved = this.#history?.find(key, epoch);
    return saved === undefined ? now : saved.value !== undefined;
  }

  scan(options: ScanOptions): SnapshotScan {
    const parts = { main: this.main, history: this.#history, versions: this.#versions };
    return new SnapshotScan(parts, options);
  }

  // --- snapshots -----------------------------------------------------------------------------------------

  /** Opens a snapshot: its epoch, to be closed once. */
  openSnapshot(): number {
    const versions = this.#versions;
    if (versions === undefined) return 0;
    this.flush();
    versions.restartIfDue(() => this.#history?.clearAll());
    return versions.open();
  }

  /** Errors of the store are none of it: the snapshot is closed all the same. */
  closeSnapshot(epoch: number): void {
    const versions = this.#versions;
    if (versions === undefined) return;
    ending(() => this.#tidy(versions.close(epoch)));
    if (versions.isLive) this.#sweep();
  }

  #tidy({ clearBelow }: Closed): void {
    if (clearBelow === 0) return;
    let cleared = 0;
    try {
      this.#history?.clearBelow(clearBelow);
      cleared = clearBelow;
    } finally {
      this.#versions?.endClearing(cleared);
    }
  }

  #sweep(): void {
    const history = this.#history;
    if (this.#sweeping || history === undefined) return;
    this.#sweeping = true;
    // What is left over is found by the next sweep, and a store that fails says so to who uses it.
    history
      .sweep(() => this.users > 0)
      .catch(() => undefined)
      .finally(() => {
        this.#sweeping = false;
      });
  }
}

/**
 * Does what is to be done at an end. A store that fails there says so to who uses it; what is not cleared
 * is cleared by the next who can, or when the store is opened again.
 */
function ending(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof WeirpoolError)) throw error;
  }
}

function keysOf(chunk: NonNullable<ReturnType<SnapshotScan['next']>>): Buffer[] {
  if ('keys' in chunk) return chunk.keys;
  return Array.from({ length: chunk.count }, (_, index) => keyIn(chunk.batch, index));
}
