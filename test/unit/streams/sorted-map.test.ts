/** The sorted map against a plain one, and its cursors while it is being changed. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { SortedMap } from '../../../src/streams/sorted-map.ts';
import { Random, testSeed } from '../../support/seed.ts';

const RUNS = 40;
/** Several chunks. */
const KEYS = 1500;

function keyOf(number: number): string {
  return String(number).padStart(5, '0');
}

function spanOf(random: Random, keys: number) {
  const bound = (): string | undefined =>
    random.int(4) === 0 ? undefined : keyOf(random.int(keys + 2));
  return { low: bound(), high: bound(), reverse: random.int(2) === 0 };
}

function all<T>(cursor: { next(): T | undefined }): T[] {
  const found: T[] = [];
  for (let value = cursor.next(); value !== undefined; value = cursor.next()) found.push(value);
  return found;
}

type Filled = readonly [sorted: SortedMap<string>, plain: Map<string, string>];

/** Filled in ascending, descending or any order. */
function filled(random: Random, keys: number): Filled {
  const [sorted, plain] = [new SortedMap<string>(), new Map<string, string>()];
  const order = random.int(3);
  for (let index = 0; index < keys; index++) {
    const number = order === 0 ? index : order === 1 ? keys - index : random.int(keys);
    sorted.set(keyOf(number), `v${number}`);
    plain.set(keyOf(number), `v${number}`);
  }
  return [sorted, plain];
}

it('has what a plain map has, in order, whatever was put and deleted', () => {
  fc.assert(
    fc.property(fc.nat(), fc.constantFrom(0, 1, 300, KEYS), (seed, keys) => {
      const random = new Random(seed);
      const [sorted, plain] = filled(random, keys);
      for (let change = 0; change < keys; change++) {
        const key = keyOf(random.int(keys));
        if (random.int(3) === 0) {
          sorted.set(key, 'new');
          plain.set(key, 'new');
        } else expect(sorted.delete(key)).toBe(plain.delete(key));
        expect(sorted.size).toBe(plain.size);
      }
      for (let look = 0; look < 20; look++) {
        const key = keyOf(random.int(keys + 2));
        expect(sorted.get(key)).toBe(plain.get(key));
        const { low = '', high = '~', reverse } = spanOf(random, keys);
        const expected = [...plain.keys()].filter((each) => each >= low && each < high).sort();
        if (reverse) expected.reverse();
        const values = expected.map((each) => plain.get(each));
        expect(all(sorted.cursor({ low, high, reverse }))).toEqual(values);
      }
      sorted.clear();
      expect([sorted.size, all(sorted.cursor(spanOf(random, keys)))]).toEqual([0, []]);
    }),
    { seed: testSeed(), numRuns: RUNS },
  );
});

it('a cursor gives what is there all the time, once and in order, while the map changes', () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const random = new Random(seed);
      const [sorted, plain] = filled(random, KEYS);
      const span = spanOf(random, KEYS);
      const stays = new Set([...plain.values()].filter((_, index) => index % 3 === 0));
      const kept = new Set([...plain].filter(([, value]) => stays.has(value)).map(([key]) => key));
      const { low = '', high = '~', reverse } = span;
      const expected = [...kept].filter((key) => key >= low && key < high).sort();
      if (reverse) expected.reverse();
      const cursor = sorted.cursor(span);
      const found: string[] = [];
      for (let value = cursor.next(); value !== undefined; value = cursor.next()) {
        found.push(value);
        for (let change = random.int(20); change > 0; change--) {
          const key = keyOf(random.int(KEYS));
          if (kept.has(key)) continue;
          if (random.int(2) === 0) sorted.delete(key);
          else sorted.set(key, `x${key}`);
        }
      }
      const keys = found.map((value) => keyOf(Number(value.slice(1))));
      expect(keys).toEqual(
        [...new Set(keys)]
          .sort()
          .slice()
          .sort((a, b) => (reverse ? (a < b ? 1 : -1) : a < b ? -1 : 1)),
      );
      expect(keys.filter((key) => kept.has(key))).toEqual(expected);
    }),
    { seed: testSeed(), numRuns: RUNS },
  );
});
