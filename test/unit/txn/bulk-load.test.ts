/** Bulk loads: what is there after commit, abort, failure and crash, and what is given back. */
import { describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { H_CREATED, S_WRITING, SLOT_BYTES, SLOTS } from '../../../src/generated/layout.ts';
import { faultyFileSystem } from '../../../src/harness/faulty-file-system.ts';
import type { PoolOptions } from '../../../src/pool/options.ts';
import type { BufferPool } from '../../../src/pool/pool.ts';
import { BULK_OWNER } from '../../../src/store/contract.ts';
import type { BulkRange } from '../../../src/txn/bulk-load.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { change, killed, openLogged } from '../pool/logged.ts';
import {
  attachOther,
  blobValue,
  closeAfterTest,
  errorOf,
  filled,
  look,
  rejectionOf,
  temporaryDirectory,
} from '../pool/support.ts';

const WORKERS: PoolOptions = { threads: 'workers' };

/** What a load takes and has to give back: store slots in use, names that are reserved. */
function taken(pool: BufferPool) {
  return { slots: pool.stats().store.slotsUsed, names: look(pool).load(H_CREATED) };
}

/** Loads one blob for each value and commits. */
async function load(pool: BufferPool, values: readonly number[]): Promise<BulkRange> {
  await using bulk = pool.bulkLoad(values.length);
  for (const value of values) await bulk.add(filled(value));
  return await bulk.commit();
}

function values(pool: BufferPool): number[] {
  return pool.list().map((id) => blobValue(pool, id));
}

async function faulty(directory = temporaryDirectory()) {
  const fs = faultyFileSystem(nodeFileSystem);
  const pool = await openLogged(directory, { fileSystem: fs });
  return { pool, fs, directory };
}

describe('a bulk load that is committed', () => {
  it('is there whole, with ids in a row, and takes nothing else', async () => {
    const pool = await openLogged(temporaryDirectory());
    change(pool, [{ create: 1 }]);
    const before = taken(pool);
    const bulk = pool.bulkLoad(30);
    const ids: number[] = [];
    for (let value = 10; value < 30; value++) ids.push(await bulk.add(filled(value)));
    expect(pool.list()).toHaveLength(1);
    const range = await bulk.commit();
    expect(range).toEqual({ first: ids[0], last: ids[19], blobs: 20 });
    expect(ids).toEqual(ids.map((_, n) => range.first + n));
    expect(ids.map((id) => blobValue(pool, id))).toEqual(ids.map((_, n) => 10 + n));
    expect(taken(pool)).toEqual({ slots: before.slots + 20, names: before.names });
    expect(pool.stats()).toMatchObject({ dirty: 1, log: { checkpointSeq: 0 } });
    expect(pool.verify()).toEqual([]);
  });

  it('takes bytes from a function, into a buffer of zeros, and tells it the id', async () => {
    const pool = await openLogged(temporaryDirectory());
    const bulk = pool.bulkLoad(40);
    for (let n = 0; n < 20; n++) await bulk.add(filled(255));
    const seen: number[] = [];
    for (let n = 0; n < 20; n++) {
      await bulk.add((target, id) => {
        seen.push(id);
        target[0] = 7;
      });
    }
    const { first } = await bulk.commit();
    expect(seen).toEqual(seen.map((_, n) => first + 20 + n));
    for (const id of seen) {
      expect(pool.optimistic(id, ({ bytes }) => bytes.reduce((sum, byte) => sum + byte))).toBe(7);
    }
  });

  it('gives calls that do not wait for each other ids in their order', async () => {
    const pool = await openLogged(temporaryDirectory());
    const bulk = pool.bulkLoad(64);
    const adding = Array.from({ length: 64 }, (_, n) => bulk.add(filled(n)));
    const ids = await Promise.all(adding);
    const { first } = await bulk.commit();
    expect(ids).toEqual(ids.map((_, n) => first + n));
    expect(ids.map((id) => blobValue(pool, id))).toEqual(ids.map((_, n) => n));
  });

  it('waits for calls of add that are under way', async () => {
    const pool = await openLogged(temporaryDirectory());
    const bulk = pool.bulkLoad(20);
    const adding = Array.from({ length: 20 }, (_, n) => bulk.add(filled(n)));
    const range = await bulk.commit();
    expect(range.blobs).toBe(20);
    expect(await Promise.all(adding)).toEqual(adding.map((_, n) => range.first + n));
    expect(values(pool)).toEqual(adding.map((_, n) => n));
  });

  it('may be empty, and then changes nothing', async () => {
    const pool = await openLogged(temporaryDirectory());
    const before = { ...taken(pool), commits: pool.stats().store.commits };
    const bulk = pool.bulkLoad(5);
    const leased = pool.stats().store.commits;
    expect(await bulk.commit()).toMatchObject({ blobs: 0 });
    expect(pool.stats().store.commits).toBe(leased);
    expect(taken(pool)).toEqual({ slots: before.slots, names: before.names });
    expect(await rejectionOf(bulk.commit())).toMatchObject({ code: 'TX_ENDED' });
    expect(await rejectionOf(bulk.add(filled(1)))).toMatchObject({ code: 'TX_ENDED' });
    await bulk.abort();
  });

  it('can be two at once, and one change adopts both', async () => {
    const directory = temporaryDirectory();
    const pool = await openLogged(directory);
    const loads = [pool.bulkLoad(12), pool.bulkLoad(12)] as const;
    for (let n = 0; n < 12; n++) {
      await Promise.all(loads.map((bulk, which) => bulk.add(filled(100 * which + n))));
    }
    const ranges = await Promise.all(loads.map((bulk) => bulk.commit()));
    change(
      pool,
      ranges.map((adopt) => ({ adopt })),
    );
    pool.durableSync();
    const again = await openLogged(killed(directory));
    const loaded = Array.from({ length: 12 }, (_, n) => n);
    expect(values(again)).toEqual([...loaded, ...loaded.map((n) => 100 + n)]);
  });
});

describe('a bulk load that is not committed', () => {
  it('gives slots and names back when it is aborted', async () => {
    const pool = await openLogged(temporaryDirectory());
    const before = taken(pool);
    const bulk = pool.bulkLoad(100);
    expect(taken(pool).names).toBe(before.names + 100);
    for (let n = 0; n < 70; n++) await bulk.add(filled(n));
    expect(taken(pool).slots).toBeGreaterThanOrEqual(before.slots + 70);
    await Promise.all([bulk.abort(), bulk.abort()]);
    await bulk.abort();
    expect(taken(pool)).toEqual(before);
    expect(pool.list()).toEqual([]);
    expect(await rejectionOf(bulk.add(filled(1)))).toMatchObject({ code: 'TX_ENDED' });
  });

  it('is aborted where its variable ends, and refuses calls that wait', async () => {
    const pool = await openLogged(temporaryDirectory());
    const before = taken(pool);
    let waiting: Promise<unknown>[] = [];
    {
      await using bulk = pool.bulkLoad(50);
      waiting = Array.from({ length: 50 }, () => rejectionOf(bulk.add(filled(1))));
      void Promise.all(waiting).catch(() => undefined);
    }
    const ends = await Promise.all(waiting.map((end) => end.catch(() => 'added')));
    expect(ends.at(-1)).toMatchObject({ code: 'TX_ENDED' });
    expect(taken(pool)).toEqual(before);
  });

  it('refuses more blobs than were announced, and other sizes, and can go on', async () => {
    const pool = await openLogged(temporaryDirectory());
    const bulk = pool.bulkLoad(2);
    await bulk.add(filled(1));
    expect(await rejectionOf(bulk.add(new Uint8Array(5)))).toMatchObject({ code: 'RangeError' });
    const noBytes = 'abc' as unknown as Uint8Array;
    expect(await rejectionOf(bulk.add(noBytes))).toMatchObject({ code: 'TypeError' });
    await bulk.add(filled(2));
    expect(await rejectionOf(bulk.add(filled(3)))).toMatchObject({ code: 'RangeError' });
    expect(bulk.blobs).toBe(2);
    expect((await bulk.commit()).blobs).toBe(2);
    expect(values(pool)).toEqual([1, 2]);
    for (const blobsMax of [0, 1.5, -1, Number.NaN, 2 ** 27]) {
      expect(errorOf(() => pool.bulkLoad(blobsMax)).code).toBe('RangeError');
    }
  });

  it('goes on after a function that throws, with the id that it was told', async () => {
    const pool = await openLogged(temporaryDirectory());
    const bulk = pool.bulkLoad(20);
    const failed: number[] = [];
    const failing = (target: Uint8Array, id: number): void => {
      target.fill(9);
      failed.push(id);
      throw new Error('no bytes');
    };
    await bulk.add(filled(1));
    for (const end of await Promise.all(
      Array.from({ length: 12 }, () => rejectionOf(bulk.add(failing))),
    )) {
      expect(end.error.message).toBe('no bytes');
    }
    const later = (async () => undefined) as unknown as (target: Uint8Array) => void;
    expect(await rejectionOf(bulk.add(later))).toMatchObject({ code: 'TypeError' });
    const id = await bulk.add((target) => target.fill(2));
    expect(failed).toEqual(failed.map(() => id));
    expect((await bulk.commit()).blobs).toBe(2);
    expect(values(pool)).toEqual([1, 2]);
  });

  it('refuses what waits for the disk beside a latch, and can go on', async () => {
    const pool = await openLogged(temporaryDirectory());
    const [id = 0] = change(pool, [{ create: 1 }]);
    const before = taken(pool);
    const bulk = pool.bulkLoad(4);
    let guard = pool.read(id);
    expect(await rejectionOf(bulk.add(filled(5)))).toMatchObject({ code: 'LATCH_HELD' });
    expect(errorOf(() => pool.bulkLoad(4)).code).toBe('LATCH_HELD');
    guard.release();
    await bulk.add(filled(6));
    guard = pool.read(id);
    expect(await rejectionOf(bulk.commit())).toMatchObject({ code: 'LATCH_HELD' });
    guard.release();
    expect((await bulk.commit()).blobs).toBe(1);
    const other = pool.bulkLoad(4);
    await other.add(filled(7));
    guard = pool.read(id);
    expect(await rejectionOf(other.abort())).toMatchObject({ code: 'LATCH_HELD' });
    guard.release();
    await other.abort();
    expect(taken(pool)).toEqual({ slots: before.slots + 1, names: before.names });
  });

  it('ends with the pool of its thread, which gives everything back', async () => {
    const pool = await openLogged(temporaryDirectory(), WORKERS);
    const before = taken(pool);
    const other = await attachOther(pool);
    closeAfterTest(other);
    const bulk = other.bulkLoad(40);
    const adding = Array.from({ length: 9 }, (_, n) => bulk.add(filled(n)));
    await Promise.all(adding);
    await other.close();
    expect(taken(pool)).toEqual(before);
    expect(await rejectionOf(bulk.add(filled(1)))).toMatchObject({ code: 'POOL_CLOSED' });
    await bulk.abort();
    const own = pool.bulkLoad(4);
    await own.add(filled(1));
    await pool.close();
    await own.abort();
  });
});

describe('a bulk load that fails', () => {
  it('I6 keeps the slot of a failed write out of use, and gives the others back', async () => {
    const { pool, fs } = await faulty();
    const before = taken(pool);
    const bulk = pool.bulkLoad(10);
    let writes = 0;
    fs.plan = ({ operation }) => (operation === 'writeAsync' && ++writes === 3 ? 'EIO' : undefined);
    const ends = await Promise.allSettled(
      Array.from({ length: 10 }, (_, n) => bulk.add(filled(n))),
    );
    expect(ends.some(({ status }) => status === 'fulfilled')).toBe(true);
    expect(await rejectionOf(bulk.commit())).toMatchObject({ code: 'STORE_IO' });
    expect(await rejectionOf(bulk.add(filled(1)))).toMatchObject({ code: 'STORE_IO' });
    await bulk.abort();
    expect(taken(pool)).toEqual({ slots: before.slots + 1, names: before.names });
    expect(pool.list()).toEqual([]);
    await load(pool, [1, 2, 3]);
    expect(values(pool)).toEqual([1, 2, 3]);
  });

  it('can be committed again after a commit that was surely not applied', async () => {
    const { pool, fs } = await faulty();
    const bulk = pool.bulkLoad(3);
    for (const value of [1, 2, 3]) await bulk.add(filled(value));
    fs.plan = ({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined);
    const failure = await rejectionOf(bulk.commit());
    expect(failure).toMatchObject({ code: 'STORE_IO', error: { outcome: 'not_applied' } });
    expect(pool.list()).toEqual([]);
    fs.plan = () => undefined;
    const range = await bulk.commit();
    change(pool, [{ adopt: range }]);
    expect(values(pool)).toEqual([1, 2, 3]);
  });

  it('poisons the pool with a failed sync, and can still be aborted', async () => {
    const { pool, fs } = await faulty();
    const bulk = pool.bulkLoad(3);
    await bulk.add(filled(1));
    fs.plan = ({ operation }) => (operation === 'syncData' ? 'EIO' : undefined);
    expect(await rejectionOf(bulk.commit())).toMatchObject({ error: { outcome: 'unknown' } });
    fs.plan = () => undefined;
    expect(await rejectionOf(bulk.commit())).toMatchObject({ code: 'POISONED' });
    expect(await rejectionOf(bulk.add(filled(1)))).toMatchObject({ code: 'POISONED' });
    await bulk.abort();
  });

  it('is refused by a store that has no room for it, and everything is as before', async () => {
    const pool = await openLogged(temporaryDirectory(), { blobsMax: 8 });
    const before = taken(pool);
    const full = errorOf(() => {
      for (let loads = 0; loads < 100; loads++) void pool.bulkLoad(8);
    });
    expect(full.code).toBe('STORE_FULL');
    expect(errorOf(() => pool.bulkLoad(1000)).code).toBe('STORE_FULL');
    await pool.close();
    const other = await openLogged(temporaryDirectory(), { blobsMax: 8 });
    const bulk = other.bulkLoad(8);
    for (let n = 0; n < 8; n++) await bulk.add(filled(n));
    expect(errorOf(() => other.bulkLoad(1000)).code).toBe('STORE_FULL');
    await bulk.abort();
    expect(taken(other)).toEqual(before);
    await load(other, [1, 2, 3, 4, 5, 6, 7, 8]);
    expect(other.list()).toHaveLength(8);
  });
});

describe('adopting', () => {
  it('R1 an adopted load is there after a crash, before and after a round', async () => {
    const directory = temporaryDirectory();
    const pool = await openLogged(directory);
    const range = await load(pool, [3, 4, 5]);
    change(pool, [{ adopt: range }, { root: 0, id: range.first }, { create: 6 }]);
    pool.durableSync();
    const before = killed(directory);
    await pool.checkpoint();
    const after = killed(directory);
    for (const copy of [before, killed(before), after]) {
      const again = await openLogged(copy);
      expect(values(again)).toEqual([3, 4, 5, 6]);
      expect(again.root(0)).toBe(range.first);
      expect(errorOf(() => change(again, [{ adopt: range }])).code).toBe('BLOB_NOT_FOUND');
    }
  });

  it('R1 a crash during the replay of an adoption changes nothing', async () => {
    const directory = temporaryDirectory();
    const pool = await openLogged(directory);
    const range = await load(pool, [3, 4]);
    change(pool, [{ adopt: range }]);
    change(pool, [{ put: range.last, value: 9 }]);
    pool.durableSync();
    let copy = killed(directory);
    for (let crashes = 0; crashes < 3; crashes++) {
      await openLogged(copy);
      copy = killed(copy);
    }
    const again = await openLogged(copy);
    expect(values(again)).toEqual([3, 9]);
    await again.checkpoint();
    expect(values(await openLogged(killed(copy)))).toEqual([3, 9]);
  });

  it('what nobody has adopted is dropped at the next opening, and its slots are free', async () => {
    const directory = temporaryDirectory();
    const pool = await openLogged(directory);
    change(pool, [{ create: 1 }]);
    await pool.checkpoint();
    const before = taken(pool);
    const range = await load(pool, [3, 4, 5]);
    const copy = killed(directory);
    const again = await openLogged(copy);
    expect(values(again)).toEqual([1]);
    expect(taken(again)).toEqual(before);
    expect(again.has(range.first)).toBe(false);
    expect(errorOf(() => change(again, [{ adopt: range }])).code).toBe('BLOB_NOT_FOUND');
    const [id = 0] = change(again, [{ create: 2 }]);
    expect(id).toBeGreaterThan(range.last);
    await again.close();
    expect(values(await openLogged(copy))).toEqual([1, 2]);
  });

  it('also after a clean close, and with one load adopted and one not', async () => {
    const directory = temporaryDirectory();
    const pool = await openLogged(directory);
    await load(pool, [3, 4]);
    const range = await load(pool, [5, 6]);
    change(pool, [{ adopt: range }]);
    await pool.close();
    expect(values(await openLogged(directory))).toEqual([5, 6]);
  });

  it('what was changed without being adopted is dropped for good', async () => {
    const directory = temporaryDirectory();
    const pool = await openLogged(directory);
    const range = await load(pool, [3, 4, 5]);
    change(pool, [{ put: range.first, value: 9 }, { delete: range.last }]);
    pool.durableSync();
    const copy = killed(directory);
    const again = await openLogged(copy);
    expect(again.list()).toEqual([]);
    expect(again.dirtyBlobs()).toEqual([]);
    await again.checkpoint();
    expect(again.stats().store).toMatchObject({ blobs: 0, slotsUsed: 0 });
    await again.close();
    expect((await openLogged(copy)).list()).toEqual([]);
  });

  it('happens once: not twice in one change, and not again after it', async () => {
    const pool = await openLogged(temporaryDirectory());
    const range = await load(pool, [1, 2]);
    const twice = [{ adopt: range }, { adopt: range }];
    expect(errorOf(() => change(pool, twice)).code).toBe('BLOB_NOT_FOUND');
    for (const wrong of [
      { first: range.first, last: range.last + 1 },
      { first: range.last, last: range.last },
    ]) {
      expect(errorOf(() => change(pool, [{ adopt: wrong }])).code).toBe('BLOB_NOT_FOUND');
    }
    const none = { first: range.first, last: 0 };
    expect(errorOf(() => change(pool, [{ adopt: none }])).code).toBe('RangeError');
    change(pool, [{ adopt: range }]);
    expect(errorOf(() => change(pool, [{ adopt: range }])).code).toBe('BLOB_NOT_FOUND');
  });

  it('of two threads that adopt the same load at the same time one does', async () => {
    const directory = temporaryDirectory();
    const pool = await openLogged(directory, WORKERS);
    const other = await attachOther(pool);
    closeAfterTest(other);
    const range = await load(pool, [1, 2]);
    const first = pool.begin();
    first.adopt(range);
    const second = other.begin();
    expect(errorOf(() => second.adopt(range)).code).toBe('BLOB_NOT_FOUND');
    second.abort();
    first.abort();
    change(other, [{ adopt: range }]);
    expect(errorOf(() => change(pool, [{ adopt: range }])).code).toBe('BLOB_NOT_FOUND');
    pool.durableSync(other.stats().log?.appendedSeq);
    expect(values(await openLogged(killed(directory)))).toEqual([1, 2]);
  });

  it('a change that is undone after its seal leaves the load to others', async () => {
    const pool = await openLogged(temporaryDirectory());
    const range = await load(pool, [1, 2]);
    const thrown = errorOf(() =>
      pool.change(
        (op) => {
          op.adopt(range);
          op.seal(10);
          throw new Error('no');
        },
        { undo: true },
      ),
    );
    expect(thrown.error.message).toBe('no');
    change(pool, [{ adopt: range }]);
  });
});

describe('beside others', () => {
  it('rounds and changes go on, and do not carry what is not adopted', async () => {
    const random = Random.fork(testSeed(), 11);
    const directory = temporaryDirectory();
    const pool = await openLogged(directory, WORKERS);
    const expected = new Map<number, number>();
    const ranges: BulkRange[] = [];
    for (let turn = 0; turn < 12; turn++) {
      const bulk = pool.bulkLoad(8);
      const running = [pool.checkpoint()];
      for (let n = 0; n < 1 + random.int(8); n++) {
        expected.set(await bulk.add(filled(n)), n);
        for (const id of change(pool, [{ create: 200 + turn }])) expected.set(id, 200 + turn);
        if (random.int(3) === 0) running.push(pool.checkpoint());
      }
      ranges.push(await bulk.commit());
      await Promise.all(running);
      const adopt = ranges[random.int(ranges.length)] as BulkRange;
      if (random.int(2) === 0 && ranges.includes(adopt)) {
        change(pool, [{ adopt }]);
        ranges.splice(ranges.indexOf(adopt), 1);
      }
    }
    expect(pool.list()).toEqual([...expected.keys()].sort((a, b) => a - b));
    await pool.durable(undefined, 'synced');
    for (const { first, last } of ranges) {
      for (let id = first; id <= last; id++) expected.delete(id);
    }
    const again = await openLogged(killed(directory), { frames: 256 });
    expect(again.list()).toEqual([...expected.keys()].sort((a, b) => a - b));
    for (const [id, value] of expected) expect(blobValue(again, id)).toBe(value);
  });

  it('a close waits for the writes of loads in other threads', async () => {
    const pool = await openLogged(temporaryDirectory(), WORKERS);
    const memory = look(pool);
    const word = SLOTS + 9 * SLOT_BYTES + S_WRITING;
    memory.store(word, 1);
    let closed = false;
    const closing = pool.close().then(() => {
      closed = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(closed).toBe(false);
    memory.store(word, 0);
    await closing;
  });

  it('an owner from 2^52 on is a range of a load, and nobody else may use it', async () => {
    const pool = await openLogged(temporaryDirectory());
    const range = await load(pool, [1]);
    const owner = BULK_OWNER + range.first;
    expect(errorOf(() => pool.root(owner)).code).toBe('RangeError');
    expect(errorOf(() => change(pool, [{ root: owner, id: 0 }])).code).toBe('RangeError');
    expect(errorOf(() => change(pool, [], { owner })).code).toBe('RangeError');
  });
});
