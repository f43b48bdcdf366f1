/**
 * What all caching stores share, over an inner store that answers at once: flushing, evicting, reading
 * through, writing past the cache. Kafka: CachingKeyValueStore.
 */
import { describe, expect, it } from 'vitest';
import {
  type ByteWrite,
  ENTRY_OVERHEAD_BYTES,
  FlushError,
  type FlushedEntry,
  KeyValueStore,
  MemoryStore,
  NO_CONTEXT,
  type RecordContext,
  SessionStore,
  ThreadCache,
  WindowStore,
} from '../../../src/streams/index.ts';
import { bytes, flushedTexts, LoggingStore, pairs, SingleStore, text } from './support.ts';

/** Room for so many entries with a key and a value of one byte. */
function roomFor(entries: number): number {
  return entries * (ENTRY_OVERHEAD_BYTES + 2);
}

function codeOf(work: () => unknown): unknown {
  try {
    work();
    return 'nothing was thrown';
  } catch (error) {
    return (error as { code?: unknown }).code ?? error;
  }
}

describe('flush', () => {
  it('writes dirty entries in the order of their last puts, deletes for tombstones, and returns them', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner });
    const context: RecordContext = { topic: 't', partition: 1, offset: 7, timestamp: 42 };
    store.put('a', '1', context);
    store.put('b', '1');
    store.put('c', undefined);
    store.put('a', '2');
    store.put('d', '1', context);
    const flushed = store.flush();
    expect(flushedTexts(flushed)).toEqual(['b=1', 'c-', 'a=2', 'd=1']);
    expect(flushed.map((entry) => entry.context)).toEqual([
      NO_CONTEXT,
      NO_CONTEXT,
      NO_CONTEXT,
      context,
    ]);
    expect(flushed.every((entry) => !('oldValue' in entry))).toBe(true);
    expect(inner.calls).toEqual(['put b=1', 'delete c', 'put a=2', 'put d=1']);
    expect(store.flush()).toEqual([]);
    expect(store.stats()).toMatchObject({ dirty: 0, entries: 3, flushes: 2, flushed: 4 });
  });

  it('with old values gives what the inner store had, undefined for nothing', () => {
    const inner = new SingleStore();
    for (const key of ['a', 'b']) inner.put(bytes(key), bytes('old'));
    const store = new KeyValueStore({ inner });
    store.put('a', 'new');
    store.put('b', undefined);
    store.put('c', 'new');
    const flushed = store.flushWithOld();
    expect(flushed.map(({ oldValue }) => text(oldValue))).toEqual(['old', 'old', undefined]);
    expect(flushed.every((entry) => 'oldValue' in entry)).toBe(true);
    store.put('a', 'newer');
    expect(store.flushWithOld().map(({ oldValue }) => text(oldValue))).toEqual(['new']);
  });

  it('is one batch where the inner store has batches', () => {
    const inner = new LoggingStore();
    const batches: string[][] = [];
    const store = new KeyValueStore({
      inner: Object.assign(inner, {
        batch: (writes: readonly FlushedEntry[]) => batches.push(flushedTexts(writes)),
      }),
    });
    for (const key of ['b', 'a', 'b']) store.put(key, '1');
    expect(flushedTexts(store.flush())).toEqual(['a=1', 'b=1']);
    expect(batches).toEqual([['a=1', 'b=1']]);
    expect(inner.calls).toEqual([]);
  });

  it('gives a batch keys and values and nothing else, so that they can be sent elsewhere', () => {
    const sent: ByteWrite[] = [];
    const inner = Object.assign(new LoggingStore(), {
      batch: (writes: readonly ByteWrite[]) => sent.push(...structuredClone(writes)),
    });
    const store = new KeyValueStore({ inner });
    // As many as would overflow the stack if each came with its neighbours.
    for (let index = 0; index < 20_000; index++) store.put(`k${index}`, 'v');
    store.put('k0', undefined);
    expect(store.flush().length).toBe(20_000);
    expect(sent.length).toBe(20_000);
    expect([sent[0], sent.at(-1)]).toEqual([
      { key: bytes('k1'), value: bytes('v') },
      { key: bytes('k0'), value: undefined },
    ]);
  });

  it('is several batches where one is too much, in order, and asks for more again later', () => {
    const inner = new LoggingStore();
    const sizes: number[] = [];
    let most = 3;
    const store = new KeyValueStore({
      inner: Object.assign(inner, {
        batch(writes: readonly FlushedEntry[]) {
          if (writes.length > most) throw new RangeError('too much');
          sizes.push(writes.length);
          for (const { key, value } of writes)
            MemoryStore.prototype.put.call(inner, key, value ?? key);
        },
        isTooLarge: (error: unknown) => error instanceof RangeError,
      }),
    });
    const keys = Array.from({ length: 10 }, (_, index) => String(index));
    for (const key of keys) store.put(key, 'v');
    expect(flushedTexts(store.flush())).toEqual(keys.map((key) => `${key}=v`));
    expect(sizes).toEqual([2, 2, 2, 2, 2]);
    most = 100;
    for (let round = 0; round < 4; round++) {
      for (const key of keys) store.put(key, 'w');
      store.flush();
    }
    expect(sizes.slice(5)).toEqual([4, 4, 2, 8, 2, 10, 10]);
    most = 0;
    store.put('k', 'v');
    expect(codeOf(() => store.flush())).toBe('FLUSH_FAILED');
    expect(store.stats().dirty).toBe(1);
  });

  it('is batches of at most as many entries as the inner store wants', () => {
    const sizes: number[] = [];
    const inner = Object.assign(new LoggingStore(), {
      batchMax: 2,
      batch: (writes: readonly FlushedEntry[]) => sizes.push(writes.length),
    });
    const store = new KeyValueStore({ inner });
    for (let round = 0; round < 2; round++) {
      for (const key of ['a', 'b', 'c', 'd', 'e']) store.put(key, '1');
      expect(flushedTexts(store.flush())).toEqual(['a=1', 'b=1', 'c=1', 'd=1', 'e=1']);
    }
    expect(sizes).toEqual([2, 2, 1, 2, 2, 1]);
  });

  it('that fails in the middle leaves what failed and the rest dirty, and says what was written', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner });
    const told: string[][] = [];
    store.setFlushListener((flushed) => told.push(flushedTexts(flushed)));
    for (const key of ['a', 'b', 'c']) store.put(key, '1');
    inner.failing = /put b/;
    let error: unknown;
    try {
      store.flush();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(FlushError);
    expect(error).toMatchObject({
      name: 'WeirpoolError',
      code: 'FLUSH_FAILED',
      outcome: 'unknown',
      details: { flushed: 1, dirty: 2 },
      cause: { message: 'no put b=1' },
    });
    expect(flushedTexts((error as FlushError).flushed)).toEqual(['a=1']);
    expect(told).toEqual([['a=1']]);
    expect(pairs(store.all())).toEqual(['a=1', 'b=1', 'c=1']);
    inner.failing = undefined;
    store.put('b', '2');
    expect(flushedTexts(store.flush())).toEqual(['c=1', 'b=2']);
    expect(inner.content()).toEqual(['a=1', 'b=2', 'c=1']);
  });

  it('fails as a whole when an old value cannot be read', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner });
    store.put('a', '1');
    inner.failing = /get a/;
    expect(codeOf(() => store.flushWithOld())).toBe('FLUSH_FAILED');
    expect([inner.content(), store.stats().dirty]).toEqual([[], 1]);
    expect(flushedTexts(store.flush())).toEqual(['a=1']);
  });

  it('tells its listener, which may use the store, and may ask for old values', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner });
    const told: [string[], (string | undefined)[]][] = [];
    store.setFlushListener(
      (flushed) => {
        told.push([flushedTexts(flushed), flushed.map(({ oldValue }) => text(oldValue))]);
        if (told.length === 1) store.put('from-listener', String(inner.size));
      },
      { oldValues: true },
    );
    store.put('a', '1');
    store.flush();
    store.put('a', '2');
    store.flush();
    store.flush();
    expect(told).toEqual([
      [['a=1'], [undefined]],
      [
        ['from-listener=1', 'a=2'],
        [undefined, '1'],
      ],
    ]);
    store.setFlushListener(undefined);
    store.put('b', '1');
    store.flush();
    expect(told.length).toBe(2);
  });

  it('whose listener throws has been done all the same', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner });
    store.setFlushListener(() => {
      throw new Error('no forwarding');
    });
    store.put('a', '1');
    let error: unknown;
    try {
      store.flush();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'FLUSH_FAILED', cause: { message: 'no forwarding' } });
    expect(flushedTexts((error as FlushError).flushed)).toEqual(['a=1']);
    expect([inner.content(), store.stats().dirty]).toEqual([['a=1'], 0]);
  });
});

describe('eviction', () => {
  it('takes what was used least recently; a dirty one flushes all dirty ones, the victim first', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner, cacheBytes: roomFor(3) });
    const told: string[][] = [];
    store.setFlushListener((flushed) => told.push(flushedTexts(flushed)));
    for (const key of ['a', 'b', 'c']) store.put(key, '1');
    store.put('b', '2');
    store.get('a'); // Now the last one used is a, and the first one c.
    expect(inner.calls).toEqual([]);
    store.put('d', '1');
    expect(told).toEqual([['c=1', 'a=1', 'b=2', 'd=1']]);
    expect(inner.calls).toEqual(['put c=1', 'put a=1', 'put b=2', 'put d=1']);
    expect(store.stats()).toMatchObject({ entries: 3, dirty: 0, evictions: 1 });
    inner.calls.length = 0;
    store.put('e', '1'); // The victim, b, is clean.
    expect(inner.calls).toEqual([]);
    expect(store.stats()).toMatchObject({ entries: 3, dirty: 1, evictions: 2 });
  });

  it('keeps the limit in bytes, also for entries that are larger than it', () => {
    const inner = new MemoryStore();
    const store = new KeyValueStore({ inner, cacheBytes: 1000 });
    for (let index = 0; index < 50; index++) {
      store.put(`k${index}`, 'x'.repeat((index * 37) % 1500));
      expect(store.stats().bytes).toBeLessThanOrEqual(1000);
    }
    expect(Array.from(store.all()).length).toBe(50);
  });

  it('with a limit of 0 writes everything through', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner, cacheBytes: 0 });
    store.put('a', '1');
    store.put('a', undefined);
    expect(inner.calls).toEqual(['put a=1', 'delete a']);
    expect(store.stats()).toMatchObject({ entries: 0, bytes: 0 });
  });

  it('that fails throws from the put, whose value is in the cache; nothing is lost', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner, cacheBytes: roomFor(1) });
    store.put('a', '1');
    inner.failing = /put/;
    expect(codeOf(() => store.put('b', '1'))).toBe('FLUSH_FAILED');
    expect([text(store.get('a')), text(store.get('b'))]).toEqual(['1', '1']);
    expect(store.stats()).toMatchObject({ entries: 2, dirty: 2 });
    inner.failing = undefined;
    store.flush();
    expect(inner.content()).toEqual(['a=1', 'b=1']);
    expect(store.stats().entries).toBe(1);
  });

  it('is for the store that puts, of several that share a limit', () => {
    const threadCache = new ThreadCache({ bytesMax: roomFor(3) });
    const inners = [new SingleStore(), new SingleStore()] as const;
    const one = new KeyValueStore({ inner: inners[0], threadCache });
    const two = new SessionStore({ inner: inners[1], threadCache });
    one.put('a', '1');
    one.put('b', '1');
    two.put({ key: 'k', start: 1, end: 2 }, 'v');
    expect(inners[1].size).toBe(1);
    expect(one.stats()).toMatchObject({ entries: 2, dirty: 2 });
    one.put('c', '1');
    expect(one.stats()).toMatchObject({ entries: 3, dirty: 3 });
    expect(two.stats().entries).toBe(0);
    one.close();
    expect(threadCache.bytes).toBe(0);
  });

  it('called for by the inner store itself, in the middle of a flush, does not flush again', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner, cacheBytes: roomFor(1) });
    store.put('a', '1');
    const calls: string[] = [];
    inner.put = (key) => {
      calls.push(text(key) ?? '');
      if (calls.length === 1) store.put('c', '1');
    };
    store.put('b', '1');
    expect(calls).toEqual(['a', 'b']);
    expect(flushedTexts(store.flush())).toEqual(['c=1']);
    expect(calls).toEqual(['a', 'b', 'c']);
  });
});

describe('reading', () => {
  it('takes the cache first; a tombstone there hides the inner value', () => {
    const inner = new LoggingStore();
    for (const key of ['a', 'b', 'c']) inner.put(bytes(key), bytes('inner'));
    const store = new KeyValueStore({ inner });
    store.put('a', 'cached');
    store.put('b', undefined);
    expect(['a', 'b', 'c', 'd'].map((key) => text(store.get(key)))).toEqual([
      'cached',
      undefined,
      'inner',
      undefined,
    ]);
    expect(pairs(store.scanAll())).toEqual(['a=cached', 'c=inner']);
    expect(pairs(store.range('a', 'c'))).toEqual(['a=cached']);
    expect(pairs(store.reverseRange('a'))).toEqual(['c=inner', 'a=cached']);
    expect(pairs(store.range('c', 'a'))).toEqual([]);
  });

  it('keeps what key-value stores read, clean, and looks again for what is absent', () => {
    const inner = new LoggingStore();
    inner.put(bytes('a'), bytes('1'));
    const store = new KeyValueStore({ inner });
    inner.calls.length = 0;
    for (let round = 0; round < 2; round++) {
      store.get('a');
      store.get('absent');
    }
    expect(inner.calls).toEqual(['get a', 'get absent', 'get absent']);
    expect(store.stats()).toMatchObject({ entries: 1, dirty: 0, hits: 1, misses: 3 });
    const windows = new WindowStore({ inner: new LoggingStore() });
    windows.put('k', 'v', 5);
    windows.flush();
    windows.clear();
    expect(windows.fetch('k', 5)).toBeUndefined();
    expect(windows.stats().entries).toBe(0);
  });

  it('never writes: what was read is not kept if only a flush would make room', () => {
    const inner = new SingleStore();
    inner.put(bytes('r'), bytes('1'));
    inner.calls.length = 0;
    const store = new KeyValueStore({ inner, cacheBytes: roomFor(1) });
    store.put('a', '1');
    expect(text(store.get('r'))).toBe('1');
    expect(inner.calls).toEqual(['get r']);
    expect(store.stats()).toMatchObject({ entries: 1, dirty: 1 });
    store.flush();
    store.get('r');
    expect(store.stats()).toMatchObject({ entries: 1, dirty: 0, evictions: 1 });
  });

  it('a range that was begun goes on, whatever is put, flushed and evicted meanwhile', () => {
    const inner = new LoggingStore();
    const store = new KeyValueStore({ inner, cacheBytes: roomFor(2) });
    for (const key of ['a', 'c', 'e', 'g']) store.put(key, '1');
    const seen: string[] = [];
    for (const [key, value] of store.range()) {
      seen.push(`${text(key)}=${text(value)}`);
      store.put('b', '1');
      store.put('f', '1');
      store.put('g', '2');
      store.flush();
    }
    expect(seen.filter((each) => !each.startsWith('g'))).toEqual([
      'a=1',
      'b=1',
      'c=1',
      'e=1',
      'f=1',
    ]);
    expect(seen.filter((each) => each.startsWith('g')).length).toBe(1);
  });

  it('a range may be left early, and begun again', () => {
    const inner = new LoggingStore();
    let returned = 0;
    const range = inner.range.bind(inner);
    inner.range = (given) => {
      const iterator = range(given)[Symbol.iterator]();
      const ends = {
        next: () => iterator.next(),
        return: () => {
          returned++;
          return { done: true as const, value: undefined };
        },
      };
      return { [Symbol.iterator]: () => ends };
    };
    inner.put(bytes('a'), bytes('1'));
    inner.put(bytes('b'), bytes('1'));
    const store = new KeyValueStore({ inner });
    const all = store.all();
    for (const _ of all) break;
    expect(returned).toBe(1);
    store.put('c', '1');
    expect(pairs(all)).toEqual(['a=1', 'b=1', 'c=1']);
    expect(returned).toBe(1);
  });

  it('a range is a hit for all that it finds in the cache', () => {
    const store = new KeyValueStore({ inner: new SingleStore(), cacheBytes: roomFor(3) });
    for (const key of ['a', 'b', 'c']) store.put(key, '1');
    store.flush();
    store.range('a', 'b').toArray();
    store.put('d', '1');
    store.put('e', '1');
    expect(store.stats().misses).toBe(0);
    store.get('a');
    expect(store.stats().misses).toBe(0);
    store.get('b');
    expect(store.stats().misses).toBe(1);
  });
});

describe('past the cache', () => {
  it('putInner and deleteInner change the inner store; what is cached goes on winning', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner });
    store.put('dirty', 'cached');
    store.putInner('dirty', 'restored');
    store.putInner('clean', 'restored');
    expect(inner.content()).toEqual(['clean=restored', 'dirty=restored']);
    expect(text(store.get('clean'))).toBe('restored');
    store.deleteInner('clean');
    expect(text(store.get('clean'))).toBe('restored');
    expect(pairs(store.all())).toEqual(['clean=restored', 'dirty=cached']);
    expect(store.flushWithOld().map(({ oldValue }) => text(oldValue))).toEqual(['restored']);
    expect(inner.content()).toEqual(['dirty=cached']);
    expect(store.stats().dirty).toBe(0);
  });

  it('clear empties cache and inner store; if that fails nothing has changed', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner });
    store.put('a', '1');
    store.flush();
    store.put('b', '1');
    inner.failing = /clear/;
    expect(() => store.clear()).toThrow('no clear');
    expect(pairs(store.all())).toEqual(['a=1', 'b=1']);
    inner.failing = undefined;
    store.clear();
    expect([inner.size, store.stats().entries, store.stats().dirty]).toEqual([0, 0, 0]);
    expect(store.flush()).toEqual([]);
  });
});

describe('the bytes', () => {
  it('of keys and values are copied: whoever gave them may use them again', () => {
    const store = new KeyValueStore({ inner: new MemoryStore() });
    const [key, value] = [bytes('k'), bytes('v')];
    store.put(key, value);
    key.fill(0);
    value.fill(0);
    expect(pairs(store.all())).toEqual(['k=v']);
    const low = bytes('a');
    const range = store.range(low);
    low.fill(0xff);
    expect(pairs(range)).toEqual(['k=v']);
  });

  it('may be given as text', () => {
    const store = new KeyValueStore({ inner: new MemoryStore() });
    store.put('ö', 'ü');
    expect(Buffer.from(store.get(Buffer.from('ö')) ?? []).toString()).toBe('ü');
    expect(() => store.put(1 as never, 'v')).toThrow(TypeError);
    expect(() => store.put('k', 1 as never)).toThrow(TypeError);
    expect(() => store.get(undefined as never)).toThrow(TypeError);
    expect(store.stats().entries).toBe(1);
  });
});

describe('a store', () => {
  it('is closed after a flush, and then refuses everything', () => {
    const inner = new SingleStore();
    const store = new KeyValueStore({ inner });
    const range = store.all();
    store.put('a', '1');
    inner.failing = /put/;
    expect(codeOf(() => store.close())).toBe('FLUSH_FAILED');
    expect(text(store.get('a'))).toBe('1');
    inner.failing = undefined;
    store.close();
    store.close();
    expect(inner.content()).toEqual(['a=1']);
    const calls = [
      () => store.get('a'),
      () => store.put('a', '1'),
      () => store.putIfAbsent('a', '1'),
      () => store.delete('a'),
      () => store.all(),
      () => [...range],
      () => store.flush(),
      () => store.flushWithOld(),
      () => store.putInner('a', '1'),
      () => store.deleteInner('a'),
      () => store.clear(),
    ];
    expect(calls.map(codeOf)).toEqual(calls.map(() => 'CACHE_CLOSED'));
    expect(inner.content()).toEqual(['a=1']);
  });

  it('refuses options that are none, and an inner store that is not what it says', () => {
    const inner = new MemoryStore();
    expect(() => new KeyValueStore({} as never)).toThrow(TypeError);
    expect(() => new KeyValueStore({ inner: {} as never })).toThrow(TypeError);
    expect(() => new KeyValueStore({ inner, cacheBytes: -1 })).toThrow(RangeError);
    const threadCache = new ThreadCache({ bytesMax: 1 });
    expect(() => new KeyValueStore({ inner, cacheBytes: 1, threadCache })).toThrow(TypeError);
    const promising = Object.assign(new SingleStore(), {
      put: () => Promise.reject(new Error('x')),
    });
    const store = new KeyValueStore({ inner: promising, cacheBytes: 0 });
    expect(() => store.put('a', '1')).toThrow(/mode 'sync' and gives promises/);
  });

  it('refuses an entry that its inner store could never take, before anything is put', () => {
    const inner = Object.assign(new SingleStore(), {
      assertEntry(key: Uint8Array) {
        if (key.length > 3) throw new RangeError('too long');
      },
    });
    const store = new KeyValueStore({ inner });
    expect(() => store.put('long', '1')).toThrow(RangeError);
    expect(() => store.putIfAbsent('long', '1')).toThrow(RangeError);
    expect(() => store.put('long', undefined)).toThrow(RangeError);
    expect(() => store.delete('long')).toThrow(RangeError);
    expect(() => store.putAll([['long', undefined]])).toThrow(RangeError);
    expect(store.stats().entries).toBe(0);
    expect(inner.calls).toEqual(['get long']);
  });
});
