/**
 * An error in shared memory: what went wrong in one thread, for those in others who wait for it.
 *
 * Owns:        code, length and text at an offset of the control memory.
 * Threads:     one writes; a reader may see a mix of two texts, never a wrong code.
 */
import { ERROR_CODES, type Outcome, WeirpoolError } from '../errors.ts';
import { ERROR_BYTES, ERROR_CODE_MARK, ERROR_TEXT, ERROR_TEXT_MAX } from '../generated/layout.ts';
import type { ThreadMemory } from './pool-memory.ts';

export function putError(memory: ThreadMemory, offset: number, error: WeirpoolError): void {
  const target = memory.u8.subarray(offset + ERROR_TEXT, offset + ERROR_TEXT + ERROR_TEXT_MAX);
  const { written } = new TextEncoder().encodeInto(error.message, target);
  memory.store(offset + ERROR_BYTES, written);
  memory.store(offset + ERROR_CODE_MARK, ERROR_CODES.indexOf(error.code) + 1);
}

export function clearError(memory: ThreadMemory, offset: number): void {
  memory.store(offset + ERROR_CODE_MARK, 0);
}

/** The error, or undefined if there is none. */
export function getError(
  memory: ThreadMemory,
  offset: number,
  outcome: Outcome = 'not_applied',
): WeirpoolError | undefined {
  const code = ERROR_CODES[memory.load(offset + ERROR_CODE_MARK) - 1];
  if (code === undefined) return undefined;
  const from = offset + ERROR_TEXT;
  // A copy: TextDecoder does not take shared memory.
  const bytes = memory.u8.slice(from, from + memory.load(offset + ERROR_BYTES));
  return new WeirpoolError(code, new TextDecoder().decode(bytes), { outcome });
}
