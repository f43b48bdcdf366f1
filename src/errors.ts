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
  'BACKING_STORE_ASYNC',
  'BACKING_STORE_FAILED',
  'BACKUP_UNFIT',
  'BLOB_CORRUPT',
  'BLOB_GONE',
  'BLOB_NOT_FOUND',
  'BLOB_SIZE_MISMATCH',
  'CACHE_CLOSED',
  'CACHE_OPEN',
  'DIRECTORY_NOT_EMPTY',
  'ENTRY_DIRTY',
  'FENCED',
  'FLUSH_FAILED',
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

/** More causes than any of ours has; a circle of them ends here too. */
const CAUSES_MAX = 32;

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}

/** Anything can be thrown, also what cannot be made a string. */
function textOf(value: unknown): string {
  if (isString(value)) return value;
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** The error as plain data, with its causes, for `postMessage`. */
export function toWire(error: unknown): WireError {
  return wireOf(error, CAUSES_MAX);
}

function wireOf(error: unknown, causesMax: number): WireError {
  if (!(error instanceof Error)) {
    return {
      name: 'Error',
      message: textOf(error),
      code: undefined,
      outcome: undefined,
      details: undefined,
      cause: undefined,
      stack: undefined,
    };
  }
  const known = error instanceof WeirpoolError ? error : undefined;
  const { code } = error as { readonly code?: unknown };
  const hasCause = error.cause !== undefined && causesMax > 0;
  return {
    name: textOf(error.name),
    message: textOf(error.message),
    code: isString(code) ? code : undefined,
    outcome: known?.outcome,
    details: known?.details,
    cause: hasCause ? wireOf(error.cause, causesMax - 1) : undefined,
    stack: isString(error.stack) ? error.stack : undefined,
  };
}

function isErrorCode(code: unknown): code is ErrorCode {
  return (ERROR_CODES as readonly unknown[]).includes(code);
}

/**
 * The error again, with name, code, outcome, details and causes. What comes from another thread may
 * be anything: of what is no wired error, it is an error that says so much.
 */
export function fromWire(wire: WireError): Error {
  return errorFrom(wire, CAUSES_MAX);
}

function errorFrom(wire: unknown, causesMax: number): Error {
  if (!isRecord(wire)) return new Error(textOf(wire));
  const { name, code, outcome, details, stack } = wire;
  const message = textOf(wire['message']);
  const hasCause = wire['cause'] !== undefined && causesMax > 0;
  const cause = hasCause ? errorFrom(wire['cause'], causesMax - 1) : undefined;
  let error: Error;
  if (name === 'WeirpoolError' && isErrorCode(code)) {
    error = new WeirpoolError(code, message, {
      cause,
      outcome: outcome === 'not_applied' ? outcome : 'unknown',
      details: isRecord(details) ? (details as ErrorDetails) : {},
    });
  } else {
    error = new Error(message, { cause });
    error.name = textOf(name);
    if (isString(code)) (error as NodeJS.ErrnoException).code = code;
  }
  if (isString(stack)) error.stack = stack;
  return error;
}

/** The `code` of a Node.js system error, such as `ENOSPC`. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}
