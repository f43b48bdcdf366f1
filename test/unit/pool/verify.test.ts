/** `verify(directory)` as users call it: on stores that pools have made. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { verify } from '../../../src/index.ts';
import { contentOf } from '../fs/untouched.ts';
import { flipByte, manifests } from '../store/file-support.ts';
import { change, killed, openLogged } from './logged.ts';
import { BLOB_BYTES, rejectionOf, temporaryDirectory } from './support.ts';

/** Two blobs in the store, one change in the log alone. */
async function newStore() {
  const directory = temporaryDirectory();
  const pool = await openLogged(directory);
  const ids = change(pool, [{ create: 1 }, { create: 2 }]);
  await pool.checkpoint();
  change(pool, [{ put: ids[0] as number, value: 3 }]);
  pool.durableSync(undefined, 'synced');
  return { directory, pool, ids };
}

describe('verify', () => {
  it('finds nothing in a healthy store, counts, and writes nothing', async () => {
    const { directory, pool } = await newStore();
    const copy = killed(directory);
    const before = contentOf(copy);
    const expected = { findings: [], blobs: 2, blobBytes: BLOB_BYTES };
    expect(await verify(copy)).toMatchObject({ ...expected, logRecords: 1 });
    expect(contentOf(copy)).toEqual(before);
    await pool.close();
    expect(await verify(directory)).toMatchObject({ ...expected, logRecords: 0 });
  });

  it('finds a flipped bit in a blob, in the log and in the manifest', async () => {
    const { directory, pool, ids } = await newStore();
    const [blob, log, manifest] = [killed(directory), killed(directory), killed(directory)];
    await pool.close();
    flipByte(join(blob, 'blobs.dat'), BLOB_BYTES + 100);
    expect((await verify(blob)).findings).toMatchObject([
      { code: 'BLOB_CORRUPT', id: ids[1], slot: 1, offset: BLOB_BYTES },
    ]);
    flipByte(join(log, 'wal-1'), 40);
    expect((await verify(log)).findings).toMatchObject([{ code: 'WAL_CORRUPT' }]);
    flipByte(join(manifest, manifests(manifest)[0] as string), 40);
    expect((await verify(manifest)).findings).toMatchObject([{ code: 'MANIFEST_CORRUPT' }]);
  });

  it('is refused beside a writer, and not beside readers', async () => {
    const { directory, pool } = await newStore();
    expect(await rejectionOf(verify(directory))).toMatchObject({
      code: 'STORE_LOCKED',
      details: { pid: process.pid },
    });
    const copy = killed(directory);
    await openLogged(copy, { readOnly: true });
    expect((await verify(copy)).findings).toEqual([]);
    await pool.close();
    expect((await verify(directory)).findings).toEqual([]);
  });

  it('says that there is no store', async () => {
    const empty = temporaryDirectory();
    const missing = join(empty, 'missing');
    writeFileSync(join(empty, 'file'), 'mine');
    for (const path of [empty, missing, join(missing, 'deeper'), join(empty, 'file')]) {
      expect((await verify(path)).findings).toMatchObject([{ code: 'STORE_IO' }]);
    }
    expect(contentOf(empty)).toHaveLength(2);
    for (const path of ['', 5, undefined]) {
      expect(await rejectionOf(verify(path as string))).toMatchObject({ code: 'TypeError' });
    }
  });
});
