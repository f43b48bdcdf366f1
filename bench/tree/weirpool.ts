/**
 * Weirpool in the tree benchmark: all options at their defaults but the size of the pool, and a smaller
 * ring where the pool is too small for the default's largest value.
 */
import { Weirpool, type WeirpoolHandle } from '../../src/index.ts';
import type { Store, StoreOptions } from './store.ts';
import { indexOf, type Supply, wordAt } from './workload.ts';

const COLD_RING_BYTES = 1024 * 1024;
/** Share of a cold store that its pool can hold. */
const COLD_SHARE = 1 / 4;

function makeTree(db: Weirpool) {
  return db.tree('bench', { key: 'utf8' });
}

function wordOf(bytes: Uint8Array, start: number): number {
  return wordAt(bytes, start);
}

export class WeirpoolStore implements Store {
  readonly handle: WeirpoolHandle;
  readonly #db: Weirpool;
  readonly #tree: ReturnType<typeof makeTree>;

  private constructor(db: Weirpool) {
    this.#db = db;
    this.handle = db.handle;
    this.#tree = makeTree(db);
  }

  static async open(options: StoreOptions): Promise<WeirpoolStore> {
    const { directory, purpose, cacheBytes, blobBytes } = options;
    const frames = cacheBytes / blobBytes;
    if (purpose !== 'cold') {
      return new WeirpoolStore(await Weirpool.open(directory, { frames, blobBytes }));
    }
    const log = { ringBytes: COLD_RING_BYTES };
    const whole = await Weirpool.open(directory, { log });
    const share = Math.floor(whole.stats().store.slotsUsed * COLD_SHARE);
    await whole.close();
    return new WeirpoolStore(await Weirpool.open(directory, { frames: share, log }));
  }

  static async attach(handle: WeirpoolHandle): Promise<WeirpoolStore> {
    return new WeirpoolStore(await Weirpool.attach(handle));
  }

  get(key: string): Uint8Array | undefined {
    return this.#tree.get(key);
  }

  read(key: string): number {
    return this.#tree.read(key, wordOf) ?? -1;
  }

  put(key: string, value: Uint8Array): undefined {
    this.#tree.put(key, value);
  }

  putSynced(key: string, value: Uint8Array): Promise<void> {
    return this.#db.durable(this.#tree.put(key, value), 'synced');
  }

  putBatch(supply: Supply, from: number, end: number): void {
    const operations: { type: 'put'; key: string; value: Uint8Array }[] = [];
    for (let at = from; at < end; at++) {
      operations.push({ type: 'put', key: supply.keys[at] as string, value: supply.valueAt(at) });
    }
    this.#tree.batch(operations);
  }

  deleteBatch({ keys }: Supply, from: number, end: number): void {
    for (let at = from; at < end; at++) this.#tree.delete(keys[at] as string);
  }

  scan(): number {
    let sum = 0;
    for (const [key, value] of this.#tree.range()) {
      if (key.length > 0) sum += indexOf(value);
    }
    return sum;
  }

  rollUp(): string[] {
    const found: string[] = [];
    for (const item of this.#tree.list('', { delimiter: '/' })) {
      if (item.type === 'prefix') found.push(item.prefix);
    }
    return found;
  }

  rollUpBySeeks(): string[] {
    return this.rollUp();
  }

  async settle(): Promise<void> {
    await this.#db.checkpoint();
  }

  liveBytes(): number {
    return this.#db.stats().store.slotsUsed * this.#db.pool.blobBytes;
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
