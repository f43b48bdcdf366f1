/**
 * A write-behind cache before any store (docs/write-behind.md). Public exports, nothing else.
 *
 * @module weirpool/write-behind
 */

export type { Clock } from './clock.ts';
export { BackingStoreError, type StoreFailure } from './failure.ts';
export type { CacheHandle } from './open.ts';
export type {
  AttachOptions,
  CacheOptions,
  DurableOptions,
  FlushOptions,
  MemoryOptions,
} from './options.ts';
export type { BackingStore, StoreOperation } from './store.ts';
export { type CacheStats, type CloseOptions, WriteBehind } from './write-behind.ts';
