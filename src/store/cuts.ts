/**
 * Cuts: the committed mapping as it was at one commit, for as long as somebody reads it.
 *
 * Owns:        this thread's entries in the table of snapshots; private copies of mappings.
 * Invariants:  I6  an entry is made under the commit lock, and counts for the mapping that was
 *                  committed then; a copy is used only if the mapping is still that one behind it,
 *                  and the entry ends after its last reader: meanwhile no slot that the copy names is
 *                  written (assembly/snapshots.ts).
 * Threads:     one object for each thread. What a thread leaves open ends with it.
 */
import { WeirpoolError } from '../errors.ts';
import {
  H_MAP_COUNT,
  NONE,
  SNAPSHOT_COMMIT,
  SNAPSHOT_ENTRIES,
  SNAPSHOT_ENTRY,
  SNAPSHOT_SEQ,
  SNAPSHOT_VERSION,
  SNAPSHOTS,
} from '../generated/layout.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import type { BlobId, BlobMapping } from './contract.ts';
import type { MappedStore } from './mapped-store.ts';

/** How often a mapping is copied beside commits before they are kept out. */
const COPY_ATTEMPTS = 8;
const HIGH_WORD = 2 ** 32;
/** Knuth's multiplicative hash, for 32 bits. */
const HASH = 0x9e37_79b1;

/** A private copy of a mapping: about 32 bytes for each blob. */
export class CutMapping {
  readonly #ids: Float64Array;
  readonly #slots: Float64Array;
  /** Low and high half of each checksum. */
  readonly #sums: Uint32Array;
  /** Open addressing over the entries, position + 1; 0 is empty. */
  readonly #index: Uint32Array;

  private constructor(count: number) {
    this.#ids = new Float64Array(count);
    this.#slots = new Float64Array(count);
    this.#sums = new Uint32Array(count * 2);
    this.#index = new Uint32Array(2 ** Math.ceil(Math.log2(count * 2 + 1)));
  }

  /** Copies the committed mapping of a version; undefined if it was changed meanwhile. */
  static copy(
    { control, memory, me, outIndex }: PoolThread,
    version: number,
  ): CutMapping | undefined {
    const copy = new CutMapping(memory.load(H_MAP_COUNT));
    const words = outIndex * 2;
    let count = 0;
    for (let at = control.mapNext(0, me); at !== NONE; at = control.mapNext(at + 1, me)) {
      if (count === copy.blobs) return undefined;
      const id = memory.f64[outIndex] as number;
      copy.#ids[count] = id;
      copy.#slots[count] = memory.f64[outIndex + 1] as number;
      copy.#sums[count * 2] = memory.u32[words + 4] as number;
      copy.#sums[count * 2 + 1] = memory.u32[words + 5] as number;
      copy.#index[copy.#place(id)] = ++count;
    }
    // The entries before the version: each of them was read atomically.
    return control.mapVersion() === version && count === copy.blobs ? copy : undefined;
  }

  /** Where the id stands in the index, or the empty place that ends its probe. */
  #place(id: BlobId): number {
    const index = this.#index;
    const mask = index.length - 1;
    for (let at = Math.imul(id % HIGH_WORD, HASH) >>> 0; ; at++) {
      const entry = index[at & mask] as number;
      if (entry === 0 || this.#ids[entry - 1] === id) return at & mask;
    }
  }

  get blobs(): number {
    return this.#ids.length;
  }

  /** Where the blob was, or undefined if the store did not have it. */
  lookup(id: BlobId): BlobMapping | undefined {
    const entry = (this.#index[this.#place(id)] as number) - 1;
    if (entry < 0) return undefined;
    const low = BigInt(this.#sums[entry * 2] as number);
    const high = BigInt(this.#sums[entry * 2 + 1] as number);
    return { id, slot: this.#slots[entry] as number, checksum: (high << 32n) | low };
  }
}

/** One committed state that is being read. */
export interface Cut {
  /** Number of the commit. */
  readonly commit: number;
  /** S: every record up to it is in the cut, and none beyond; 0 without a log. */
  readonly seq: number;
  readonly mapping: CutMapping;
}

interface OpenCut extends Cut {
  /** In the table of snapshots. */
  readonly entry: number;
  readers: number;
}

export class Cuts {
  readonly #thread: PoolThread;
  readonly #store: MappedStore;
  /** By number of the commit: readers of one commit share an entry and a copy. */
  readonly #open = new Map<number, OpenCut>();

  constructor(thread: PoolThread, store: MappedStore) {
    this.#thread = thread;
    this.#store = store;
  }

  /**
   * Takes what is committed now; to be released.
   *
   * @throws {WeirpoolError} `SNAPSHOTS_EXHAUSTED`, `LATCH_HELD`, `POISONED`, `POOL_CLOSED`.
   */
  take(): Cut {
    const { control, me } = this.#thread;
    for (let attempt = 0; attempt < COPY_ATTEMPTS; attempt++) {
      const cut = this.#read(this.#thread.wait(() => control.snapshotOpen(me, PARK_MS)));
      if (cut !== undefined) return cut;
    }
    // Commits come faster than the table can be copied: keep them out for that long.
    return this.#store.exclusively(() => this.takeLocked());
  }

  /** The same for a thread that has the commit lock. */
  takeLocked(): Cut {
    const cut = this.#read(this.#thread.control.snapshotBegin(this.#thread.me));
    if (cut !== undefined) return cut;
    throw new WeirpoolError('INVARIANT_BROKEN', 'The mapping was changed without the commit lock.');
  }

  /** The cut of an entry; undefined, and the entry ended, if the next commit was faster. */
  #read(entry: number): Cut | undefined {
    if (entry === NONE) throw exhausted();
    const { memory, control, me } = this.#thread;
    const at = SNAPSHOTS + entry * SNAPSHOT_ENTRY;
    const commit = memory.loadU64(at + SNAPSHOT_COMMIT);
    const known = this.#open.get(commit);
    let mapping: CutMapping | undefined;
    try {
      mapping = known?.mapping ?? CutMapping.copy(this.#thread, memory.load(at + SNAPSHOT_VERSION));
    } finally {
      if (known !== undefined || mapping === undefined) control.snapshotEnd(entry, me);
    }
    if (known !== undefined) {
      known.readers++;
      return known;
    }
    if (mapping === undefined) return undefined;
    const seq = memory.loadU64(at + SNAPSHOT_SEQ);
    const cut = { commit, seq, mapping, entry, readers: 1 };
    this.#open.set(commit, cut);
    return cut;
  }

  /** Lets a cut go; each taking is released once. Whether that was its last reader. */
  release({ commit }: Cut): boolean {
    const cut = this.#open.get(commit);
    if (cut === undefined || --cut.readers > 0) return false;
    this.#open.delete(commit);
    // Who has left the pool has given everything back, and the slot may be another thread's now.
    if (this.#thread.attached) this.#thread.control.snapshotEnd(cut.entry, this.#thread.me);
    return true;
  }

  /** Cuts that this thread reads. */
  get count(): number {
    return this.#open.size;
  }
}

function exhausted(): WeirpoolError {
  return new WeirpoolError(
    'SNAPSHOTS_EXHAUSTED',
    `Snapshots of ${SNAPSHOT_ENTRIES} commits are open already. Close snapshots, and end consistent ` +
      'scans, that are no longer read.',
    { details: { snapshots: SNAPSHOT_ENTRIES } },
  );
}
