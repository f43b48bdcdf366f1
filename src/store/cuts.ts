/**
 * Cuts: the committed mapping as it was at one commit, for as long as somebody reads it.
 *
 * Owns:        this thread's entries in the table of snapshots; private copies of mappings.
 * Invariants:  I6  an entry is there before the commit lock is given back under which the mapping was
 *                  copied, and until the last reader of the copy has released it: meanwhile no slot
 *                  that the copy names is written (assembly/snapshots.ts).
 * Threads:     one object for each thread. What a thread leaves open ends with it.
 */
import { WeirpoolError } from '../errors.ts';
import {
  H_CHECKPOINT_SEQ,
  H_COMMIT_NUMBER,
  H_MAP_BASE,
  H_MAP_COUNT,
  H_MAP_MASK,
  M_CHECKSUM,
  M_ID,
  M_SLOT,
  MAP_ENTRY,
  NONE,
  SNAPSHOT_ENTRIES,
} from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import type { PoolThread } from '../memory/thread.ts';
import type { BlobId, BlobMapping } from './contract.ts';
import type { MappedStore } from './mapped-store.ts';

const WORD = Uint32Array.BYTES_PER_ELEMENT;
const WORDS_PER_ENTRY = MAP_ENTRY / WORD;
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

  /** Copies the committed mapping; under the commit lock. */
  constructor(memory: ThreadMemory) {
    const count = memory.load(H_MAP_COUNT);
    this.#ids = new Float64Array(count);
    this.#slots = new Float64Array(count);
    this.#sums = new Uint32Array(count * 2);
    this.#index = new Uint32Array(2 ** Math.ceil(Math.log2(count * 2 + 1)));
    this.#copy(memory);
  }

  #copy({ u32 }: ThreadMemory): void {
    const base = (u32[H_MAP_BASE / WORD] as number) / WORD;
    const end = base + ((u32[H_MAP_MASK / WORD] as number) + 1) * WORDS_PER_ENTRY;
    const word = (at: number): number => u32[at] as number;
    let count = 0;
    for (let at = base; at < end; at += WORDS_PER_ENTRY) {
      const id = word(at + M_ID / WORD) + word(at + M_ID / WORD + 1) * HIGH_WORD;
      if (id === 0) continue;
      this.#ids[count] = id;
      this.#slots[count] = word(at + M_SLOT / WORD);
      this.#sums[count * 2] = word(at + M_CHECKSUM / WORD);
      this.#sums[count * 2 + 1] = word(at + M_CHECKSUM / WORD + 1);
      this.#index[this.#place(id)] = ++count;
    }
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
    return this.#store.exclusively(() => this.takeLocked());
  }

  /** The same for a thread that has the commit lock. */
  takeLocked(): Cut {
    const { memory, control, me } = this.#thread;
    const commit = memory.loadU64(H_COMMIT_NUMBER);
    const known = this.#open.get(commit);
    if (known !== undefined) {
      known.readers++;
      return known;
    }
    const entry = control.snapshotBegin(me);
    if (entry === NONE) throw exhausted();
    try {
      const seq = memory.loadU64(H_CHECKPOINT_SEQ);
      const cut = { commit, seq, mapping: new CutMapping(memory), entry, readers: 1 };
      this.#open.set(commit, cut);
      return cut;
    } catch (error) {
      control.snapshotEnd(entry, me);
      throw error;
    }
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
