/** Opens the store of a name, or joins one that another thread has opened. */
import { LevelStore } from './level.ts';
import { LmdbStore } from './lmdb.ts';
import { NoStore } from './no-store.ts';
import { SqliteStore } from './sqlite.ts';
import type { Store, StoreName, StoreOptions, StoreReference } from './store.ts';
import { WeirpoolStore } from './weirpool.ts';

export async function openStore(name: StoreName, options: StoreOptions): Promise<Store> {
  switch (name) {
    case 'weirpool':
      return WeirpoolStore.open(options);
    case 'lmdb':
      return new LmdbStore(options);
    case 'classic-level':
      return LevelStore.open(options);
    case 'better-sqlite3':
      return new SqliteStore(options);
    case 'none':
      return new NoStore();
  }
}

export async function joinStore({ name, options, handle }: StoreReference): Promise<Store> {
  return handle === undefined ? openStore(name, options) : WeirpoolStore.attach(handle);
}
