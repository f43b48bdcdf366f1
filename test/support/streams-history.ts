/** What test/scenarios/streams-kill.ts does, and what its stores have after each flush. */
import type { Weirpool } from '../../src/index.ts';
import {
  KeyValueStore,
  MemoryStore,
  SessionStore,
  type SyncByteStore,
  TreeStore,
  WindowStore,
} from '../../src/streams/index.ts';
import { Random } from './seed.ts';

/** Far above what a round puts: nothing is evicted, so flushes are the only writes. */
const CACHE_BYTES = 2 ** 26;
const PUTS = 60;
export const NAMES = ['values', 'windows', 'sessions'] as const;
export type Name = (typeof NAMES)[number];

export interface Stores {
  readonly values: KeyValueStore<SyncByteStore>;
  readonly windows: WindowStore<SyncByteStore>;
  readonly sessions: SessionStore<SyncByteStore>;
}

function storesOver(innerOf: (name: Name) => SyncByteStore): Stores {
  const options = (name: Name) => ({ inner: innerOf(name), cacheBytes: CACHE_BYTES });
  return {
    values: new KeyValueStore(options('values')),
    windows: new WindowStore(options('windows')),
    sessions: new SessionStore(options('sessions')),
  };
}

export function openStores(db: Weirpool): Stores {
  return storesOver((name) => new TreeStore(db.tree(name), { durability: 'written' }));
}

/** The same stores in memory, and what is below them. */
export function plainStores(): {
  readonly stores: Stores;
  readonly inner: (name: Name) => string[];
} {
  const inners = new Map(NAMES.map((name) => [name, new MemoryStore()]));
  const innerOf = (name: Name): MemoryStore => inners.get(name) as MemoryStore;
  return { stores: storesOver(innerOf), inner: (name) => contentOf(innerOf(name)) };
}

/** All entries, as texts. */
export function contentOf(store: SyncByteStore): string[] {
  const range = store.range({ low: undefined, high: undefined, reverse: false });
  return Array.from(range, ([key, value]) => {
    return `${Buffer.from(key).toString('latin1')}=${Buffer.from(value).toString('latin1')}`;
  });
}

/** The same changes each time, for one seed. */
export class Histories {
  readonly #random: Random;
  #number = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  /** What is put between two flushes. */
  round({ values, windows, sessions }: Stores): void {
    const random = this.#random;
    for (let put = 0; put < PUTS; put++) {
      const key = `key-${random.int(40)}`;
      const isDeleted = random.int(4) === 0;
      const value = isDeleted ? undefined : `${++this.#number}:`.padEnd(random.int(300), 'x');
      const start = random.int(50);
      const kind = random.int(3);
      if (kind === 0) values.put(key, value);
      else if (kind === 1) windows.put(key, value, start);
      else sessions.put({ key, start, end: start + random.int(9) }, value);
    }
  }
}
