/** What once went wrong with commits and how they are acknowledged. */
import { describe, expect, it } from 'vitest';
import { createRegister, newDisk, openLogged, record, registerValue } from './log-support.ts';

describe('a change of structure alone', () => {
  it('W2D can be asked to be durable: with everything before it', async () => {
    const pool = await openLogged(newDisk());
    const id = createRegister(pool, 1);
    const before = pool.change((op) => {
      op.write(id);
      return op.commit(record(id, 1));
    });
    const seq = pool.change(
      (op) => {
        const blob = op.write(id);
        op.seal();
        blob.u32[1] = 5;
        return op.commit();
      },
      { durability: 'synced' },
    );
    expect(seq).toBeGreaterThanOrEqual(before);
    await pool.durable(seq, 'synced');
    pool.durableSync(seq, 'synced');
    expect(pool.dirtyBlobs()).toEqual([{ id, seq: expect.any(Number) as number }]);
    expect(registerValue(pool, id)).toBe(1);
  });
});
