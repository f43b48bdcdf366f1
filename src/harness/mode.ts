/**
 * Modes of the harness, and the one loop that runs them.
 *
 * A mode is a sequence of numbered runs; a run depends on the seed and its number alone, so that
 * the first violation can be had again with `--seed S --run N`.
 */
import { Random } from './random.ts';

/** What was done so far. */
export interface Tally {
  runs: number;
  /** Crash images opened and compared. */
  images: number;
  /** Processes killed, threads terminated. */
  kills: number;
  /** Faults that were met. */
  injections: number;
  /** Damage that was placed and looked for. */
  placements: number;
  /** Interleavings that were executed. */
  schedules: number;
}

/** What was done beyond the tally: numbers by name. */
export type Details = Record<string, number>;

export function addDetails(details: Details, more: Readonly<object>): void {
  for (const [name, count] of Object.entries(more)) details[name] = (details[name] ?? 0) + count;
}

/** The last line of `--json`. */
export interface CrashReport extends Tally {
  readonly mode: string;
  readonly seed: number;
  readonly violations: number;
}

/** One run of a mode. */
export interface Run {
  readonly number: number;
  readonly seed: number;
  /** Of the seed and the run's number. */
  readonly random: Random;
  /** To be counted up. */
  readonly tally: Tally;
  /** To be added to. */
  readonly details: Details;
  /** The time that was given, if one was. */
  readonly seconds: number | undefined;
  /** When the time that was given is over; long runs end early then, without a violation. */
  readonly signal: AbortSignal;
}

export interface Mode {
  readonly name: string;
  /** One line for `--help`. */
  readonly summary: string;
  /** Runs unless told otherwise. */
  readonly runs: number;
  /** Whether it is of subjects, of which `--subject` names one. Default true. */
  readonly ofSubjects?: boolean;
  /** Before the first run: why it cannot be run on this machine, or undefined. */
  prepare?(): Promise<string | undefined>;
  /** What is wrong, in words that end up in the report; nothing for a run that went well. */
  run(run: Run): Promise<readonly string[]>;
  /** After the last run, also when it has failed. */
  finish?(): Promise<void>;
}

export interface ModeOptions {
  readonly seed: number;
  /** Default: until the seconds are over, or the mode's own number. */
  readonly runs?: number | undefined;
  readonly seconds?: number | undefined;
  /** Only this run. */
  readonly run?: number | undefined;
  /** Called after every run. */
  readonly onProgress?: (tally: Readonly<Tally>) => void;
}

export interface Outcome {
  readonly report: CrashReport;
  readonly details: Readonly<Details>;
  readonly violations: readonly string[];
  /** The run that was violated first. */
  readonly failedRun: number | undefined;
  /** Why nothing was run: this machine lacks something. */
  readonly skipped: string | undefined;
}

function emptyTally(): Tally {
  return { runs: 0, images: 0, kills: 0, injections: 0, placements: 0, schedules: 0 };
}

/** Whether a run has done what it is for. */
export function hasWorked({ images, kills, injections, placements, schedules }: Tally): boolean {
  return images + kills + injections + placements + schedules > 0;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Runs a mode until something is wrong, or runs or time are over. */
export async function runMode(mode: Mode, options: ModeOptions): Promise<Outcome> {
  const { seed, seconds, run: only, onProgress } = options;
  const tally = emptyTally();
  const details: Details = {};
  const violations: string[] = [];
  const skipped = await mode.prepare?.();
  let failedRun: number | undefined;
  if (skipped === undefined) {
    const untilTime = seconds === undefined ? mode.runs : Number.POSITIVE_INFINITY;
    const end = only === undefined ? (options.runs ?? untilTime) : only + 1;
    const signal = AbortSignal.timeout(Math.min(2 ** 31 - 1, (seconds ?? 1e6) * 1000));
    try {
      for (let number = only ?? 0; number < end && !signal.aborted; number++) {
        const random = Random.fork(seed, number);
        const found = await attempt(() =>
          mode.run({ number, seed, random, tally, details, seconds, signal }),
        );
        tally.runs++;
        onProgress?.(tally);
        if (found.length === 0) continue;
        violations.push(...found);
        failedRun = number;
        break;
      }
    } finally {
      await mode.finish?.();
    }
  }
  const report = { mode: mode.name, seed, ...tally, violations: violations.length };
  return { report, details, violations, failedRun, skipped };
}

/** A run that throws is a violation as well. */
async function attempt(run: () => Promise<readonly string[]>): Promise<readonly string[]> {
  try {
    return await run();
  } catch (error) {
    return [messageOf(error)];
  }
}
