/** Packs the built package and installs it, without a registry, into projects of their own. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { PROJECT, temporaryDirectory } from '../support/variant.ts';

export interface Packed {
  /** Paths inside the package. */
  readonly files: readonly string[];
  readonly manifest: Readonly<Record<string, unknown>>;
  /** Path of what was packed. */
  readonly tarball: string;
  /** A project whose node_modules holds the package. */
  readonly project: string;
}

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const LIMIT_MS = 60_000;

export function run(command: string, args: readonly string[], cwd: string): Ended {
  const { NODE_OPTIONS: _runner, ...env } = process.env;
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  if (error !== undefined) throw error;
  return { status, stdout, stderr };
}

function succeed(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = run(command, args, cwd);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** Another project with the same package in it. */
export function projectWith(unpacked: string): string {
  const project = realpathSync(temporaryDirectory('project'));
  cpSync(unpacked, join(project, 'node_modules/weirpool'), { recursive: true });
  return project;
}

/** The program of that name as a document shows it. */
export function shownIn(document: string, name: string): string {
  const text = readFileSync(join(PROJECT, document), 'utf8');
  const shown = new RegExp(`\`\`\`js\\n(// ${name}\\n.*?)\`\`\``, 's').exec(text)?.[1];
  if (shown === undefined) throw new Error(`${document} shows no ${name}`);
  return shown;
}

/** An empty project into which npm has installed the package, with what it needs. */
export function install({ tarball }: Packed): string {
  const project = realpathSync(temporaryDirectory('installed'));
  // What the development of this package needs of it is in npm's cache already.
  const options = ['--no-audit', '--no-fund', '--prefer-offline'];
  succeed('npm', ['install', ...options, tarball], project);
  return project;
}

export function pack(): Packed {
  if (!existsSync(join(PROJECT, 'dist/index.js'))) throw new Error('run `npm run build` first');
  const target = temporaryDirectory('pack');
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', target];
  const [{ filename, files }] = JSON.parse(succeed('npm', args, PROJECT));
  mkdirSync(join(target, 'unpacked'));
  succeed('tar', ['-xzf', join(target, filename), '-C', join(target, 'unpacked')], target);
  const unpacked = join(target, 'unpacked/package');
  return {
    tarball: join(target, filename),
    files: files.map(({ path }: { path: string }) => path),
    manifest: JSON.parse(readFileSync(join(unpacked, 'package.json'), 'utf8')),
    project: projectWith(unpacked),
  };
}
