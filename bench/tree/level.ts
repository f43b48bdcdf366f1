/**
 * classic-level in the tree benchmark: `getSync`, chained batches, iterators in steps of 1,000.
 *
 * It has no synchronous put: several are under way at once, which LevelDB writes as one group.
 */
import { requirePeer } from './peers.ts';
import type { Span, Store, StoreOptions, Supply } from './store.ts';
import { indexOf, wordAt } from './workload.ts';

interface ChainedBatch {
  put(key: string, value: Uint8Array): this;
  write(options?: object): Promise<void>;
}

interface Iterator {
  nextv(size: number): Promise<[string, Uint8Array][]>;
  close(): Promise<void>;
}

interface Database {
  open(): Promise<void>;
  getSync(key: string): Uint8Array | undefined;
  put(key: string, value: Uint8Array, options?: object): Promise<void>;
  batch(): ChainedBatch;
  iterator(options?: object): Iterator;
  compactRange(start: string, end: string): Promise<void>;
  close(): Promise<void>;
}

interface ClassicLevel {
  readonly ClassicLevel: new (directory: string, options: object) => Database;
}

const IN_FLIGHT = 256;
const STEP = 1000;

export class LevelStore implements Store {
  readonly #db: Database;
  readonly #supply: Supply;

  private constructor(db: Database, supply: Supply) {
    this.#db = db;
    this.#supply = supply;
  }

  static async open(options: StoreOptions): Promise<LevelStore> {
    const { ClassicLevel } = requirePeer<ClassicLevel>('classic-level');
    const db = new ClassicLevel(options.directory, {
      keyEncoding: 'utf8',
      valueEncoding: 'buffer',
      cacheSize: options.cacheBytes,
      multithreading: true,
    });
    await db.open();
    return new LevelStore(db, options.supply);
  }

  get(key: string): Uint8Array | undefined {
    return this.#db.getSync(key);
  }

  read(key: string): number {
    const value = this.#db.getSync(key);
    return value === undefined ? -1 : wordAt(value, 0);
  }

  async putEach({ order, from, end }: Span): Promise<void> {
    const { keys, values } = this.#supply;
    for (let at = from; at < end; ) {
      const puts: Promise<void>[] = [];
      for (const stop = Math.min(end, at + IN_FLIGHT); at < stop; at++) {
        const index = order[at] as number;
        puts.push(this.#db.put(keys[index] as string, values.of(index)));
      }
      await Promise.all(puts);
    }
  }

  async putBatch({ order, from, end }: Span): Promise<void> {
    const { keys, values } = this.#supply;
    const batch = this.#db.batch();
    for (let at = from; at < end; at++) {
      const index = order[at] as number;
      batch.put(keys[index] as string, values.of(index));
    }
    await batch.write();
  }

  async scan(): Promise<number> {
    const iterator = this.#db.iterator({ highWaterMarkBytes: 1024 * 1024 });
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

  settle(): Promise<void> {
    return this.#db.compactRange('', '\uffff');
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
