/**
 * `WeirLevel`: an abstract-level database over one tree of a store.
 *
 * Owns:        the store, if it has opened it; its iterators and snapshots, as abstract-level keeps them.
 * Threads:     one object for each thread; all of them read and write one tree at once.
 *
 * Methods that begin with an underscore are abstract-level's private ones. Those that read give what they
 * have and no promise: abstract-level awaits it, and a promise would cost one turn more.
 */
import {
  type AbstractBatchOperation,
  type AbstractBatchOptions,
  type AbstractChainedBatch,
  type AbstractClearOptions,
  type AbstractDatabaseOptions,
  type AbstractDelOptions,
  type AbstractIterator,
  type AbstractKeyIterator,
  AbstractLevel,
  type AbstractOpenOptions,
  type AbstractPutOptions,
  type AbstractSnapshot,
  type AbstractValueIterator,
} from 'abstract-level';
import { Weirpool, type WeirpoolHandle, type WeirpoolOptions } from '../tree/weirpool.ts';
import { checkDurability, type DurabilityLevel } from '../wal/durability.ts';
import { acquireDatabase, type Database } from './database.ts';
import { LevelError } from './errors.ts';
import type { Format, Formatted } from './formats.ts';
import type { Operation } from './group.ts';
import {
  boundsOf,
  type ReadingOptions,
  WeirIterator,
  WeirKeyIterator,
  WeirValueIterator,
} from './iterator.ts';
import { Settler } from './settle.ts';
import { type SnapshotOptions, WeirSnapshot } from './snapshot.ts';
import { holdsStore } from './store-directory.ts';

/** For other threads: `new WeirLevel(handle)`. Goes by `workerData` or `postMessage`. */
export interface WeirLevelHandle {
  /** @internal */
  readonly store: WeirpoolHandle;
  /** @internal */
  readonly tree: string;
  /** @internal */
  readonly words: SharedArrayBuffer;
  /** @internal */
  readonly durability: DurabilityLevel;
}

export interface WeirLevelOptions<K, V> extends AbstractDatabaseOptions<K, V> {
  /** Name of the tree. Default: `level`; with a handle, what that says, and no other one. */
  readonly tree?: string;
  /**
   * How safe a write is when its promise is fulfilled. `written`: the operating system has it, it
   * survives the end of the process, as with LevelDB. `synced`: it survives power loss, as with
   * `{ sync: true }` each time. `none`: it is in memory, and written some 200 ms later at the latest.
   * Default: `written`; with a handle, what that says.
   */
  readonly durability?: DurabilityLevel;
  /** Options of the store, when it is opened from a directory. */
  readonly store?: WeirpoolOptions;
  /** With a handle: the store, if this thread has joined it already. It is left open. */
  readonly attached?: Weirpool;
}

/** Of `put`, `del`, `batch` and `clear`. */
export interface WriteOptions {
  /** Wait until the write survives power loss. Default: as the database's `durability`. */
  readonly sync?: boolean;
}

interface ReadGiven {
  readonly valueEncoding?: string;
  readonly snapshot?: WeirSnapshot | null;
}

interface OpenState {
  readonly store: Weirpool;
  readonly owned: boolean;
  readonly database: Database;
  readonly settler: Settler;
}

const TREE_DEFAULT = 'level';
/** Default of `log.intervalMs`: what was not to be synced is synced so often all the same. */
const SYNC_INTERVAL_MS = 1000;

const MANIFEST = {
  seek: true,
  has: true,
  getSync: true,
  implicitSnapshots: true,
  explicitSnapshots: true,
  permanence: true,
  encodings: { utf8: true, buffer: true, view: true },
  signals: { iterators: true },
} as const;

/** Where the tree is: a directory, a store that is open, or what another thread has sent. */
export type WeirLevelSource = string | Weirpool | WeirLevelHandle;

export class WeirLevel<K = string, V = string> extends AbstractLevel<Formatted, K, V> {
  readonly #source: WeirLevelSource;
  readonly #tree: string;
  readonly #durability: DurabilityLevel;
  readonly #storeOptions: WeirpoolOptions;
  readonly #attached: Weirpool | undefined;
  #state: OpenState | undefined;

  /**
   * @param source  A directory, which is made with its parents if it is missing: the database opens the
   *                store there, and closes it. Or a store that this thread has opened, which stays open.
   *                Or the `handle` of a database that is open in another thread of this process.
   * @throws {TypeError} none of these; an option of the wrong type; a handle, and a tree that is not its.
   */
  constructor(source: WeirLevelSource, options: WeirLevelOptions<K, V> = {}) {
    const { tree, durability, store = {}, attached, ...forward } = options ?? {};
    const handle = isHandle(source) ? source : undefined;
    // What another thread has open is there.
    const makes = handle === undefined;
    super({ ...MANIFEST, createIfMissing: makes, errorIfExists: makes }, forward);
    if (typeof source !== 'string' && !(source instanceof Weirpool) && handle === undefined) {
      throw new TypeError('A level database is made from a directory, a Weirpool, or a `handle`');
    }
    if (attached !== undefined && handle === undefined) {
      throw new TypeError('`attached` goes with the handle of another thread');
    }
    if (handle !== undefined && tree !== undefined && tree !== handle.tree) {
      // Its words say which snapshots of its own tree are open.
      throw new TypeError(
        `The handle is that of the tree ${JSON.stringify(handle.tree)}: another tree's database has its own`,
      );
    }
    this.#source = source;
    this.#tree = tree ?? handle?.tree ?? TREE_DEFAULT;
    this.#durability = checkDurability(durability ?? handle?.durability ?? 'written');
    this.#storeOptions = store;
    this.#attached = attached;
  }

  /** The directory, where the database was made from one. */
  get location(): string | undefined {
    return typeof this.#source === 'string' ? this.#source : undefined;
  }

  /**
   * The store below: statistics, rounds, `backup`. Write to the tree through the database only.
   *
   * @throws `LEVEL_DATABASE_NOT_OPEN`.
   */
  get store(): Weirpool {
    return this.#opened.store;
  }

  /**
   * For other threads of this process, as long as the database is open here.
   *
   * @throws `LEVEL_DATABASE_NOT_OPEN`.
   */
  get handle(): WeirLevelHandle {
    const { store, database } = this.#opened;
    return {
      store: store.handle,
      tree: this.#tree,
      words: database.words,
      durability: this.#durability,
    };
  }

  get #opened(): OpenState {
    if (this.#state !== undefined) return this.#state;
    throw new LevelError('LEVEL_DATABASE_NOT_OPEN', 'Database is not open');
  }

  // --- opening -------------------------------------------------------------------------------------------

  /** @internal */
  async _open(options: AbstractOpenOptions): Promise<void> {
    const { store, owned, words } = await this.#openStore(options);
    try {
      if (words === undefined) this.#assertTree(store, options);
      const database = acquireDatabase(store, this.#tree, words);
      this.#state = { store, owned, database, settler: new Settler(store) };
    } catch (error) {
      if (owned) await store.close();
      throw error;
    }
  }

  async #openStore({ createIfMissing }: AbstractOpenOptions): Promise<{
    readonly store: Weirpool;
    readonly owned: boolean;
    readonly words: SharedArrayBuffer | undefined;
  }> {
    const source = this.#source;
    if (source instanceof Weirpool) return { store: source, owned: false, words: undefined };
    if (isHandle(source)) {
      const { words } = source;
      if (this.#attached !== undefined) return { store: this.#attached, owned: false, words };
      return { store: await Weirpool.attach(source.store), owned: true, words };
    }
    const options = this.#storeOptions;
    if (createIfMissing === false && !holdsStore(source, options.fileSystem)) throw missing(source);
    const store = await Weirpool.open(source, { ...options, log: this.#logOptions });
    return { store, owned: true, words: undefined };
  }

  /**
   * The journal cannot write while it syncs. Who has every write given to the system at once needs no sync
   * five times a second beside it.
   */
  get #logOptions(): NonNullable<WeirpoolOptions['log']> {
    const { log } = this.#storeOptions;
    return this.#durability === 'none' ? { ...log } : { intervalMs: SYNC_INTERVAL_MS, ...log };
  }

  /** A database is there if its tree is. */
  #assertTree(store: Weirpool, { createIfMissing, errorIfExists }: AbstractOpenOptions): void {
    const there = store.hasTree(this.#tree);
    const name = `${this.location ?? 'The store'} (tree ${JSON.stringify(this.#tree)})`;
    if (there && errorIfExists === true) {
      throw new LevelError('LEVEL_DATABASE_EXISTS', `${name} exists (errorIfExists is true)`);
    }
    if (!there && createIfMissing === false) throw missing(name);
  }

  /** @internal */
  async _close(): Promise<void> {
    const state = this.#state;
    if (state === undefined) return;
    this.#state = undefined;
    try {
      state.database.release();
    } finally {
      if (state.owned) await state.store.close();
    }
  }

  // --- reading -------------------------------------------------------------------------------------------

  /** @internal */
  _get(key: Formatted, options: ReadGiven): Formatted | undefined {
    return this._getSync(key, options);
  }

  /** @internal */
  _getSync(key: Formatted, { valueEncoding, snapshot }: ReadGiven): Formatted | undefined {
    const { database } = this.#opened;
    return database.get(key, valueEncoding as Format, snapshot?.epochIn(database));
  }

  /** @internal */
  _getMany(keys: readonly Formatted[], { valueEncoding, snapshot }: ReadGiven): unknown[] {
    return this.#readMany(keys, snapshot, (database, key, epoch) =>
      database.get(key, valueEncoding as Format, epoch),
    );
  }

  /** @internal */
  async _has(key: Formatted, { snapshot }: ReadGiven): Promise<boolean> {
    const { database } = this.#opened;
    return database.has(key, snapshot?.epochIn(database));
  }

  /** @internal */
  async _hasMany(keys: readonly Formatted[], { snapshot }: ReadGiven): Promise<boolean[]> {
    return this.#readMany(keys, snapshot, (database, key, epoch) => database.has(key, epoch));
  }

  /** Reads keys of one moment: several without a snapshot have one of their own. */
  #readMany<T>(
    keys: readonly Formatted[],
    snapshot: WeirSnapshot | null | undefined,
    read: (database: Database, key: Formatted, epoch: number | undefined) => T,
  ): T[] {
    const { database } = this.#opened;
    const given = snapshot?.epochIn(database);
    if (given !== undefined || keys.length < 2)
      return keys.map((key) => read(database, key, given));
    const epoch = database.openSnapshot();
    try {
      return keys.map((key) => read(database, key, epoch));
    } finally {
      database.closeSnapshot(epoch);
    }
  }

  /** @internal */
  _iterator(options: ReadingOptions): AbstractIterator<this, K, V> {
    const iterator = new WeirIterator<K, V>(this, this.#opened.database, options);
    return iterator as unknown as AbstractIterator<this, K, V>;
  }

  /** @internal */
  _keys(options: ReadingOptions): AbstractKeyIterator<this, K> {
    const iterator = new WeirKeyIterator<K, V>(this, this.#opened.database, options);
    return iterator as unknown as AbstractKeyIterator<this, K>;
  }

  /** @internal */
  _values(options: ReadingOptions): AbstractValueIterator<this, K, V> {
    const iterator = new WeirValueIterator<K, V>(this, this.#opened.database, options);
    return iterator as unknown as AbstractValueIterator<this, K, V>;
  }

  /** @internal */
  _snapshot(options: SnapshotOptions): AbstractSnapshot {
    return new WeirSnapshot(this.#opened.database, options);
  }

  // --- writing -------------------------------------------------------------------------------------------

  // What these add to abstract-level's are the types of `sync`.

  override put(key: K, value: V, options?: WriteOptions): Promise<void>;
  override put<KO = K, VO = V>(
    key: KO,
    value: VO,
    options: AbstractPutOptions<KO, VO> & WriteOptions,
  ): Promise<void>;
  override put(key: never, value: never, options?: object): Promise<void> {
    return super.put(key, value, options as object);
  }

  override del(key: K, options?: WriteOptions): Promise<void>;
  override del<KO = K>(key: KO, options: AbstractDelOptions<KO> & WriteOptions): Promise<void>;
  override del(key: never, options?: object): Promise<void> {
    return super.del(key, options as object);
  }

  override clear(options?: AbstractClearOptions<K> & WriteOptions): Promise<void>;
  override clear<KO = K>(options: AbstractClearOptions<KO> & WriteOptions): Promise<void>;
  override clear(options?: object): Promise<void> {
    return super.clear(options as object);
  }

  override batch(): AbstractChainedBatch<this, K, V>;
  override batch(
    operations: AbstractBatchOperation<this, K, V>[],
    options?: WriteOptions,
  ): Promise<void>;
  override batch<KO = K, VO = V>(
    operations: AbstractBatchOperation<this, KO, VO>[],
    options: AbstractBatchOptions<KO, VO> & WriteOptions,
  ): Promise<void>;
  override batch(...given: never[]): never {
    // Handed on as they are: without any argument it begins a chained batch.
    return super.batch(...(given as unknown as [never[]])) as never;
  }

  /** @internal */
  _put(key: Formatted, value: Formatted, options: WriteOptions): Promise<void> {
    return this.#write({ type: 'put', key, value }, options);
  }

  /** @internal */
  _del(key: Formatted, options: WriteOptions): Promise<void> {
    return this.#write({ type: 'del', key }, options);
  }

  /** @internal */
  async _batch(operations: readonly Operation[], options: WriteOptions): Promise<void> {
    await this.#settled(this.#opened.database.batch(operations), options);
  }

  /** @internal */
  async _clear(options: ReadingOptions & WriteOptions): Promise<void> {
    const { database, store } = this.#opened;
    const { limit = -1, reverse = false, snapshot } = options;
    database.clear(boundsOf(options), {
      reverse,
      limit: limit < 0 ? Number.POSITIVE_INFINITY : limit,
      epoch: snapshot?.epochIn(database),
    });
    await this.#settled(store.pool.core.log?.durability.lastSeq ?? 0, options);
  }

  /** Puts and deletes of this turn are made together. */
  #write(given: Operation, options: WriteOptions): Promise<void> {
    const { database, settler } = this.#opened;
    const { group, operation } = database.later(given);
    const settled = settler.settleGroup(group, this.#levelOf(options));
    const assertMade = (): void => group.assertMade(operation);
    return settled.then(assertMade, (error: unknown) => {
      // What was not made says why itself.
      assertMade();
      throw error;
    });
  }

  #settled(seq: number, options: WriteOptions): Promise<void> | undefined {
    return this.#opened.settler.settle(seq, this.#levelOf(options));
  }

  #levelOf({ sync }: WriteOptions): DurabilityLevel {
    return sync === true ? 'synced' : this.#durability;
  }
}

function isHandle(source: unknown): source is WeirLevelHandle {
  const { store, words } = (source ?? {}) as Partial<WeirLevelHandle>;
  return typeof store === 'object' && words instanceof SharedArrayBuffer;
}

function missing(name: string): LevelError {
  return new LevelError(
    'LEVEL_DATABASE_MISSING',
    `${name} does not exist (createIfMissing is false)`,
  );
}
