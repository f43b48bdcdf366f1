/**
 * Mounts of the harness: file systems that only this process and its children see.
 *
 * A shell in a mount namespace of its own makes them. Other processes reach them through its root
 * in /proc, so nothing shows in the mounts of the machine, and they are gone when the shell is.
 *
 * Owns:        a temporary directory, the shell, and what is mounted below the directory. The shell
 *              ends with its standard input, which this process holds: also when the process is
 *              killed, file systems are unmounted, loop devices given back and the directory
 *              removed. What a killed shell leaves is a directory whose name says whose it was; the
 *              next one that is made removes it.
 * Threads:     the main thread.
 * Source:      mount_namespaces(7); proc(5), /proc/[pid]/root; losetup(8), autoclear.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemProcesses } from '../fs/processes.ts';

const PREFIX = 'weirpool-mounts-';
const STALE = new RegExp(`^${PREFIX}(\\d+)-(\\d+)-`);
const REPLY = 'weirpool-replies';
/** No command of the shell takes so long, on a machine that is busy with others. */
const REPLY_MS_MAX = 60_000;

/**
 * The inner shell does what it is told until its input ends. The outer one tidies up; it leaves the
 * directory alone if something is still mounted in it.
 */
const KEEPER = `
sh
cd /
for at in "$1"/*/mount; do umount -l "$at" 2>/dev/null; done
grep -q " $1/" /proc/self/mounts || rm -rf "$1"
`;

/** What is missing of the programs, and the Debian packages that have them; undefined: nothing. */
export async function missingPackages(
  programs: ReadonlyMap<string, string>,
): Promise<string | undefined> {
  const probe = (program: string): Promise<boolean> =>
    new Promise((resolve) => {
      execFile('sh', ['-c', 'command -v "$1"', 'sh', program], (error) => resolve(error === null));
    });
  const names = [...programs.keys()];
  const found = await Promise.all(names.map(probe));
  const missing = names.filter((_, at) => found[at] === false);
  if (missing.length === 0) return undefined;
  const packages = new Set(missing.map((program) => programs.get(program)));
  return `there is no ${missing.join(', ')}; Debian has them in ${[...packages].join(', ')}`;
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

export class MountSpace {
  /** On the machine's own file system; images go here. */
  readonly directory: string;
  readonly #shell: ChildProcess;
  #output = '';
  #replies = 0;
  #waiting: ((text: string) => void) | undefined;
  #ended = false;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(directory: string, shell: ChildProcess) {
    this.directory = directory;
    this.#shell = shell;
    shell.stdout?.setEncoding('utf8').on('data', (text: string) => this.#hear(text));
    shell.stderr?.resume();
    // A shell that has gone fails the command that waits for it, not the process.
    shell.stdin?.on('error', () => undefined);
    shell.once('close', () => {
      this.#ended = true;
      this.#hear('');
    });
  }

  /**
   * @throws {Error}  The user may not mount here, or there is no `unshare`.
   */
  static async open(): Promise<MountSpace> {
    removeStale();
    const { pid, startTime } = systemProcesses.self();
    const directory = mkdtempSync(join(tmpdir(), `${PREFIX}${pid}-${startTime}-`));
    const argv = ['--mount', '--propagation', 'private', 'sh', '-c', KEEPER, 'sh', directory];
    // A group of its own: an interrupt from the terminal must not end it before this process.
    const shell = spawn('unshare', argv, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    await new Promise((resolve, reject) => {
      shell.once('spawn', resolve);
      shell.once('error', reject);
    });
    const space = new MountSpace(directory, shell);
    try {
      await space.run(['true']);
      return space;
    } catch (error) {
      await space.close();
      throw error;
    }
  }

  /** A path inside, as every other process can open it. */
  seen(path: string): string {
    return `/proc/${this.#shell.pid}/root${path}`;
  }

  #hear(text: string): void {
    this.#output += text;
    const at = this.#output.indexOf(`${REPLY} ${this.#replies} `);
    const ended = at >= 0 && this.#output.indexOf('\n', at) >= 0;
    if (!ended && !this.#ended) return;
    const said = this.#output;
    this.#output = '';
    this.#waiting?.(said);
  }

  /**
   * Runs a command in the namespace; one after the other.
   *
   * @returns         What it has said on both outputs.
   * @throws {Error}  It has failed.
   */
  run(command: readonly string[]): Promise<string> {
    const next = this.#last.then(() => this.#runNow(command));
    this.#last = next.catch(() => undefined);
    return next;
  }

  async #runNow(command: readonly string[]): Promise<string> {
    const words = command.map(quoted).join(' ');
    const number = ++this.#replies;
    const said = await new Promise<string>((resolve, reject) => {
      const late = (): void => reject(new Error(`${words} does not end`));
      const timer = setTimeout(late, REPLY_MS_MAX);
      this.#waiting = (text) => {
        clearTimeout(timer);
        resolve(text);
      };
      if (this.#ended) this.#hear('');
      else this.#shell.stdin?.write(`${words} </dev/null 2>&1; echo "${REPLY} ${number} $?"\n`);
    });
    this.#waiting = undefined;
    const [output = '', code] = said.split(`${REPLY} ${number} `);
    if (code?.trim() === '0') return output;
    throw new Error(
      `${words}: ${output.trim() || (code === undefined ? 'the shell has ended' : `exit code ${code.trim()}`)}`,
    );
  }

  /** Unmounts what is left and removes the directory. */
  async close(): Promise<void> {
    if (!this.#ended) {
      const closed = new Promise((resolve) => this.#shell.once('close', resolve));
      this.#shell.stdin?.end();
      await closed;
    }
    // Nothing but what no shell has got hold of: it has removed the directory.
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Removes the directories of processes that have died with their shells. */
function removeStale(): void {
  const table = systemProcesses;
  const self = table.self();
  for (const name of readdirSync(tmpdir())) {
    const found = STALE.exec(name);
    if (found === null) continue;
    const [pid, startTime] = [Number(found[1]), Number(found[2])];
    if (table.stateOf({ ...self, pid, startTime }) !== 'dead') continue;
    try {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    } catch {
      // Its shell is removing it, too.
    }
  }
}
