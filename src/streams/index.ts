/**
 * `weirpool/streams`: key-value, window and session stores behind write-back caches, as those of Kafka
 * Streams, over a tree or any other ordered byte store.
 *
 * Nothing else of weirpool imports this module.
 *
 * @module weirpool/streams
 */

export type {
  Answer,
  AsyncByteStore,
  AsyncEntries,
  ByteEntry,
  ByteRange,
  ByteStore,
  ByteWrite,
  Entries,
  SyncByteStore,
  SyncEntries,
} from './byte-store.ts';
export { type Bytes, TIME_MAX } from './bytes.ts';
export {
  CachingStore,
  type CachingStoreOptions,
  type CachingStoreStats,
  type FlushListener,
  type FlushListenerOptions,
} from './caching-store.ts';
export {
  type FlushedEntry,
  type FlushedEntryWithOld,
  NO_CONTEXT,
  type RecordContext,
} from './context.ts';
export { FlushError } from './flush-error.ts';
export { type KeyValue, KeyValueStore } from './key-value-store.ts';
export { MemoryStore } from './memory-store.ts';
export {
  type CacheCounts,
  type CacheEntry,
  type CacheNode,
  ENTRY_OVERHEAD_BYTES,
  NamedCache,
} from './named-cache.ts';
export { type Session, type SessionEntry, SessionStore, sessionKey } from './session-store.ts';
export { ThreadCache, type ThreadCacheOptions } from './thread-cache.ts';
export { TreeStore, type TreeStoreOptions } from './tree-store.ts';
export {
  readWindow,
  readWindowValue,
  type WindowEntry,
  type WindowValue,
  windowKey,
} from './window-keys.ts';
export { WindowStore, type WindowStoreOptions, type WindowStoreStats } from './window-store.ts';
