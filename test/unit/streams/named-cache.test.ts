/**
 * The cache alone. What it follows of Kafka Streams: NamedCache (put, LRU, dirtyKeys), ThreadCache (the
 * limit); where weirpool says otherwise, docs/streams.md tells.
 */
import { expect, it } from 'vitest';
import {
  ENTRY_OVERHEAD_BYTES,
  NamedCache,
  NO_CONTEXT,
  type RecordContext,
  ThreadCache,
} from '../../../src/streams/index.ts';
import { bytes, text } from './support.ts';

function newCache(): NamedCache {
  return new NamedCache(new ThreadCache({ bytesMax: 1000 }));
}

function put(cache: NamedCache, key: string, value?: string, isDirty = true): void {
  cache.put(bytes(key), {
    value: value === undefined ? undefined : bytes(value),
    isDirty,
    context: NO_CONTEXT,
  });
}

function dirty(cache: NamedCache): (string | undefined)[] {
  return cache.dirtyKeys().map(text);
}

it('an entry has a value or is a tombstone, is dirty or not, and knows its record', () => {
  const cache = newCache();
  const context: RecordContext = { topic: 't', partition: 1, offset: 2, timestamp: 3 };
  cache.put(bytes('k'), { value: bytes('v'), isDirty: true, context });
  const node = cache.get(bytes('k'));
  expect(node).toMatchObject({ isDirty: true, context, value: bytes('v') });
  put(cache, 'gone', undefined);
  expect(cache.get(bytes('gone'))).toMatchObject({ isDirty: true, value: undefined });
  put(cache, 'read', 'v', false);
  expect(cache.get(bytes('read'))?.isDirty).toBe(false);
  expect(cache.get(bytes('never'))).toBeUndefined();
  expect(cache.counts).toMatchObject({ hits: 3, misses: 1 });
});

it('entries are in the order of the keys as bytes', () => {
  const cache = newCache();
  for (const key of ['b', 'a', '\xff', '', 'aa', '\x00']) put(cache, key, key);
  const run = (low?: string, high?: string, reverse = false): (string | undefined)[] =>
    cache
      .run(
        low === undefined ? undefined : bytes(low),
        high === undefined ? undefined : bytes(high),
        {
          reverse,
          isHit: false,
        },
      )
      .keys.map(text);
  expect(run()).toEqual(['', '\x00', 'a', 'aa', 'b', '\xff']);
  expect(run('a', 'b')).toEqual(['a', 'aa']);
  expect(run('a', '\xff', true)).toEqual(['b', 'aa', 'a']);
});

it('a hit makes an entry the one used last, and so does a put', () => {
  const cache = newCache();
  for (const key of ['a', 'b', 'c']) put(cache, key, '1');
  expect(text(cache.oldest?.key)).toBe('a');
  cache.get(bytes('a'));
  expect(text(cache.oldest?.key)).toBe('b');
  put(cache, 'b', '2');
  expect([text(cache.oldest?.key), text(cache.newest?.key)]).toEqual(['c', 'b']);
  cache.peek(bytes('c'));
  expect(text(cache.oldest?.key)).toBe('c');
});

it('a second put of a key moves it to the end of the flush order', () => {
  const cache = newCache();
  for (const key of ['a', 'b', 'c', 'a']) put(cache, key, '1');
  expect(dirty(cache)).toEqual(['b', 'c', 'a']);
  expect(cache.counts.overwrites).toBe(1);
  expect(cache.takeDirty(cache.peek(bytes('c'))).map(({ key }) => text(key))).toEqual([
    'c',
    'b',
    'a',
  ]);
});

it('a clean put over a dirty entry throws and changes nothing; over a clean one it does not', () => {
  const cache = newCache();
  put(cache, 'k', 'dirty');
  expect(() => put(cache, 'k', 'clean', false)).toThrow(
    expect.objectContaining({ code: 'ENTRY_DIRTY', outcome: 'not_applied' }),
  );
  expect(text(cache.peek(bytes('k'))?.value)).toBe('dirty');
  put(cache, 'l', 'one', false);
  put(cache, 'l', 'two', false);
  expect(text(cache.peek(bytes('l'))?.value)).toBe('two');
  expect(dirty(cache)).toEqual(['k']);
});

it('the bytes are those of keys, values and entries, and those of all caches count together', () => {
  const thread = new ThreadCache({ bytesMax: 3 * ENTRY_OVERHEAD_BYTES });
  const [one, two] = [new NamedCache(thread), new NamedCache(thread)];
  put(one, 'key', 'value');
  expect(one.bytes).toBe(ENTRY_OVERHEAD_BYTES + 8);
  put(one, 'key', 'v');
  expect(one.bytes).toBe(ENTRY_OVERHEAD_BYTES + 4);
  put(two, 'key');
  expect([two.bytes, thread.bytes]).toEqual([
    ENTRY_OVERHEAD_BYTES + 3,
    2 * ENTRY_OVERHEAD_BYTES + 7,
  ]);
  expect(thread.isOver).toBe(false);
  put(two, 'another');
  expect(thread.isOver).toBe(true);
  one.clear();
  const node = two.peek(bytes('key'));
  if (node !== undefined) two.remove(node);
  expect([one.size, two.size, thread.bytes]).toEqual([0, 1, ENTRY_OVERHEAD_BYTES + 7]);
});

it('what has landed is clean, a tombstone is gone, and what was put since is neither', () => {
  const cache = newCache();
  put(cache, 'value', '1');
  put(cache, 'tombstone');
  put(cache, 'again', '1');
  const taken = cache.takeDirty();
  put(cache, 'again', '2');
  for (const entry of taken) cache.land(entry);
  expect(dirty(cache)).toEqual(['again']);
  expect(cache.peek(bytes('value'))?.isDirty).toBe(false);
  expect(cache.peek(bytes('tombstone'))).toBeUndefined();
});

it('refuses a limit that is none', () => {
  expect(() => new ThreadCache({ bytesMax: -1 })).toThrow(RangeError);
  expect(() => new ThreadCache({ bytesMax: '1' as never })).toThrow(TypeError);
});
