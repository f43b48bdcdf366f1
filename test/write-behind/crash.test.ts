/** Crashes: simulated ones at chosen moments, on the product and on naive variants. */
import { describe, expect, it } from 'vitest';
import type { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { WriteBehind } from '../../src/write-behind/index.ts';
import { expectCaught, expectPasses, type Patch } from '../support/scenario.ts';
import { newDisk } from '../unit/tree/support.ts';
import { type Cache, failureOf, PlainStore } from './stores.ts';
import { openDb, openDurable } from './support.ts';

const DURABLE = 'src/write-behind/durable-entries.ts';
const WORK = 'src/write-behind/cache-work.ts';
const TIMEOUT_MS = 120_000;

function caught(kind: 'kill' | 'power', ...patches: Patch[]): () => Promise<unknown> {
  return () => expectCaught('write-behind-crash', patches, { args: [kind], timeoutMs: TIMEOUT_MS });
}

const NOT_AHEAD: Patch = {
  file: DURABLE,
  find: 'if (core.memory.loadU64(watermark) >= seq) return undefined;',
  replace: 'if (watermark > 0) return undefined;',
};

const AHEAD_ONCE: Patch = {
  file: WORK,
  find: 'if (safe === undefined || !isSameStamp(safe, entry))',
  replace: 'if (safe === undefined)',
};

const NO_MARK_OF_DELETE: Patch = {
  file: DURABLE,
  find: 'this.#deletes.put(asBytes(encoded), encodeDoomed(stamp));',
  replace: '',
};

const ONLY_WRITTEN: readonly Patch[] = [
  {
    file: DURABLE,
    find: 'const watermark = this.#synced ? H_LOG_DURABLE : H_LOG_WRITTEN;',
    replace: 'const watermark = this.#synced ? H_LOG_WRITTEN : H_LOG_WRITTEN;',
  },
  {
    file: DURABLE,
    find: "const level = this.#synced ? 'synced' : 'written';",
    replace: "const level = H_LOG_DURABLE > 0 ? 'written' : 'synced';",
  },
];

describe('a durable cache after a crash', { timeout: TIMEOUT_MS * 2 }, () => {
  it('B5 is never behind its store, whenever the process dies', caught('kill', NOT_AHEAD));
  it('B5 waits again for what was put while it flushes', caught('kill', AHEAD_ONCE));
  it('B5 ends the deletions that were begun', caught('kill', NO_MARK_OF_DELETE));
  it('B1 B5 goes on after kill -9 of a process with several threads', async () => {
    await expectPasses('write-behind-kill', { timeoutMs: TIMEOUT_MS });
  });

  it('B5 is never behind its store, whenever power is lost', caught('power', ...ONLY_WRITTEN));
});

describe('a durable cache', () => {
  /** The disk after `act` and the end of the process. */
  async function died(
    store: PlainStore,
    act: (cache: Cache) => Promise<void>,
    capacity = 3,
  ): Promise<SimFileSystem> {
    const disk = newDisk();
    const cache = await openDurable(await openDb(disk), store, { capacity });
    await act(cache);
    return disk.afterKill();
  }

  it('B2 goes on after a crash: dirty entries are dirty, and in their order', async () => {
    const store = new PlainStore();
    const disk = await died(store, async (cache) => {
      for (const key of ['a', 'b', 'c']) await cache.put(key, 1);
      await cache.flush();
      await cache.put('c', 2);
      await cache.put('a', 3);
      await cache.durable();
    });
    store.takeCalls();
    const cache = await openDurable(await openDb(disk), store, { capacity: 3 });
    expect(cache.stats()).toEqual({
      entries: 3,
      dirty: 2,
      capacity: 3,
      flushes: 0,
      entriesFlushed: 0,
    });
    expect([cache.dirtyKeys(), cache.peek('a'), cache.peek('b'), cache.peek('c')]).toEqual([
      ['c', 'a'],
      3,
      1,
      2,
    ]);
    await cache.put('d', 4);
    expect([cache.contains('a'), store.takeCalls()]).toEqual([false, ['write a=3']]);
    expect(await cache.flush()).toBe(2);
    expect(store.takeCalls()).toEqual(['write c=2', 'write d=4']);
  });

  it('writes again what was written when the process died before it was clean', async () => {
    const store = new PlainStore();
    const disk = newDisk();
    const cache = await openDurable(await openDb(disk), store);
    let image: SimFileSystem | undefined;
    const { write } = store;
    store.write = (key, value) => {
      write.call(store, key, value);
      image ??= disk.afterKill();
    };
    await cache.put('a', 1);
    await cache.flush();
    store.takeCalls();
    const again = await openDurable(await openDb(image), store);
    expect(again.dirtyKeys()).toEqual(['a']);
    expect(await again.flush()).toBe(1);
    expect(store.takeCalls()).toEqual(['write a=1']);
  });

  it('ends a deletion at the next flush when the store refuses it at the opening', async () => {
    const store = new PlainStore();
    const disk = newDisk();
    const cache = await openDurable(await openDb(disk), store);
    await cache.put('a', 1);
    await cache.flush();
    let image: SimFileSystem | undefined;
    store.failure = (operation) => {
      if (operation === 'delete') image ??= disk.afterKill();
      return operation === 'delete' ? new Error('down') : undefined;
    };
    await failureOf(() => cache.delete('a'));
    const errors: unknown[] = [];
    const db = await openDb(image);
    const again = await openDurable(db, store, { onError: (error) => errors.push(error) });
    expect(errors).toMatchObject([{ code: 'BACKING_STORE_FAILED', keys: ['a'] }]);
    expect(again.peek('a')).toBe(1);
    expect(await failureOf(() => again.flush())).toMatchObject({ operation: 'delete' });
    store.failure = () => undefined;
    expect(await again.flush()).toBe(0);
    expect([again.contains('a'), store.content.has('a')]).toEqual([false, false]);
    await again.put('a', 2);
    await again.flush();
    expect(store.content.get('a')).toBe(2);
  });

  it('a put after a deletion that a crash has interrupted stays', async () => {
    const store = new PlainStore();
    const disk = newDisk();
    const cache = await openDurable(await openDb(disk), store);
    await cache.put('a', 1);
    let image: SimFileSystem | undefined;
    store.failure = (operation) => {
      if (operation !== 'delete' || image !== undefined) return undefined;
      // It is put while the store deletes it, and that put is safe.
      cache.putSync('a', 2);
      cache.durableSync();
      image = disk.afterKill();
      return undefined;
    };
    await cache.delete('a');
    const again = await openDurable(await openDb(image), store);
    expect([again.peek('a'), again.isDirty('a')]).toEqual([2, true]);
    await again.flush();
    expect(store.content.get('a')).toBe(2);
  });

  it('a deletion that was left takes no entry that was put after the crash', async () => {
    const store = new PlainStore();
    const disk = newDisk();
    const cache = await openDurable(await openDb(disk), store, { capacity: 1 });
    await cache.put('a', 1);
    await cache.flush();
    let image: SimFileSystem | undefined;
    store.failure = (operation, key) => {
      if (operation !== 'delete' || key !== 'a') return undefined;
      // Meanwhile the entry is evicted, and the last one goes: no tree but the deletions knows a number.
      cache.putSync('b', 1);
      cache.deleteSync('b');
      cache.durableSync();
      image = disk.afterKill();
      return undefined;
    };
    await cache.delete('a');
    store.failure = (operation) => (operation === 'delete' ? new Error('down') : undefined);
    const db = await openDb(image);
    const again = await openDurable(db, store, { capacity: 1, onError: () => undefined });
    await again.put('a', 2);
    store.failure = () => undefined;
    await again.flush();
    expect([again.peek('a'), store.content.get('a')]).toEqual([2, 2]);
  });

  it('gives what it has read also when that cannot be kept, and tells onError', async () => {
    const errors: unknown[] = [];
    const values = new Map<string, unknown>([
      ['big', 'x'.repeat(1_000_000)],
      ['bigint', { n: 1n }],
    ]);
    const store = {
      read: (key: string): unknown => values.get(key),
      write: (): void => undefined,
      delete: (): void => undefined,
    };
    const onError = (error: unknown): void => {
      errors.push(error);
    };
    const cache = await WriteBehind.open(await openDb(), store, { onError });
    for (const [key, value] of values) expect(await cache.get(key)).toBe(value);
    expect(errors).toMatchObject([{ name: 'RangeError' }, { name: 'TypeError' }]);
    expect(cache.size).toBe(0);
  });
});
