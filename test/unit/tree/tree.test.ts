/** Trees in one thread: what each operation does, on what, and what it refuses. */
import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { record, replaySteps } from '../../../src/harness/recording.ts';
import type { Codec } from '../../../src/tree/codec.ts';
import { TREE_OWNER } from '../../../src/tree/store.ts';
import { killed, newDisk, openTrees } from './support.ts';

const TEXT = { key: 'utf8', value: 'utf8' } as const;

function numbered(count: number): [string, string][] {
  return Array.from({ length: count }, (_, n) => [`key/${String(n).padStart(5, '0')}`, `v${n}`]);
}

describe('a new store', () => {
  it('has its catalog when it is open: two threads would make one each, and lose one', async () => {
    const disk = newDisk();
    const db = await openTrees(disk);
    const catalog = db.pool.root(TREE_OWNER);
    expect(catalog).toBeDefined();
    db.tree('t', TEXT).put('a', 'one');
    expect(db.pool.root(TREE_OWNER)).toBe(catalog);
    await db.close();
    const again = await openTrees(disk);
    expect(again.pool.root(TREE_OWNER)).toBe(catalog);
    expect(again.pool.list()).toHaveLength(2);
  });
});

describe('one key', () => {
  it('is put, read in every way, replaced, deleted and put again', async () => {
    const tree = (await openTrees()).tree('t', TEXT);
    expect(tree.get('a')).toBeUndefined();
    expect(tree.has('a')).toBe(false);
    const seq = tree.put('a', 'one');
    expect(seq).toBeGreaterThan(0);
    expect(tree.get('a')).toBe('one');
    expect(
      tree.read('a', (bytes, start, end) => Buffer.from(bytes.slice(start, end)).toString()),
    ).toBe('one');
    expect(tree.put('a', 'longer than one')).toBeGreaterThan(seq);
    expect(tree.getMany(['a', 'b'])).toEqual(['longer than one', undefined]);
    expect(tree.delete('a').existed).toBe(true);
    expect(tree.delete('a').existed).toBe(false);
    expect(tree.has('a')).toBe(false);
    expect(tree.read('a', () => 1)).toBeUndefined();
    tree.put('a', '');
    expect(tree.get('a')).toBe('');
  });

  it('is put only if it is absent, or swapped only if it is what was expected', async () => {
    const tree = (await openTrees()).tree('t', TEXT);
    expect(tree.putIfAbsent('a', '1')).toBeGreaterThan(0);
    expect(tree.putIfAbsent('a', '2')).toBeUndefined();
    expect(tree.compareAndSwap('a', 'x', '3')).toBeUndefined();
    expect(tree.compareAndSwap('a', undefined, '3')).toBeUndefined();
    expect(tree.compareAndSwap('a', '1', '3')).toBeGreaterThan(0);
    expect(tree.get('a')).toBe('3');
    expect(tree.compareAndSwap('a', '3', undefined)).toBeGreaterThan(0);
    expect(tree.compareAndSwap('b', undefined, 'new')).toBeGreaterThan(0);
    expect(tree.keys().toArray()).toEqual(['b']);
  });

  it('may be empty, long, or any bytes, and is compared as bytes', async () => {
    const tree = (await openTrees()).tree('t');
    const keys = [[], [0], [0, 0], [0xff], [0xff, 0], [1, 2, 3], Array<number>(512).fill(7)];
    for (const key of keys) tree.put(Uint8Array.from(key), Uint8Array.from(key));
    const sorted = keys.map((key) => Buffer.from(key)).sort(Buffer.compare);
    expect(
      tree
        .keys()
        .toArray()
        .map((key) => Buffer.from(key)),
    ).toEqual(sorted);
    expect(() => tree.put(new Uint8Array(513), new Uint8Array(0))).toThrow(RangeError);
    expect(() => tree.get('x'.repeat(513) as never)).toThrow(RangeError);
    expect(() => tree.get(5 as never)).toThrow(TypeError);
  });
});

describe('values', () => {
  it.each([0, 1, 100, 650, 700, 4079, 4080, 4081, 9000, 24_000])(
    'of %i bytes come back, also after a crash, and go when they are replaced or deleted',
    async (bytes) => {
      const disk = newDisk();
      const db = await openTrees(disk);
      const tree = db.tree('t', { key: 'utf8' });
      const value = Buffer.alloc(bytes, 'v');
      tree.put('a', value);
      tree.put('b', value);
      db.durableSync();
      const again = await openTrees(killed(disk));
      expect(again.tree('t', { key: 'utf8' }).get('a')).toEqual(value);
      expect(
        tree
          .range()
          .toArray()
          .map(([, v]) => Buffer.from(v)),
      ).toEqual([value, value]);
      tree.put('a', Buffer.from('short'));
      tree.delete('b');
      await db.checkpoint();
      expect(db.pool.list()).toHaveLength(2); // the catalog and the tree
    },
  );

  it('above the largest record are refused before anything changes', async () => {
    const db = await openTrees();
    const tree = db.tree('t', { key: 'utf8' });
    const { dirtyFrames } = { dirtyFrames: db.pool.dirtyFrames() };
    expect(() => tree.put('a', Buffer.alloc(24 * 1024 + 1))).toThrow(/log\.ringBytes/);
    expect(() => tree.batch([{ type: 'put', key: 'a', value: Buffer.alloc(2 ** 20) }])).toThrow(
      RangeError,
    );
    expect(tree.has('a')).toBe(false);
    expect(db.pool.dirtyFrames()).toBe(dirtyFrames);
  });

  it('need a pool with frames enough for the largest one', async () => {
    await expect(openTrees(newDisk(), { frames: 16 })).rejects.toThrow(/frames/);
  });
});

describe('ranges', () => {
  it('give what lies between any bounds, forwards and backwards, up to a limit', async () => {
    const tree = (await openTrees()).tree('t', TEXT);
    const all = numbered(500);
    for (const [key, value] of all) tree.put(key, value);
    const keyAt = (n: number): string => all[n]?.[0] ?? '';
    expect(tree.range().toArray()).toEqual(all);
    expect(tree.range({ reverse: true }).toArray()).toEqual([...all].reverse());
    for (const [from, to] of [
      [0, 500],
      [17, 18],
      [17, 17],
      [200, 100],
      [499, 500],
    ] as const) {
      const expected = all.slice(from, to);
      const bounds = { gte: keyAt(from), lt: to === 500 ? 'key0' : keyAt(to) };
      expect(tree.range(bounds).toArray()).toEqual(expected);
      expect(tree.range({ ...bounds, reverse: true }).toArray()).toEqual([...expected].reverse());
      expect(tree.count(bounds)).toBe(expected.length);
      expect(tree.range({ ...bounds, limit: 3 }).toArray()).toEqual(expected.slice(0, 3));
    }
    expect(tree.keys({ gt: keyAt(3), lte: keyAt(6) }).toArray()).toEqual([4, 5, 6].map(keyAt));
    expect(tree.keys({ gt: 'key/00003x', limit: 1 }).toArray()).toEqual([keyAt(4)]);
    expect(tree.values({ lt: keyAt(2) }).toArray()).toEqual(['v0', 'v1']);
    expect(tree.first()).toEqual(all[0]);
    expect(tree.last()).toEqual(all.at(-1));
    expect(tree.first({ gt: 'z' })).toBeUndefined();
    expect(tree.prefix('key/0012').toArray()).toEqual(all.slice(120, 130));
  });

  it('are iterated asynchronously too, each time anew', async () => {
    const tree = (await openTrees()).tree('t', TEXT);
    const all = numbered(700);
    for (const [key, value] of all) tree.put(key, value);
    const range = tree.range();
    const seen: [string, string][] = [];
    for await (const entry of range) seen.push(entry);
    expect(seen).toEqual(all);
    for (const _entry of range) break;
    expect(range.toArray()).toHaveLength(700);
  });

  it('go on when what they read is deleted, split and merged around them', async () => {
    const tree = (await openTrees()).tree('t', TEXT);
    for (const [key, value] of numbered(600)) tree.put(key, value);
    const seen: string[] = [];
    let n = 0;
    for (const key of tree.keys()) {
      seen.push(key);
      if (n++ % 50 === 0) {
        for (let i = 0; i < 40; i++) tree.put(`key/00${n}x${i}`, 'x'.repeat(100));
        for (let i = 0; i < n && i < 200; i++) tree.delete(`key/${String(i).padStart(5, '0')}`);
      }
    }
    expect(seen).toEqual([...new Set(seen)].sort());
    for (const [key] of numbered(600)) expect(seen).toContain(key);
  });
});

describe('lists', () => {
  it('refuse a limit that is no count, before they begin', async () => {
    const tree = (await openTrees()).tree('t', TEXT);
    tree.put('a', '1');
    for (const limit of [-1, 1.5, Number.NaN, Number.NEGATIVE_INFINITY]) {
      expect(() => tree.range({ limit })).toThrow(RangeError);
      expect(() => tree.list('', { limit })).toThrow(RangeError);
      expect(() => tree.first({ limit })).not.toThrow(); // it has its own
    }
    expect(() => tree.keys({ limit: '1' as never })).toThrow(TypeError);
    expect(tree.keys({ limit: 0 }).toArray()).toEqual([]);
    expect(tree.keys({ limit: Number.POSITIVE_INFINITY }).toArray()).toEqual(['a']);
  });

  it('roll up what lies below a delimiter, and skip it', async () => {
    const db = await openTrees();
    const tree = db.tree('t', TEXT);
    for (let d = 0; d < 12; d++) {
      for (let n = 0; n < 120; n++) tree.put(`d${String(d).padStart(2, '0')}/${n}`, 'x');
    }
    tree.put('readme', 'r');
    const items = [...tree.list()];
    expect(items).toHaveLength(13);
    expect(items[0]).toEqual({ type: 'prefix', prefix: 'd00/' });
    expect(items[12]).toEqual({ type: 'entry', key: 'readme', value: 'r' });
    expect([...tree.list('d03/')]).toHaveLength(120);
    expect([...tree.list('', { startAfter: 'd09/', limit: 2 })]).toEqual([
      { type: 'prefix', prefix: 'd10/' },
      { type: 'prefix', prefix: 'd11/' },
    ]);
    expect([...tree.list('', { startAfter: 'd09/5', limit: 1 })]).toEqual([
      { type: 'prefix', prefix: 'd10/' },
    ]);
    expect([...tree.list('d0', { delimiter: '' })]).toHaveLength(1200);
  });
});

describe('a put', () => {
  it('into the front of a full leaf, behind a run of others, finds room', async () => {
    const tree = (await openTrees()).tree('t', { key: 'utf8' });
    for (let n = 9; n >= 1; n--) tree.put(`m${n}`, Buffer.alloc(300, n));
    for (let n = 1; n <= 9; n++) tree.put(`a${n}`, Buffer.alloc(0));
    tree.put('b0', Buffer.alloc(500, 7));
    expect(tree.get('b0')).toEqual(Buffer.alloc(500, 7));
    expect(tree.count()).toBe(19);
  });

  it('of the longest value goes through when more ids are needed than are in reserve', async () => {
    const ringBytes = 2 ** 23;
    const log = { ringBytes, segmentBytes: 2 * ringBytes, bytesMax: 4 * ringBytes, intervalMs: 0 };
    const db = await openTrees(newDisk(), { frames: 4096, log });
    const tree = db.tree('t', TEXT);
    const longest = 'v'.repeat(ringBytes / 2 - 10 * 1024);
    tree.put('a', longest);
    expect(tree.get('a')).toBe(longest);
  });
});

describe('a look at a value', () => {
  it('may look up other keys, also when it has to look again', async () => {
    const db = await openTrees();
    const tree = db.tree('t', TEXT);
    tree.put('k1', 'one');
    tree.put('k2', 'two');
    await db.checkpoint();
    let looks = 0;
    const found = tree.read('k1', (bytes, start, end) => {
      if (looks++ === 0) {
        expect(tree.get('k2')).toBe('two');
        for (const id of db.pool.list()) db.pool.evict(id);
      }
      return Buffer.from(bytes.subarray(start, end)).toString();
    });
    expect(found).toBe('one');
    expect(looks).toBeGreaterThan(1);
  });
});

describe('a clear', () => {
  it('of crossed bounds does nothing, and bounds may be as long as keys', async () => {
    const tree = (await openTrees()).tree('t');
    const longest = Buffer.alloc(512, 0x61);
    const end = Buffer.alloc(512, 0xff);
    for (const key of [longest, end, Buffer.from('b')]) tree.put(key, Buffer.from('x'));
    expect(tree.clear({ gte: Buffer.from('z'), lt: Buffer.from('a') })).toBe(0);
    expect(tree.clear({ gt: end })).toBe(0);
    expect(tree.clear({ lte: longest })).toBe(1);
    expect(tree.clear({ gt: longest, lte: end })).toBe(2);
  });
});

describe('batches', () => {
  it('do everything in order, the last operation on a key wins, and none is nothing', async () => {
    const db = await openTrees();
    const tree = db.tree('t', TEXT);
    expect(tree.batch([])).toBe(0);
    tree.put('old', '0');
    tree.batch([
      { type: 'put', key: 'a', value: '1' },
      { type: 'put', key: 'a', value: '2' },
      { type: 'put', key: 'b', value: '3' },
      { type: 'del', key: 'b' },
      { type: 'del', key: 'old' },
      { type: 'del', key: 'never' },
    ]);
    expect(tree.range().toArray()).toEqual([['a', '2']]);
  });

  it('split leaves as often as they must, in order or not, in several trees at once', async () => {
    const disk = newDisk();
    const db = await openTrees(disk, { frames: 160 });
    const [one, two] = [db.tree('one', TEXT), db.tree('two', TEXT)];
    const all = numbered(300);
    const shuffled = [...all].sort(([a], [b]) => (a.slice(-2) < b.slice(-2) ? -1 : 1));
    for (const part of [all, shuffled]) {
      const operations = part.map(([key, value]) => ({ type: 'put', key, value }) as const);
      db.batch(operations.map((operation) => ({ tree: one, operation })));
      for (let at = 0; at < 300; at += 50) two.batch(operations.slice(at, at + 50));
    }
    db.durableSync();
    for (const tree of [one, two]) expect(tree.range().toArray()).toEqual(all);
    const again = await openTrees(killed(disk), { frames: 160 });
    for (const name of ['one', 'two']) {
      expect(again.tree(name, TEXT).range().toArray()).toEqual(all);
    }
  });

  it('with long values may begin behind all keys, and go on before them', async () => {
    const disk = newDisk();
    const db = await openTrees(disk, { frames: 128 });
    const tree = db.tree('t', TEXT);
    // In order, so that a split expects more of that; up to where nothing more fits.
    const all = new Map(numbered(57).map(([key]) => [key, 'v'.repeat(30)]));
    for (const [key, value] of all) tree.put(key, value);
    const more = [
      ['key/00100', 'behind'.repeat(35)],
      ['key/00000x', 'before'.repeat(35)],
      ['other', 'long'.repeat(2000)],
    ] as const;
    for (const [key, value] of more) all.set(key, value);
    tree.batch(more.map(([key, value]) => ({ type: 'put', key, value })));
    const expected = [...all].sort(([a], [b]) => (a < b ? -1 : 1));
    expect(tree.range().toArray()).toEqual(expected);
    db.durableSync();
    const again = await openTrees(killed(disk), { frames: 128 });
    expect(again.tree('t', TEXT).range().toArray()).toEqual(expected);
  });

  it('leave nodes to a replay that split and merge as they did', async () => {
    const disk = newDisk();
    const db = await openTrees(disk, { frames: 128 });
    const tree = db.tree('t', { key: 'utf8' });
    // Garbage, then a batch that builds its leaf anew: what is left decides about the next split.
    for (let n = 0; n < 10; n++) tree.put(`k0${n}`, Buffer.alloc(100, 1));
    for (const bytes of [400, 401, 400, 401]) tree.put('g00', Buffer.alloc(bytes, 1));
    const batch = [
      ['k00', 101],
      ['k01', 101],
      ['k10', 100],
      ['k11', 100],
      ['k12', 100],
    ] as const;
    tree.batch(batch.map(([key, n]) => ({ type: 'put', key, value: Buffer.alloc(n, 2) })));
    for (let n = 0; n < 10; n++) tree.put(`m0${n}`, Buffer.alloc(100, 3));
    for (const key of tree.keys().toArray()) if (key !== 'g00') tree.delete(key);
    db.durableSync();
    const again = await openTrees(killed(disk), { frames: 128 });
    expect(again.tree('t', { key: 'utf8' }).keys().toArray()).toEqual(['g00']);
  });

  it('that are too large are refused, and nothing is done', async () => {
    const db = await openTrees();
    const tree = db.tree('t', TEXT);
    const operations = numbered(40).map(
      ([key]) => ({ type: 'put', key, value: 'x'.repeat(900) }) as const,
    );
    expect(() => tree.batch(operations)).toThrow(/ringBytes|frames/);
    expect(tree.count()).toBe(0);
  });
});

describe('space', () => {
  it('comes back when keys are deleted one by one, cleared, or with their tree', async () => {
    const db = await openTrees();
    const tree = db.tree('t', TEXT);
    for (let cycle = 0; cycle < 3; cycle++) {
      for (const [key, value] of numbered(800)) tree.put(key, value.repeat(10));
      expect(db.pool.list().length).toBeGreaterThan(10);
      if (cycle === 0) for (const [key] of numbered(800)) tree.delete(key);
      else expect(tree.clear(cycle === 1 ? {} : { gte: 'key/', lt: 'key0' })).toBe(800);
      expect(tree.count()).toBe(0);
      await db.checkpoint();
      expect(db.stats().store.slotsUsed).toBeLessThanOrEqual(3);
    }
    for (const [key, value] of numbered(300)) tree.put(key, value);
    expect(tree.clear({ gt: 'key/00009', lte: 'key/00099' })).toBe(90);
    expect(tree.count()).toBe(210);
    expect(db.dropTree('t')).toBe(true);
    expect(db.dropTree('t')).toBe(false);
    expect(db.trees()).toEqual([]);
    await db.checkpoint();
    expect(db.pool.list()).toHaveLength(1);
  });
});

describe('stores of trees', () => {
  it('know their trees by name, in every opening', async () => {
    const disk = newDisk();
    const db = await openTrees(disk);
    for (const name of ['b', 'a', 'ä/ö', '']) db.tree(name, TEXT).put('k', name);
    expect(db.trees()).toEqual(['', 'a', 'b', 'ä/ö']);
    await db.close();
    const again = await openTrees(disk);
    expect(again.trees()).toEqual(['', 'a', 'b', 'ä/ö']);
    for (const name of again.trees()) expect(again.tree(name, TEXT).get('k')).toBe(name);
    expect(again.hasTree('c')).toBe(false);
  });

  it('encode and decode with codecs by name or of their own', async () => {
    const db = await openTrees();
    const big: Codec<bigint> = {
      encode: (value) => {
        const bytes = Buffer.alloc(8);
        bytes.writeBigUInt64BE(value);
        return bytes;
      },
      decode: (bytes) => bytes.readBigUInt64BE(),
    };
    const tree = db.tree('numbers', { key: big as Codec<never>, value: 'json' });
    for (const n of [300n, 2n, 2n ** 60n]) tree.put(n as never, { n: Number(n) });
    expect(tree.keys().toArray()).toEqual([2n, 300n, 2n ** 60n]);
    expect(tree.get(2n as never)).toEqual({ n: 2 });
    expect(() => tree.put(1n as never, undefined as never)).toThrow(TypeError);
    expect(() => db.tree('x', { key: 'utf16' as never })).toThrow(TypeError);
  });

  it('flush, and wait for the disk by themselves when told to', async () => {
    const disk = newDisk();
    const db = await openTrees(disk, { flushBytes: 0 });
    db.tree('t', TEXT).put('a', '1');
    expect((await openTrees(disk.afterCrash(() => 0))).tree('t', TEXT).get('a')).toBe('1');
    const tree = db.tree('t', TEXT);
    for (const change of [
      () => tree.clear(),
      () => tree.put('b', '2'.repeat(10_000)),
      () => tree.batch([{ type: 'put', key: 'c', value: '3' }]),
      () => tree.delete('c'),
      () => tree.compareAndSwap('b', '2'.repeat(10_000), '4'),
      () => db.tree('other'),
      () => db.dropTree('other'),
    ]) {
      change();
      const { appendedSeq, durableSeq } = db.stats().log ?? { appendedSeq: -1, durableSeq: -2 };
      expect(durableSeq, String(change)).toBe(appendedSeq);
    }
    const lazy = await openTrees(newDisk());
    lazy.tree('t', TEXT).put('a', '1');
    await lazy.flush();
    const { appendedSeq, durableSeq } = lazy.stats().log ?? { appendedSeq: -1, durableSeq: -2 };
    expect(durableSeq).toBe(appendedSeq);
  });

  it('are dropped in one step, wherever a crash comes between', async () => {
    const disk = newDisk();
    const KEYS = 120;
    const before = await openTrees(disk);
    const full = before.tree('t', TEXT);
    for (let n = 0; n < KEYS; n++) full.put(`key ${n}`, 'v'.repeat(200));
    await before.close();
    const recording = record(disk.afterKill(), () => true);
    // Every step of the drop is written before the next one.
    const db = await openTrees(disk, { fileSystem: recording.fs, flushBytes: 0 });
    db.dropTree('t');
    let [whole, gone] = [0, 0];
    const at = disk.afterKill();
    await replaySteps(at, recording, async () => {
      const left = await openTrees(at.afterKill());
      if (left.hasTree('t')) whole++;
      else gone++;
      expect(left.tree('t', TEXT).count()).toBe(whole > 0 && gone === 0 ? KEYS : 0);
      await left.close();
    });
    expect([whole > 0, gone > 4]).toEqual([true, true]);
  });

  it('are read without being changed', async () => {
    const disk = newDisk();
    const db = await openTrees(disk);
    db.tree('t', TEXT).put('a', '1');
    await db.close();
    const reader = await openTrees(disk, { readOnly: true });
    const tree = reader.tree('t', TEXT);
    expect(tree.get('a')).toBe('1');
    expect(() => tree.put('b', '2')).toThrow(expect.objectContaining({ code: 'READ_ONLY' }));
    expect(() => reader.tree('new')).toThrow(expect.objectContaining({ code: 'TREE_NOT_FOUND' }));
  });
});
