/**
 * The history: what keys had before they were changed while a snapshot was open, in a tree of its own.
 *
 * Owns:        the tree; the saving before a write, the looking up, the clearing.
 * Invariants:  H1   under (key, epoch) stands what the key had when the epoch began, or that it had
 *                   nothing; a snapshot of epoch s sees the lowest epoch >= s that is there, and without
 *                   one what the main tree has;
 *              H2   a write saves before it changes, and a read looks at the main tree before it looks here:
 *                   who has seen a change finds what was before it;
 *              H3   what an open snapshot needs is not deleted.
 * Threads:     one object for each thread and database; any number of them saves and reads at once.
 *
 * Saving needs no lock. A writer reads the main tree first, and then looks whether (key, epoch) is there
 * already. If it is not, nobody had changed the key under this epoch when the main tree was read, for whoever
 * does has saved before: what was read is what H1 asks for. Two writers of one key may both find nothing;
 * then both have read the same, and it does not matter who is the second to put it. Nor need saving and
 * writing be one batch: what was saved for a write that never came is what the main tree still has.
 */
import { Buffer } from 'node:buffer';
import { COLLECT_KEYS, COLLECT_VALUES, type Cursor } from '../tree/cursor.ts';
import { keyIn as rawKeyIn, valueIn as rawValueIn } from '../tree/range.ts';
import type { BatchOperation, Tree } from '../tree/tree.ts';
import {
  epochIn,
  escapedIn,
  historyBase,
  historyBound,
  historyKey,
  historyKeyBytes,
  keyIn,
} from './history-key.ts';
import type { OpenEpochs, Versions } from './versions.ts';

/** A tree whose keys and values are bytes, or strings that are stored as UTF-8. */
export type RawTree = Tree<Uint8Array | string, Uint8Array | string>;

/** A key, and what it had; undefined: nothing. */
export interface Saved {
  readonly key: Buffer;
  readonly value: Buffer | undefined;
}

/** Part of the keys; undefined: no bound. */
export interface SavedRange {
  readonly low: Uint8Array | undefined;
  readonly lowExclusive: boolean;
  readonly high: Uint8Array | undefined;
  readonly highInclusive: boolean;
}

const NOTHING = Buffer.from([0]);
const SOMETHING = Buffer.from([1]);
/** Bytes that are saved with one record. */
const CHUNK_BYTES = 256 * 1024;
/** Entries saved before they are worth a sweep. */
const SWEEP_SAVED_MIN = 4096;
/** Entries that are looked at in one go while sweeping. */
const SWEEP_ENTRIES = 512;
const EPOCH_LAST = 0xffff_ffff;
const BOTH = COLLECT_KEYS | COLLECT_VALUES;

function unwrap(value: Buffer): Buffer | undefined {
  return value[0] === 0 ? undefined : value.subarray(1);
}

export class History {
  readonly #main: RawTree;
  readonly #tree: RawTree;
  readonly #versions: Versions;
  readonly #keyBytesMax: number;

  constructor(main: RawTree, tree: RawTree, versions: Versions) {
    this.#keyBytesMax = tree.limits.keyBytesMax;
    this.#main = main;
    this.#tree = tree;
    this.#versions = versions;
  }

  // --- saving --------------------------------------------------------------------------------------------

  /** Saves what the keys have, for they are about to be changed. Inside a write only. */
  save(keys: readonly (Uint8Array | string)[]): void {
    const base = this.#versions.base;
    const epoch = this.#versions.noteDirty();
    let operations: BatchOperation<Uint8Array, Uint8Array>[] = [];
    let bytes = 0;
    for (const given of keys) {
      const key = typeof given === 'string' ? Buffer.from(given) : given;
      if (!this.#hasRoomFor(key)) continue;
      // In this order, see above.
      const value = this.#main.get(key) as Buffer | undefined;
      const historical = historyKey(base, key, epoch);
      if (this.#tree.has(historical)) continue;
      const saved = value === undefined ? NOTHING : Buffer.concat([SOMETHING, value]);
      operations.push({ type: 'put', key: historical, value: saved });
      bytes += historical.length + saved.length;
      if (bytes < CHUNK_BYTES) continue;
      this.#put(operations);
      operations = [];
      bytes = 0;
    }
    this.#put(operations);
  }

  #put(operations: BatchOperation<Uint8Array, Uint8Array>[]): void {
    const [first] = operations;
    if (first === undefined) return;
    if (operations.length === 1 && first.type === 'put') this.#tree.put(first.key, first.value);
    else this.#tree.batch(operations);
    this.#versions.noteSaved(operations.length);
  }

  // --- reading -------------------------------------------------------------------------------------------

  /** What is saved of a key for a snapshot; undefined: the main tree has it still. */
  find(key: Uint8Array | string, epoch: number): { value: Buffer | undefined } | undefined {
    const bytes = typeof key === 'string' ? Buffer.from(key) : key;
    if (!this.#hasRoomFor(bytes)) return undefined;
    const { base } = this.#versions;
    const low = historyKey(base, bytes, epoch);
    // Most snapshots are the youngest: nothing is saved under a later epoch.
    const exact = this.#tree.get(low) as Buffer | undefined;
    if (exact !== undefined) return { value: unwrap(exact) };
    if (this.#versions.isClean(epoch + 1)) return undefined;
    const bounds = {
      low,
      lowExclusive: false,
      high: historyKey(base, bytes, EPOCH_LAST),
      highInclusive: true,
    };
    const batch = this.#tree.cursor(bounds, { what: BOTH, reverse: false }).next(1);
    return batch && { value: unwrap(rawValueIn(batch, 0)) };
  }

  /** What is saved of a range for a snapshot, in order. */
  scan(range: SavedRange, epoch: number, reverse: boolean): SavedScan {
    const { base } = this.#versions;
    const { low, lowExclusive, high, highInclusive } = range;
    const bounds = {
      low: low === undefined ? historyBase(base) : this.#bound(base, low, lowExclusive),
      lowExclusive: false,
      high: high === undefined ? historyBase(base + 1) : this.#bound(base, high, highInclusive),
      highInclusive: false,
    };
    return new SavedScan(this.#tree.cursor(bounds, { what: BOTH, reverse }), epoch);
  }

  /** Whether a key may be there at all: what the history has no room for, nobody could put. */
  #hasRoomFor(key: Uint8Array): boolean {
    return historyKeyBytes(key) <= this.#keyBytesMax;
  }

  /**
   * A bound, without what goes beyond the longest key. No key of the history is the beginning of a bound,
   * so that each lies on the same side of the shorter one.
   */
  #bound(base: number, key: Uint8Array, behind: boolean): Buffer {
    return historyBound(base, key, behind).subarray(0, this.#keyBytesMax);
  }

  // --- clearing ------------------------------------------------------------------------------------------

  clearBelow(base: number): void {
    if (base > 0) this.#tree.clear({ lt: historyBase(base) });
  }

  clearAll(): void {
    this.#tree.clear();
  }

  /**
   * Deletes what no open snapshot needs, where others stay open: with snapshots that overlap for ever the
   * history would grow for ever. Gives way between its steps; ends at once when nobody has to.
   *
   * @param goOn  Asked before each step: false ends it.
   */
  async sweep(goOn: () => boolean): Promise<void> {
    const versions = this.#versions;
    if (!versions.beginSweep(SWEEP_SAVED_MIN)) return;
    let kept = 0;
    try {
      const open = versions.openEpochs();
      const bounds = {
        low: historyBase(versions.base),
        lowExclusive: false,
        high: undefined,
        highInclusive: false,
      };
      const cursor = this.#tree.cursor(bounds, { what: COLLECT_KEYS, reverse: false });
      const step = new SweepStep(open);
      while (goOn()) {
        const batch = cursor.next(SWEEP_ENTRIES);
        if (batch === undefined) break;
        const dead: BatchOperation<Uint8Array, Uint8Array>[] = [];
        for (let index = 0; index < batch.count; index++) {
          const key = rawKeyIn(batch, index);
          if (step.isDead(key)) dead.push({ type: 'del', key });
          else kept++;
        }
        this.#tree.batch(dead);
        await new Promise((done) => setImmediate(done));
      }
    } finally {
      versions.endSweep(kept);
    }
  }
}

/**
 * Judges entries in order. One of epoch e is read by the snapshots from the epoch behind the entry before it
 * (of the same key) up to e; if none of these is open, nobody reads it, nor ever will: epochs that begin
 * later are higher.
 */
class SweepStep {
  readonly #open: OpenEpochs;
  #escaped: Buffer = Buffer.alloc(0);
  #before = 0;

  constructor(open: OpenEpochs) {
    this.#open = open;
  }

  isDead(historical: Buffer): boolean {
    const escaped = escapedIn(historical);
    const epoch = epochIn(historical);
    if (!escaped.equals(this.#escaped)) {
      this.#escaped = escaped;
      this.#before = 0;
    }
    const before = this.#before;
    this.#before = epoch;
    const { epoch: now, epochs, from } = this.#open;
    if (epoch >= now || epoch >= from) return false;
    return !epochs.some((open) => open > before && open <= epoch);
  }
}

/** Goes through what is saved of a range, a key at a time. */
export class SavedScan {
  readonly #cursor: Cursor;
  readonly #epoch: number;
  #batch: ReturnType<Cursor['next']>;
  #index = 0;
  #next: Saved | undefined;

  constructor(cursor: Cursor, epoch: number) {
    this.#cursor = cursor;
    this.#epoch = epoch;
    this.#batch = cursor.next();
    this.#next = this.#find();
  }

  /** The next key for which there is something, and what; it stays until `advance`. */
  get peek(): Saved | undefined {
    return this.#next;
  }

  advance(): void {
    this.#next = this.#find();
  }

  /** The winner of the next key: of its entries that count, the one of the lowest epoch. */
  #find(): Saved | undefined {
    let found:
      | { readonly escaped: Buffer; historical: Buffer; value: Buffer; epoch: number }
      | undefined;
    for (;;) {
      const batch = this.#batch;
      if (batch === undefined) break;
      if (this.#index === batch.count) {
        this.#batch = this.#cursor.next();
        this.#index = 0;
        continue;
      }
      const historical = rawKeyIn(batch, this.#index);
      const escaped = escapedIn(historical);
      if (found !== undefined && !escaped.equals(found.escaped)) break;
      const epoch = epochIn(historical);
      if (epoch >= this.#epoch && (found === undefined || epoch < found.epoch)) {
        found = { escaped, historical, value: rawValueIn(batch, this.#index), epoch };
      }
      this.#index++;
    }
    return found && { key: keyIn(found.historical), value: unwrap(found.value) };
  }
}
