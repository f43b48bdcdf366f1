/** What once went wrong when a pool with a log was closed. */
import { describe, expect, it } from 'vitest';
import { errorOf, rejectionOf } from '../pool/support.ts';
import { createRegister, newDisk, openLogged, record, registerValue } from './log-support.ts';

describe('close', () => {
  it('R1 lets go of a store whose pool this thread has poisoned in the middle of a change', async () => {
    const disk = newDisk();
    const pool = await openLogged(disk);
    const id = createRegister(pool, 1);
    const { code } = errorOf(() =>
      pool.change((op) => {
        const blob = op.write(id);
        op.seal(8);
        blob.u32[0] = 2;
        throw new Error('in the middle');
      }),
    );
    expect(code).toBe('Error');
    // The latch of the half changed blob stays, and nobody can give it back.
    await pool.close();
    const reopened = await openLogged(disk);
    expect(registerValue(reopened, id)).toBe(1);
  });

  it('G1 is refused while this thread has a mini-transaction of nothing but new blobs', async () => {
    const pool = await openLogged(newDisk());
    createRegister(pool, 1); // leases ids
    const op = pool.begin();
    const blob = op.create();
    expect((await rejectionOf(pool.close())).code).toBe('TX_NESTED');
    op.seal(8);
    expect((await rejectionOf(pool.close())).code).toBe('TX_NESTED');
    blob.u32[0] = 7;
    op.commit(record(0, 7));
    expect(registerValue(pool, blob.id)).toBe(7);
    await pool.close();
  });

  it('D1 a round is refused where its thread would wait for itself', async () => {
    const pool = await openLogged(newDisk());
    createRegister(pool, 1); // leases ids
    const op = pool.begin();
    op.create();
    op.seal(8);
    expect((await rejectionOf(pool.checkpoint())).code).toBe('TX_NESTED');
    expect(errorOf(() => pool.durableSync(0)).code).toBe('LATCH_HELD');
    op.commit(record(0, 7));
    await pool.checkpoint();
  });
});
