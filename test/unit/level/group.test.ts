/**
 * Puts and deletes of one turn of the event loop are made together: what nobody may notice of it. Stores on
 * a disk in memory.
 */
import { Buffer } from 'node:buffer';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { WeirpoolError } from '../../../src/errors.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { acquireDatabase } from '../../../src/level/database.ts';
import { WeirLevel, type WeirLevelOptions } from '../../../src/level/index.ts';
import { Versions } from '../../../src/level/versions.ts';
import type { LogStats } from '../../../src/pool/log-stats.ts';
import { TreeChange } from '../../../src/tree/change.ts';
import { Tree } from '../../../src/tree/tree.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';

const DIRECTORY = '/sim';
const VIEW = { keyEncoding: 'view', valueEncoding: 'view' } as const;
const LOG = { ringBytes: 65_536, segmentBytes: 65_536, bytesMax: 2 ** 20, intervalMs: 0 };
const STORE = { blobBytes: 4096, frames: 128, threads: 'inline', log: LOG } as const;

type Options = WeirLevelOptions<string, string>;

async function open({ store, ...options }: Options = {}): Promise<WeirLevel> {
  const fileSystem = new SimFileSystem(DIRECTORY);
  const db: WeirLevel = new WeirLevel(DIRECTORY, {
    durability: 'none',
    ...options,
    store: { ...STORE, fileSystem, ...store },
  });
  onTestFinished(() => db.close());
  await db.open();
  return db;
}

function keyAt(n: number): string {
  return `key ${String(n).padStart(5, '0')}`;
}

describe('what was asked for in this turn', () => {
  const READS: readonly (readonly [string, (db: WeirLevel) => unknown])[] = [
    ['getSync', (db) => db.getSync('a')],
    ['get', (db) => db.get('a')],
    ['getMany', async (db) => (await db.getMany(['a', 'b']))[0]],
    ['has', async (db) => ((await db.has('a')) ? 'put' : 'absent')],
    ['hasMany', async (db) => ((await db.hasMany(['b', 'a']))[1] ? 'put' : 'absent')],
    ['iterator', async (db) => (await db.iterator().next())?.[1]],
    ['keys', async (db) => ((await db.keys().all())[0] === 'a' ? 'put' : 'absent')],
    ['values', async (db) => (await db.values().all())[0]],
    ['snapshot', (db) => db.get('a', { snapshot: db.snapshot() })],
  ];

  it.each(READS)('is seen by %s', async (_, read) => {
    const db = await open();
    const put = db.put('a', 'put');
    const seen = read(db);
    await put;
    expect(await seen).toBe('put');
  });

  it('is seen whatever number of groups it fills, the latest of each key', async () => {
    const db = await open();
    const puts = Array.from({ length: 300 }, (_, n) => db.put(keyAt(n % 150), String(n)));
    expect([db.getSync(keyAt(0)), db.getSync(keyAt(149))]).toEqual(['150', '299']);
    await Promise.all(puts);
    expect([db.getSync(keyAt(0)), db.getSync(keyAt(149))]).toEqual(['150', '299']);
  });

  it('is made before the database is given back', async () => {
    const db = await open();
    const database = acquireDatabase(db.store, 'other', undefined);
    database.later({ type: 'put', key: 'a', value: '1' });
    database.release();
    expect(db.store.tree('other').count()).toBe(1);
  });

  it('is seen by another database of the same tree in this thread', async () => {
    const db = await open();
    const other = new WeirLevel<string, string>(db.store);
    await other.open();
    const put = db.put('a', 'put');
    expect(other.getSync('a')).toBe('put');
    await put;
    await other.close();
  });

  it('is not in a snapshot that was taken before', async () => {
    const db = await open();
    await db.put('a', 'before');
    const snapshot = db.snapshot();
    const put = db.put('a', 'after');
    expect(db.getSync('a', { snapshot })).toBe('before');
    await put;
    expect(db.getSync('a', { snapshot })).toBe('before');
  });

  it('comes in the order in which it was asked for, batches and clear among it', async () => {
    const db = await open();
    const all = [
      db.put('a', '1'),
      db.del('a'),
      db.put('b', '1'),
      db.batch([
        { type: 'put', key: 'b', value: '2' },
        { type: 'put', key: 'c', value: '2' },
      ]),
      db.del('c'),
      db.put('d', '1'),
      db.clear({ gte: 'd' }),
      db.put('e', '1'),
      db.put('e', '2'),
    ];
    await Promise.all(all);
    const entries = await db.iterator().all();
    expect(entries).toEqual([
      ['b', '2'],
      ['e', '2'],
    ]);
  });

  it('waits for the end of a mini-transaction that this thread has begun, in order', async () => {
    const db = await open();
    const { pool } = db.store;
    const puts = [db.put('a', '1')];
    pool.change(() => db.getSync('a'));
    const op = pool.begin();
    puts.push(...Array.from({ length: 200 }, (_, n) => db.put('a', String(n))));
    await new Promise((done) => setImmediate(done));
    op.abort();
    expect(db.getSync('a')).toBe('199');
    await Promise.all(puts);
    expect(db.getSync('a')).toBe('199');
  });

  it('waits until this thread has given back a latch', async () => {
    const db = await open();
    const { pool } = db.store;
    const created = pool.change((op) => {
      const { id } = op.create();
      op.seal(8);
      op.commit(new Uint8Array(8));
      return id;
    });
    const guard = pool.read(created);
    const put = db.put('a', '1');
    await new Promise((done) => setImmediate(done));
    expect(db.store.tree('level').count()).toBe(0);
    guard.release();
    await put;
    expect(db.getSync('a')).toBe('1');
  });

  it('says what it has waited for in vain, as long as for a frame', async () => {
    const db = await open({ store: { frameWaitMs: 20 } });
    const op = db.store.pool.begin();
    const results = await Promise.allSettled([db.put('a', '1'), db.put('b', '1')]);
    op.abort();
    const codes = results.map((result) => (result as { reason?: { code?: string } }).reason?.code);
    expect(codes).toEqual(['TX_NESTED', 'TX_NESTED']);
    expect(await db.keys().all()).toEqual([]);
  });

  it('is there after a close that does not wait for it', async () => {
    const disk = new SimFileSystem(DIRECTORY);
    const db = await open({ store: { fileSystem: disk } });
    const puts = [db.put('a', '1'), db.put('b', '2')];
    const closed = db.close();
    await Promise.all(puts);
    await closed;
    const again = await open({ store: { fileSystem: disk } });
    expect(await again.getMany(['a', 'b'])).toEqual(['1', '2']);
  });

  it('does not change with the bytes that it was asked for with', async () => {
    const db = await open();
    const bytes = { keyEncoding: 'buffer', valueEncoding: 'buffer' } as const;
    const [key, value] = [Buffer.from('a'), Buffer.from('value')];
    const put = db.put(key, value, bytes);
    const dropped = Buffer.from('b');
    const del = db.del(dropped, { keyEncoding: 'buffer' });
    for (const given of [key, value, dropped]) given.fill('x');
    await Promise.all([put, del]);
    expect(await db.iterator().all()).toEqual([['a', 'value']]);
  });
});

describe('one batch', () => {
  /** How many batches and single puts or deletes the tree is asked for. */
  function countingTree(): { readonly batches: () => number; readonly singles: () => number } {
    const batch = vi.spyOn(Tree.prototype, 'batch');
    const singles = [vi.spyOn(Tree.prototype, 'put'), vi.spyOn(Tree.prototype, 'delete')];
    onTestFinished(() => {
      for (const spy of [batch, ...singles]) spy.mockRestore();
    });
    return {
      batches: () => batch.mock.calls.length,
      singles: () => singles.reduce((sum, { mock }) => sum + mock.calls.length, 0),
    };
  }

  it('is made of a turn, however each is to be waited for', async () => {
    const db = await open();
    const count = countingTree();
    await Promise.all([
      db.put('a', '1'),
      db.put('b', '1', { sync: true }),
      db.del('c'),
      db.put('d', '1'),
    ]);
    expect([count.batches(), count.singles()]).toEqual([1, 0]);
    await db.put('a', '2');
    await db.del('a');
    expect([count.batches(), count.singles()]).toEqual([1, 2]);
    expect(await db.keys().all()).toEqual(['b', 'd']);
  });

  it('is as safe as each has asked for', async () => {
    const db = await open();
    const puts = [db.put('a', '1'), db.put('b', '1', { sync: true })];
    await puts[1];
    const log = db.store.stats().log as LogStats;
    expect(log.durableSeq).toBe(log.appendedSeq);
  });

  it('is waited for once, in however many groups it is made', async () => {
    const db = await open({ durability: 'written' });
    const durable = vi.spyOn(Weirpool.prototype, 'durable');
    onTestFinished(() => durable.mockRestore());
    const puts = Array.from({ length: 500 }, (_, n) => db.put(keyAt(n), 'v'));
    await Promise.all([...puts, db.batch([{ type: 'del', key: keyAt(0) }])]);
    expect(durable).toHaveBeenCalledTimes(1);
  });

  it('is none when nothing was asked for', async () => {
    const db = await open();
    const count = countingTree();
    const writes = vi.spyOn(Versions.prototype, 'enter');
    onTestFinished(() => writes.mockRestore());
    expect(db.getSync('a')).toBe(undefined);
    await expect(db.put('k'.repeat(5000), 'v')).rejects.toThrow(RangeError);
    await expect(db.del('k'.repeat(5000))).rejects.toThrow(RangeError);
    expect(db.getSync('a')).toBe(undefined);
    expect([count.batches(), count.singles(), writes.mock.calls.length]).toEqual([0, 0, 0]);
  });

  it('is made the fast way: no larger than that, and long values by themselves', async () => {
    const db = await open();
    const putAll = (value: string): Promise<unknown> =>
      Promise.all(Array.from({ length: 300 }, (_, n) => db.put(keyAt(n), value)));
    await putAll('v'.repeat(200));
    const general = vi.spyOn(TreeChange.prototype, 'acquire');
    onTestFinished(() => general.mockRestore());
    await putAll('w'.repeat(200));
    expect(general).not.toHaveBeenCalled();
    const sizes = [10, 3000, 10, 10, 3000];
    await Promise.all(sizes.map((size, n) => db.put(keyAt(n), 'v'.repeat(size))));
    const entries = general.mock.calls.map(([given]) => given.length);
    expect(entries).toEqual([1, 1]);
  });

  it('is no larger than others can wait for, in number and in bytes', async () => {
    const db = await open();
    const count = countingTree();
    await Promise.all(Array.from({ length: 300 }, (_, n) => db.put(keyAt(n), 'v')));
    expect([count.batches(), count.singles()]).toEqual([3, 0]);
    const long = 'v'.repeat(20_000);
    await Promise.all(Array.from({ length: 3 }, (_, n) => db.put(keyAt(n), long)));
    expect([count.batches(), count.singles()]).toEqual([3, 3]);
    expect(await db.get(keyAt(2))).toBe(long);
  });
});

describe('what cannot be made', () => {
  it('fails alone: a key that is too long', async () => {
    const db = await open();
    const results = await Promise.allSettled([
      db.put('a', '1'),
      db.put('k'.repeat(5000), '1'),
      db.put('b', '1'),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect((results[1] as PromiseRejectedResult).reason).toBeInstanceOf(RangeError);
    expect(await db.keys().all()).toEqual(['a', 'b']);
  });

  it.each([
    ['a value of floats', (db) => db.put('k', new Float64Array([1.5, 258]) as never, VIEW)],
    ['a key of 16-bit numbers', (db) => db.put(new Uint16Array([120]) as never, 'v', VIEW)],
    ['a key of 16-bit numbers to delete', (db) => db.del(new Uint16Array([120]) as never, VIEW)],
    ['a view to delete', (db) => db.del(new DataView(new ArrayBuffer(1)) as never, VIEW)],
  ] satisfies [string, (db: WeirLevel) => Promise<void>][])(
    'fails alone, and is not copied as something else: %s',
    async (_, write) => {
      const db = await open();
      const results = await Promise.allSettled([db.put('x', '1'), write(db), db.put('', '2')]);
      expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      expect((results[1] as PromiseRejectedResult).reason).toBeInstanceOf(TypeError);
      expect(await db.keys().all()).toEqual(['', 'x']);
    },
  );

  /** A tree whose batches and single puts fail with what is given; how often they were asked for. */
  function failing(errors: { batch: () => Error; put: (key: unknown) => Error | undefined }): {
    readonly batches: () => number;
    readonly puts: () => number;
  } {
    const single = Tree.prototype.put;
    const batch = vi.spyOn(Tree.prototype, 'batch').mockImplementation(() => {
      throw errors.batch();
    });
    const put = vi.spyOn(Tree.prototype, 'put').mockImplementation(function one(
      this: Tree,
      ...given
    ) {
      const error = errors.put(given[0]);
      if (error !== undefined) throw error;
      return single.apply(this, given);
    });
    onTestFinished(() => {
      batch.mockRestore();
      put.mockRestore();
    });
    return { batches: () => batch.mock.calls.length, puts: () => put.mock.calls.length };
  }

  const CODES = [
    ['OP_TOO_LARGE', 7],
    ['RECORD_TOO_LARGE', 7],
    ['POOL_EXHAUSTED', 1],
    ['STORE_IO', 1],
  ] as const;

  it.each(CODES)('fails alone: after %s in %i batches', async (code, batches) => {
    const db = await open();
    const tree = failing({
      batch: () => new WeirpoolError(code, 'no batch'),
      put: (key) => (key === keyAt(3) ? new Error('not this one') : undefined),
    });
    const all = Array.from({ length: 8 }, (_, n) => db.put(keyAt(n), String(n)));
    const results = await Promise.allSettled(all);
    const failed = results.flatMap((result, n) => (result.status === 'rejected' ? [n] : []));
    expect(failed).toEqual([3]);
    expect((results[3] as PromiseRejectedResult).reason).toEqual(new Error('not this one'));
    expect(await db.keys().all()).toEqual([0, 1, 2, 4, 5, 6, 7].map(keyAt));
    expect([tree.batches(), tree.puts()]).toEqual([batches, 8]);
  });

  it('is not made again where it may have been made', async () => {
    const db = await open();
    const error = new WeirpoolError('STORE_IO', 'perhaps', { outcome: 'unknown' });
    const tree = failing({ batch: () => error, put: () => undefined });
    const results = await Promise.allSettled([db.put('a', '1'), db.put('b', '1')]);
    const reasons = results.map((result) => (result as PromiseRejectedResult).reason as unknown);
    expect(reasons).toEqual([error, error]);
    expect([tree.batches(), tree.puts()]).toEqual([1, 0]);
  });

  it('says why, also when the others are not as safe as asked for', async () => {
    const db = await open({ durability: 'synced' });
    const own = new Error('not this one');
    failing({
      batch: () => new WeirpoolError('OP_TOO_LARGE', 'no batch'),
      put: (key) => (key === 'b' ? own : undefined),
    });
    const unsafe = new WeirpoolError('STORE_IO', 'not durable', { outcome: 'unknown' });
    const durable = vi.spyOn(Weirpool.prototype, 'durable').mockRejectedValue(unsafe);
    onTestFinished(() => durable.mockRestore());
    const results = await Promise.allSettled([db.put('a', '1'), db.put('b', '1')]);
    const reasons = results.map((result) => (result as PromiseRejectedResult).reason as unknown);
    expect(reasons).toEqual([unsafe, own]);
  });

  it('goes on in a pool whose frames are too few for so many leaves at once', async () => {
    const db = await open({ store: { frames: 32 } });
    const count = 2000;
    for (let n = 0; n < count; n++) await db.put(keyAt(n), 'v'.repeat(40));
    const far = Array.from({ length: 128 }, (_, n) => keyAt((n * 13) % count));
    await expect(
      db.batch(far.map((key) => ({ type: 'put', key, value: 'too many leaves' }) as const)),
    ).rejects.toMatchObject({ code: 'OP_TOO_LARGE' });
    await Promise.all(far.map((key) => db.put(key, 'changed')));
    expect(await db.getMany(far)).toEqual(far.map(() => 'changed'));
  });

  it('fails with the error of the store, each of them, when that has stopped', async () => {
    const db = await open();
    await db.store.close();
    const results = await Promise.allSettled([db.put('a', '1'), db.del('b')]);
    const codes = results.map((result) => (result as { reason?: { code?: string } }).reason?.code);
    expect(codes).toEqual(['POOL_CLOSED', 'POOL_CLOSED']);
  });
});
