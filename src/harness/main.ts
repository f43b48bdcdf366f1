/**
 * The harness as a command: a module that holds subjects calls `main`, and is a program then, which
 * also plays the processes and threads that it kills.
 */
import { randomInt } from 'node:crypto';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { allFaultsMode } from './all-faults.ts';
import { concurrentMode, playConcurrent } from './concurrent.ts';
import { killMode } from './kill.ts';
import { live } from './live.ts';
import { liveThread } from './live-thread.ts';
import { hasWorked, type Mode, type Outcome, runMode } from './mode.ts';
import { type PartContext, type Play, playPart } from './parts.ts';
import { pointsMode, workloadsOf } from './points.ts';
import { powerMode } from './power.ts';
import { SEED_END } from './random.ts';
import { Reporter } from './reporter.ts';
import { rotMode } from './rot.ts';
import { soakMode } from './soak.ts';
import { terminateMode } from './terminate.ts';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;
/** What shells say of a program that a signal has ended. */
const SIGNAL_EXIT = 128;
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };
const RUNS_MAX = 1_000_000_000;
const SECONDS_MAX = 1_000_000;

export interface HarnessProgram extends PartContext {
  /** Modes beyond those of the harness; one of the same name takes its place. */
  readonly modes?: readonly Mode[];
  /** Parts that these modes start. */
  readonly plays?: Readonly<Record<string, Play>>;
  /** How the program is called, for help and replay lines. Default: `node` and its file. */
  readonly command?: string;
}

interface Given {
  readonly runs?: number;
  readonly seconds?: number;
  readonly seed?: number;
  readonly run?: number;
  readonly subject?: string;
  readonly json?: true;
}

function integer(from: number, to: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= from && value <= to) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${from} to ${to}.`);
  };
}

/**
 * Does what the command line says, and sets the exit code: 0 if nothing was wrong, 1 after a
 * violation and when no work was done, 2 for a wrong command line.
 *
 * In a process or thread that the harness has started it plays its part instead.
 */
export async function main(
  program: HarnessProgram,
  argv: readonly string[] = process.argv.slice(2),
): Promise<void> {
  const plays = { ...PLAYS, ...program.plays };
  if (await playPart(plays, program)) return;
  exitOnSignals();
  try {
    await commandOf(program).parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  }
}

/** An exit removes directories and kills what was started; a signal alone would not. */
function exitOnSignals(): void {
  for (const [signal, number] of Object.entries(SIGNALS)) {
    process.once(signal, () => process.exit(SIGNAL_EXIT + number));
  }
}

function commandOf(program: HarnessProgram): Command {
  const names = workloadsOf(program).map(({ name }) => name);
  const called = program.command ?? `node ${process.argv[1]}`;
  const all = new Command()
    .name(called)
    .description('Searches for lost data until it is told to stop, or finds some.')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError();
  for (const mode of modesOf(program, undefined)) {
    const command = all
      .command(mode.name)
      .description(mode.summary)
      .option('--runs <count>', `so many runs; default ${mode.runs}`, integer(1, RUNS_MAX))
      .option('--seconds <count>', 'runs until this time is over', integer(1, SECONDS_MAX))
      .option('--seed <number>', 'default: a random one', integer(0, SEED_END - 1))
      .addOption(
        new Option('--run <number>', 'this run of the seed alone')
          .argParser(integer(0, RUNS_MAX))
          .conflicts(['runs', 'seconds']),
      )
      .option('--json', 'print JSON, one object to a line; the report is the last one')
      .exitOverride()
      .action((given: Given) => act(program, mode.name, called, given));
    if (mode.ofSubjects === false) continue;
    command.addOption(new Option('--subject <name>', 'this subject alone').choices(names));
  }
  return all;
}

async function act(
  program: HarnessProgram,
  name: string,
  called: string,
  given: Given,
): Promise<void> {
  const mode = modesOf(program, given.subject).find((one) => one.name === name) as Mode;
  const { seed = randomInt(SEED_END), runs, seconds, run, json = false, subject } = given;
  const only = subject === undefined ? '' : ` --subject ${subject}`;
  const reporter = new Reporter(mode, { seed, json, replay: `${called} ${name}${only}` });
  reporter.begin({ runs: run === undefined ? (runs ?? mode.runs) : 1, seconds });
  const outcome = await runMode(mode, {
    seed,
    runs,
    seconds,
    run,
    onProgress: (tally) => reporter.progress(tally),
  });
  reporter.end(outcome);
  process.exitCode = isWell(outcome) ? 0 : EXIT_FAILURE;
}

function isWell({ report, violations }: Outcome): boolean {
  return violations.length === 0 && hasWorked(report);
}

/** All modes, over one subject or all of them. */
function modesOf(program: HarnessProgram, only: string | undefined): readonly Mode[] {
  const isWanted = ({ name }: { name: string }): boolean => only === undefined || name === only;
  const subjects = program.subjects.filter(isWanted);
  const workloads = program.workloads?.filter(isWanted) ?? [];
  const context = { subjects, workloads, self: program.self };
  const own = program.modes ?? [];
  const common = MODES.map((make) => make(context));
  return [...common.filter(({ name }) => own.every((mode) => mode.name !== name)), ...own];
}

const MODES: readonly ((context: PartContext) => Mode)[] = [
  (context) => pointsMode(workloadsOf(context)),
  allFaultsMode,
  (context) => rotMode(workloadsOf(context)),
  killMode,
  terminateMode,
  powerMode,
  concurrentMode,
  soakMode,
];

const PLAYS: Readonly<Record<string, Play>> = {
  live,
  'live-thread': liveThread,
  concurrent: playConcurrent,
};
