/**
 * Mini-transactions of several threads, with everything short: frames, staging, ring, log. LONG=1
 * gives them more time.
 */
import { expect, it } from 'vitest';
import { expectPasses } from '../support/scenario.ts';

const LONG = process.env['LONG'] === '1';
const MS = LONG ? 30_000 : 3000;
const TIMEOUT_MS = MS + 30_000;

it.each([3, 4])(
  'D1 R1 transactions of %i workers go on and keep their totals on the smallest pool',
  async (workers) => {
    const args = [String(workers), String(MS)];
    const { stdout } = await expectPasses('transactions-stress', { args, timeoutMs: TIMEOUT_MS });
    expect(stdout).toMatch(/transactions, at most/);
    process.stderr.write(stdout);
  },
  TIMEOUT_MS * 2,
);
