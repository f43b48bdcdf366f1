/** Caching stores over an asynchronous inner store: staged races, each also against naive variants. */
import { describe, expect, it } from 'vitest';
import * as streams from '../../../src/streams/index.ts';
import { CLEARING_RACES } from './clearing-races.ts';
import { RACES } from './races.ts';
import { errorOf, now, pairs, StagedStore, settle, text, variantOf } from './support.ts';

describe.each([...RACES, ...CLEARING_RACES])('$name', ({ run, naive }) => {
  it('holds', () => run(streams));

  it.each(Object.entries(naive))('does not hold with %s', async (_, patch) => {
    const variant = await variantOf([patch]);
    // A variant that waits for ever has not held either; the stage lands whatever waits.
    const late = new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error('it waits for ever')), 2000).unref();
    });
    await expect(Promise.race([run(variant), late])).rejects.toThrow();
  });
});

it('nobody who puts, deletes, or finds something in the cache waits for the inner store', async () => {
  const inner = new StagedStore();
  const store = new streams.KeyValueStore({ inner });
  await store.put('k', '1');
  const flushing = store.flush();
  await settle();
  await store.put('k', '2');
  await store.put('l', '1');
  expect(text(await store.get('k'))).toBe('2');
  expect(text(await store.delete('k'))).toBe('2');
  expect(await store.putIfAbsent('k', '3')).toBeUndefined();
  expect(text(await store.putIfAbsent('k', '4'))).toBe('3');
  await store.putAll([['m', '1']]);
  expect(await inner.pending()).toEqual(['put k=1']);
  await inner.landAll();
  await flushing;
});

it('what was put is seen by the next call, though nobody has waited for anything', async () => {
  const inner = new StagedStore();
  const store = new streams.KeyValueStore({ inner });
  void store.put('k', '1');
  const one = store.get('k');
  void store.delete('k');
  const none = store.get('k');
  void store.put('k', '2');
  expect([text(await one), await none, text(await store.get('k'))]).toEqual(['1', undefined, '2']);
});

it('a range that began before a flush gives each entry once, though it is evicted meanwhile', async () => {
  const inner = new StagedStore();
  const { ENTRY_OVERHEAD_BYTES } = streams;
  const store = new streams.KeyValueStore({ inner, cacheBytes: 2 * ENTRY_OVERHEAD_BYTES + 6 });
  inner.inner.put(Buffer.from('b'), Buffer.from('inner'));
  await store.put('a', '1');
  const range = store.range()[Symbol.asyncIterator]();
  const first = range.next();
  await inner.at('range').land();
  expect(pairs([(await first).value as never])).toEqual(['a=1']);
  const puts = [store.put('b', '2'), store.put('c', '3')];
  await inner.landAll();
  await Promise.all(puts);
  const rest: string[] = [];
  for (let item = await range.next(); item.done !== true; item = await range.next()) {
    rest.push(...pairs([item.value]));
  }
  expect(rest).toEqual(['b=inner']);
});

it('puts that wait for room all hear that making it has failed, and are in the cache', async () => {
  const inner = new StagedStore();
  const store = new streams.KeyValueStore({ inner, cacheBytes: 0 });
  const puts = [store.put('a', '1'), store.put('b', '1')];
  const failed = puts.map(errorOf);
  await settle();
  await inner.at('put a=1').fail();
  for (const error of await Promise.all(failed))
    expect(error).toMatchObject({ code: 'FLUSH_FAILED' });
  expect([text(await store.get('a')), text(await store.get('b'))]).toEqual(['1', '1']);
  const flushing = store.flush();
  await inner.landAll();
  await flushing;
  expect(inner.content()).toEqual(['a=1', 'b=1']);
});

it('closing again waits for the first call, and fails with it', async () => {
  const inner = new StagedStore();
  const store = new streams.KeyValueStore({ inner });
  await store.put('a', '1');
  const failed = [store.close(), store.close()].map(errorOf);
  await settle();
  await inner.at('put a=1').fail();
  for (const error of await Promise.all(failed))
    expect(error).toMatchObject({ code: 'FLUSH_FAILED' });
  const closing = store.close();
  const again = store.close().then(() => [store.isClosed, inner.content()]);
  await inner.landAll();
  await closing;
  expect(await again).toEqual([true, ['a=1']]);
  await now(store.close());
});

it('closing waits for the inner store and refuses what is put meanwhile', async () => {
  const inner = new StagedStore();
  const store = new streams.KeyValueStore({ inner });
  await store.put('a', '1');
  const closing = errorOf(store.close());
  expect(() => store.put('b', '1')).toThrow(expect.objectContaining({ code: 'CACHE_CLOSED' }));
  expect(text(await store.get('a'))).toBe('1');
  await settle();
  await inner.at('put a=1').fail();
  expect(await closing).toMatchObject({ code: 'FLUSH_FAILED' });
  expect(store.isClosed).toBe(false);
  const again = store.close();
  await inner.landAll();
  await again;
  expect(store.isClosed).toBe(true);
  expect(() => store.get('a')).toThrow(expect.objectContaining({ code: 'CACHE_CLOSED' }));
  expect(inner.content()).toEqual(['a=1']);
});
