/**
 * Exclusive use of a store's directory.
 *
 * Owns:        a listening abstract socket named after the directory's device and inode, and one
 *              file `lock-<random>` in the directory that says who holds it.
 * Threads:     taken and given back in the opener; any thread may ask `isHeld`, or `probe`.
 *
 * The socket decides: only one process can listen on it, and it is free the moment that process
 * dies, whatever its pid is used for afterwards. It is seen within one network namespace of one
 * host. Beyond that, and on platforms without such sockets, the lock files decide: each contender
 * first makes a file of its own and then looks for others. Of two contenders at least the later
 * one sees the other, so they never both win; who sees a living holder withdraws and tries again
 * after a random pause. File names are never used twice, so removing a dead holder's file cannot
 * hit a living one, and a holder whose file has gone knows that it was taken over: commits look
 * for it (the fence).
 *
 * A reader takes nothing, so that readers never meet each other or keep a writer out: it asks the
 * socket by connecting to it, which needs no answer from a holder that may be blocked, and looks
 * at the lock files. It is refused where a writer would be.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { connect, createServer, type Server } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { errnoOf, WeirpoolError } from '../errors.ts';
import type { FileSystem } from '../fs/file-system.ts';
import {
  closeQuietly,
  OPEN_NEW,
  openOwn,
  readOwn,
  unlinkQuietly,
  writeFully,
} from '../fs/files.ts';
import { guarded, ioError } from '../fs/io-error.ts';
import { type ProcessIdentity, type ProcessTable, systemProcesses } from '../fs/processes.ts';

const LOCK_FILE = /^lock-[0-9a-f]{16}$/;
const TEMPORARY = /^lock-[0-9a-f]{16}\.tmp$/;
const TOKEN_BYTES = 8;
/** A process that is being killed may be seen for a moment after its socket is free. */
const ATTEMPTS = 5;
const PAUSE_MS_MIN = 10;
const PAUSE_MS_MAX = 50;
/** Errors that say something about this process rather than about abstract sockets. */
const OWN_LIMITS: readonly string[] = ['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS'];

/** Connections wait at a holder that is blocked until its queue is full. */
const QUEUE_FULL = 'EAGAIN';

/** Names that only one process can hold. Replaced by tests. */
export interface LockSockets {
  /** Whether somebody listens, without taking anything. */
  ask(name: string): Promise<'taken' | 'free' | 'unsupported'>;
  /** Something to close, or why there is none. */
  listen(name: string): Promise<{ close(): Promise<void> } | 'taken' | 'unsupported'>;
}

export interface DirectoryLockOptions {
  readonly sockets?: LockSockets;
  readonly processes?: ProcessTable;
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

/** Abstract sockets of Linux. `exclusive`, or workers of node:cluster would share one. */
export const abstractSockets: LockSockets = {
  ask(name) {
    return new Promise((resolve, reject) => {
      const socket = connect({ path: `\0${name}` }, () => {
        socket.destroy();
        resolve('taken');
      });
      socket.once('error', (error) => {
        const errno = errnoOf(error) ?? '';
        if (errno === 'ECONNREFUSED') resolve('free');
        else if (errno === QUEUE_FULL) resolve('taken');
        else if (OWN_LIMITS.includes(errno)) reject(error);
        else resolve('unsupported');
      });
    });
  },

  listen(name) {
    return new Promise((resolve, reject) => {
      const server = createServer((socket) => socket.destroy());
      server.once('error', (error) => {
        const errno = errnoOf(error) ?? '';
        if (errno === 'EADDRINUSE') resolve('taken');
        else if (OWN_LIMITS.includes(errno)) reject(error);
        else resolve('unsupported');
      });
      server.listen({ path: `\0${name}`, exclusive: true }, () => {
        server.unref();
        resolve({ close: () => closeServer(server) });
      });
    });
  },
};

interface LockFile {
  readonly path: string;
  readonly holder: ProcessIdentity;
}

/** Whether it is what `announce` writes: files of a dead host come from disks that rot. */
function isIdentity(value: unknown): value is ProcessIdentity {
  const { pid, startTime, host, scope } = (value ?? {}) as Partial<ProcessIdentity>;
  const numbers =
    Number.isSafeInteger(pid) && (pid as number) > 0 && Number.isSafeInteger(startTime);
  return numbers && typeof host === 'string' && typeof scope === 'string';
}

function parseHolder(content: Uint8Array): ProcessIdentity | undefined {
  try {
    const holder: unknown = JSON.parse(Buffer.from(content).toString('utf8'));
    return isIdentity(holder) ? holder : undefined;
  } catch {
    return undefined;
  }
}

export class DirectoryLock {
  /** Path of the lock file: as long as it is there, nobody has taken the directory over. */
  readonly lockFile: string;
  readonly #fs: FileSystem;
  readonly #closeSocket: () => Promise<void>;
  #releasing: Promise<void> | undefined;

  private constructor(fs: FileSystem, lockFile: string, closeSocket: () => Promise<void>) {
    this.#fs = fs;
    this.lockFile = lockFile;
    this.#closeSocket = closeSocket;
  }

  /**
   * Takes the directory.
   *
   * @throws {WeirpoolError} `STORE_LOCKED` with the holder's pid, `STORE_IO`.
   */
  static async acquire(
    fs: FileSystem,
    directory: string,
    options: DirectoryLockOptions = {},
  ): Promise<DirectoryLock> {
    const contender = new Contender(fs, directory, options.processes ?? systemProcesses);
    const sockets = options.sockets ?? abstractSockets;
    const socket = await onSocket(fs, directory, 'listen', (name) => sockets.listen(name));
    if (socket === 'taken') throw contender.refusal(contender.anyHeld());
    const closeSocket = socket === 'unsupported' ? noSocket : () => socket.close();
    try {
      const lockFile = await contender.contend(socket !== 'unsupported');
      return new DirectoryLock(fs, lockFile, closeSocket);
    } catch (error) {
      await closeSocket();
      throw error;
    }
  }

  /**
   * Makes sure that no writer has the directory, and changes nothing, also not for others.
   *
   * @throws {WeirpoolError} `STORE_LOCKED` with the holder's pid, `STORE_IO`.
   */
  static async probe(
    fs: FileSystem,
    directory: string,
    options: DirectoryLockOptions = {},
  ): Promise<void> {
    const contender = new Contender(fs, directory, options.processes ?? systemProcesses);
    const sockets = options.sockets ?? abstractSockets;
    const socket = await onSocket(fs, directory, 'connect', (name) => sockets.ask(name));
    if (socket === 'taken') throw contender.refusal(contender.anyHeld());
    await contender.lookOn(socket !== 'unsupported');
  }

  /** Gives the directory back. Idempotent. */
  release(): Promise<void> {
    this.#releasing ??= this.#release();
    return this.#releasing;
  }

  async #release(): Promise<void> {
    // The file first: once the socket is free, the next holder's files are none of our business.
    unlinkQuietly(this.#fs, this.lockFile);
    await this.#closeSocket();
  }
}

/** Whether the directory still belongs to whoever wrote the lock file. */
export function isHeld(fs: FileSystem, lockFile: string): boolean {
  try {
    fs.stat(lockFile);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw ioError(error, { operation: 'stat', path: lockFile });
  }
}

async function noSocket(): Promise<void> {
  // The lock file was all there was.
}

/** Calls with the name of the directory's socket. */
async function onSocket<T>(
  fs: FileSystem,
  directory: string,
  operation: string,
  call: (name: string) => Promise<T>,
): Promise<T> {
  const { device, inode } = guarded('stat', directory, () => fs.stat(directory));
  try {
    return await call(`weirpool-${device.toString(16)}-${inode.toString(16)}`);
  } catch (error) {
    throw ioError(error, { operation, path: directory });
  }
}

/** One try to become the holder by lock file, or to learn that there is none. */
class Contender {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #processes: ProcessTable;

  constructor(fs: FileSystem, directory: string, processes: ProcessTable) {
    this.#fs = fs;
    this.#directory = directory;
    this.#processes = processes;
  }

  /** Path of the lock file with which the directory was won. */
  async contend(withSocket: boolean): Promise<string> {
    let held: LockFile | undefined;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (attempt > 0) await pause(randomInt(PAUSE_MS_MIN, PAUSE_MS_MAX));
      held = this.#heldAmong(this.#names(), withSocket);
      if (held !== undefined) continue;
      const own = this.#announce();
      if (own === undefined) continue;
      const others = this.#names().filter((name) => name !== basename(own));
      held = this.#heldAmong(others, withSocket);
      if (held === undefined) {
        this.#remove([...others, ...this.#names(TEMPORARY)]);
        return own;
      }
      unlinkQuietly(this.#fs, own);
    }
    throw this.refusal(held);
  }

  /**
   * Looks for a holder and leaves everything as it is.
   *
   * @param withSocket  Whether there is a socket and nobody has it: as if it were in hand.
   */
  async lookOn(withSocket: boolean): Promise<void> {
    let held: LockFile | undefined;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (attempt > 0) await pause(randomInt(PAUSE_MS_MIN, PAUSE_MS_MAX));
      held = this.#heldAmong(this.#names(), withSocket);
      if (held === undefined) return;
    }
    throw this.refusal(held);
  }

  /** The lock file of whoever holds the directory, for the message of a refusal. */
  anyHeld(): LockFile | undefined {
    try {
      return this.#heldAmong(this.#names(), false);
    } catch {
      // Another user's file need not be readable: the refusal then does without the pid.
      return undefined;
    }
  }

  #names(pattern: RegExp = LOCK_FILE): string[] {
    const names = guarded('readdir', this.#directory, () => this.#fs.list(this.#directory));
    return names.filter((name) => pattern.test(name));
  }

  /** What the dead have left. A living contender whose unfinished file goes with it tries again. */
  #remove(names: readonly string[]): void {
    for (const name of names) unlinkQuietly(this.#fs, join(this.#directory, name));
  }

  /** Undefined if it was given back, or if power was lost before its content reached the disk. */
  #read(name: string): LockFile | undefined {
    const path = join(this.#directory, name);
    try {
      const holder = parseHolder(readOwn(this.#fs, path));
      return holder === undefined ? undefined : { path, holder };
    } catch (error) {
      if ((error as WeirpoolError).details?.['errno'] === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Makes the own file, whole under its name; undefined if it was swept away meanwhile. */
  #announce(): string | undefined {
    const path = join(this.#directory, `lock-${randomBytes(TOKEN_BYTES).toString('hex')}`);
    const temporary = `${path}.tmp`;
    const fd = openOwn(this.#fs, temporary, OPEN_NEW);
    try {
      const content = Buffer.from(`${JSON.stringify(this.#processes.self())}\n`);
      writeFully(this.#fs, { fd, path: temporary, position: 0 }, content);
      this.#fs.rename(temporary, path);
      return path;
    } catch (error) {
      unlinkQuietly(this.#fs, temporary);
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw ioError(error, { operation: 'rename', path: temporary });
    } finally {
      closeQuietly(this.#fs, fd);
    }
  }

  /**
   * A lock file that forbids taking the directory. With the socket in hand, this process' own file
   * is what a dead thread left, and a holder whose life cannot be seen is taken to be dead: the
   * fence stops it if it is not. Without the socket, both count as alive.
   */
  #heldAmong(names: readonly string[], withSocket: boolean): LockFile | undefined {
    for (const name of names) {
      const file = this.#read(name);
      if (file === undefined) continue;
      const state = this.#processes.stateOf(file.holder);
      const own = state === 'alive' && file.holder.pid === this.#ownPid;
      const counts = withSocket ? state === 'alive' && !own : state !== 'dead';
      if (counts) return file;
    }
    return undefined;
  }

  get #ownPid(): number {
    return this.#processes.self().pid;
  }

  refusal(held: LockFile | undefined): WeirpoolError {
    const { pid, host } = held?.holder ?? { pid: 0, host: '' };
    const who = held === undefined ? 'another process' : `process ${pid} on ${host}`;
    const self = pid === this.#ownPid ? ' (this very process)' : '';
    const foreign = held !== undefined && this.#processes.stateOf(held.holder) === 'unknown';
    const remedy = foreign ? ` If that machine or container is gone, remove ${held.path}.` : '';
    return new WeirpoolError(
      'STORE_LOCKED',
      `${this.#directory} is in use by ${who}${self}. Close the pool there, or end that process; ` +
        `threads of one process share a pool by attaching to it.${remedy}`,
      { details: { path: this.#directory, pid, host } },
    );
  }
}
