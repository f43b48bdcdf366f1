/**
 * What a check of a store reports: one finding for each damage.
 *
 * Threads:     private to the caller.
 */
import { type ErrorCode, WeirpoolError } from '../errors.ts';

/**
 * Codes of errors, where an opening or a read would fail with them, and besides:
 *
 *   SLOT_SHARED       two blobs have one slot (I6)
 *   SLOT_MISSING      the data file ends before the blob's slot does
 *   ID_NOT_ALLOCATED  an id that is in use may be handed out again
 *   ID_REUSED         a record of the log creates an id that something else has
 *   ROOT_MISSING      a root names a blob that is not there
 */
export type VerifyCode =
  | ErrorCode
  | 'SLOT_SHARED'
  | 'SLOT_MISSING'
  | 'ID_NOT_ALLOCATED'
  | 'ID_REUSED'
  | 'ROOT_MISSING';

/** Where a finding is, as far as that can be said. */
interface FindingPlace {
  /** In the file. */
  readonly offset?: number;
  readonly id?: number;
  readonly slot?: number;
  /** Of the record that is wrong; of a damaged place the seq up to which the log is whole. */
  readonly seq?: number;
}

export interface VerifyFinding extends FindingPlace {
  readonly code: VerifyCode;
  readonly path: string;
  readonly message: string;
}

const PLACE_FIELDS = ['offset', 'id', 'slot', 'seq'] as const;

/**
 * What an error says, as a finding.
 *
 * @param path  Where the error names none.
 * @throws      What cannot come from damage.
 */
export function findingOf(error: unknown, path: string): VerifyFinding {
  if (error instanceof RangeError) {
    // A file that has become so large that no array holds it.
    const message = `${path} has sizes that no store has (${error.message}). Restore the store.`;
    return { code: 'STORE_IO', path, message };
  }
  if (!(error instanceof WeirpoolError)) throw error;
  const { code, message, details } = error;
  const known = PLACE_FIELDS.filter((name) => typeof details[name] === 'number');
  const place: FindingPlace = Object.fromEntries(known.map((name) => [name, details[name]]));
  const named = details['path'];
  return { code, path: typeof named === 'string' ? named : path, ...place, message };
}
