/**
 * How a thread gets the log written and a round run: by the workers, or by itself.
 *
 * Owns:        the tickets of rounds that this thread draws.
 * Threads:     any. With `threads: 'inline'`, and while a store is being opened, there are no
 *              workers: whoever waits takes the steps itself.
 */
import { WeirpoolError } from '../errors.ts';
import {
  H_JOURNAL_PARKED,
  H_JOURNAL_WAKE,
  H_ROUND_DONE,
  H_ROUND_WAKE,
  H_ROUND_WANTED,
} from '../generated/layout.ts';
import type { ThreadMemory } from './pool-memory.ts';

export interface LogServices {
  /** Whether there are no workers: what is asked for has happened when the call returns. */
  readonly inline: boolean;
  /** Whether this thread is alone and no rounds run: what it cannot have now it never can. */
  readonly hopeless?: boolean;
  /** Sees to it that published records are written, and synced up to H_WANT_DURABLE. */
  journal(): void;
  /** Sees to it that a round runs that begins after this call. Its ticket. */
  round(): number;
  /** For a thread that holds nothing: does what was asked for in passing, unless workers do it. */
  settle(): void;
}

/**
 * There are none: a store that is open for reading only writes nothing and runs no rounds. What its
 * log has changed stays in frames.
 */
export class NoServices implements LogServices {
  readonly inline = false;
  /** While records are done again, before there are other threads. */
  hopeless = false;

  journal(): void {
    // Nothing is ever appended.
  }

  /** Whoever waits for a frame goes on waiting for other threads' pins. */
  round(): number {
    return 0;
  }

  settle(): void {
    // Nothing is ever asked for.
  }
}

const WORD = Uint32Array.BYTES_PER_ELEMENT;

/** Draws a ticket: a round that begins later is done with it when H_ROUND_DONE has reached it. */
export function drawTicket(memory: ThreadMemory): number {
  return (Atomics.add(memory.u32, H_ROUND_WANTED / WORD, 1) + 1) >>> 0;
}

/** Whether `reached` has passed `ticket`; tickets wrap. */
export function isReached(reached: number, ticket: number): boolean {
  return ((reached - ticket) | 0) >= 0;
}

/** D1: a round waits for those who are inside the gate, and inline for its own thread's latches. */
export function roundRefused(): WeirpoolError {
  return new WeirpoolError(
    'TX_NESTED',
    'This thread holds what a round may wait for. Release the guards, and end the ' +
      'mini-transaction, before you ask for a round.',
  );
}

/** Asks for a round without waiting for it, unless one is asked for already. */
export function askForRound(memory: ThreadMemory): void {
  if (memory.load(H_ROUND_WANTED) === memory.load(H_ROUND_DONE)) drawTicket(memory);
  memory.bump(H_ROUND_WAKE);
}

/** The services are worker threads. */
export class WorkerServices implements LogServices {
  readonly inline = false;
  readonly #memory: ThreadMemory;

  constructor(memory: ThreadMemory) {
    this.#memory = memory;
  }

  journal(): void {
    const memory = this.#memory;
    Atomics.add(memory.u32, H_JOURNAL_WAKE / Uint32Array.BYTES_PER_ELEMENT, 1);
    // It says that it parks before it compares the word with what it has seen: one of both is noticed.
    if (memory.load(H_JOURNAL_PARKED) !== 0) memory.notify(H_JOURNAL_WAKE);
  }

  round(): number {
    const ticket = drawTicket(this.#memory);
    this.#memory.bump(H_ROUND_WAKE);
    return ticket;
  }

  settle(): void {
    // The workers look for themselves.
  }
}
