/**
 * What a flush throws.
 *
 * Owns:        nothing.
 * Threads:     any; across threads it is a plain `WeirpoolError`, without the entries.
 */
import { WeirpoolError } from '../errors.ts';
import type { FlushedEntry } from './context.ts';

/** `FLUSH_FAILED`: `cause` says why, `flushed` what was written through before; the rest is dirty. */
export class FlushError extends WeirpoolError {
  readonly flushed: readonly FlushedEntry[];

  constructor(cause: unknown, flushed: readonly FlushedEntry[], dirty: number) {
    super('FLUSH_FAILED', messageOf(cause, flushed.length, dirty), {
      cause,
      outcome: 'unknown',
      details: { flushed: flushed.length, dirty },
    });
    this.flushed = flushed;
  }
}

function messageOf(cause: unknown, flushed: number, dirty: number): string {
  const why = cause instanceof Error ? cause.message : String(cause);
  return `${flushed} entries were flushed, ${dirty} are still dirty: ${why}`;
}
