/** Trees under several threads (test/scenarios/tree-hammer.ts). LONG=1 gives them more time. */
import { describe, it } from 'vitest';
import { expectCaught, expectPasses, type Patch } from '../support/scenario.ts';

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

const DESCENT = 'src/tree/descent.ts';

/** A latched child counts as the parent's, although it may have split before its latch was had. */
const CHILD_WITHOUT_ITS_PARENT: Patch = {
  file: DESCENT,
  find: 'if (parent !== undefined && control.validate(parent.frame, parent.version) === 0) {',
  replace: 'if (parent !== undefined && parent.frame < 0) {',
};

describe('naive variants of trees under the hammer', () => {
  const test = (title: string, patch: Patch): void => {
    it(
      title,
      () =>
        expectCaught('tree-hammer', [patch], {
          args: args(4096, 3, 96),
          timeoutMs: TIMEOUT_MS,
          symptom: ['violation', 'crash'],
        }),
      TIMEOUT_MS * 2,
    );
  };
  test('I5 the hammer sees a child that is latched too late', CHILD_WITHOUT_ITS_PARENT);
});
