/** Opens the store of a name, or joins one that another thread has opened. */
import { LevelStore } from './level.ts';
import { LmdbStore } from './lmdb.ts';
import { NoStore } from './no-store.ts';
import { SqliteStore } from './sqlite.ts';
import type { Store, StoreName, StoreOptions, StoreReference, Supply } from './store.ts';
import { WeirpoolStore } from './weirpool.ts';

export async function openStore(
  name: StoreName,
  options: StoreOptions,
  supply: Supply,
): Promise<Store> {
  switch (name) {
    case 'weirpool':
      return WeirpoolStore.open(options, supply);
    case 'lmdb':
      return new LmdbStore(options, supply);
    case 'classic-level':
      return LevelStore.open(options, supply);
    case 'better-sqlite3':
      return new SqliteStore(options, supply);
    case 'none':
      return new NoStore();
  }
}

export async function joinStore(
  { name, options, handle }: StoreReference,
  supply: Supply,
): Promise<Store> {
  return handle === undefined
    ? openStore(name, options, supply)
    : WeirpoolStore.attach(handle, supply);
}
