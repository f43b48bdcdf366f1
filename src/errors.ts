/**
 * Errors: one class, many codes. Caller mistakes that need no code are `TypeError`, `RangeError`.
 *
 * Owns:        the list of codes; docs/errors.md says for each what happened and what to do.
 * Threads:     `toWire` and `fromWire` carry an error through `postMessage`, which would strip a
 *              subclass of its name and code.
 */

/** What the caller may assume about the failed operation. */
export type Outcome = 'not_applied' | 'unknown';

export const ERROR_CODES = [
  'ABI_MISMATCH',
  'ALREADY_ATTACHED',
  'BACKUP_UNFIT',
  'BLOB_CORRUPT',
  'BLOB_GONE',
  'BLOB_NOT_FOUND',
  'BLOB_SIZE_MISMATCH',
  'DIRECTORY_NOT_EMPTY',
  'FENCED',
  'FORMAT_UNSUPPORTED',
  'GUARD_RELEASED',
  'INVARIANT_BROKEN',
  'LATCH_HELD',
  'LOGGED_POOL',
  'MANIFEST_CORRUPT',
  'NODE_CORRUPT',
  'OP_RESTART',
  'OP_TOO_LARGE',
  'POISONED',
  'POOL_CLOSED',
  'POOL_EXHAUSTED',
  'READ_ONLY',
  'RECORD_TOO_LARGE',
  'REPLAY_FAILED',
  'SNAPSHOTS_EXHAUSTED',
  'SNAPSHOT_CLOSED',
  'STORE_FULL',
  'STORE_IO',
  'STORE_LOCKED',
  'THREADS_EXHAUSTED',
  'TREE_NOT_FOUND',
  'TX_ENDED',
  'TX_NESTED',
  'UNLOGGED_POOL',
  'WAL_CORRUPT',
  'WORKER_DIED',
] as const;

/** Stable identifier of an error, listed in docs/errors.md. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** Facts of one error: ids, offsets, paths, counts. */
export type ErrorDetails = Readonly<Record<string, number | bigint | string>>;

export interface WeirpoolErrorOptions extends ErrorOptions {
  /** Default: `not_applied`. */
  readonly outcome?: Outcome;
  readonly details?: ErrorDetails;
}

export class WeirpoolError extends Error {
  override readonly name: string = 'WeirpoolError';
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: WeirpoolErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.outcome = options.outcome ?? 'not_applied';
    this.details = options.details ?? {};
  }
}

/** A cloneable image of an error. */
export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
  readonly outcome: Outcome | undefined;
  readonly details: ErrorDetails | undefined;
  readonly cause: WireError | undefined;
  readonly stack: string | undefined;
}

/** The error as plain data, with its causes, for `postMessage`. */
export function toWire(error: unknown): WireError {
  if (!(error instanceof Error)) {
    return {
      name: 'Error',
      message: String(error),
      code: undefined,
      outcome: undefined,
      details: undefined,
      cause: undefined,
      stack: undefined,
    };
  }
  const known = error instanceof WeirpoolError ? error : undefined;
  return {
    name: error.name,
    message: error.message,
    code: (error as NodeJS.ErrnoException).code,
    outcome: known?.outcome,
    details: known?.details,
    cause: error.cause === undefined ? undefined : toWire(error.cause),
    stack: error.stack,
  };
}

function isErrorCode(code: string | undefined): code is ErrorCode {
  return (ERROR_CODES as readonly (string | undefined)[]).includes(code);
}

/** The error again, with name, code, outcome, details and causes. */
export function fromWire(wire: WireError): Error {
  const cause = wire.cause === undefined ? undefined : fromWire(wire.cause);
  let error: Error;
  if (wire.name === 'WeirpoolError' && isErrorCode(wire.code)) {
    error = new WeirpoolError(wire.code, wire.message, {
      cause,
      outcome: wire.outcome ?? 'unknown',
      details: wire.details ?? {},
    });
  } else {
    error = new Error(wire.message, { cause });
    error.name = wire.name;
    if (wire.code !== undefined) (error as NodeJS.ErrnoException).code = wire.code;
  }
  if (wire.stack !== undefined) error.stack = wire.stack;
  return error;
}

/** The `code` of a Node.js system error, such as `ENOSPC`. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}
