/** What the types say; the type checker of `npm run lint` reads what is expected here. */
import { expectTypeOf, it } from 'vitest';
import {
  type AsyncByteStore,
  type AsyncEntries,
  type ByteStore,
  type FlushedEntryWithOld,
  KeyValueStore,
  MemoryStore,
  type SyncEntries,
  type WindowEntry,
  WindowStore,
  type WindowValue,
} from '../../../src/streams/index.ts';
import { StagedStore } from './support.ts';

it('a store answers at once if its inner store does', () => {
  const store = new KeyValueStore({ inner: new MemoryStore() });
  expectTypeOf(store.get('k')).toEqualTypeOf<Uint8Array | undefined>();
  expectTypeOf(store.flushWithOld()).toEqualTypeOf<FlushedEntryWithOld[]>();
  expectTypeOf(store.range()).toEqualTypeOf<SyncEntries<[Uint8Array, Uint8Array]>>();
  const windows = new WindowStore({ inner: new MemoryStore() });
  expectTypeOf(windows.fetch('k', 1)).toEqualTypeOf<WindowValue | undefined>();
  expectTypeOf(windows.fetch('k', 1, 2).toArray()).toEqualTypeOf<WindowEntry[]>();
});

it('else it promises', () => {
  const inner: AsyncByteStore = new StagedStore();
  const store = new KeyValueStore({ inner });
  expectTypeOf(store.get('k')).toEqualTypeOf<Promise<Uint8Array | undefined>>();
  expectTypeOf(store.put('k', 'v')).toEqualTypeOf<Promise<void>>();
  expectTypeOf(store.range()).toEqualTypeOf<AsyncEntries<[Uint8Array, Uint8Array]>>();
  const windows = new WindowStore({ inner });
  expectTypeOf(windows.fetch('k', 'l', 1, 2).toArray()).toEqualTypeOf<Promise<WindowEntry[]>>();
});

it('over either kind it may be awaited', () => {
  const inner: ByteStore = new MemoryStore() as ByteStore;
  const store = new KeyValueStore<ByteStore>({ inner });
  expectTypeOf<Awaited<ReturnType<typeof store.get>>>().toEqualTypeOf<Uint8Array | undefined>();
});
