/** Snapshots and backups under several threads (test/scenarios/tree-snapshots.ts). */
import { describe, it } from 'vitest';
import { expectCaught } from '../support/scenario.ts';

const LONG = process.env['LONG'] === '1';
const MS = LONG ? 20_000 : 1500;
const TIMEOUT_MS = MS + 30_000;

function args(blobBytes: number, writers: number, readers: number, frames: number): string[] {
  return [blobBytes, writers, readers, frames, MS].map(String);
}

/** Slots are free as soon as the mapping does not name them. */
const FREED_AT_ONCE = {
  file: 'assembly/snapshots.ts',
  find: 'if (!isRead(load<u64>(span + SPAN_FROM), <u64>commit)) return slotFree(slot);',
  replace: 'if (commit > 0) return slotFree(slot);',
};

describe('snapshots while others write', () => {
  it(
    'I3 I6 show one moment each and let go what they kept, and without that are found out',
    () =>
      expectCaught('tree-snapshots', [FREED_AT_ONCE], {
        args: args(4096, 2, 2, 256),
        timeoutMs: TIMEOUT_MS,
        symptom: ['crash', 'violation'],
        match: /BLOB_CORRUPT/,
      }),
    TIMEOUT_MS * 3,
  );
});
