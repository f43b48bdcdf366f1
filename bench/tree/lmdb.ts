/**
 * lmdb in the tree benchmark: keys in its default encoding (the fastest for strings), values as bytes,
 * the file mapped at full length from the start, no version, no cache of objects.
 *
 * `noSync` where nothing is to be synced: commits then stay with the operating system.
 */
import { join } from 'node:path';
import { requirePeer } from './peers.ts';
import type { Span, Store, StoreOptions, Supply } from './store.ts';
import { indexOf, wordAt } from './workload.ts';

interface Database {
  getBinary(key: string): Uint8Array | undefined;
  getBinaryFast(key: string): Uint8Array | undefined;
  put(key: string, value: Uint8Array): Promise<boolean>;
  putSync(key: string, value: Uint8Array): void;
  transactionSync<T>(action: () => T): T;
  getRange(options?: object): Iterable<{ readonly key: string; readonly value: Uint8Array }>;
  getKeys(options?: object): Iterable<string>;
  readonly flushed: Promise<boolean>;
  close(): Promise<void>;
}

interface Lmdb {
  open(options: object): Database;
}

const MAP_BYTES = 2 ** 30;

export class LmdbStore implements Store {
  readonly #db: Database;
  readonly #supply: Supply;

  constructor({ directory, supply }: StoreOptions, isSynced = false) {
    this.#supply = supply;
    this.#db = requirePeer<Lmdb>('lmdb').open({
      path: join(directory, 'data.mdb'),
      encoding: 'binary',
      mapSize: MAP_BYTES,
      noMemInit: true,
      noSync: !isSynced,
    });
  }

  get(key: string): Uint8Array | undefined {
    return this.#db.getBinary(key);
  }

  read(key: string): number {
    const value = this.#db.getBinaryFast(key);
    return value === undefined ? -1 : wordAt(value, 0);
  }

  putEach({ order, from, end }: Span): void {
    const { keys, values } = this.#supply;
    for (let at = from; at < end; at++) {
      const index = order[at] as number;
      this.#db.putSync(keys[index] as string, values.of(index));
    }
  }

  putBatch({ order, from, end }: Span): void {
    const { keys, values } = this.#supply;
    this.#db.transactionSync(() => {
      for (let at = from; at < end; at++) {
        const index = order[at] as number;
        this.#db.putSync(keys[index] as string, values.of(index));
      }
    });
  }

  scan(): number {
    let sum = 0;
    for (const { key, value } of this.#db.getRange()) {
      if (key.length > 0) sum += indexOf(value);
    }
    return sum;
  }

  async settle(): Promise<void> {
    await this.#db.flushed;
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
