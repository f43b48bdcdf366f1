/** The command line as a user types it: processes of the build. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll } from 'vitest';
import { PROJECT, temporaryDirectory } from '../support/variant.ts';

export const PROGRAM: string = join(PROJECT, 'dist/cli/main.js');

const LIMIT_MS = 25_000;
const LOOK_MS = 10;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** As they came. */
  readonly bytes: Buffer;
}

export interface RunOptions {
  readonly input?: string | Buffer;
  readonly cwd?: string;
  readonly uid?: number;
}

const ownedByOthers: string[] = [];
const running = new Set<ChildProcess>();

afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  for (const path of ownedByOthers) rmSync(path, { recursive: true, force: true });
});

function environment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _runner, ...env } = process.env;
  return env;
}

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

/** Starts any program. */
export function start(command: string, args: readonly string[], options: RunOptions = {}): Running {
  const { input, cwd, uid } = options;
  const child = spawn(command, args, {
    env: environment(),
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  running.add(child);
  child.once('close', () => running.delete(child));
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => out.push(piece));
  child.stderr.on('data', (piece: Buffer) => err.push(piece));
  // A program that does not read its input may have gone.
  child.stdin.on('error', () => undefined);
  if (input !== undefined) child.stdin.end(input);
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const bytes = Buffer.concat(out);
      const [stdout, stderr] = [bytes.toString('utf8'), Buffer.concat(err).toString('utf8')];
      resolve({ code, signal, stdout, stderr, bytes });
    });
  });
  return { child, ended };
}

/** Starts `weirpool` with these arguments. */
export function startWeirpool(args: readonly string[], options: RunOptions = {}): Running {
  if (!existsSync(PROGRAM)) throw new Error('run `npm run build` first');
  return start(process.execPath, [PROGRAM, ...args], options);
}

/** Runs `weirpool` to its end, without anything on its input unless that is given. */
export function weirpool(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return startWeirpool(args, { input: '', ...options }).ended;
}

/** Runs `weirpool`, which must succeed: its output. */
export async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await weirpool(args);
  if (code !== 0) throw new Error(`weirpool ${args.join(' ')}: ${code}\n${stdout}${stderr}`);
  return stdout;
}

/** As `succeed`, with --json: what was printed, line by line. */
export async function json<T = Record<string, unknown>>(...args: string[]): Promise<T[]> {
  const text = await succeed(...args, '--json');
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as T]));
}

/** Runs a line of a shell in which `weirpool` is the program. */
export function shell(line: string, options: RunOptions = {}): Promise<Ended> {
  const program = `weirpool() { '${process.execPath}' '${PROGRAM}' "$@"; }`;
  return start('bash', ['-c', `${program}\n${line}`], { input: '', ...options }).ended;
}

/** A directory with a place for a store, and one with files in it. */
export function places(): { readonly store: string; readonly files: string; readonly at: string } {
  const at = temporaryDirectory('cli');
  return { at, store: join(at, 'store'), files: join(at, 'files') };
}

/** The same for another user, who cannot enter what the tests have for themselves. */
export function placesOf(user: number | undefined): ReturnType<typeof places> {
  if (user === undefined) return places();
  const at = mkdtempSync(join(tmpdir(), 'weirpool-cli-'));
  ownedByOthers.push(at);
  return { at, store: join(at, 'store'), files: join(at, 'files') };
}

/** Waits until the process, or one of its threads, has the file open. */
export async function opened({ pid }: ChildProcess, path: string): Promise<void> {
  const folder = `/proc/${pid}/fd`;
  for (const limit = performance.now() + LIMIT_MS; performance.now() < limit; ) {
    const open = readdirSync(folder).map((name) => linkOf(join(folder, name)));
    if (open.includes(path)) return;
    await pause(LOOK_MS);
  }
  throw new Error(`${path} was not opened`);
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** Somebody who is not root, where the tests are run by root; undefined: nobody else is needed. */
export const OTHER_USER: number | undefined = process.getuid?.() === 0 ? 65_534 : undefined;

/** Whether that user can run the build. */
export function canRunAsOther(): boolean {
  if (OTHER_USER === undefined) return true;
  const user = { uid: OTHER_USER, gid: OTHER_USER };
  return spawnSync(process.execPath, [PROGRAM, '--version'], user).status === 0;
}
