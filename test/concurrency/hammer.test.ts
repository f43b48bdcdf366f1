/**
 * The hammer (test/scenarios/hammer.ts): everything at random, every byte checked. Passes on the
 * product; the naive variants here are caught by it alone, each time. Rarer races have
 * scenarios of their own (races.test.ts). LONG=1 gives it more time.
 */
import { describe, it } from 'vitest';
import * as naive from '../support/race-variants.ts';
import { expectCaught, expectPasses, type Patch } from '../support/scenario.ts';

const LONG = process.env['LONG'] === '1';
const MS = LONG ? 30_000 : 3000;
const TIMEOUT_MS = MS + 30_000;

function args(blobBytes: number, workers: number, frames: number): string[] {
  return [blobBytes, workers, frames, MS].map(String);
}

describe('the product under the hammer', () => {
  it(
    'I1 I4 I5 nothing is torn, stale, foreign or lost with blobs of 4 KiB',
    () => expectPasses('hammer', { args: args(4096, 3, 8), timeoutMs: TIMEOUT_MS }),
    TIMEOUT_MS * 2,
  );
  it(
    'I1 I4 I5 nothing is torn, stale, foreign or lost with blobs of 64 KiB',
    () => expectPasses('hammer', { args: args(65_536, 4, 8), timeoutMs: TIMEOUT_MS }),
    TIMEOUT_MS * 2,
  );
});

describe('naive variants under the hammer', () => {
  const caught = (patches: readonly Patch[]) => async (): Promise<void> => {
    await expectCaught('hammer', patches, {
      args: args(4096, 3, 8),
      timeoutMs: TIMEOUT_MS,
      symptom: ['violation', 'crash'],
    });
  };
  const test = (title: string, patches: readonly Patch[]) =>
    it(title, caught(patches), TIMEOUT_MS * 2);

  test('I5 the hammer sees that nothing is validated', naive.ALWAYS_VALID);
  test('I5 the hammer sees a release that leaves the version', naive.VERSION_STAYS_ON_RELEASE);
  test('I5 the hammer sees a writer beside readers', naive.EXCLUSIVE_BESIDE_READERS);
  test('I5 the hammer sees a writer beside a writer', naive.EXCLUSIVE_BESIDE_WRITER);
  test('I1 the hammer sees the eviction of dirty frames', naive.EVICT_DIRTY);
  test('I1 the hammer sees the eviction of pinned frames', naive.EVICT_PINNED);
  test('I6 the hammer sees a thread with a mapping of its own', naive.PRIVATE_MAPPING);
});
