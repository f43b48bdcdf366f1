/**
 * Mode `points`: crashes of a recorded run, at every call that changes the disk, in several ways.
 *
 * The workload runs once, on a disk that remembers its calls. Then, before each call, the disk is
 * had as it would be after the end of the process or of the power there; what was not synced is
 * kept, dropped, or torn, names that were not synced may be missing. Each such image is checked,
 * opened, compared, used and crashed again; now and then its recovery is crashed at every call.
 */
import { type Expectation, recover, violationsOf } from './images.ts';
import type { Mode, Tally } from './mode.ts';
import { type Mark, Oracle } from './oracle.ts';
import type { PartContext } from './parts.ts';
import { Random } from './random.ts';
import { type Recording, record, replaySteps } from './recording.ts';
import { type Session, type Workload, workloadOf } from './session.ts';
import { GRANULES, SimFileSystem } from './sim-file-system.ts';
import { takeHangs, underStepClock } from './step-clock.ts';

/** Steps of the workload between two openings. */
const STEPS = [45, 30, 25];
const RECOVERY_STEPS = 4;
/** Commits without which a workload says nothing. */
const COMMITS_MIN = 20;
const RUNS = 10;

// biome-ignore lint/suspicious/noExplicitAny: notes are a matter of the workload alone
type AnyOracle = Oracle<any>;

/** What was known at a moment, and by whom. */
interface Moment {
  readonly oracle: AnyOracle;
  readonly mark: Mark;
}

export interface RecordedRun {
  readonly base: SimFileSystem;
  readonly recording: Recording<Moment>;
  readonly oracle: AnyOracle;
  readonly commits: number;
  readonly violations: readonly string[];
}

/** The workload, on a disk that keeps everything: three openings, each ending with a close. */
export async function runWorkload(workload: Workload, random: Random): Promise<RecordedRun> {
  const base = new SimFileSystem();
  const oracle: AnyOracle = new Oracle();
  const now = (): Moment => ({ oracle, mark: oracle.mark() });
  const recording = record(base.afterKill(), now);
  const session = workload.session({ fs: recording.fs, oracle, random });
  const violations: string[] = [];
  try {
    for (const steps of STEPS) {
      await session.open();
      session.assertFacts();
      await session.run(steps);
      session.assertFacts();
      await session.close();
    }
  } catch (error) {
    violations.push(`the workload: ${(error as Error).stack}`);
  }
  violations.push(...takeHangs(), ...oracle.violations);
  return { base, recording, oracle, commits: oracle.commits.length, violations };
}

type Chooser = (end: number) => number;

/** What is left of what was not synced. */
export const LOSSES = { all: 0, nothing: 1, bytes: 2, names: 3, any: 4 } as const;
export type Loss = (typeof LOSSES)[keyof typeof LOSSES];

function chooserOf(loss: Loss, random: Random): Chooser {
  switch (loss) {
    case LOSSES.all:
      return (end) => (end === 2 ? 0 : 1);
    case LOSSES.nothing:
      return (end) => (end === 2 ? 1 : 0);
    case LOSSES.bytes:
      return () => 1;
    case LOSSES.names:
      return (end) => (end === 2 ? 0 : 2);
    case LOSSES.any:
      return (end) => random.int(end);
  }
}

export interface PointOptions {
  /** Ways to lose power at a call. */
  readonly losses: (call: number) => readonly Loss[];
  /** Whether the process is also killed there. */
  readonly kill: (call: number) => boolean;
  /** Whether the recovery of the images at a call crashes in its turn, at every call. */
  readonly deeper?: (call: number) => boolean;
  /** Whether an image is opened once more in the end. */
  readonly again: (image: number) => boolean;
}

const ONE_BY_ONE = [LOSSES.all, LOSSES.nothing, LOSSES.bytes, LOSSES.names];
const DEEPER_EVERY = 331;

/** Every call, two ways of losing power at each, a kill at each third. */
export const EVERY_CALL: PointOptions = {
  losses: (call) => [ONE_BY_ONE[call % ONE_BY_ONE.length] as Loss, LOSSES.any],
  kill: (call) => call % 3 === 0,
  deeper: (call) => call % DEEPER_EVERY === 100,
  again: (image) => image % 4 === 0,
};

export class CrashPoints {
  readonly #workload: Workload;
  readonly #seed: number;
  readonly #tally: Tally;
  readonly violations: string[] = [];
  /** Of this run, which must not depend on those before it. */
  #images = 0;

  constructor(workload: Workload, seed: number, tally: Tally) {
    this.#workload = workload;
    this.#seed = seed;
    this.#tally = tally;
  }

  /** Every call of the workload, until something is wrong. */
  ofWorkload(options: PointOptions): Promise<RecordedRun> {
    return underStepClock(() => this.#ofWorkload(options));
  }

  async #ofWorkload(options: PointOptions): Promise<RecordedRun> {
    const run = await runWorkload(this.#workload, Random.fork(this.#seed, 0));
    this.violations.push(...run.violations);
    if (run.commits < COMMITS_MIN) this.violations.push(`only ${run.commits} commits were made`);
    await this.#of(run.base, run.recording, options, '');
    await this.#atTheEnd(run);
    return run;
  }

  /** After the last close everything is there, whatever happens to the power. */
  async #atTheEnd({ base, recording, oracle }: RecordedRun): Promise<void> {
    const disk = base.afterKill();
    await replaySteps(disk, recording, async () => undefined);
    const mark = oracle.mark();
    const expectation = { oracle, mark, least: mark.issued };
    const image = disk.afterCrash(chooserOf(LOSSES.nothing, new Random(this.#seed)));
    const options = { ...EVERY_CALL, deeper: () => false };
    await this.#check(image, expectation, options, 'after the close, power loss', -1);
  }

  async #of(
    base: SimFileSystem,
    recording: Recording<Moment>,
    options: PointOptions,
    label: string,
  ): Promise<void> {
    const disk = base.afterKill();
    await replaySteps(disk, recording, async (moment, call) => {
      const random = Random.fork(this.#seed, call);
      const { mark } = moment;
      for (const loss of options.losses(call)) {
        const image = disk.afterCrash(chooserOf(loss, random), random.pick(GRANULES));
        const name = `${label}call ${call}, power loss ${loss}`;
        await this.#check(image, { ...moment, least: mark.synced }, options, name, call);
      }
      if (!options.kill(call)) return;
      const killed = { ...moment, least: mark.written };
      await this.#check(disk.afterKill(), killed, options, `${label}call ${call}, kill`, call);
    });
  }

  async #check(
    image: SimFileSystem,
    expectation: Expectation,
    options: PointOptions,
    name: string,
    call: number,
  ): Promise<void> {
    if (this.violations.length > 0) return;
    const n = this.#images++;
    this.#tally.images++;
    const random = Random.fork(this.#seed, -1 - call);
    if (options.deeper?.(call) === true) {
      await this.#deeper(image, expectation, { ...options, deeper: () => false }, name);
    }
    const settings = { steps: 2, again: options.again(n) };
    const found = await violationsOf(this.#workload, image, expectation, random, settings);
    this.violations.push(...takeHangs(), ...found.map((text) => `${name}: ${text}`));
  }

  /** Crashes while the image is recovered and used again. */
  async #deeper(
    base: SimFileSystem,
    expectation: Expectation,
    options: PointOptions,
    name: string,
  ): Promise<void> {
    const random = Random.fork(this.#seed, this.#images);
    const { oracle, least } = expectation;
    const mark = { ...expectation.mark, written: least };
    let left: AnyOracle | undefined;
    // Before the opening has told what is left, no more and no less is known than before it.
    const now = (): Moment =>
      left === undefined ? { oracle, mark } : { oracle: left, mark: left.mark() };
    const recording = record(base.afterKill(), now);
    const found = await recover(this.#workload, recording.fs, expectation, random);
    const session: Session<unknown> = found.session;
    left = session.oracle;
    this.violations.push(...found.violations);
    await session.run(RECOVERY_STEPS);
    await session.pool.checkpoint();
    await session.close();
    await this.#of(base, recording, options, `${name}, recovery `);
  }
}

/** Workloads in turns; each run crashes one of them at every call. */
export function pointsMode(workloads: readonly Workload[]): Mode {
  return {
    name: 'points',
    summary: 'every file call of seeded workloads is a crash point, on a simulated disk',
    runs: RUNS,
    async run({ number, random, tally }) {
      const workload = workloads[number % workloads.length] as Workload;
      const points = new CrashPoints(workload, random.uint32(), tally);
      await points.ofWorkload(EVERY_CALL);
      return points.violations.map((text) => `${workload.name}: ${text}`);
    },
  };
}

export function workloadsOf({ subjects, workloads = [] }: PartContext): readonly Workload[] {
  return [...workloads, ...subjects.map(workloadOf)];
}
