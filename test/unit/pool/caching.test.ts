/** What is in frames, what is not, and what that costs. */
import { describe, expect, it } from 'vitest';
import type { PoolOptions } from '../../../src/pool/options.ts';
import { RESTART } from '../../../src/pool/read.ts';
import {
  BLOB_BYTES,
  blobValue,
  counters,
  dirty,
  errorOf,
  FRAMES,
  filled,
  openFaulty,
  openSmall,
  recencies,
  temporaryDirectory,
  uniform,
  writeBlobs,
} from './support.ts';

/** Where the pools of the first part have their store. */
type Place = () => readonly [string, PoolOptions];
const PLACES: readonly (readonly [string, Place])[] = [
  ['memory', () => ['memory', { store: 'memory' }]],
  ['file', () => [temporaryDirectory(), { store: 'file' }]],
];

describe.each(PLACES)('a pool over a %s store', (_, place) => {
  it('I4 caches a blob at its first read; the second adds nothing', async () => {
    const pool = await openSmall(...place());
    const [id] = writeBlobs(pool, 1) as [number];
    expect(pool.cachedCount()).toBe(0);
    expect(blobValue(pool, id)).toBe(id);
    const first = counters(pool);
    expect([pool.cachedCount(), first['loads'], first['misses'], first['hits']]).toEqual([
      1, 1, 1, 0,
    ]);
    expect(blobValue(pool, id)).toBe(id);
    expect(counters(pool)).toEqual({ ...first, hits: 1 });
    expect([pool.cachedCount(), pool.stats().free]).toEqual([1, FRAMES - 1]);
  });

  it('I4 ten blobs through four frames leave four, the latest among them', async () => {
    const pool = await openSmall(...place());
    const ids = writeBlobs(pool, 10);
    for (const id of ids) expect(blobValue(pool, id)).toBe(id);
    expect(pool.cachedCount()).toBe(FRAMES);
    expect(pool.copyCached(ids.at(-1) as number, filled(0))).toBe(true);
    const { evictions, loads } = counters(pool);
    expect([evictions, loads]).toEqual([10 - FRAMES, 10]);
    for (const id of ids) expect(blobValue(pool, id)).toBe(id);
  });

  it('I1 overflow skips a dirty frame although it is the oldest', async () => {
    const pool = await openSmall(...place());
    const ids = writeBlobs(pool, 10);
    const [oldest] = ids as [number];
    dirty(pool, oldest, 200);
    for (const id of ids.slice(1)) expect(blobValue(pool, id)).toBe(id);
    const bytes = filled(0);
    expect(pool.copyCached(oldest, bytes)).toBe(true);
    expect(uniform(bytes)).toBe(200);
    expect([pool.cachedCount(), pool.stats().dirty]).toEqual([FRAMES, 1]);
  });

  it('I1 writing through updates the cached image, takes its mark off, and inserts nothing', async () => {
    const pool = await openSmall(...place());
    const [cached, other] = writeBlobs(pool, 2) as [number, number];
    dirty(pool, cached, 50);
    pool.writeBlob(cached, filled(51));
    pool.writeBlob(other, filled(52));
    expect([pool.cachedCount(), pool.stats().dirty]).toEqual([1, 0]);
    expect(blobValue(pool, cached)).toBe(51);
    expect(pool.evict(cached)).toBe(true);
    expect([blobValue(pool, cached), blobValue(pool, other)]).toEqual([51, 52]);
  });

  it('deleting drops the frame, its dirty mark and the blob in the store', async () => {
    const pool = await openSmall(...place());
    const [id, other] = writeBlobs(pool, 2) as [number, number];
    dirty(pool, id, 50);
    expect(pool.deleteBlob(id)).toBe(true);
    expect([pool.cachedCount(), pool.stats().dirty, pool.stats().free]).toEqual([0, 0, FRAMES]);
    expect([pool.has(id), pool.list()]).toEqual([false, [other]]);
    expect(errorOf(() => pool.read(id)).code).toBe('BLOB_NOT_FOUND');
    expect(pool.deleteBlob(id)).toBe(false);
    expect(pool.stats().store.blobs).toBe(1);
  });
});

describe('deleting while others look', () => {
  it('G1 a pin that is left reads BLOB_GONE and keeps the frame until it is released', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const pin = pool.pin(id);
    const look = pin.optimistic();
    expect(pool.deleteBlob(id)).toBe(true);
    expect(look.validate()).toBe(false);
    expect(pin.optimistic().validate()).toBe(false);
    for (const use of [
      () => pin.read(),
      () => pin.write(),
      () => pin.tryRead(),
      () => pin.tryWrite(),
    ]) {
      expect(errorOf(use).code).toBe('BLOB_GONE');
    }
    expect([pool.has(id), pool.cachedCount(), pool.stats().pinned]).toEqual([false, 0, 1]);
    pin.release();
    const ids = writeBlobs(pool, FRAMES);
    const pins = ids.map((each) => pool.pin(each));
    expect(pool.stats().pinned).toBe(FRAMES);
    for (const each of pins) each.release();
  });

  it('is refused while this thread holds a latch, and nothing is done', async () => {
    const pool = await openSmall();
    const [id, other] = writeBlobs(pool, 2) as [number, number];
    const guard = pool.read(id);
    expect(errorOf(() => pool.deleteBlob(id)).code).toBe('LATCH_HELD');
    expect(errorOf(() => pool.deleteBlob(other)).code).toBe('LATCH_HELD');
    expect(errorOf(() => pool.writeBlob(other, filled(1))).code).toBe('LATCH_HELD');
    guard.release();
    expect([pool.has(id), blobValue(pool, other)]).toEqual([true, other]);
  });
});

describe('evict', () => {
  it('I1 is true only if the rule lets the blob go: not pinned, not latched, not dirty', async () => {
    const pool = await openSmall();
    const [id, absent] = writeBlobs(pool, 2) as [number, number];
    expect(pool.evict(id)).toBe(false); // not cached
    const pin = pool.pin(id);
    expect(pool.evict(id)).toBe(false);
    const shared = pin.read();
    pin.release(); // the latch alone keeps it
    expect(pool.evict(id)).toBe(false);
    shared.release();
    expect(pool.evict(id)).toBe(true);
    expect([pool.cachedCount(), pool.evict(absent)]).toEqual([0, false]);
    dirty(pool, id, 9);
    expect(pool.evict(id)).toBe(false);
    pool.writeBlob(id, filled(8));
    expect(pool.evict(id)).toBe(true);
    expect(blobValue(pool, id)).toBe(8);
  });
});

describe('what changes counters and recency, and what does not', () => {
  it('pinSilent changes neither on a hit; on a miss it loads and keeps, uncounted', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const before = counters(pool);
    pool.pinSilent(id).release();
    expect(counters(pool)).toEqual({ ...before, loads: 1 });
    expect([pool.cachedCount(), Math.max(...recencies(pool))]).toEqual([1, 0]);
    const loaded = counters(pool);
    pool.pinSilent(id).release();
    expect([counters(pool), Math.max(...recencies(pool))]).toEqual([loaded, 0]);
    pool.pin(id).release();
    expect([counters(pool)['hits'], Math.max(...recencies(pool))]).toEqual([1, 1]);
  });

  it('stats, verify, list, has, copyCached, cachedCount and evicting nothing change none', async () => {
    const pool = await openSmall();
    const ids = writeBlobs(pool, 6);
    for (const id of ids) blobValue(pool, id);
    blobValue(pool, ids.at(-1) as number);
    const before = [counters(pool), recencies(pool), pool.cachedCount()];
    pool.stats();
    expect(pool.verify()).toEqual([]);
    expect(pool.list()).toEqual(ids);
    for (const id of ids) {
      expect(pool.has(id)).toBe(true);
      pool.copyCached(id, filled(0));
    }
    const guard = pool.pinSilent(ids.at(-1) as number);
    guard.read().release();
    guard.release();
    expect([counters(pool), recencies(pool), pool.cachedCount()]).toEqual(before);
  });

  it('stats has the documented shape', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const guard = pool.write(id);
    const { memoryBytes, store, ...rest } = pool.stats();
    expect(rest).toEqual({
      frames: FRAMES,
      blobBytes: BLOB_BYTES,
      threads: 1,
      free: FRAMES - 1,
      cached: 1,
      loading: 0,
      pinned: 1,
      latched: 1,
      dirty: 1,
      flushing: 0,
      hits: 0,
      misses: 1,
      restarts: 0,
      fallbacks: 0,
      evictions: 0,
      loads: 1,
      loadFailures: 0,
      parks: 0,
      log: undefined,
    });
    expect(memoryBytes).toBeGreaterThan(FRAMES * BLOB_BYTES);
    expect(store).toMatchObject({ blobs: 1, slotsUsed: 1, commits: expect.any(Number) });
    expect(store.dataBytes).toBeGreaterThanOrEqual(BLOB_BYTES);
    guard.release();
  });

  it('noteRestart counts, for whoever restarts by himself', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const pin = pool.pin(id);
    for (let n = 0; n < 3; n++) pin.noteRestart();
    pin.release();
    expect(pool.stats().restarts).toBe(3);
  });

  it('has of a cached blob does not ask the store, nor does a hit', async () => {
    const { pool, backend } = await openFaulty();
    const [id, absent] = writeBlobs(pool, 2) as [number, number];
    blobValue(pool, id);
    const calls = backend.trace.length;
    expect([pool.has(id), blobValue(pool, id), pool.copyCached(absent, filled(0))]).toEqual([
      true,
      id,
      false,
    ]);
    pool.optimistic(id, ({ bytes }) => bytes[0]);
    expect(backend.trace.length).toBe(calls);
    expect([blobValue(pool, absent), backend.trace.length]).toEqual([absent, calls + 1]);
  });
});

describe('optimistic reads', () => {
  it('give what the callback returns, or throws, over bytes that held still', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    expect(pool.tryOptimistic(id, ({ bytes }) => bytes[0])).toBe(RESTART); // not cached
    expect(pool.optimistic(id, ({ bytes }, at: number) => bytes[at], 7)).toBe(id);
    expect(pool.tryOptimistic(id, ({ bytes }, at: number) => bytes[at], 7)).toBe(id);
    const fail = (): never => {
      throw new RangeError('mine');
    };
    expect(errorOf(() => pool.optimistic(id, fail)).error.message).toBe('mine');
    expect(errorOf(() => pool.tryOptimistic(id, fail)).error.message).toBe('mine');
    expect(pool.stats().restarts).toBe(0);
  });

  it('I5 drop what was seen, also an exception, when the bytes changed meanwhile', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    blobValue(pool, id);
    let calls = 0;
    const meddled = pool.optimistic(id, ({ bytes }) => {
      const seen = bytes[0];
      calls++;
      if (calls === 1) dirty(pool, id, 77);
      if (calls === 1) throw new Error('torn');
      return seen;
    });
    expect([meddled, calls, pool.stats().restarts]).toEqual([77, 2, 1]);
    const once = pool.tryOptimistic(id, () => dirty(pool, id, 78));
    expect([once, pool.stats().restarts]).toEqual([RESTART, 2]);
  });

  it('end under a shared latch when the bytes never hold still', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    let calls = 0;
    const value = pool.optimistic(id, ({ bytes }) => {
      calls++;
      if (pool.stats().latched === 0) dirty(pool, id, calls);
      return bytes[0];
    });
    const { fallbacks, restarts } = pool.stats();
    expect([value, fallbacks]).toEqual([calls - 1, 1]);
    expect(restarts).toBe(calls - 1);
    expect(pool.stats().pinned + pool.stats().latched).toBe(0);
  });
});

describe('failing loads', () => {
  it('I4 give the frame back, count, and say what happened; the next try may succeed', async () => {
    const { pool, backend } = await openFaulty();
    const [id] = writeBlobs(pool, 1) as [number];
    backend.plan({ operation: 'readSlot' });
    const { code, details } = errorOf(() => pool.read(id));
    expect([code, details['errno']]).toEqual(['STORE_IO', 'EIO']);
    expect([pool.stats().free, pool.stats().loadFailures]).toEqual([FRAMES, 1]);
    expect([pool.stats().pinned, pool.stats().latched]).toEqual([0, 0]);
    expect(blobValue(pool, id)).toBe(id);
  });

  it('I6 wrong bytes are never handed out: BLOB_CORRUPT with id, slot and offset', async () => {
    const { pool, backend } = await openFaulty();
    const [id] = writeBlobs(pool, 1) as [number];
    backend.plan({ operation: 'readSlot', effect: 'flip', bit: 12345 });
    const { code, details } = errorOf(() => pool.read(id));
    expect([code, details]).toEqual(['BLOB_CORRUPT', { id, slot: 0, offset: 0 }]);
    expect(pool.stats().free).toBe(FRAMES);
    backend.plan({ operation: 'readSlot', effect: 'flip', bit: 1 });
    expect(pool.verify()).toMatchObject([{ code: 'BLOB_CORRUPT', id, slot: 0 }]);
  });
});
