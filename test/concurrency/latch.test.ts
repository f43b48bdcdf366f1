/** The hybrid latch among real threads; its rules are in test/unit/assembly/latch.test.ts. */
import { describe, expect, it } from 'vitest';
import { expectCaught, expectPasses } from '../support/scenario.ts';

const NO_BAR_FOR_READERS = {
  file: 'assembly/latch.ts',
  find: `  if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0) {
    addShared(frame, me);
    if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0) return OK;`,
  replace: `  if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS & ~LATCH_P) == 0) {
    addShared(frame, me);
    if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS & ~LATCH_P) == 0) return OK;`,
};

const SPINS_WITHOUT_END = {
  file: 'assembly/layout.ts',
  find: 'export const SPIN_MAX: u32 = 200;',
  replace: 'export const SPIN_MAX: u32 = 2000000000;',
};

const RELEASE_WAKES_NOBODY = {
  file: 'assembly/latch.ts',
  find: '    atomic.add<u32>(b + B_WAKE, 1);\n    atomic.notify(b + B_WAKE, -1);',
  replace: '    atomic.add<u32>(b + B_WAKE, 1);',
};

describe('readers and writers', () => {
  it('D1 readers that hand the latch to each other do not starve a writer', async () => {
    await expectPasses('latch-starvation');
  });

  it('regression 26: without the pending bit they do', async () => {
    await expectCaught('latch-starvation', [NO_BAR_FOR_READERS], {
      match: /not starved/,
      variantTimeoutMs: 8000,
    });
  });

  it('D1 threads with different blobs never wait for each other', async () => {
    await expectPasses('latch-apart');
  });
});

describe('waiting', () => {
  it('D1 four threads that want one latch park, and all get their turns', async () => {
    const { stdout } = await expectPasses('latch-parking');
    expect(stdout).toMatch(/^\d+ parks/);
  });

  it('regression 26: threads that spin without end are noticed', async () => {
    await expectCaught('latch-parking', [SPINS_WITHOUT_END], {
      match: /waiting threads park/,
      variantTimeoutMs: 12_000,
    });
  });

  it('D1 a waiter wakes on release, whatever it waits for, and no wake-up is lost', async () => {
    await expectPasses('latch-wake');
  });

  it('D1 a release that wakes nobody is noticed', async () => {
    const options = { symptom: 'hang', variantTimeoutMs: 1500 } as const;
    await expectCaught('latch-wake', [RELEASE_WAKES_NOBODY], options);
  });
});
