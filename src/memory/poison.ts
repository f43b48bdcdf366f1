/**
 * Poison: the fail-stop state. Every further operation throws until the store is reopened.
 *
 * Owns:        status word, cause code and cause text in the header; the first cause stays.
 * Threads:     any thread may poison; all others learn of it at their next operation, and parked
 *              ones within one park slice (100 ms) or at once when they are notified.
 */
import { ERROR_CODES, type ErrorCode, WeirpoolError } from '../errors.ts';
import {
  B_WAKE,
  DESC_B,
  DESC_SHIFT,
  H_CREDIT_WAKE,
  H_DOORBELL,
  H_FRAME_WAKE,
  H_GATE_WAKE,
  H_JOURNAL_WAKE,
  H_LOG_WAKE,
  H_POISON_BYTES,
  H_POISON_CODE,
  H_POISON_TEXT,
  H_PREFETCH_WAKE,
  H_ROUND_ENDED,
  H_ROUND_WAKE,
  H_STAGING_WAKE,
  H_STATUS,
  POISON_TEXT_MAX,
  STATUS_CLOSING,
  STATUS_OPEN,
  STATUS_OPENING,
  STATUS_POISONED,
} from '../generated/layout.ts';
import type { ThreadMemory } from './pool-memory.ts';

function words(offset: number): number {
  return offset / Uint32Array.BYTES_PER_ELEMENT;
}

/** Moves the status if it is `from`; whether it was. */
export function moveStatus(memory: ThreadMemory, from: number, to: number): boolean {
  return Atomics.compareExchange(memory.u32, words(H_STATUS), from, to) === from;
}

/**
 * Stops the pool; the first caller's cause is the one that everybody sees. Every caller sets the
 * status, so that it is set also if the first one dies on its way to it.
 */
export function poison(memory: ThreadMemory, code: ErrorCode, message: string): void {
  const mark = ERROR_CODES.indexOf(code) + 1;
  if (Atomics.compareExchange(memory.u32, words(H_POISON_CODE), 0, mark) === 0) {
    const target = new Uint8Array(memory.u32.buffer, H_POISON_TEXT, POISON_TEXT_MAX);
    const { written } = new TextEncoder().encodeInto(message, target);
    memory.store(H_POISON_BYTES, written);
  }
  for (const status of [STATUS_OPENING, STATUS_OPEN, STATUS_CLOSING]) {
    moveStatus(memory, status, STATUS_POISONED);
  }
  wakeAll(memory);
}

/** Every word that threads park on, beside those of frames. */
const WAKE_WORDS: readonly number[] = [
  H_FRAME_WAKE,
  H_PREFETCH_WAKE,
  H_DOORBELL,
  H_CREDIT_WAKE,
  H_JOURNAL_WAKE,
  H_LOG_WAKE,
  H_GATE_WAKE,
  H_ROUND_WAKE,
  H_ROUND_ENDED,
  H_STAGING_WAKE,
];

/** Wakes every parked thread, so that it looks at the status. */
export function wakeAll(memory: ThreadMemory): void {
  for (let frame = 0; frame < memory.shared.frames; frame++) {
    const wake = DESC_B + frame * 2 ** DESC_SHIFT + B_WAKE;
    Atomics.add(memory.u32, words(wake), 1);
    memory.notify(wake);
  }
  for (const wake of WAKE_WORDS) {
    Atomics.add(memory.u32, words(wake), 1);
    memory.notify(wake);
  }
}

/** The error for an operation on a pool that is not open. */
export function stoppedError(memory: ThreadMemory): WeirpoolError {
  if (memory.load(H_STATUS) !== STATUS_POISONED) {
    return new WeirpoolError('POOL_CLOSED', 'The pool is closed or closing. Open it again.');
  }
  const cause = poisonCause(memory);
  return new WeirpoolError(
    'POISONED',
    `The pool has stopped: ${cause.message} Close it and open it again; nothing that was confirmed ` +
      'as durable is lost.',
    { outcome: 'unknown', cause, details: { cause: cause.code } },
  );
}

function poisonCause(memory: ThreadMemory): WeirpoolError {
  const code = ERROR_CODES[memory.load(H_POISON_CODE) - 1] ?? 'INVARIANT_BROKEN';
  // A copy: TextDecoder does not take shared memory.
  const bytes = new Uint8Array(memory.u32.buffer, H_POISON_TEXT, memory.load(H_POISON_BYTES));
  return new WeirpoolError(code, new TextDecoder().decode(bytes.slice()), { outcome: 'unknown' });
}
