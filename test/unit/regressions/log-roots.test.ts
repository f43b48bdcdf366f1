/** What once went wrong with roots. */
import { expect, it } from 'vitest';
import { ROOTS_MAX } from '../../../src/generated/layout.ts';
import { errorOf } from '../pool/support.ts';
import { newDisk, openLogged, record } from './log-support.ts';

it('R1 an op that sets more roots than there is room for is refused before its seal', async () => {
  const pool = await openLogged(newDisk());
  const { code } = errorOf(() =>
    pool.change((op) => {
      for (let owner = 0; owner <= ROOTS_MAX; owner++) op.setRoot(owner, owner + 1);
      op.commit(record(0));
    }),
  );
  expect(code).toBe('STORE_FULL');
  expect(pool.root(0)).toBeUndefined();
  pool.change((op) => {
    for (let owner = 0; owner < ROOTS_MAX; owner++) op.setRoot(owner, owner + 1);
    op.commit(record(0));
  });
  pool.change((op) => {
    for (let owner = 0; owner < ROOTS_MAX; owner++) op.setRoot(owner, owner + 2);
    op.commit(record(0));
  });
  const roots = Array.from({ length: ROOTS_MAX }, (_, owner) => pool.root(owner));
  expect(roots).toEqual(roots.map((_, owner) => owner + 2));
});
