/**
 * Whole reads and writes, own files, directories: what stands above the single file calls.
 *
 * Owns:        the loops for short reads and writes; the rules for the store's own files
 *              (regular, not behind a link, mode 0600; directories 0700).
 * Threads:     any.
 */
import { constants } from 'node:fs';
import { dirname } from 'node:path';
import { type ErrorDetails, errnoOf, WeirpoolError } from '../errors.ts';
import type { FileStat, FileSystem } from './file-system.ts';
import { guarded, ioError } from './io-error.ts';

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
/** Calls in a row that may transfer nothing (EINTR, EAGAIN, 0 bytes written) before we give up. */
const IDLE_CALLS_MAX = 100;
/** Platforms without one of these flags go without what it does. */
const NOFOLLOW = constants.O_NOFOLLOW ?? 0;
/** A named pipe put where a file belongs must not block the open. */
const NONBLOCK = constants.O_NONBLOCK ?? 0;
const DIRECTORY = constants.O_DIRECTORY ?? 0;

export const OPEN_READ: number = constants.O_RDONLY;
export const OPEN_WRITE: number = constants.O_RDWR;
export const OPEN_CREATE: number = constants.O_RDWR | constants.O_CREAT;
export const OPEN_NEW: number = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
/** Undefined where the platform cannot write past its cache. */
export const DIRECT: number | undefined = constants.O_DIRECT;

/**
 * Opens one of the store's own files: a regular file, not behind a symbolic link.
 *
 * @throws {WeirpoolError} `STORE_IO`.
 */
export function openOwn(fs: FileSystem, path: string, flags: number): number {
  const fd = guarded('open', path, () => fs.open(path, flags | NOFOLLOW | NONBLOCK, FILE_MODE));
  try {
    if (guarded('fstat', path, () => fs.statFd(fd)).kind === 'file') return fd;
    throw new WeirpoolError(
      'STORE_IO',
      `${path} is not a regular file. Move it away, or give another directory.`,
      { details: { operation: 'open', path, errno: 'EINVAL' } },
    );
  } catch (error) {
    closeQuietly(fs, fd);
    throw error;
  }
}

/** Closing what is given up anyway: its failure must not hide the reason. */
export function closeQuietly(fs: FileSystem, fd: number): void {
  try {
    fs.close(fd);
  } catch {
    // The descriptor is gone either way.
  }
}

/** Removes a leftover, as far as that is possible. */
export function unlinkQuietly(fs: FileSystem, path: string): void {
  try {
    fs.unlink(path);
  } catch {
    // It is a leftover: the next opening tries again.
  }
}

/** The file's facts, or undefined if there is none. */
export function statIfPresent(fs: FileSystem, path: string): FileStat | undefined {
  try {
    return fs.stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw ioError(error, { operation: 'stat', path });
  }
}

/** Calls in a row that moved nothing. */
class IdleCalls {
  #count = 0;

  /** Counts an idle call; throws `error` after too many in a row. */
  add(error: unknown): void {
    this.#count++;
    if (this.#count >= IDLE_CALLS_MAX) throw error;
  }

  reset(): void {
    this.#count = 0;
  }
}

function isTransient(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'EINTR' || errno === 'EAGAIN';
}

function nothingWritten(): Error {
  return Object.assign(new Error('write accepted no bytes'), { code: 'EIO' });
}

/** Where a whole read or write goes, for its error. */
export interface Place {
  readonly fd: number;
  readonly path: string;
  readonly position: number;
  readonly details?: ErrorDetails;
}

function placeError(error: unknown, operation: string, place: Place, done: number): WeirpoolError {
  const offset = place.position + done;
  const { path, details } = place;
  return ioError(error, { operation, path, details: { ...details, offset } });
}

/**
 * Reads until `target` is full or the file ends.
 *
 * @returns Bytes read; less than asked for only at the end of the file.
 */
export function readFully(fs: FileSystem, place: Place, target: Uint8Array): number {
  const idle = new IdleCalls();
  let done = 0;
  try {
    while (done < target.length) {
      const rest = done === 0 ? target : target.subarray(done);
      try {
        const count = fs.read(place.fd, rest, rest.length, place.position + done);
        if (count === 0) break;
        done += count;
        idle.reset();
      } catch (error) {
        if (!isTransient(error)) throw error;
        idle.add(error);
      }
    }
  } catch (error) {
    throw placeError(error, 'read', place, done);
  }
  return done;
}

/** Writes all of `source`. After a failure any part of it may have been written. */
export function writeFully(fs: FileSystem, place: Place, source: Uint8Array): void {
  const idle = new IdleCalls();
  let done = 0;
  try {
    while (done < source.length) {
      try {
        const rest = done === 0 ? source : source.subarray(done);
        const count = fs.write(place.fd, rest, place.position + done);
        if (count === 0) idle.add(nothingWritten());
        else idle.reset();
        done += count;
      } catch (error) {
        if (!isTransient(error)) throw error;
        idle.add(error);
      }
    }
  } catch (error) {
    throw placeError(error, 'write', place, done);
  }
}

/** The same on threads of libuv. */
export async function writeFullyAsync(
  fs: FileSystem,
  place: Place,
  source: Uint8Array,
): Promise<void> {
  const idle = new IdleCalls();
  let done = 0;
  try {
    while (done < source.length) {
      try {
        const rest = done === 0 ? source : source.subarray(done);
        const count = await fs.writeAsync(place.fd, rest, place.position + done);
        if (count === 0) idle.add(nothingWritten());
        else idle.reset();
        done += count;
      } catch (error) {
        if (!isTransient(error)) throw error;
        idle.add(error);
      }
    }
  } catch (error) {
    throw placeError(error, 'write', place, done);
  }
}

/** The content of one of the store's own files, or its first `bytesMax` bytes. */
export function readOwn(
  fs: FileSystem,
  path: string,
  bytesMax: number = Number.POSITIVE_INFINITY,
): Uint8Array {
  const fd = openOwn(fs, path, OPEN_READ);
  try {
    const { bytes } = guarded('fstat', path, () => fs.statFd(fd));
    const content = new Uint8Array(Math.min(bytes, bytesMax));
    return content.subarray(0, readFully(fs, { fd, path, position: 0 }, content));
  } finally {
    closeQuietly(fs, fd);
  }
}

/** Errors with which platforms say that a directory cannot be synced (or not be opened for it). */
const NO_DIRECTORY_SYNC: readonly string[] = ['EINVAL', 'EISDIR', 'EPERM', 'EACCES', 'ENOTSUP'];

/**
 * Syncing of directories, which some platforms refuse; which ones is found out by trying.
 *
 * A refusal counts only the first time: where it has worked once, it is an error like any other.
 */
export class DirectorySync {
  readonly #fs: FileSystem;
  readonly #supported = new Map<string, boolean>();

  constructor(fs: FileSystem) {
    this.#fs = fs;
  }

  /** Whether the directory can be synced; undefined before the first try. */
  isSupported(directory: string): boolean | undefined {
    return this.#supported.get(directory);
  }

  /**
   * Makes the names in the directory survive power loss.
   *
   * @throws {WeirpoolError} `STORE_IO`; not where the platform cannot sync directories.
   */
  sync(directory: string): void {
    const known = this.#supported.get(directory);
    if (known === false) return;
    try {
      this.#syncNow(directory);
      this.#supported.set(directory, true);
    } catch (error) {
      const refused = NO_DIRECTORY_SYNC.includes(errnoOf(error) ?? '');
      if (known === true || !refused) {
        throw ioError(error, { operation: 'fsync', path: directory });
      }
      this.#supported.set(directory, false);
    }
  }

  #syncNow(directory: string): void {
    const fd = this.#fs.open(directory, constants.O_RDONLY | DIRECTORY, 0);
    try {
      this.#fs.syncAll(fd);
    } finally {
      closeQuietly(this.#fs, fd);
    }
  }
}

function notADirectory(path: string): WeirpoolError {
  return new WeirpoolError(
    'STORE_IO',
    `${path} is not a directory. Give the path of a directory, or one that does not exist yet.`,
    { details: { operation: 'mkdir', path, errno: 'ENOTDIR' } },
  );
}

/**
 * Makes the directory with its missing parents, and their names durable.
 *
 * @throws {WeirpoolError} `STORE_IO`, also if something that is no directory has the name.
 */
export function makeDirectories(fs: FileSystem, path: string, directorySync: DirectorySync): void {
  const missing: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    const found = statIfPresent(fs, at);
    if (found?.kind === 'directory') break;
    if (found !== undefined) throw notADirectory(at);
    missing.push(at);
    if (dirname(at) === at) break;
  }
  for (const directory of missing.reverse()) {
    try {
      fs.makeDirectory(directory, DIRECTORY_MODE);
    } catch (error) {
      // Somebody else may have made it in between.
      const made = errnoOf(error) === 'EEXIST' && fs.stat(directory).kind === 'directory';
      if (!made) throw ioError(error, { operation: 'mkdir', path: directory });
    }
    directorySync.sync(dirname(directory));
  }
}
