/** The modes of the harness, shortly; `npm run crash` runs them at length. */
import { describe, expect, it } from 'vitest';
import { testSeed } from '../support/seed.ts';
import { runCrash } from './broken/catching.ts';

/** The same runs every time, unless others are asked for: LONG=1, SEED=. */
const KNOWN_SEED = 20261126;
const isKnown = process.env['LONG'] !== '1' && process.env['SEED'] === undefined;

const TIMEOUT_MS = 300_000;

interface Case {
  readonly mode: string;
  readonly runs: number;
  /** What it must have done at least. */
  readonly did: Readonly<Record<string, number>>;
}

const CASES: readonly Case[] = [
  { mode: 'points', runs: 1, did: { images: 500 } },
  { mode: 'faults', runs: 3, did: { injections: 25 } },
  { mode: 'rot', runs: 4, did: { placements: 1000 } },
  { mode: 'kill', runs: 3, did: { kills: 10 } },
  { mode: 'terminate', runs: 2, did: { kills: 20 } },
  { mode: 'concurrent', runs: 2, did: { schedules: 100 } },
  { mode: 'soak', runs: 1, did: { kills: 10 } },
];

describe('the harness finds nothing lost', () => {
  it.each(CASES)(
    '$mode, $runs runs',
    async ({ mode, runs, did }) => {
      const args = [
        mode,
        '--runs',
        String(runs),
        '--seed',
        String(isKnown ? KNOWN_SEED : testSeed()),
      ];
      const { report, violation } = await runCrash(args);
      expect(violation).toBe('');
      expect(report).toMatchObject({ mode, runs, violations: 0 });
      for (const [what, least] of Object.entries(did)) {
        expect(report[what], what).toBeGreaterThanOrEqual(least);
      }
    },
    TIMEOUT_MS,
  );
});
