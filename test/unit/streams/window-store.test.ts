/**
 * Window stores: keys byte by byte, bounds, other keys between them, retention. Kafka: WindowKeySchema,
 * CachingWindowStore, InMemoryWindowStore, KIP-258 (values with timestamps), KIP-617, KIP-763.
 */
import { describe, expect, it } from 'vitest';
import {
  MemoryStore,
  NO_CONTEXT,
  readWindow,
  readWindowValue,
  TIME_MAX,
  type WindowEntry,
  WindowStore,
  windowKey,
} from '../../../src/streams/index.ts';
import { bytes, errorOf, LoggingStore, SingleStore, StagedStore, settle, text } from './support.ts';

function at(timestamp: number) {
  return { ...NO_CONTEXT, timestamp };
}

function newStore(): WindowStore<MemoryStore> {
  return new WindowStore({ inner: new MemoryStore() });
}

function texts(entries: Iterable<WindowEntry>): string[] {
  return Array.from(entries, ({ key, start, sequence, value }) => {
    const number = sequence === 0 ? '' : `#${sequence}`;
    return `${text(key)}@${start}${number}=${text(value)}`;
  });
}

/** Half of it in the inner store. */
function filled(...windows: readonly (readonly [key: string, start: number, sequence?: number])[]) {
  const store = newStore();
  windows.forEach(([key, start, sequence], index) => {
    store.put(bytes(key), String(index), start, undefined, sequence);
    if (index === Math.floor(windows.length / 2)) store.flush();
  });
  return store;
}

describe('what is stored', () => {
  it('is key, start and sequence number, big-endian, and timestamp and payload', () => {
    const store = newStore();
    store.put('k', 'v', 0x0102_0304_0506, at(-2), 0x0708_090a);
    const [[key, value] = []] = store.scanAll().toArray();
    expect(Buffer.from(key ?? []).toString('hex')).toBe(`6b0000010203040506${'0708090a'}`);
    expect(Buffer.from(value ?? []).toString('hex')).toBe('fffffffffffffffe76');
    expect(windowKey(bytes('k'), 0x0102_0304_0506, 0x0708_090a)).toEqual(key);
    expect(readWindowValue(value ?? bytes(''))).toEqual({ timestamp: -2, value: bytes('v') });
    expect(readWindow(key ?? bytes(''), value ?? bytes(''))).toEqual({
      key: bytes('k'),
      start: 0x0102_0304_0506,
      sequence: 0x0708_090a,
      timestamp: -2,
      value: bytes('v'),
    });
  });

  it('holds every time and number that may be given', () => {
    const store = newStore();
    for (const start of [0, 1, 2 ** 32 - 1, 2 ** 32, TIME_MAX]) {
      for (const sequence of [0, 2 ** 31, 2 ** 32 - 1]) {
        store.put('k', '', start, at(start), sequence);
      }
    }
    const found = store.all().toArray();
    expect(found.map(({ start, sequence }) => [start, sequence])).toEqual(
      [0, 1, 2 ** 32 - 1, 2 ** 32, TIME_MAX].flatMap((start) =>
        [0, 2 ** 31, 2 ** 32 - 1].map((sequence) => [start, sequence]),
      ),
    );
    expect(found.every(({ start, timestamp }) => start === timestamp)).toBe(true);
  });

  it('is nothing for times and numbers that are none', () => {
    const store = newStore();
    for (const start of [-1, 1.5, TIME_MAX + 1, Number.NaN]) {
      expect(() => store.put('k', 'v', start)).toThrow(RangeError);
    }
    expect(() => store.put('k', 'v', '1' as never)).toThrow(TypeError);
    expect(() => store.put('k', 'v', 1, undefined, -1)).toThrow(RangeError);
    expect(() => store.put('k', 'v', 1, at(Number.NaN))).toThrow(RangeError);
    expect(() => store.put('k', 'v', 1, {} as never)).toThrow(TypeError);
    expect(store.streamTime).toBe(-1);
    expect(() => store.putInner('short', 'v'.repeat(9))).toThrow(RangeError);
    expect(() => store.putInner(new Uint8Array(12).fill(0xff), 'v'.repeat(9))).toThrow(RangeError);
    expect(() => store.putInner(windowKey(bytes('k'), 1), 'short')).toThrow(RangeError);
    expect(() => store.delete(bytes('short'))).toThrow(RangeError);
    expect(store.all().toArray()).toEqual([]);
  });
});

describe('fetch', () => {
  it('of one window gives its value and the timestamp of its record', () => {
    const store = newStore();
    store.put('k', 'v', 10, at(13));
    expect(store.fetch('k', 10)).toEqual({ timestamp: 13, value: bytes('v') });
    store.flush();
    store.put('k', 'w', 20);
    expect(store.fetch('k', 20)).toEqual({ timestamp: -1, value: bytes('w') });
    expect(store.fetch('k', 11)).toBeUndefined();
    expect(store.fetch('l', 10)).toBeUndefined();
    store.put('k', undefined, 10);
    expect(store.fetch('k', 10)).toBeUndefined();
  });

  it('of several takes both bounds in, clamps negative ones, and an absent one is unlimited', () => {
    const store = filled(['k', 0], ['k', 5], ['k', 10], ['k', TIME_MAX]);
    expect(texts(store.fetch('k', 5, 10))).toEqual(['k@5=1', 'k@10=2']);
    expect(texts(store.fetch('k', 6, 9))).toEqual([]);
    expect(texts(store.fetch('k', -3, 5))).toEqual(['k@0=0', 'k@5=1']);
    expect(texts(store.fetch('k', Number.NEGATIVE_INFINITY, 0))).toEqual(['k@0=0']);
    expect(texts(store.fetch('k', -3, -1))).toEqual([]);
    expect(texts(store.fetch('k', 10, undefined))).toEqual(['k@10=2', `k@${TIME_MAX}=3`]);
    expect(texts(store.fetch('k', 10, Number.POSITIVE_INFINITY)).length).toBe(2);
    expect(texts(store.fetch('k', undefined, undefined)).length).toBe(4);
    expect(texts(store.fetch('k', 10, 5))).toEqual([]);
    expect(texts(store.fetch('k', TIME_MAX + 1, undefined))).toEqual([]);
    expect(texts(store.fetch('k', 4.5, 10.5))).toEqual(['k@5=1', 'k@10=2']);
    expect(() => store.fetch('k', Number.NaN, 1)).toThrow(RangeError);
    expect(() => store.fetch('k', 0, '1' as never)).toThrow(TypeError);
    expect(texts(store.backwardFetch('k', 0, 10))).toEqual(['k@10=2', 'k@5=1', 'k@0=0']);
  });

  it('gives several of one window in the order of their numbers', () => {
    const store = filled(['k', 5, 2], ['k', 5, 0], ['k', 4, 9], ['k', 5, 2 ** 32 - 1]);
    expect(texts(store.fetch('k', 0, 5))).toEqual([
      'k@4#9=2',
      'k@5=1',
      'k@5#2=0',
      `k@5#${2 ** 32 - 1}=3`,
    ]);
  });

  it('of keys takes both keys in, and an absent one is unlimited', () => {
    const store = filled(['a', 1], ['b', 1], ['b', 9], ['c', 1]);
    expect(texts(store.fetch('a', 'b', 0, 5))).toEqual(['a@1=0', 'b@1=1']);
    expect(texts(store.fetch(undefined, 'b', 1, 9))).toEqual(['a@1=0', 'b@1=1', 'b@9=2']);
    expect(texts(store.fetch('b', undefined, -1, undefined))).toEqual(['b@1=1', 'b@9=2', 'c@1=3']);
    expect(texts(store.fetch('c', 'a', 0, 9))).toEqual([]);
    expect(texts(store.backwardFetch('a', 'c', 1, 1))).toEqual(['c@1=3', 'b@1=1', 'a@1=0']);
    expect(texts(store.fetchAll(2, 9))).toEqual(['b@9=2']);
    expect(texts(store.backwardFetchAll(0, 1))).toEqual(['c@1=3', 'b@1=1', 'a@1=0']);
    expect(texts(store.all()).length).toBe(4);
    expect(texts(store.backwardAll())[0]).toBe('c@1=3');
  });

  it('never gives windows of other keys that share bytes', () => {
    const suffix = text(windowKey(new Uint8Array(0), 5, 1)) ?? '';
    const time = suffix.slice(0, 8);
    const keys = [
      '',
      'k',
      'k\x00',
      `k${time}`,
      `k${suffix}`,
      `k${time}${time}`,
      time,
      suffix,
      'kk',
    ];
    const store = newStore();
    for (const key of keys) {
      for (const start of [0, 5, 6]) store.put(bytes(key), key, start, undefined, 1);
    }
    for (const round of ['cached', 'flushed']) {
      for (const key of keys) {
        for (const entries of [
          store.fetch(bytes(key), 0, 6),
          store.fetch(bytes(key), bytes(key), 0, 6),
        ]) {
          const found = entries.toArray();
          expect(
            found.map(({ start }) => start),
            round,
          ).toEqual([0, 5, 6]);
          expect(found.every((entry) => text(entry.key) === key && text(entry.value) === key)).toBe(
            true,
          );
        }
        // From the first key up to this one: those below it, and none else.
        const below = store.fetch(undefined, bytes(key), 0, undefined).toArray();
        const expected = keys.filter((each) => each <= key).length * 3;
        expect(below.length, `${round} ${key}`).toBe(expected);
      }
      store.flush();
    }
  });
});

it('delete takes a stored key, and a context, and hides the window', () => {
  const store = newStore();
  store.put('k', 'v', 5);
  store.flush();
  store.delete(windowKey(bytes('k'), 5), at(9));
  expect(store.fetch('k', 5)).toBeUndefined();
  const [flushed] = store.flushWithOld();
  expect(flushed).toMatchObject({
    key: windowKey(bytes('k'), 5),
    value: undefined,
    context: at(9),
  });
  expect(readWindowValue(flushed?.oldValue ?? bytes('')).value).toEqual(bytes('v'));
});

describe('retention', () => {
  function retaining(options: { readonly inner?: SingleStore } = {}) {
    const inner = options.inner ?? new SingleStore();
    const store = new WindowStore({ inner, retentionMs: 10, expireMs: 5 });
    return { inner, store };
  }

  it('hides windows that start at or before stream time less the retention, and drops late ones', () => {
    const { store } = retaining();
    for (const start of [0, 5, 10]) store.put('k', 'v', start);
    expect(texts(store.all())).toEqual(['k@5=v', 'k@10=v']);
    expect(store.streamTime).toBe(10);
    expect(store.fetch('k', 0)).toBeUndefined();
    expect(texts(store.fetch('k', 0, 10))).toEqual(['k@5=v', 'k@10=v']);
    expect(texts(store.fetch('a', 'z', 0, 5))).toEqual(['k@5=v']);
    store.put('k', 'late', 0);
    store.put('k', 'in time', 1);
    expect(store.stats().dropped).toBe(1);
    expect(texts(store.fetchAll())).toEqual(['k@1=in time', 'k@5=v', 'k@10=v']);
    store.put('l', 'v', 15);
    expect(texts(store.all())).toEqual(['k@10=v', 'l@15=v']);
  });

  it('hides them from those who ask for stored keys too, but not what is no window', () => {
    const { inner, store } = retaining();
    inner.put(bytes('short'), bytes('v'));
    for (const start of [0, 5]) store.put('k', 'v', start);
    store.flush();
    store.put('k', 'v', 10);
    const early = windowKey(bytes('k'), 0);
    const late = [5, 10].map((start) => Buffer.from(windowKey(bytes('k'), start)));
    const seen = (entries: Iterable<[Uint8Array, Uint8Array]>) =>
      Array.from(entries, ([key]) => Buffer.from(key)).filter((key) => key.length > 5);
    expect(seen(store.range())).toEqual(late);
    expect(seen(store.reverseRange())).toEqual([...late].reverse());
    expect(seen(store.scanAll())).toEqual(late);
    expect(store.get(early)).toBeUndefined();
    expect(store.get(late[0] as Buffer)).toBeDefined();
    expect(store.get('short')).toEqual(bytes('v'));
    expect(store.scanAll().toArray()).toHaveLength(3);
    expect(inner.get(early)).toBeDefined();
  });

  it('is about the stream time, which putInner moves on as well', () => {
    const { store } = retaining();
    store.put('k', 'v', 3);
    store.putInner(windowKey(bytes('l'), 20), '12345678');
    expect(store.streamTime).toBe(20);
    expect(texts(store.all())).toEqual(['l@20=']);
  });

  it('expire deletes what is hidden, from inner store and cache, and nothing else', () => {
    const { inner, store } = retaining();
    store.put('k', 'v', 0);
    store.flush();
    store.put('k', 'w', 12);
    expect(store.expire()).toBe(1);
    expect([inner.size, store.stats().entries]).toEqual([0, 1]);
    expect(store.expire()).toBe(0);
    // What is dirty in the cache is flushed first, and forwarded.
    store.put('l', 'v', 3);
    store.put('k', 'x', 20);
    expect(store.expire()).toBe(0);
    expect(store.stats().dirty).toBe(3);
  });

  it('flush expires as stream time goes on, and tells what was flushed if that fails', () => {
    const { inner, store } = retaining();
    store.put('k', 'v', 0);
    store.flush();
    store.put('k', 'v', 4);
    expect(store.flush().length).toBe(1);
    expect(inner.size).toBe(2);
    store.put('k', 'v', 13);
    inner.failing = /delete/;
    expect(() => store.flush()).toThrow(
      expect.objectContaining({
        code: 'FLUSH_FAILED',
        flushed: [expect.objectContaining({ key: windowKey(bytes('k'), 13) })],
      }),
    );
    inner.failing = undefined;
    expect(texts(store.all())).toEqual(['k@4=v', 'k@13=v']);
    store.put('k', 'v', 20);
    store.flush();
    expect(inner.size).toBe(2);
  });

  it('flush expires again what could not be, and lets go the range it was reading', () => {
    const { inner, store } = retaining();
    let open = 0;
    const range = inner.range.bind(inner);
    inner.range = (given) => {
      const entries = range(given);
      return (function* () {
        open++;
        try {
          yield* entries;
        } finally {
          open--;
        }
      })();
    };
    for (const start of [0, 1]) store.put('k', 'v', start);
    store.flush();
    store.put('k', 'v', 13);
    inner.failing = /delete/;
    for (let round = 0; round < 2; round++) {
      expect(() => store.flush()).toThrow(expect.objectContaining({ code: 'FLUSH_FAILED' }));
      expect(() => store.expire()).toThrow('no delete');
    }
    expect([inner.size, open]).toEqual([3, 0]);
    inner.failing = undefined;
    store.flush();
    expect([inner.size, open]).toEqual([1, 0]);
    inner.calls.length = 0;
    store.flush();
    expect(inner.calls).toEqual([]);
  });

  it('goes on after a reopening with the stream time that was, or that the windows say', () => {
    const { inner, store } = retaining();
    for (const start of [0, 20]) store.put('k', 'v', start);
    store.close();
    const options = { inner, retentionMs: 10 };
    expect(texts(new WindowStore(options).all())).toEqual(['k@20=v']);
    inner.put(windowKey(bytes('k'), 3), windowKey(bytes(''), 0));
    const { streamTime } = store;
    expect(texts(new WindowStore({ ...options, streamTime }).all())).toEqual(['k@20=v']);
    const again = new WindowStore(options);
    expect(again.streamTime).toBe(-1);
    expect(again.restoreStreamTime()).toBe(20);
    expect(texts(again.all())).toEqual(['k@20=v']);
    expect(again.stats()).toMatchObject({ hits: 0, misses: 0 });
  });

  it('refuses options that are none', () => {
    const inner = new MemoryStore();
    expect(() => new WindowStore({ inner, retentionMs: 0 })).toThrow(RangeError);
    expect(() => new WindowStore({ inner, retentionMs: 1, expireMs: 0 })).toThrow(RangeError);
    expect(() => new WindowStore({ inner, streamTime: -2 })).toThrow(RangeError);
    expect(new WindowStore({ inner, expireMs: Number.POSITIVE_INFINITY }).streamTime).toBe(-1);
  });
});

it('a fetch reads nothing of the inner store but what lies between its bounds', () => {
  const inner = new LoggingStore();
  const store = new WindowStore({ inner });
  for (const key of ['a', 'k', 'z'])
    for (let start = 0; start < 9; start++) store.put(key, 'v', start);
  store.flush();
  let read = 0;
  const range = inner.range.bind(inner);
  inner.range = function* (given) {
    for (const entry of range(given)) {
      read++;
      yield entry;
    }
  };
  expect(store.fetch('k', 3, 5).toArray().length).toBe(3);
  expect(read).toBe(3);
  expect(store.fetch('a', 'k', 0, 3).toArray().length).toBe(8);
  expect(read).toBe(3 + 9 + 4);
});

it('over an asynchronous store an expiry that failed is done again by the next flush', async () => {
  const inner = new StagedStore();
  const store = new WindowStore({ inner, retentionMs: 10, expireMs: 1 });
  await store.put('k', 'v', 0);
  await store.put('k', 'v', 20);
  const failed = errorOf(store.flush());
  await settle();
  for (const what of inner.waiting.map((each) => each.what)) await inner.at(what).land();
  await inner.waiting[0]?.land();
  expect(await inner.pending()).toEqual(['range']);
  await inner.at('range').land();
  await inner.waiting[0]?.fail();
  expect(await failed).toMatchObject({ code: 'FLUSH_FAILED', details: { flushed: 2 } });
  const again = store.flush();
  await inner.landAll();
  await again;
  expect(inner.inner.size).toBe(1);
});

it('over an asynchronous store everything is promised', async () => {
  const inner = new StagedStore();
  const store = new WindowStore({ inner, retentionMs: 10, expireMs: 1 });
  for (const start of [0, 5]) await store.put('k', 'v', start, at(start));
  const flushing = store.flush();
  await inner.landAll();
  expect((await flushing).length).toBe(2);
  const one = store.fetch('k', 5);
  expect(one).toBeInstanceOf(Promise);
  expect(await one).toEqual({ timestamp: 5, value: bytes('v') });
  await store.put('k', 'w', 6);
  const many = store.backwardFetch('k', 0, 9).toArray();
  await inner.landAll();
  expect(texts(await many)).toEqual(['k@6=w', 'k@5=v', 'k@0=v']);
  const restored = store.restoreStreamTime();
  await inner.landAll();
  expect(await restored).toBe(6);
});
