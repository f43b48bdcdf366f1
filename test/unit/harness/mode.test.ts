/** The loop of runs: what it counts, where it stops, and that a run can be had again. */
import { describe, expect, it } from 'vitest';
import { type Mode, type Run, runMode } from '../../../src/harness/mode.ts';

function modeOf(run: (run: Run) => Promise<readonly string[]>, more: Partial<Mode> = {}): Mode {
  return { name: 'test', summary: '', runs: 5, run, ...more };
}

describe('runMode', () => {
  it('stops at the first violation and says which run it was', async () => {
    const numbers: number[] = [];
    const mode = modeOf(async ({ number, tally }) => {
      numbers.push(number);
      tally.images += 2;
      return number === 2 ? ['lost'] : [];
    });
    const outcome = await runMode(mode, { seed: 7 });
    expect(numbers).toEqual([0, 1, 2]);
    expect(outcome).toMatchObject({ failedRun: 2, violations: ['lost'], skipped: undefined });
    expect(outcome.report).toEqual({
      mode: 'test',
      seed: 7,
      runs: 3,
      images: 6,
      kills: 0,
      injections: 0,
      placements: 0,
      schedules: 0,
      violations: 1,
    });
  });

  it('gives a run the same numbers whichever runs were before it', async () => {
    const drawn: (readonly [number, number])[] = [];
    const mode = modeOf(async ({ number, random }) => {
      drawn.push([number, random.uint32()]);
      return [];
    });
    await runMode(mode, { seed: 7, runs: 4 });
    await runMode(mode, { seed: 7, run: 3 });
    expect(drawn[4]).toEqual(drawn[3]);
    expect(new Set(drawn.slice(0, 4).map(([, value]) => value)).size).toBe(4);
  });

  it('counts a run that throws as a violation, and finishes', async () => {
    let finished = 0;
    const mode = modeOf(() => Promise.reject(new Error('broken')), {
      finish: async () => void finished++,
    });
    const { violations, failedRun } = await runMode(mode, { seed: 1 });
    expect(violations[0]).toMatch(/^Error: broken/);
    expect([failedRun, finished]).toEqual([0, 1]);
  });

  it('runs nothing where the machine lacks something', async () => {
    const mode = modeOf(async () => ['never'], { prepare: async () => 'there is no root' });
    const { report, skipped, violations } = await runMode(mode, { seed: 1 });
    expect([report.runs, skipped, violations]).toEqual([0, 'there is no root', []]);
  });
});
