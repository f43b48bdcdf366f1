/** Reading a log that is whole, torn, cut, damaged, or not all there. */
import { describe, expect, it } from 'vitest';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { encodeSegmentHeader, LOG_BLOCK_BYTES } from '../../../src/wal/format.ts';
import { errorFrom } from '../store/support.ts';
import {
  codeOf,
  diskOf,
  type Image,
  imageOf,
  payloadOf,
  readerOf,
  STORE_ID,
  scan,
  sums,
  TestLog,
} from './support.ts';

/** A log of three segments: two groups, then one, then two of which the last was not synced. */
function build() {
  const disk = new SimFileSystem();
  const log = new TestLog(disk, 1, 0, 4 * LOG_BLOCK_BYTES);
  log.append(0, 100, 8);
  log.writer.sync();
  log.append(4000);
  log.append(7000);
  log.append(300);
  log.writer.sync();
  const durable = log.writer.durableSeq;
  log.append(5, 3900);
  log.writer.prepareSpare();
  log.append(60);
  const image = imageOf(disk);
  image.delete('wal-spare');
  return { disk, log, durable, image, seqs: log.seqs };
}

function seqsOf(image: Image, source = {}): number[] | string {
  const found: number[] = [];
  const code = codeOf(() => {
    const { records } = scan(readerOf(image), source);
    found.push(...records.map(({ seq }) => seq));
  });
  return code === 'none' ? found : code;
}

/** Every outcome must be refused, or a prefix that holds all that is known to be durable. */
function problemOf(
  outcome: number[] | string,
  seqs: number[],
  durable: number,
): string | undefined {
  if (outcome === 'WAL_CORRUPT') return undefined;
  if (typeof outcome === 'string') return outcome;
  if (outcome.some((seq, index) => seq !== seqs[index])) return `no prefix: ${outcome}`;
  return (outcome.at(-1) ?? 0) >= durable ? undefined : `ends at ${outcome.at(-1)}`;
}

describe('a whole log', () => {
  it('R1 gives every record once, in order, with its content', () => {
    const { disk, seqs, durable } = build();
    const { records, end } = scan(disk);
    expect(records.map(({ seq }) => seq)).toEqual(seqs);
    expect(end.place).toMatchObject({ seq: seqs.at(-1) });
    expect(end.durableSeq).toBe(durable);
    const sizes = [0, 100, 8, 4000, 7000, 300, 5, 3900, 60];
    records.forEach(({ owner, payload, created, deleted }, index) => {
      const n = index + 1;
      expect(owner).toBe(n);
      expect([...payload]).toEqual([...payloadOf(n, sizes[index] as number)]);
      expect(created).toEqual(n % 3 === 0 ? [n + 1] : []);
      expect(deleted).toEqual(n % 4 === 1 ? [n + 2, n + 3] : []);
    });
  });

  it('R1 gives only the records above the checkpoint seq', () => {
    const { image, seqs } = build();
    seqs.forEach((checkpointSeq, index) => {
      expect(seqsOf(image, { checkpointSeq })).toEqual(seqs.slice(index + 1));
      expect(seqsOf(image, { checkpointSeq, checkAll: true })).toEqual(seqs.slice(index + 1));
    });
  });

  it('is refused when the checkpoint seq cuts a record in two', () => {
    const { image, seqs } = build();
    expect(seqsOf(image, { checkpointSeq: (seqs[3] as number) - 8 })).toBe('WAL_CORRUPT');
  });

  it('is empty where there is none, unless a checkpoint says that there was one', () => {
    expect(seqsOf(new Map())).toEqual([]);
    expect(seqsOf(new Map(), { checkpointSeq: 8 })).toBe('WAL_CORRUPT');
    expect(seqsOf(new Map(), { durableSeq: 8 })).toBe('WAL_CORRUPT');
  });
});

describe('damage', () => {
  it('gives a prefix above all that is durable, or is refused, for a flip of every byte', () => {
    const { image, seqs, durable } = build();
    const problems: string[] = [];
    let refused = 0;
    for (const [name, bytes] of image) {
      for (let at = 0; at < bytes.length; at++) {
        bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
        const outcome = seqsOf(image);
        bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
        refused += outcome === 'WAL_CORRUPT' ? 1 : 0;
        const problem = problemOf(outcome, seqs, durable);
        if (problem !== undefined) problems.push(`${name} ${at}: ${problem}`);
      }
    }
    expect(problems).toEqual([]);
    expect(refused).toBeGreaterThan(10_000);
  });

  it('gives a prefix above all that is durable, or is refused, for a cut at every byte', () => {
    const { image, seqs, durable } = build();
    const problems: string[] = [];
    for (const [name, bytes] of [...image]) {
      for (let at = 0; at < bytes.length; at++) {
        image.set(name, bytes.subarray(0, at));
        const problem = problemOf(seqsOf(image), seqs, durable);
        if (problem !== undefined) problems.push(`${name} ${at}: ${problem}`);
      }
      image.set(name, bytes);
    }
    expect(problems).toEqual([]);
  });

  it('says where it is and up to which seq the log is whole', () => {
    const { image, seqs } = build();
    const bytes = image.get('wal-1') as Uint8Array;
    bytes[LOG_BLOCK_BYTES + 64 + 20] = 7;
    const error = errorFrom(() => scan(readerOf(image)));
    expect(error['code']).toBe('WAL_CORRUPT');
    const details = { path: '/sim/wal-1', offset: LOG_BLOCK_BYTES + 64, seq: 0 };
    expect(error['details']).toMatchObject(details);
    const later = image.get('wal-2') as Uint8Array;
    bytes[LOG_BLOCK_BYTES + 64 + 20] = 0;
    later[LOG_BLOCK_BYTES + 8] = 0;
    expect(errorFrom(() => scan(readerOf(image)))['code']).toBe('WAL_CORRUPT');
    expect(seqs.length).toBe(9);
  });

  it('18 takes a tail of zeros for the end of the log', () => {
    const { image, seqs, durable } = build();
    const bytes = image.get('wal-3') as Uint8Array;
    bytes.fill(0, 2 * LOG_BLOCK_BYTES);
    expect(seqsOf(image)).toEqual(seqs.slice(0, 8));
    bytes.fill(0, LOG_BLOCK_BYTES);
    expect(seqsOf(image)).toEqual(seqs.slice(0, 6));
    expect(seqs[5]).toBe(durable);
    expect(seqsOf(image, { durableSeq: seqs[6] })).toBe('WAL_CORRUPT');
  });

  it('is found behind a hole by the durable seq of a later group', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    for (const bytes of [10, 20, 30]) {
      log.append(bytes);
      log.writer.sync();
    }
    const image = imageOf(disk);
    (image.get('wal-1') as Uint8Array).fill(0, LOG_BLOCK_BYTES, 2 * LOG_BLOCK_BYTES);
    expect(seqsOf(image)).toBe('WAL_CORRUPT');
  });

  it('ends the log at a hole above every durable seq although whole groups follow', () => {
    const disk = new SimFileSystem();
    const log = new TestLog(disk);
    for (const bytes of [3000, 3010, 3020]) log.append(bytes);
    const image = imageOf(disk);
    const bytes = image.get('wal-1') as Uint8Array;
    bytes.fill(0, 2 * LOG_BLOCK_BYTES, 3 * LOG_BLOCK_BYTES);
    expect(seqsOf(image)).toEqual(log.seqs.slice(0, 1));
    const after = diskOf(image);
    const next = new TestLog(after, 2);
    expect(scan(after).records.map(({ seq }) => seq)).toEqual(log.seqs.slice(0, 1));
    next.append(20);
    expect(scan(after).records.map(({ seq }) => seq)).toEqual([log.seqs[0], next.seqs[0]]);
  });
});

describe('segments', () => {
  it('are refused when one in the middle is missing, unless the checkpoint covers it', () => {
    const { image, seqs } = build();
    image.delete('wal-2');
    const error = errorFrom(() => scan(readerOf(image)));
    expect(error['details']).toMatchObject({ path: '/sim/wal-2', offset: 0 });
    expect(error['code']).toBe('WAL_CORRUPT');
    expect(seqsOf(image, { checkpointSeq: seqs[4] })).toBe('WAL_CORRUPT');
    expect(seqsOf(image, { checkpointSeq: seqs[5] })).toEqual(seqs.slice(6));
  });

  it('of another store are refused', () => {
    const { image } = build();
    const header = {
      formatVersion: 1,
      storeId: STORE_ID + 1n,
      epoch: 1,
      segment: 4,
      segmentBytes: 4096,
      firstPosition: 0,
      previous: { segment: 0, offset: 0, seq: 0 },
    };
    image.set('wal-4', encodeSegmentHeader(sums, header));
    expect(seqsOf(image)).toBe('WAL_CORRUPT');
    const error = errorFrom(() => scan(readerOf(image)));
    expect(error.message).toContain('of this store');
    image.set(
      'wal-4',
      encodeSegmentHeader(sums, { ...header, storeId: STORE_ID, formatVersion: 2 }),
    );
    expect(seqsOf(image)).toBe('FORMAT_UNSUPPORTED');
  });

  it('under another number are refused', () => {
    const { image } = build();
    image.set('wal-4', image.get('wal-3') as Uint8Array);
    expect(seqsOf(image)).toBe('WAL_CORRUPT');
  });

  it('that came back after a trim are not looked at', () => {
    const disk = new SimFileSystem();
    const first = new TestLog(disk);
    first.append(10);
    const old = imageOf(disk).get('wal-1') as Uint8Array;
    const s = first.writer.close();
    const second = new TestLog(disk, 2, s);
    second.append(20);
    const image = imageOf(disk);
    expect([...image.keys()].filter((name) => /\d/.test(name))).toEqual(['wal-2']);
    image.set('wal-1', old);
    expect(seqsOf(image, { checkpointSeq: s })).toEqual(second.seqs);
    image.set('wal-1', new Uint8Array(9));
    expect(seqsOf(image, { checkpointSeq: s })).toEqual(second.seqs);
  });
});

describe('salvage', () => {
  it('gives what is left, and reports each gap', () => {
    const { image, seqs } = build();
    (image.get('wal-1') as Uint8Array)[LOG_BLOCK_BYTES + 64 + 50] = 1;
    image.delete('wal-2');
    const { records, reader } = scan(readerOf(image), { salvage: true });
    expect(reader.problems.length).toBeGreaterThanOrEqual(2);
    const found = records.map(({ seq }) => seq);
    expect(found).toEqual([...found].sort((a, b) => a - b));
    expect(found.every((seq) => seqs.includes(seq))).toBe(true);
    expect(found).toContain(seqs[3]);
    expect(found).toContain(seqs[8]);
    expect(found).not.toContain(seqs[0]);
  });

  it('I2 keeps a damaged segment until a checkpoint covers it', () => {
    const { image } = build();
    (image.get('wal-2') as Uint8Array)[0] = 0;
    const disk = diskOf(image);
    const { end } = scan(disk, { salvage: true });
    expect(end.segments.find(({ segment }) => segment === 2)?.endSeq).toBe(end.place.seq);
  });
});
