/**
 * Latch, page table, mapping and reaper under chosen interleavings: real workers that run the
 * shipped control module, gated at its atomic instructions and let go by a scheduler.
 *
 * The product must pass all programs; each broken kernel must be noticed within a bounded number
 * of schedules, in a fixed order. A failure prints its schedule. To see it step by step:
 *
 *   SCHEDULE='latch-mixed 0*12 1*5' npx vitest run --project concurrency schedules
 */
import { readFileSync } from 'node:fs';
import binaryen from 'binaryen';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Job, type JobResult, readSites } from '../support/schedule/jobs.ts';
import { PROGRAMS } from '../support/schedule/programs.ts';
import { gatedModules, runJobs } from '../support/schedule/run.ts';
import { VARIANTS } from '../support/schedule/variants.ts';
import { testSeed } from '../support/seed.ts';

const LONG = process.env['LONG'] === '1';
const REPLAY = process.env['SCHEDULE'];
/** On the product: all schedules with one preemption, many with two, then random ones. */
const EXHAUSTIVE_MAX = LONG ? 60_000 : 700;
const RANDOM = LONG ? 20_000 : 300;
/** On a broken kernel; the most that any needs is about 1,700. */
const VARIANT_MAX = 6000;
/** The order in which the schedules of a broken kernel are tried is always the same. */
const VARIANT_SEED = 1;
const SCENARIO_MS = LONG ? 1_800_000 : 120_000;

interface Family {
  /** Invariants that its programs check. */
  readonly ids: string;
  readonly programs: RegExp;
}

const FAMILIES: readonly Family[] = [
  { ids: 'I5 D1', programs: /^(latch|frames-latched)/ },
  { ids: 'D1', programs: /^locks$/ },
  { ids: 'I1', programs: /^(pin|locate|change|drop$|drop-|retire|capture-)/ },
  { ids: 'I3', programs: /^(gate|images)/ },
  { ids: 'R1', programs: /^ring/ },
  { ids: 'I4', programs: /^(miss|chain|load|frames-scarce|delete)/ },
  { ids: 'I6', programs: /^(mapping|slots)/ },
  { ids: 'G1', programs: /^death/ },
];

function isPlain(program: string): boolean {
  return PROGRAMS.get(program)?.plain === true;
}

async function productJob(program: string): Promise<Job> {
  const plan = {
    preemptions: 2,
    schedulesMax: EXHAUSTIVE_MAX,
    random: RANDOM,
    seed: testSeed(),
  };
  const modules = await gatedModules(undefined, isPlain(program));
  return { program, subject: 'the product', modules, plan };
}

async function variantJob({ program, name, patch }: (typeof VARIANTS)[number]): Promise<Job> {
  const plan = { preemptions: 2, schedulesMax: VARIANT_MAX, random: 0, seed: VARIANT_SEED };
  const modules = await gatedModules(patch, isPlain(program));
  return { program, subject: name, modules, plan };
}

function summary(results: readonly JobResult[]): string {
  const lines = results.map((result) => {
    const { program, subject, schedules, steps, ms, complete, at, deaths, undecided } = result;
    const speed = `${Math.round((schedules / ms) * 1000)}/s, ${Math.round(steps / schedules)} steps`;
    const dead = deaths === 0 ? '' : `, ${deaths} deaths of which ${undecided} poison`;
    if (at !== undefined) return `  ${program}, ${subject}: found by schedule ${at}`;
    const whole = `all with ${complete} preemptions`;
    return `  ${program}, ${subject}: ${schedules} schedules, ${whole}, ${speed}${dead}`;
  });
  const [schedules, ms] = results.reduce(([n, t], r) => [n + r.schedules, t + r.ms], [0, 0]);
  return [`${Math.round((schedules / ms) * 1000)} schedules/s, ${schedules} in all`, ...lines].join(
    '\n',
  );
}

function describeFailure({ program, violation, schedule, at }: JobResult): string {
  return (
    `${violation}\nby schedule ${at} of seed ${testSeed()}; step by step with\n` +
    `SCHEDULE='${program} ${schedule}' npx vitest run --project concurrency schedules`
  );
}

describe.skipIf(REPLAY !== undefined).each(FAMILIES)('schedules: $ids', ({ ids, programs }) => {
  const names = [...PROGRAMS.keys()].filter((name) => programs.test(name));
  const variants = VARIANTS.filter(({ program }) => programs.test(program));
  let results: readonly JobResult[] = [];

  beforeAll(async () => {
    const jobs: Job[] = [];
    for (const name of names) jobs.push(await productJob(name));
    for (const variant of variants) jobs.push(await variantJob(variant));
    results = (await runJobs(jobs, SCENARIO_MS)).results;
    process.stderr.write(`${ids}: ${summary(results)}\n`);
  }, 2 * SCENARIO_MS);

  const resultOf = (program: string, subject: string): JobResult => {
    const found = results.find((r) => r.program === program && r.subject === subject);
    if (found === undefined) throw new Error(`there is no result of ${program}, ${subject}`);
    return found;
  };

  for (const name of names) {
    it(`${ids} no schedule of ${name} breaks the product`, () => {
      const result = resultOf(name, 'the product');
      if (result.violation !== undefined) throw new Error(describeFailure(result));
      expect(result.complete, 'preemptions tried exhaustively').toBeGreaterThanOrEqual(0);
    });
  }

  for (const { name, program } of variants) {
    it(`${ids} ${name} is noticed by ${program}`, () => {
      const { violation, schedules } = resultOf(program, name);
      expect(violation, `after ${schedules} schedules`).toBeDefined();
      expect(violation).not.toMatch(/^exception/);
    });
  }
});

it('D1 every atomic instruction of the shipped module has a gate', async () => {
  const { control, sites } = await gatedModules(undefined, false);
  const module = binaryen.readBinary(readFileSync(control));
  const text = module.emitText();
  module.dispose();
  expect(readSites(sites)).toHaveLength(text.match(/\batomic\.(?!fence)/g)?.length ?? 0);
});

it('I5 a schedule that found an error finds it again', async () => {
  const broken = VARIANTS.find(({ name }) => name.startsWith('an exclusive attempt'));
  if (broken === undefined) throw new Error('the variant has another name');
  const job = await variantJob(broken);
  const [first] = (await runJobs([job], SCENARIO_MS)).results;
  const replay = { ...job, schedule: first?.schedule ?? '' };
  const [second] = (await runJobs([replay], SCENARIO_MS)).results;
  expect(second).toMatchObject({ violation: first?.violation, schedule: first?.schedule });
});

it('D1 every program of the schedules belongs to one family', () => {
  for (const name of PROGRAMS.keys()) {
    expect(
      FAMILIES.filter(({ programs }) => programs.test(name)),
      name,
    ).toHaveLength(1);
  }
});

it.skipIf(REPLAY === undefined)('D1 the schedule in SCHEDULE is replayed', async () => {
  const [program = '', ...segments] = (REPLAY ?? '').trim().split(/\s+/);
  const job = { ...(await productJob(program)), schedule: segments.join(' ') };
  const { results, stdout } = await runJobs([job], SCENARIO_MS);
  process.stderr.write(stdout);
  expect(results[0]?.violation).toBeUndefined();
});
