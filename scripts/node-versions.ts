/**
 * `npm run test:node`: what users run, on every version of Node.js that is promised: programs that
 * import and require the packed package, and the examples.
 *
 * Other versions than this one come from the registry as packages of one binary each; one that cannot
 * be had is skipped, and said to be.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import Table from 'cli-table3';
import { pack, run } from '../test/package/installed.ts';
import { PROGRAMS } from '../test/package/program.ts';
import { PROJECT, temporaryDirectory } from '../test/support/variant.ts';

const MAJORS = [20, 22, 24, 26];
const INSTALL_MS = 300_000;

interface Check {
  readonly name: string;
  readonly path: string;
  readonly cwd: string;
  /** Undefined: anything. */
  readonly printed: string | undefined;
}

function checks(): Check[] {
  const { project } = pack();
  const programs = PROGRAMS.flatMap(({ name, esm, cjs, printed }) =>
    [
      { name: `import: ${name}`, path: join(project, `${name}.mjs`), text: esm },
      { name: `require: ${name}`, path: join(project, `${name}.cjs`), text: cjs },
    ].map(({ text, ...check }) => {
      writeFileSync(check.path, text);
      return { ...check, cwd: project, printed };
    }),
  );
  const examples = readdirSync(join(PROJECT, 'examples')).map((name) => ({
    name: `example: ${name}`,
    path: join(PROJECT, 'examples', name),
    cwd: PROJECT,
    printed: undefined,
  }));
  return [...programs, ...examples];
}

/** Path of a Node.js of that major version; a sentence if there is none to be had. */
function nodeOf(major: number): { readonly path: string } | { readonly why: string } {
  if (process.version.startsWith(`v${major}.`)) return { path: process.execPath };
  const name = `node-${platform() === 'win32' ? 'win' : platform()}-${arch()}`;
  const prefix = temporaryDirectory('node');
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', prefix];
  const { status, stderr } = spawnSync('npm', [...args, `${name}@${major}`], {
    encoding: 'utf8',
    timeout: INSTALL_MS,
    shell: platform() === 'win32',
  });
  if (status !== 0) return { why: `${name}@${major}: ${stderr.trim().split('\n')[0]}` };
  const bin = platform() === 'win32' ? 'bin/node.exe' : 'bin/node';
  return { path: join(prefix, 'node_modules', name, bin) };
}

/** What is wrong with what a program does there; undefined if it does what it should. */
function failureOf(node: string, { path, cwd, printed }: Check): string | undefined {
  const { status, stdout, stderr } = run(node, [path], cwd);
  if (status !== 0) return `exit code ${status}: ${stderr}`;
  if (printed !== undefined && stdout !== printed) return `it prints ${stdout}`;
  return undefined;
}

const table = new Table({
  head: ['Node.js', 'programs', 'seconds', ''],
  style: { head: [], border: [] },
});
const all = checks();
for (const major of MAJORS) {
  const found = nodeOf(major);
  if ('why' in found) {
    table.push([major, '', '', 'skipped']);
    console.log(`Node.js ${major} cannot be had: ${found.why}`);
    continue;
  }
  const version = run(found.path, ['--version'], PROJECT).stdout.trim();
  const began = Date.now();
  const failures = all.flatMap((check) => {
    const failure = failureOf(found.path, check);
    return failure === undefined ? [] : [`${version}, ${check.name}: ${failure}`];
  });
  for (const failure of failures) console.error(failure);
  const outcome = failures.length === 0 ? 'passed' : `${failures.length} failed`;
  table.push([version, all.length, ((Date.now() - began) / 1000).toFixed(1), outcome]);
  if (failures.length > 0) process.exitCode = 1;
}
console.log(table.toString());
