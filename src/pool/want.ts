/**
 * What a mini-transaction could not have without waiting.
 *
 * Owns:        the one list of things that are waited for between two attempts.
 * Invariants:  D1  a wait for one of these happens only while the thread holds nothing.
 * Threads:     private to a thread.
 */
import { WeirpoolError } from '../errors.ts';
import type { BlobId } from '../store/contract.ts';

export type Want =
  /** The latch of a blob. */
  | { readonly kind: 'latch'; readonly id: BlobId }
  /** Frames that may be taken. */
  | { readonly kind: 'frame' }
  /** Bytes of credit in the log's ring. */
  | { readonly kind: 'credit'; readonly bytes: number }
  /** A staging frame for the image of a captured blob. */
  | { readonly kind: 'staging' }
  /** Ids, so many in all: the lease in the manifest is used up. */
  | { readonly kind: 'ids'; readonly count: number }
  /** Room in the tables that only a round empties: pending deletes, roots. */
  | { readonly kind: 'round' }
  /** Nothing: what was looked up before the latch has changed meanwhile. */
  | { readonly kind: 'change' };

const TEXTS: Readonly<Record<Want['kind'], string>> = {
  latch: 'another thread holds the latch of a blob',
  frame: 'no frame is free',
  credit: "the log's ring has no room",
  staging: 'the running round has no staging frame left',
  ids: 'no blob id is in reserve',
  round: 'too much waits for the next round',
  change: 'what it looked up has changed meanwhile',
};

/** Unwinds a mini-transaction to where it can wait. */
export class RestartError extends WeirpoolError {
  readonly want: Want;

  constructor(want: Want) {
    super(
      'OP_RESTART',
      `What was asked for would have to wait while this thread holds something: ${TEXTS[want.kind]}. ` +
        'Release all guards and start again (pool.change does that by itself).',
      { details: want.kind === 'latch' ? { wanted: 'latch', id: want.id } : { wanted: want.kind } },
    );
    this.want = want;
  }
}
