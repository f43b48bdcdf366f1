/** What a real disk that fails may do to a process under test: it must never look like damage. */
import type { ErrorCode } from '../errors.ts';
import type { LifeEnd } from './life.ts';

export const FAULT_CODES: readonly ErrorCode[] = [
  'OP_RESTART',
  'POISONED',
  'POOL_CLOSED',
  'POOL_EXHAUSTED',
  'STORE_FULL',
  'STORE_IO',
];

/** Last words of a process that could not go on, and has said why. */
const LAST_WORDS: readonly string[] = ['refused', 'unclosed', 'leaving'];

/** Whether a process has ended by itself because its disk fails, in an orderly way. */
export function hasToldWhy({ code, last, isLeaving, wasSilent }: LifeEnd): boolean {
  if (wasSilent) return false;
  return isLeaving || (code === 0 && LAST_WORDS.includes(last.split(' ', 1)[0] as string));
}
