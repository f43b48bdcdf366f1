/** What a pool with a log refuses, what one without refuses, and options that are none. */
import { describe, expect, it } from 'vitest';
import type { PoolOptions } from '../../../src/pool/options.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import { errorOf, openSmall, rejectionOf } from '../pool/support.ts';
import { change, contentOf, create, DIRECTORY, LOGGED, openLogged, valueAt } from './support.ts';

describe('W2D a pool with a log', () => {
  it('refuses every way to change a blob without a record', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    await pool.checkpoint();
    using pin = pool.pin(id);
    const bytes = new Uint8Array(pool.blobBytes);
    const ways: Readonly<Record<string, () => unknown>> = {
      write: () => pool.write(id),
      writeBlob: () => pool.writeBlob(id, bytes),
      deleteBlob: () => pool.deleteBlob(id),
      pinWrite: () => pin.write(),
      pinTryWrite: () => pin.tryWrite(),
      upgrade: () => pin.optimistic().upgrade(),
    };
    for (const [name, way] of Object.entries(ways)) {
      const { code, error } = errorOf(way);
      expect([name, code]).toEqual([name, 'LOGGED_POOL']);
      expect(error.message).toContain('pool.change');
    }
    expect([valueAt(pool, id), pool.dirtyFrames(), pool.stats().latched]).toEqual([1, 0, 0]);
  });

  it('may be read in every way, and lets the bytes go', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    await pool.checkpoint();
    expect(pool.evict(id)).toBe(true);
    using guard = pool.read(id);
    expect(guard.bytes[0]).toBe(1);
    guard.release();
    using pin = pool.pin(id);
    using shared = pin.tryRead();
    expect([shared?.bytes[1], pin.optimistic().validate()]).toEqual([1, true]);
    shared?.release();
    const copy = new Uint8Array(pool.blobBytes);
    expect(pool.copyCached(id, copy)).toBe(true);
    expect([copy[5], pool.tryOptimistic(id, ({ bytes }) => bytes[6])]).toEqual([1, 1]);
  });

  it('is opened without its log by nobody, not even when nothing was written to it', async () => {
    const { pool, disk } = await openLogged();
    await pool.close();
    const refused = await rejectionOf(openLogged({ disk, options: { log: false } }));
    expect([refused.code, refused.error.message]).toEqual([
      'LOGGED_POOL',
      expect.stringContaining('`log: false`'),
    ]);
    const { pool: again } = await openLogged({ disk });
    create(again, 1);
    await again.close();
    expect((await rejectionOf(openLogged({ disk, options: { log: false } }))).code).toBe(
      'LOGGED_POOL',
    );
  });

  it('has its log again when it is opened without a word about it', async () => {
    const { pool, disk } = await openLogged();
    const id = create(pool, 1);
    await pool.close();
    const { log: _, ...rest } = LOGGED;
    const options = { ...rest, log: undefined } as unknown as PoolOptions;
    const { pool: again } = await openLogged({ disk, options });
    change(again, { set: [[id, 2]] });
    expect(contentOf(again)).toEqual([[id, 2]]);
  });
});

describe('a pool without a log', () => {
  it('refuses mini-transactions, durability and rounds', async () => {
    const pool = await openSmall();
    const calls = [
      () => pool.change(() => 1),
      () => pool.begin(),
      () => pool.durableSync(),
      () => pool.root(0),
    ];
    for (const call of calls) expect(errorOf(call).code).toBe('UNLOGGED_POOL');
    const promises = [
      () => pool.durable(),
      () => pool.checkpoint(),
      () => pool.flush(1),
      () => pool.flushIfNeeded(0),
      () => pool.flushOlderThan(0),
    ];
    for (const call of promises) {
      const promise = call();
      expect((await rejectionOf(promise)).code).toBe('UNLOGGED_POOL');
    }
    expect([pool.dirtyFrames(), pool.pendingDeletes()]).toEqual([0, []]);
    await pool.close();
    expect(errorOf(() => pool.change(() => 1)).code).toBe('POOL_CLOSED');
    expect((await rejectionOf(pool.checkpoint())).code).toBe('POOL_CLOSED');
  });

  it('gets a log when it is asked for, with what it had', async () => {
    const { pool, disk } = await openLogged({ options: { log: false } });
    const id = pool.allocate();
    pool.writeBlob(id, new Uint8Array(pool.blobBytes).fill(3));
    await pool.close();
    const { pool: logged } = await openLogged({ disk });
    expect(contentOf(logged)).toEqual([[id, 3]]);
    expect(create(logged, 4)).toBeGreaterThan(id);
  });
});

const NOT_OPTIONS: readonly (readonly [what: string, options: unknown, name: string])[] = [
  ['a ring below 16 KiB', { log: { ringBytes: 8192 } }, 'RangeError'],
  ['a ring above 64 MiB', { log: { ringBytes: 2 ** 27 } }, 'RangeError'],
  ['a ring that is no power of two', { log: { ringBytes: 20_000 } }, 'RangeError'],
  ['a ring that is no number', { log: { ringBytes: '16384' } }, 'TypeError'],
  ['a ring of NaN bytes', { log: { ringBytes: Number.NaN } }, 'RangeError'],
  ['segments that hold no record', { log: { ringBytes: 16384, segmentBytes: 8192 } }, 'RangeError'],
  ['segments of odd sizes', { log: { ringBytes: 16384, segmentBytes: 20_000 } }, 'RangeError'],
  ['segments above 256 MiB', { log: { segmentBytes: 2 ** 29 } }, 'RangeError'],
  ['a bound below two rings', { log: { ringBytes: 16384, bytesMax: 20_000 } }, 'RangeError'],
  ['a bound above 1 TiB', { log: { bytesMax: 2 ** 41 } }, 'RangeError'],
  ['a bound that is no number', { log: { bytesMax: null } }, 'TypeError'],
  ['an interval below 0', { log: { intervalMs: -1 } }, 'RangeError'],
  ['an interval of fractions', { log: { intervalMs: 0.5 } }, 'RangeError'],
  ['an endless interval', { log: { intervalMs: Number.POSITIVE_INFINITY } }, 'RangeError'],
  ['a log that is null', { log: null }, 'TypeError'],
  ['a log that is a number', { log: 5 }, 'TypeError'],
  ['a log that is a text', { log: 'yes' }, 'TypeError'],
  ['an unknown durability', { durability: 'fsync' }, 'TypeError'],
  ['a durability of null', { durability: null }, 'TypeError'],
  ['rounds that are null', { checkpoint: null }, 'TypeError'],
  ['rounds that are a number', { checkpoint: 5 }, 'TypeError'],
  ['rounds at odd times', { checkpoint: { intervalMs: -1 } }, 'RangeError'],
  ['rounds at an odd age', { checkpoint: { ageMs: 2 ** 31 } }, 'RangeError'],
  ['rounds at more frames than there are', { checkpoint: { dirtyFrames: 17 } }, 'RangeError'],
  ['rounds at frames of a text', { checkpoint: { dirtyFrames: '1' } }, 'TypeError'],
  ['owners that are null', { owners: null }, 'TypeError'],
  ['owners that are a number', { owners: 5 }, 'TypeError'],
  ['an owner that is null', { owners: { 0: null } }, 'TypeError'],
  ['an owner without replay', { owners: { 0: {} } }, 'TypeError'],
  ['an owner whose replay is no function', { owners: { 3: { replay: 1 } } }, 'TypeError'],
  ['an owner below 0', { owners: { [-1]: { replay() {} } } }, 'RangeError'],
  ['an owner with a name', { owners: { tree: { replay() {} } } }, 'RangeError'],
  ['a log for a store in memory', { store: 'memory' }, 'TypeError'],
  ['a simulated disk for workers', { threads: 'workers' }, 'TypeError'],
];

describe('options', () => {
  it.each(NOT_OPTIONS)('refuse %s, and touch nothing', async (_, given, name) => {
    const { pool, disk, fs } = await openLogged();
    await pool.close();
    const before = fs.calls.length;
    const options = { ...LOGGED, fileSystem: fs, ...(given as PoolOptions) };
    expect((await rejectionOf(BufferPool.open(DIRECTORY, options))).code).toBe(name);
    expect(fs.calls.length).toBe(before);
    await openLogged({ disk });
  });

  it('name what is wrong', async () => {
    const message = async (given: unknown): Promise<string> => {
      const options = { ...LOGGED, ...(given as PoolOptions) };
      return (await rejectionOf(openLogged({ options }))).error.message;
    };
    expect(await message({ log: { ringBytes: 1 } })).toContain('log.ringBytes');
    expect(await message({ log: { segmentBytes: 1 } })).toContain('log.segmentBytes');
    expect(await message({ log: { bytesMax: 1 } })).toContain('log.bytesMax');
    expect(await message({ log: { intervalMs: -1 } })).toContain('log.intervalMs');
    expect(await message({ durability: 1 })).toContain('durability');
    expect(await message({ checkpoint: { ageMs: -1 } })).toContain('checkpoint.ageMs');
    expect(await message({ owners: { 7: {} } })).toContain('7');
  });

  it('of a change are checked before it runs', async () => {
    const { pool } = await openLogged();
    let runs = 0;
    const attempt = (options: unknown) => () =>
      pool.change(() => runs++, options as { owner: number });
    expect(errorOf(attempt({ durability: 'soon' })).code).toBe('TypeError');
    expect(errorOf(attempt({ owner: 'a' })).code).toBe('TypeError');
    for (const owner of [-1, 0.5, Number.NaN, 2 ** 52]) {
      expect(errorOf(attempt({ owner })).code).toBe('RangeError');
      expect(errorOf(() => pool.begin({ owner })).code).toBe('RangeError');
    }
    expect(runs).toBe(0);
    expect(pool.change(({ owner }) => owner, { owner: 2 ** 52 - 1 })).toBe(2 ** 52 - 1);
  });
});
