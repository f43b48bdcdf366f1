/**
 * Caching stores against a plain model: random histories of everything that they can do, over each
 * kind of inner store, with flushes, evictions, reopenings and crashes in between, and keys that are
 * prefixes of each other, or of each other's times; shrunk when they fail.
 *
 * The model knows the cache entry by entry, so that it also says what every eviction flushes, in which
 * order, and what has been promoted. What is followed: NamedCache and ThreadCache (limits in bytes,
 * least recently used, the victim first), AbstractMergedSortedCacheStoreIterator (the cache wins),
 * WindowKeySchema and SessionKeySchema (keys), InMemoryWindowStore (retention), KIP-258, KIP-614,
 * KIP-617, KIP-763.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as streams from '../../src/streams/index.ts';
import { Random, testSeed } from '../support/seed.ts';
import { type Patch, type StreamsModule, variantOf } from '../unit/streams/support.ts';
import { INNERS, type Inner } from './streams-inner.ts';
import { STORES } from './streams-run.ts';

const LONG = process.env['LONG'] === '1';
const RUNS = LONG ? 2000 : 60;
/** Also for shrinking. */
const TIME_MS_MAX = LONG ? 240_000 : 15_000;
/** Of a broken store, before it counts as not noticed. */
const VARIANT_RUNS = 2000;
const VARIANT_SEED = 1;

type Kind = keyof typeof STORES;
type Made = (random: Random) => Inner;

function property(kind: Kind, make: Made, module: StreamsModule) {
  const Store = STORES[kind];
  const step = fc.record({ kind: fc.constantFrom(...Store.KINDS), seed: fc.nat() });
  const steps = fc.array(step, { maxLength: 80, size: 'max' });
  return fc.asyncProperty(fc.record({ seed: fc.nat(), steps }), async (history) => {
    const random = new Random(history.seed);
    const run = new Store(module, make(random), random);
    await run.open(random);
    try {
      for (const each of history.steps) await run.do(each);
    } finally {
      await run.close();
    }
  });
}

describe.each(Object.keys(STORES) as Kind[])('a %s store', (kind) => {
  it.each(Object.entries(INNERS))('over %s does what the model does', async (_, make) => {
    await fc.assert(property(kind, make, streams), {
      seed: testSeed(),
      numRuns: RUNS,
      interruptAfterTimeLimit: TIME_MS_MAX,
    });
  });
});

const CACHE = 'src/streams/named-cache.ts';
const WINDOWS = 'src/streams/window-store.ts';
const SESSIONS = 'src/streams/session-store.ts';

/** Stores that are broken: what is wrong, which kind shows it, how. */
const BROKEN: readonly (readonly [string, Kind, Patch])[] = [
  [
    'flushing the victim in its turn',
    'key-value',
    {
      file: CACHE,
      find: 'if (first?.isDirty === true && first.version <= version) taken.push(dirtyOf(first));',
      replace: 'first = undefined;',
    },
  ],
  [
    'a second put that keeps the place of the first',
    'key-value',
    {
      file: CACHE,
      find: 'this.#dirty.delete(node);\n    this.#dirty.add',
      replace: 'this.#dirty.add',
    },
  ],
  [
    'hits that are not promoted',
    'key-value',
    {
      file: CACHE,
      find: 'this.counts.hits++;\n    this.#promote(node);',
      replace: 'this.counts.hits++;',
    },
  ],
  [
    'tombstones that stay',
    'session',
    { file: CACHE, find: 'if (node.value === undefined) this.remove(node);', replace: '' },
  ],
  [
    'bytes of a value that was replaced',
    'key-value',
    { file: CACHE, find: 'this.#count(-node.bytes);\n      node.value', replace: 'node.value' },
  ],
  [
    'the inner store winning',
    'window',
    {
      file: 'src/streams/merge.ts',
      find: 'if (order >= 0) this.#isFed = false;',
      replace:
        'if (order >= 0) this.#isFed = false; ' +
        'if (order === 0) { this.#at++; const inner = this.#make(this.head); if (inner) return inner; continue; }',
    },
  ],
  [
    'both of one key',
    'window',
    {
      file: 'src/streams/merge.ts',
      find: 'if (order >= 0) this.#isFed = false;',
      replace: 'if (order > 0) this.#isFed = false;',
    },
  ],
  [
    'other keys between the bounds',
    'window',
    {
      file: WINDOWS,
      find: 'slot.keyEnd - slot.keyAt === length ? windowIn(slot, key) : undefined',
      replace: 'windowIn(slot, key)',
    },
  ],
  [
    'other keys between the bounds',
    'session',
    {
      file: SESSIONS,
      find: 'if (slot.keyEnd - slot.keyAt !== length) return undefined;',
      replace: '',
    },
  ],
  [
    'bounds of key and time as if keys had one length',
    'window',
    {
      file: 'src/streams/times.ts',
      find: 'if (compareBytes(suffix, end.subarray(length)) <= 0) continue;',
      replace: 'continue;',
    },
  ],
  [
    'a lower bound of keys with the time behind it',
    'window',
    {
      file: WINDOWS,
      find: 'const low = isEmpty ? NO_KEY : keyFrom;',
      replace: 'const low = isEmpty ? NO_KEY : keyFrom && keyWithTime(keyFrom, earliest);',
    },
  ],
  [
    'a key that only its bounds in bytes keep away',
    'session',
    {
      file: SESSIONS,
      find: 'if (!isInTime || !isKeyBetween(slot, at, keyFrom, keyTo)) return undefined;',
      replace: 'if (!isInTime) return undefined;',
    },
  ],
  [
    'times as if they had four bytes',
    'window',
    { file: 'src/streams/bytes.ts', find: 'writeWord(bytes, at, high);', replace: '' },
  ],
  [
    'an expired window that is given',
    'window',
    { file: WINDOWS, find: 'Math.max(from, this.#earliest)', replace: 'from' },
  ],
  [
    'reading that writes',
    'key-value',
    {
      file: 'src/streams/caching-store.ts',
      find: 'if (node !== undefined) this.#cache.remove(node);',
      replace: 'void node;',
    },
  ],
];

it.each(BROKEN)('the model notices %s (%s)', async (_, kind, patch) => {
  const variant = await variantOf([patch]);
  const make = INNERS['memory'] as Made;
  const result = await fc.check(property(kind, make, variant), {
    seed: VARIANT_SEED,
    numRuns: VARIANT_RUNS,
    endOnFailure: true,
  });
  expect(result.failed).toBe(true);
});
