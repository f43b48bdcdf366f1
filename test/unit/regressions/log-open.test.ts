/** What once went wrong when an opening failed. */
import { expect, it, vi } from 'vitest';
import { rejectionOf } from '../pool/support.ts';
import { afterKill, createRegister, newDisk, openLogged } from './log-support.ts';

it('G1 an opening that fails in its replay leaves no timer behind', async () => {
  const disk = newDisk();
  const pool = await openLogged(disk);
  createRegister(pool, 1);
  pool.durableSync(undefined, 'written');
  const after = await afterKill(disk, pool);
  const started = vi.spyOn(globalThis, 'setInterval');
  const sweep = { intervalMs: 60_000 };
  const { code } = await rejectionOf(openLogged(after, { owners: {}, sweep }));
  expect(code).toBe('REPLAY_FAILED');
  expect(started).not.toHaveBeenCalled();
  started.mockRestore();
  // The store is free again.
  await openLogged(after, { sweep });
});
