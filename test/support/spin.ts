/**
 * Runs the SPIN model checker: Promela model to C to a program that visits every state.
 *
 * Owns:     a temporary directory for each run, gone when the test process ends.
 * Threads:  as many runs at once as there are processors; a run takes at most MEMORY_MIB_MAX, and
 *           both tools are watched by a time limit.
 */
import { spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { PROJECT, temporaryDirectory } from './variant.ts';

const MEMORY_MIB_MAX = 512;
const DEPTH_MAX = 200_000;
const HASH_BITS = 22;
const RUNS_AT_ONCE = Math.min(2, availableParallelism());
const STEP_MS_MAX = 50_000;
const TRAIL_LINES_MAX = 400;

export interface SpinModel {
  /** File below test/spin/, without its ending. */
  readonly model: string;
  /** Names given as -D: a scenario, a variant, bounds such as `OPS=1`. */
  readonly defines?: readonly string[];
  /** Name of the LTL formula to check under weak fairness; without it, safety. */
  readonly formula?: string;
}

export interface SpinResult {
  readonly errors: number;
  /** Whether every state was visited: neither depth nor memory ran out, and nothing stopped it. */
  readonly complete: boolean;
  readonly states: number;
  readonly depth: number;
  /** Time of the search, and of everything with the compilers. */
  readonly searchMs: number;
  readonly totalMs: number;
  /** The first error as SPIN names it, empty if there is none. */
  readonly error: string;
  /** What the checker printed. */
  readonly output: string;
  /** The steps that lead to the error, the last ones if there are many. */
  readonly trail: () => Promise<string>;
}

/** Why no model can be checked here, or undefined. */
export function spinMissing(): string | undefined {
  const missing = [
    ['spin', '-V'],
    ['cc', '--version'],
  ].flatMap(([tool = '', option = '']) => (spawnSync(tool, [option]).status === 0 ? [] : [tool]));
  if (missing.length === 0) return undefined;
  return `${missing.join(' and ')} missing: install a C compiler and the Debian package spin`;
}

/** What `command` printed; throws unless its exit code is one of `codes`. */
function run(
  command: string,
  args: readonly string[],
  directory: string,
  codes: readonly number[] = [0],
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: STEP_MS_MAX,
      killSignal: 'SIGKILL',
    });
    let output = '';
    const collect = (chunk: string): void => {
      output += chunk;
    };
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code !== null && codes.includes(code)) return resolve(output);
      reject(
        new Error(`${command} ${args.join(' ')}: ${signal ?? `exit code ${code}`}\n${output}`),
      );
    });
  });
}

let running = 0;
const waiting: (() => void)[] = [];

async function inTurn<T>(action: () => Promise<T>): Promise<T> {
  if (running === RUNS_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    return await action();
  } finally {
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }
}

function numberIn(output: string, pattern: RegExp): number {
  const text = pattern.exec(output)?.[1];
  if (text === undefined) throw new Error(`the checker's output lacks ${pattern}:\n${output}`);
  return Number(text);
}

async function trailOf(file: string, flags: readonly string[], directory: string): Promise<string> {
  const trail = `${file.replace(/^.*\//, '')}.trail`;
  const text = await run('spin', ['-t', '-p', '-k', trail, ...flags, file], directory);
  return text.split('\n').slice(-TRAIL_LINES_MAX).join('\n');
}

async function check({ model, defines = [], formula }: SpinModel): Promise<SpinResult> {
  const begin = performance.now();
  const directory = temporaryDirectory('spin');
  const file = join(PROJECT, 'test/spin', `${model}.pml`);
  const flags = defines.map((name) => `-D${name}`);
  await run('spin', ['-a', ...flags, file], directory);
  // The searches are so short that compiling with -O2 takes longer than it saves.
  const options = ['-O0', '-w', `-DMEMLIM=${MEMORY_MIB_MAX}`];
  if (formula === undefined) options.push('-DSAFETY');
  await run('cc', [...options, '-o', 'pan', 'pan.c'], directory);
  const search = performance.now();
  const limits = [`-m${DEPTH_MAX}`, `-w${HASH_BITS}`];
  if (formula !== undefined) limits.push('-a', '-f', '-N', formula);
  const output = await run(join(directory, 'pan'), limits, directory, [0, 1]);
  const searchMs = performance.now() - search;
  const errors = numberIn(output, /errors: (\d+)/);
  const lost = /max search depth too small|Search not completed|MEMLIM|out of memory|truncated/i;
  return {
    errors,
    complete: !lost.test(output),
    states: numberIn(output, /(\S+) states, stored/),
    depth: numberIn(output, /depth reached (\d+)/),
    searchMs,
    totalMs: performance.now() - begin,
    error: /^pan:\d+: (.*)$/m.exec(output)?.[1] ?? '',
    output,
    trail: () => trailOf(file, flags, directory),
  };
}

/** Checks a model completely, or up to its first error. */
export function checkModel(model: SpinModel): Promise<SpinResult> {
  return inTurn(() => check(model));
}

function nameOf({ model, defines = [] }: SpinModel): string {
  return [model, ...defines.map((name) => `-D${name}`)].join(' ');
}

/** The model holds in every state, and every state was visited. Prints how many there were. */
export async function expectVerified(model: SpinModel): Promise<void> {
  const result = await checkModel(model);
  if (result.errors !== 0) {
    throw new Error(`${nameOf(model)}: ${result.error}\n${await result.trail()}`);
  }
  if (!result.complete) {
    throw new Error(`${nameOf(model)}: the search is not complete\n${result.output}`);
  }
  const seconds = (result.searchMs / 1000).toFixed(1);
  console.log(
    `${nameOf(model)}: ${result.states} states, depth ${result.depth}, ` +
      `${seconds} s of ${(result.totalMs / 1000).toFixed(1)} s`,
  );
}

/** The broken variant is refuted, and for the reason that is expected. */
export async function expectRefuted(model: SpinModel, reason: RegExp): Promise<void> {
  const result = await checkModel(model);
  if (result.errors === 0) {
    throw new Error(`${nameOf(model)} is not refuted\n${result.output}`);
  }
  if (!reason.test(result.error)) {
    throw new Error(`${nameOf(model)} is refuted, but not by ${reason}: ${result.error}`);
  }
}
