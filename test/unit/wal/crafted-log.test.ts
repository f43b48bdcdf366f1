/** Logs with valid checksums that no writer makes: reading comes to its end, and refuses them. */
import { describe, expect, it } from 'vitest';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import {
  decodeGroupHeader,
  decodeSegmentHeader,
  encodeGroupHeader,
  encodeSegmentHeader,
  GROUP_HEADER_BYTES,
  LOG_BLOCK_BYTES,
  type SegmentHeader,
  viewOf,
} from '../../../src/wal/format.ts';
import { codeOf, type Image, imageOf, readerOf, STORE_ID, scan, sums, TestLog } from './support.ts';

/** Two openings, a segment each. */
function twoSegments(): Image {
  const disk = new SimFileSystem();
  for (const epoch of [1, 2]) {
    const log = new TestLog(disk, epoch);
    log.append(100, 200);
    log.writer.sync();
  }
  return imageOf(disk);
}

function withHeader(image: Image, name: string, change: Partial<SegmentHeader>): Image {
  const bytes = Uint8Array.from(image.get(name) as Uint8Array);
  const header = decodeSegmentHeader(sums, bytes) as SegmentHeader;
  bytes.set(encodeSegmentHeader(sums, { ...header, ...change }));
  return new Map(image).set(name, bytes);
}

/** As `encodeGroupHeader`, for numbers that it does not take. */
function withDurable(image: Image, name: string, durable: bigint): Image {
  const bytes = Uint8Array.from(image.get(name) as Uint8Array);
  const seed = sums.seed(STORE_ID, 0);
  const place = { segment: 2, offset: LOG_BLOCK_BYTES };
  const header = decodeGroupHeader(sums, seed, bytes, place);
  if (header === undefined) throw new Error('no group');
  const group = bytes.subarray(LOG_BLOCK_BYTES, LOG_BLOCK_BYTES + GROUP_HEADER_BYTES);
  encodeGroupHeader(sums, seed, group, header);
  viewOf(group).setBigUint64(48, durable, true);
  viewOf(group).setBigUint64(0, sums.of(group.subarray(8), seed), true);
  return new Map(image).set(name, bytes);
}

describe('a crafted log', () => {
  it.each([2, 3, 2 ** 40])('of a segment that names %i as the one before is refused', (segment) => {
    const previous = { segment, offset: LOG_BLOCK_BYTES, seq: 2 ** 30 };
    const image = withHeader(twoSegments(), 'wal-2', { previous });
    expect(codeOf(() => scan(readerOf(image)))).toBe('WAL_CORRUPT');
    // It went round in a circle, and took more memory each time.
    const { records, reader } = scan(readerOf(image), { salvage: true, checkAll: true });
    expect(reader.problems.length).toBeGreaterThan(0);
    expect(records.length).toBeLessThanOrEqual(4);
  });

  it('of a header whose numbers are none is refused', () => {
    const image = twoSegments();
    const bytes = Uint8Array.from(image.get('wal-2') as Uint8Array);
    viewOf(bytes).setBigUint64(72, 2n ** 60n, true);
    const sum = sums.of(bytes.subarray(0, LOG_BLOCK_BYTES - 8), sums.seed(STORE_ID, 0));
    viewOf(bytes).setBigUint64(LOG_BLOCK_BYTES - 8, sum, true);
    image.set('wal-2', bytes);
    expect(codeOf(() => scan(readerOf(image)))).toBe('WAL_CORRUPT');
  });

  it('of a group whose durable seq is no number hides no hole behind it', () => {
    const image = withDurable(twoSegments(), 'wal-2', 2n ** 60n);
    const all = scan(readerOf(twoSegments())).end.place.seq;
    expect(codeOf(() => scan(readerOf(image), { durableSeq: all }))).toBe('WAL_CORRUPT');
    expect(scan(readerOf(image)).end.durableSeq).toBeLessThan(all);
  });
});
