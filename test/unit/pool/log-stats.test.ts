/** `stats()` of pools with a log: what each figure counts. */
import { describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { faultyFileSystem } from '../../../src/harness/faulty-file-system.ts';
import { RECORD_HEADER_BYTES } from '../../../src/wal/format.ts';
import { change, encode, LOGGED, openLogged } from './logged.ts';
import { attachOther, closeAfterTest, errorOf, openSmall, temporaryDirectory } from './support.ts';

describe('stats of a pool with a log', () => {
  it('follow a record from the ring to the store', async () => {
    const pool = await openLogged(temporaryDirectory());
    const fresh = pool.stats().log;
    expect(fresh).toMatchObject({
      ringBytes: LOGGED.log.ringBytes,
      ringUsedBytes: 0,
      backlogBytes: 0,
      pendingDeletes: 0,
      commits: 0,
      opRestarts: 0,
      error: undefined,
    });
    const start = fresh?.appendedSeq ?? 0;
    expect(fresh).toMatchObject({ writtenSeq: start, durableSeq: start, checkpointSeq: 0 });

    const steps = [{ create: 1 }, { create: 2 }];
    const [one = 0] = change(pool, steps);
    const bytes = Math.ceil((RECORD_HEADER_BYTES + 2 * 8 + encode(steps).length) / 8) * 8;
    const end = start + bytes;
    const appended = { appendedSeq: end, writtenSeq: start, ringUsedBytes: bytes };
    expect(pool.stats()).toMatchObject({
      dirty: 2,
      flushing: 0,
      log: { ...appended, backlogBytes: bytes, commits: 1 },
    });

    pool.durableSync(undefined, 'written');
    const written = { writtenSeq: end, durableSeq: start, ringUsedBytes: 0 };
    expect(pool.stats().log).toMatchObject({ ...written, backlogBytes: bytes });
    pool.durableSync(undefined, 'synced');
    expect(pool.stats().log).toMatchObject({ durableSeq: end, checkpointSeq: 0 });
    change(pool, [{ delete: one }]);
    expect(pool.stats().log).toMatchObject({ pendingDeletes: 1, commits: 2 });

    const { seq } = await pool.checkpoint();
    expect(pool.stats()).toMatchObject({
      dirty: 0,
      log: { checkpointSeq: seq, durableSeq: seq, backlogBytes: 0, pendingDeletes: 0 },
    });
  });

  it('count rounds, what they wrote, and why the last one failed', async () => {
    const fs = faultyFileSystem(nodeFileSystem);
    const pool = await openLogged(temporaryDirectory(), { fileSystem: fs });
    change(pool, [{ create: 1 }, { create: 2 }, { create: 3 }]);
    await pool.checkpoint();
    const rounds = { attempted: 1, succeeded: 1, failed: 0, bytesWritten: 3 * LOGGED.blobBytes };
    expect(pool.stats().log?.rounds).toMatchObject({
      ...rounds,
      lastFrames: 3,
      lastDeletes: 0,
      error: undefined,
    });
    const phases = pool.stats().log?.rounds.lastPhasesMs ?? {};
    expect(Object.keys(phases)).toEqual(
      'capture logFirst write sync commit publish trim'.split(' '),
    );
    for (const ms of Object.values(phases)) expect(ms).toBeGreaterThanOrEqual(0);

    change(pool, [{ create: 4 }]);
    pool.durableSync(undefined, 'synced');
    fs.plan = ({ operation }) => (operation === 'write' ? 'EIO' : undefined);
    await expect(pool.checkpoint()).rejects.toMatchObject({ code: 'STORE_IO' });
    fs.plan = () => undefined;
    expect(pool.stats()).toMatchObject({
      dirty: 1,
      flushing: 0,
      log: { rounds: { attempted: 2, succeeded: 1, failed: 1, error: { code: 'STORE_IO' } } },
    });
    await pool.checkpoint();
    expect(pool.stats().log?.rounds).toMatchObject({ succeeded: 2, error: undefined });
  });

  it('say why the log cannot be written, as long as that is so', async () => {
    const fs = faultyFileSystem(nodeFileSystem);
    const pool = await openLogged(temporaryDirectory(), { fileSystem: fs, frameWaitMs: 20 });
    change(pool, [{ create: 1 }]);
    fs.plan = ({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined);
    expect(errorOf(() => pool.durableSync()).code).toBe('STORE_IO');
    expect(pool.stats().log?.error).toMatchObject({ code: 'STORE_IO' });
    fs.plan = () => undefined;
    pool.durableSync();
    expect(pool.stats().log?.error).toBeUndefined();
  });

  it('count mini-transactions of all threads, also of those that have left', async () => {
    const pool = await openLogged(temporaryDirectory(), { threads: 'workers' });
    const other = await attachOther(pool);
    closeAfterTest(other);
    const ids = change(other, [{ create: 1 }]);
    const [own = 0] = change(pool, [{ create: 2 }]);
    const held = other.begin();
    held.write(ids[0] as number);
    const wanting = pool.begin();
    wanting.write(own);
    expect(errorOf(() => wanting.write(ids[0] as number)).code).toBe('OP_RESTART');
    held.abort();
    const before = pool.stats().log;
    expect(before?.commits).toBe(2);
    expect(before?.opRestarts).toBeGreaterThanOrEqual(1);
    await other.close();
    expect(pool.stats().log).toMatchObject({
      commits: before?.commits,
      opRestarts: before?.opRestarts,
    });
    expect(pool.stats().log).toEqual(pool.stats().log);
  });

  it('have nothing about a log without one', async () => {
    const pool = await openSmall();
    expect(pool.stats().log).toBeUndefined();
  });
});
