/** Splits and merges where they are tightest: at the last byte of a node, of a key, of a value. */
import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { E_KEY, N_SLOT_BYTES, N_SLOTS } from '../../../src/generated/layout.ts';
import { inlineBytesMax } from '../../../src/tree/change.ts';
import type { NodeAccess } from '../../../src/tree/node-access.ts';
import type { Tree } from '../../../src/tree/tree.ts';
import type { Weirpool } from '../../../src/tree/weirpool.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { killed, newDisk, openTrees, SMALL } from './support.ts';

type Entries = [Buffer, Buffer][];

/** Keys may have 4,096 bytes here. */
const LARGE = {
  blobBytes: 64 * 1024,
  frames: 128,
  log: { ...SMALL.log, ringBytes: 2 ** 19, segmentBytes: 2 ** 19 },
} as const;

function sorted(entries: Entries): Entries {
  return [...entries].sort(([a], [b]) => Buffer.compare(a, b));
}

function contentOf(tree: Tree): Entries {
  return tree
    .range()
    .toArray()
    .map(([key, value]) => [Buffer.from(key), Buffer.from(value)]);
}

/** Puts in that order, checks in both directions, kills, checks, deletes in another order. */
async function live(entries: Entries, options: object, batch: boolean): Promise<void> {
  const disk = newDisk();
  const db = await openTrees(disk, options);
  const tree = db.tree('t');
  if (batch) tree.batch(entries.map(([key, value]) => ({ type: 'put', key, value }) as const));
  else for (const [key, value] of entries) tree.put(key, value);
  check(tree, sorted(entries));
  db.durableSync();
  const again = await openTrees(killed(disk), options);
  check(again.tree('t'), sorted(entries));
  deleteAll(again, entries);
}

function check(tree: Tree, expected: Entries): void {
  expect(contentOf(tree)).toEqual(expected);
  const reversed = [...tree.keys({ reverse: true })].map((key) => Buffer.from(key));
  expect(reversed).toEqual(expected.map(([key]) => key).reverse());
  for (const [key, value] of expected) expect(tree.get(key)).toEqual(value);
}

function deleteAll(db: Weirpool, entries: Entries): void {
  const tree = db.tree('t');
  for (const [key] of new Random(testSeed()).shuffled(entries)) {
    expect(tree.delete(key).existed).toBe(true);
  }
  expect(contentOf(tree)).toEqual([]);
}

const ways = [
  ['one by one', false],
  ['in a batch', true],
] as const;

describe.each(ways)('%s', (_, batch) => {
  it('keys with 4,095 equal bytes, that differ in the last one, from 0x00 to 0xff', async () => {
    const stem = Buffer.alloc(4095, 0x61);
    const entries: Entries = [];
    for (const last of [0xff, 0x00, 0x80, 0x7f, 0x01, 0xfe, ...numbers(0x20, 0x50)]) {
      entries.push([Buffer.concat([stem, Buffer.from([last])]), Buffer.alloc(40, last)]);
    }
    await live(entries, LARGE, batch);
  });

  it('keys that are beginnings of each other, of zeros and of 0xff', async () => {
    const entries: Entries = [];
    for (const byte of [0x00, 0xff]) {
      for (const bytes of [...numbers(0, 40), 127, 128, 129, 255, 256, 511, 512]) {
        if (bytes > 0 || byte === 0)
          entries.push([Buffer.alloc(bytes, byte), Buffer.alloc(90, bytes)]);
      }
    }
    await live(entries, { frames: 256 }, batch);
    await live(sorted(entries).reverse(), { frames: 256 }, batch);
  });

  it('keys that differ in one byte, at each place', async () => {
    const entries: Entries = numbers(0, 130).map((at) => {
      const key = Buffer.alloc(130, 0x40);
      key[at] = at % 2 === 0 ? 0x00 : 0xff;
      return [key, Buffer.from([at])];
    });
    await live(entries, { frames: 256 }, batch);
  });

  it('nodes that are filled to the last byte, less one, and more by one', async () => {
    const room = SMALL.blobBytes - N_SLOTS;
    const keyBytes = 10;
    for (const spare of [-1, 0, 1, 2, 12]) {
      // Eight entries of one size but the last, which is what is left of the node.
      const size = Math.floor(room / 8) - N_SLOT_BYTES - E_KEY - keyBytes;
      const left = room - 8 * (N_SLOT_BYTES + E_KEY + keyBytes) - 7 * size + spare;
      const entries: Entries = numbers(0, 8).map((n) => [
        Buffer.from(`key-${String(n).padStart(6, '0')}`),
        Buffer.alloc(n === 7 ? left : size, n),
      ]);
      const more: Entries = [[Buffer.from('key-000003x'), Buffer.alloc(1)]];
      await live([...entries, ...more], { frames: 256 }, batch);
    }
  });

  it('values around the size from which they overflow', async () => {
    const inlineMax = inlineBytesMax({
      blobBytes: SMALL.blobBytes,
      keyBytesMax: SMALL.blobBytes / 8,
    } as NodeAccess);
    const entries: Entries = numbers(-3, 4).map((delta) => {
      const key = Buffer.from(`key-${delta + 3}`);
      return [key, Buffer.alloc(inlineMax - key.length + delta, delta + 3)];
    });
    await live(entries, { frames: 256 }, batch);
    // Each replaced by a value of the other kind, and back.
    const db = await openTrees(newDisk(), { frames: 256 });
    const tree = db.tree('t');
    for (const values of [entries, [...entries].reverse(), entries]) {
      for (const [index, [key]] of entries.entries()) tree.put(key, values[index]?.[1] as Buffer);
      expect(contentOf(tree)).toEqual(
        entries.map(([key], index) => [key, values[index]?.[1] as Buffer]),
      );
    }
    await db.checkpoint();
    // What was replaced is gone: the catalog, the tree, one blob for each value that overflows.
    expect(db.stats().store.blobs).toBeLessThanOrEqual(4 + 3);
  });
});

function numbers(from: number, end: number): number[] {
  return Array.from({ length: end - from }, (_, index) => from + index);
}
