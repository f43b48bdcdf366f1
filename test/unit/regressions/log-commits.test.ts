/** What once went wrong with commits and how they are acknowledged. */
import { describe, expect, it } from 'vitest';
import { H_CHECKPOINTER, H_JOURNAL } from '../../../src/generated/layout.ts';
import { look, temporaryDirectory } from '../pool/support.ts';
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

describe('the share of an op', () => {
  it('D1 does not count journal and checkpointer, also while they are starting', async () => {
    const pool = await openLogged(undefined, { threads: 'workers' }, temporaryDirectory());
    const createTwo = (): void => {
      pool.change((op) => {
        op.create();
        op.create();
        op.commit(record(0, 0));
      });
    };
    createTwo();
    const memory = look(pool);
    const isIn = (): boolean => memory.load(H_JOURNAL) !== 0 && memory.load(H_CHECKPOINTER) !== 0;
    await expect.poll(isIn, { timeout: 5000 }).toBe(true);
    const places = [H_JOURNAL, H_CHECKPOINTER].map((word) => [word, memory.load(word)] as const);
    // Attached, and not yet where others know them.
    for (const [word] of places) memory.store(word, 0);
    try {
      createTwo();
    } finally {
      for (const [word, place] of places) memory.store(word, place);
    }
  });
});
