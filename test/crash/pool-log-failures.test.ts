/** What a pool says and does when its log cannot be written. */
import { describe, expect, it } from 'vitest';
import { faultyFileSystem } from '../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { takeHangs, underStepClock } from '../../src/harness/step-clock.ts';
import type { BufferPool } from '../../src/index.ts';
import { openPool } from './pool/session.ts';

async function openOnFaulty() {
  const fs = faultyFileSystem(new SimFileSystem());
  return { fs, pool: await openPool(fs, []) };
}

function change(pool: BufferPool, bytes: number): number {
  return pool.change(
    (op) => {
      const blob = op.create();
      op.seal(bytes);
      blob.u32[0] = 1;
      return op.commit(new Uint8Array(bytes));
    },
    { owner: 1 },
  );
}

describe('a pool that cannot write its log', () => {
  it('tells who closes it which records may be missing after a failed sync', async () => {
    const { fs, pool } = await openOnFaulty();
    const seq = change(pool, 100);
    fs.plan = ({ operation }) => (operation === 'syncData' ? 'EIO' : undefined);
    expect(() => pool.durableSync(seq, 'synced')).toThrow(/POISONED|has stopped/);
    const closing = pool.close();
    await expect(closing).rejects.toMatchObject({
      code: 'POISONED',
      cause: { code: 'STORE_IO' },
      details: { durableSeq: 0, lastSeq: seq },
    });
  });

  it('closes without an error when everything was safe before it stopped', async () => {
    const { fs, pool } = await openOnFaulty();
    pool.durableSync(change(pool, 100), 'synced');
    fs.plan = ({ operation }) => (operation === 'syncData' ? 'EIO' : undefined);
    await expect(pool.checkpoint()).rejects.toMatchObject({ code: 'STORE_IO' });
    await pool.close();
  });

  it('ends a round with an error instead of waiting for a full disk for ever', async () => {
    await underStepClock(async () => {
      const { fs, pool } = await openOnFaulty();
      fs.plan = ({ operation, file }) =>
        operation === 'write' && file?.includes('wal-') === true ? 'ENOSPC' : undefined;
      change(pool, 8000);
      const failing = pool.checkpoint();
      await expect(failing).rejects.toMatchObject({ code: 'STORE_IO', outcome: 'not_applied' });
      expect(takeHangs()).toEqual([]);
      fs.plan = () => undefined;
      await pool.checkpoint();
      expect(pool.dirtyFrames()).toBe(0);
      await pool.close();
    });
  });
});
