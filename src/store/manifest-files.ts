/**
 * The manifest's files in the directory: their names, which one counts, making the next one.
 *
 * Owns:        names, and the order in which a new file appears: content, sync, name, sync of the
 *              directory. A file has its name only when it is whole, so the highest generation
 *              counts, and one that is damaged is never a leftover of a crash.
 * Threads:     opening, and the commit lock.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { errnoOf, WeirpoolError } from '../errors.ts';
import type { FileSystem } from '../fs/file-system.ts';
import {
  closeQuietly,
  type DirectorySync,
  OPEN_NEW,
  openOwn,
  statIfPresent,
  unlinkQuietly,
  writeFully,
} from '../fs/files.ts';
import { guarded, ioError } from '../fs/io-error.ts';

const MANIFEST = /^manifest-([1-9][0-9]{0,15})$/;
const TEMPORARY = /^manifest-[0-9]+\.[0-9a-f]+\.tmp$/;
const TOKEN_BYTES = 6;
/** Errors with which file systems say that a file can have one name only. */
const NO_LINKS: readonly string[] = [
  'EPERM',
  'EACCES',
  'ENOSYS',
  'ENOTSUP',
  'EOPNOTSUPP',
  'EMLINK',
];

export interface DirectoryAccess {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly directorySync: DirectorySync;
}

export function manifestPath(directory: string, generation: number): string {
  return join(directory, `manifest-${generation}`);
}

function list({ fs, directory }: DirectoryAccess): string[] {
  return guarded('readdir', directory, () => fs.list(directory));
}

/** 0 for any other name, also of a number that no counting comes to. */
function generationOf(name: string): number {
  const generation = Number(MANIFEST.exec(name)?.[1] ?? 0);
  return Number.isSafeInteger(generation) ? generation : 0;
}

/** The highest generation, 0 if there is no manifest. */
export function newestGeneration(access: DirectoryAccess): number {
  return list(access).reduce((newest, name) => Math.max(newest, generationOf(name)), 0);
}

/** All generations that are there, the newest first. */
export function generations(access: DirectoryAccess): number[] {
  const numbers = list(access).map(generationOf);
  return numbers.filter((generation) => generation > 0).sort((a, b) => b - a);
}

/** Drops what earlier openings and crashes left: older generations and temporary files. */
export function dropLeftovers(access: DirectoryAccess, generation: number): void {
  for (const name of list(access)) {
    const older = generationOf(name) > 0 && generationOf(name) < generation;
    if (older || TEMPORARY.test(name)) unlinkQuietly(access.fs, join(access.directory, name));
  }
}

/**
 * Makes the manifest file of a generation; when it returns, the file may take commits.
 *
 * @returns Its descriptor.
 * @throws {WeirpoolError} `STORE_IO` with outcome `unknown` if the file may be there after a crash;
 *                         `FENCED` if another writer made that generation.
 */
export function createManifest(
  access: DirectoryAccess,
  generation: number,
  parts: readonly Uint8Array[],
): number {
  const { fs, directory, directorySync } = access;
  const path = manifestPath(directory, generation);
  const temporary = `${path}.${randomBytes(TOKEN_BYTES).toString('hex')}.tmp`;
  const fd = openOwn(fs, temporary, OPEN_NEW);
  try {
    let position = 0;
    for (const part of parts) {
      writeFully(fs, { fd, path: temporary, position }, part);
      position += part.length;
    }
    guarded('fsync', temporary, () => fs.syncAll(fd));
    giveName(fs, temporary, path, generation);
    syncName(directorySync, directory);
    return fd;
  } catch (error) {
    closeQuietly(fs, fd);
    throw error;
  } finally {
    unlinkQuietly(fs, temporary);
  }
}

/** By a link, which fails if the name is taken, unlike a rename: of two writers, one gets it. */
function giveName(fs: FileSystem, temporary: string, path: string, generation: number): void {
  try {
    fs.link(temporary, path);
  } catch (error) {
    const errno = errnoOf(error) ?? '';
    if (errno === 'EEXIST') throw fencedBy(path, generation);
    if (!NO_LINKS.includes(errno)) throw nameError(fs, error, 'link', path);
    renameUnlessTaken(fs, temporary, path, generation);
  }
}

function renameUnlessTaken(fs: FileSystem, from: string, to: string, generation: number): void {
  if (statIfPresent(fs, to) !== undefined) throw fencedBy(to, generation);
  try {
    fs.rename(from, to);
  } catch (error) {
    throw nameError(fs, error, 'rename', to);
  }
}

/** A call that failed and left the name all the same may or may not survive a crash. */
function nameError(fs: FileSystem, cause: unknown, operation: string, path: string) {
  let outcome: 'not_applied' | 'unknown' = 'unknown';
  try {
    if (statIfPresent(fs, path) === undefined) outcome = 'not_applied';
  } catch {
    // It cannot be told: unknown.
  }
  return ioError(cause, { operation, path, outcome });
}

function syncName(directorySync: DirectorySync, directory: string): void {
  try {
    directorySync.sync(directory);
  } catch (error) {
    throw unknownOutcome(error as WeirpoolError);
  }
}

/** The same error, for a place where what failed may still take effect. */
export function unknownOutcome(error: WeirpoolError): WeirpoolError {
  const { code, message, details } = error;
  return new WeirpoolError(code, message, { cause: error.cause, outcome: 'unknown', details });
}

function fencedBy(path: string, generation: number): WeirpoolError {
  return new WeirpoolError(
    'FENCED',
    `${path} was made by another writer: the store is in use elsewhere. Nothing was written over ` +
      'what it committed. Close this pool, and open the store in one place only.',
    { details: { path, generation } },
  );
}
