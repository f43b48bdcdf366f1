/** The two modes of a cache, for tests that go for both. */
import { onTestFinished } from 'vitest';
import type { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { Weirpool } from '../../src/tree/weirpool.ts';
import type { BackingStore, CacheOptions, DurableOptions } from '../../src/write-behind/index.ts';
import { WriteBehind } from '../../src/write-behind/index.ts';
import { DIRECTORY, newDisk, SMALL } from '../unit/tree/support.ts';
import type { Cache } from './stores.ts';

export interface Mode {
  readonly name: 'memory' | 'durable';
  open(store: BackingStore<string, number>, options?: CacheOptions): Promise<Cache>;
}

export async function openDb(disk: SimFileSystem = newDisk()): Promise<Weirpool> {
  const db = await Weirpool.open(DIRECTORY, { ...SMALL, fileSystem: disk });
  onTestFinished(() => db.close().catch(() => undefined));
  return db;
}

export function openDurable(
  db: Weirpool,
  store: BackingStore<string, number>,
  options: DurableOptions<string, number> = {},
): Promise<Cache> {
  return WriteBehind.open<string, number>(db, store, options);
}

export const MODES: readonly Mode[] = [
  { name: 'memory', open: async (store, options) => WriteBehind.memory(store, options) },
  {
    name: 'durable',
    open: async (store, options) => openDurable(await openDb(), store, options),
  },
];
