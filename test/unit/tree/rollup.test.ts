/** What a list with a delimiter reads: not what lies below a common prefix. */
import { describe, expect, it } from 'vitest';
import type { PoolLog } from '../../../src/pool/pool-log.ts';
import { AsyncAccess } from '../../../src/tree/async.ts';
import { Catalog } from '../../../src/tree/catalog.ts';
import { codecOf } from '../../../src/tree/codec.ts';
import { Snapshots } from '../../../src/tree/snapshot.ts';
import { TreeStore } from '../../../src/tree/store.ts';
import { Tree } from '../../../src/tree/tree.ts';
import { openTrees } from './support.ts';

const BUCKETS = 20;
const FILES = 400;
const VALUE = 'v'.repeat(40);

function bucket(number: number): string {
  return `bucket-${String(number).padStart(3, '0')}/`;
}

/** A tree of 8,000 keys below 20 common prefixes, with a count of the nodes that it looks at. */
async function openBuckets() {
  const db = await openTrees();
  const { core } = db.pool;
  db.tree('t');
  const store = new TreeStore(core, core.log as PoolLog);
  const root = new Catalog(store).find('t') as number;
  const codec = codecOf<string>('utf8', 'key');
  const tree = new Tree({
    store,
    root: () => root,
    name: 't',
    key: codec,
    value: codec,
    snapshots: new Snapshots(store, false),
    access: new AsyncAccess(store, () => Promise.resolve()),
  });
  for (let b = 0; b < BUCKETS; b++) {
    for (let n = 0; n < FILES; n++) tree.put(`${bucket(b)}file-${n}.jpg`, VALUE);
  }
  /** Nodes that `look` has looked at. */
  const visits = (look: () => void): number => {
    const before = store.descent.visited;
    look();
    return store.descent.visited - before;
  };
  const levels = store.descent.heightOf(root) + 1;
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
