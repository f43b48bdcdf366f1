/** Waiting in wasm, see assembly/park.ts. */
import { it } from 'vitest';
import { expectCaught, expectPasses } from '../support/scenario.ts';

/** Baseline code only: there the values were lost. */
const OPTIONS = { nodeArgs: ['--liftoff-only'] };
/** Later versions of V8 compile the naive wait rightly: there is nothing to notice. */
const MISCOMPILES = process.versions.v8.startsWith('11.3');

it('I4 a thread that waited for a lock publishes the blob that it meant', async () => {
  await expectPasses('regression-park', OPTIONS);
});

it.runIf(MISCOMPILES)('I4 a wait inside the lock itself is noticed on V8 11.3', async () => {
  const naive = {
    file: 'assembly/locks.ts',
    find: 'park(lock, marked, parkMs);',
    replace: 'atomic.wait<i32>(lock, <i32>marked, <i64>parkMs * 1_000_000);',
  };
  await expectCaught('regression-park', [naive], { ...OPTIONS, match: /I4 the id/ });
});
