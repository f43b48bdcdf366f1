/** What makes a log fast that is written without a pause: direct writes, segments that are kept. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type FileSystem, nodeFileSystem } from '../../../src/fs/file-system.ts';
import { DIRECT } from '../../../src/fs/files.ts';
import { faultyFileSystem } from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { LogWriter } from '../../../src/wal/segment-writer.ts';
import { accessTo, imageOf, recordAt, SEGMENT_BYTES, STORE_ID, scan, sums } from './support.ts';

const EMPTY_END = scan(new SimFileSystem()).end;

function writerOn(fs: FileSystem, directory: string, more: object, segmentBytes: number) {
  const access = accessTo(fs, directory);
  const parts = { access, sums, storeId: STORE_ID, epoch: 1, segmentBytes, recordBytesMax: 16_384 };
  return LogWriter.open({ ...parts, ...more }, EMPTY_END, 0);
}

function append(writer: LogWriter, n: number, payloadBytes: number): number {
  const position = writer.writtenSeq;
  return writer.append([recordAt(position, 1, n, payloadBytes)], position);
}

describe('large groups', () => {
  const SEGMENT = 4 * 1024 * 1024;

  function written(fs: FileSystem, directory: string, directWrites: boolean): Buffer {
    const writer = writerOn(fs, directory, { directWrites }, SEGMENT);
    const records: Uint8Array[] = [];
    let position = 0;
    for (let n = 1; position < 1_400_000; n++) {
      const record = recordAt(position, 1, n, (n * 977) % 15_000);
      records.push(record);
      position += record.length;
    }
    const bytes = Buffer.concat(records);
    // In two views, in one that is small enough for the cache, and in one that ends a block.
    writer.append([bytes.subarray(0, 400_000), bytes.subarray(400_000)], 0);
    append(writer, 1, 100);
    append(writer, 2, 4096 - 64 - 40);
    writer.close();
    return Buffer.from(imageOf(fs, directory).get('wal-1') as Uint8Array);
  }

  it('are the same bytes past the cache of the system and through it, and where that is refused', () => {
    const root = mkdtempSync(join(tmpdir(), 'weirpool-wal-'));
    onTestFinished(() => rmSync(root, { recursive: true, force: true }));
    const expected = written(new SimFileSystem(), '/sim', false);
    expect(written(nodeFileSystem, root, true).equals(expected)).toBe(true);
    const refusing: FileSystem = {
      ...new Proxy(nodeFileSystem, {}),
      open: (path, flags, mode) => {
        if (DIRECT !== undefined && (flags & DIRECT) !== 0) {
          throw Object.assign(new Error('refused'), { code: 'EINVAL' });
        }
        return nodeFileSystem.open(path, flags, mode);
      },
    };
    const other = mkdtempSync(join(tmpdir(), 'weirpool-wal-'));
    onTestFinished(() => rmSync(other, { recursive: true, force: true }));
    expect(written(refusing, other, true).equals(expected)).toBe(true);
  });

  it('are tried again through the cache when a write past it is refused', () => {
    const disk = new SimFileSystem();
    const fs = faultyFileSystem(disk);
    const writer = writerOn(fs, '/sim', { directWrites: true }, SEGMENT);
    let left = 1;
    fs.plan = ({ operation }) => (operation === 'write' && left-- > 0 ? 'EINVAL' : undefined);
    const records: Uint8Array[] = [];
    let position = 0;
    for (let n = 1; n <= 30; n++) {
      const record = recordAt(position, 1, n, 15_000);
      records.push(record);
      position += record.length;
    }
    expect(writer.append([Buffer.concat(records)], 0)).toBe(position);
    writer.close();
    expect(scan(disk).records.map(({ owner }) => owner)).toEqual(records.map((_, n) => n + 1));
  });
});

describe('trimmed segments', () => {
  const names = (disk: SimFileSystem) =>
    disk
      .list('/sim')
      .filter((name) => /\d/.test(name))
      .sort();

  it('I2 are written over by later ones, as many as are to be kept, and never read again', () => {
    const disk = new SimFileSystem();
    const fs = faultyFileSystem(disk);
    const writer = writerOn(fs, '/sim', { keptMax: 2 }, SEGMENT_BYTES);
    for (let n = 1; n <= 5; n++) append(writer, n, 15_000);
    writer.trim(writer.sync());
    // One became the spare, or stayed the one that was there; two are kept, the rest is gone.
    expect(writer.stats).toMatchObject({ sparePresent: true, segments: 3 });
    expect(writer.stats.bytesOnDisk).toBe(4 * SEGMENT_BYTES);
    const before = fs.calls.length;
    const seqs: number[] = [];
    for (let n = 6; n <= 8; n++) {
      seqs.push(append(writer, n, 15_000));
      writer.prepareSpare();
    }
    const made = fs.calls.slice(before).filter(({ path }) => path?.endsWith('.tmp'));
    expect(made.length).toBeGreaterThan(0);
    expect(made.every(({ operation }) => operation !== 'unlink')).toBe(true);
    const reused = fs.calls.slice(before).filter(({ operation }) => operation === 'rename');
    // Three segments from the spare; two spares from what was kept, one made anew.
    expect(reused.length).toBe(6);
    writer.sync();
    const { records } = scan(disk, { checkpointSeq: seqs[0] as number });
    expect(records.map(({ owner }) => owner)).toEqual([7, 8]);
    expect(names(disk).length).toBe(4);
  });

  it('are not kept unless that is asked for', () => {
    const disk = new SimFileSystem();
    const writer = writerOn(disk, '/sim', {}, SEGMENT_BYTES);
    for (let n = 1; n <= 5; n++) append(writer, n, 15_000);
    writer.trim(writer.sync());
    expect(names(disk)).toEqual(['wal-5']);
  });
});
