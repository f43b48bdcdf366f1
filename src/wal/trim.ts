/**
 * Trimming: segments that lie wholly at or below the checkpoint seq go, or become the spare.
 *
 * Owns:        the order of the steps.
 * Invariants:  I2   the caller gives the S of a manifest record that is synced; a segment with one
 *                   record above it stays, and so does the one that is being written;
 *              a segment that becomes the spare has lost its old name durably before anything is
 *              written to it, else a crash could show new bytes under the old name.
 * Threads:     the one that writes the log.
 *
 * Any subset of the names may be there after a crash: a segment at or below the checkpoint seq is
 * never looked for (see reader.ts), and one that came back is dropped by the next trim. A reused
 * file keeps its old bytes: no sum of theirs fits the new segment's number.
 */
import { errnoOf } from '../errors.ts';
import { guarded } from '../fs/io-error.ts';
import type { DirectoryAccess } from '../store/manifest-files.ts';
import { segmentPath, sparePath, syncNames } from './segment-files.ts';

/** A segment that takes no records any more. */
export interface FullSegment {
  readonly segment: number;
  readonly bytes: number;
  readonly firstPosition: number;
  /** Where its last record ends. */
  readonly endSeq: number;
}

/** Those that lie wholly at or below the checkpoint seq. */
export function trimmable(segments: readonly FullSegment[], checkpointSeq: number): FullSegment[] {
  return segments.filter(({ endSeq }) => endSeq <= checkpointSeq);
}

/** A call that failed before may have had its effect: what is gone is done. */
function unlessGone(operation: string, path: string, call: () => void): void {
  guarded(operation, path, () => {
    try {
      call();
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  });
}

/**
 * Renames the segment to the spare, durably.
 *
 * @throws {WeirpoolError} `STORE_IO`; outcome `unknown`: the writer must stop.
 */
export function recycleSegment(access: DirectoryAccess, segment: number): void {
  const { fs, directory } = access;
  const path = segmentPath(directory, segment);
  unlessGone('rename', path, () => fs.rename(path, sparePath(directory)));
  syncNames(access);
}

/** Removes the segment's name; durable with the next sync of the directory. */
export function dropSegment({ fs, directory }: DirectoryAccess, segment: number): void {
  const path = segmentPath(directory, segment);
  unlessGone('unlink', path, () => fs.unlink(path));
}
