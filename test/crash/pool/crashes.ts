/** Crashes of a recorded run: at every call that changes the disk, in several ways. */

import { type Recording, record, replaySteps } from '../../../src/harness/recording.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { takeHangs, underStepClock } from '../../../src/harness/step-clock.ts';
import { Random } from '../../support/seed.ts';
import { History, type Mark } from './history.ts';
import { type Expectation, recover, violationsOf } from './images.ts';
import { type Product, Session } from './session.ts';

/** Steps of the workload between two openings. */
const STEPS = [45, 30, 25];
const RECOVERY_STEPS = 4;

/** What was known at a moment, and of which history. */
interface Moment {
  readonly history: History;
  readonly mark: Mark;
}

export interface Run {
  readonly base: SimFileSystem;
  readonly recording: Recording<Moment>;
  /** Commits that were made. */
  readonly commits: number;
  readonly violations: readonly string[];
}

/** The workload, on a disk that keeps everything: three openings, each ending with a close. */
export async function runWorkload(product: Product, random: Random): Promise<Run> {
  const base = new SimFileSystem();
  const history = new History();
  const now = (): Moment => ({ history, mark: history.mark() });
  const recording = record(base.afterKill(), now);
  const session = new Session(product, recording.fs, history, random);
  const violations: string[] = [];
  try {
    for (const steps of STEPS) {
      await session.open();
      session.assertState();
      await session.run(steps);
      session.assertState();
      await session.close();
    }
  } catch (error) {
    violations.push(`the workload: ${(error as Error).stack}`);
  }
  violations.push(...takeHangs(), ...history.violations);
  return { base, recording, commits: history.commits.length, violations };
}

type Chooser = (end: number) => number;

/** What is left of what was not synced: see `chooserOf`. */
export const LOSSES = { all: 0, nothing: 1, bytes: 2, names: 3, any: 4 };

function chooserOf(loss: number, random: Random): Chooser {
  switch (loss) {
    case LOSSES.all:
      return (end) => (end === 2 ? 0 : 1);
    case LOSSES.nothing:
      return (end) => (end === 2 ? 1 : 0);
    case LOSSES.bytes:
      return () => 1;
    case LOSSES.names:
      return (end) => (end === 2 ? 0 : 2);
    default:
      return (end) => random.int(end);
  }
}

export interface CrashOptions {
  /** Ways to lose power at a call. */
  readonly losses: (call: number) => readonly number[];
  /** Whether the process is also killed there. */
  readonly kill: (call: number) => boolean;
  /** Whether the recovery of the images at a call crashes in its turn, at every call. */
  readonly deeper?: (call: number) => boolean;
  /** Whether an image is opened once more in the end. */
  readonly again: (image: number) => boolean;
}

export class Crashes {
  readonly #product: Product;
  readonly #seed: number;
  readonly violations: string[] = [];
  images = 0;
  /** Images whose recovery was crashed. */
  deep = 0;

  constructor(product: Product, seed: number) {
    this.#product = product;
    this.#seed = seed;
  }

  /** Every call of the workload, until something is wrong. */
  ofWorkload(options: CrashOptions): Promise<Run> {
    return underStepClock(() => this.#ofWorkload(options));
  }

  async #ofWorkload(options: CrashOptions): Promise<Run> {
    const run = await runWorkload(this.#product, Random.fork(this.#seed, 0));
    this.violations.push(...run.violations);
    await this.#of(run.base, run.recording, options, '');
    return run;
  }

  async #of(
    base: SimFileSystem,
    recording: Recording<Moment>,
    options: CrashOptions,
    label: string,
  ): Promise<void> {
    const disk = base.afterKill();
    await replaySteps(disk, recording, async (moment, call) => {
      const random = Random.fork(this.#seed, call);
      const { mark } = moment;
      for (const loss of options.losses(call)) {
        const image = disk.afterCrash(chooserOf(loss, random));
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
    options: CrashOptions,
    name: string,
    call: number,
  ): Promise<void> {
    if (this.violations.length > 0) return;
    const n = this.images++;
    const random = Random.fork(this.#seed, -n);
    if (options.deeper?.(call) === true) {
      this.deep++;
      await this.#deeper(image, expectation, { ...options, deeper: () => false }, name);
    }
    const settings = { steps: 2, again: options.again(n) };
    const found = await violationsOf(this.#product, image, expectation, random, settings);
    this.violations.push(...takeHangs(), ...found.map((text) => `${name}: ${text}`));
  }

  /** Crashes while the image is recovered and used again. */
  async #deeper(
    base: SimFileSystem,
    expectation: Expectation,
    options: CrashOptions,
    name: string,
  ): Promise<void> {
    const random = Random.fork(this.#seed, -this.images);
    const { history, least } = expectation;
    const mark = { ...expectation.mark, written: least };
    let left: History | undefined;
    // Before the opening has told what is left, no more and no less is known than before it.
    const now = (): Moment =>
      left === undefined ? { history, mark } : { history: left, mark: left.mark() };
    const recording = record(base.afterKill(), now);
    const { session, violations } = await recover(this.#product, recording.fs, expectation, random);
    left = session.history;
    this.violations.push(...violations);
    await session.run(RECOVERY_STEPS);
    await session.pool.checkpoint();
    await session.close();
    await this.#of(base, recording, options, `${name}, recovery `);
  }
}
