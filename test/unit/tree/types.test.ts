/** What the types of trees say; the type checker of `npm run lint` reads what is expected here. */
import type { Buffer } from 'node:buffer';
import { expectTypeOf, it } from 'vitest';
import type { Codec } from '../../../src/tree/codec.ts';
import type { Range } from '../../../src/tree/range.ts';
import type { ListItem, Tree } from '../../../src/tree/tree.ts';
import { openTrees } from './support.ts';

const dates: Codec<Date> = {
  encode: (value) => value.toISOString(),
  decode: (bytes) => new Date(bytes.toString()),
};

it('a tree is of bytes, or of what its codecs are of', async () => {
  const db = await openTrees();
  expectTypeOf(db.tree('bytes')).toEqualTypeOf<Tree<Uint8Array, Uint8Array>>();
  expectTypeOf(db.tree('text', { key: 'utf8' })).toEqualTypeOf<Tree<string, Uint8Array>>();
  expectTypeOf(db.tree('json', { key: 'utf8', value: 'json' })).toEqualTypeOf<
    Tree<string, unknown>
  >();
  expectTypeOf(db.tree('dates', { key: dates, value: dates })).toEqualTypeOf<Tree<Date, Date>>();
});

it('operations take keys and values of the tree, and give them', async () => {
  const db = await openTrees();
  const tree = db.tree('dates', { key: 'utf8', value: dates });
  expectTypeOf(tree.get('a')).toEqualTypeOf<Date | undefined>();
  expectTypeOf(tree.getMany(['a'])).toEqualTypeOf<(Date | undefined)[]>();
  expectTypeOf(tree.put('a', new Date(0))).toEqualTypeOf<number>();
  expectTypeOf(tree.putIfAbsent('a', new Date(0))).toEqualTypeOf<number | undefined>();
  expectTypeOf(tree.range()).toEqualTypeOf<Range<[string, Date]>>();
  expectTypeOf(tree.keys()).toEqualTypeOf<Range<string>>();
  expectTypeOf(tree.values()).toEqualTypeOf<Range<Date>>();
  expectTypeOf(tree.first()).toEqualTypeOf<[string, Date] | undefined>();
  expectTypeOf(tree.list()).toExtend<Iterable<ListItem<Date>>>();
  expectTypeOf(tree.read('a', (bytes, start, end) => bytes.length + start + end)).toEqualTypeOf<
    number | undefined
  >();
  expectTypeOf(tree.getAsync('a')).toEqualTypeOf<Promise<Date | undefined>>();
  expectTypeOf(dates.decode).parameter(0).toEqualTypeOf<Buffer>();
});

it('what is of another type is refused', async () => {
  const db = await openTrees();
  const tree = db.tree('dates', { key: 'utf8', value: dates });
  const never = (): void => {
    // @ts-expect-error a key of this tree is a string
    tree.get(7);
    // @ts-expect-error a value of this tree is a date
    tree.put('a', 'text');
    // @ts-expect-error no such codec
    db.tree('other', { key: 'utf16' });
    // @ts-expect-error a bound is a key
    tree.range({ gt: 1 });
    // @ts-expect-error a put has a value
    tree.batch([{ type: 'put', key: 'a' }]);
    // @ts-expect-error no such durability
    tree.put('a', new Date(0), { durability: 'maybe' });
  };
  expectTypeOf(never).returns.toBeVoid();
});
