/** Waiting that must come to an end: prefetches, listings, frames of deleted blobs. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { LOCK_COMMIT, OK, PREFETCH_ENTRIES } from '../../../src/generated/layout.ts';
import { PoolThread } from '../../../src/memory/thread.ts';
import { openCore } from '../../../src/pool/open.ts';
import { BackgroundSweep } from '../../../src/pool/services.ts';
import { FRAMES, filled, openSmall, rejectionOf, SMALL, writeBlobs } from '../pool/support.ts';

describe('prefetch', () => {
  it('I4 of more ids than the ring holds settles', async () => {
    const pool = await openSmall();
    const ids = Array.from({ length: PREFETCH_ENTRIES + 900 }, () => pool.allocate());
    const last = ids.at(-1) as number;
    pool.writeBlob(last, filled(1));
    await pool.prefetch(ids);
    expect([pool.cachedCount(), pool.copyCached(last, filled(0))]).toEqual([1, true]);
    await pool.close();
  });

  it('ends when no loader can start, after at most 3 attempts; a later one gets another', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    // Without a free slot no thread can join, and a loader is one.
    const places: PoolThread[] = [];
    await rejectionOf(
      (async () => {
        for (;;) places.push(new PoolThread(pool.handle.memory));
      })(),
    );
    let started = 0;
    const count = (): number => ++started;
    process.on('worker', count);
    onTestFinished(() => void process.off('worker', count));
    await pool.prefetch([id]);
    expect(started).toBeGreaterThan(0);
    expect(started).toBeLessThanOrEqual(3);
    expect(pool.cachedCount()).toBe(0);
    for (const place of places) place.detach();
    await pool.prefetch([id]);
    expect(pool.cachedCount()).toBe(1);
    await pool.close();
  });
});

describe('list', () => {
  it('I6 ends although a commit moves the mapping in each of its passes', async () => {
    const opened = await openCore('memory', { ...SMALL, store: 'memory', threads: 'inline' });
    const { control, store, thread } = opened.core;
    const other = new PoolThread(thread.memory.shared);
    const id = store.allocate();
    store.exclusively(() => store.commit([store.stage(id, filled(1)).blob], []));
    let passes = 0;
    let commits = 0;
    const mapIdAt = (index: number): number => {
      if (index === 0 && ++passes > 100) throw new Error('the listing begins again for ever');
      // Another thread publishes a commit now, unless it is kept out.
      if (index === 0 && control.lockTake(LOCK_COMMIT, other.me, 1) === OK) {
        control.mapBegin();
        control.mapEnd();
        control.lockGive(LOCK_COMMIT);
        commits++;
      }
      return control.mapIdAt(index);
    };
    (thread as { control: typeof control }).control = { ...control, mapIdAt };
    expect(store.list()).toEqual([id]);
    expect(commits).toBeGreaterThan(0);
    expect(control.lockOwner(LOCK_COMMIT)).toBe(0);
    // A thread that holds a latch must not wait for the commit lock: it goes on trying.
    const frame = opened.core.residency.pin(id, true);
    opened.core.residency.acquireShared(frame, id);
    (thread as { control: typeof control }).control = control;
    expect(store.list()).toEqual([id]);
  });
});

const HOUR_MS = 3_600_000;

describe('the background sweep', () => {
  it('I1 frees the frame of a deleted blob once its last pin has gone, and not before', async () => {
    const { core } = await openCore('memory', { ...SMALL, store: 'memory', threads: 'inline' });
    const { control, me, residency, store } = core;
    const sweep = new BackgroundSweep(core, {
      intervalMs: HOUR_MS,
      idleTicks: 2,
      framesFree: FRAMES,
    });
    sweep.stop();
    const id = store.allocate();
    store.exclusively(() => store.commit([store.stage(id, filled(1)).blob], []));
    const frame = residency.pin(id, true);
    store.exclusively(() => {
      store.commit([], [id]);
      residency.drop(id);
    });
    for (let tick = 0; tick < 10; tick++) sweep.tick();
    expect([control.isCached(id), residency.framesFree]).toEqual([0, FRAMES - 1]);
    control.unpin(frame, me);
    for (let tick = 0; tick < 10; tick++) sweep.tick();
    expect(residency.framesFree).toBe(FRAMES);
    // All of them can be had at once.
    const frames = Array.from({ length: FRAMES }, () => residency.obtainFrame());
    expect([...frames].sort()).toEqual([0, 1, 2, 3]);
  });
});
