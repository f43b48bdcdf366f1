/**
 * What a check of a store reports: one finding for each damage.
 *
 * Threads:     private to the caller.
 */
import { type ErrorCode, WeirpoolError } from '../errors.ts';

/**
 * What a check finds that no opening or read fails with; everything else has the code of the error
 * that it would give. docs/verify.md says what each means; a test compares.
 */
export const FINDING_CODES = [
  'BLOB_ORPHAN',
  'BLOB_SHARED',
  'CATALOG_INVALID',
  'CHILD_MISSING',
  'ID_NOT_ALLOCATED',
  'ID_REUSED',
  'NODE_BOUND',
  'NODE_COUNT',
  'NODE_EMPTY',
  'NODE_ENTRY',
  'NODE_HEAD',
  'NODE_HEAP',
  'NODE_HINT',
  'NODE_KIND',
  'NODE_LENGTH',
  'NODE_LEVEL',
  'NODE_LINK',
  'NODE_ORDER',
  'NODE_OVERLAP',
  'NODE_RANGE',
  'NODE_TEMPLATE',
  'NODE_TREE',
  'NODE_VALUE',
  'OVERFLOW_KIND',
  'OVERFLOW_LENGTH',
  'OVERFLOW_MISSING',
  'ROOT_MISSING',
  'SLOT_MISSING',
  'SLOT_SHARED',
  'TREE_ROOT_MISSING',
] as const;

export type FindingCode = (typeof FINDING_CODES)[number];

/** Codes of errors, where an opening or a read would fail with them, and those of findings alone. */
export type VerifyCode = ErrorCode | FindingCode;

/** Where a finding is, as far as that can be said. */
interface FindingPlace {
  /** In the file. */
  readonly offset?: number;
  readonly id?: number;
  readonly slot?: number;
  /** Root of the tree that the blob belongs to. */
  readonly tree?: number;
  /** Of the record that is wrong; of a damaged place the seq up to which the log is whole. */
  readonly seq?: number;
}

export interface VerifyFinding extends FindingPlace {
  readonly code: VerifyCode;
  readonly path: string;
  readonly message: string;
}

const PLACE_FIELDS = ['offset', 'id', 'slot', 'tree', 'seq'] as const;

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
