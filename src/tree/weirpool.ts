/**
 * A store of ordered trees: what an application opens.
 *
 * Owns:        the pool, in the thread that opened it; the catalog of the trees' names.
 * Threads:     `open` in one thread, `attach` in the others; one object for each.
 */

import type { RoundReport } from '../checkpoint/requests.ts';
import { WeirpoolError } from '../errors.ts';
import type { PoolHandle } from '../pool/attach.ts';
import type { PoolCore } from '../pool/core.ts';
import { integerBetween } from '../pool/integer-between.ts';
import type { PoolOptions } from '../pool/options.ts';
import { BufferPool } from '../pool/pool.ts';
import type { PoolLog } from '../pool/pool-log.ts';
import type { PoolStats } from '../pool/stats.ts';
import type { CopyOptions, CopyReport } from '../recovery/copy-store.ts';
import type { BlobId } from '../store/contract.ts';
import type { DurabilityLevel } from '../wal/durability.ts';
import { AsyncAccess } from './async.ts';
import { backupStore } from './backup.ts';
import { Catalog } from './catalog.ts';
import { type Codec, type CodecName, codecOf, type NamedCodecs } from './codec.ts';
import { changeAndMerge } from './merge.ts';
import { treeOwner } from './replay.ts';
import { type Snapshot, Snapshots } from './snapshot.ts';
import { type PutOptions, TREE_OWNER, TreeStore } from './store.ts';
import { type BatchOperation, Tree } from './tree.ts';

export interface WeirpoolOptions extends Omit<PoolOptions, 'log' | 'store'> {
  /** The write-ahead log; there always is one. */
  readonly log?: Exclude<PoolOptions['log'], boolean>;
  /**
   * Records that are not on the disk yet at which a change waits until they are, in bytes; 0: after
   * every change. Default: changes never wait by themselves.
   */
  readonly flushBytes?: number;
}

/** For other threads: `await Weirpool.attach(handle)`. Goes by `workerData` or `postMessage`. */
export interface WeirpoolHandle {
  readonly pool: PoolHandle;
  readonly flushBytes: number | undefined;
}

/** How a tree's keys and values become bytes. Default: `bytes`. */
export interface TreeOptions<K, V> {
  readonly key?: CodecName | Codec<K>;
  readonly value?: CodecName | Codec<V>;
}

type KeyOf<C> = C extends keyof NamedCodecs
  ? NamedCodecs[C] extends Codec<infer T>
    ? T
    : never
  : C extends Codec<infer T>
    ? T
    : Uint8Array;

/** One change of a batch over several trees. */
export interface StoreOperation {
  // biome-ignore lint/suspicious/noExplicitAny: the trees of one batch have types of their own
  readonly tree: Tree<any, any>;
  // biome-ignore lint/suspicious/noExplicitAny: as the tree's
  readonly operation: BatchOperation<any, any>;
}

export class Weirpool implements AsyncDisposable {
  /** The pool below: statistics, rounds, blobs. */
  readonly pool: BufferPool;
  readonly #store: TreeStore;
  readonly #catalog: Catalog;
  readonly #access: AsyncAccess;
  readonly #snapshots: Snapshots;
  readonly #readOnly: boolean;
  readonly #roots = new Map<string, BlobId>();
  readonly handle: WeirpoolHandle;

  private constructor(
    pool: BufferPool,
    store: TreeStore,
    options: { readonly flushBytes: number | undefined; readonly readOnly: boolean },
  ) {
    this.pool = pool;
    this.#store = store;
    this.#catalog = new Catalog(store);
    this.#access = new AsyncAccess(store, (id) => pool.prefetch([id]));
    this.#snapshots = new Snapshots(store, options.readOnly);
    this.#readOnly = options.readOnly;
    this.handle = { pool: pool.handle, flushBytes: options.flushBytes };
  }

  /**
   * Opens the store in `directory`, which is made with its parents if it is missing.
   *
   * @throws {WeirpoolError} as `BufferPool.open`; {RangeError} too few frames for the largest value.
   */
  static async open(directory: string, options: WeirpoolOptions = {}): Promise<Weirpool> {
    const { flushBytes, log, owners = {}, ...given } = options;
    assertFlushBytes(flushBytes);
    if (Object.hasOwn(owners, TREE_OWNER)) {
      throw new RangeError(`Owner ${TREE_OWNER} is that of the trees: give yours another number`);
    }
    let store: TreeStore | undefined;
    const makeOwners = (core: PoolCore, poolLog: PoolLog): NonNullable<PoolOptions['owners']> => ({
      [TREE_OWNER]: treeOwner(() => {
        store ??= new TreeStore(core, poolLog, flushBytes);
        return store;
      }),
    });
    const readOnly = options.readOnly === true;
    const logOptions = readOnly ? {} : { log: log ?? true };
    const pool = await BufferPool.openWith(
      directory,
      { ...given, owners, ...logOptions },
      makeOwners,
    );
    try {
      store ??= storeOf(pool, flushBytes);
      if (!readOnly) store.assertFrames();
      const opened = new Weirpool(pool, store, { flushBytes, readOnly });
      if (!readOnly) opened.#catalog.make();
      return opened;
    } catch (error) {
      await pool.close();
      throw error;
    }
  }

  /** Joins a store that another thread of this process has opened. Errors: as `BufferPool.attach`. */
  static async attach(given: WeirpoolHandle): Promise<Weirpool> {
    if (typeof given !== 'object' || given === null) {
      throw new TypeError(
        'Not the handle of a store: pass `db.handle` of the thread that opened it',
      );
    }
    const { pool: handle, flushBytes } = given;
    assertFlushBytes(flushBytes);
    const pool = await BufferPool.attach(handle);
    const { readOnly } = handle;
    try {
      return new Weirpool(pool, storeOf(pool, flushBytes), { flushBytes, readOnly });
    } catch (error) {
      await pool.close();
      throw error;
    }
  }

  // --- trees -------------------------------------------------------------------------------------------

  /**
   * A tree by name, which is made if it is missing. Keys and values are bytes unless told otherwise.
   *
   * @throws {WeirpoolError} `TREE_NOT_FOUND` in a store that was opened for reading only.
   */
  tree<
    // biome-ignore lint/suspicious/noExplicitAny: a codec both takes and gives its type
    const KC extends CodecName | Codec<any> = 'bytes',
    // biome-ignore lint/suspicious/noExplicitAny: as above
    const VC extends CodecName | Codec<any> = 'bytes',
  >(
    name: string,
    options: { readonly key?: KC; readonly value?: VC } = {},
  ): Tree<KeyOf<KC>, KeyOf<VC>> {
    if (typeof name !== 'string') throw new TypeError('The name of a tree is a string');
    this.#rootOf(name);
    return new Tree({
      store: this.#store,
      snapshots: this.#snapshots,
      root: () => this.#roots.get(name) ?? this.#rootOf(name),
      name,
      key: codecOf<KeyOf<KC>>(options.key as CodecName | undefined, 'key'),
      value: codecOf<KeyOf<VC>>(options.value as CodecName | undefined, 'value'),
      access: this.#access,
    });
  }

  #rootOf(name: string): BlobId {
    const root = this.#catalog.find(name) ?? this.#makeTree(name);
    this.#roots.set(name, root);
    return root;
  }

  #makeTree(name: string): BlobId {
    if (!this.#readOnly) return this.#catalog.open(name);
    throw new WeirpoolError('TREE_NOT_FOUND', `The store has no tree ${JSON.stringify(name)}.`);
  }

  /** Names of all trees, in order. */
  trees(): string[] {
    return this.#catalog.names();
  }

  /** Whether there is a tree of that name. */
  hasTree(name: string): boolean {
    return this.#catalog.find(name) !== undefined;
  }

  /** Drops a tree with everything in it: whether there was one. Resumed if a crash comes between. */
  dropTree(name: string): boolean {
    this.#roots.delete(name);
    return this.#catalog.drop(name);
  }

  /** Changes of several trees, atomically and in order: the seq; 0 for an empty batch. */
  batch(operations: readonly StoreOperation[], options?: PutOptions): number {
    const entries = operations.map(({ tree, operation }) => tree.entryOf(operation));
    return entries.length === 0 ? 0 : changeAndMerge(this.#store, entries, options);
  }

  // --- moments -------------------------------------------------------------------------------------------

  /**
   * All trees as they are at the moment of the call, for `tree.get(key, { snapshot })` and the other
   * ways to read. What is not in the store yet is brought there by a round first: the call blocks the
   * thread until it has ended. Close the snapshot when it is no longer read.
   *
   * @throws {WeirpoolError} why the round failed (`STORE_IO`, `STORE_FULL`); `SNAPSHOTS_EXHAUSTED`;
   *         `TX_NESTED` this thread holds a latch or is in a mini-transaction; `POISONED`,
   *         `POOL_CLOSED`. Nothing is kept then.
   * @remarks Writers go on meanwhile. Slots that the snapshot shows are used again only after it was
   *          closed: at most the store's size at its moment. A snapshot belongs to its thread.
   */
  snapshot(): Snapshot {
    return this.#snapshots.take();
  }

  /**
   * Copies one committed cut into `directory`, which does not exist or is empty, while writers go on:
   * everything that was committed before the call, no change in part. Blobs are verified as they are
   * copied, files and directories synced; the copy appears whole, with its name as the last step, or
   * not at all. Open it like any other store, check it with `verify`, or copy it with `restore`.
   *
   * @throws {WeirpoolError} `DIRECTORY_NOT_EMPTY`, `BLOB_CORRUPT`, `STORE_IO` (also of the round that
   *         it begins with), `READ_ONLY`, `SNAPSHOTS_EXHAUSTED`, `LATCH_HELD`, `POISONED`,
   *         `POOL_CLOSED`; the signal's reason when it was aborted. Nothing is left then, unless the
   *         outcome is `unknown`: the copy may be there, whole.
   */
  backup(directory: string, options: CopyOptions = {}): Promise<CopyReport> {
    return backupStore(this.#store, this.#snapshots, directory, options);
  }

  // --- safety --------------------------------------------------------------------------------------------

  /** As `BufferPool.durable`. */
  durable(seq?: number, level?: DurabilityLevel): Promise<void> {
    return this.pool.durable(seq, level);
  }

  /** As `BufferPool.durableSync`. */
  durableSync(seq?: number, level?: DurabilityLevel): void {
    this.pool.durableSync(seq, level);
  }

  /** Resolves when everything that was put before the call survives power loss. */
  async flush(): Promise<void> {
    const { appendedSeq = 0 } = this.pool.stats().log ?? {};
    await this.pool.durable(appendedSeq, 'synced');
  }

  /** As `BufferPool.checkpoint`. */
  checkpoint(): Promise<RoundReport> {
    return this.pool.checkpoint();
  }

  stats(): PoolStats {
    return this.pool.stats();
  }

  /** As `BufferPool.close`. */
  close(): Promise<void> {
    return this.pool.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function assertFlushBytes(flushBytes: number | undefined): void {
  if (flushBytes === undefined) return;
  integerBetween('flushBytes', flushBytes, 0, Number.MAX_SAFE_INTEGER);
}

function storeOf(pool: BufferPool, flushBytes: number | undefined): TreeStore {
  const { core } = pool;
  if (core.log !== undefined) return new TreeStore(core, core.log, flushBytes);
  throw new WeirpoolError(
    'UNLOGGED_POOL',
    'The store has no log: it was not made by Weirpool.open.',
  );
}
