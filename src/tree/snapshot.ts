/**
 * Snapshots: all trees as they were at one moment, whatever writers do meanwhile.
 *
 * Owns:        this thread's open snapshots; the private frames that they are read through.
 * Invariants:  a snapshot is a committed cut whose capture came after the call that asked for it and
 *              before that call returned: what was committed before the call is in it, no batch is in
 *              it in part;
 *              I6  the slots that it names are kept until it is closed; closed by its owner, by the
 *                  end of its thread, or, when it was forgotten, some time after its collection.
 * Threads:     one object for each thread; a snapshot is read by the thread that has taken it.
 */
import type { Buffer } from 'node:buffer';
import type { RoundRequests } from '../checkpoint/requests.ts';
import { H_LOG_TAIL, H_STATUS, STATUS_OPEN } from '../generated/layout.ts';
import { roundRefused } from '../memory/services.ts';
import type { BlobId } from '../store/contract.ts';
import { type Cut, Cuts } from '../store/cuts.ts';
import { decodeEntry, namesIn } from './catalog.ts';
import type { ScanSource } from './cursor.ts';
import { CutReader, CutSource, snapshotClosed } from './snapshot-reader.ts';
import { type Key, TREE_OWNER, type TreeStore } from './store.ts';

/** Where trees are read. */
export interface TreeSource extends ScanSource {
  get(tree: BlobId, key: Key): Buffer | undefined;
  has(tree: BlobId, key: Key): boolean;
}

/** A tree in a snapshot; without a root it was not there. */
export interface SnapshotTree {
  readonly source: TreeSource;
  readonly root: BlobId | undefined;
}

interface SnapshotParts {
  readonly store: TreeStore;
  readonly source: TreeSource;
  readonly seq: number;
  readonly catalog: BlobId | undefined;
  /** Must not lead to the snapshot or to the source: it is kept while they may be collected. */
  readonly release: () => void;
}

const forgotten = new FinalizationRegistry<() => void>((release) => release());

/**
 * All trees of a store at one moment: `tree.get(key, { snapshot })`, `tree.range({ snapshot })` and
 * so on. Close it when it is no longer read: until then the data file keeps what it shows.
 */
export class Snapshot implements Disposable {
  /** Seq of the cut: every change up to it is in the snapshot, and none beyond. */
  readonly seq: number;
  readonly #store: TreeStore;
  readonly #source: TreeSource;
  readonly #catalog: BlobId | undefined;
  readonly #release: () => void;
  readonly #roots = new Map<string, BlobId | undefined>();
  #closed = false;

  /** @internal See `Weirpool.snapshot`. */
  constructor({ store, source, seq, catalog, release }: SnapshotParts) {
    this.#store = store;
    this.#source = source;
    this.seq = seq;
    this.#catalog = catalog;
    this.#release = release;
    if (source instanceof CutSource) source.owner = this;
    forgotten.register(this, release, this);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Names of all trees that were there, in order. */
  trees(): string[] {
    this.#assertOpen();
    return this.#catalog === undefined ? [] : namesIn(this.#source, this.#catalog);
  }

  /** Whether there was a tree of that name. */
  hasTree(name: string): boolean {
    this.#assertOpen();
    return this.#rootOf(name) !== undefined;
  }

  /**
   * @internal A tree of the snapshot.
   * @throws {WeirpoolError} `SNAPSHOT_CLOSED`; {TypeError} the snapshot is another store's.
   */
  treeOf(store: TreeStore, name: string): SnapshotTree {
    if (store !== this.#store) {
      throw new TypeError('The snapshot is of another store, or of another thread');
    }
    this.#assertOpen();
    return { source: this.#source, root: this.#rootOf(name) };
  }

  #assertOpen(): void {
    if (this.#closed) throw snapshotClosed();
  }

  #rootOf(name: string): BlobId | undefined {
    if (this.#roots.has(name)) return this.#roots.get(name);
    const bytes = this.#catalog === undefined ? undefined : this.#source.get(this.#catalog, name);
    const entry = bytes && decodeEntry(bytes);
    const root = entry === undefined || entry.dropping ? undefined : entry.root;
    this.#roots.set(name, root);
    return root;
  }

  /** Lets go what is kept for the snapshot. Idempotent, never throws. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#source instanceof CutSource) this.#source.end();
    forgotten.unregister(this);
    this.#release();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Takes snapshots in one thread. */
export class Snapshots {
  readonly #store: TreeStore;
  readonly #readOnly: boolean;
  /** Entries of this thread's snapshots and of its backups. */
  readonly cuts: Cuts;
  #reader: CutReader | undefined;

  constructor(store: TreeStore, readOnly: boolean) {
    this.#store = store;
    this.#readOnly = readOnly;
    this.cuts = new Cuts(store.core.thread, store.core.store);
  }

  get #rounds(): RoundRequests {
    return this.#store.log.rounds;
  }

  /** Errors: see `Weirpool.snapshot`. */
  take(): Snapshot {
    const { core } = this.#store;
    this.assertOpen();
    if (this.#readOnly) return this.#takeStill();
    if (core.thread.isHolding) throw roundRefused();
    if (!this.#rounds.isSettled) this.#rounds.runSync();
    // Before the cut: it may find no memory, and nobody would let go the cut then.
    this.#reader ??= new CutReader(core.store, core.memory.shared.modules.kernels);
    return this.#open(this.cuts.take(), this.#reader);
  }

  /**
   * A pool that is being closed answers no request for a round any more.
   *
   * @throws {WeirpoolError} `POOL_CLOSED`, `POISONED`.
   */
  assertOpen(): void {
    const { core } = this.#store;
    core.thread.assertRunning();
    if (core.memory.load(H_STATUS) !== STATUS_OPEN) throw core.thread.stopped();
  }

  /** Gives a cut back, with what was read of it. */
  release(cut: Cut): void {
    if (this.cuts.release(cut)) this.#reader?.forget(cut);
  }

  /** A store that is open for reading only never changes. */
  #takeStill(): Snapshot {
    const store = this.#store;
    return new Snapshot({
      store,
      source: store,
      seq: store.core.memory.loadU64(H_LOG_TAIL),
      catalog: store.log.roots.get(TREE_OWNER),
      release: () => undefined,
    });
  }

  #open(cut: Cut, reader: CutReader): Snapshot {
    const { log } = this.#store;
    const catalog = log.roots.get(TREE_OWNER);
    const isThere = catalog !== undefined && cut.mapping.lookup(catalog) !== undefined;
    return new Snapshot({
      store: this.#store,
      source: new CutSource(reader, cut),
      seq: cut.seq,
      catalog: isThere ? catalog : undefined,
      release: () => {
        this.release(cut);
      },
    });
  }
}
