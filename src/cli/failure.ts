/**
 * How a command ends when it does not succeed: the exit code, and what is said.
 *
 * Owns:        the exit codes; the wording for errors of the library and of the system.
 * Threads:     the main thread.
 */
import type { ErrorCode, WeirpoolError } from '../index.ts';
import { visible } from './text.ts';

/** The command could not do what it was asked for, or not all of it. */
export const EXIT_FAILED = 1;
/** The command line makes no sense; nothing was done. */
export const EXIT_USAGE = 2;

/** A failure that has been understood: what happened, and what to do next. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly code: string;
  readonly hint: string | undefined;
  readonly exitCode: number;

  constructor(
    code: string,
    message: string,
    { hint, exitCode = EXIT_FAILED }: { hint?: string; exitCode?: number } = {},
  ) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.exitCode = exitCode;
  }
}

export function usageError(message: string, hint?: string): CommandError {
  return new CommandError('USAGE', message, {
    exitCode: EXIT_USAGE,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Ctrl-C, or another wish to end: the work was left, and everything is closed in order. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** Whoever read the output has gone; nobody needs to be told. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

const HINTS: Partial<Record<ErrorCode, string>> = {
  BLOB_CORRUPT:
    'See what is damaged with `weirpool verify`, and save the rest with `weirpool salvage`.',
  MANIFEST_CORRUPT: 'See what is damaged with `weirpool verify`; restore the store from a backup.',
  NODE_CORRUPT:
    'See what is damaged with `weirpool verify`, and save the rest with `weirpool salvage`.',
  WAL_CORRUPT: 'See what is damaged with `weirpool verify`; restore the store from a backup.',
  POOL_EXHAUSTED: 'Give the pool more memory with --frames, or first run `weirpool checkpoint`.',
  OP_TOO_LARGE: 'Give the pool more memory with --frames.',
  STORE_FULL: 'Delete what is not needed, or put the rest into another store.',
  UNLOGGED_POOL:
    'If its making was cut off, run the same `weirpool index` or `load` again. Otherwise a program ' +
    'made it for its own use, without trees.',
};

const FULL_DISK = /\b(?:ENOSPC|EDQUOT|EFBIG)\b/;

/** Without the library, which wrong usage need not wait for. */
function isWeirpoolError(error: unknown): error is WeirpoolError {
  return error instanceof Error && error.name === 'WeirpoolError';
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string';
}

/** Whether the disk was full. An error that comes from another thread has its cause in its message. */
function isFullDisk(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code = '' } = at as NodeJS.ErrnoException;
    if (FULL_DISK.test(code) || FULL_DISK.test(at.message)) return true;
  }
  return false;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
  readonly exitCode: number;
}

/** What there is to say about an error. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CommandError) {
    const { code, message, hint, exitCode } = error;
    return { code, message, hint, exitCode };
  }
  const full = isFullDisk(error)
    ? 'Make room on the disk, then run the same command again; what was stored before is safe.'
    : undefined;
  if (isWeirpoolError(error)) {
    const { code, message } = error;
    return { code, message, hint: full ?? HINTS[code], exitCode: EXIT_FAILED };
  }
  if (isSystemError(error)) {
    return {
      code: error.code ?? 'ERROR',
      message: error.message,
      hint: full,
      exitCode: EXIT_FAILED,
    };
  }
  if (error instanceof RangeError) {
    return { code: 'REFUSED', message: error.message, hint: undefined, exitCode: EXIT_FAILED };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'ERROR', message, hint: undefined, exitCode: EXIT_FAILED };
}

/** The failure as lines for people, or as one line of JSON for machines. */
export function describeFailure({ code, message, hint }: Failure, json: boolean): string {
  if (json) return `${JSON.stringify({ error: { code, message, hint } })}\n`;
  const lines = [`weirpool: ${code}: ${message}`, ...(hint === undefined ? [] : [hint])];
  return `${lines.map(visible).join('\n  ')}\n`;
}
