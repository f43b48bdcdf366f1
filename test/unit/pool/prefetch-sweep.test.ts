/** What happens ahead of need and behind the back: prefetching and the background sweep. */
import { describe, expect, it } from 'vitest';
import { openCore } from '../../../src/pool/open.ts';
import type { SweepOptions } from '../../../src/pool/options.ts';
import { BackgroundSweep } from '../../../src/pool/services.ts';
import {
  attachOther,
  BLOB_BYTES,
  blobValue,
  closeAfterTest,
  counters,
  FRAMES,
  filled,
  openFaulty,
  openSmall,
  SMALL,
  writeBlobs,
} from './support.ts';

describe.each(['workers', 'inline'] as const)('prefetch with threads: %s', (threads) => {
  it('I4 brings blobs into frames; the same thread then hits', async () => {
    const pool = await openSmall('memory', { store: 'memory', threads });
    const ids = writeBlobs(pool, 3);
    await pool.prefetch(ids);
    const before = counters(pool);
    expect([pool.cachedCount(), before['loads'], before['misses']]).toEqual([3, 3, 0]);
    for (const id of ids) expect(blobValue(pool, id)).toBe(id);
    expect(counters(pool)).toEqual({ ...before, hits: 3 });
    expect(pool.stats().pinned).toBe(0);
  });

  it('I4 a pin of what was just asked for does not wait for this thread', async () => {
    const pool = await openSmall('memory', { store: 'memory', threads });
    const ids = writeBlobs(pool, FRAMES);
    const fetched = pool.prefetch(ids);
    const pins = ids.map((id) => pool.pin(id));
    expect(pins.map((pin) => pin.optimistic().bytes[0])).toEqual(ids);
    for (const pin of pins) pin.release();
    await fetched;
    expect(pool.stats().loads).toBe(FRAMES);
  });

  it('is a hint: blobs that cannot be loaded are no error, nor are too many', async () => {
    const pool = await openSmall('memory', { store: 'memory', threads });
    const ids = writeBlobs(pool, FRAMES * 2);
    await pool.prefetch([...ids, 999, 2 ** 53 - 1]);
    expect(pool.cachedCount()).toBe(FRAMES);
    const pins = ids.slice(0, FRAMES).map((id) => pool.pin(id));
    await pool.prefetch(ids);
    expect([pool.stats().pinned, pool.cachedCount()]).toEqual([FRAMES, FRAMES]);
    for (const pin of pins) pin.release();
    await pool.prefetch([]);
  });
});

describe('prefetch', () => {
  it('serves attached threads too, and closes with requests under way', async () => {
    const pool = await openSmall();
    const ids = writeBlobs(pool, 3);
    const other = await attachOther(pool);
    closeAfterTest(other);
    await other.prefetch(ids);
    expect(other.cachedCount()).toBe(3);
    const late = [other.prefetch(ids), pool.prefetch([...ids, 998, 999])];
    await other.close();
    await pool.close();
    // Nobody may be waiting for them.
    expect(await Promise.all(late)).toEqual([undefined, undefined]);
  });

  it('an error of the store shows when the blob is pinned, not before', async () => {
    const { pool, backend } = await openFaulty();
    const [id] = writeBlobs(pool, 1) as [number];
    backend.plan({ operation: 'readSlot' });
    await pool.prefetch([id]);
    expect([pool.cachedCount(), pool.stats().loadFailures]).toEqual([0, 1]);
    expect(blobValue(pool, id)).toBe(id);
  });
});

/** A pool without a timer, and a sweep that ticks when it is told to. */
async function withSweep(options: Required<SweepOptions>) {
  const opened = await openCore('memory', { ...SMALL, store: 'memory', threads: 'inline' });
  const { core } = opened;
  const sweep = new BackgroundSweep(core, options);
  sweep.stop();
  const load = (id: number): void => {
    core.control.unpin(core.residency.pin(id, true), core.me);
  };
  const ids = Array.from({ length: FRAMES }, () => core.store.allocate());
  for (const id of ids) {
    core.store.exclusively(() => core.store.commit([core.store.stage(id, filled(id)).blob], []));
    load(id);
  }
  const cached = (): number[] => ids.filter((id) => core.control.isCached(id) !== 0);
  return { core, sweep, ids, load, cached };
}

const HOUR_MS = 3_600_000;

describe('the background sweep', () => {
  it('frees idle frames, but only until so many are free', async () => {
    const { sweep, cached, core } = await withSweep({
      intervalMs: HOUR_MS,
      idleTicks: 2,
      framesFree: 2,
    });
    sweep.tick();
    expect(cached().length).toBe(FRAMES);
    for (let tick = 0; tick < 10; tick++) sweep.tick();
    expect([cached().length, core.residency.framesFree]).toEqual([2, 2]);
  });

  it('keeps what is used between two looks', async () => {
    const options = { intervalMs: HOUR_MS, idleTicks: 2, framesFree: FRAMES };
    const { sweep, ids, load, cached } = await withSweep(options);
    const [used] = ids as [number];
    for (let tick = 0; tick < 10; tick++) {
      load(used);
      sweep.tick();
    }
    expect(cached()).toEqual([used]);
  });

  it('I1 keeps what is pinned or dirty, however idle', async () => {
    const options = { intervalMs: HOUR_MS, idleTicks: 1, framesFree: FRAMES };
    const { sweep, ids, cached, core } = await withSweep(options);
    const [pinned, dirty] = ids as [number, number];
    const frame = core.control.pin(pinned, core.me, 0);
    const other = core.control.pinExclusive(dirty, core.me, 1);
    core.control.unpinExclusive(other, core.me);
    for (let tick = 0; tick < 10; tick++) sweep.tick();
    expect(cached()).toEqual([pinned, dirty]);
    core.control.unpin(frame, core.me);
    sweep.tick();
    expect(cached()).toEqual([dirty]);
  });

  it('runs by itself when a pool is opened with it', async () => {
    const sweep = { intervalMs: 1, idleTicks: 1, framesFree: 3 };
    const pool = await openSmall('memory', { store: 'memory', threads: 'inline', sweep });
    for (const id of writeBlobs(pool, FRAMES)) blobValue(pool, id);
    while (pool.stats().free < 3) await new Promise((done) => setTimeout(done, 1));
    expect(pool.stats().blobBytes).toBe(BLOB_BYTES);
    await pool.close();
  });
});
