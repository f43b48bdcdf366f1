/**
 * A tree of a Weirpool store as an inner store: what was flushed survives as the tree's changes do.
 *
 * Owns:        nothing.
 * Threads:     one object for each thread; caches of several threads over one tree do not know of each
 *              other's changes that are not flushed yet.
 */
import type { WeirpoolError } from '../errors.ts';
import { H_LOG_TAIL } from '../generated/layout.ts';
import { integerBetween } from '../pool/integer-between.ts';
import { type Batch, COLLECT_KEYS, COLLECT_VALUES, type Cursor } from '../tree/cursor.ts';
import type { PutOptions } from '../tree/store.ts';
import type { RangeOptions, Tree } from '../tree/tree.ts';
import type { ByteEntry, ByteRange, ByteWrite, SyncByteStore } from './byte-store.ts';
import type { Slot, Source } from './slot.ts';

const ENTRY_HEADER_BYTES = 8;
/** Entries of the first batch of a range: enough for most, little enough to be read in vain. */
const FIRST_BATCH = 128;

class TreeSource implements Source {
  readonly #cursor: Cursor;
  #batch: Batch | undefined;
  #index = 0;
  #size = FIRST_BATCH;

  constructor(cursor: Cursor) {
    this.#cursor = cursor;
  }

  fill(slot: Slot): boolean {
    if (this.#index === (this.#batch?.count ?? 0)) {
      this.#batch = this.#cursor.next(this.#size);
      this.#size = Number.POSITIVE_INFINITY;
      this.#index = 0;
    }
    if (this.#batch === undefined) return false;
    const { bytes, places } = this.#batch;
    const place = 3 * this.#index++;
    const keyAt = places[place] as number;
    slot.key = bytes;
    slot.keyAt = keyAt;
    // An entry's header is the lengths of its key and its value.
    slot.keyEnd = keyAt + bytes.readUInt32LE(keyAt - ENTRY_HEADER_BYTES);
    slot.value = bytes;
    slot.valueAt = places[place + 1] as number;
    slot.valueEnd = places[place + 2] as number;
    return true;
  }

  end(): void {}
}

export interface TreeStoreOptions extends PutOptions {
  /**
   * Entries of a flush that are written as one record, which after a crash is there as a whole or not
   * at all. Default 2,000: larger batches take about four times as long for each entry. With Infinity a
   * flush is one record as far as the log and the frames allow.
   */
  readonly batchMax?: number;
}

/** As far as batches of a tree are at their best. */
const BATCH_DEFAULT = 2000;

export class TreeStore implements SyncByteStore {
  readonly mode = 'sync';
  readonly batchMax: number;
  readonly #tree: Tree;
  readonly #options: PutOptions;
  readonly #limits: Tree['limits'];

  /**
   * @param options  `durability`: how safe changes are when a flush returns. Default `none`: wait with
   *                 `db.durable()` for as much as you like.
   */
  constructor(tree: Tree, { batchMax = BATCH_DEFAULT, ...options }: TreeStoreOptions = {}) {
    if (batchMax !== Number.POSITIVE_INFINITY) {
      integerBetween('batchMax', batchMax, 1, Number.MAX_SAFE_INTEGER);
    }
    this.#tree = tree;
    this.batchMax = batchMax;
    this.#options = options;
    this.#limits = tree.limits;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#tree.get(key);
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#tree.put(key, value, this.#options);
  }

  delete(key: Uint8Array): void {
    this.#tree.delete(key, this.#options);
  }

  range({ low, high, reverse }: ByteRange): Iterable<ByteEntry> {
    const options: RangeOptions<Uint8Array> = {
      reverse,
      ...(low && { gte: low }),
      ...(high && { lt: high }),
    };
    return this.#tree.range(options);
  }

  /** @internal */
  rangeInPlace({ low, high, reverse }: ByteRange): Source {
    const bounds = { low, lowExclusive: false, high, highInclusive: false };
    const what = COLLECT_KEYS | COLLECT_VALUES;
    return new TreeSource(this.#tree.cursor(bounds, { what, reverse }));
  }

  clear(): void {
    this.#tree.clear();
    const { durability = 'none' } = this.#options;
    if (durability === 'none') return;
    // Clearing has no durability of its own. Up to the end of the log, not to this thread's last record:
    // what others had deleted is not in the latter.
    const { core, log } = this.#tree.place.store;
    log.durability.durableSync(core.memory.loadU64(H_LOG_TAIL), durability);
  }

  /** One record of the log: after a crash all of it is there, or nothing. */
  batch(writes: readonly ByteWrite[]): void {
    const operations = writes.map(({ key, value }) =>
      value === undefined
        ? ({ type: 'del', key } as const)
        : ({ type: 'put', key, value } as const),
    );
    this.#tree.batch(operations, this.#options);
  }

  isTooLarge(error: unknown): boolean {
    const { code } = error as Partial<WeirpoolError>;
    return code === 'RECORD_TOO_LARGE' || code === 'OP_TOO_LARGE';
  }

  assertEntry(key: Uint8Array, value: Uint8Array | undefined): void {
    const { keyBytesMax, valueBytesMax } = this.#limits;
    const valueBytes = value?.length ?? 0;
    if (key.length <= keyBytesMax && valueBytes <= valueBytesMax) return;
    throw new RangeError(
      `A key has at most ${keyBytesMax} bytes here, a value ${valueBytesMax}; these have ` +
        `${key.length} and ${valueBytes}`,
    );
  }
}
