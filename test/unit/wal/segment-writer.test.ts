/** Writing the log: groups, views, segments, the spare, trimming, failures. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type FileSystem, nodeFileSystem } from '../../../src/fs/file-system.ts';
import { faultyFileSystem, systemError } from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { LOG_BLOCK_BYTES, RING_BYTES_MAX, segmentBytesFor } from '../../../src/wal/format.ts';
import { LogReader } from '../../../src/wal/reader.ts';
import { defaultSegmentBytes, LogWriter } from '../../../src/wal/segment-writer.ts';
import { errorFrom } from '../store/support.ts';
import {
  accessTo,
  imageOf,
  payloadOf,
  readerOf,
  recordAt,
  SEGMENT_BYTES,
  STORE_ID,
  scan,
  sums,
  TestLog,
} from './support.ts';

function failing() {
  const disk = new SimFileSystem();
  const fs = faultyFileSystem(disk);
  const log = new TestLog(fs);
  const fail = (operation: string, times = 1, errno = 'EIO'): void => {
    let left = times;
    fs.plan = (call) => (call.operation === operation && left-- > 0 ? errno : undefined);
  };
  return { disk, fs, log, fail };
}

describe('an append', () => {
  it('gives the same bytes for one view and for two, wherever they are cut', () => {
    const images = [0, 8, 48, 104, 160].map((cut) => {
      const disk = new SimFileSystem();
      const log = new TestLog(disk);
      const shared = new Uint8Array(new SharedArrayBuffer(4096));
      const bytes = log.next(0, 100, 8);
      shared.set(bytes);
      const whole = shared.subarray(0, bytes.length);
      log.writer.append([whole.subarray(0, cut), whole.subarray(cut)], 0);
      return imageOf(disk).get('wal-1');
    });
    for (const image of images) expect(image).toEqual(images[0]);
  });

  it('writes groups that are larger than what is copied together', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk, 1, 0, 64 * LOG_BLOCK_BYTES);
    const bytes = log.next(...Array.from({ length: 10 }, () => 9000));
    log.writer.append([bytes.subarray(0, 80_000), bytes.subarray(80_000)], 0);
    log.append(70_000);
    const { records } = scan(disk);
    expect(records.map(({ seq }) => seq)).toEqual(log.seqs);
    expect(
      records.every(({ owner, payload }) =>
        payloadOf(owner, payload.length).every((byte, at) => byte === payload[at]),
      ),
    ).toBe(true);
    expect(imageOf(disk).get('wal-1')?.length).toBe(64 * LOG_BLOCK_BYTES);
  });

  it('splits what does not fit between records, never within one', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    const bytes = log.next(...Array.from({ length: 30 }, () => 3000));
    const seq = log.writer.append([bytes.subarray(0, 4008), bytes.subarray(4008)], 0);
    expect(seq).toBe(bytes.length);
    expect(log.writer.stats.segments).toBeGreaterThan(4);
    expect(scan(disk).records.map((record) => record.seq)).toEqual(log.seqs);
    expect(log.writer.durableSeq).toBeLessThan(seq);
    expect(log.writer.sync()).toBe(seq);
  });

  it('22 is refused out of order, in parts of a record, and when no segment holds it', () => {
    const log = new TestLog(new SimFileSystem());
    const bytes = log.next(100);
    expect(() => log.writer.append([bytes], 8)).toThrow(RangeError);
    expect(() => log.writer.append([bytes.subarray(1)], 0)).toThrow(TypeError);
    expect(() => log.writer.append([new Uint8Array(SEGMENT_BYTES)], 0)).toThrow(TypeError);
    const error = errorFrom(() => log.writer.append([recordAt(0, 1, 1, SEGMENT_BYTES)], 0));
    expect(error).toMatchObject({ code: 'RECORD_TOO_LARGE', outcome: 'not_applied' });
    expect(log.writer.writtenSeq).toBe(0);
    expect(log.writer.append([bytes], 0)).toBe(bytes.length);
  });

  it('19 may be repeated at the same place after a write that failed', () => {
    const { disk, log, fail } = failing();
    const bytes = log.next(10, 20);
    fail('write');
    const error = errorFrom(() => log.writer.append([bytes], 0));
    expect(error).toMatchObject({ code: 'STORE_IO', outcome: 'not_applied' });
    expect(log.writer.writtenSeq).toBe(0);
    log.writer.append([bytes], 0);
    expect(scan(disk).records.map(({ seq }) => seq)).toEqual(log.seqs);
  });
});

/** The segment, from its first group on. */
function groupsOf(disk: SimFileSystem): Uint8Array {
  return (imageOf(disk).get('wal-1') as Uint8Array).slice(LOG_BLOCK_BYTES);
}

function seqsIn(disk: FileSystem): number[] {
  return scan(disk).records.map(({ seq }) => seq);
}

describe('the last group', () => {
  it('takes more records as long as a block holds them', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    for (const bytes of [10, 20, 2000, 1000]) log.append(bytes);
    expect(log.writer.stats.freeBytes).toBe(SEGMENT_BYTES - 2 * LOG_BLOCK_BYTES);
    expect(seqsIn(disk)).toEqual(log.seqs);
    log.append(700, 1000, 3000);
    expect(log.writer.stats.freeBytes).toBe(SEGMENT_BYTES - 4 * LOG_BLOCK_BYTES);
    expect(seqsIn(disk)).toEqual(log.seqs);
    log.append(1);
    expect(seqsIn(disk)).toEqual(log.seqs);
  });

  it('is never written again once a sync has covered it', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    log.append(10);
    log.append(20);
    log.writer.sync();
    const synced = groupsOf(disk).slice(0, LOG_BLOCK_BYTES);
    log.append(30);
    log.append(40);
    const now = groupsOf(disk);
    expect(now.slice(0, LOG_BLOCK_BYTES)).toEqual(synced);
    expect(now[LOG_BLOCK_BYTES]).not.toBe(0);
    expect(seqsIn(disk)).toEqual(log.seqs);
  });

  it('keeps the records before wherever a write of more is torn', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    log.append(700, 10);
    const before = groupsOf(disk);
    const kept = [...log.seqs];
    log.append(900);
    log.append(500, 600);
    const after = groupsOf(disk);
    const torn = imageOf(disk);
    const bytes = torn.get('wal-1') as Uint8Array;
    const check = (mixed: Uint8Array): void => {
      bytes.set(mixed, LOG_BLOCK_BYTES);
      const seqs = seqsIn(readerOf(torn));
      expect(seqs).toEqual(log.seqs.slice(0, Math.max(seqs.length, kept.length)));
    };
    const SECTOR = 512;
    for (let cut = SECTOR; cut < LOG_BLOCK_BYTES; cut += 8) {
      check(Buffer.concat([after.subarray(0, cut), before.subarray(cut)]));
      check(Buffer.concat([before.subarray(0, cut), after.subarray(cut)]));
    }
    for (let sectors = 0; sectors < 2 ** (LOG_BLOCK_BYTES / SECTOR); sectors++) {
      const mixed = before.slice();
      for (let at = 0; at < LOG_BLOCK_BYTES; at += SECTOR) {
        if ((sectors >> (at / SECTOR)) & 1) mixed.set(after.subarray(at, at + SECTOR), at);
      }
      check(mixed);
    }
  });

  it.each([
    [
      'an append of nothing',
      (log: TestLog) => log.writer.append([log.next()], log.writer.writtenSeq),
    ],
    ['a sync', (log: TestLog) => log.writer.sync()],
    ['more than it takes', () => undefined],
  ])('19 has no record behind the last one when a write of more has failed: %s', (_, then) => {
    const disk = new SimFileSystem();
    // Everything is written, and the call fails all the same.
    const late = faultyFileSystem(disk);
    const log = new TestLog(late);
    log.append(100);
    const from = log.writer.writtenSeq;
    const more = log.next(200, 300);
    const write = late.write.bind(late);
    late.write = (...args) => {
      write(...args);
      throw systemError('EIO');
    };
    expect(errorFrom(() => log.writer.append([more], from))['code']).toBe('STORE_IO');
    late.write = write;
    expect(log.writer.writtenSeq).toBe(from);
    then(log);
    // Other records than before: the ring may hold less, or more, than the failed write was given.
    const seqs = log.seqs.slice(0, 1);
    log.seqs.splice(1);
    const large = log.next(3900);
    log.writer.append([large], from);
    log.writer.sync();
    expect(seqsIn(disk)).toEqual([...seqs, from + large.length]);
  });
});

describe('a sync', () => {
  it('that failed is never repeated: the writer has stopped', () => {
    const { log, fail, fs } = failing();
    log.append(10);
    fail('syncData');
    const error = errorFrom(() => log.writer.sync());
    expect(error).toMatchObject({ code: 'STORE_IO', outcome: 'unknown' });
    expect(log.writer.stopped).toBe(true);
    expect(log.writer.durableSeq).toBe(0);
    const calls = fs.calls.length;
    expect(errorFrom(() => log.writer.sync())['code']).toBe('STORE_IO');
    expect(errorFrom(() => log.append(10))['code']).toBe('STORE_IO');
    expect(fs.calls.length).toBe(calls);
  });

  it('of the old segment comes before the next one gets its header', () => {
    const { log, fs } = failing();
    log.append(15_000);
    log.writer.prepareSpare();
    fs.calls.length = 0;
    log.append(15_000);
    const operations = fs.calls.map(({ operation }) => operation);
    const [sync, write] = [operations.indexOf('syncData'), operations.indexOf('write')];
    expect(sync).toBeGreaterThanOrEqual(0);
    expect(sync).toBeLessThan(write);
    // Header, its sync, name, sync of the directory, and only then the group.
    expect(operations.slice(write)).toEqual([
      'write',
      'syncData',
      'rename',
      'open',
      'syncAll',
      'close',
      'close',
      'write',
    ]);
  });

  it('21 of a close covers everything that was appended', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    log.append(10);
    const seq = log.append(20);
    expect(log.writer.close()).toBe(seq);
    const lost = disk.afterCrash((end) => (end === 2 ? 1 : 0));
    expect(scan(lost, { durableSeq: seq }).records.length).toBe(2);
  });
});

describe('an opening', () => {
  it('20 begins above every seq that may have been given before', () => {
    const disk = new SimFileSystem();
    const first = new TestLog(disk);
    first.append(10);
    const second = new TestLog(disk, 2);
    expect(second.writer.writtenSeq).toBe(SEGMENT_BYTES + RING_BYTES_MAX);
    second.append(20);
    const third = new TestLog(disk, 3);
    expect(third.writer.writtenSeq).toBe(2 * (SEGMENT_BYTES + RING_BYTES_MAX));
    expect(scan(disk).records.map(({ seq }) => seq)).toEqual([...first.seqs, ...second.seqs]);
    expect(third.writer.recordBytesAbove(0)).toBe(72 + 80);
    expect(third.writer.recordBytesAbove(first.seqs[0] as number)).toBe(80);
  });

  it('17 does not write to an old segment but what it has found there', () => {
    const disk = new SimFileSystem();
    new TestLog(disk).append(10, 100);
    const before = imageOf(disk).get('wal-1');
    new TestLog(disk, 2).append(7);
    expect(imageOf(disk).get('wal-1')).toEqual(before);
  });

  it('is refused with an epoch that was there, or segments that hold no record', () => {
    const disk = new SimFileSystem();
    new TestLog(disk, 5).append(10);
    expect(errorFrom(() => new TestLog(disk, 5))['code']).toBe('WAL_CORRUPT');
    const { end } = scan(disk);
    const recordBytesMax = 32 * 1024 * 1024;
    const parts = { access: accessTo(disk), sums, storeId: STORE_ID, epoch: 6, recordBytesMax };
    const larger = { ...parts, recordBytesMax: 3 * recordBytesMax };
    expect(() => LogWriter.open(larger, end, 0)).toThrow(RangeError);
    expect(defaultSegmentBytes(recordBytesMax)).toBe(4 * recordBytesMax);
    expect(defaultSegmentBytes(4 * 1024 * 1024)).toBe(16 * 1024 * 1024);
    const segmentBytes = segmentBytesFor(recordBytesMax) - LOG_BLOCK_BYTES;
    expect(() => LogWriter.open({ ...parts, segmentBytes }, end, 0)).toThrow(RangeError);
  });

  it('replaces a spare of another size and removes what was being made', () => {
    const disk = new SimFileSystem();
    new TestLog(disk);
    disk.open('/sim/wal-0123456789ab.tmp', 0o102);
    new TestLog(disk, 2, 0, 2 * SEGMENT_BYTES);
    const image = imageOf(disk);
    expect([...image.keys()].filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect(image.get('wal-spare')?.length).toBe(2 * SEGMENT_BYTES);
    expect(image.get('wal-2')?.length).toBe(2 * SEGMENT_BYTES);
  });

  it('works on a full disk as long as the spare is there', () => {
    const disk = new SimFileSystem();
    new TestLog(disk).append(10);
    const fs = faultyFileSystem(disk, ({ path }) =>
      path?.endsWith('.tmp') ? 'ENOSPC' : undefined,
    );
    const log = new TestLog(fs, 2);
    expect(log.writer.stats.sparePresent).toBe(false);
    log.append(15_000);
    expect(errorFrom(() => log.append(15_000))['code']).toBe('STORE_IO');
    const s = log.writer.sync();
    log.writer.trim(s);
    expect(log.writer.stats).toMatchObject({ sparePresent: true, segments: 1 });
    log.seqs.pop();
    log.append(15_000);
    expect(log.writer.stats.segments).toBe(2);
  });
});

describe('trimming', () => {
  it('I2 drops only what lies wholly at or below the checkpoint, and keeps the current segment', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    for (let n = 0; n < 4; n++) log.append(15_000);
    const durable = log.writer.sync();
    const names = () => disk.list('/sim').filter((name) => /\d/.test(name));
    log.writer.trim((log.seqs[0] as number) - 8);
    expect(names().length).toBe(4);
    log.writer.trim(log.seqs[1] as number);
    expect(names().sort()).toEqual(['wal-3', 'wal-4']);
    log.writer.trim(durable);
    expect(names()).toEqual(['wal-4']);
    expect(log.writer.stats).toEqual({
      bytesOnDisk: 2 * SEGMENT_BYTES,
      segments: 1,
      sparePresent: true,
      freeBytes: SEGMENT_BYTES - 5 * LOG_BLOCK_BYTES,
      writtenSeq: durable,
      durableSeq: durable,
    });
    expect(() => log.writer.trim(durable + 8)).toThrow(RangeError);
    expect(scan(disk, { checkpointSeq: durable }).records).toEqual([]);
  });

  it('reuses a segment without taking its old bytes for new ones', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    for (let n = 0; n < 6; n++) {
      log.append(8000, 7000);
      log.writer.sync();
      log.writer.trim((log.seqs.at(-3) as number | undefined) ?? 0);
    }
    log.append(1);
    const { records } = scan(disk, { checkpointSeq: log.seqs.at(-2) as number });
    expect(records.map(({ seq }) => seq)).toEqual(log.seqs.slice(-1));
    const again = new TestLog(disk, 2, log.seqs.at(-2) as number);
    again.append(2);
    const all = scan(disk, { checkpointSeq: log.seqs.at(-2) as number }).records;
    expect(all.map(({ seq }) => seq)).toEqual([log.seqs.at(-1), again.seqs[0]]);
  });

  it('goes on after a call that failed, and stops the writer when the directory is in doubt', () => {
    const { log, fail } = failing();
    for (let n = 0; n < 4; n++) log.append(15_000);
    const s = log.writer.sync();
    fail('rename');
    expect(errorFrom(() => log.writer.trim(s))['outcome']).toBe('not_applied');
    log.writer.trim(s);
    expect(log.writer.stats.segments).toBe(1);
    log.append(15_000);
    fail('syncAll');
    expect(errorFrom(() => log.writer.trim(log.writer.sync()))['outcome']).toBe('unknown');
    expect(log.writer.stopped).toBe(true);
  });
});

describe('on a real file system', () => {
  it('R1 the log is there after reopening', () => {
    const directory = mkdtempSync(join(tmpdir(), 'weirpool-wal-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const access = accessTo(nodeFileSystem, directory);
    const source = { access, sums, storeId: STORE_ID, checkpointSeq: 0 };
    const open = (epoch: number) => {
      const reader = new LogReader(source);
      const found = [...reader.records()];
      const sizes = { segmentBytes: SEGMENT_BYTES, recordBytesMax: 8192 };
      const parts = { access, sums, storeId: STORE_ID, epoch, ...sizes };
      return { found, writer: LogWriter.open(parts, reader.end, 0) };
    };
    const { writer } = open(1);
    for (let n = 1; n <= 20; n++) {
      const position = writer.writtenSeq;
      writer.append([recordAt(position, 1, n, n * 200)], position);
    }
    const seq = writer.close();
    const { found, writer: next } = open(2);
    expect(found.length).toBe(20);
    expect(found.at(-1)?.seq).toBe(seq);
    next.abandon();
  });
});
