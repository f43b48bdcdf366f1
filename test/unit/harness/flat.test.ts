/** What counts as growth, and what does not. */
import { describe, expect, it } from 'vitest';
import { growth, SAMPLES_MIN, Series } from '../../../src/harness/flat.ts';
import { Random, testSeed } from '../../support/seed.ts';

const TENTH = { share: 0.1, fixed: 5 };

function samples(count: number, value: (n: number) => number): number[] {
  return Array.from({ length: count }, (_, n) => value(n));
}

describe('a figure', () => {
  it('that goes up and down, or warms up, is flat', () => {
    const random = new Random(testSeed());
    expect(
      growth(
        'noise',
        samples(64, () => 100 + random.int(10)),
        TENTH,
      ),
    ).toBeUndefined();
    expect(
      growth(
        'warming',
        samples(64, (n) => Math.min(n * 20, 320)),
        TENTH,
      ),
    ).toBeUndefined();
    expect(
      growth(
        'peaks',
        samples(64, (n) => (n % 5 === 0 ? 9999 : 100)),
        TENTH,
      ),
    ).toBeUndefined();
    expect(
      growth(
        'shrinks',
        samples(64, (n) => 100 - n),
        TENTH,
      ),
    ).toBeUndefined();
  });

  it('that goes on growing is not, however slowly it does', () => {
    expect(
      growth(
        'line',
        samples(64, (n) => 100 + n),
        TENTH,
      ),
    ).toContain('line has grown from 123.5 to 155.5');
    expect(
      growth(
        'line',
        samples(SAMPLES_MIN, (n) => 100 + 4 * n),
        TENTH,
      ),
    ).toBeDefined();
  });

  it('is not judged by few samples', () => {
    expect(
      growth(
        'line',
        samples(SAMPLES_MIN - 1, (n) => n * 1000),
        TENTH,
      ),
    ).toBeUndefined();
  });
});

describe('series', () => {
  it('count what the shortest has, tell all that have grown, and know no other names', () => {
    const series = new Series({ a: TENTH, b: TENTH });
    expect(series.count).toBe(0);
    for (let n = 0; n < 20; n++) series.add({ a: n * 100 });
    expect(series.count).toBe(0);
    for (let n = 0; n < 16; n++) series.add({ b: 1 });
    expect(series.count).toBe(16);
    expect(series.grown()).toEqual([expect.stringContaining('a has grown')]);
    expect(() => series.add({ c: 1 })).toThrow('no allowance for c');
  });
});
