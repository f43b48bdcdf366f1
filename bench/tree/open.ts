/** Opens the store of a name. */
import { LevelStore } from './level.ts';
import { LmdbStore } from './lmdb.ts';
import { SqliteStore } from './sqlite.ts';
import type { Store, StoreName, StoreOptions } from './store.ts';
import { WeirpoolStore } from './weirpool.ts';

export async function openStore(
  name: StoreName,
  options: StoreOptions,
  isSynced = false,
): Promise<Store> {
  switch (name) {
    case 'weirpool':
      return WeirpoolStore.open(options);
    case 'lmdb':
      return new LmdbStore(options, isSynced);
    case 'classic-level':
      return LevelStore.open(options);
    case 'better-sqlite3':
      return new SqliteStore(options, isSynced);
  }
}
