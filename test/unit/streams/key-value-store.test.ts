/** Key-value stores. Kafka: CachingKeyValueStore, KIP-614 (prefixScan), KIP-617 (reverse ranges). */
import { expect, it } from 'vitest';
import { KeyValueStore, MemoryStore } from '../../../src/streams/index.ts';
import { errorOf, flushedTexts, pairs, SingleStore, StagedStore, settle, text } from './support.ts';

function newStore(...keys: readonly string[]): KeyValueStore<MemoryStore> {
  const store = new KeyValueStore({ inner: new MemoryStore() });
  keys.forEach((key, index) => {
    store.put(key, String(index));
    if (index % 2 === 0) store.flush();
  });
  return store;
}

it('put of undefined deletes, as a put of null does in Kafka', () => {
  const store = newStore('a', 'b');
  store.put('a', undefined);
  expect(pairs(store.all())).toEqual(['b=1']);
  expect(flushedTexts(store.flush())).toEqual(['b=1', 'a-']);
});

it('putIfAbsent gives what is there, or puts', () => {
  const store = newStore('a');
  expect(text(store.putIfAbsent('a', 'x'))).toBe('0');
  expect(store.putIfAbsent('b', 'x')).toBeUndefined();
  store.delete('a');
  expect(store.putIfAbsent('a', 'y')).toBeUndefined();
  expect(pairs(store.all())).toEqual(['a=y', 'b=x']);
});

it('putAll puts in order, or nothing if one of them cannot be put', () => {
  const store = newStore();
  store.putAll([
    ['b', '1'],
    ['a', '2'],
    ['b', '3'],
    ['c', undefined],
  ]);
  expect(flushedTexts(store.flush())).toEqual(['a=2', 'b=3', 'c-']);
  expect(() =>
    store.putAll([
      ['d', '1'],
      ['e', 5 as never],
    ]),
  ).toThrow(TypeError);
  expect(pairs(store.all())).toEqual(['a=2', 'b=3']);
});

it('delete gives what was there, from wherever it is, and leaves a tombstone', () => {
  const inner = new SingleStore();
  const store = new KeyValueStore({ inner });
  store.putInner('inner', '1');
  store.put('cached', '2');
  expect(text(store.delete('inner'))).toBe('1');
  expect(text(store.delete('cached'))).toBe('2');
  expect(store.delete('cached')).toBeUndefined();
  expect(store.delete('never')).toBeUndefined();
  expect(pairs(store.all())).toEqual([]);
  expect(flushedTexts(store.flush())).toEqual(['inner-', 'cached-', 'never-']);
});

it('ranges are half-open, in both directions', () => {
  const store = newStore('a', 'ab', 'b', 'c');
  expect(pairs(store.range('a', 'b'))).toEqual(['a=0', 'ab=1']);
  expect(pairs(store.range('ab'))).toEqual(['ab=1', 'b=2', 'c=3']);
  expect(pairs(store.range(undefined, 'b'))).toEqual(['a=0', 'ab=1']);
  expect(pairs(store.reverseRange('ab', 'c'))).toEqual(['b=2', 'ab=1']);
  expect(pairs(store.reverseAll())).toEqual(['c=3', 'b=2', 'ab=1', 'a=0']);
  expect(store.range('b', 'c').toArray().length).toBe(1);
});

it('prefixScan gives the keys that begin so, also where the next prefix does not exist', () => {
  const store = newStore('a', 'ab', 'b');
  const [one, two] = [new Uint8Array([0xff]), new Uint8Array([0xff, 0xff])];
  store.put(one, 'one');
  store.put(two, 'two');
  expect(pairs(store.prefixScan('a'))).toEqual(['a=0', 'ab=1']);
  expect(store.prefixScan(one).toArray().length).toBe(2);
  expect(store.prefixScan('').toArray().length).toBe(5);
  expect(pairs(store.prefixScan('c'))).toEqual([]);
});

it('a delete whose old value cannot be read says so, and deletes nothing that is not asynchronous', async () => {
  const inner = new SingleStore();
  const store = new KeyValueStore({ inner });
  inner.failing = /get/;
  expect(() => store.delete('k')).toThrow('no get k');
  expect(store.stats().dirty).toBe(0);
  const staged = new StagedStore();
  const later = new KeyValueStore({ inner: staged });
  const failed = errorOf(later.delete('k'));
  await settle();
  await staged.at('get k').fail();
  expect(await failed).toMatchObject({ message: 'no get k' });
  expect(later.stats().dirty).toBe(1);
});
