/** Bad input is refused with the right error before anything changes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { PoolOptions } from '../../../src/pool/options.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import {
  BLOB_BYTES,
  blobValue,
  counters,
  errorOf,
  filled,
  openFaulty,
  rejectionOf,
  temporaryDirectory,
  writeBlobs,
} from './support.ts';

/** What is no blob id, and the class of the error. */
const BAD_IDS: readonly (readonly [string, unknown, string])[] = [
  ['0', 0, 'RangeError'],
  ['-1', -1, 'RangeError'],
  ['-0', -0, 'RangeError'],
  ['1.5', 1.5, 'RangeError'],
  ['NaN', Number.NaN, 'RangeError'],
  ['Infinity', Number.POSITIVE_INFINITY, 'RangeError'],
  ['2^53', 2 ** 53, 'RangeError'],
  ['2^64', 2 ** 64, 'RangeError'],
  ["'1'", '1', 'TypeError'],
  ['1n', 1n, 'TypeError'],
  ['undefined', undefined, 'TypeError'],
  ['null', null, 'TypeError'],
  ['an object', {}, 'TypeError'],
];

/** Every way in that takes an id. */
const BY_ID: Readonly<Record<string, (pool: BufferPool, id: number) => unknown>> = {
  pin: (pool, id) => pool.pin(id),
  pinSilent: (pool, id) => pool.pinSilent(id),
  read: (pool, id) => pool.read(id),
  write: (pool, id) => pool.write(id),
  optimistic: (pool, id) => pool.optimistic(id, () => 0),
  tryOptimistic: (pool, id) => pool.tryOptimistic(id, () => 0),
  readInto: (pool, id) => pool.readInto(id, filled(0)),
  copyCached: (pool, id) => pool.copyCached(id, filled(0)),
  has: (pool, id) => pool.has(id),
  evict: (pool, id) => pool.evict(id),
  writeBlob: (pool, id) => pool.writeBlob(id, filled(9)),
  deleteBlob: (pool, id) => pool.deleteBlob(id),
};

/** A pool with blob 1, cached, and everything about it that must not change. */
async function prepared() {
  const { pool, backend } = await openFaulty();
  const [id] = writeBlobs(pool, 1) as [number];
  blobValue(pool, id);
  const state = () => {
    const { pinned, latched, dirty, cached, free, store } = pool.stats();
    const calls = backend.trace.length;
    return {
      pinned,
      latched,
      dirty,
      cached,
      free,
      store,
      calls,
      ids: pool.list(),
      ...counters(pool),
    };
  };
  return { pool, id, state };
}

describe('blob ids', () => {
  it.each(Object.keys(BY_ID))('%s refuses what is no id, and changes nothing', async (name) => {
    const { pool, id, state } = await prepared();
    const before = state();
    for (const [label, bad, expected] of BAD_IDS) {
      const { code } = errorOf(() => BY_ID[name]?.(pool, bad as number));
      expect(`${label}: ${code}`).toBe(`${label}: ${expected}`);
    }
    expect(state()).toEqual(before);
    expect(blobValue(pool, id)).toBe(id);
  });

  it('prefetch refuses the whole list when one of it is no id', async () => {
    const { pool, id, state } = await prepared();
    pool.evict(id);
    const before = state();
    for (const [, bad, expected] of BAD_IDS) {
      const { code } = await rejectionOf(pool.prefetch([id, bad as number]));
      expect(code).toBe(expected);
    }
    expect(state()).toEqual(before);
  });

  it('an id of which there is no blob is BLOB_NOT_FOUND, or simply not there', async () => {
    const { pool } = await prepared();
    const allocated = pool.allocate();
    const next = allocated + 1;
    for (const id of [allocated, next, 2 ** 53 - 1]) {
      for (const name of ['pin', 'pinSilent', 'read', 'write', 'optimistic', 'readInto']) {
        const { code, details } = errorOf(() => BY_ID[name]?.(pool, id));
        expect([name, code, details]).toEqual([name, 'BLOB_NOT_FOUND', { id }]);
      }
      expect([pool.has(id), pool.evict(id), pool.deleteBlob(id)]).toEqual([false, false, false]);
      expect(pool.copyCached(id, filled(0))).toBe(false);
    }
    const { free, pinned } = pool.stats();
    expect([free, pinned]).toEqual([3, 0]);
  });

  it('I4 an id that was never handed out cannot be written', async () => {
    const { pool, id, state } = await prepared();
    const before = state();
    for (const never of [id + 1, 1_000_000, 2 ** 53 - 1]) {
      expect(errorOf(() => pool.writeBlob(never, filled(1))).code).toBe('RangeError');
    }
    expect(state()).toEqual(before);
    expect(pool.allocate()).toBe(id + 1);
  });
});

describe('bytes', () => {
  const SIZES = [0, 1, BLOB_BYTES - 1, BLOB_BYTES + 1, BLOB_BYTES * 2];
  const NO_BYTES: readonly unknown[] = [
    undefined,
    null,
    'x'.repeat(BLOB_BYTES),
    new Array(BLOB_BYTES).fill(0),
    new ArrayBuffer(BLOB_BYTES),
    new Uint16Array(BLOB_BYTES / 2),
    new DataView(new ArrayBuffer(BLOB_BYTES)),
  ];
  const BY_BYTES: Readonly<Record<string, (pool: BufferPool, bytes: Uint8Array) => unknown>> = {
    writeBlob: (pool, bytes) => pool.writeBlob(1, bytes),
    readInto: (pool, bytes) => pool.readInto(1, bytes),
    copyCached: (pool, bytes) => pool.copyCached(1, bytes),
  };

  it.each(Object.keys(BY_BYTES))('%s refuses other sizes and other things', async (name) => {
    const { pool, id, state } = await prepared();
    const before = state();
    for (const size of SIZES) {
      expect(errorOf(() => BY_BYTES[name]?.(pool, new Uint8Array(size))).code).toBe('RangeError');
    }
    for (const bad of NO_BYTES) {
      expect(errorOf(() => BY_BYTES[name]?.(pool, bad as Uint8Array)).code).toBe('TypeError');
    }
    expect(state()).toEqual(before);
    expect(blobValue(pool, id)).toBe(id);
  });

  it('takes Buffers, parts of larger arrays and shared memory', async () => {
    const { pool, id } = await prepared();
    const large = new Uint8Array(3 * BLOB_BYTES).fill(5, BLOB_BYTES, 2 * BLOB_BYTES);
    pool.writeBlob(id, large.subarray(BLOB_BYTES, 2 * BLOB_BYTES));
    expect(blobValue(pool, id)).toBe(5);
    pool.writeBlob(id, Buffer.alloc(BLOB_BYTES, 6));
    expect(blobValue(pool, id)).toBe(6);
    pool.writeBlob(id, new Uint8Array(new SharedArrayBuffer(BLOB_BYTES)).fill(7));
    expect(blobValue(pool, id)).toBe(7);
    const target = new Uint8Array(new SharedArrayBuffer(BLOB_BYTES));
    pool.readInto(id, target);
    expect(target[BLOB_BYTES - 1]).toBe(7);
  });

  it('are copied before anything else: later changes of the caller do not reach the store', async () => {
    const { pool, id } = await prepared();
    const bytes = filled(33);
    pool.writeBlob(id, bytes);
    bytes.fill(0);
    expect(blobValue(pool, id)).toBe(33);
  });
});

type Bad = readonly [keyof PoolOptions | string, unknown, 'TypeError' | 'RangeError'];

/** For each option: wrong types, then values on the wrong side of each bound. */
const NUMBERS: readonly (readonly [string, readonly unknown[], (value: unknown) => unknown])[] = [
  ['frames', [3, 65537, 4.5, Number.NaN, -4, 0], (frames) => ({ frames })],
  ['blobBytes', [2048, 4097, 6144, 8 * 1024 * 1024, 0, 4096.5], (blobBytes) => ({ blobBytes })],
  ['blobsMax', [0, -1, 2 ** 26 + 1, 1.5], (blobsMax) => ({ blobsMax })],
  ['frameWaitMs', [-1, 0.5, 2 ** 31, Number.POSITIVE_INFINITY], (frameWaitMs) => ({ frameWaitMs })],
  ['sweep.intervalMs', [0, -1, 1.5, 2 ** 31], (intervalMs) => ({ sweep: { intervalMs } })],
  ['sweep.idleTicks', [0, 1.5, 1_000_001], (idleTicks) => ({ sweep: { idleTicks } })],
  ['sweep.framesFree', [0, 513, 2.5], (framesFree) => ({ sweep: { framesFree } })],
];

const BAD_OPTIONS: readonly Bad[] = [
  ...NUMBERS.flatMap(([name, values, make]): Bad[] => [
    ...['4096', 4096n, true, {}, null].map((value): Bad => [name, make(value), 'TypeError']),
    ...values.map((value): Bad => [name, make(value), 'RangeError']),
  ]),
  ['store', { store: 'disk' }, 'TypeError'],
  ['store', { store: {} }, 'TypeError'],
  ['store', { store: { module: 7 } }, 'TypeError'],
  ['store', { store: 1 }, 'TypeError'],
  ['store', { store: null }, 'TypeError'],
  ['store', { store: () => undefined }, 'TypeError'],
  ['threads', { threads: 'some' }, 'TypeError'],
  ['threads', { threads: 2 }, 'TypeError'],
  ['options', null, 'TypeError'],
  ['options', 7, 'TypeError'],
  ['options', 'file', 'TypeError'],
  ['sweep', { sweep: 5 }, 'TypeError'],
  ['sweep', { sweep: true }, 'TypeError'],
  ['sweep', { sweep: null }, 'TypeError'],
];

describe('options', () => {
  it.each(BAD_OPTIONS)('%s: %o is a %s, and no directory is made', async (_, options, expected) => {
    const directory = join(temporaryDirectory(), 'new');
    const { code } = await rejectionOf(BufferPool.open(directory, options as PoolOptions));
    expect(code).toBe(expected);
    // A directory that was made would hold a file now, and this could not write one in its place.
    writeFileSync(directory, 'free');
  });

  it.each([
    ['an empty path', '', 'TypeError'],
    ['undefined', undefined, 'TypeError'],
    ['a number', 7, 'TypeError'],
    ['an object', {}, 'TypeError'],
    ['null', null, 'TypeError'],
  ])('directory: %s', async (_, directory, expected) => {
    expect((await rejectionOf(BufferPool.open(directory as string))).code).toBe(expected);
  });
});
