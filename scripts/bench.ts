/**
 * `npm run bench -- <suite> [--json] [--seconds S]`
 *
 * Bundles the suite with the sources it measures, as plain JavaScript for this Node, and runs it
 * in a process of its own: what is measured is what a user runs, not what a loader transforms.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const SUITES: readonly string[] = [
  'hit-path',
  'contention',
  'miss',
  'hit-ratio',
  'copy',
  'wal',
  'commit',
  'checkpoint',
  'reopen',
  'sustained',
  'tree',
  'faces',
];
const USAGE = `usage: npm run bench -- ${SUITES.join('|')} [--json] [--seconds S]
       npm run bench -- tree [--only CASE,...] [--stores STORE,...] [--json] [--seconds S]`;
/** Options of some suites alone, which check their values themselves. */
const OWN_OPTIONS: Readonly<Record<string, readonly string[]>> = { tree: ['only', 'stores'] };
/** Packages in the older form of modules ask for Node's own ones by `require`, which modules lack. */
const REQUIRE =
  "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);";
const EXIT_USAGE = 2;
const SECONDS_MAX = 3600;

interface Command {
  readonly suite: string;
  readonly args: readonly string[];
}

/** The command, or what is wrong with it. */
function parseCommand(argv: readonly string[]): Command | string {
  let parsed: ReturnType<typeof parseOptions>;
  try {
    parsed = parseOptions(argv);
  } catch (error) {
    return (error as Error).message;
  }
  const { positionals, values } = parsed;
  const [suite, ...rest] = positionals;
  if (suite === undefined) return 'Which suite?';
  if (!SUITES.includes(suite)) return `There is no suite ${suite}.`;
  if (rest.length > 0) return `One suite at a time, not ${positionals.join(' ')}.`;
  const args: string[] = [];
  if (values.json === true) args.push('--json');
  if (values.seconds !== undefined) {
    const seconds = Number(values.seconds);
    if (!(seconds > 0 && seconds <= SECONDS_MAX)) {
      return `--seconds is a number above 0 and at most ${SECONDS_MAX}, not ${values.seconds}.`;
    }
    args.push('--seconds', String(seconds));
  }
  for (const name of ['only', 'stores'] as const) {
    const value = values[name];
    if (value === undefined) continue;
    if (OWN_OPTIONS[suite]?.includes(name) !== true) return `${suite} has no --${name}.`;
    args.push(`--${name}`, value);
  }
  return { suite, args };
}

function parseOptions(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      json: { type: 'boolean' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      stores: { type: 'string' },
    },
  });
}

async function runSuite({ suite, args }: Command): Promise<number> {
  // Loaded only now: both are slow to load, and wrong usage needs neither.
  const { buildAssets } = await import('./build-assets.ts');
  const { build } = await import('esbuild');
  const root = join(dirname(fileURLToPath(import.meta.url)), '..');
  await buildAssets(root);
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-bench-'));
  try {
    const program = join(directory, `${suite}.mjs`);
    await build({
      entryPoints: [join(root, `bench/${suite}.ts`)],
      absWorkingDir: root,
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      banner: { js: REQUIRE },
      logLevel: 'error',
    });
    const run = spawnSync(process.execPath, ['--expose-gc', program, ...args], {
      cwd: root,
      stdio: 'inherit',
    });
    return run.status ?? 1;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const command = parseCommand(process.argv.slice(2));
if (typeof command === 'string') {
  console.error(`${command}\n${USAGE}`);
  process.exitCode = EXIT_USAGE;
} else {
  process.exitCode = await runSuite(command);
}
