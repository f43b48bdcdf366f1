/** Trees under several threads (test/scenarios/tree-hammer.ts). LONG=1 gives them more time. */
import { describe, it } from 'vitest';
import { expectPasses } from '../support/scenario.ts';

const LONG = process.env['LONG'] === '1';
const MS = LONG ? 30_000 : 3000;
const TIMEOUT_MS = MS + 30_000;

function args(blobBytes: number, workers: number, frames: number): string[] {
  return [blobBytes, workers, frames, MS].map(String);
}

describe('trees under the hammer', () => {
  it(
    'D1 I1 nothing is lost, skipped or out of order in small nodes and a pool that is too small',
    () => expectPasses('tree-hammer', { args: args(4096, 3, 96), timeoutMs: TIMEOUT_MS }),
    TIMEOUT_MS * 2,
  );
  it(
    'D1 I1 nothing is lost, skipped or out of order in larger nodes',
    () => expectPasses('tree-hammer', { args: args(65_536, 4, 64), timeoutMs: TIMEOUT_MS }),
    TIMEOUT_MS * 2,
  );
});
