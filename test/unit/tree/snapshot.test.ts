/** Snapshots and consistent scans: one moment, whatever happens meanwhile, and what is kept for it. */
import { Buffer } from 'node:buffer';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { SNAPSHOT_ENTRIES } from '../../../src/generated/layout.ts';
import { faultyFileSystem, patched, systemError } from '../../../src/harness/faulty-file-system.ts';
import type { Snapshot } from '../../../src/tree/snapshot.ts';
import type { Tree } from '../../../src/tree/tree.ts';
import type { Weirpool } from '../../../src/tree/weirpool.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { DIRECTORY, newDisk, openTrees } from './support.ts';

const TEXT = { key: 'utf8', value: 'utf8' } as const;
type Texts = Tree<string, string>;

function textTree(db: Weirpool, name = 't'): Texts {
  return db.tree(name, TEXT);
}

function keyAt(n: number): string {
  return `key/${String(n).padStart(5, '0')}`;
}

function fill(tree: Texts, count: number, value = 'v'): [string, string][] {
  const all = Array.from({ length: count }, (_, n): [string, string] => [keyAt(n), `${value}${n}`]);
  for (const [key, text] of all) tree.put(key, text);
  return all;
}

/** Store slots that are kept for snapshots, snapshots that are open. */
function kept(db: Weirpool): { readonly slots: number; readonly open: number } {
  const { slotsKept, snapshots } = db.stats().store;
  return { slots: slotsKept, open: snapshots };
}

/** Changes everything there is, with rounds in between, so that every slot would be used again. */
async function churn(db: Weirpool, tree: Texts, random: Random, rounds = 6): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let step = 0; step < 150; step++) {
      const key = keyAt(random.int(900));
      if (random.chance(0.4)) tree.delete(key);
      else tree.put(key, `churned ${'x'.repeat(random.int(200))}`);
    }
    if (round === 2) tree.clear({ gte: keyAt(100), lt: keyAt(400) });
    await db.checkpoint();
  }
}

describe('a consistent scan', () => {
  it('gives the state at the moment of the call, not of the first step', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    const all = fill(tree, 300);
    const ranges = {
      range: tree.range({ consistent: true }),
      keys: tree.keys({ consistent: true, reverse: true }),
      values: tree.values({ consistent: true, limit: 7 }),
      prefix: tree.prefix('key/0001', { consistent: true }),
      list: tree.list('', { consistent: true, delimiter: '' }),
    };
    await churn(db, tree, new Random(testSeed()));
    expect(ranges.range.toArray()).toEqual(all);
    expect(ranges.keys.toArray()).toEqual(all.map(([key]) => key).reverse());
    expect(ranges.values.toArray()).toEqual(all.slice(0, 7).map(([, value]) => value));
    expect(ranges.prefix.toArray()).toEqual(all.slice(10, 20));
    expect([...ranges.list]).toEqual(all.map(([key, value]) => ({ type: 'entry', key, value })));
    expect(kept(db).open).toBe(0);
    expect(tree.count({ consistent: true })).toBe(tree.count());
    expect(tree.first({ consistent: true })).toEqual(tree.first());
    expect(tree.last({ consistent: true, lt: keyAt(500) })).toEqual(tree.last({ lt: keyAt(500) }));
    expect(kept(db).open).toBe(0);
  });

  it('goes on in its state while it is read, forwards and backwards, also asynchronously', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    const all = fill(tree, 600);
    const random = new Random(testSeed());
    const forwards = tree.range({ consistent: true })[Symbol.iterator]();
    const seen: [string, string][] = [];
    for (let step = 0; ; step++) {
      if (step % 120 === 0) await churn(db, tree, random, 1);
      const { done, value } = forwards.next();
      if (done === true) break;
      seen.push(value);
    }
    expect(seen).toEqual(all);
    const now = tree.range().toArray();
    const later: [string, string][] = [];
    let steps = 0;
    for await (const entry of tree.range({ consistent: true, reverse: true })) {
      later.push(entry);
      if (++steps % 100 === 0) tree.put(keyAt(random.int(900)), 'meanwhile');
    }
    expect(later).toEqual(now.reverse());
    expect(kept(db).open).toBe(0);
  });

  it('rolls up as the tree was, and skips what lies below a prefix', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    for (let n = 0; n < 400; n++) tree.put(`dir-${n % 5}/file-${n}`, `${n}`);
    const list = tree.list('', { consistent: true });
    tree.clear();
    await db.checkpoint();
    expect([...list]).toEqual(
      [0, 1, 2, 3, 4].map((n) => ({ type: 'prefix', prefix: `dir-${n}/` })),
    );
    expect([...tree.list('')]).toEqual([]);
  });

  it('is iterated once, and refuses a second time', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    fill(tree, 10);
    const range = tree.range({ consistent: true });
    expect(range.toArray()).toHaveLength(10);
    expect(() => range.toArray()).toThrow(expect.objectContaining({ code: 'SNAPSHOT_CLOSED' }));
    const other = tree.range({ consistent: true });
    other[Symbol.iterator]();
    expect(() => other[Symbol.iterator]()).toThrow(
      expect.objectContaining({ code: 'SNAPSHOT_CLOSED' }),
    );
  });

  it('lets go what it kept when it is given up, however that is', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    fill(tree, 300);
    for (const _entry of tree.range({ consistent: true })) break;
    for await (const _entry of tree.range({ consistent: true })) break;
    for (const _item of tree.list('', { consistent: true })) break;
    tree.range({ consistent: true })[Symbol.iterator]().return?.();
    await tree.range({ consistent: true })[Symbol.asyncIterator]().return?.();
    tree.list('', { consistent: true }).return?.();
    const broken = db.tree('t', { key: 'utf8', value: { encode: Buffer.from, decode: fail } });
    expect(() => broken.range({ consistent: true }).toArray()).toThrow('not readable');
    expect(() => tree.range({ consistent: true, limit: Number.NaN })).toThrow(RangeError);
    expect(kept(db).open).toBe(0);
  });
});

/** A snapshot, and what the trees had at its moment. */
interface Moment {
  readonly snapshot: Snapshot;
  readonly states: readonly ReadonlyMap<string, string>[];
}

function sorted(state: ReadonlyMap<string, string>): [string, string][] {
  return [...state].sort(([a], [b]) => (a < b ? -1 : 1));
}

interface Reading {
  readonly tree: Texts;
  readonly state: ReadonlyMap<string, string>;
  readonly snapshot: Snapshot;
  readonly random: Random;
  readonly key: string;
}

/** Some way to read, against what was there. */
function checkReading({ tree, state, snapshot, random, key }: Reading): void {
  const all = sorted(state);
  const limit = 1 + random.int(40);
  const from = all.filter(([there]) => there >= key);
  const upTo = all.filter(([there]) => there <= key).reverse();
  expect(tree.get(key, { snapshot })).toBe(state.get(key));
  expect(tree.has(key, { snapshot })).toBe(state.has(key));
  expect(tree.count({ snapshot, lt: key })).toBe(all.length - from.length);
  expect(tree.range({ snapshot, gte: key, limit }).toArray()).toEqual(from.slice(0, limit));
  expect(tree.range({ snapshot, lte: key, limit, reverse: true }).toArray()).toEqual(
    upTo.slice(0, limit),
  );
  const prefix = key.slice(0, 1 + random.int(7));
  expect(tree.prefix(prefix, { snapshot }).toArray()).toEqual(
    all.filter(([there]) => there.startsWith(prefix)),
  );
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

function fail(): never {
  throw new Error('not readable');
}

describe('a snapshot', () => {
  it('shows all trees at one moment: values, keys, ranges, and which trees there are', async () => {
    const db = await openTrees();
    const [one, other] = [textTree(db, 'one'), textTree(db, 'other')];
    const all = fill(one, 200);
    other.put('a', '1');
    using snapshot = db.snapshot();
    await churn(db, one, new Random(testSeed()));
    db.dropTree('other');
    textTree(db, 'late').put('b', '2');
    const again = textTree(db, 'other');
    again.put('a', 'new');
    await db.checkpoint();
    expect(snapshot.trees()).toEqual(['one', 'other']);
    expect([snapshot.hasTree('late'), snapshot.hasTree('one')]).toEqual([false, true]);
    for (const [key, value] of all) expect(one.get(key, { snapshot })).toBe(value);
    expect(one.getMany([keyAt(3), 'no'], { snapshot })).toEqual(['v3', undefined]);
    expect(one.has(keyAt(199), { snapshot })).toBe(true);
    expect(one.has(keyAt(200), { snapshot })).toBe(false);
    expect(one.get(keyAt(200), { snapshot })).toBeUndefined();
    for (let time = 0; time < 2; time++) expect(one.range({ snapshot }).toArray()).toEqual(all);
    expect(one.count({ snapshot, gte: keyAt(50) })).toBe(150);
    expect(again.get('a', { snapshot })).toBe('1');
    expect(other.range({ snapshot, consistent: true }).toArray()).toEqual([['a', '1']]);
    const late = textTree(db, 'late');
    expect(late.range({ snapshot }).toArray()).toEqual([]);
    expect([late.get('b', { snapshot }), late.has('b', { snapshot })]).toEqual([undefined, false]);
    expect(late.count({ snapshot })).toBe(0);
  });

  it('has every batch whole, also one over two trees', async () => {
    const db = await openTrees();
    const [from, to] = [textTree(db, 'from'), textTree(db, 'to')];
    const random = new Random(testSeed());
    const open: { readonly snapshot: Snapshot; readonly moved: number }[] = [];
    for (let moved = 1; moved <= 40; moved++) {
      db.batch([
        { tree: from, operation: { type: 'put', key: 'balance', value: `${-moved}` } },
        { tree: to, operation: { type: 'put', key: 'balance', value: `${moved}` } },
        {
          tree: to,
          operation: { type: 'put', key: `${moved}`, value: 'x'.repeat(random.int(300)) },
        },
      ]);
      if (random.chance(0.3)) await db.checkpoint();
      if (random.chance(0.4)) open.push({ snapshot: db.snapshot(), moved });
    }
    for (const { snapshot, moved } of open) {
      expect(from.get('balance', { snapshot })).toBe(`${-moved}`);
      expect(to.get('balance', { snapshot })).toBe(`${moved}`);
      expect(to.count({ snapshot })).toBe(moved + 1);
      snapshot.close();
    }
  });

  it.each([700, 4079, 4081, 9000, 24_000])('has values of %i bytes as they were', async (bytes) => {
    const db = await openTrees();
    const tree = db.tree('t', { key: 'utf8' });
    const value = Buffer.alloc(bytes, 'v');
    for (const key of ['a', 'b', 'c']) tree.put(key, value);
    using snapshot = db.snapshot();
    for (let round = 0; round < 4; round++) {
      tree.put('a', Buffer.alloc(bytes, round));
      tree.delete('b');
      tree.put('d', Buffer.alloc(bytes, 'w'));
      await db.checkpoint();
    }
    expect(tree.range({ snapshot }).toArray()).toEqual(['a', 'b', 'c'].map((key) => [key, value]));
    expect(tree.get('b', { snapshot })).toEqual(value);
    expect(tree.get('d', { snapshot })).toBeUndefined();
  });

  it('needs no round when nothing has changed, and one for what has', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    fill(tree, 50);
    const rounds = (): number => db.stats().log?.rounds.succeeded ?? 0;
    const before = rounds();
    const first = db.snapshot();
    expect(rounds()).toBe(before + 1);
    const others = Array.from({ length: 5 }, () => db.snapshot());
    expect(rounds()).toBe(before + 1);
    expect(kept(db).open).toBe(1);
    tree.put('a', 'later');
    const last = db.snapshot();
    expect(rounds()).toBe(before + 2);
    expect(last.seq).toBeGreaterThan(first.seq);
    expect(tree.get('a', { snapshot: last })).toBe('later');
    expect(tree.get('a', { snapshot: first })).toBeUndefined();
    first.close();
    first.close();
    expect(kept(db).open).toBe(2);
    for (const snapshot of [...others, last]) snapshot.close();
    expect(kept(db).open).toBe(0);
  });

  it('I6 keeps its slots, and no more than it shows, while everything is written again', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    const all = fill(tree, 800, 'v'.repeat(80));
    const random = new Random(testSeed());
    const snapshot = db.snapshot();
    const { slotsUsed } = db.stats().store;
    await churn(db, tree, random, 12);
    expect(kept(db).slots).toBeGreaterThan(10);
    // A slot that came and went while it was open is not kept for it.
    expect(kept(db).slots).toBeLessThanOrEqual(slotsUsed);
    expect(tree.range({ snapshot }).toArray()).toEqual(all);
    snapshot.close();
    tree.put('a', 'b');
    await db.checkpoint();
    const { blobs, slotsUsed: usedNow } = db.stats().store;
    expect(kept(db)).toEqual({ slots: 0, open: 0 });
    expect(usedNow).toBe(blobs);
  });

  it('I6 gives its slots back, so that snapshots that overlap for ever grow no file', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    fill(tree, 800, 'v'.repeat(80));
    const random = new Random(testSeed());
    const states: (readonly [Snapshot, [string, string][]])[] = [];
    let blobsMax = 0;
    for (let turn = 0; turn < 24; turn++) {
      states.push([db.snapshot(), tree.range().toArray()]);
      await churn(db, tree, random, 2);
      if (states.length === 4) {
        const [snapshot, state] = states.shift() as (typeof states)[0];
        expect(tree.range({ snapshot }).toArray()).toEqual(state);
        snapshot.close();
      }
      blobsMax = Math.max(blobsMax, db.stats().store.blobs);
    }
    expect(kept(db).open).toBe(3);
    // What four snapshots show, what there is now, and what a round writes beside it.
    expect(db.stats().store.dataBytes).toBeLessThanOrEqual((4 + 2) * blobsMax * db.pool.blobBytes);
  });

  it('refuses once it is closed, also in the middle of a scan', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    fill(tree, 2000);
    const snapshot = db.snapshot();
    const scan = tree.range({ snapshot })[Symbol.iterator]();
    scan.next();
    snapshot.close();
    expect(snapshot.closed).toBe(true);
    const closed = expect.objectContaining({ code: 'SNAPSHOT_CLOSED' });
    expect(() => {
      for (let step = 0; step < 2000; step++) scan.next();
    }).toThrow(closed);
    expect(() => tree.get('a', { snapshot })).toThrow(closed);
    expect(() => tree.range({ snapshot }).toArray()).toThrow(closed);
    expect(() => snapshot.trees()).toThrow(closed);
    const elsewhere = textTree(await openTrees());
    expect(() => elsewhere.get('a', { snapshot })).toThrow(TypeError);
  });

  it('ends with its pool, and is refused while this thread is in the middle of a change', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    fill(tree, 50);
    const snapshot = db.snapshot();
    const range = tree.range({ snapshot });
    tree.put('a', 'b');
    expect(tree.get('a', { snapshot })).toBeUndefined();
    const op = db.pool.begin();
    op.create();
    expect(() => db.snapshot()).toThrow(expect.objectContaining({ code: 'TX_NESTED' }));
    op.abort();
    await db.close();
    const gone = expect.objectContaining({ code: 'POOL_CLOSED' });
    expect(() => range.toArray()).toThrow(gone);
    // Also what was read before, and is at hand.
    expect(() => tree.get('a', { snapshot })).toThrow(gone);
    expect(() => db.snapshot()).toThrow(gone);
    snapshot.close();
  });

  it('of a store that is open for reading only is what it is', async () => {
    const disk = newDisk();
    const db = await openTrees(disk);
    const all = fill(textTree(db), 100);
    await db.close();
    const reader = await openTrees(disk, { readOnly: true });
    const tree = textTree(reader);
    using snapshot = reader.snapshot();
    expect(tree.range({ snapshot }).toArray()).toEqual(all);
    expect(tree.range({ consistent: true }).toArray()).toEqual(all);
    expect(snapshot.trees()).toEqual(['t']);
    expect(tree.get(keyAt(5), { snapshot })).toBe('v5');
  });

  it('fails with the cause when its round fails, and keeps nothing', async () => {
    const faults = faultyFileSystem(newDisk());
    const db = await openTrees(undefined, { fileSystem: faults });
    const tree = textTree(db);
    fill(tree, 100);
    await db.checkpoint();
    tree.put('a', 'b');
    faults.plan = ({ operation, file }) =>
      operation === 'write' && file?.endsWith('blobs.dat') === true ? 'ENOSPC' : undefined;
    for (const take of [() => db.snapshot(), () => tree.range({ consistent: true })]) {
      expect(take).toThrow(expect.objectContaining({ code: 'STORE_IO' }));
    }
    expect(() => tree.count({ consistent: true })).toThrow(/ENOSPC/);
    expect(kept(db)).toEqual({ slots: 0, open: 0 });
    faults.plan = () => undefined;
    expect(tree.count({ consistent: true })).toBe(101);
  });

  it('that was forgotten, or whose scan was, is let go when it has been collected', async () => {
    const db = await openTrees();
    const tree = textTree(db);
    fill(tree, 300);
    ((): void => {
      db.snapshot();
      tree.range({ consistent: true });
      tree.range({ consistent: true, reverse: true })[Symbol.iterator]().next();
      tree.list('', { consistent: true });
    })();
    const scanned = tree.range({ snapshot: db.snapshot() })[Symbol.iterator]();
    tree.put('a', 'b');
    db.snapshot();
    expect(kept(db).open).toBe(2);
    for (let turn = 0; turn < 200 && kept(db).open > 1; turn++) {
      collectGarbage();
      await new Promise((done) => setImmediate(done));
    }
    // What is being read is not forgotten.
    expect(kept(db).open).toBe(1);
    expect(scanned.next().value).toEqual([keyAt(0), 'v0']);
  });

  it('that keeps a full disk full makes rounds fail, until it is closed', async () => {
    const disk = newDisk();
    let full = false;
    const path = `${DIRECTORY}/blobs.dat`;
    const files = new Map<number, string>();
    const fs = patched(disk, {
      open: (name, flags) => {
        const fd = disk.open(name, flags);
        files.set(fd, name);
        return fd;
      },
      write: (fd, source, position) => {
        const grows = files.get(fd) === path && position >= disk.stat(path).bytes;
        if (full && grows) throw systemError('ENOSPC');
        return disk.write(fd, source, position);
      },
    });
    const db = await openTrees(disk, { fileSystem: fs });
    const tree = textTree(db);
    const all = fill(tree, 800, 'v'.repeat(80));
    await churn(db, tree, new Random(testSeed()), 2);
    const state = tree.range().toArray();
    const snapshot = db.snapshot();
    full = true;
    const rewrite = (): void => {
      for (const [key] of all) tree.put(key, 'w'.repeat(80));
    };
    rewrite();
    await expect(db.checkpoint()).rejects.toThrow(/ENOSPC/);
    expect(() => db.snapshot()).toThrow(/ENOSPC/);
    expect(tree.range({ snapshot }).toArray()).toEqual(state);
    snapshot.close();
    tree.clear({ gte: keyAt(100) });
    await db.checkpoint();
    expect(tree.count({ consistent: true })).toBe(tree.count());
  });

  it('reads as its moment was, of many at once, whatever is read and changed', async () => {
    const db = await openTrees();
    const random = new Random(testSeed());
    const trees = ['one', 'two'].map((name) => ({ tree: textTree(db, name), now: new Map() }));
    const open: Moment[] = [];
    const moments = (): ReadonlyMap<string, string>[] => trees.map(({ now }) => new Map(now));
    for (let step = 0; step < 1200; step++) {
      const { tree, now } = random.pick(trees);
      const key = keyAt(random.int(250)).slice(random.int(4));
      const chance = random.float();
      if (chance < 0.6) {
        const value = 'x'.repeat(random.int(random.chance(0.05) ? 6000 : 120));
        tree.put(key, value);
        now.set(key, value);
      } else if (chance < 0.8) {
        tree.delete(key);
        now.delete(key);
      } else if (chance < 0.82) {
        for (const there of now.keys()) if (there >= key) now.delete(there);
        tree.clear({ gte: key });
      } else if (chance < 0.86) {
        await db.checkpoint();
      } else if (chance < 0.9 && open.length < 5) {
        open.push({ snapshot: db.snapshot(), states: moments() });
      } else if (chance < 0.92 && open.length > 0) {
        open.splice(random.int(open.length), 1)[0]?.snapshot.close();
      } else if (open.length > 0) {
        const { snapshot, states } = random.pick(open);
        const index = random.int(2);
        const state = states[index] as ReadonlyMap<string, string>;
        checkReading({ tree: trees[index]?.tree as Texts, state, snapshot, random, key });
      }
    }
    for (const { snapshot, states } of open) {
      for (const [index, state] of states.entries()) {
        const tree = trees[index]?.tree as Texts;
        expect(tree.range({ snapshot }).toArray()).toEqual(sorted(state));
      }
      snapshot.close();
    }
    expect(kept(db).open).toBe(0);
  });

  it('is one of at most so many', async () => {
    const db = await openTrees();
    const { control, me } = db.pool.core;
    for (let n = 0; n < SNAPSHOT_ENTRIES; n++) expect(control.snapshotBegin(me)).toBe(n);
    expect(() => db.snapshot()).toThrow(expect.objectContaining({ code: 'SNAPSHOTS_EXHAUSTED' }));
    control.snapshotEnd(7, me);
    db.snapshot().close();
  });
});
