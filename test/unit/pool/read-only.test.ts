/** Pools for reading only: what they see, that they write nothing, whom they live beside. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { PoolOptions } from '../../../src/pool/options.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import { expectPasses } from '../../support/scenario.ts';
import { contentOf, readOnlyFileSystem } from '../fs/untouched.ts';
import { change, killed, openLogged } from './logged.ts';
import {
  blobValue,
  errorOf,
  filled,
  openSmall,
  rejectionOf,
  temporaryDirectory,
  writeBlobs,
} from './support.ts';

const READING: PoolOptions = { readOnly: true };

/** Blobs 1 to 4 are in the store; the log changes 1, deletes 2, creates one and sets a root. */
async function newLogged() {
  const directory = temporaryDirectory();
  const pool = await openLogged(directory);
  const ids = change(pool, [{ create: 1 }, { create: 2 }, { create: 3 }, { create: 4 }]);
  await pool.checkpoint();
  const [one = 0, two = 0] = ids;
  const [five = 0] = change(pool, [{ put: one, value: 11 }, { create: 5 }]);
  change(pool, [{ delete: two }, { root: 0, id: five }]);
  pool.durableSync(undefined, 'synced');
  return { directory, pool, one, two, five };
}

async function newUnlogged(): Promise<string> {
  const directory = temporaryDirectory();
  const pool = await openSmall(directory, {});
  writeBlobs(pool, 3);
  await pool.close();
  return directory;
}

function values(pool: BufferPool): number[] {
  return pool.list().map((id) => blobValue(pool, id));
}

describe('reading only', () => {
  it('R1 sees what the log says beyond the cut, and leaves the directory as it is', async () => {
    const { directory, two, five } = await newLogged();
    const copy = killed(directory);
    const before = contentOf(copy);
    const pool = await openLogged(copy, READING);
    expect(values(pool)).toEqual([11, 3, 4, 5]);
    expect(pool.has(two)).toBe(false);
    expect(pool.root(0)).toBe(five);
    expect(pool.pendingDeletes()).toEqual([two]);
    expect(pool.dirtyFrames()).toBe(2);
    expect(pool.verify()).toEqual([]);
    await pool.durable();
    pool.durableSync();
    await pool.close();
    expect(contentOf(copy)).toEqual(before);
    expect(values(await openLogged(copy))).toEqual([11, 3, 4, 5]);
  });

  it('says in its figures that nothing is to be written', async () => {
    const { directory, pool: writing } = await newLogged();
    const { log: written } = writing.stats();
    const pool = await openLogged(killed(directory), READING);
    const { log } = pool.stats();
    expect(log).toMatchObject({
      appendedSeq: written?.appendedSeq,
      writtenSeq: written?.appendedSeq,
      durableSeq: written?.appendedSeq,
      checkpointSeq: written?.checkpointSeq,
      ringUsedBytes: 0,
      pendingDeletes: 1,
      error: undefined,
      rounds: { attempted: 0, failed: 0 },
    });
    expect(log?.backlogBytes).toBe((log?.appendedSeq ?? 0) - (log?.checkpointSeq ?? 0));
  });

  it('asks for nothing that could change a file, also at its end', async () => {
    const { directory } = await newLogged();
    const { fileSystem, counts } = readOnlyFileSystem();
    const pool = await openLogged(killed(directory), { ...READING, fileSystem });
    expect(values(pool)).toEqual([11, 3, 4, 5]);
    await pool.close();
    expect(counts.refused).toBe(0);
    expect(counts.calls).toBeGreaterThan(10);
  });

  it('opens a store without a log, and one that was closed', async () => {
    const directory = await newUnlogged();
    const before = contentOf(directory);
    const pool = await openSmall(directory, READING);
    expect(values(pool)).toEqual([1, 2, 3]);
    expect(pool.stats().log).toBeUndefined();
    await pool.close();
    expect(contentOf(directory)).toEqual(before);
    const logged = await newLogged();
    await logged.pool.close();
    expect(values(await openLogged(logged.directory, READING))).toEqual([11, 3, 4, 5]);
  });

  it('hides the blobs of bulk loads that the next opening will drop', async () => {
    const { directory, pool: writing } = await newLogged();
    for (const adopted of [true, false]) {
      const bulk = writing.bulkLoad(2);
      await bulk.add(filled(7));
      await bulk.add(filled(8));
      const range = await bulk.commit();
      change(writing, adopted ? [{ adopt: range }] : [{ put: range.first, value: 9 }]);
    }
    writing.durableSync();
    const copy = killed(directory);
    const pool = await openLogged(copy, READING);
    expect(values(pool)).toEqual([11, 3, 4, 5, 7, 8]);
    expect(pool.dirtyFrames()).toBe(2);
    expect(values(await openLogged(copy))).toEqual([11, 3, 4, 5, 7, 8]);
  });

  it('is possible for several pools at once', async () => {
    const { directory } = await newLogged();
    const copy = killed(directory);
    const before = contentOf(copy);
    const threads = ['workers', 'inline', 'workers'] as const;
    const pools = await Promise.all(
      threads.map((mode) => openLogged(copy, { ...READING, threads: mode })),
    );
    for (const pool of pools) expect(values(pool)).toEqual([11, 3, 4, 5]);
    for (const pool of pools) await pool.close();
    expect(contentOf(copy)).toEqual(before);
  });

  it('is refused beside a writer, with its pid, and possible once that has gone', async () => {
    const { directory, pool: writing } = await newLogged();
    expect(await rejectionOf(BufferPool.open(directory, READING))).toMatchObject({
      code: 'STORE_LOCKED',
      details: { pid: process.pid },
    });
    await writing.close();
    await openLogged(directory, READING);
  });

  it('needs a store that is there, and makes none', async () => {
    const missing = join(temporaryDirectory(), 'missing');
    expect(await rejectionOf(BufferPool.open(missing, READING))).toMatchObject({
      code: 'STORE_IO',
      details: { operation: 'open', errno: 'ENOENT', path: missing },
    });
    expect(existsSync(missing)).toBe(false);
    const empty = temporaryDirectory();
    const options = { ...READING, log: true };
    expect(await rejectionOf(BufferPool.open(empty, options))).toMatchObject({ code: 'STORE_IO' });
    expect(contentOf(empty)).toHaveLength(1);
  });

  it('needs the owners of the log, and the log', async () => {
    const { directory } = await newLogged();
    const copy = killed(directory);
    const before = contentOf(copy);
    const noOwners = openLogged(copy, { ...READING, owners: {} });
    expect(await rejectionOf(noOwners)).toMatchObject({ code: 'REPLAY_FAILED' });
    const noLog = openLogged(copy, { ...READING, log: false });
    expect(await rejectionOf(noLog)).toMatchObject({ code: 'LOGGED_POOL' });
    expect(contentOf(copy)).toEqual(before);
    rmSync(join(copy, 'wal-1'));
    expect(await rejectionOf(openLogged(copy, READING))).toMatchObject({ code: 'WAL_CORRUPT' });
  });

  it('is for stores in a directory', async () => {
    for (const options of [
      { readOnly: true, store: 'memory' },
      { readOnly: 'yes' },
      { readOnly: true, store: () => undefined },
    ]) {
      const opening = BufferPool.open(temporaryDirectory(), options as unknown as PoolOptions);
      expect(await rejectionOf(opening)).toMatchObject({ code: 'TypeError' });
    }
  });
});

describe('too few frames for what the log has changed', () => {
  it('are refused at once, with a word about `frames`, and more of them help', async () => {
    const directory = temporaryDirectory();
    const writing = await openLogged(directory);
    for (let n = 0; n < 6; n++) change(writing, [{ create: n }]);
    writing.durableSync();
    const copy = killed(directory);
    const before = contentOf(copy);
    const few = { ...READING, frames: 4, frameWaitMs: 2 ** 31 - 1 };
    const refused = await rejectionOf(openLogged(copy, few));
    expect(refused).toMatchObject({ code: 'POOL_EXHAUSTED', details: { frames: 4, dirty: 4 } });
    expect(refused.error.message).toMatch(/`frames`/);
    expect(contentOf(copy)).toEqual(before);
    expect(values(await openLogged(copy, { ...READING, frames: 6 }))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('are said when a blob of the store finds none beside them', async () => {
    const directory = temporaryDirectory();
    const writing = await openLogged(directory);
    const ids = Array.from({ length: 6 }, (_, n) => change(writing, [{ create: n }])[0] as number);
    await writing.checkpoint();
    for (const id of ids.slice(0, 2)) change(writing, [{ put: id, value: 9 }]);
    writing.durableSync();
    const pool = await openLogged(killed(directory), { ...READING, frames: 4, frameWaitMs: 20 });
    const pins = ids.slice(2, 4).map((id) => pool.pin(id));
    expect(errorOf(() => pool.pin(ids[4] as number))).toMatchObject({
      code: 'POOL_EXHAUSTED',
      details: { frames: 4, dirty: 2, pinned: 2 },
    });
    pins[0]?.release();
    expect(values(pool)).toEqual([9, 9, 2, 3, 4, 5]);
    pins[1]?.release();
  });
});

type Way = readonly [string, (pool: BufferPool, id: number) => unknown];

const ALWAYS: readonly Way[] = [
  ['allocate', (pool) => pool.allocate()],
  ['writeBlob', (pool, id) => pool.writeBlob(id, filled(1))],
  ['deleteBlob', (pool, id) => pool.deleteBlob(id)],
  ['write', (pool, id) => pool.write(id)],
  ['Pin.write', (pool, id) => pinned(pool, id, (pin) => pin.write())],
  ['Pin.tryWrite', (pool, id) => pinned(pool, id, (pin) => pin.tryWrite())],
  ['upgrade', (pool, id) => pinned(pool, id, (pin) => pin.optimistic().upgrade())],
  ['change', (pool, id) => change(pool, [{ put: id, value: 1 }])],
  ['begin', (pool) => pool.begin()],
  ['bulkLoad', (pool) => pool.bulkLoad(1)],
  ['checkpoint', (pool) => pool.checkpoint()],
  ['flush', (pool, id) => pool.flush(id)],
  ['flushIfNeeded', (pool) => pool.flushIfNeeded(0)],
  ['flushOlderThan', (pool) => pool.flushOlderThan(0)],
];

function pinned(
  pool: BufferPool,
  id: number,
  use: (pin: ReturnType<BufferPool['pin']>) => unknown,
) {
  const pin = pool.pin(id);
  try {
    return use(pin);
  } finally {
    pin.release();
  }
}

/** Everything that a refused call must leave alone. */
function stateOf(pool: BufferPool): unknown {
  const { dirty, pinned: pins, latched, store, log } = pool.stats();
  return { dirty, pins, latched, store, log, values: values(pool) };
}

describe.each(['with a log', 'without a log'])('every way to write to a store %s', (which) => {
  it.each(ALWAYS)('is refused before anything changes: %s', async (_, way) => {
    const logged = which === 'with a log';
    const directory = logged ? killed((await newLogged()).directory) : await newUnlogged();
    const before = contentOf(directory);
    const pool = logged
      ? await openLogged(directory, READING)
      : await openSmall(directory, READING);
    const [id = 0] = pool.list();
    const state = stateOf(pool);
    const attempt = (async () => way(pool, id))();
    expect(await rejectionOf(attempt)).toMatchObject({
      code: 'READ_ONLY',
      error: { outcome: 'not_applied' },
    });
    expect(stateOf(pool)).toEqual(state);
    await pool.close();
    expect(contentOf(directory)).toEqual(before);
  });
});

describe('other threads', () => {
  it('read through a pool for reading only, wait for frames, and cannot write', async () => {
    await expectPasses('read-only', { timeoutMs: 30_000 });
  });

  it('are refused where everything happens in one thread', async () => {
    const pool = await openSmall(await newUnlogged(), { ...READING, threads: 'inline' });
    expect(await rejectionOf(BufferPool.attach(pool.handle))).toMatchObject({
      code: 'POOL_CLOSED',
    });
  });
});
