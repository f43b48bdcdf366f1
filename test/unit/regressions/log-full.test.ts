/** What once went wrong while the log could not be written. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { H_LOG_DISK_BYTES, H_LOG_FAILING } from '../../../src/generated/layout.ts';
import { patched, systemError } from '../../../src/harness/faulty-file-system.ts';
import { errorOf, look, rejectionOf } from '../pool/support.ts';
import {
  afterKill,
  BRIEF,
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
    const pool = await openLogged(log.fileSystem, BRIEF);
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
    const pool = await openLogged(log.fileSystem, BRIEF);
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

describe('a spare that cannot be made', () => {
  it('W2D holds up no commit, and is not tried with each of them', async () => {
    const disk = newDisk();
    let full = false;
    let attempts = 0;
    const fileSystem = patched(disk, {
      open: (path, flags) => {
        if (full && path.endsWith('.tmp')) {
          attempts++;
          throw systemError('ENOSPC');
        }
        return disk.open(path, flags);
      },
    });
    const log = { ringBytes: 16384, segmentBytes: 16384, bytesMax: 1 << 20 };
    const pool = await openLogged(fileSystem, { log });
    const id = createRegister(pool, 0);
    const memory = look(pool);
    // The clock stands still, so that it is known what is due.
    const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now());
    onTestFinished(() => clock.mockRestore());
    full = true;
    // The segment is full after three groups: the spare becomes the next one.
    for (let value = 1; value <= 5; value++) {
      setRegister(pool, id, value);
      pool.durableSync(undefined, 'synced');
      expect(memory.load(H_LOG_FAILING), `after commit ${value}`).toBe(0);
    }
    expect(attempts).toBe(1);
    full = false;
    const bytes = memory.loadU64(H_LOG_DISK_BYTES);
    clock.mockReturnValue(performance.now() + 60_000);
    setRegister(pool, id, 6);
    pool.durableSync(undefined, 'synced');
    setRegister(pool, id, 7);
    pool.durableSync(undefined, 'written');
    expect(memory.loadU64(H_LOG_DISK_BYTES)).toBeGreaterThan(bytes);
  });
});
