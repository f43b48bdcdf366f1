/**
 * What once went wrong between threads, each on the product and on a variant that has the old
 * behaviour again. The cases of one thread are in test/unit/regressions.
 */
import { describe, it } from 'vitest';
import { type CaughtOptions, expectCaught, expectPasses, type Patch } from '../support/scenario.ts';

const CLOSE = 'src/pool/close.ts';
const LATCH = 'assembly/latch.ts';
const CHECKSUM = 'assembly/checksum.ts';
const REAPER = 'src/memory/reaper.ts';

const GIVES_UP_ON_A_COMMIT: Patch = {
  file: CLOSE,
  find: 'await takeCommits(core, Number.POSITIVE_INFINITY)',
  replace: 'await takeCommits(core, DRAIN_MS)',
};

const STOPS_IN_THE_MIDDLE_OF_COMMITS: Patch = {
  file: CLOSE,
  find: 'const taken = await takeCommits(core, DRAIN_MS);',
  replace: 'const taken = false;',
};

const LATCHES_AFTER_THE_STOP: Patch = {
  file: LATCH,
  find: 'if (atomic.load<u32>(H_STATUS) == 0) return false;\n  const a',
  replace: 'if (atomic.load<u32>(H_STATUS) < 100) return false;\n  const a',
};

const END_OF_ARENA_WRAPS: Patch = {
  file: CHECKSUM,
  find: 'for (let left = bytes >> 6; left > 0; left--) {',
  replace: 'const stop = from + (bytes & ~63);\n  while (at < stop) {',
};

/** Two mistakes in one variant, which takes long to compile; each scenario meets one of them. */
const KERNEL_MISTAKES = [LATCHES_AFTER_THE_STOP, END_OF_ARENA_WRAPS];

const ANY_ERROR_IS_A_DEATH: Patch = {
  file: 'src/fs/proc.ts',
  find: 'return !TASK_GONE.includes(errnoOf(error)) || !procIsThere();',
  replace: 'return TASK_GONE.length === 0 && error === procIsThere();',
};

const PROC_IS_ALWAYS_THERE: Patch = {
  file: 'src/fs/proc.ts',
  find: ' || !procIsThere();',
  replace: ';',
};

const REAPS_ONE_AFTER_THE_OTHER: Patch = {
  file: REAPER,
  find: 'STATUS_POISONED) {\n      this.reapVanished();',
  replace: 'STATUS_POISONED) {',
};

const DEAD_REAPER_IS_NOT_FOLLOWED: Patch = {
  file: REAPER,
  find: 'if (reaped !== 0) {',
  replace: 'if (reaped < 0) {',
};

const FIRST_CALLER_ALONE_POISONS: Patch = {
  file: 'src/memory/poison.ts',
  find: 'if (Atomics.compareExchange(memory.u32, words(H_POISON_CODE), 0, mark) === 0) {',
  replace:
    'if (Atomics.compareExchange(memory.u32, words(H_POISON_CODE), 0, mark) !== 0) return;\n{',
};

const PINS_BY_SHORT_LOOK_UP: Patch = {
  file: 'src/pool/residency.ts',
  find: 'control.pinThere(there, id, this.#me, counted ? 1 : 0)',
  replace: 'control.pin(id, this.#me, counted ? 1 : 0)',
};

function caught(scenario: string, play: string, patches: Patch[], options: CaughtOptions = {}) {
  return () => expectCaught(scenario, patches, { args: [play], ...options });
}

/** It hangs, and the watchdog finds a thread where it would: slowness alone is no proof. */
function hangsIn(match: RegExp): CaughtOptions {
  return { symptom: 'hang', variantTimeoutMs: 2500, match };
}

describe('a close beside other threads', () => {
  it.concurrent(
    'I6 an acknowledged commit survives a close that meets a slow disk',
    caught('regression-close', 'slow', [GIVES_UP_ON_A_COMMIT], { match: /I6/ }),
  );

  it.concurrent(
    'I6 a commit under way ends with its cached image before new operations are refused',
    caught('regression-close', 'cached', [STOPS_IN_THE_MIDDLE_OF_COMMITS], { match: /I6/ }),
  );

  it.concurrent(
    'I6 a write either returned and is there, or was refused and is not',
    caught('regression-close', 'race', [STOPS_IN_THE_MIDDLE_OF_COMMITS], { match: /I6/ }),
  );

  it.concurrent(
    'I1 a latch that comes free after the pool was stopped is not taken',
    caught('regression-close', 'latch', KERNEL_MISTAKES, { match: /I1/ }),
  );
});

describe('a look for the living that fails', () => {
  it.concurrent(
    'I1 is no death: too few descriptors take no latch from a living reader',
    caught('regression-death', 'descriptors', [ANY_ERROR_IS_A_DEATH], { match: /I1/ }),
  );

  it.concurrent(
    'I1 is no death either where /proc is not there at all',
    caught('regression-death', 'unmounted', [PROC_IS_ALWAYS_THERE], { match: /I1/ }),
  );
});

describe('a death', () => {
  it.concurrent(
    'G1 of a lock holder and one of a frame owner at once stop the pool instead of waiting',
    caught('regression-death', 'two', [REAPS_ONE_AFTER_THE_OTHER], hangsIn(/at #retry /)),
  );

  it.concurrent(
    'G1 of a thread that was detaching: another one goes on with it',
    caught('regression-death', 'detaching', [DEAD_REAPER_IS_NOT_FOLLOWED], { match: /G1/ }),
  );

  it.concurrent(
    'G1 of a thread that was reaping another one: a third one goes on with it',
    caught('regression-death', 'reaping', [DEAD_REAPER_IS_NOT_FOLLOWED], { match: /G1/ }),
  );

  it.concurrent(
    'W2D of the first thread that poisons does not keep the second one from it',
    caught('regression-death', 'poisoner', [FIRST_CALLER_ALONE_POISONS], { match: /W2D/ }),
  );
});

describe('frames and listings', () => {
  it.concurrent(
    'I4 more blobs in one chain than a look-up follows can all be pinned',
    caught('regression-frames', 'chain', [PINS_BY_SHORT_LOOK_UP], hangsIn(/at #pinInTable /)),
  );

  it.concurrent(
    'I6 the last frame of a full arena is summed like any other one',
    caught('regression-frames', 'arena', KERNEL_MISTAKES, { match: /I6/ }),
  );

  it.concurrent('I6 a listing ends beside a thread that commits without a pause', async () => {
    await expectPasses('regression-frames', { args: ['list'] });
  });
});

const DIE_WITHOUT_A_WORD: Patch[] = [
  {
    file: 'src/service/main.ts',
    find: 'void runJournal(data).catch(fail);',
    replace: 'void runJournal(data);',
  },
  {
    file: 'src/service/main.ts',
    find: 'void runCheckpointer(data).catch(fail);',
    replace: 'void runCheckpointer(data);',
  },
];

describe('journal and checkpointer', () => {
  it.concurrent(
    'W2D a worker that cannot start tells a thread that is blocked until it has written',
    caught('regression-log', 'start', DIE_WITHOUT_A_WORD, hangsIn(/at durableSync /)),
  );

  it('R1 a close loses nothing that was acknowledged, and says what it does not know', async () => {
    await expectPasses('regression-log', { args: ['race'], timeoutMs: 60_000 });
  });

  it('G1 a close that meets a sealed change gives up, and the change is refused', async () => {
    await expectPasses('regression-log', { args: ['sealed'] });
  });
});
