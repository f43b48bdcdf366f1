/** What each method of a cache does, in memory and durable: the same. */
import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { BackingStoreError, WriteBehind } from '../../src/write-behind/index.ts';
import { type Cache, failureOf, ManualClock, PlainStore, StagedStore, turn } from './stores.ts';
import { MODES } from './support.ts';

const DOWN = new Error('down');

describe.each(MODES)('a $name cache', ({ open }) => {
  async function filled(keys: readonly string[], capacity = 10): Promise<[Cache, PlainStore]> {
    const store = new PlainStore();
    const cache = await open(store, { capacity });
    for (const [index, key] of keys.entries()) await cache.put(key, index);
    return [cache, store];
  }

  describe('put', () => {
    it('marks the entry dirty and writes nothing', async () => {
      const [cache, store] = await filled(['a']);
      expect(cache.isDirty('a')).toBe(true);
      expect(cache.dirtyCount).toBe(1);
      expect(await cache.get('a')).toBe(0);
      expect(store.calls).toEqual([]);
    });

    it('makes a flushed entry dirty again', async () => {
      const [cache, store] = await filled(['a']);
      await cache.flush();
      expect(cache.isDirty('a')).toBe(false);
      await cache.put('a', 7);
      expect(cache.isDirty('a')).toBe(true);
      expect(await cache.flush()).toBe(1);
      expect(store.takeCalls()).toEqual(['write a=0', 'write a=7']);
    });

    it('evicts nothing when it replaces an entry at capacity', async () => {
      const [cache, store] = await filled(['a', 'b'], 2);
      await cache.put('a', 8);
      await cache.flush();
      await cache.put('b', 9);
      expect([cache.size, cache.contains('a'), cache.contains('b')]).toEqual([2, true, true]);
      expect(store.takeCalls()).toEqual(['write a=8', 'write b=1']);
    });

    it('has had its effect when it returns, unless it waits for room', async () => {
      const [cache] = await filled([]);
      const put = cache.put('a', 1);
      expect(cache.peek('a')).toBe(1);
      await put;
    });

    it('refuses undefined, which would stand for no value', async () => {
      const [cache] = await filled(['a']);
      const nothing = undefined as unknown as number;
      await expect(cache.put('a', nothing)).rejects.toBeInstanceOf(TypeError);
      expect(() => cache.putSync('a', nothing)).toThrow(TypeError);
      expect(cache.peek('a')).toBe(0);
    });
  });

  describe('get', () => {
    it('reads through what is not cached, which is clean then and not read again', async () => {
      const [cache, store] = await filled([]);
      store.content.set('a', 5);
      expect(await cache.get('a')).toBe(5);
      expect([cache.contains('a'), cache.isDirty('a'), cache.dirtyCount]).toEqual([true, false, 0]);
      expect(await cache.get('a')).toBe(5);
      expect(store.takeCalls()).toEqual(['read a']);
    });

    it('leaves absent what the store does not have', async () => {
      const [cache, store] = await filled([]);
      expect(await cache.get('a')).toBeUndefined();
      expect([cache.contains('a'), cache.size]).toEqual([false, 0]);
      expect(await cache.get('a')).toBeUndefined();
      expect(store.takeCalls()).toEqual(['read a', 'read a']);
    });

    it('gives what it has read also when there is no room to keep it, and tells of that', async () => {
      const store = new PlainStore();
      const errors: unknown[] = [];
      const cache = await open(store, { capacity: 1, onError: (error) => errors.push(error) });
      await cache.put('a', 1);
      store.content.set('b', 2);
      store.failure = (operation) => (operation === 'write' ? DOWN : undefined);
      expect(await cache.get('b')).toBe(2);
      expect(cache.getSync('b')).toBe(2);
      expect(cache.dirtyKeys()).toEqual(['a']);
      expect(errors).toHaveLength(2);
      expect(errors[0]).toMatchObject({ code: 'BACKING_STORE_FAILED', cause: DOWN, keys: ['a'] });
    });

    it('fails when the store fails, and reads the next time', async () => {
      const [cache, store] = await filled([]);
      store.content.set('a', 3);
      store.failure = () => DOWN;
      const error = await failureOf(() => cache.get('a'));
      expect(error).toBeInstanceOf(BackingStoreError);
      expect(error).toMatchObject({ operation: 'read', keys: ['a'], outcome: 'not_applied' });
      store.failure = () => undefined;
      expect(await cache.get('a')).toBe(3);
    });
  });

  describe('delete', () => {
    it('drops the entry and its dirty mark, deletes in the store, says that it was cached', async () => {
      const [cache, store] = await filled(['a', 'b']);
      expect(await cache.delete('a')).toBe(true);
      expect([cache.contains('a'), cache.isDirty('a'), cache.dirtyKeys()]).toEqual([
        false,
        false,
        ['b'],
      ]);
      expect(store.takeCalls()).toEqual(['delete a']);
      expect(await cache.flush()).toBe(1);
      expect([...store.content.keys()]).toEqual(['b']);
    });

    it('deletes in the store also what is not cached, and says that it was not', async () => {
      const [cache, store] = await filled([]);
      store.content.set('a', 1);
      expect(await cache.delete('a')).toBe(false);
      expect(store.content.has('a')).toBe(false);
      expect(cache.deleteSync('a')).toBe(false);
      expect(store.takeCalls()).toEqual(['delete a', 'delete a']);
    });

    it('leaves the entry as it was when the store fails', async () => {
      const [cache, store] = await filled(['a']);
      await cache.flush();
      await cache.put('b', 2);
      store.failure = () => DOWN;
      for (const key of ['a', 'b']) {
        const error = await failureOf(() => cache.delete(key));
        expect(error).toMatchObject({ operation: 'delete', keys: [key], outcome: 'unknown' });
      }
      expect([cache.peek('a'), cache.peek('b'), cache.dirtyKeys()]).toEqual([0, 2, ['b']]);
    });
  });

  describe('looking', () => {
    it('contains, size, isEmpty and peek tell of the cache alone', async () => {
      const [cache, store] = await filled([]);
      store.content.set('a', 1);
      expect([cache.isEmpty, cache.size, cache.contains('a'), cache.peek('a')]).toEqual([
        true,
        0,
        false,
        undefined,
      ]);
      await cache.put('b', 2);
      expect([cache.isEmpty, cache.size, cache.contains('b'), cache.peek('b')]).toEqual([
        false,
        1,
        true,
        2,
      ]);
      expect(store.calls).toEqual([]);
    });

    it('makes a capacity of 0 one of 1', async () => {
      const store = new PlainStore();
      const cache = await open(store, { capacity: 0 });
      expect(cache.capacity).toBe(1);
      await cache.put('a', 1);
      await cache.put('b', 2);
      expect([cache.size, cache.peek('b')]).toEqual([1, 2]);
      expect((await open(store, { capacity: 7 })).capacity).toBe(7);
    });

    it('gives its store', async () => {
      const [cache, store] = await filled([]);
      expect(cache.store).toBe(store);
    });

    it('tells dirty keys in the order in which they became dirty', async () => {
      const [cache] = await filled(['a', 'b', 'c']);
      await cache.flush();
      for (const key of ['b', 'a', 'b']) await cache.put(key, 1);
      expect([cache.dirtyKeys(), cache.dirtyCount]).toEqual([['b', 'a'], 2]);
      expect([cache.isDirty('c'), cache.isDirty('none')]).toEqual([false, false]);
    });

    it('markClean writes nothing and says whether the entry was dirty', async () => {
      const [cache, store] = await filled(['a']);
      expect([cache.markClean('a'), cache.markClean('a'), cache.markClean('none')]).toEqual([
        true,
        false,
        false,
      ]);
      expect([cache.isDirty('a'), cache.peek('a'), await cache.flush()]).toEqual([false, 0, 0]);
      expect(store.calls).toEqual([]);
      expect(cache.stats().entriesFlushed).toBe(0);
    });
  });

  describe('flush', () => {
    it('writes what is dirty, in order, and says how many', async () => {
      const [cache, store] = await filled(['a', 'b', 'c']);
      cache.markClean('b');
      expect(await cache.flush()).toBe(2);
      expect(store.takeCalls()).toEqual(['write a=0', 'write c=2']);
      expect([cache.dirtyCount, cache.size]).toEqual([0, 3]);
    });

    it('counts also when there was nothing', async () => {
      const [cache] = await filled([]);
      expect([await cache.flush(), cache.flushSync()]).toEqual([0, 0]);
      expect(cache.stats()).toMatchObject({ flushes: 2, entriesFlushed: 0 });
    });

    it('flushIfNeeded writes all when so many are dirty, else nothing and does not count', async () => {
      const [cache, store] = await filled(['a', 'b']);
      expect(await cache.flushIfNeeded(3)).toBe(0);
      expect(store.calls).toEqual([]);
      expect(cache.stats().flushes).toBe(0);
      expect(await cache.flushIfNeeded(2)).toBe(2);
      expect(cache.flushIfNeededSync(1)).toBe(0);
      expect(cache.stats().flushes).toBe(1);
      expect(await cache.flushIfNeeded(0)).toBe(0);
      expect(cache.stats().flushes).toBe(2);
    });

    it('flushOlderThan goes by the time since the last change, as long as asked or longer', async () => {
      const store = new PlainStore();
      const clock = new ManualClock();
      const cache = await open(store, { clock });
      await cache.put('a', 1);
      await cache.put('b', 1);
      await clock.pass(60);
      await cache.put('a', 2);
      await clock.pass(39);
      expect(await cache.flushOlderThan(100)).toBe(0);
      expect(cache.stats().flushes).toBe(0);
      await clock.pass(1);
      expect(await cache.flushOlderThan(100)).toBe(1);
      expect([store.takeCalls(), cache.stats().flushes]).toEqual([['write b=1'], 1]);
      expect(cache.flushOlderThanSync(40)).toBe(1);
      expect([store.takeCalls(), cache.stats().flushes]).toEqual([['write a=2'], 2]);
    });

    it('flushOlderThan leaves what is changed before its turn has come', async () => {
      const clock = new ManualClock();
      const store = new StagedStore();
      const cache = await open(store, { clock });
      for (const key of ['a', 'b']) await cache.put(key, 1);
      await clock.pass(100);
      const flush = cache.flushOlderThan(100);
      await turn();
      await cache.put('b', 2);
      await store.next('write a=1').land();
      expect(store.texts).toEqual([]);
      expect([await flush, cache.dirtyKeys()]).toEqual([1, ['b']]);
    });

    it('flushOlderThan(0) writes all, also when the clock was set back', async () => {
      const store = new PlainStore();
      const clock = new ManualClock();
      const cache = await open(store, { clock });
      await cache.put('a', 1);
      clock.jump(-500);
      await cache.put('b', 1);
      expect(await cache.flushOlderThan(0)).toBe(2);
      expect(await cache.flushOlderThan(0)).toBe(0);
      expect(cache.stats().flushes).toBe(1);
    });

    it('leaves dirty what could not be written, writes the others, and tells all keys', async () => {
      const [cache, store] = await filled(['a', 'b', 'c', 'd']);
      store.failure = (_operation, key) => (key === 'b' || key === 'd' ? DOWN : undefined);
      const error = await failureOf(() => cache.flush());
      expect(error).toMatchObject({
        name: 'WeirpoolError',
        code: 'BACKING_STORE_FAILED',
        operation: 'write',
        outcome: 'unknown',
        cause: DOWN,
        keys: ['b', 'd'],
        details: { operation: 'write', key: '"b"', failures: 2 },
      });
      expect(cache.dirtyKeys()).toEqual(['b', 'd']);
      expect(cache.stats()).toMatchObject({ flushes: 0, entriesFlushed: 2 });
      expect((await failureOf(() => cache.flushSync())) as object).toBeInstanceOf(
        BackingStoreError,
      );
      store.failure = () => undefined;
      expect(await cache.flush()).toBe(2);
      expect(cache.stats()).toMatchObject({ flushes: 1, entriesFlushed: 4 });
    });

    it('gives up after so many failures in a row that the store seems down', async () => {
      const keys = Array.from({ length: 40 }, (_, n) => `k${n}`);
      const [cache, store] = await filled(keys, 100);
      let asked = 0;
      store.failure = () => {
        asked++;
        return DOWN;
      };
      expect(await failureOf(() => cache.flush())).toMatchObject({ keys: keys.slice(0, 16) });
      expect([asked, cache.dirtyCount]).toEqual([16, 40]);
    });
  });

  describe('eviction', () => {
    it('B2 goes in the order of insertion, which neither get nor a second put changes', async () => {
      const [cache] = await filled(['a', 'b', 'c'], 3);
      await cache.flush();
      await cache.put('a', 9);
      await cache.get('a');
      await cache.put('d', 1);
      expect(['a', 'b', 'c', 'd'].map((key) => cache.contains(key))).toEqual([
        false,
        true,
        true,
        true,
      ]);
      await cache.put('e', 1);
      expect(['b', 'c'].map((key) => cache.contains(key))).toEqual([false, true]);
    });

    it('takes what was read and what was put alike', async () => {
      const [cache, store] = await filled([], 2);
      store.content.set('a', 1).set('c', 3);
      await cache.get('a');
      await cache.put('b', 2);
      await cache.get('c');
      expect(['a', 'b', 'c'].map((key) => cache.contains(key))).toEqual([false, true, true]);
    });

    it('B1 writes a dirty victim first, which is an entry flushed, and no flush', async () => {
      const [cache, store] = await filled(['a', 'b'], 2);
      await cache.put('c', 5);
      expect(store.takeCalls()).toEqual(['write a=0']);
      expect(cache.stats()).toEqual({
        entries: 2,
        dirty: 2,
        capacity: 2,
        flushes: 0,
        entriesFlushed: 1,
      });
      expect(await cache.get('a')).toBe(0);
    });

    it('B1 keeps a victim whose write fails, and puts nothing', async () => {
      const [cache, store] = await filled(['a', 'b'], 2);
      store.failure = () => DOWN;
      for (const call of [() => cache.put('c', 5), () => cache.putSync('c', 5)]) {
        const error = await failureOf(call);
        expect(error).toMatchObject({ code: 'BACKING_STORE_FAILED', keys: ['a'], cause: DOWN });
      }
      expect([cache.dirtyKeys(), cache.size, cache.contains('c')]).toEqual([['a', 'b'], 2, false]);
      store.failure = () => undefined;
      await cache.put('c', 5);
      expect(cache.dirtyKeys()).toEqual(['b', 'c']);
    });

    it('an entry that was deleted and put again is a new one', async () => {
      const [cache] = await filled(['a', 'b', 'c'], 3);
      await cache.delete('a');
      await cache.put('a', 1);
      await cache.put('d', 1);
      expect(['a', 'b'].map((key) => cache.contains(key))).toEqual([true, false]);
    });
  });

  it('counts entries, dirty ones, capacity, flushes and entries flushed', async () => {
    const [cache] = await filled(['a', 'b', 'c'], 3);
    await cache.flush();
    await cache.put('a', 1);
    await cache.put('d', 1);
    await cache.flush();
    expect(cache.stats()).toEqual({
      entries: 3,
      dirty: 0,
      capacity: 3,
      flushes: 2,
      entriesFlushed: 5,
    });
  });

  it('close flushes, refuses every call after it, and may be called again', async () => {
    const [cache, store] = await filled(['a']);
    await cache.close();
    await cache.close();
    expect(store.takeCalls()).toEqual(['write a=0']);
    const calls = [
      () => cache.get('a'),
      () => cache.getSync('a'),
      () => cache.peek('a'),
      () => cache.put('a', 1),
      () => cache.putSync('a', 1),
      () => cache.delete('a'),
      () => cache.deleteSync('a'),
      () => cache.contains('a'),
      () => cache.isDirty('a'),
      () => cache.dirtyKeys(),
      () => cache.markClean('a'),
      () => cache.flush(),
      () => cache.flushSync(),
      () => cache.flushIfNeeded(0),
      () => cache.flushOlderThan(0),
      () => cache.flushOlderThanSync(0),
    ];
    for (const call of calls) expect(await failureOf(call)).toMatchObject({ code: 'CACHE_CLOSED' });
  });

  it('close that cannot flush leaves the cache open; without flushing it loses nothing else', async () => {
    const [cache, store] = await filled(['a']);
    store.failure = () => DOWN;
    expect(await failureOf(() => cache.close())).toMatchObject({ keys: ['a'] });
    expect(cache.isDirty('a')).toBe(true);
    await cache.close({ flush: false });
    expect(store.calls).toEqual([]);
    expect(() => cache.peek('a')).toThrow(/closed/);
  });

  it('await using closes it', async () => {
    const [cache, store] = await filled(['a']);
    {
      await using used = cache;
      expect(used.size).toBe(1);
    }
    expect(store.takeCalls()).toEqual(['write a=0']);
  });

  it('a store may use the cache from inside its methods', async () => {
    const store = new PlainStore();
    const cache = await open(store);
    const inside: unknown[] = [];
    store.failure = (operation, key) => {
      inside.push([operation, cache.getSync('a'), cache.dirtyCount]);
      if (operation === 'write' && key === 'a' && store.calls.length === 0) cache.putSync('a', 2);
      return undefined;
    };
    await cache.put('a', 1);
    expect(await cache.flush()).toBe(1);
    expect(inside).toEqual([['write', 1, 1]]);
    expect([cache.isDirty('a'), store.content.get('a')]).toEqual([true, 1]);
    expect(await cache.flush()).toBe(1);
    expect([cache.isDirty('a'), store.content.get('a')]).toEqual([false, 2]);
  });
});

it('a cache in memory keeps its keys when the caller uses their bytes again', async () => {
  const written: string[] = [];
  const store = {
    read: (): undefined => undefined,
    write: (key: Uint8Array, value: number): void => {
      written.push(`${Buffer.from(key).toString()}=${value}`);
    },
    delete: (): void => undefined,
  };
  const cache = WriteBehind.memory<Uint8Array, number>(store, { key: 'bytes', capacity: 1 });
  const key = Buffer.from('a');
  await cache.put(key, 1);
  key[0] = 98;
  expect(await cache.flush()).toBe(1);
  expect(written).toEqual(['a=1']);
  // Naively the victim is never found, and this never ends.
  await cache.put(key, 2);
  expect(cache.dirtyKeys().map((each) => Buffer.from(each).toString())).toEqual(['b']);
});
