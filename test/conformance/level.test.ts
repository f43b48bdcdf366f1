/** `WeirLevel` passes the official suite of abstract-level, all of it (test/scenarios/level-suite.ts). */
import { describe, expect, it } from 'vitest';
import { describeResult, runScenario } from '../support/scenario.ts';

const TIMEOUT_MS = 300_000;
/** Assertions of the suite in abstract-level 3.1.1, with everything that can be supported. */
const ASSERTIONS_MIN = 5000;

describe.each(['directory', 'worker'])('the suite of abstract-level, databases by %s', (mode) => {
  it(
    'passes, with nothing skipped',
    async () => {
      const result = await runScenario('level-suite', { args: [mode], timeoutMs: TIMEOUT_MS });
      const failed = result.stdout.match(/^(?:not ok|# fail|.*# SKIP).*(?:\n {2}.*)*/gm);
      expect(failed, describeResult({ ...result, stdout: '' })).toBeNull();
      const [, tests, pass] = /# tests (\d+)\n# pass {2}(\d+)\n/.exec(result.stdout) ?? [];
      expect(pass).toBe(tests);
      expect(Number(tests)).toBeGreaterThan(ASSERTIONS_MIN);
      expect(result.code, describeResult({ ...result, stdout: '' })).toBe(0);
    },
    TIMEOUT_MS + 30_000,
  );
});
