/** Trees below caching stores. */
import { expect, it } from 'vitest';
import {
  KeyValueStore,
  SessionStore,
  TreeStore,
  WindowStore,
  windowKey,
} from '../../../src/streams/index.ts';
import { killed, newDisk, openTrees } from '../tree/support.ts';
import { bytes, pairs, text } from './support.ts';

it('a flush is one batch of the tree, up to batchMax entries', async () => {
  const db = await openTrees();
  const tree = db.tree('entries');
  const seqs: number[] = [];
  const batch = tree.batch.bind(tree);
  tree.batch = (...args) => {
    seqs.push(args[0].length);
    return batch(...args);
  };
  const store = new KeyValueStore({ inner: new TreeStore(tree, { batchMax: 2 }) });
  for (const key of ['a', 'b', 'c']) store.put(key, '1');
  store.put('a', undefined);
  store.flush();
  expect(seqs).toEqual([2, 1]);
  expect([...tree.keys()].map(text)).toEqual(['b', 'c']);
  expect(() => new TreeStore(tree, { batchMax: 0 })).toThrow(RangeError);
});

it('a flush of more than one record holds is several, and all of it is there', async () => {
  const db = await openTrees();
  const tree = db.tree('entries');
  const inner = new TreeStore(tree, { batchMax: Number.POSITIVE_INFINITY });
  const store = new KeyValueStore({ inner });
  const keys = Array.from({ length: 800 }, (_, n) => String(n).padStart(4, '0'));
  for (const key of keys) store.put(key, 'x'.repeat(200));
  expect(store.flush().map(({ key }) => text(key))).toEqual(keys);
  expect(tree.count()).toBe(800);
});

it('what a flush has written survives the process if it was asked for, also clearing', async () => {
  const disk = newDisk();
  const db = await openTrees(disk);
  const store = new KeyValueStore({
    inner: new TreeStore(db.tree('entries'), { durability: 'written' }),
  });
  store.put('kept', '1');
  store.put('gone', '1');
  store.flush();
  store.put('gone', undefined);
  store.flush();
  store.put('never flushed', '1');
  const left = await openTrees(killed(disk));
  expect([...left.tree('entries').keys()].map(text)).toEqual(['kept']);
  store.clear();
  const cleared = await openTrees(killed(disk));
  expect([...cleared.tree('entries').keys()]).toEqual([]);
});

it('clearing writes nothing, so that no key that another thread has put since is lost', async () => {
  const db = await openTrees();
  const tree = db.tree('entries');
  const inner = new TreeStore(tree, { durability: 'written' });
  inner.put(bytes('k'), bytes('v'));
  const clear = tree.clear.bind(tree);
  tree.clear = (...args) => {
    const count = clear(...args);
    for (const key of ['', '\x00', '\x01']) tree.put(bytes(key), bytes('fresh'));
    return count;
  };
  inner.clear();
  expect(pairs(tree.range())).toEqual(['=fresh', '\x00=fresh', '\x01=fresh']);
});

it('keys and values that the tree could never take are refused when they are put', async () => {
  const db = await openTrees();
  const tree = db.tree('entries');
  const store = new KeyValueStore({ inner: new TreeStore(tree) });
  const { keyBytesMax, valueBytesMax } = tree.limits;
  expect(() => store.put(new Uint8Array(keyBytesMax + 1), '')).toThrow(RangeError);
  expect(() => store.put('k', new Uint8Array(valueBytesMax + 1))).toThrow(RangeError);
  store.put(new Uint8Array(keyBytesMax), 'v');
  store.put('k', new Uint8Array(valueBytesMax));
  expect(store.flush().length).toBe(2);
  // Tombstones too: nothing that no flush can write is kept.
  const long = new Uint8Array(keyBytesMax + 1);
  expect(() => store.put(long, undefined)).toThrow(RangeError);
  expect(() => store.delete(long)).toThrow(RangeError);
  expect(() => store.putAll([[long, undefined]])).toThrow(RangeError);
  const sessions = new SessionStore({ inner: new TreeStore(db.tree('sessions')) });
  expect(() => sessions.remove({ key: long, start: 0, end: 1 })).toThrow(RangeError);
  const windows = new WindowStore({ inner: new TreeStore(db.tree('windows')) });
  expect(() => windows.delete(windowKey(long, 1))).toThrow(RangeError);
  for (const each of [store, sessions, windows]) {
    expect(each.stats().dirty).toBe(0);
    expect(each.flush()).toEqual([]);
  }
});

it('ranges give long values, and go on while the tree is changed', async () => {
  const db = await openTrees();
  const inner = new TreeStore(db.tree('entries'));
  const store = new WindowStore({ inner });
  const long = 'x'.repeat(3000);
  for (let start = 0; start < 300; start++)
    store.put('k', start % 7 === 0 ? long : `v${start}`, start);
  store.flush();
  store.put('k', long, 5);
  const found: string[] = [];
  for (const { start, value } of store.fetch('k', 0, 299)) {
    found.push(`${start}:${value.length}`);
    if (start === 20) inner.delete(bytes('nothing'));
    if (start % 50 === 0) {
      store.put('k', 'later', start + 1);
      store.flush();
    }
  }
  expect(found.map((each) => Number(each.split(':')[0]))).toEqual([...Array(300).keys()]);
  expect([found[5], found[7], found[8]]).toEqual(['5:3000', '7:3000', '8:2']);
  expect(
    store
      .backwardFetch('k', 298, 299)
      .toArray()
      .map(({ start }) => start),
  ).toEqual([299, 298]);
  expect(pairs(store.range(bytes('l'))).length).toBe(0);
});
