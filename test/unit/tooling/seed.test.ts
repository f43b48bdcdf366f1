import { expect, it } from 'vitest';
import { Random, testSeed } from '../../support/seed.ts';

it('the same seed gives the same numbers, another one others', () => {
  const draw = (seed: number) => {
    const random = new Random(seed);
    return Array.from({ length: 20 }, () => random.uint32());
  };
  expect(draw(1)).toEqual(draw(1));
  expect(draw(1)).not.toEqual(draw(2));
  expect(new Set(draw(0)).size).toBe(20);
});

it('the seed of a process stays and is handed on', () => {
  expect(testSeed()).toBe(testSeed());
  expect(process.env['SEED']).toBe(String(testSeed()));
});

it('numbers stay in range and spread over it', () => {
  const random = new Random(testSeed());
  const seen = new Array<number>(8).fill(0);
  for (let i = 0; i < 8000; i++) {
    const n = random.int(8);
    seen[n] = (seen[n] ?? 0) + 1;
  }
  expect(seen.every((count) => count > 700 && count < 1300)).toBe(true);
});

it('a shuffled copy holds the same items', () => {
  const items = [1, 2, 3, 4, 5, 6];
  const random = new Random(testSeed());
  expect(random.shuffled(items).sort()).toEqual(items);
  expect(items).toContain(random.pick(items));
  expect(() => random.pick([])).toThrow(RangeError);
});

it('forks of one seed differ from each other', () => {
  const first = Array.from({ length: 50 }, (_, n) => Random.fork(7, n).uint32());
  expect(new Set(first).size).toBe(50);
  expect(Random.fork(7, 3).uint32()).toBe(first[3]);
});
