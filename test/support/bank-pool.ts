/** The pool that banks are run on: small, so that frames, ring and log are short all the time. */
import type { PoolOptions } from '../../src/index.ts';
import { segmentBytesFor } from '../../src/wal/format.ts';
import { ringRecordBytesMax } from '../../src/wal/ring.ts';
import { BLOB_BYTES, type TellerOptions } from './bank.ts';

/** The main thread and three workers. */
export const TELLERS = 4;
export const ACCOUNTS = 8;
export const BALANCE = 100_000;

const RING_BYTES = 16 * 1024;

export const BANK_POOL = {
  // The share of an op with four threads is five frames: a ledger and four accounts.
  frames: 40,
  blobBytes: BLOB_BYTES,
  blobsMax: 256,
  log: {
    ringBytes: RING_BYTES,
    bytesMax: 8 * RING_BYTES,
    segmentBytes: segmentBytesFor(ringRecordBytesMax(RING_BYTES)),
    intervalMs: 50,
  },
  checkpoint: { intervalMs: 30, ageMs: 40 },
} as const satisfies PoolOptions;

export const MAX: TellerOptions = {
  moveMax: 4,
  padMax: 1500,
  accountsMax: 12,
  kinds: ['move', 'move', 'move', 'open', 'close', 'renew'],
};
