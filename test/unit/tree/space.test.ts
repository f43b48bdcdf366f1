/** Space: a tree that outgrows its pool, and slots of the data file that are used again. */
import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { Random, testSeed } from '../../support/seed.ts';
import { killed, newDisk, openTrees, SMALL } from './support.ts';

const TEXT = { key: 'utf8' } as const;
const CYCLES = 20;
const KEYS = 1500;

function keyOf(n: number): string {
  return `bucket-${n % 7}/file-${String(n).padStart(6, '0')}`;
}

describe('a tree', () => {
  it('of long values is gone when these are deleted, one by one or at once', async () => {
    const db = await openTrees(newDisk(), { frames: 256 });
    const tree = db.tree('t', TEXT);
    const keys = Array.from({ length: 60 }, (_, n) => `${keyOf(n)}/${'x'.repeat(200)}`);
    for (const isBatch of [false, true]) {
      for (const key of keys) tree.put(key, Buffer.alloc(2000, 1));
      expect(tree.count()).toBe(60);
      if (!isBatch) for (const key of keys) expect(tree.delete(key).existed).toBe(true);
      for (let at = 0; isBatch && at < 60; at += 20) {
        tree.batch(keys.slice(at, at + 20).map((key) => ({ type: 'del', key })));
      }
      await db.checkpoint();
      expect(db.stats().store.slotsUsed).toBeLessThanOrEqual(3);
    }
  });

  it('outgrows its pool many times, and everything is there, also after a crash', async () => {
    const disk = newDisk();
    const db = await openTrees(disk, { frames: 64 });
    const tree = db.tree('t', TEXT);
    const random = new Random(testSeed());
    const order = random.shuffled(Array.from({ length: 6000 }, (_, n) => n));
    for (let at = 0; at < order.length; at += 10) {
      const part = order.slice(at, at + 10);
      if (at % 20 === 0) for (const n of part) tree.put(keyOf(n), Buffer.from(`value ${n}`));
      else {
        tree.batch(
          part.map((n) => ({ type: 'put', key: keyOf(n), value: Buffer.from(`value ${n}`) })),
        );
      }
    }
    const { blobs } = db.stats().store;
    db.durableSync();
    await db.checkpoint();
    expect(db.stats().store.blobs).toBeGreaterThan(64);
    expect(db.stats().evictions).toBeGreaterThan(blobs - 64);
    const again = await openTrees(killed(disk), { frames: 64 });
    const found = again.tree('t', TEXT);
    for (const n of order) expect(found.get(keyOf(n))?.toString()).toBe(`value ${n}`);
    expect(found.count()).toBe(order.length);
  });

  it('that is filled and emptied again and again does not let its data file grow', async () => {
    const db = await openTrees(newDisk(), { frames: 256 });
    const sizes: number[] = [];
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      const tree = db.tree('t', TEXT);
      const random = Random.fork(testSeed(), cycle);
      const order = random.shuffled(Array.from({ length: KEYS }, (_, n) => n));
      for (const n of order) tree.put(keyOf(n), Buffer.alloc(60, cycle));
      await db.checkpoint();
      const keys = random.shuffled(order).map(keyOf);
      if (cycle % 4 === 0) for (const key of keys) tree.delete(key);
      else if (cycle % 4 === 1) expect(tree.clear()).toBe(KEYS);
      else if (cycle % 4 === 2) db.dropTree('t');
      else {
        for (let at = 0; at < KEYS; at += 50) {
          tree.batch(keys.slice(at, at + 50).map((key) => ({ type: 'del', key })));
        }
      }
      await db.checkpoint();
      expect(db.stats().store.slotsUsed, `cycle ${cycle}`).toBeLessThanOrEqual(3);
      sizes.push(db.stats().store.dataBytes);
    }
    const [first] = sizes as [number];
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1.5 * first);
    expect(first).toBeGreaterThan(20 * SMALL.blobBytes);
  });
});
