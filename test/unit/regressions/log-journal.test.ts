/** What once went wrong in the journal. */
import { expect, it } from 'vitest';
import { patched } from '../../../src/harness/faulty-file-system.ts';
import { look } from '../pool/support.ts';
import { createRegister, newDisk, openLogged } from './log-support.ts';

it('W2D who waits for a sync does not wait for those who commit without a pause', async () => {
  const disk = newDisk();
  const logs = new Set<number>();
  let commit = (): void => {};
  let writes = 0;
  const fileSystem = patched(disk, {
    open: (path, flags) => {
      const fd = disk.open(path, flags);
      if (path.includes('/wal-')) logs.add(fd);
      return fd;
    },
    write: (fd, source, position) => {
      if (logs.has(fd)) commit();
      return disk.write(fd, source, position);
    },
  });
  const pool = await openLogged(fileSystem);
  createRegister(pool, 1);
  const { control } = look(pool);
  const other = control.attachSlot(1_000_000, 0, 0);
  commit = () => {
    if (++writes > 50) return;
    expect(control.creditTake(40, other)).toBe(0);
    control.recordBegin(0, 1, 0, 0, 0, other);
    control.recordPublish(other);
  };
  pool.durableSync(undefined, 'synced');
  expect(writes).toBeLessThan(3);
  commit = () => {};
});
