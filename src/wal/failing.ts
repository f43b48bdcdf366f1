/**
 * What a thread is told that waits for a log which cannot be written.
 *
 * Owns:        nothing; the journal says in the header whether it fails, and why.
 * Threads:     any.
 */
import { type Outcome, WeirpoolError } from '../errors.ts';
import { H_LOG_ERROR, H_LOG_FAILING } from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import { getError } from '../memory/shared-error.ts';

/**
 * @param since  When the caller began to wait, by `performance.now()`.
 * @param then   What becomes of what it waits for.
 * @throws {WeirpoolError} `STORE_IO` when it has waited for `waitMs` and the log fails.
 */
export function assertLogWritable(
  memory: ThreadMemory,
  since: number,
  waitMs: number,
  then: string,
  outcome: Outcome = 'not_applied',
): void {
  if (memory.load(H_LOG_FAILING) === 0 || performance.now() - since < waitMs) return;
  const cause = getError(memory, H_LOG_ERROR);
  throw new WeirpoolError(
    'STORE_IO',
    `The log could not be written for ${waitMs} ms: ${cause?.message ?? ''} ${then}`,
    { outcome, cause, details: { operation: 'append' } },
  );
}
