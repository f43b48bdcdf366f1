/** What once went wrong while records were done again. */
import { describe, expect, it } from 'vitest';
import {
  afterKill,
  createRegister,
  newDisk,
  openLogged,
  registerValue,
  setRegister,
} from './log-support.ts';

describe('a round in the middle of a replay', () => {
  it('R1 loses none of the records that it made the replay read ahead', async () => {
    const disk = newDisk();
    const pool = await openLogged(disk, { frames: 32 });
    const ids = Array.from({ length: 12 }, (_, n) => createRegister(pool, n + 1));
    for (const [n, id] of ids.entries()) setRegister(pool, id, 100 + n);
    pool.durableSync(undefined, 'synced');
    // Four frames hold a third of the blobs: rounds make room.
    const second = await afterKill(disk, pool);
    const reopened = await openLogged(second);
    expect(ids.map((id) => registerValue(reopened, id))).toEqual(ids.map((_, n) => 100 + n));
    // The cut has moved in between; what it does not contain is done again.
    const again = await openLogged(await afterKill(second, reopened));
    expect(ids.map((id) => registerValue(again, id))).toEqual(ids.map((_, n) => 100 + n));
  });
});
