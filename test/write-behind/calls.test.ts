/** Synchronous calls before stores with promises, options, codecs, handles: what callers get wrong. */
import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import {
  type BackingStore,
  type DurableOptions,
  WriteBehind,
} from '../../src/write-behind/index.ts';
import { newDisk } from '../unit/tree/support.ts';
import { failureOf, PlainStore, PromisedStore, StagedStore, turn } from './stores.ts';
import { MODES, openDb, openDurable } from './support.ts';

describe.each(MODES)(
  'synchronous calls of a $name cache before a store with promises',
  ({ open }) => {
    it('serve what is cached', async () => {
      const cache = await open(new PromisedStore(new PlainStore()));
      cache.putSync('a', 1);
      expect(cache.getSync('a')).toBe(1);
      expect(cache.flushIfNeededSync(5)).toBe(0);
    });

    it('the first one that needs the store says so, and goes on by itself', async () => {
      const plain = new PlainStore();
      plain.content.set('a', 1);
      const cache = await open(new PromisedStore(plain));
      expect(await failureOf(() => cache.getSync('a'))).toMatchObject({
        code: 'BACKING_STORE_ASYNC',
        outcome: 'unknown',
      });
      await turn();
      expect(cache.getSync('a')).toBe(1);
    });

    it('later ones are refused before anything is done', async () => {
      const store = new StagedStore();
      const cache = await open(store, { capacity: 1 });
      cache.putSync('x', 1);
      const first = [cache.get('y'), cache.flush(), cache.delete('z')];
      for (await turn(); store.waiting.length > 0; ) await store.waiting[0]?.land();
      await Promise.all(first);
      cache.putSync('a', 1);
      const calls = [
        () => cache.getSync('b'),
        () => cache.putSync('b', 1),
        () => cache.deleteSync('a'),
        () => cache.flushSync(),
        () => cache.flushOlderThanSync(0),
      ];
      for (const call of calls) {
        expect(await failureOf(call)).toMatchObject({
          code: 'BACKING_STORE_ASYNC',
          outcome: 'not_applied',
        });
      }
      expect([store.texts, cache.dirtyKeys(), cache.peek('a')]).toEqual([[], ['a'], 1]);
      const flush = cache.flush();
      await turn();
      await store.next('write a=1').land();
      expect(await flush).toBe(1);
    });

    it('are served by those methods that have never answered with a promise', async () => {
      const plain = new PlainStore();
      const writes: (() => void)[] = [];
      const write = (key: string, value: number): Promise<void> =>
        new Promise((resolve) => {
          writes.push(resolve);
          plain.write(key, value);
        });
      const cache = await open({
        read: (key) => plain.read(key),
        write,
        delete: (key) => plain.delete(key),
      });
      cache.putSync('a', 1);
      const flush = cache.flush();
      await turn();
      for (const land of writes) land();
      await flush;
      plain.content.set('b', 2);
      expect([cache.getSync('b'), cache.deleteSync('b')]).toEqual([2, true]);
      cache.putSync('a', 2);
      expect(await failureOf(() => cache.flushSync())).toMatchObject({ outcome: 'not_applied' });
      expect(writes).toHaveLength(1);
    });

    it('tell by the hook what has become of a call that went on', async () => {
      const errors: unknown[] = [];
      const store = new StagedStore();
      const cache = await open(store, { onError: (error) => errors.push(error) });
      await failureOf(() => cache.getSync('a'));
      await turn();
      await store.next('read a').fail(new Error('down'));
      expect(errors).toMatchObject([{ code: 'BACKING_STORE_FAILED', keys: ['a'] }]);
    });

    it('a flush of several lanes writes several entries at a time, each key once', async () => {
      const store = new StagedStore();
      const cache = await open(store, { concurrency: 3 });
      for (const key of ['a', 'b', 'c', 'd']) await cache.put(key, 1);
      const flush = failureOf(() => cache.flush());
      await turn();
      expect(store.texts).toEqual(['write a=1', 'write b=1', 'write c=1']);
      await store.waiting[1]?.land();
      expect(store.texts).toEqual(['write a=1', 'write c=1', 'write d=1']);
      await store.next('write a=1').fail(new Error('down'));
      while (store.waiting.length > 0) await store.waiting[0]?.land();
      expect(await flush).toMatchObject({ keys: ['a'] });
      expect(cache.dirtyKeys()).toEqual(['a']);
    });
  },
);

describe('options', () => {
  const store = new PlainStore();

  it.each([
    [{ capacity: -1 }, RangeError],
    [{ capacity: 1.5 }, RangeError],
    [{ capacity: '1' }, TypeError],
    [{ concurrency: 0 }, RangeError],
    [{ flush: { count: 0 } }, RangeError],
    [{ flush: { ageMs: 0 } }, RangeError],
    [{ flush: { intervalMs: 2 ** 31 } }, RangeError],
    [{ onError: 1 }, TypeError],
    [{ key: 'nothing' }, TypeError],
  ])('%j are refused', async (options, type) => {
    expect(() => WriteBehind.memory(store, options as never)).toThrow(type);
    const db = await openDb();
    await expect(WriteBehind.open(db, store, options as never)).rejects.toBeInstanceOf(type);
    await expect(openDurable(db, store)).resolves.toBeDefined();
  });

  it.each([[{ name: '' }], [{ name: 1 }], [{ durability: 'none' }], [{ value: {} }]])(
    '%j are refused by a durable cache',
    async (options) => {
      const db = await openDb();
      await expect(WriteBehind.open(db, store, options as never)).rejects.toBeInstanceOf(TypeError);
    },
  );

  it.each([[undefined], [null], [{}], [{ read: () => 1, write: () => 1 }]])(
    'a store that is none, %j, is refused',
    (none) => {
      expect(() => WriteBehind.memory(none as never)).toThrow(TypeError);
    },
  );

  it.each([[-1], [0.5], ['1']])('a count or age of %j is refused', async (number) => {
    const cache = WriteBehind.memory(store);
    await expect(cache.flushIfNeeded(number as number)).rejects.toThrow();
    await expect(cache.flushOlderThan(number as number)).rejects.toThrow();
    expect(() => cache.flushIfNeededSync(number as number)).toThrow();
    expect(() => cache.flushOlderThanSync(number as number)).toThrow();
  });

  it('the default capacity is 100,000', () => {
    expect(WriteBehind.memory(store).capacity).toBe(100_000);
  });
});

/** A store of byte keys, which it compares as text. */
class ByteStore implements BackingStore<Uint8Array, Uint8Array> {
  readonly content = new Map<string, Uint8Array>();

  read(key: Uint8Array): Uint8Array | undefined {
    return this.content.get(Buffer.from(key).toString('hex'));
  }

  write(key: Uint8Array, value: Uint8Array): void {
    this.content.set(Buffer.from(key).toString('hex'), value);
  }

  delete(key: Uint8Array): void {
    this.content.delete(Buffer.from(key).toString('hex'));
  }
}

/** Of a key that is bytes. */
function textOf(key: Uint8Array): string {
  return Buffer.from(key).toString();
}

describe('keys and values', () => {
  it('of bytes are told by their bytes, in both modes', async () => {
    const memory = WriteBehind.memory(new ByteStore(), { key: 'bytes' });
    const durable = await WriteBehind.open<Uint8Array, Uint8Array>(
      await openDb(),
      new ByteStore(),
      { key: 'bytes', value: 'bytes' },
    );
    for (const cache of [memory, durable]) {
      await cache.put(Uint8Array.of(1, 0xff), Uint8Array.of(7));
      await cache.put(Uint8Array.of(1, 0xff), Uint8Array.of(8));
      expect(cache.size).toBe(1);
      expect([...((await cache.get(Uint8Array.of(1, 0xff))) ?? [])]).toEqual([8]);
      expect(cache.dirtyKeys().map((key) => [...key])).toEqual([[1, 0xff]]);
      expect(await cache.flush()).toBe(1);
      expect(await cache.delete(Uint8Array.of(1, 0xff))).toBe(true);
    }
  });

  it.each(['memory', 'durable'])('of bytes may be used again at once: %s', async (mode) => {
    const store = new Map<string, number>();
    const lands: (() => void)[] = [];
    const later = <T>(act: () => T): Promise<T> =>
      new Promise((resolve) => lands.push(() => resolve(act())));
    const backing: BackingStore<Uint8Array, number> = {
      read: (key) => later(() => store.get(textOf(key))),
      write: (key, value) => later(() => void store.set(textOf(key), value)),
      delete: (key) => later(() => void store.delete(textOf(key))),
    };
    const options = { key: 'bytes', capacity: 1 } as const;
    const cache =
      mode === 'memory'
        ? WriteBehind.memory(backing, options)
        : await WriteBehind.open<Uint8Array, number>(await openDb(), backing, options);
    const key = Buffer.from('a');
    const use = async <T>(name: string, call: () => Promise<T>): Promise<T> => {
      key.write(name);
      let ended = false;
      const result = call().finally(() => {
        ended = true;
      });
      key.write('z');
      for (await turn(); !ended; await turn()) lands.shift()?.();
      return result;
    };
    await use('a', () => cache.put(key, 1));
    await use('b', () => cache.put(key, 2));
    expect([cache.dirtyKeys().map(textOf), [...store]]).toEqual([['b'], [['a', 1]]]);
    expect(await use('a', () => cache.get(key))).toBe(1);
    expect([cache.contains(Buffer.from('a')), [...store.keys()]]).toEqual([true, ['a', 'b']]);
    expect(await use('b', () => cache.delete(key))).toBe(false);
    expect([...store.keys()]).toEqual(['a']);
  });

  it.each(['memory', 'durable'])('that do not come back are refused at once: %s', async (mode) => {
    const key = {
      encode: ({ name }: { readonly name: string }): string => name,
      decode: (bytes: Buffer) => ({ name: bytes.toString().toLowerCase() }),
    };
    const store: BackingStore<{ readonly name: string }, number> = {
      read: () => undefined,
      write: () => undefined,
      delete: () => undefined,
    };
    const options = { key, capacity: 2 };
    const cache =
      mode === 'memory'
        ? WriteBehind.memory(store, options)
        : await WriteBehind.open(await openDb(), store, options);
    for (const name of ['a', 'b', 'c']) {
      const error = await failureOf(() => cache.put({ name: name.toUpperCase() }, 1));
      expect(error).toBeInstanceOf(TypeError);
      expect(String(error)).toMatch(/<4[123]>/);
      await cache.put({ name }, 1);
    }
    expect(cache.dirtyKeys()).toEqual([{ name: 'b' }, { name: 'c' }]);
  });

  it('that are half a character are refused, durable', async () => {
    const store = new PlainStore();
    const cache = await openDurable(await openDb(), store);
    cache.putSync('\ufffd', 1);
    const calls = [
      () => cache.putSync('\ud800', 2),
      () => cache.getSync('\ud800'),
      () => cache.deleteSync('\ud800'),
      () => cache.markClean('\ud800'),
    ];
    for (const call of calls) expect(await failureOf(call)).toBeInstanceOf(TypeError);
    expect([cache.peek('\ufffd'), cache.dirtyCount, store.calls]).toEqual([1, 1, []]);
  });

  it('of another codec than before are told of, not lost', async () => {
    const disk = newDisk();
    const db = await openDb(disk);
    const store = new PlainStore();
    const latin: DurableOptions<string, number> = {
      capacity: 1,
      key: {
        encode: (text) => Buffer.from(text, 'latin1'),
        decode: (bytes) => bytes.toString('latin1'),
      },
    };
    const before = await WriteBehind.open<string, number>(db, store, latin);
    await before.put('\u00e9', 1);
    await before.close({ flush: false });
    const cache = await WriteBehind.open<string, number>(db, store, { capacity: 1 });
    for (const call of [() => cache.putSync('a', 1), () => cache.flush(), () => cache.close()]) {
      expect(String(await failureOf(call))).toContain('<e9>');
    }
    await cache.close({ flush: false });
    const again = await WriteBehind.open<string, number>(db, store, latin);
    expect(await again.flush()).toBe(1);
    expect(store.content.get('\u00e9')).toBe(1);
  });

  it('in memory are whatever a Map takes, and values are not copied', async () => {
    const content = new Map<object | number, object>();
    const store: BackingStore<object | number, object> = {
      read: (key) => content.get(key),
      write: (key, value) => content.set(key, value),
      delete: (key) => content.delete(key),
    };
    const cache = WriteBehind.memory(store);
    const key = {};
    const value = { n: 1 };
    await cache.put(key, value);
    await cache.put(Number.NaN, value);
    expect([cache.peek(key), cache.contains({}), cache.contains(Number.NaN)]).toEqual([
      value,
      false,
      true,
    ]);
    await cache.flush();
    expect(content.get(key)).toBe(value);
  });

  it('may be as long as the trees take them, beyond a leaf too', async () => {
    const content = new Map<string, string>();
    const store: BackingStore<string, string> = {
      read: (key) => content.get(key),
      write: (key, value) => content.set(key, value),
      delete: (key) => content.delete(key),
    };
    const options = { value: 'utf8', capacity: 2 } as const;
    const cache = await WriteBehind.open<string, string>(await openDb(), store, options);
    const long = 'x'.repeat(20_000);
    await cache.put('a', long);
    await cache.put('a', `${long}y`);
    await cache.put('b', `${long}é`);
    await cache.put('c', '');
    expect([cache.peek('a'), cache.peek('b'), cache.peek('c')]).toEqual([
      undefined,
      `${long}é`,
      '',
    ]);
    expect(content.get('a')).toBe(`${long}y`);
    expect(await cache.flush()).toBe(2);
    await cache.put('b', 'short');
    expect(await cache.delete('b')).toBe(true);
    const tooLong = 'x'.repeat(200_000);
    await expect(cache.put('a', tooLong)).rejects.toBeInstanceOf(RangeError);
    expect(cache.stats()).toMatchObject({ entries: 1, dirty: 0 });
  });
});

describe('a durable cache', () => {
  it('is opened once in a thread, again after it was closed, and beside others', async () => {
    const db = await openDb();
    const store = new PlainStore();
    const cache = await openDurable(db, store);
    await expect(openDurable(db, store)).rejects.toMatchObject({ code: 'CACHE_OPEN' });
    expect(await failureOf(() => WriteBehind.attach(db, cache.handle, store))).toMatchObject({
      code: 'CACHE_OPEN',
    });
    const other = await openDurable(db, store, { name: 'other' });
    await other.put('a', 1);
    expect(cache.contains('a')).toBe(false);
    await cache.close();
    const again = await openDurable(db, store);
    expect(again.size).toBe(0);
    expect(again.handle.name).toBe('cache');
  });

  it('may be reopened with less room: it gives up the oldest entries as others come', async () => {
    const db = await openDb();
    const store = new PlainStore();
    const cache = await openDurable(db, store, { capacity: 5 });
    for (const key of ['a', 'b', 'c', 'd', 'e']) await cache.put(key, 1);
    await cache.close({ flush: false });
    const again = await openDurable(db, store, { capacity: 2 });
    expect([again.capacity, again.size]).toEqual([2, 5]);
    await again.put('e', 2);
    expect(again.size).toBe(5);
    await again.put('f', 1);
    expect([again.size, again.dirtyKeys()]).toEqual([2, ['e', 'f']]);
    expect(store.content.size).toBe(4);
  });

  it('of another format is refused', async () => {
    const db = await openDb();
    db.tree('write-behind/cache/facts', { key: 'utf8', value: 'json' }).put('format', 2);
    await expect(openDurable(db, new PlainStore())).rejects.toMatchObject({
      code: 'FORMAT_UNSUPPORTED',
    });
  });

  it('durable waits until what was put survives, in memory for nothing', async () => {
    const db = await openDb();
    const cache = await openDurable(db, new PlainStore(), { durability: 'synced' });
    await cache.put('a', 1);
    await cache.durable();
    const log = db.stats().log;
    expect(log?.durableSeq).toBe(log?.appendedSeq);
    cache.putSync('a', 2);
    cache.durableSync();
    expect(db.stats().log?.durableSeq).toBe(db.stats().log?.appendedSeq);
    const memory = WriteBehind.memory(new PlainStore());
    await memory.durable();
    memory.durableSync();
    expect(() => memory.handle).toThrow(TypeError);
  });

  it.each([[undefined], [null], [{}], [{ words: new SharedArrayBuffer(8) }]])(
    'is not joined by %j',
    async (handle) => {
      const db = await openDb();
      expect(() => WriteBehind.attach(db, handle as never, new PlainStore())).toThrow(TypeError);
    },
  );
});
