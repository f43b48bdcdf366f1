/** What users get: the packed package, installed, in every module system, and bundled. */
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { beforeAll, expect, it } from 'vitest';
import { PROJECT, temporaryDirectory } from '../support/variant.ts';
import { install, type Packed, pack, projectWith, run, shownIn } from './installed.ts';
import { METRICS, METRICS_PRINTED, PROGRAMS, TYPED } from './program.ts';

let packed: Packed;

beforeAll(() => {
  packed = pack();
});

function write(name: string, text: string): string {
  const path = join(packed.project, name);
  writeFileSync(path, text);
  return path;
}

/** What the command line needs; the project that the tests install into does not have it. */
const OF_COMMAND_LINE = ['cli-progress', 'cli-table3', 'commander'];

it('the package needs nothing but for its command line, and runs nothing when it is installed', () => {
  const { dependencies, optionalDependencies, scripts } = packed.manifest;
  expect(Object.keys(dependencies ?? {})).toEqual(OF_COMMAND_LINE);
  for (const name of OF_COMMAND_LINE) {
    const path = join(packed.project, 'node_modules', name);
    expect([existsSync(path), existsSync(join(PROJECT, 'node_modules', name))]).toEqual([
      false,
      true,
    ]);
  }
  expect(optionalDependencies).toBeUndefined();
  const { peerDependencies, peerDependenciesMeta } = packed.manifest;
  expect(peerDependencies).toEqual({ 'abstract-level': '^3.1.0', 'prom-client': '^15.1.0' });
  const optional = { optional: true };
  expect(peerDependenciesMeta).toEqual({ 'abstract-level': optional, 'prom-client': optional });
  const automatic = ['preinstall', 'install', 'postinstall', 'prepare', 'preprepare'];
  expect(Object.keys(scripts ?? {}).filter((name) => automatic.includes(name))).toEqual([]);
  expect(existsSync(join(packed.project, 'node_modules/weirpool/binding.gyp'))).toBe(false);
});

it('the package holds dist, docs, README, changelog and license and nothing else', () => {
  const others = packed.files.filter(
    (path) => !/^(?:dist\/.+\.(?:js|d\.ts)|docs\/.+\.md|[\w.]+)$/.test(path),
  );
  expect(others).toEqual([]);
  expect(packed.files.filter((path) => !path.includes('/')).sort()).toEqual([
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'package.json',
  ]);
  const entries = ['dist/index.js', 'dist/index.d.ts'];
  const metrics = ['dist/metrics/index.js', 'dist/metrics/index.d.ts'];
  expect(packed.files).toEqual(expect.arrayContaining([...entries, ...metrics]));
});

it('nothing in the package names the machine that built it', () => {
  const named = packed.files.filter((path) =>
    readFileSync(join(packed.project, 'node_modules/weirpool', path), 'utf8').includes(PROJECT),
  );
  expect(named).toEqual([]);
});

it('npm installs it into an empty folder, and the first program of the README runs there', () => {
  const project = install(packed);
  writeFileSync(join(project, 'notes.mjs'), shownIn('README.md', 'notes.mjs'));
  const runs = [1, 2, 3].map(() => run(process.execPath, ['notes.mjs'], project));
  expect(runs.map(({ stderr }) => stderr)).toEqual(['', '', '']);
  expect(runs[0]?.stdout).toBe('day/0 hello\n');
  expect(runs[2]?.stdout).toBe('day/0 hello\nday/1 hello\nday/2 hello\n');
  const scripts = readdirSync(join(project, 'node_modules')).filter((name) => {
    const path = join(project, 'node_modules', name, 'package.json');
    return existsSync(path) && /"(pre|post)?install":/.test(readFileSync(path, 'utf8'));
  });
  expect(scripts).toEqual([]);
});

it.each(PROGRAMS)('a program imports it: $name', ({ name, esm, printed }) => {
  const ended = run(process.execPath, [write(`${name}.mjs`, esm)], packed.project);
  expect(ended).toEqual({ status: 0, stdout: printed, stderr: '' });
});

it.each(PROGRAMS)('a program requires it: $name', ({ name, cjs, printed }) => {
  const ended = run(process.execPath, [write(`${name}.cjs`, cjs)], packed.project);
  // Older versions of Node say once that requiring modules is new.
  expect(ended).toMatchObject({ status: 0, stdout: printed });
});

it('metrics need prom-client, which nothing else loads', () => {
  const missing = run(process.execPath, [write('alone.mjs', METRICS)], packed.project);
  expect(missing.status).toBe(1);
  expect(missing.stderr).toMatch(/prom-client/);
  expect(missing.stderr).toMatch(/ERR_MODULE_NOT_FOUND/);
  const unpacked = join(packed.project, 'node_modules/weirpool');
  const project = projectWith(unpacked);
  for (const name of ['prom-client', 'tdigest', 'bintrees', '@opentelemetry/api']) {
    const target = join(project, 'node_modules', name);
    cpSync(join(PROJECT, 'node_modules', name), target, { recursive: true });
  }
  writeFileSync(join(project, 'metrics.mjs'), METRICS);
  const ended = run(process.execPath, [join(project, 'metrics.mjs')], project);
  expect(ended).toMatchObject({ status: 0, stdout: METRICS_PRINTED });
});

it('the command line runs where its libraries are installed', () => {
  const project = projectWith(join(packed.project, 'node_modules/weirpool'));
  const names = [...OF_COMMAND_LINE, 'string-width', 'strip-ansi', 'ansi-regex', 'emoji-regex'];
  for (const name of [...names, 'is-fullwidth-code-point']) {
    cpSync(join(PROJECT, 'node_modules', name), join(project, 'node_modules', name), {
      recursive: true,
    });
  }
  const program = join(project, 'node_modules/weirpool/dist/cli/main.js');
  expect(packed.manifest['bin']).toEqual({ weirpool: 'dist/cli/main.js' });
  const store = join(project, 'store');
  const index = run(
    process.execPath,
    [program, 'index', store, PROJECT, '--threads', '2'],
    project,
  );
  expect(index).toMatchObject({ status: 0, stderr: '' });
  const listed = run(process.execPath, [program, 'ls', store, 'src'], project);
  expect(listed.stdout).toMatch(/ index\.ts\n/);
});

const BUNDLES = (['esm', 'cjs'] as const).flatMap((format) =>
  PROGRAMS.map((program) => ({ format, extension: format === 'esm' ? 'mjs' : 'cjs', ...program })),
);

it.each(BUNDLES)(
  'one bundled file ($format, $name) runs from a directory of its own',
  async ({ format, extension, esm, printed }) => {
    const elsewhere = temporaryDirectory('bundle');
    const outfile = join(elsewhere, `bundle.${extension}`);
    const { warnings } = await build({
      entryPoints: [write('entry.mjs', esm)],
      outfile,
      bundle: true,
      platform: 'node',
      format,
      target: 'node20',
      minify: true,
      logLevel: 'silent',
    });
    expect(warnings).toEqual([]);
    expect(readdirSync(elsewhere)).toEqual([`bundle.${extension}`]);
    const ended = run(process.execPath, [outfile], elsewhere);
    expect(ended).toEqual({ status: 0, stdout: printed, stderr: '' });
  },
);

it('its declarations compile under strict settings, without skipping libraries', () => {
  const settings = {
    compilerOptions: {
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable'],
      module: 'nodenext',
      strict: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
      typeRoots: [join(PROJECT, 'node_modules/@types')],
    },
    files: ['typed.mts'],
  };
  write('typed.mts', TYPED);
  write('tsconfig.json', JSON.stringify(settings));
  const tsc = join(PROJECT, 'node_modules/typescript/bin/tsc');
  const ended = run(process.execPath, [tsc, '-p', packed.project], packed.project);
  expect(ended).toMatchObject({ status: 0, stdout: '' });
});
