/** Weirpool in the tree benchmark: all options at their defaults but the size of the pool. */
import { Weirpool, type WeirpoolHandle } from '../../src/index.ts';
import type { Span, Store, StoreOptions, Supply } from './store.ts';
import { indexOf, wordAt } from './workload.ts';

const BLOB_BYTES = 512 * 1024;

function makeTree(db: Weirpool) {
  return db.tree('bench', { key: 'utf8' });
}

function wordOf(bytes: Uint8Array, start: number): number {
  return wordAt(bytes, start);
}

export class WeirpoolStore implements Store {
  readonly db: Weirpool;
  readonly #tree: ReturnType<typeof makeTree>;
  readonly #supply: Supply;

  private constructor(db: Weirpool, supply: Supply) {
    this.db = db;
    this.#tree = makeTree(db);
    this.#supply = supply;
  }

  static async open({ directory, supply, cacheBytes }: StoreOptions): Promise<WeirpoolStore> {
    const frames = cacheBytes / BLOB_BYTES;
    return new WeirpoolStore(await Weirpool.open(directory, { frames }), supply);
  }

  static async attach(handle: WeirpoolHandle, supply: Supply): Promise<WeirpoolStore> {
    return new WeirpoolStore(await Weirpool.attach(handle), supply);
  }

  get(key: string): Uint8Array | undefined {
    return this.#tree.get(key);
  }

  read(key: string): number {
    return this.#tree.read(key, wordOf) ?? -1;
  }

  putEach({ order, from, end }: Span): void {
    const { keys, values } = this.#supply;
    for (let at = from; at < end; at++) {
      const index = order[at] as number;
      this.#tree.put(keys[index] as string, values.of(index));
    }
  }

  putBatch({ order, from, end }: Span): void {
    const { keys, values } = this.#supply;
    const operations = new Array<{ type: 'put'; key: string; value: Uint8Array }>(end - from);
    for (let at = from; at < end; at++) {
      const index = order[at] as number;
      operations[at - from] = {
        type: 'put',
        key: keys[index] as string,
        value: values.of(index),
      };
    }
    this.#tree.batch(operations);
  }

  scan(): number {
    let sum = 0;
    for (const [key, value] of this.#tree.range()) {
      if (key.length > 0) sum += indexOf(value);
    }
    return sum;
  }

  async settle(): Promise<void> {
    await this.db.checkpoint();
  }

  close(): Promise<void> {
    return this.db.close();
  }
}
