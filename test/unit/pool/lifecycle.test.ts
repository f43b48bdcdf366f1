/** Opening, joining, leaving, closing, and what survives. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SLOTS_MAX } from '../../../src/generated/layout.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import {
  attachOther,
  BLOB_BYTES,
  blobValue,
  closeAfterTest,
  dirty,
  errorOf,
  filled,
  openFaulty,
  openSmall,
  rejectionOf,
  SMALL,
  temporaryDirectory,
  writeBlobs,
} from './support.ts';

/** Everything that a pool can be asked for. */
function uses(pool: BufferPool, id: number): (() => unknown)[] {
  return [
    () => pool.pin(id),
    () => pool.pinSilent(id),
    () => pool.read(id),
    () => pool.write(id),
    () => pool.optimistic(id, () => 0),
    () => pool.tryOptimistic(id, () => 0),
    () => pool.copyCached(id, filled(0)),
    () => pool.readInto(id, filled(0)),
    () => pool.writeBlob(id, filled(0)),
    () => pool.deleteBlob(id),
    () => pool.allocate(),
    () => pool.has(id),
    () => pool.list(),
    () => pool.cachedCount(),
    () => pool.evict(id),
    () => pool.verify(),
  ];
}

describe('frames', () => {
  it('takes 256 MiB of frames unless told otherwise, also of a store that is there', async () => {
    const directory = temporaryDirectory();
    const sizes: number[][] = [];
    for (const options of [{ blobBytes: 8192 }, {}, { frames: 16 }]) {
      const pool = await BufferPool.open(directory, { ...options, threads: 'inline' });
      sizes.push([pool.stats().frames, pool.blobBytes]);
      await pool.close();
    }
    expect(sizes).toEqual([
      [32_768, 8192],
      [32_768, 8192],
      [16, 8192],
    ]);
  });
});

describe('closing', () => {
  it('is idempotent, and every later use says POOL_CLOSED', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    blobValue(pool, id);
    await Promise.all([pool.close(), pool.close()]);
    await pool.close();
    for (const use of uses(pool, id)) expect(errorOf(use).code).toBe('POOL_CLOSED');
    expect((await rejectionOf(pool.prefetch([id]))).code).toBe('POOL_CLOSED');
  });

  it('G1 after leaving, an attached pool touches nothing of the one that stays open', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const left = await attachOther(pool);
    await left.close();
    // The slot is another thread's from here on.
    const next = await attachOther(pool);
    closeAfterTest(next);
    const guard = next.read(id);
    for (const use of uses(left, id)) expect(errorOf(use).code).toBe('POOL_CLOSED');
    expect((await rejectionOf(left.prefetch([id]))).code).toBe('POOL_CLOSED');
    expect([pool.stats().pinned, pool.has(id)]).toEqual([1, true]);
    guard.release();
    expect([pool.stats().pinned, pool.stats().latched, pool.evict(id)]).toEqual([0, 0, true]);
  });

  it('is refused while this thread holds a latch; nothing is done, and it works afterwards', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const guard = pool.read(id);
    expect((await rejectionOf(pool.close())).code).toBe('LATCH_HELD');
    expect((await rejectionOf(pool.close())).code).toBe('LATCH_HELD');
    expect([guard.bytes[0], blobValue(pool, id)]).toEqual([id, id]);
    guard.release();
    await pool.close();
    expect(errorOf(() => pool.list()).code).toBe('POOL_CLOSED');
  });

  it('I1 writes what is dirty, and reopening finds it', async () => {
    const directory = temporaryDirectory();
    const pool = await openSmall(directory, {});
    const ids = writeBlobs(pool, 3);
    dirty(pool, ids[1] as number, 91);
    await pool.close();
    const again = await openSmall(directory, {});
    expect(ids.map((id) => blobValue(again, id))).toEqual([ids[0], 91, ids[2]]);
    expect([again.verify(), again.list()]).toEqual([[], ids]);
  });

  it('comes with `await using`', async () => {
    const directory = temporaryDirectory();
    {
      await using pool = await BufferPool.open(directory, SMALL);
      dirty(pool, writeBlobs(pool, 1)[0] as number, 17);
    }
    const again = await openSmall(directory, {});
    expect(blobValue(again, again.list()[0] as number)).toBe(17);
  });

  it('lets the store go even if what is dirty cannot be written, and says so', async () => {
    const { pool, backend } = await openFaulty();
    const [id] = writeBlobs(pool, 1) as [number];
    dirty(pool, id, 3);
    backend.plan({ operation: 'writeSlot', errno: 'ENOSPC' });
    expect((await rejectionOf(pool.close())).code).toBe('STORE_IO');
    expect(backend.trace.at(-1)?.operation).toBe('close');
    expect(errorOf(() => pool.list()).code).toBe('POOL_CLOSED');
  });
});

describe('writing that fails', () => {
  it('leaves store and cache as they were, and can be tried again', async () => {
    const { pool, backend } = await openFaulty();
    const [id] = writeBlobs(pool, 1) as [number];
    blobValue(pool, id);
    const { slotsUsed } = pool.stats().store;
    backend.plan({ operation: 'commit' });
    const { code, error } = errorOf(() => pool.writeBlob(id, filled(9)));
    expect([code, (error as Error & { outcome: string }).outcome]).toEqual([
      'STORE_IO',
      'not_applied',
    ]);
    expect([blobValue(pool, id), pool.stats().store.slotsUsed]).toEqual([id, slotsUsed]);
    pool.writeBlob(id, filled(9));
    expect([blobValue(pool, id), pool.evict(id), blobValue(pool, id)]).toEqual([9, true, 9]);
  });

  it('W2D a failed sync poisons: it is never tried again', async () => {
    const { pool, backend } = await openFaulty();
    const [id] = writeBlobs(pool, 1) as [number];
    backend.plan({ operation: 'sync' });
    const { code, error } = errorOf(() => pool.writeBlob(id, filled(9)));
    expect([code, (error as Error & { outcome: string }).outcome]).toEqual(['STORE_IO', 'unknown']);
    const { error: later } = errorOf(() => pool.writeBlob(id, filled(9)));
    expect(later).toMatchObject({ code: 'POISONED', details: { cause: 'STORE_IO' } });
    await pool.close();
  });

  it('I6 a commit whose outcome is unknown poisons', async () => {
    const { pool, backend } = await openFaulty();
    const [id] = writeBlobs(pool, 1) as [number];
    backend.plan({ operation: 'commit', effect: 'failAfter' });
    expect(errorOf(() => pool.deleteBlob(id)).code).toBe('STORE_IO');
    expect(errorOf(() => pool.has(id)).code).toBe('POISONED');
    await pool.close();
  });
});

describe('ids', () => {
  it('go up by one, are never used again over deleting, closing and reopening', async () => {
    const directory = temporaryDirectory();
    const seen: number[] = [];
    for (let life = 0; life < 3; life++) {
      const pool = await openSmall(directory, {});
      const ids = Array.from({ length: 4 }, () => pool.allocate());
      expect(ids).toEqual([0, 1, 2, 3].map((n) => (ids[0] as number) + n));
      expect(ids[0] as number).toBeGreaterThan(seen.at(-1) ?? 0);
      pool.writeBlob(ids[0] as number, filled(1));
      pool.deleteBlob(ids[0] as number);
      seen.push(...ids);
      await pool.close();
    }
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('are unique among threads', async () => {
    const pool = await openSmall();
    const others = [await attachOther(pool), await attachOther(pool), await attachOther(pool)];
    for (const other of others) closeAfterTest(other);
    const ids = Array.from({ length: 3000 }, (_, n) => (others[n % 3] as BufferPool).allocate());
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe('opening', () => {
  it('refuses a directory that is none, and leaves the file alone', async () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, 'mine');
    const { code } = await rejectionOf(BufferPool.open(file, SMALL));
    expect(code).toBe('STORE_IO');
  });

  it('STORE_LOCKED while the directory is open, also in the same process', async () => {
    const directory = temporaryDirectory();
    const pool = await openSmall(directory, {});
    const { code, details } = await rejectionOf(BufferPool.open(directory, SMALL));
    expect([code, details['pid']]).toEqual(['STORE_LOCKED', process.pid]);
    await pool.close();
    await (await BufferPool.open(directory, SMALL)).close();
  });

  it('BLOB_SIZE_MISMATCH for a store of another blob size, which stays as it is', async () => {
    const directory = temporaryDirectory();
    const pool = await openSmall(directory, {});
    const [id] = writeBlobs(pool, 1) as [number];
    await pool.close();
    const { code } = await rejectionOf(BufferPool.open(directory, { ...SMALL, blobBytes: 8192 }));
    expect(code).toBe('BLOB_SIZE_MISMATCH');
    const again = await openSmall(directory, {});
    expect([blobValue(again, id), again.list()]).toEqual([id, [id]]);
  });

  it('takes the blob size of a store that exists when none is given', async () => {
    const directory = temporaryDirectory();
    const pool = await openSmall(directory, {});
    const [id] = writeBlobs(pool, 1) as [number];
    await pool.close();
    const again = await BufferPool.open(directory, { frames: 4 });
    closeAfterTest(again);
    expect([again.blobBytes, blobValue(again, id)]).toEqual([BLOB_BYTES, id]);
  });
});

describe('attaching', () => {
  it('refuses what is not a handle', async () => {
    for (const bad of [undefined, null, {}, { memory: {} }, 7, 'handle']) {
      expect((await rejectionOf(BufferPool.attach(bad as never))).code).toBe('TypeError');
    }
  });

  it('refuses a pool that is closed, and takes no slot of it', async () => {
    const pool = await openSmall();
    await pool.close();
    expect((await rejectionOf(BufferPool.attach(pool.handle))).code).toBe('POOL_CLOSED');
  });

  it('D1 refuses a second place for one thread, which could then wait for itself', async () => {
    const pool = await openSmall();
    expect((await rejectionOf(BufferPool.attach(pool.handle))).code).toBe('ALREADY_ATTACHED');
    expect(pool.stats().threads).toBe(1);
    const other = await attachOther(pool);
    expect((await rejectionOf(BufferPool.attach(pool.handle))).code).toBe('ALREADY_ATTACHED');
    await other.close();
    expect(pool.stats().threads).toBe(1);
  });

  it('refuses an inline pool, which belongs to its thread alone', async () => {
    const { pool } = await openFaulty();
    const { code, error } = await rejectionOf(BufferPool.attach(pool.handle));
    expect([code, /inline/.test(error.message)]).toEqual(['POOL_CLOSED', true]);
    expect(pool.stats().threads).toBe(1);
  });

  it('THREADS_EXHAUSTED when all slots are taken, until one leaves', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const joined: BufferPool[] = [];
    while (joined.length < SLOTS_MAX - 1) joined.push(await attachOther(pool));
    const { code, details } = await rejectionOf(attachOther(pool));
    expect([code, details]).toEqual(['THREADS_EXHAUSTED', { slots: SLOTS_MAX }]);
    // The last slot is as good as any other.
    const last = joined.at(-1) as BufferPool;
    const guard = last.write(id);
    expect(joined[0]?.pin(id).tryRead()).toBeUndefined();
    guard.release();
    await joined.pop()?.close();
    joined.push(await attachOther(pool));
    expect(pool.stats().threads).toBe(SLOTS_MAX);
    for (const other of joined) await other.close();
    expect([pool.stats().threads, pool.stats().pinned]).toEqual([1, 0]);
  });
});
