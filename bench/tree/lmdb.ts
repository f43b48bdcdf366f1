/**
 * lmdb in the tree benchmark: keys in its default encoding (the fastest for strings), values as bytes,
 * the file mapped at full length from the start.
 *
 * Where nothing is to be synced it writes through its map and does not sync, which makes commits half
 * as costly. Single puts are asynchronous: lmdb makes one transaction of all that are under way.
 */
import { join } from 'node:path';
import { requirePeer } from './peers.ts';
import {
  dataBytesBelow,
  rollUpAll,
  rollUpSeeking,
  type Store,
  type StoreOptions,
} from './store.ts';
import { indexOf, type Supply, wordAt } from './workload.ts';

interface Database {
  getBinary(key: string): Uint8Array | undefined;
  getBinaryFast(key: string): Uint8Array | undefined;
  put(key: string, value: Uint8Array): Promise<boolean>;
  putSync(key: string, value: Uint8Array): void;
  removeSync(key: string): boolean;
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
  readonly #directory: string;

  constructor({ directory, purpose }: StoreOptions) {
    this.#directory = directory;
    const isSynced = purpose === 'synced';
    // A file that is written through the map is as long as the map.
    const isShort = isSynced || purpose === 'small';
    this.#db = requirePeer<Lmdb>('lmdb').open({
      path: join(directory, 'data.mdb'),
      encoding: 'binary',
      mapSize: MAP_BYTES,
      noMemInit: true,
      noSync: !isSynced,
      useWritemap: !isShort,
    });
  }

  get(key: string): Uint8Array | undefined {
    return this.#db.getBinary(key);
  }

  read(key: string): number {
    const value = this.#db.getBinaryFast(key);
    return value === undefined ? -1 : wordAt(value, 0);
  }

  put(key: string, value: Uint8Array): Promise<unknown> {
    return this.#db.put(key, value);
  }

  async putSynced(key: string, value: Uint8Array): Promise<unknown> {
    await this.#db.put(key, value);
    return this.#db.flushed;
  }

  putBatch(supply: Supply, from: number, end: number): void {
    this.#db.transactionSync(() => {
      for (let at = from; at < end; at++) {
        this.#db.putSync(supply.keys[at] as string, supply.valueAt(at));
      }
    });
  }

  deleteBatch({ keys }: Supply, from: number, end: number): void {
    this.#db.transactionSync(() => {
      for (let at = from; at < end; at++) this.#db.removeSync(keys[at] as string);
    });
  }

  scan(): number {
    let sum = 0;
    for (const { key, value } of this.#db.getRange()) {
      if (key.length > 0) sum += indexOf(value);
    }
    return sum;
  }

  rollUp(): string[] {
    return rollUpAll(this.#db.getKeys());
  }

  rollUpBySeeks(): string[] {
    return rollUpSeeking((start) => {
      for (const key of this.#db.getKeys({ start, limit: 1 })) return key;
      return undefined;
    });
  }

  async settle(): Promise<void> {
    await this.#db.flushed;
  }

  liveBytes(): number {
    return dataBytesBelow(this.#directory);
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
