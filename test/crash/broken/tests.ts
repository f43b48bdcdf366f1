/**
 * What the tests of the harness have in common: it must catch a product that is broken on purpose, within a
 * bounded number of runs.
 */
import { describe, expect, it } from 'vitest';
import { testSeed } from '../../support/seed.ts';
import { catchBroken } from './catching.ts';
import { BROKEN } from './index.ts';

/** Seeds that are known to get that far, unless others are asked for: LONG=1, SEED=. */
const KNOWN_SEED = 509606467;
const isKnown = process.env['LONG'] !== '1' && process.env['SEED'] === undefined;

const TIMEOUT_MS = 300_000;

/** The modes, by the test files which divide the builds among themselves: files run beside each other. */
const FILES = {
  crashes: ['points', 'kill'],
  faults: ['faults'],
  threads: ['deaths', 'terminate', 'schedules', 'concurrent', 'soak'],
} as const;

/** Tests for the builds of a test file. */
export function catchesBrokenBuilds(file: keyof typeof FILES): void {
  const all: readonly string[] = Object.values(FILES).flat();
  it('there is a test for each build', () => {
    expect(BROKEN.filter(({ mode }) => !all.includes(mode))).toEqual([]);
  });

  const modes: readonly string[] = FILES[file];
  const builds = BROKEN.filter(({ mode }) => modes.includes(mode));
  describe('the harness catches a build that', () => {
    it.each(builds)(
      '$title ($mode)',
      async (broken) => {
        const seed = isKnown ? (broken.seed ?? KNOWN_SEED) : testSeed();
        const { caught, violation, report, seconds } = await catchBroken(broken, seed);
        expect(caught, `nothing is found in ${JSON.stringify(report)}`).toBe(true);
        const first = violation.split('\n')[0];
        process.stderr.write(`${broken.title}: run ${report['runs']}, ${seconds} s: ${first}\n`);
      },
      TIMEOUT_MS,
    );
  });
}
