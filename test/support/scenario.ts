/**
 * Runs scenario programs: files of test/scenarios that hold the code of a main thread and of its
 * workers, bundled with the product's sources and run in a process of their own.
 *
 * A bundle starts its workers by `new Worker(new URL(import.meta.url))`, which is the bundle again.
 * With patches the product is replaced by a variant of it (see variant.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { build as bundle, type Plugin } from 'esbuild';
import { VIOLATION, WATCHDOG, WATCHDOG_ENV, WATCHDOG_MS_ENV } from './protocol.ts';
import { testSeed } from './seed.ts';
import { buildVariant, type Patch, PROJECT, temporaryDirectory } from './variant.ts';

export type { Patch } from './variant.ts';

export interface ScenarioOptions {
  /** Arguments of the program: `process.argv.slice(2)`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** After this time the watchdog says where the threads stand, and the process is killed. */
  readonly timeoutMs?: number;
  /** The product to run it on; none is the real one. */
  readonly patches?: readonly Patch[];
  /** Options for Node itself, such as `--expose-gc`. */
  readonly nodeArgs?: readonly string[];
}

export interface ScenarioResult {
  /** Null if a signal ended the process. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

const TIMEOUT_MS = 20_000;
/** How much longer than its watchdog a process may live. */
const GRACE_MS = 2_000;

/** Takes the files of src/ out of the variant; their paths, and so their imports, stay. */
function fromVariant(root: string): Plugin {
  const src = join(PROJECT, 'src') + sep;
  return {
    name: 'variant',
    setup(build) {
      build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        if (!path.startsWith(src)) return null;
        const copy = join(root, relative(PROJECT, path));
        return { contents: readFileSync(copy, 'utf8'), loader: 'ts' };
      });
    },
  };
}

/** Packages that are CommonJS ask for modules of Node.js by `require`, which modules do not have. */
const REQUIRE =
  "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);";

const bundles = new Map<string, Promise<string>>();

async function makeBundle(entry: string, patches: readonly Patch[], name: string): Promise<string> {
  const plugins = patches.length === 0 ? [] : [fromVariant((await buildVariant(patches)).root)];
  const cjs = name.endsWith('.cjs');
  const outfile = join(temporaryDirectory('scenario'), name);
  await bundle({
    entryPoints: [join(PROJECT, entry)],
    absWorkingDir: PROJECT,
    outfile,
    bundle: true,
    platform: 'node',
    format: cjs ? 'cjs' : 'esm',
    target: 'node20',
    sourcemap: 'inline',
    // Libraries in the older form of modules ask for Node's own ones through it.
    ...(cjs ? {} : { banner: { js: REQUIRE } }),
    plugins,
    logLevel: 'silent',
  });
  return outfile;
}

function bundleOnce(entry: string, patches: readonly Patch[], name: string): Promise<string> {
  const key = JSON.stringify([entry, patches]);
  const known = bundles.get(key) ?? makeBundle(entry, patches, name);
  bundles.set(key, known);
  return known;
}

const running = new Set<ChildProcess>();

/** Ends the process and those that it started: it leads a process group of its own. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL');
  }
}

process.once('exit', () => {
  for (const child of running) killGroup(child);
});

function run(argv: readonly string[], env: NodeJS.ProcessEnv, limitMs: number) {
  return new Promise<ScenarioResult>((resolve, reject) => {
    const child = spawn(process.execPath, argv, {
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    const output = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output.stderr += text;
    });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      killGroup(child);
    }, limitMs);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      // What the process left behind goes with it.
      killGroup(child);
      const timedOut =
        late || output.stderr.includes(`\n${WATCHDOG}`) || output.stderr.startsWith(WATCHDOG);
      resolve({ code, signal, ...output, timedOut });
    });
  });
}

/** Bundles any program of the project: the path from its root, and what is patched. */
export function bundleProgram(entry: string, patches: readonly Patch[] = []): Promise<string> {
  return bundleOnce(entry, patches, basename(entry).replace(/ts$/, 'mjs'));
}

/** The bundle of test/scenarios/`name`.ts, for tests that run it in their own way. */
export function bundleScenario(name: string, patches: readonly Patch[] = []): Promise<string> {
  return bundleOnce(`test/scenarios/${name}.ts`, patches, `${name}.mjs`);
}

/**
 * Bundles test/scenarios/`name`.ts and runs it as a process of its own.
 *
 * @throws {Error}  It cannot be bundled, or a patch does not match. How the program ends is the
 *                  result, never an exception.
 */
export async function runScenario(
  name: string,
  options: ScenarioOptions = {},
): Promise<ScenarioResult> {
  const { args = [], env = {}, timeoutMs = TIMEOUT_MS, patches = [], nodeArgs = [] } = options;
  const [program, watchdog] = await Promise.all([
    bundleOnce(`test/scenarios/${name}.ts`, patches, `${name}.mjs`),
    bundleOnce('test/support/watchdog.ts', [], 'watchdog.cjs'),
  ]);
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    SEED: String(testSeed()),
    [WATCHDOG_ENV]: watchdog,
    [WATCHDOG_MS_ENV]: String(timeoutMs),
    ...env,
  };
  // The test runner's own settings for child processes are not meant for this one.
  delete environment['NODE_OPTIONS'];
  const argv = ['--enable-source-maps', ...nodeArgs, program, ...args];
  return run(argv, environment, timeoutMs + GRACE_MS);
}

/** How a variant shows that it is broken. */
export type Symptom = 'violation' | 'crash' | 'hang';

export interface CaughtOptions extends Omit<ScenarioOptions, 'patches'> {
  /**
   * `violation` (default): a check of the scenario fails. `crash`: it ends with another error,
   * such as an exception or a trap. `hang`: it does not end. More than one may be right when the
   * outcome is up to the scheduler.
   */
  readonly symptom?: Symptom | readonly Symptom[];
  /** What standard error of the variant must say. */
  readonly match?: RegExp;
  /** The time limit on the variant alone; for a hang, the time that the test takes. */
  readonly variantTimeoutMs?: number;
}

export function symptomOf(result: ScenarioResult): Symptom | 'none' {
  if (result.timedOut) return 'hang';
  if (result.code === 0) return 'none';
  const violated = result.stderr.split('\n').some((line) => line.startsWith(VIOLATION));
  return violated ? 'violation' : 'crash';
}

/** How a process ended and what it said, for the message of an assertion. */
export function describeResult(result: ScenarioResult): string {
  const end = result.code === null ? `signal ${result.signal}` : `exit code ${result.code}`;
  return `${end}${result.timedOut ? ', out of time' : ''}\n${result.stdout}${result.stderr}`;
}

/** Runs the scenario on the real product; throws unless it ends well. */
export async function expectPasses(
  name: string,
  options: Omit<ScenarioOptions, 'patches'> = {},
): Promise<ScenarioResult> {
  const result = await runScenario(name, options);
  if (symptomOf(result) !== 'none') {
    throw new Error(`${name} fails on the product: ${describeResult(result)}`);
  }
  return result;
}

/** A race is met by chance: on a busy machine not in each run. */
const VARIANT_TRIES = 3;

const passed = new Map<string, Promise<ScenarioResult>>();

/**
 * Runs the scenario on the real product, where it must pass, and on the variant, where it must
 * fail with the symptom in one of a few runs. The run on the product is shared by all calls with the same options.
 *
 * @returns  The result of the variant.
 */
export async function expectCaught(
  name: string,
  patches: readonly Patch[],
  options: CaughtOptions = {},
): Promise<ScenarioResult> {
  const { symptom = 'violation', match, variantTimeoutMs, ...scenario } = options;
  if (patches.length === 0) throw new TypeError('without a patch there is nothing to catch');
  const key = JSON.stringify([name, scenario]);
  const good = passed.get(key) ?? expectPasses(name, scenario);
  passed.set(key, good);
  await good;
  const limit = variantTimeoutMs === undefined ? {} : { timeoutMs: variantTimeoutMs };
  const play = (): Promise<ScenarioResult> => runScenario(name, { ...scenario, ...limit, patches });
  let result = await play();
  for (let tries = 1; symptomOf(result) === 'none' && tries < VARIANT_TRIES; tries++) {
    result = await play();
  }
  const seen = symptomOf(result);
  const wanted = [symptom].flat();
  if (seen === 'none') throw new Error(`${name} does not notice the variant`);
  if (!wanted.includes(seen)) {
    throw new Error(
      `${name} notices the variant by ${seen}, not by ${wanted.join(' or ')}: ${describeResult(result)}`,
    );
  }
  if (match !== undefined && !match.test(result.stderr)) {
    throw new Error(`${name} does not say ${match}: ${describeResult(result)}`);
  }
  return result;
}
