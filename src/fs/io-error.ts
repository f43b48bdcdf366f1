/**
 * Errors of file calls: what failed, where, why, and what to do about it.
 *
 * Threads:     any.
 */
import { type ErrorDetails, errnoOf, type Outcome, WeirpoolError } from '../errors.ts';

const PERMISSION = 'Give the user of this process read and write permission there.';
const OPEN_FILES = 'Too many files are open: raise the limit (`ulimit -n`) or close some.';
const SPACE = 'Free space on that file system, or raise the quota, and try again.';
const DEVICE = 'The device reported an error: look at the system log and check the disk.';

const ADVICE: Readonly<Record<string, string>> = {
  EACCES: PERMISSION,
  EPERM: PERMISSION,
  ENOSPC: SPACE,
  EDQUOT: SPACE,
  EMFILE: OPEN_FILES,
  ENFILE: OPEN_FILES,
  EIO: DEVICE,
  EROFS: 'The file system is mounted read-only: mount it for writing.',
  ENOENT: 'It is not there: was the directory removed, moved or only partly restored?',
  ENOTDIR: 'A part of that path is a file, not a directory: give the path of a directory.',
  EISDIR: 'It is a directory where a file belongs: move it away.',
  ELOOP: 'It is a symbolic link, and a store does not follow links to its own files.',
  EFBIG: 'The file would exceed the largest size that the file system or `ulimit -f` allows.',
  ENAMETOOLONG: 'The path is too long: use a shorter one.',
  ESTALE: 'The file was replaced on the server: open the store again.',
};

export interface IoFailure {
  /** Name of the failed call, such as `fdatasync`. */
  readonly operation: string;
  readonly path: string;
  readonly outcome?: Outcome;
  readonly details?: ErrorDetails;
}

/** The `STORE_IO` error for a failed file call; errors that are ours already pass through. */
export function ioError(cause: unknown, failure: IoFailure): WeirpoolError {
  if (cause instanceof WeirpoolError) return cause;
  const { operation, path, outcome = 'not_applied' } = failure;
  const errno = errnoOf(cause) ?? 'unknown';
  const offset = failure.details?.['offset'];
  const where = offset === undefined ? path : `${path} at byte ${offset}`;
  const advice = ADVICE[errno] ?? 'See the cause for what the system said.';
  return new WeirpoolError('STORE_IO', `${operation} failed on ${where} (${errno}). ${advice}`, {
    cause,
    outcome,
    details: { ...failure.details, operation, path, errno },
  });
}

/** Runs one file call and turns what it throws into `STORE_IO`. */
export function guarded<T>(operation: string, path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw ioError(error, { operation, path });
  }
}
