/** Broken builds of the product, and the harness that must catch each of them. */
import { spawn } from 'node:child_process';
import { SEED_END } from '../../../src/harness/random.ts';
import { bundleProgram } from '../../support/scenario.ts';
import type { Patch } from '../../support/variant.ts';

export interface Broken {
  /** What is broken, and the promise (docs/design.md) that goes with it. */
  readonly title: string;
  /** The mode that catches it, and the subject, if only one does. */
  readonly mode: string;
  readonly subject?: string;
  /** Runs within which it must be caught, for each seed. Default 4. */
  readonly runs?: number;
  /** Only this run of each seed. */
  readonly run?: number;
  /** A seed that is known to find it soon, if the common one is not. */
  readonly seed?: number;
  /** Seeds that are tried, from the first one on. Default 1. */
  readonly tries?: number;
  readonly patches: readonly Patch[];
}

export interface Catch {
  readonly caught: boolean;
  /** What the harness had done when it was. */
  readonly report: Readonly<Record<string, number | string>>;
  readonly violation: string;
  readonly seconds: number;
}

const RUNS_MAX = 4;
const LIMIT_MS = 240_000;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(argv: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env };
    // The test runner's own settings for child processes are not meant for this one.
    delete env['NODE_OPTIONS'];
    const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        said[name] += text;
      });
    }
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, ...said });
    });
  });
}

/** Runs the harness over a build. @throws if it ends without a report. */
export async function runCrash(
  args: readonly string[],
  patches: readonly Patch[] = [],
): Promise<Catch> {
  const program = await bundleProgram('test/crash/main.ts', patches);
  const began = performance.now();
  const { code, stdout, stderr } = await start([program, ...args, '--json']);
  const lines = stdout.trim().split('\n');
  try {
    const report = JSON.parse(lines.at(-1) ?? '') as Catch['report'];
    const first = lines.find((line) => line.startsWith('{"violation"')) ?? '{"violation":""}';
    const { violation } = JSON.parse(first) as { violation: string };
    const caught = code === 1 && (report['violations'] as number) > 0;
    return { caught, report, violation, seconds: (performance.now() - began) / 1000 };
  } catch {
    throw new Error(`${args.join(' ')} ended with ${code}: ${stdout.slice(-500)} ${stderr}`);
  }
}

/** What a patch that does not even run says: such a build proves nothing. */
const NO_PROGRAM = /ReferenceError|SyntaxError|is not a function|is not defined/;

/** Lets the harness look for what is broken; the runs of all tries are counted. */
export async function catchBroken(broken: Broken, seed: number): Promise<Catch> {
  const { mode, subject, runs = RUNS_MAX, run, tries = 1, patches } = broken;
  const only = subject === undefined ? [] : ['--subject', subject];
  const which = run === undefined ? ['--runs', String(runs)] : ['--run', String(run)];
  const begin = [mode, ...only, ...which, '--seed'];
  let before = 0;
  for (let tried = 0; ; tried++) {
    const found = await runCrash([...begin, String((seed + tried) % SEED_END)], patches);
    const total = before + (found.report['runs'] as number);
    if (NO_PROGRAM.test(found.violation)) {
      throw new Error(`the patch breaks the program, not the promise: ${found.violation}`);
    }
    if (found.caught || tried + 1 >= tries) {
      return { ...found, report: { ...found.report, runs: total } };
    }
    before = total;
  }
}
