/**
 * The log: segments, groups, records, the chain of segments, with the sums as they are and with sums
 * made anew.
 *
 * With the sums as they are, what is read is a beginning of what was written (in salvage: part of it,
 * in order), and all of it if all of it is known to be durable. With new sums it is at least in order,
 * within the files, and comes to its end.
 */
import fc from 'fast-check';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import type { LogRecord } from '../../../src/wal/format.ts';
import { LogReader } from '../../../src/wal/reader.ts';
import { segmentNumber } from '../../../src/wal/segment-files.ts';
import {
  accessTo,
  type Image,
  imageOf,
  readerOf,
  STORE_ID,
  scan,
  sums,
  TestLog,
} from '../../unit/wal/support.ts';
import { countedFiles } from '../support/budget.ts';
import { type Mutation, mutated, mutations } from '../support/bytes.ts';
import { type Context, type Family, must, type Prepared } from '../support/family.ts';
import { golden } from '../support/images.ts';
import { type Fields, fieldsOfSegment, resealSegment } from '../support/reseal.ts';

/** Bytes that may be asked for: so many times what the files have, and a constant for the rest. */
export const LOG_BYTES_FACTOR = 4;
export const LOG_BYTES_BASE = 128 * 1024;

interface Base {
  readonly image: Image;
  readonly older: Image;
  readonly fields: ReadonlyMap<string, Fields>;
  readonly records: readonly LogRecord[];
  /** End of the last record. */
  readonly end: number;
  readonly starts: readonly number[];
}

function baseOf(image: Image, older: Image = new Map()): Base {
  const { records, end } = scan(readerOf(image), { checkAll: true });
  const fields = new Map([...image].map(([name, bytes]) => [name, fieldsOfSegment(bytes)]));
  for (const [name, bytes] of image) {
    const copy = Uint8Array.from(bytes);
    resealSegment(sums, copy);
    must(Buffer.compare(copy, bytes) === 0, `${name} is not sealed as it is written`);
  }
  return {
    image,
    older,
    fields,
    records,
    end: end.place.seq,
    starts: records.map((r) => r.position),
  };
}

/** Three openings, the last with several groups; the first segments full. */
function written(): Base {
  const disk = new SimFileSystem();
  let older: Image = new Map();
  for (const epoch of [1, 2, 3]) {
    const log = new TestLog(disk, epoch, 0, 6 * 4096);
    log.append(0, 30, 200, 7);
    log.append(6000);
    log.writer.sync();
    log.append(1, 2, 3);
    log.writer.sync();
    log.append(epoch * 900, 40);
    log.writer.sync();
    if (epoch === 2) older = imageOf(disk);
    log.append(100, 100);
    log.append(17, 3900);
  }
  const image = imageOf(disk);
  for (const name of [...image.keys()]) if (segmentNumber(name) === 0) image.delete(name);
  return baseOf(image, older);
}

function bases(): Base[] {
  const single = (name: string, file: string): Base =>
    baseOf(new Map([[file, golden(name, 4 * 4096)]]));
  return [written(), single('wal-v1-groups', 'wal-1'), single('wal-v1-views', 'wal-1')];
}

interface Case {
  readonly base: number;
  readonly harms: readonly { readonly file: number; readonly list: readonly Mutation[] }[];
  /** A file that goes, or takes another's name. */
  readonly names: 'as they are' | 'one missing' | 'one doubled' | 'two swapped';
  readonly sealed: boolean;
  readonly skip: number;
  readonly known: boolean;
  readonly salvage: boolean;
  readonly checkAll: boolean;
}

const cases: fc.Arbitrary<Case> = fc.record({
  base: fc.constantFrom(0, 0, 0, 1, 2),
  harms: fc.array(fc.record({ file: fc.nat(7), list: mutations }), { minLength: 1, maxLength: 2 }),
  names: fc.constantFrom(
    ...([
      'as they are',
      'as they are',
      'as they are',
      'one missing',
      'one doubled',
      'two swapped',
    ] as const),
  ),
  sealed: fc.boolean(),
  skip: fc.oneof(fc.constant(0), fc.nat(40)),
  known: fc.boolean(),
  salvage: fc.boolean(),
  checkAll: fc.boolean(),
});

function harmed({ image, older, fields }: Base, given: Case): Image {
  const copy: Image = new Map(image);
  const files = [...image.keys()];
  for (const { file, list } of given.harms) {
    const name = files[file % files.length] as string;
    const bytes = copy.get(name) as Uint8Array;
    const changed = mutated(bytes, list, {
      fields: fields.get(name) ?? [],
      older: older.get(name),
    });
    if (given.sealed) resealSegment(sums, changed);
    copy.set(name, changed);
  }
  const first = files[(given.harms[0]?.file ?? 0) % files.length] as string;
  const last = files.at(-1) as string;
  if (given.names === 'one missing') copy.delete(first);
  else if (given.names === 'one doubled') copy.set('wal-9', copy.get(first) as Uint8Array);
  else if (given.names === 'two swapped') {
    const bytes = copy.get(first) as Uint8Array;
    copy.set(first, copy.get(last) as Uint8Array);
    copy.set(last, bytes);
  }
  return copy;
}

function same(a: LogRecord, b: LogRecord): boolean {
  return (
    a.seq === b.seq &&
    a.position === b.position &&
    a.kind === b.kind &&
    a.owner === b.owner &&
    String(a.created) === String(b.created) &&
    String(a.deleted) === String(b.deleted) &&
    Buffer.compare(a.payload, b.payload) === 0
  );
}

/** What every reading must be, whatever the sums say. */
function assertOrder(records: readonly LogRecord[]): void {
  let last = 0;
  for (const { position, seq } of records) {
    must(position >= last && seq > position, `record ${position}..${seq} comes behind ${last}`);
    last = seq;
  }
}

/** With the sums as they are: nothing but what was written. */
function assertWritten(
  base: Base,
  given: Case,
  checkpoint: number,
  got: readonly LogRecord[],
): void {
  const expected = base.records.filter(({ seq }) => seq > checkpoint);
  let at = 0;
  for (const record of got) {
    const index = expected.findIndex((one, n) => n >= at && same(one, record));
    must(index >= 0, `record ${record.position}..${record.seq} was never written`);
    must(given.salvage || index === at, `record ${expected[at]?.seq} was left out`);
    at = index + 1;
  }
  const whole = given.known && !given.salvage;
  must(
    !whole || got.length === expected.length,
    `${got.length} of ${expected.length} synced records`,
  );
}

export const log: Family<Case> = {
  name: 'log',
  prepare(context: Context): Prepared<Case> {
    const all = bases();
    const check = (given: Case): void => {
      const base = all[given.base] as Base;
      const image = harmed(base, given);
      const checkpointSeq = base.records[given.skip % base.records.length]?.position ?? 0;
      const fileBytes = [...image.values()].reduce((sum, { length }) => sum + length, 0);
      const files = countedFiles(context.budget, readerOf(image));
      const source = {
        access: accessTo(files),
        sums,
        storeId: STORE_ID,
        checkpointSeq,
        salvage: given.salvage,
        checkAll: given.checkAll,
        ...(given.known ? { durableSeq: base.end } : {}),
      };
      const got: LogRecord[] = [];
      const bounds = { bytesMax: LOG_BYTES_BASE + LOG_BYTES_FACTOR * fileBytes, callsMax: 400 };
      const kind = given.sealed ? 'sealed' : 'raw';
      context.runSync(`${kind} log`, bounds, () => {
        const reader = new LogReader(source);
        for (const record of reader.records()) got.push(record);
        const { place, writtenBelow, durableSeq } = reader.end;
        must(writtenBelow >= place.seq, 'what is written ends before the log does');
        must(!Number.isNaN(durableSeq), 'the durable seq is no number');
        if (!given.sealed && given.names === 'as they are') {
          assertWritten(base, given, checkpointSeq, got);
        }
      });
      assertOrder(got);
      must(got.length * 40 <= fileBytes, 'more records than the files have room for');
      if (!given.sealed) {
        assertWritten(base, { ...given, known: false }, checkpointSeq, got);
      }
    };
    return {
      cases,
      check,
      wanted: [
        'raw log ok',
        'raw log WAL_CORRUPT',
        'sealed log ok',
        'sealed log WAL_CORRUPT',
        'sealed log FORMAT_UNSUPPORTED',
      ],
    };
  },
};
