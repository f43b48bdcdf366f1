/**
 * The durable pool on a disk that loses power, and in a process that dies, at every call that
 * changes the disk. LONG=1 takes more runs, and more images of each.
 */
import { describe, expect, it } from 'vitest';
import { Random, testSeed } from '../support/seed.ts';
import { Crashes, type CrashOptions, LOSSES } from './pool/crashes.ts';
import { PRODUCT } from './pool/product.ts';

/** A workload that is known to get that far, unless others are asked for: LONG=1, SEED=. */
const KNOWN_SEED = 3416234173;
const SEED_OF_DEPTH =
  process.env['LONG'] === '1' || process.env['SEED'] !== undefined ? testSeed() : KNOWN_SEED;

const LONG = process.env['LONG'] === '1';
const RUNS = LONG ? 40 : 2;
const TIMEOUT_MS = LONG ? 7_200_000 : 600_000;

const { all, nothing, bytes, names, any } = LOSSES;
const ONE_BY_ONE = [all, nothing, bytes, names];

const NORMAL: CrashOptions = {
  losses: (call) => [ONE_BY_ONE[call % ONE_BY_ONE.length] as number, any],
  kill: (call) => call % 3 === 0,
  again: (image) => image % 4 === 0,
};
const THOROUGH: CrashOptions = {
  losses: () => [...ONE_BY_ONE, any, any, any],
  kill: () => true,
  again: (image) => image % 2 === 0,
};

describe('a pool with a log', () => {
  it.each(Array.from({ length: RUNS }, (_, run) => run))(
    'R1 holds what it promised after a power loss or a kill at any file call, run %i',
    async (run) => {
      const crashes = new Crashes(PRODUCT, Random.fork(testSeed(), run).uint32());
      const { commits } = await crashes.ofWorkload(LONG ? THOROUGH : NORMAL);
      expect(crashes.violations).toEqual([]);
      expect(commits).toBeGreaterThan(50);
      expect(crashes.images).toBeGreaterThan(700);
    },
    TIMEOUT_MS,
  );

  it(
    'R1 holds it also when recovery itself dies at any file call',
    async () => {
      const crashes = new Crashes(PRODUCT, Random.fork(SEED_OF_DEPTH, 1000).uint32());
      const every = LONG ? 7 : 330;
      await crashes.ofWorkload({
        losses: (call) => (call % 3 === 1 ? [any] : []),
        kill: (call) => call % 3 === 1,
        again: () => false,
        deeper: (call) => call % every === 100 % every,
      });
      expect(crashes.violations).toEqual([]);
      expect(crashes.deep).toBeGreaterThan(1);
      expect(crashes.images).toBeGreaterThan(500);
    },
    TIMEOUT_MS,
  );
});
