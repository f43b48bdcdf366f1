/**
 * Question:    what do the caching stores cost beside what is below them?
 * Workload:    windows: 1,000 keys of 16 bytes with 100 windows each, payloads of 60 bytes; a fetch gives
 *              the 100 windows of one key, each looked at. `half-cached`: every second one has been put
 *              again and is in the cache, so half of each fetch is hidden and given from there. Keys and
 *              values: 1,000 keys of 16 bytes, values of 60. A flush writes 1,000 changed entries.
 * Working set: all of it in frames, or in memory.
 * Warm-up:     150 ms for each case.
 * Baseline:    `empty-loop` over the same keys is contained in every figure; for fetches a range of the bare
 *              tree, and of the bare store in memory, over the same entries; for put and get hit a Map of
 *              strings; for a flush to a tree the same batch to a bare tree.
 */
import { join } from 'node:path';
import { Weirpool } from '../../src/index.ts';
import {
  type ByteRange,
  KeyValueStore,
  MemoryStore,
  type SyncByteStore,
  TreeStore,
  WindowStore,
  windowKey,
} from '../../src/streams/index.ts';
import { Random } from '../../test/support/seed.ts';
import { withDirectory } from '../support/logged.ts';
import { type Measured, measureInTurns } from '../support/measure.ts';
import { assertSum, medianRatio, quantity } from '../support/numbers.ts';
import type { Report, SuiteOptions } from '../support/report.ts';

const KEYS = 1000;
const WINDOWS = 100;
const STEP_MS = 1000;
/** Short samples: those in which the thread was not interrupted are the most, so the median is one. */
const FETCHES = 8;
const PAYLOAD = new Uint8Array(60).fill(1);
/** Of a stored value: timestamp and payload. */
const STORED_BYTES = 8 + PAYLOAD.length;
const ENTRIES = 1000;
/** Nothing is evicted. */
const CACHE_BYTES = 2 ** 28;

const windowKeys = Array.from({ length: KEYS }, (_, n) =>
  Buffer.from(`user/${String(n).padStart(11, '0')}`),
);
const last = (WINDOWS - 1) * STEP_MS;

type Cases = (Measured & { readonly baseline?: string })[];

/** One of the keys after the other, in an order that is drawn. */
function turns<T>(random: Random, items: readonly T[]): () => T {
  const order = Array.from({ length: 4096 }, () => items[random.int(items.length)] as T);
  let at = 0;
  return () => order[at++ & 4095] as T;
}

// --- windows --------------------------------------------------------------------------------------------

function fill(inner: SyncByteStore): void {
  const store = new WindowStore({ inner, cacheBytes: CACHE_BYTES });
  for (const key of windowKeys) {
    for (let n = 0; n < WINDOWS; n++) store.put(key, PAYLOAD, n * STEP_MS);
  }
  store.close();
}

function fetching(name: string, store: WindowStore<SyncByteStore>, random: Random): Cases[number] {
  const next = turns(random, windowKeys);
  return {
    name,
    operations: FETCHES,
    batch: () => {
      let sum = 0;
      for (let n = 0; n < FETCHES; n++) {
        for (const { value } of store.fetch(next(), 0, last)) sum += value.length;
      }
      assertSum(name, sum, FETCHES * WINDOWS * PAYLOAD.length);
    },
  };
}

/** The entries of one key, as the store below gives them. */
function ranging(name: string, inner: SyncByteStore, random: Random): Cases[number] {
  const ranges = windowKeys.map(
    (key): ByteRange => ({
      low: windowKey(key, 0),
      high: windowKey(key, last + 1),
      reverse: false,
    }),
  );
  const next = turns(random, ranges);
  return {
    name,
    operations: FETCHES,
    batch: () => {
      let sum = 0;
      for (let n = 0; n < FETCHES; n++) {
        for (const [, value] of inner.range(next())) sum += value.length;
      }
      assertSum(name, sum, FETCHES * WINDOWS * STORED_BYTES);
    },
  };
}

function windowCases(name: string, inner: SyncByteStore, random: Random): Cases {
  fill(inner);
  const plain = new WindowStore({ inner, cacheBytes: CACHE_BYTES });
  const half = new WindowStore({ inner, cacheBytes: CACHE_BYTES });
  for (const key of windowKeys) {
    for (let n = 0; n < WINDOWS; n += 2) half.put(key, PAYLOAD, n * STEP_MS);
  }
  const baseline = `${name}-range-100`;
  return [
    ranging(baseline, inner, random),
    { ...fetching(`window-fetch-100-${name}`, plain, random), baseline },
    { ...fetching(`window-fetch-100-${name}-half-cached`, half, random), baseline },
  ];
}

// --- keys and values ------------------------------------------------------------------------------------

const entryKeys = Array.from({ length: ENTRIES }, (_, n) =>
  Buffer.from(`key/${String((n * 7919) % ENTRIES).padStart(12, '0')}`),
);

function emptyLoop(): Cases[number] {
  return {
    name: 'empty-loop',
    operations: ENTRIES,
    batch: () => {
      let sum = 0;
      for (const key of entryKeys) sum += key.length;
      assertSum('empty-loop', sum, ENTRIES * 16);
    },
  };
}

function mapCases(): Cases {
  const map = new Map<string, Uint8Array>();
  const keys = entryKeys.map(String);
  for (const key of keys) map.set(key, PAYLOAD);
  return [
    {
      name: 'map-set',
      operations: ENTRIES,
      batch: () => {
        for (const key of keys) map.set(key, PAYLOAD);
      },
    },
    {
      name: 'map-get',
      operations: ENTRIES,
      batch: () => {
        let sum = 0;
        for (const key of keys) sum += map.get(key)?.length ?? 0;
        assertSum('map-get', sum, ENTRIES * PAYLOAD.length);
      },
    },
  ];
}

function keyValueCases(): Cases {
  const store = new KeyValueStore({ inner: new MemoryStore(), cacheBytes: CACHE_BYTES });
  for (const key of entryKeys) store.put(key, PAYLOAD);
  return [
    {
      name: 'put',
      baseline: 'map-set',
      operations: ENTRIES,
      batch: () => {
        for (const key of entryKeys) store.put(key, PAYLOAD);
      },
    },
    {
      name: 'get-hit',
      baseline: 'map-get',
      operations: ENTRIES,
      batch: () => {
        let sum = 0;
        for (const key of entryKeys) sum += store.get(key)?.length ?? 0;
        assertSum('get-hit', sum, ENTRIES * PAYLOAD.length);
      },
    },
  ];
}

function flushing(name: string, inner: SyncByteStore): Cases[number] {
  const store = new KeyValueStore({ inner, cacheBytes: CACHE_BYTES });
  return {
    name,
    operations: ENTRIES,
    before: () => {
      for (const key of entryKeys) store.put(key, PAYLOAD);
    },
    batch: () => assertSum(name, store.flush().length, ENTRIES),
  };
}

function flushCases(db: Weirpool): Cases {
  const bare = db.tree('bare');
  const operations = entryKeys.map((key) => ({ type: 'put', key, value: PAYLOAD }) as const);
  return [
    {
      name: 'tree-batch',
      operations: ENTRIES,
      batch: () => {
        bare.batch(operations);
      },
    },
    { ...flushing('flush-tree', new TreeStore(db.tree('flushed'))), baseline: 'tree-batch' },
    { ...flushing('flush-memory', new MemoryStore()), baseline: 'flush-tree' },
  ];
}

// --- all of it ------------------------------------------------------------------------------------------

function measure(report: Report, cases: Cases, seconds: number): void {
  const figures = measureInTurns(cases, seconds);
  const of = (name: string): readonly number[] => figures.get(name) ?? [];
  for (const { name, baseline } of cases) {
    const against = baseline && { name: baseline, ratio: medianRatio(of(name), of(baseline)) };
    report.time(name, quantity(of(name)), against || undefined);
  }
}

export async function runStreams(report: Report, options: SuiteOptions): Promise<void> {
  const random = new Random(options.seed);
  await withDirectory('streams', async (directory) => {
    const db = await Weirpool.open(join(directory, 'db'), { frames: 128 });
    try {
      measure(report, [emptyLoop(), ...mapCases(), ...keyValueCases()], options.seconds);
      measure(
        report,
        windowCases('tree', new TreeStore(db.tree('windows')), random),
        options.seconds,
      );
      measure(report, windowCases('memory', new MemoryStore(), random), options.seconds);
      measure(report, flushCases(db), options.seconds);
    } finally {
      await db.close();
    }
  });
}
