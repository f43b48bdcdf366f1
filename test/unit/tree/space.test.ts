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
      if (cycle % 3 === 0) for (const n of random.shuffled(order)) tree.delete(keyOf(n));
      else if (cycle % 3 === 1) expect(tree.clear()).toBe(KEYS);
      else db.dropTree('t');
      await db.checkpoint();
      expect(db.stats().store.slotsUsed, `cycle ${cycle}`).toBeLessThanOrEqual(3);
      sizes.push(db.stats().store.dataBytes);
    }
    const [first] = sizes as [number];
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1.5 * first);
    expect(first).toBeGreaterThan(20 * SMALL.blobBytes);
  });
});
