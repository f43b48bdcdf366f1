/**
 * Every decoder on mutated input: each family in a process of its own, whose loops and heaps end with
 * it. `LONG=1` runs many more cases; `SEED=` replays.
 */
import { describe, expect, it } from 'vitest';
import { describeResult, runScenario, symptomOf } from '../support/scenario.ts';
import { FAMILY_RUNS } from './support/runs.ts';

const isLong = process.env['LONG'] === '1';
const HOURS_MS = 3 * 60 * 60 * 1000;
/** Far more than a normal run takes: cases that loop are told earlier, by what they compute. */
const NORMAL_MS = 180_000;
const LIMIT_MS = isLong ? HOURS_MS : NORMAL_MS;

/** A heap that no case fills, and that one which grows for ever soon does. */
const NODE_ARGS: readonly string[] = ['--max-old-space-size=512'];

describe.concurrent('whatever it is given, a decoder ends with a result or an error of ours', () => {
  it.each(Object.entries(FAMILY_RUNS))(
    '%s',
    async (name, [normal, long]) => {
      const runs = isLong ? long : normal;
      const args = [name, String(runs)];
      const result = await runScenario('fuzz', { args, timeoutMs: LIMIT_MS, nodeArgs: NODE_ARGS });
      expect(symptomOf(result), describeResult(result)).toBe('none');
      const report = JSON.parse(result.stdout) as { family: string; runs: number };
      expect(report).toMatchObject({ family: name, runs });
      if (isLong) process.stderr.write(result.stdout);
    },
    LIMIT_MS + 10_000,
  );
});
