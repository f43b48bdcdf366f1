/** Session stores. Kafka: SessionKeySchema, CachingSessionStore, KIP-617, KIP-763. */
import { expect, it } from 'vitest';
import {
  MemoryStore,
  type SessionEntry,
  SessionStore,
  sessionKey,
  TIME_MAX,
} from '../../../src/streams/index.ts';
import { bytes, flushedTexts, SingleStore, text } from './support.ts';

function texts(entries: Iterable<SessionEntry>): string[] {
  return Array.from(
    entries,
    ({ key, start, end, value }) => `${text(key)}[${start},${end}]=${text(value)}`,
  );
}

/** Half of them in the inner store; values are their numbers. */
function filled(...sessions: readonly (readonly [key: string, start: number, end: number])[]) {
  const store = new SessionStore({ inner: new MemoryStore() });
  sessions.forEach(([key, start, end], index) => {
    store.put({ key: bytes(key), start, end }, String(index));
    if (index === Math.floor(sessions.length / 2)) store.flush();
  });
  return store;
}

it('is stored by key, end and start, big-endian, with the value as it is', () => {
  const store = filled(['k', 0x0102_0304_0506, 0x0708_090a_0b0c]);
  const [[key, value] = []] = store.scanAll().toArray();
  expect(Buffer.from(key ?? []).toString('hex')).toBe('6b00000708090a0b0c0000010203040506');
  expect(text(value)).toBe('0');
  expect(sessionKey({ key: 'k', start: 0x0102_0304_0506, end: 0x0708_090a_0b0c })).toEqual(key);
});

it('findSessions gives those that end and start in time, in order of end, then start', () => {
  const store = filled(['k', 8, 10], ['k', 0, 10], ['k', 0, 3], ['k', 12, 12], ['k', 5, 20]);
  expect(texts(store.findSessions('k', 10, 8))).toEqual(['k[0,10]=1', 'k[8,10]=0', 'k[5,20]=4']);
  expect(texts(store.findSessions('k', 11, 11))).toEqual(['k[5,20]=4']);
  expect(texts(store.findSessions('k', 3, 0))).toEqual(['k[0,3]=2', 'k[0,10]=1']);
  expect(texts(store.findSessions('k', 21, 100))).toEqual([]);
  expect(texts(store.findSessions('l', 0, 100))).toEqual([]);
  expect(texts(store.backwardFindSessions('k', 10, 8))).toEqual([
    'k[5,20]=4',
    'k[8,10]=0',
    'k[0,10]=1',
  ]);
});

it('a negative earliest end, or none, means all; so does a latest start that is absent', () => {
  const store = filled(['k', 0, 0], ['k', 1, TIME_MAX], ['k', TIME_MAX, TIME_MAX]);
  const all = ['k[0,0]=0', `k[1,${TIME_MAX}]=1`, `k[${TIME_MAX},${TIME_MAX}]=2`];
  expect(texts(store.findSessions('k', -1, undefined))).toEqual(all);
  expect(texts(store.findSessions('k'))).toEqual(all);
  expect(texts(store.findSessions('k', -100, Number.POSITIVE_INFINITY))).toEqual(all);
  expect(texts(store.findSessions('k', undefined, 1))).toEqual(all.slice(0, 2));
  expect(texts(store.findSessions('k', 0, -1))).toEqual([]);
  expect(texts(store.findSessions('k', TIME_MAX + 1, 1))).toEqual([]);
  expect(texts(store.fetch('k'))).toEqual(all);
  expect(texts(store.backwardFetch('k'))).toEqual([...all].reverse());
});

it('ranges are of keys from one to another, both inclusive, or of all', () => {
  const store = filled(['a', 1, 2], ['b', 1, 2], ['b', 5, 9], ['c', 1, 2]);
  expect(texts(store.findSessionsOfKeys('a', 'b', 2, 4))).toEqual(['a[1,2]=0', 'b[1,2]=1']);
  expect(texts(store.fetch('b', 'c'))).toEqual(['b[1,2]=1', 'b[5,9]=2', 'c[1,2]=3']);
  expect(texts(store.backwardFetch('a', 'b'))).toEqual(['b[5,9]=2', 'b[1,2]=1', 'a[1,2]=0']);
  expect(texts(store.findSessionsOfKeys(undefined, 'a'))).toEqual(['a[1,2]=0']);
  expect(texts(store.backwardFindSessionsOfKeys('c', undefined))).toEqual(['c[1,2]=3']);
  expect(texts(store.findSessionsOfKeys('b', 'a'))).toEqual([]);
  expect(texts(store.all()).length).toBe(4);
  expect(texts(store.backwardAll())[0]).toBe('c[1,2]=3');
});

it('never gives sessions of other keys that share bytes', () => {
  const suffix = text(sessionKey({ key: '', start: 1, end: 5 })) ?? '';
  const keys = ['', 'k', 'k\x00', `k${suffix.slice(0, 8)}`, `k${suffix}`, suffix, 'kk'];
  const store = new SessionStore({ inner: new MemoryStore() });
  for (const key of keys) store.put({ key: bytes(key), start: 1, end: 5 }, bytes(key));
  for (let round = 0; round < 2; round++) {
    for (const key of keys) {
      const found = [
        ...store.findSessions(bytes(key), 0, 9),
        ...store.findSessionsOfKeys(bytes(key), bytes(key), 0, 9),
      ];
      expect(found.map((entry) => [text(entry.key), text(entry.value)])).toEqual([
        [key, key],
        [key, key],
      ]);
    }
    store.flush();
  }
});

it('fetchSession gives one, and remove removes it', () => {
  const inner = new SingleStore();
  const store = new SessionStore({ inner });
  store.put({ key: 'k', start: 1, end: 2 }, 'v');
  store.flush();
  expect(text(store.fetchSession('k', 1, 2))).toBe('v');
  expect(store.fetchSession('k', 2, 2)).toBeUndefined();
  const [found] = store.findSessions('k');
  if (found !== undefined) store.remove(found);
  expect(store.fetchSession('k', 1, 2)).toBeUndefined();
  store.put({ key: 'k', start: 3, end: 4 }, 'w');
  store.put({ key: 'k', start: 3, end: 4 }, undefined);
  expect(texts(store.all())).toEqual([]);
  const [first, second] = [
    text(sessionKey({ key: 'k', start: 1, end: 2 })),
    text(sessionKey({ key: 'k', start: 3, end: 4 })),
  ];
  expect(flushedTexts(store.flush())).toEqual([`${first}-`, `${second}-`]);
  expect(inner.size).toBe(0);
});

it('refuses sessions that are none', () => {
  const store = new SessionStore({ inner: new MemoryStore() });
  expect(() => store.put({ key: 'k', start: 2, end: 1 }, 'v')).toThrow(RangeError);
  expect(() => store.put({ key: 'k', start: -1, end: 1 }, 'v')).toThrow(RangeError);
  expect(() => store.remove({ key: 'k', start: 0, end: 1.5 })).toThrow(RangeError);
  expect(() => store.fetchSession('k', 0, Number.NaN)).toThrow(RangeError);
  expect(() => store.findSessions('k', Number.NaN)).toThrow(RangeError);
  expect(() => store.putInner('short', 'v')).toThrow(RangeError);
  expect(() => store.putInner(sessionKey({ key: 'k', start: 1, end: 1 }).fill(0xff), 'v')).toThrow(
    RangeError,
  );
  store.putInner(sessionKey({ key: 'k', start: 1, end: 1 }), 'v');
  expect(texts(store.all())).toEqual(['k[1,1]=v']);
});
