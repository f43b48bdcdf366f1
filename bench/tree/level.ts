/**
 * classic-level in the tree benchmark: `getSync`, chained batches, iterators in steps of 1,000; blocks
 * are not compressed unless the store is to be small.
 *
 * It has no synchronous put: LevelDB writes those that are under way as one group.
 */
import { requirePeer } from './peers.ts';
import { behind, dataBytesBelow, type Store, type StoreOptions, topOf } from './store.ts';
import { indexOf, type Supply, wordAt } from './workload.ts';

interface ChainedBatch {
  put(key: string, value: Uint8Array): this;
  del(key: string): this;
  write(options?: object): Promise<void>;
}

interface Scan<T> {
  nextv(size: number): Promise<T[]>;
  next(): Promise<T | undefined>;
  seek(key: string): void;
  close(): Promise<void>;
}

interface Database {
  open(): Promise<void>;
  getSync(key: string): Uint8Array | undefined;
  put(key: string, value: Uint8Array, options?: object): Promise<void>;
  batch(): ChainedBatch;
  iterator(options?: object): Scan<[string, Uint8Array]>;
  keys(options?: object): Scan<string>;
  compactRange(start: string, end: string): Promise<void>;
  close(): Promise<void>;
}

interface ClassicLevel {
  readonly ClassicLevel: new (directory: string, options: object) => Database;
}

const STEP = 1000;
const STEP_BYTES = 1024 * 1024;
const SYNCED = { sync: true };

export class LevelStore implements Store {
  readonly #db: Database;
  readonly #directory: string;

  private constructor(db: Database, directory: string) {
    this.#db = db;
    this.#directory = directory;
  }

  static async open({ directory, cacheBytes, purpose }: StoreOptions): Promise<LevelStore> {
    const { ClassicLevel } = requirePeer<ClassicLevel>('classic-level');
    const db = new ClassicLevel(directory, {
      keyEncoding: 'utf8',
      valueEncoding: 'buffer',
      cacheSize: cacheBytes,
      compression: purpose === 'small',
      multithreading: true,
    });
    await db.open();
    return new LevelStore(db, directory);
  }

  get(key: string): Uint8Array | undefined {
    return this.#db.getSync(key);
  }

  read(key: string): number {
    const value = this.#db.getSync(key);
    return value === undefined ? -1 : wordAt(value, 0);
  }

  put(key: string, value: Uint8Array): Promise<unknown> {
    return this.#db.put(key, value);
  }

  putSynced(key: string, value: Uint8Array): Promise<unknown> {
    return this.#db.put(key, value, SYNCED);
  }

  putBatch(supply: Supply, from: number, end: number): Promise<void> {
    const batch = this.#db.batch();
    for (let at = from; at < end; at++) batch.put(supply.keys[at] as string, supply.valueAt(at));
    return batch.write();
  }

  deleteBatch({ keys }: Supply, from: number, end: number): Promise<void> {
    const batch = this.#db.batch();
    for (let at = from; at < end; at++) batch.del(keys[at] as string);
    return batch.write();
  }

  async scan(): Promise<number> {
    const iterator = this.#db.iterator({ highWaterMarkBytes: STEP_BYTES });
    let sum = 0;
    for (;;) {
      const entries = await iterator.nextv(STEP);
      if (entries.length === 0) break;
      for (const [key, value] of entries) {
        if (key.length > 0) sum += indexOf(value);
      }
    }
    await iterator.close();
    return sum;
  }

  async rollUp(): Promise<string[]> {
    const iterator = this.#db.keys({ highWaterMarkBytes: STEP_BYTES });
    const found: string[] = [];
    let last = '/';
    for (;;) {
      const keys = await iterator.nextv(STEP);
      if (keys.length === 0) break;
      for (const key of keys) {
        if (key.startsWith(last)) continue;
        last = topOf(key);
        found.push(last);
      }
    }
    await iterator.close();
    return found;
  }

  async rollUpBySeeks(): Promise<string[]> {
    // An iterator reads one entry ahead at first, so a seek throws away little.
    const iterator = this.#db.keys({ highWaterMarkBytes: 0 });
    const found: string[] = [];
    for (let key = await iterator.next(); key !== undefined; key = await iterator.next()) {
      const top = topOf(key);
      found.push(top);
      iterator.seek(behind(top));
    }
    await iterator.close();
    return found;
  }

  settle(): Promise<void> {
    return this.#db.compactRange('', '\uffff');
  }

  liveBytes(): number {
    return dataBytesBelow(this.#directory);
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
