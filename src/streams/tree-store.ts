/**
 * A tree of a Weirpool store as an inner store: what was flushed survives as the tree's changes do.
 *
 * Owns:        nothing.
 * Threads:     one object for each thread; caches of several threads over one tree do not know of each
 *              other's changes that are not flushed yet.
 */
import type { WeirpoolError } from '../errors.ts';
import type { PutOptions } from '../tree/store.ts';
import type { RangeOptions, Tree } from '../tree/tree.ts';
import type { ByteEntry, ByteRange, ByteWrite, SyncByteStore } from './byte-store.ts';

/** No blob size and no ring allows less: below them nothing needs to be asked. */
const KEY_BYTES_SAFE = 512;
const VALUE_BYTES_SAFE = 2048;

export class TreeStore implements SyncByteStore {
  readonly mode = 'sync';
  readonly #tree: Tree;
  readonly #options: PutOptions;

  /**
   * @param options  `durability`: how safe changes are when a flush returns. Default `none`: wait with
   *                 `db.durable()` for as much as you like.
   */
  constructor(tree: Tree, options: PutOptions = {}) {
    this.#tree = tree;
    this.#options = options;
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

  clear(): void {
    this.#tree.clear();
    const { durability = 'none' } = this.#options;
    if (durability === 'none') return;
    // Clearing has no durability of its own; a record that changes nothing, and comes behind it, has.
    const key = new Uint8Array(1);
    this.#tree.batch(
      [
        { type: 'put', key, value: key },
        { type: 'del', key },
      ],
      this.#options,
    );
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

  assertEntry(key: Uint8Array, value: Uint8Array): void {
    if (key.length > KEY_BYTES_SAFE) this.#tree.has(key);
    if (value.length > VALUE_BYTES_SAFE) this.#tree.entryOf({ type: 'put', key, value });
  }
}
