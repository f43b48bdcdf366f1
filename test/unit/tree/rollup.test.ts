/** What a list with a delimiter reads: not what lies below a common prefix. */
import { describe, expect, it } from 'vitest';
import { newDisk, openTrees } from './support.ts';

const BUCKETS = 20;
const FILES = 400;
const VALUE = 'v'.repeat(40);

function bucket(number: number): string {
  return `bucket-${String(number).padStart(3, '0')}/`;
}

/** A tree of 8,000 keys below 20 common prefixes, all cached, with a count of the nodes it looks at. */
async function openBuckets() {
  const db = await openTrees(newDisk(), { frames: 512 });
  const tree = db.tree('t', { key: 'utf8', value: 'utf8' });
  for (let b = 0; b < BUCKETS; b++) {
    for (let n = 0; n < FILES; n++) tree.put(`${bucket(b)}file-${n}.jpg`, VALUE);
  }
  /** Nodes that `look` has looked at: each is found in the page table once. */
  const visits = (look: () => void): number => {
    const before = db.stats();
    look();
    const { hits, misses } = db.stats();
    expect(misses).toBe(before.misses);
    return hits - before.hits;
  };
  const levels = visits(() => expect(tree.has(`${bucket(7)}file-7.jpg`)).toBe(true));
  // The catalog's tree is one node.
  return { tree, visits, levels, nodes: db.pool.list().length - 1 };
}

describe('a list', () => {
  it('looks at the nodes at which common prefixes begin, whatever lies below these', async () => {
    const { tree, visits, levels, nodes } = await openBuckets();
    expect(levels).toBeGreaterThan(1);
    // What the count is held against: reading everything looks at every leaf.
    const leaves = nodes - nodes / 10;
    expect(visits(() => expect(tree.count()).toBe(BUCKETS * FILES))).toBeGreaterThan(leaves);

    const expected = Array.from({ length: BUCKETS }, (_, b) => ({
      type: 'prefix',
      prefix: bucket(b),
    }));
    const visited = visits(() => expect([...tree.list()]).toEqual(expected));
    // For each prefix the way down, once more if its first key is that of the next leaf; and the end.
    expect(visited).toBeLessThanOrEqual(2 * (BUCKETS + 1) * levels);
    expect(visited).toBeLessThan(nodes / 2);
  });

  it('that goes on behind a common prefix skips that too', async () => {
    const { tree, visits, levels } = await openBuckets();
    const options = { startAfter: `${bucket(16)}file-7.jpg`, limit: 2 };
    const visited = visits(() => {
      expect([...tree.list('', options)]).toEqual([
        { type: 'prefix', prefix: bucket(17) },
        { type: 'prefix', prefix: bucket(18) },
      ]);
    });
    expect(visited).toBeLessThanOrEqual(2 * 3 * levels);
  });
});
