/**
 * `npm start [-- DIR]`: the main job on real input. Builds what is out of date, indexes a directory
 * (this project's own folder unless one is given) into ./data with all cores, lists its top folders and
 * checks the store.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const PROGRAM = join(root, 'dist/cli/main.js');
const STORE = join(root, 'data');
/** What the build is made of. */
const SOURCES = ['src', 'assembly', 'scripts', 'package.json', 'tsconfig.json', 'asconfig.json'];

function changedAt(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return 0;
  if (!stats.isDirectory()) return stats.mtimeMs;
  const names = readdirSync(path).filter((name) => name !== 'generated');
  return Math.max(0, ...names.map((name) => changedAt(join(path, name))));
}

function buildIfNeeded(): number {
  const sources = Math.max(...SOURCES.map((name) => changedAt(join(root, name))));
  if (changedAt(PROGRAM) > sources) return 0;
  console.log('> npm run build');
  const args = [fileURLToPath(import.meta.resolve('tsx/cli')), join(root, 'scripts/build.ts')];
  return spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status ?? 1;
}

/** Says what it runs, as one would type it, and resolves with the exit code. */
function weirpool(...args: string[]): Promise<number> {
  const shown = args.map((arg) => (arg === STORE ? `./${relative(root, STORE)}` : arg));
  console.log(`\n> npx weirpool ${shown.join(' ')}`);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
  });
}

/** What a command gives that could not do all it was asked for. */
const INCOMPLETE = 1;

async function main(directory: string): Promise<number> {
  const built = buildIfNeeded();
  if (built !== 0) return built;
  const indexed = await weirpool('index', STORE, directory, '--stats');
  // Something that could not be read is told already; the rest is there.
  if (indexed > INCOMPLETE) return indexed;
  const listed = await weirpool('ls', STORE);
  return (await weirpool('verify', STORE)) || listed || indexed;
}

// Ctrl-C goes to the command that runs, too: it closes the store, and then this ends.
process.on('SIGINT', () => undefined);
const [given = root] = process.argv.slice(2);
// npm runs scripts in the project's folder; a path is meant from where npm was called.
process.exitCode = await main(resolve(process.env['INIT_CWD'] ?? '.', given));
