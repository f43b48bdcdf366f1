/** Checking the log of a store: segments, groups, records, and the ids that they create. */
import { existsSync, mkdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FIRST_RECORD } from '../../../src/store/manifest.ts';
import {
  encodeSegmentHeader,
  GROUP_HEADER_BYTES,
  LOG_BLOCK_BYTES,
} from '../../../src/wal/format.ts';
import { temporaryDirectory } from '../store/support.ts';
import { STORE_ID, sums } from '../wal/support.ts';
import {
  bytesAt,
  flipBit,
  found,
  GROUP_1,
  GROUP_2,
  GROUP_3,
  IN_RECORD,
  newStore,
  overwrite,
  randomBlob,
  SECTOR,
  TestStore,
  verify,
} from './support.ts';

describe('damage of the log', () => {
  it.each([
    ['header of the first segment', 'wal-1', 0, 8],
    ['header of a segment in the middle', 'wal-2', 0, 8],
    ['header of the last segment', 'wal-3', 0, 8],
    ['header of a group', 'wal-2', GROUP_1, 8],
    ['record', 'wal-2', GROUP_2, IN_RECORD],
    ['record below the checkpoint', 'wal-1', GROUP_1, IN_RECORD],
    ['last record of a segment', 'wal-1', GROUP_3, IN_RECORD],
    ['record of the last segment', 'wal-3', GROUP_1, IN_RECORD],
  ])('a flipped bit in the %s is found', async (_, name, offset, inside) => {
    const { directory, path, random } = await newStore();
    flipBit(path(name), offset + inside + random.int(40), random.int(8));
    const findings = await found(directory);
    expect(findings).toMatchObject([{ code: 'WAL_CORRUPT', path: name }]);
    expect(findings).toHaveLength(1);
    const { offset: at } = findings[0] as { offset: number };
    expect([offset, offset + GROUP_HEADER_BYTES]).toContain(at);
  });

  it('a sector of zeros is found, and the records around it are counted', async () => {
    const { directory, path, seqs } = await newStore();
    overwrite(path('wal-2'), GROUP_2, new Uint8Array(SECTOR));
    expect(await found(directory)).toEqual([
      { code: 'WAL_CORRUPT', path: 'wal-2', offset: GROUP_2, seq: seqs[3] },
    ]);
    expect((await verify(directory)).logRecords).toBe(5);
  });

  it('an older block of the file that a segment was made of is found', async () => {
    const directory = temporaryDirectory();
    const path = (name: string) => join(directory, name);
    const store = await TestStore.open(directory);
    for (let n = 0; n < 4; n++) store.append();
    store.log.sync();
    const stale = bytesAt(path('wal-1'), GROUP_2, SECTOR);
    const checkpointSeq = store.seqs[2] as number;
    rmSync(path('wal-spare'), { force: true });
    store.write([], { checkpointSeq });
    store.log.trim(checkpointSeq);
    for (let n = 0; n < 10; n++) store.append();
    await store.close();
    expect(await found(directory)).toEqual([]);
    overwrite(path('wal-3'), GROUP_2, stale);
    expect(await found(directory)).toEqual([
      { code: 'WAL_CORRUPT', path: 'wal-3', offset: GROUP_2, seq: store.seqs[6] },
    ]);
  });

  it('a missing segment is found once', async () => {
    const { directory, path } = await newStore();
    rmSync(path('wal-2'));
    expect(await found(directory)).toMatchObject([
      { code: 'WAL_CORRUPT', path: 'wal-2', offset: 0 },
    ]);
    expect(await found(directory)).toHaveLength(1);
  });

  it('a record in front of a segment that cannot be used is found as well', async () => {
    const { directory, path, seqs } = await newStore();
    flipBit(path('wal-2'), GROUP_1 + IN_RECORD, 5);
    flipBit(path('wal-3'), 40, 5);
    const record = { offset: GROUP_1 + GROUP_HEADER_BYTES, seq: seqs[2] };
    const findings = await found(directory);
    expect(findings).toMatchObject([
      { code: 'WAL_CORRUPT', path: 'wal-3', offset: 0 },
      { code: 'WAL_CORRUPT', path: 'wal-2', ...record },
    ]);
    expect(findings).toHaveLength(2);
  });

  it('what was trimmed is not missed where the manifest cannot be read', async () => {
    const { directory, path } = await newStore();
    const store = await TestStore.open(directory);
    const checkpointSeq = store.append();
    store.append();
    store.write([], { checkpointSeq: store.log.sync() });
    store.log.trim(checkpointSeq);
    await store.close();
    expect(existsSync(path('wal-3'))).toBe(false);
    flipBit(path('manifest-2'), FIRST_RECORD, 0);
    const manifest = { code: 'MANIFEST_CORRUPT', path: 'manifest-2', offset: FIRST_RECORD };
    expect(await found(directory)).toEqual([manifest]);
    flipBit(path('wal-4'), GROUP_1 + IN_RECORD, 0);
    expect(await found(directory)).toMatchObject([manifest, { path: 'wal-4' }]);
  });

  it('a log that is gone is found by the checkpoint', async () => {
    const { directory, path } = await newStore();
    for (const name of ['wal-1', 'wal-2', 'wal-3']) rmSync(path(name));
    const expected = { code: 'WAL_CORRUPT', path: 'wal-1', offset: 0, seq: 0 };
    expect(await found(directory)).toEqual([expected]);
  });

  it('headers that are all damaged are found once each', async () => {
    const { directory, path } = await newStore();
    const names = ['wal-1', 'wal-2', 'wal-3'];
    for (const name of names) flipBit(path(name), 20, 3);
    const findings = (await found(directory)) as { path: string }[];
    expect(findings.map((finding) => finding.path).sort()).toEqual(names);
    rmSync(path('wal-1'));
    expect(await found(directory)).toHaveLength(2);
  });

  it('a segment of another store or under another number is found once', async () => {
    const { directory, path, seqs } = await newStore();
    const whole = readFileSync(path('wal-2'));
    overwrite(path('wal-2'), 0, readFileSync(path('wal-3')).subarray(0, LOG_BLOCK_BYTES));
    const expected = { code: 'WAL_CORRUPT', path: 'wal-2', offset: 0, seq: 0 };
    expect(await found(directory)).toEqual([expected]);
    const header = {
      formatVersion: 1,
      storeId: STORE_ID + 1n,
      epoch: 1,
      segment: 2,
      segmentBytes: whole.length,
      firstPosition: seqs[2] as number,
      previous: { segment: 1, offset: GROUP_3, seq: seqs[2] as number },
    };
    overwrite(path('wal-2'), 0, encodeSegmentHeader(sums, header));
    expect(await found(directory)).toEqual([expected]);
    const future = { ...header, storeId: STORE_ID, formatVersion: 2 };
    overwrite(path('wal-2'), 0, encodeSegmentHeader(sums, future));
    expect(await found(directory)).toEqual([{ code: 'FORMAT_UNSUPPORTED', path: 'wal-2' }]);
  });

  it('a segment that cannot be read is reported', async () => {
    const { directory, path } = await newStore();
    rmSync(path('wal-2'));
    mkdirSync(path('wal-2'));
    expect(await found(directory)).toEqual([{ code: 'STORE_IO', path: 'wal-2' }]);
  });

  it('a segment that is larger than memory is reported', async () => {
    const { directory, path } = await newStore();
    truncateSync(path('wal-2'), 2 ** 42);
    expect(await found(directory)).toEqual([{ code: 'STORE_IO', path: '.' }]);
  });

  it('zeros in place of the last record are the end of the log', async () => {
    const { directory, path } = await newStore();
    overwrite(path('wal-3'), GROUP_2, new Uint8Array(SECTOR));
    expect(await found(directory)).toEqual([]);
    expect((await verify(directory)).logRecords).toBe(5);
  });
});

describe('ids in the log', () => {
  async function appended(created: readonly (readonly number[])[], name = 'wal-4') {
    const { directory } = await newStore();
    const store = await TestStore.open(directory);
    for (const ids of created) store.append({ created: ids });
    await store.close();
    const findings = await found(directory);
    return { findings, seqs: store.seqs, expected: { code: 'ID_REUSED', path: name } };
  }

  it('may be created in any order, and be of a bulk load that is adopted later', async () => {
    const { findings } = await appended([[90, 80], [70], [7, 8, 30, 33]]);
    expect(findings).toEqual([]);
  });

  it('that are created twice are found', async () => {
    const { findings, seqs, expected } = await appended([[50], [51, 50], [12, 52, 52]]);
    expect(findings).toEqual([
      { ...expected, id: 50, seq: seqs[1] },
      { ...expected, id: 12, seq: seqs[2] },
      { ...expected, id: 52, seq: seqs[2] },
    ]);
  });

  it('of a tail that was given up count for nothing', async () => {
    const directory = temporaryDirectory();
    const path = (name: string) => join(directory, name);
    const first = await TestStore.open(directory);
    first.write([]);
    for (const id of [40, 50]) first.append({ created: [id] });
    await first.close();
    const tail = bytesAt(path('wal-1'), GROUP_2, SECTOR);
    overwrite(path('wal-1'), GROUP_2, new Uint8Array(SECTOR));
    await (await TestStore.open(directory)).close();
    const third = await TestStore.open(directory);
    third.append({ created: [50] });
    await third.close();
    overwrite(path('wal-1'), GROUP_2, tail);
    expect(await found(directory)).toEqual([]);
    flipBit(path('wal-2'), 40, 0);
    const findings = await found(directory);
    expect(findings).toMatchObject([{ code: 'WAL_CORRUPT', path: 'wal-2', offset: 0 }]);
    expect(findings).toHaveLength(1);
  });

  it('that were mapped at the checkpoint are found', async () => {
    const { findings, seqs, expected } = await appended([[50], [6]]);
    expect(findings).toEqual([{ ...expected, id: 6, seq: seqs[1] }]);
  });

  it('that no lease covers are found: the end of the manifest is missing', async () => {
    const { findings, seqs, expected } = await appended([[999], [1000, 50]]);
    expect(findings).toEqual([{ ...expected, code: 'ID_NOT_ALLOCATED', id: 1000, seq: seqs[1] }]);
  });

  it('of a bulk load are mapped although a record creates them', async () => {
    const { directory, random } = await newStore();
    const store = await TestStore.open(directory);
    store.write([
      { id: 30, slot: 10, bytes: randomBlob(random) },
      { id: 33, slot: 11, bytes: randomBlob(random) },
    ]);
    store.append({ created: [30, 33] });
    await store.close();
    expect(await found(directory)).toEqual([]);
  });
});
