/** The log's files against images that are checked in: a change of one needs a new format version. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { decodeSegmentHeader, LOG_BLOCK_BYTES } from '../../../src/wal/format.ts';
import { diskOf, imageOf, payloadOf, STORE_ID, scan, sums, TestLog } from './support.ts';

const FOLDER = join(import.meta.dirname, '../../golden');
const LINE_BYTES = 32;
const SEGMENT_BYTES = 4 * LOG_BLOCK_BYTES;

/** The lines that are not zero, with their offsets. */
function textOf(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += LINE_BYTES) {
    const line = Buffer.from(bytes.subarray(at, at + LINE_BYTES)).toString('hex');
    if (/[1-9a-f]/.test(line)) lines.push(`${at.toString(16).padStart(8, '0')} ${line}`);
  }
  return `${lines.join('\n')}\n`;
}

function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_BYTES);
  for (const line of text.trim().split('\n')) {
    const [offset = '', hex = ''] = line.split(' ');
    bytes.set(Buffer.from(hex, 'hex'), Number.parseInt(offset, 16));
  }
  return bytes;
}

function newLog(epoch = 1, disk = new SimFileSystem()) {
  const log = new TestLog(disk, epoch, 0, SEGMENT_BYTES);
  return { disk, log };
}

/** Names of the images, and the logs whose segment they hold. */
const IMAGES: readonly (readonly [string, () => Uint8Array | undefined])[] = [
  ['wal-v1-empty', () => imageOf(newLog().disk).get('wal-1')],
  [
    'wal-v1-record',
    () => {
      const { disk, log } = newLog();
      log.append(100);
      return imageOf(disk).get('wal-1');
    },
  ],
  [
    'wal-v1-grown',
    () => {
      const { disk, log } = newLog();
      log.append(0, 3, 16);
      log.writer.sync();
      log.append(20);
      log.append(40, 1);
      return imageOf(disk).get('wal-1');
    },
  ],
  [
    'wal-v1-views',
    () => {
      const { disk, log } = newLog();
      const bytes = log.next(200, 300);
      log.writer.append([bytes.subarray(0, 128), bytes.subarray(128)], 0);
      return imageOf(disk).get('wal-1');
    },
  ],
  [
    'wal-v1-trimmed',
    () => {
      const { disk, log } = newLog();
      log.append(7000);
      log.append(6000);
      log.writer.trim(log.writer.sync() - 7000);
      const { log: next } = newLog(2, disk);
      next.append(5);
      return imageOf(disk).get('wal-3');
    },
  ],
];

function golden(name: string): string {
  return readFileSync(join(FOLDER, `${name}.hex`), 'utf8');
}

describe('a segment', () => {
  it.each(IMAGES)('is written byte by byte as %s', (name, make) => {
    expect(textOf(make() as Uint8Array)).toBe(golden(name));
  });

  // The groups of the second one are each what was written at once: earlier writers made it.
  it.each(['wal-v1-grown', 'wal-v1-groups'])('can be read: %s', (name) => {
    const disk = diskOf(new Map([['wal-1', bytesOf(golden(name))]]));
    const { records, end } = scan(disk);
    expect(records.map(({ owner }) => owner)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(records.map(({ payload }) => [...payload])).toEqual(
      [0, 3, 16, 20, 40, 1].map((bytes, index) => [...payloadOf(index + 1, bytes)]),
    );
    expect(end.durableSeq).toBe(records[2]?.seq);
  });

  it('of a trimmed log names the end of the one before', () => {
    const header = decodeSegmentHeader(sums, bytesOf(golden('wal-v1-trimmed')));
    expect(header).toMatchObject({ formatVersion: 1, storeId: STORE_ID, epoch: 2, segment: 3 });
    expect(header?.previous).toMatchObject({ segment: 2 });
    const disk = diskOf(new Map([['wal-3', bytesOf(golden('wal-v1-trimmed'))]]));
    const checkpointSeq = header?.previous.seq ?? 0;
    expect(scan(disk, { checkpointSeq }).records.length).toBe(1);
  });
});
