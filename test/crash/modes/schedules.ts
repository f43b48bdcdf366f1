/**
 * The mode `schedules`: latch, page table, mapping, log and reaper under chosen interleavings. Real
 * threads run the shipped control module, gated at its atomic instructions, and are let go one step
 * at a time (test/support/schedule). What breaks a promise is told with the schedule that does it.
 *
 * A run is one program: every schedule with few preemptions up to a bound, in a random order, then
 * random ones; every second time a program comes round, random ones alone.
 */
import type { Mode, Run } from '../../../src/harness/index.ts';
import { type Play, startThread } from '../../../src/harness/parts.ts';
import { PROGRAMS } from '../../support/schedule/programs.ts';
import { ScheduleRunner } from '../../support/schedule/runner.ts';
import { serve, type WorkerData } from '../../support/schedule/worker.ts';
import { type GatedModules, gatedModulesMissing, makeGatedModules } from './gated.ts';

const NAME = 'schedules';
const PREEMPTIONS = 2;
const EXHAUSTIVE_MAX = 500;
const RANDOM = 300;
/** Each program has a memory of its own, and each memory reserves gigabytes of addresses. */
const PROGRAMS_PER_START = 10;

export const playSchedule: Play = (data: WorkerData) => serve(data);

export function schedulesMode(self: string): Mode {
  const names = [...PROGRAMS.keys()];
  let modules: GatedModules | undefined;
  let runner: ScheduleRunner | undefined;
  let started = 0;

  async function freshRunner(): Promise<ScheduleRunner> {
    if (runner !== undefined && started++ % PROGRAMS_PER_START !== 0) return runner;
    await runner?.stop();
    started = 1;
    runner = await ScheduleRunner.start((data) => startThread(self, NAME, data));
    return runner;
  }

  return {
    name: NAME,
    summary: 'runs latches, page table, log and reaper under chosen interleavings',
    runs: names.length,
    ofSubjects: false,
    async prepare() {
      const missing = gatedModulesMissing();
      if (missing === undefined) modules = await makeGatedModules();
      return missing;
    },
    async run({ number, random, tally }: Run): Promise<readonly string[]> {
      const program = names[number % names.length] as string;
      const isPlain = PROGRAMS.get(program)?.plain === true;
      const isRandom = Math.floor(number / names.length) % 2 === 1;
      const { schedules, violation, schedule } = (await freshRunner()).run({
        program,
        subject: 'the product',
        modules: (modules as GatedModules)[isPlain ? 'plain' : 'atomic'],
        plan: {
          preemptions: isRandom ? -1 : PREEMPTIONS,
          schedulesMax: isRandom ? 0 : EXHAUSTIVE_MAX,
          random: isRandom ? EXHAUSTIVE_MAX + RANDOM : RANDOM,
          seed: random.uint32(),
        },
      });
      tally.schedules += schedules;
      if (violation === undefined) return [];
      const replay = `SCHEDULE='${program} ${schedule}' npx vitest run --project concurrency schedules`;
      return [`${program}: ${violation}; step by step with ${replay}`];
    },
    async finish() {
      await runner?.stop();
      runner = undefined;
    },
  };
}
