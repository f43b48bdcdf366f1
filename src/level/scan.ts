/**
 * A scan of the main tree as one snapshot sees it.
 *
 * Owns:        the place in the scan; nothing is held between two chunks.
 * Invariants:  H2   a chunk of the main tree is read first, then what is saved of the very range that it
 *                   covers;
 *              while nothing was written since the epoch began, the history is not looked at.
 * Threads:     one at a time.
 */
import { Buffer } from 'node:buffer';
import {
  type Batch,
  type Bounds,
  COLLECT_KEYS,
  COLLECT_VALUES,
  type Cursor,
} from '../tree/cursor.ts';
import { keyIn, valueIn } from '../tree/range.ts';
import type { History, RawTree, SavedScan } from './history.ts';
import type { Versions } from './versions.ts';

export interface ScanParts {
  readonly main: RawTree;
  /** Undefined in a store that nobody can write to. */
  readonly history: History | undefined;
  readonly versions: Versions | undefined;
}

export interface ScanOptions {
  readonly bounds: Bounds;
  readonly reverse: boolean;
  readonly values: boolean;
  readonly epoch: number;
}

/** Entries of a scan: those of a batch as they lie there, or keys and values apart. */
export type Chunk =
  | { readonly batch: Batch; readonly count: number }
  | { readonly keys: Buffer[]; readonly values: Buffer[]; readonly count: number };

/** Entries that a chunk may get from the history beyond those of the main tree's chunk. */
const SAVED_MAX = 1024;

export class SnapshotScan {
  readonly #parts: ScanParts;
  readonly #options: ScanOptions;
  readonly #cursor: Cursor;
  /** The last key that was read of the main tree. */
  #place: Buffer | undefined;
  #merge: Merge | undefined;
  #ended = false;

  constructor(parts: ScanParts, options: ScanOptions) {
    this.#parts = parts;
    this.#options = options;
    const what = options.values ? COLLECT_KEYS | COLLECT_VALUES : COLLECT_KEYS;
    this.#cursor = parts.main.cursor(options.bounds, { what, reverse: options.reverse });
  }

  /** The next entries, about so many; undefined at the end. */
  next(entries: number): Chunk | undefined {
    for (;;) {
      const merged = this.#merge?.next();
      if (merged !== undefined) return merged;
      this.#merge = undefined;
      if (this.#ended) return undefined;
      const from = this.#place;
      const batch = this.#cursor.next(entries);
      if (batch === undefined) this.#ended = true;
      else this.#place = keyIn(batch, batch.count - 1);
      const { versions, history } = this.#parts;
      const { epoch, reverse } = this.#options;
      if (versions !== undefined && history !== undefined && !versions.isClean(epoch)) {
        const range = this.#rangeOf(from, batch && this.#place);
        this.#merge = new Merge(batch, history.scan(range, epoch, reverse), reverse);
      } else if (batch !== undefined) return { batch, count: batch.count };
    }
  }

  /** Where a chunk lies: behind the last one, up to its last key, or to the end. */
  #rangeOf(from: Buffer | undefined, until: Buffer | undefined): Bounds {
    const { bounds, reverse } = this.#options;
    const [low, high] = reverse ? [until, from] : [from, until];
    return {
      low: low ?? bounds.low,
      lowExclusive: low === undefined ? bounds.lowExclusive : !reverse,
      high: high ?? bounds.high,
      highInclusive: high === undefined ? bounds.highInclusive : !reverse,
    };
  }
}

/** A chunk of the main tree, and what is saved of its range; what is saved wins. */
class Merge {
  readonly #batch: Batch | undefined;
  readonly #saved: SavedScan;
  readonly #sign: number;
  #index = 0;
  #keys: Buffer[] = [];
  #values: Buffer[] = [];

  constructor(batch: Batch | undefined, saved: SavedScan, reverse: boolean) {
    this.#batch = batch;
    this.#saved = saved;
    this.#sign = reverse ? -1 : 1;
  }

  next(): Chunk | undefined {
    this.#keys = [];
    this.#values = [];
    let more = true;
    while (more && this.#keys.length < SAVED_MAX) more = this.#step();
    const count = this.#keys.length;
    return count === 0 ? undefined : { keys: this.#keys, values: this.#values, count };
  }

  /** Deals with the lower key of both sides, or with both if they are one: false at the end. */
  #step(): boolean {
    const batch = this.#batch;
    const saved = this.#saved.peek;
    const isThere = batch !== undefined && this.#index < batch.count;
    if (!isThere && saved === undefined) return false;
    const key = isThere ? keyIn(batch, this.#index) : undefined;
    let order = saved === undefined ? -1 : 1;
    if (key !== undefined && saved !== undefined) {
      order = Buffer.compare(key, saved.key) * this.#sign;
    }
    if (order <= 0) this.#index++;
    if (order < 0) {
      this.#keys.push(key as Buffer);
      this.#values.push(valueIn(batch as Batch, this.#index - 1));
      return true;
    }
    this.#saved.advance();
    const value = saved?.value;
    if (saved !== undefined && value !== undefined) {
      this.#keys.push(saved.key);
      this.#values.push(value);
    }
    return true;
  }
}
