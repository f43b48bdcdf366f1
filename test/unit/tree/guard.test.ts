/** Changes of trees that are made only if an entry is as its guard says. */
import { Buffer } from 'node:buffer';
import { expect, it } from 'vitest';
import type { Entry, Guard } from '../../../src/tree/change.ts';
import { openTrees } from './support.ts';

const LONG = Buffer.alloc(9000, 7);

type Make = (tree: number, other: number) => Entry[];

const SHAPES: readonly (readonly [string, Make])[] = [
  ['one short value', (tree) => [putOf(tree, 'a', 'new')]],
  ['a batch', (tree, other) => [putOf(tree, 'a', 'new'), putOf(other, 'x', '1')]],
  ['one long value', (tree) => [{ tree, key: 'a', value: LONG }]],
  [
    'a long value and more',
    (tree, other) => [{ tree, key: 'a', value: LONG }, putOf(other, 'x', '1')],
  ],
  ['a deletion and more', (tree, other) => [delOf(tree, 'a'), putOf(other, 'x', '1')]],
];

it.each(SHAPES)(
  'I1 %s is changed if the guard holds, and its count moves once',
  async (_name, entriesOf) => {
    const db = await openTrees();
    const tree = db.tree('tree');
    const other = db.tree('other');
    const { store, root } = tree.place;
    const otherRoot = other.place.root;
    for (const old of [undefined, Buffer.from('old'), LONG]) {
      if (old === undefined) tree.delete(Buffer.from('a'));
      else tree.put(Buffer.from('a'), old);
      other.delete(Buffer.from('x'));
      const entries = entriesOf(root, otherRoot);
      const seen: (Buffer | undefined)[] = [];
      let sealed = 0;
      const guardOf = (holds: boolean): Guard => ({
        tree: root,
        key: 'a',
        holds(bytes, at) {
          const end = at + (old?.length ?? 0);
          seen.push(bytes === undefined ? undefined : Buffer.from(bytes.slice(at, end)));
          return holds;
        },
        sealed() {
          sealed++;
        },
      });
      expect(store.changeIf(entries, guardOf(false))).toBe(0);
      expect([tree.get(Buffer.from('a')), other.has(Buffer.from('x')), sealed]).toEqual([
        old,
        false,
        0,
      ]);
      expect(store.changeIf(entries, guardOf(true))).toBeGreaterThan(0);
      expect(tree.get(Buffer.from('a')) ?? undefined).toEqual(
        entries[0]?.value === undefined ? undefined : Buffer.from(entries[0].value),
      );
      expect([other.has(Buffer.from('x')), sealed]).toEqual([entries.length > 1, 1]);
      expect(seen.length).toBeGreaterThan(1);
      for (const bytes of seen) expect(bytes).toEqual(old);
    }
  },
);

function putOf(tree: number, key: string, value: string): Entry {
  return { tree, key: Buffer.from(key), value: Buffer.from(value) };
}

function delOf(tree: number, key: string): Entry {
  return { tree, key: Buffer.from(key), value: undefined };
}
