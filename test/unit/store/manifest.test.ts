/** The manifest's bytes: golden image, every byte flipped, cut at every byte. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  BLOCK_BYTES,
  encodeClose,
  encodeHeader,
  encodeRecord,
  FIRST_RECORD,
  FORMAT_VERSION,
  KIND_CHANGE,
  KIND_SNAPSHOT,
  type ManifestSeal,
} from '../../../src/store/manifest.ts';
import { type ManifestContent, readManifest } from '../../../src/store/manifest-reader.ts';
import { recordOf, StoreState } from '../../../src/store/store-state.ts';
import { testSeed } from '../../support/seed.ts';
import { checksummer, comparable, errorFrom, randomFrom } from './support.ts';

const GOLDEN = join(import.meta.dirname, '../../golden/manifest-v1.hex');
const STORE_ID = 0x0123_4567_89ab_cdefn;
const GENERATION = 3;
const EPOCH = 5;
const HEADER = {
  formatVersion: FORMAT_VERSION,
  blobBytes: 4096,
  storeId: STORE_ID,
  generation: GENERATION,
  epoch: EPOCH,
};
const SEAL: ManifestSeal = { checksummer, storeId: STORE_ID, generation: GENERATION };

interface Built {
  readonly bytes: Uint8Array;
  /** State and end after the snapshot and after each change. */
  readonly states: readonly unknown[];
  readonly ends: readonly number[];
}

/** Header, snapshot, three changes (the second of two blocks), and the close block if wanted. */
function build(closed: boolean): Built {
  const state = new StoreState();
  state.apply({
    mapped: [
      { id: 1, slot: 0, checksum: 0xfedc_ba98_7654_3210n },
      { id: 7, slot: 2, checksum: 1n },
    ],
    deleted: [],
    roots: new Map([[1, 7]]),
    nextBlobId: 8,
    checkpointSeq: 9,
    commitNumber: 12,
    epoch: EPOCH,
  });
  const snapshot = encodeRecord(SEAL, KIND_SNAPSHOT, state.snapshot(), FIRST_RECORD);
  const parts = [encodeHeader(checksummer, HEADER), new Uint8Array(BLOCK_BYTES), snapshot];
  let end = FIRST_RECORD + snapshot.length;
  const states = [comparable(state.image(0n))];
  const ends = [end];
  const changes = [
    { mapped: [{ id: 8, slot: 1, checksum: 5n }], deleted: [7], nextBlobId: 20 },
    {
      mapped: [{ id: 9, slot: 109, checksum: 6n }],
      deleted: Array.from({ length: 510 }, (_, index) => 1000 + index),
      nextBlobId: 300,
      checkpointSeq: 40,
    },
    { mapped: [], deleted: [8], nextBlobId: 300, roots: new Map([[2, 9]]) },
  ];
  for (const change of changes) {
    const next = recordOf(change, state);
    const record = encodeRecord(SEAL, KIND_CHANGE, next, end);
    state.apply(next);
    parts.push(record);
    end += record.length;
    states.push(comparable(state.image(0n)));
    ends.push(end);
  }
  if (closed) parts[1] = encodeClose(SEAL, { logEnd: end, commitNumber: state.commitNumber });
  return { bytes: Buffer.concat(parts), states, ends };
}

function parse(bytes: Uint8Array, generation = GENERATION): ManifestContent {
  return readManifest(checksummer, { path: 'manifest-3', generation, bytes });
}

/** Index of the state that the bytes give, or the code of the error. */
function outcome(bytes: Uint8Array, { states }: Built): number | string {
  let content: ManifestContent;
  try {
    content = parse(bytes);
  } catch (error) {
    return (error as { code: string }).code;
  }
  const found = show(comparable(content.state.image(0n)));
  const index = states.findIndex((state) => show(state) === found);
  return index < 0 ? `a state that never was: ${found}` : index;
}

function show(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? part.toString() : part));
}

/** Outcomes of damage at every byte, each with the ranges of bytes that lead to it. */
function outcomesOf(bytes: Uint8Array, damage: (at: number) => number | string) {
  const outcomes: Record<string, number[][]> = {};
  for (let at = 0; at < bytes.length; at++) {
    const found = String(damage(at));
    const ranges = outcomes[found] ?? [];
    outcomes[found] = ranges;
    const last = ranges.at(-1);
    if (last?.[1] === at) last[1] = at + 1;
    else ranges.push([at, at + 1]);
  }
  return outcomes;
}

const LINE_BYTES = 32;

/** Lines of offset and 32 bytes; those that are all zero are left out. Ends with the size. */
function dump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += LINE_BYTES) {
    const line = Buffer.from(bytes.subarray(at, at + LINE_BYTES)).toString('hex');
    if (!/^0*$/.test(line)) lines.push(`${at.toString(16).padStart(8, '0')} ${line}`);
  }
  return `${lines.join('\n')}\n${bytes.length.toString(16).padStart(8, '0')} end\n`;
}

function undump(text: string): Uint8Array {
  const lines = text.trimEnd().split('\n');
  const bytes = new Uint8Array(Number.parseInt(lines.pop() ?? '', 16));
  for (const line of lines) {
    const [offset = '', hex = ''] = line.split(' ');
    bytes.set(Buffer.from(hex, 'hex'), Number.parseInt(offset, 16));
  }
  return bytes;
}

/** Flips one or more bits of each byte in turn. */
function flips(built: Built) {
  const { bytes } = built;
  const random = randomFrom(testSeed());
  return outcomesOf(bytes, (at) => {
    const original = bytes[at] as number;
    bytes[at] = original ^ (1 + random(255));
    try {
      return outcome(bytes, built);
    } finally {
      bytes[at] = original;
    }
  });
}

function cuts(built: Built) {
  return outcomesOf(built.bytes, (at) => outcome(built.bytes.subarray(0, at), built));
}

describe('a manifest', () => {
  it('holds the state after its last record', () => {
    const built = build(false);
    expect(outcome(built.bytes, built)).toBe(3);
    expect(parse(built.bytes)).toMatchObject({ ending: 'open', logEnd: built.ends[3] });
    expect(parse(build(true).bytes).ending).toBe('closed');
  });

  it('has the bytes of the golden image', () => {
    const { bytes } = build(true);
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(GOLDEN, dump(bytes));
    expect(dump(bytes)).toBe(readFileSync(GOLDEN, 'utf8'));
  });

  it('is read from the golden image', () => {
    const built = build(true);
    expect(outcome(undump(readFileSync(GOLDEN, 'utf8')), built)).toBe(3);
  });

  it('is refused or gives the last commit but one when a byte is damaged after an unclean end', () => {
    const built = build(false);
    const [, , second, end] = built.ends as [number, number, number, number];
    expect(flips(built)).toEqual({
      // Header, snapshot, and every record that another one follows.
      MANIFEST_CORRUPT: [
        [0, BLOCK_BYTES],
        [FIRST_RECORD, second],
      ],
      // The close block that was never written.
      3: [[BLOCK_BYTES, FIRST_RECORD]],
      // The last record: it cannot be told from a torn one.
      2: [[second, end]],
    });
  });

  it('is refused when a byte is damaged after a clean close', () => {
    const built = build(true);
    expect(flips(built)).toEqual({
      MANIFEST_CORRUPT: [
        [0, BLOCK_BYTES],
        [FIRST_RECORD, built.bytes.length],
      ],
      // The close block alone: all records are whole without it.
      3: [[BLOCK_BYTES, FIRST_RECORD]],
    });
  });

  it('gives a commit prefix wherever it is cut, and nothing if the snapshot is cut', () => {
    const built = build(false);
    const [snapshotEnd, first, second, end] = built.ends as [number, number, number, number];
    expect(cuts(built)).toEqual({
      MANIFEST_CORRUPT: [[0, snapshotEnd]],
      0: [[snapshotEnd, first]],
      1: [[first, second]],
      2: [[second, end]],
    });
  });

  it('is refused wherever it is cut after a clean close', () => {
    const built = build(true);
    expect(cuts(built)).toEqual({ MANIFEST_CORRUPT: [[0, built.bytes.length]] });
  });

  it.each([
    ['zeros', 0],
    ['garbage', 0xa7],
  ])('ignores a tail of %s', (_, value) => {
    const built = build(false);
    const tail = new Uint8Array(3 * BLOCK_BYTES).fill(value);
    const longer = Buffer.concat([built.bytes, tail]);
    expect(outcome(longer, built)).toBe(3);
    expect(parse(longer).ending).toBe('torn');
  });

  it('never takes a record of another place, generation or store for its own', () => {
    const built = build(false);
    const end = built.ends[3] as number;
    const state = parse(built.bytes).state;
    const next = recordOf({ mapped: [], deleted: [9], nextBlobId: 400 }, state);
    const foreign = [
      encodeRecord(SEAL, KIND_CHANGE, next, end + BLOCK_BYTES),
      encodeRecord({ ...SEAL, generation: GENERATION + 1 }, KIND_CHANGE, next, end),
      encodeRecord({ ...SEAL, storeId: STORE_ID + 1n }, KIND_CHANGE, next, end),
    ];
    for (const record of foreign) {
      expect(outcome(Buffer.concat([built.bytes, record]), built)).toBe(3);
    }
    const own = encodeRecord(SEAL, KIND_CHANGE, next, end);
    expect(parse(Buffer.concat([built.bytes, own])).state.commitNumber).toBe(16);
  });

  it.each([
    ['a commit number that skips one', { commitNumber: 17 }],
    ['a commit number that was there before', { commitNumber: 15 }],
    ['another epoch', { epoch: EPOCH + 1 }],
    ['a next id that goes back', { nextBlobId: 299 }],
    ['a checkpoint seq that goes back', { checkpointSeq: 39 }],
    ['an id of 0', { deleted: [0] }],
  ])('is refused when a whole record has %s', (_, wrong) => {
    const built = build(false);
    const end = built.ends[3] as number;
    const next = recordOf({ mapped: [], deleted: [], nextBlobId: 300 }, parse(built.bytes).state);
    const record = encodeRecord(SEAL, KIND_CHANGE, { ...next, ...wrong }, end);
    expect(outcome(Buffer.concat([built.bytes, record]), built)).toBe('MANIFEST_CORRUPT');
  });

  it('I6 is refused when it gives one slot to two blobs', () => {
    const built = build(false);
    const end = built.ends[3] as number;
    const change = {
      mapped: [{ id: 999, slot: 109, checksum: 1n }],
      deleted: [],
      nextBlobId: 1000,
    };
    const record = encodeRecord(SEAL, KIND_CHANGE, recordOf(change, parse(built.bytes).state), end);
    const error = errorFrom(() => parse(Buffer.concat([built.bytes, record])));
    expect(error['code']).toBe('MANIFEST_CORRUPT');
    expect(error['details']).toMatchObject({ slot: 109, id: 9, otherId: 999 });
  });

  it('says where it is damaged and what belongs there', () => {
    const built = build(false);
    const at = built.ends[0] as number;
    built.bytes[at + 100] = 1;
    const error = errorFrom(() => parse(built.bytes));
    expect(error['details']).toEqual({
      path: 'manifest-3',
      offset: at,
      expected: 'a valid record, as one follows it',
    });
    expect(error.message).toContain('backup');
  });

  it('is refused under the name of another generation', () => {
    expect(errorFrom(() => parse(build(false).bytes, 4))['code']).toBe('MANIFEST_CORRUPT');
  });

  it('is refused in a format of the future, by number', () => {
    const header = encodeHeader(checksummer, { ...HEADER, formatVersion: 2 });
    const bytes = Buffer.concat([header, build(false).bytes.subarray(BLOCK_BYTES)]);
    const error = errorFrom(() => parse(bytes));
    expect(error['code']).toBe('FORMAT_UNSUPPORTED');
    expect(error['details']).toMatchObject({ found: 2, supported: 1 });
  });

  it.each([0, 1, 4095, 6144, 2 ** 23, 2 ** 32 - 1])('with blobs of %i bytes is refused', (size) => {
    // Memory is taken by this number before anything else is known of the store.
    const bytes = Uint8Array.from(build(false).bytes);
    bytes.set(encodeHeader(checksummer, { ...HEADER, blobBytes: size }));
    expect(errorFrom(() => parse(bytes))).toMatchObject({ code: 'MANIFEST_CORRUPT' });
  });
});
