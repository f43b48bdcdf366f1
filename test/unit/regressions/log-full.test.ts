/** What once went wrong while the log could not be written. */
import { describe, expect, it } from 'vitest';
import { errorOf, rejectionOf } from '../pool/support.ts';
import {
  afterKill,
  createRegister,
  failingLog,
  newDisk,
  openLogged,
  registerValue,
  setRegister,
} from './log-support.ts';

describe('a log on a full disk', () => {
  it('W2D fails the round after a while, and the next one succeeds when there is space', async () => {
    const disk = newDisk();
    const log = failingLog(disk);
    const pool = await openLogged(log.fileSystem);
    const id = createRegister(pool, 1);
    await pool.checkpoint();
    setRegister(pool, id, 2);
    log.failing = 'ENOSPC';
    const { code, error } = await rejectionOf(pool.checkpoint());
    expect(code).toBe('STORE_IO');
    expect(error.message).toMatch(/ENOSPC/);
    expect(pool.dirtyFrames()).toBe(1);
    expect(errorOf(() => pool.durableSync()).code).toBe('STORE_IO');
    log.failing = undefined;
    expect((await pool.checkpoint()).frames).toBe(1);
    const reopened = await openLogged(await afterKill(disk, pool));
    expect(registerValue(reopened, id)).toBe(2);
  });

  it('R1 ends a close with the reason; what was written is there', async () => {
    const disk = newDisk();
    const log = failingLog(disk);
    const pool = await openLogged(log.fileSystem);
    const id = createRegister(pool, 1);
    pool.durableSync(undefined, 'written');
    log.failing = 'ENOSPC';
    setRegister(pool, id, 2);
    const { code, error } = await rejectionOf(pool.close());
    expect(code).toBe('STORE_IO');
    expect(error.message).toMatch(/ENOSPC/);
    const reopened = await openLogged(disk);
    expect(registerValue(reopened, id)).toBe(1);
  });
});
