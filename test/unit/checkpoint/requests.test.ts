/** Asking for rounds through the pool: on demand, by conditions, by triggers, on close. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { FilePlan } from '../../../src/harness/faulty-file-system.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import { closeAfterTest, errorOf, rejectionOf, temporaryDirectory } from '../pool/support.ts';
import {
  change,
  contentOf,
  create,
  FakeClock,
  LOGGED,
  openLogged,
  PlanOwner,
  remove,
  set,
  valueAt,
} from '../txn/support.ts';

const works: FilePlan = () => undefined;
const noBlobs: FilePlan = ({ operation, file }) =>
  operation.startsWith('write') && file?.endsWith('blobs.dat') === true ? 'ENOSPC' : undefined;

/** The wall clock, as far ahead as the test says. */
function movableWallClock(): { aheadMs: number } {
  const clock = { aheadMs: 0 };
  const from = Math.floor(performance.timeOrigin);
  const spy = vi.spyOn(Date, 'now').mockImplementation(() => from + clock.aheadMs);
  onTestFinished(() => spy.mockRestore());
  return clock;
}

describe('checkpoint', () => {
  it('tells what it has done', async () => {
    const { pool } = await openLogged();
    const [a = 0, b = 0] = change(pool, { create: [1, 2, 3] }).ids;
    const first = await pool.checkpoint();
    expect(first).toMatchObject({ frames: 3, deletes: 0 });
    set(pool, a, 4);
    const seq = remove(pool, b);
    const second = await pool.checkpoint();
    expect(second).toEqual({ round: first.round + 1, seq, frames: 1, deletes: 1 });
    expect(pool.stats().store.blobs).toBe(2);
    expect(await pool.checkpoint()).toMatchObject({ seq, frames: 0, deletes: 0 });
  });

  it('called several times at once is one round after the other', async () => {
    const { pool } = await openLogged();
    create(pool, 1);
    const reports = await Promise.all([pool.checkpoint(), pool.checkpoint(), pool.checkpoint()]);
    expect(Math.max(...reports.map(({ round }) => round))).toBeGreaterThanOrEqual(3);
    expect(pool.dirtyFrames()).toBe(0);
  });

  it('rejects with why it failed, and may be tried again', async () => {
    const { pool, fs } = await openLogged();
    const id = create(pool, 1);
    fs.plan = noBlobs;
    const { code, error } = await rejectionOf(pool.checkpoint());
    expect([code, (error as { outcome?: string }).outcome]).toEqual(['STORE_IO', 'not_applied']);
    expect(error.message).toContain('ENOSPC');
    expect([pool.dirtyFrames(), valueAt(pool, id), pool.stats().store.blobs]).toEqual([1, 1, 0]);
    fs.plan = works;
    expect(await pool.checkpoint()).toMatchObject({ frames: 1 });
  });

  it('is refused on a closed pool', async () => {
    const { pool } = await openLogged();
    await pool.close();
    for (const call of [
      () => pool.checkpoint(),
      () => pool.flush(1),
      () => pool.flushIfNeeded(0),
    ]) {
      expect((await rejectionOf(call())).code).toBe('POOL_CLOSED');
    }
    for (const call of [() => pool.dirtyFrames(), () => pool.minUnflushedSeq()]) {
      expect(errorOf(call).code).toBe('POOL_CLOSED');
    }
  });
});

describe('flush', () => {
  it('runs no round for a blob that is clean, not cached, deleted or none', async () => {
    const { pool } = await openLogged();
    const [a = 0, b = 0, c = 0] = change(pool, { create: [1, 2, 3] }).ids;
    const { round } = await pool.checkpoint();
    expect(pool.evict(b)).toBe(true);
    set(pool, c, 9);
    remove(pool, c);
    for (const id of [a, b, c, 999]) await pool.flush(id);
    expect(pool.pendingDeletes()).toEqual([c]);
    set(pool, a, 5);
    await pool.flush(b);
    expect(pool.dirtyFrames()).toBe(1);
    await pool.flush(a);
    expect(pool.dirtyFrames()).toBe(0);
    expect((await pool.checkpoint()).round).toBe(round + 2);
    for (const id of [0, -1, Number.NaN]) {
      expect((await rejectionOf(pool.flush(id))).code).toBe('RangeError');
    }
    expect((await rejectionOf(pool.flush('1' as unknown as number))).code).toBe('TypeError');
  });

  it('by number of dirty frames does nothing below it', async () => {
    const { pool } = await openLogged();
    change(pool, { create: [1, 2, 3] });
    expect([await pool.flushIfNeeded(4), pool.dirtyFrames()]).toEqual([0, 3]);
    expect([await pool.flushIfNeeded(3), pool.dirtyFrames()]).toEqual([3, 0]);
    expect([await pool.flushIfNeeded(1), await pool.flushIfNeeded(0)]).toEqual([0, 0]);
    for (const threshold of [-1, 0.5, Number.NaN]) {
      expect((await rejectionOf(pool.flushIfNeeded(threshold))).code).toBe('RangeError');
    }
  });

  it('by age does nothing before it', async () => {
    const { pool } = await openLogged();
    const clock = movableWallClock();
    expect(await pool.flushOlderThan(0)).toBe(0);
    const id = create(pool, 1);
    clock.aheadMs += 60_000;
    expect([await pool.flushOlderThan(60_001), pool.dirtyFrames()]).toEqual([0, 1]);
    // Changing it again makes it no younger.
    set(pool, id, 2);
    expect([await pool.flushOlderThan(59_000), pool.dirtyFrames()]).toEqual([1, 0]);
    set(pool, id, 3);
    expect([await pool.flushOlderThan(1), pool.dirtyFrames()]).toEqual([0, 1]);
    expect(await pool.flushOlderThan(0)).toBe(1);
    for (const ms of [-1, 0.5, Number.NaN]) {
      expect((await rejectionOf(pool.flushOlderThan(ms))).code).toBe('RangeError');
    }
  });

  it('I1 knows the lowest seq that is not in the store', async () => {
    const { pool } = await openLogged();
    expect(pool.minUnflushedSeq()).toBeUndefined();
    const [a = 0, b = 0] = change(pool, { create: [1, 2] }).ids;
    await pool.checkpoint();
    expect(pool.minUnflushedSeq()).toBeUndefined();
    const first = set(pool, b, 3);
    set(pool, a, 4);
    set(pool, b, 5);
    expect(pool.minUnflushedSeq()).toBe(first);
    expect(pool.dirtyBlobs().find(({ id }) => id === b)?.seq).toBe(first);
    await pool.checkpoint();
    expect(pool.minUnflushedSeq()).toBeUndefined();
  });
});

describe('a trigger', () => {
  it('by dirty frames runs a round after the change that reaches it', async () => {
    const options = { checkpoint: { ...LOGGED.checkpoint, dirtyFrames: 3 } };
    const { pool } = await openLogged({ options });
    change(pool, { create: [1, 2] });
    expect(pool.dirtyFrames()).toBe(2);
    create(pool, 3);
    expect([pool.dirtyFrames(), pool.stats().store.blobs]).toEqual([0, 3]);
  });

  it('by time runs one only while there is anything to write', async () => {
    const options = { checkpoint: { ...LOGGED.checkpoint, intervalMs: 1000 } };
    const { pool } = await openLogged({ options });
    const clock = new FakeClock(0);
    create(pool, 1);
    expect(pool.dirtyFrames()).toBe(1);
    clock.nowMs += 1000;
    create(pool, 2);
    expect(pool.dirtyFrames()).toBe(0);
    const { round } = await pool.checkpoint();
    clock.nowMs += 10_000;
    pool.change(() => 'nothing');
    expect((await pool.checkpoint()).round).toBe(round + 1);
  });

  it('by age looks at the frame that has been dirty longest', async () => {
    const options = { checkpoint: { ...LOGGED.checkpoint, ageMs: 5000 } };
    const { pool } = await openLogged({ options });
    const clock = movableWallClock();
    create(pool, 1);
    clock.aheadMs += 4000;
    create(pool, 2);
    expect(pool.dirtyFrames()).toBe(2);
    clock.aheadMs += 1000;
    create(pool, 3);
    expect(pool.dirtyFrames()).toBe(0);
  });

  it('by log bytes keeps the log bounded under load: race 14', async () => {
    const log = { ...LOGGED.log, bytesMax: 2 ** 16 };
    const { pool, disk } = await openLogged({ options: { log } });
    const id = create(pool, 1);
    const payload = new Uint8Array(3000);
    let most = 0;
    for (let n = 0; n < 200; n++) {
      pool.change((op) => {
        const blob = op.write(id);
        op.seal(payload.length);
        blob.bytes.fill(n % 251);
        op.commit(payload);
      });
      const names = disk.list('/sim').filter((name) => name.startsWith('wal-'));
      most = Math.max(most, names.length);
    }
    // 600 KB of records; the bound is four segments, beside the one that is written and the spare.
    expect(most).toBeLessThanOrEqual(4 + 2);
    expect(valueAt(pool, id)).toBe(199);
  });

  it('waits a little after a round that failed, and then runs again', async () => {
    const options = { checkpoint: { ...LOGGED.checkpoint, dirtyFrames: 1 } };
    const { pool, fs } = await openLogged({ options });
    const clock = new FakeClock(0);
    const id = create(pool, 1);
    expect(pool.dirtyFrames()).toBe(0);
    fs.plan = noBlobs;
    set(pool, id, 2);
    const failed = fs.calls.length;
    pool.change(() => 'nothing');
    expect([pool.dirtyFrames(), fs.calls.length]).toEqual([1, failed]);
    fs.plan = works;
    clock.nowMs += 500;
    pool.change(() => 'nothing');
    expect(pool.dirtyFrames()).toBe(0);
  });
});

describe('the workers', () => {
  it('run rounds that are asked for, and one on close', async () => {
    const directory = temporaryDirectory();
    const options = { ...LOGGED, threads: 'workers', owners: { 0: new PlanOwner() } } as const;
    const pool = await BufferPool.open(directory, options);
    closeAfterTest(pool);
    const { ids } = change(pool, { create: [1, 2, 3] });
    const reports = await Promise.all([pool.checkpoint(), pool.checkpoint()]);
    expect(reports.map(({ seq }) => seq)).toEqual([reports[0]?.seq, reports[0]?.seq]);
    const [id = 0] = ids;
    set(pool, id, 9);
    await pool.flush(id);
    expect(pool.dirtyFrames()).toBe(0);
    remove(pool, id);
    const last = create(pool, 4);
    await pool.close();
    const owner = new PlanOwner();
    const again = await BufferPool.open(directory, { ...options, owners: { 0: owner } });
    closeAfterTest(again);
    expect(contentOf(again)).toEqual([
      [ids[1], 2],
      [ids[2], 3],
      [last, 4],
    ]);
    expect([owner.records, again.dirtyFrames(), again.verify()]).toEqual([[], 0, []]);
    await again.close();
  });
});
