/**
 * The log's files in the directory: their names, and the order in which they come and go.
 *
 * Owns:        names. A segment has its name only when its header is synced, and takes records only
 *              when its name is. So a segment whose header is damaged is damage, never a leftover.
 * Threads:     opening, and the one that writes the log.
 *
 *   wal-<number>      segments, from 1 on, without gaps but those that trimming leaves
 *   wal-spare         a file of the size of a segment for the next one; its content means nothing
 *   wal-<random>.tmp  a spare that is being made; dropped at the next opening
 */
import { randomBytes } from 'node:crypto';
import { basename, join } from 'node:path';
import type { WeirpoolError } from '../errors.ts';
import {
  closeQuietly,
  OPEN_NEW,
  OPEN_WRITE,
  openOwn,
  statIfPresent,
  unlinkQuietly,
  writeFully,
} from '../fs/files.ts';
import { guarded, ioError } from '../fs/io-error.ts';
import { type DirectoryAccess, unknownOutcome } from '../store/manifest-files.ts';
import { encodeSegmentHeader, type LogSums, type SegmentHeader } from './format.ts';

const SEGMENT = /^wal-([1-9][0-9]{0,15})$/;
const SPARE = 'wal-spare';
const TEMPORARY = /^wal-[0-9a-f]+\.tmp$/;
const TOKEN_BYTES = 6;
/** Zeros are written in pieces of that size. */
const ZEROS_BYTES = 1024 * 1024;

export function segmentPath(directory: string, segment: number): string {
  return join(directory, `wal-${segment}`);
}

/** The other way round; 0 for any other path, also of a number that no counting comes to. */
export function segmentNumber(path: string): number {
  const number = Number(SEGMENT.exec(basename(path))?.[1] ?? 0);
  return Number.isSafeInteger(number) ? number : 0;
}

export function sparePath(directory: string): string {
  return join(directory, SPARE);
}

export interface LogFiles {
  /** Numbers of the segments, ascending. */
  readonly segments: readonly number[];
  readonly temporaries: readonly string[];
}

export function listLogFiles({ fs, directory }: DirectoryAccess): LogFiles {
  const names = guarded('readdir', directory, () => fs.list(directory));
  const numbers = names.map(segmentNumber).filter((number) => number > 0);
  return {
    segments: numbers.sort((a, b) => a - b),
    temporaries: names.filter((name) => TEMPORARY.test(name)),
  };
}

export function dropTemporaries(access: DirectoryAccess): void {
  for (const name of listLogFiles(access).temporaries) {
    unlinkQuietly(access.fs, join(access.directory, name));
  }
}

/** Bytes of the spare, or undefined if there is none. */
export function spareBytes({ fs, directory }: DirectoryAccess): number | undefined {
  return statIfPresent(fs, sparePath(directory))?.bytes;
}

/** Syncs the directory; a failure says that the outcome is unknown. */
export function syncNames({ directory, directorySync }: DirectoryAccess): void {
  try {
    directorySync.sync(directory);
  } catch (error) {
    throw unknownOutcome(error as WeirpoolError);
  }
}

function writeZeros(access: DirectoryAccess, fd: number, path: string, bytes: number): void {
  const zeros = new Uint8Array(Math.min(bytes, ZEROS_BYTES));
  for (let position = 0; position < bytes; position += zeros.length) {
    const piece = zeros.subarray(0, Math.min(zeros.length, bytes - position));
    writeFully(access.fs, { fd, path, position }, piece);
  }
}

/**
 * Makes a spare: zeros, synced, so that writing a segment later needs no space and changes no size.
 *
 * @throws {WeirpoolError} `STORE_IO`; with outcome `unknown` only if the directory was not synced.
 */
export function makeSpare(access: DirectoryAccess, segmentBytes: number): void {
  const { fs, directory } = access;
  const path = join(directory, `wal-${randomBytes(TOKEN_BYTES).toString('hex')}.tmp`);
  const fd = openOwn(fs, path, OPEN_NEW);
  try {
    writeZeros(access, fd, path, segmentBytes);
    guarded('fsync', path, () => fs.syncAll(fd));
    guarded('rename', path, () => fs.rename(path, sparePath(directory)));
  } catch (error) {
    unlinkQuietly(fs, path);
    throw error;
  } finally {
    closeQuietly(fs, fd);
  }
  syncNames(access);
}

/** The spare becomes the segment of that header, and may take records when this returns. */
export function activateSpare(
  access: DirectoryAccess,
  sums: LogSums,
  header: SegmentHeader,
): number {
  const { fs, directory } = access;
  const spare = sparePath(directory);
  const fd = openOwn(fs, spare, OPEN_WRITE);
  try {
    writeFully(fs, { fd, path: spare, position: 0 }, encodeSegmentHeader(sums, header));
    try {
      fs.syncData(fd);
    } catch (error) {
      throw ioError(error, { operation: 'fdatasync', path: spare, outcome: 'unknown' });
    }
    renameSpare(access, segmentPath(directory, header.segment));
    syncNames(access);
    return fd;
  } catch (error) {
    closeQuietly(fs, fd);
    throw error;
  }
}

/** A rename that failed and left the name all the same may or may not survive a crash. */
function renameSpare({ fs, directory }: DirectoryAccess, path: string): void {
  try {
    fs.rename(sparePath(directory), path);
  } catch (error) {
    let outcome: 'not_applied' | 'unknown' = 'unknown';
    try {
      if (statIfPresent(fs, path) === undefined) outcome = 'not_applied';
    } catch {
      // It cannot be told: unknown.
    }
    throw ioError(error, { operation: 'rename', path, outcome });
  }
}
