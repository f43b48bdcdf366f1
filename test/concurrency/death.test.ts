/** Death of a thread: what it held is given back, or the pool stops; never half a change. */
import { describe, expect, it } from 'vitest';
import { expectCaught, expectPasses } from '../support/scenario.ts';

const TIMEOUT_MS = 25_000;

const LONG = process.env['LONG'] === '1';
const DEATHS = LONG ? 150 : 5;
const DEATHS_TIMEOUT_MS = LONG ? 300_000 : 40_000;

const REAPER = 'src/memory/reaper.ts';
const THREADS = 'assembly/threads.ts';

const NOBODY_REAPS = {
  file: REAPER,
  find: 'if (control.beginReap(slot, seen, threadId, tid, startTime) === BUSY) return;',
  replace: `if (slot !== this.#me) return;
    if (control.beginReap(slot, seen, threadId, tid, startTime) === BUSY) return;`,
};

const TIME_IS_A_SIGN = {
  file: REAPER,
  find: 'if (!taskMayLive(candidate.task)) this.reap(candidate.slot, candidate.seen);',
  replace: 'this.reap(candidate.slot, candidate.seen); void taskMayLive;',
};

const SHARED_COUNTS_STAY = {
  file: THREADS,
  find: '<u64>pins * PIN_ONE + <u64>shared * SHARED_ONE',
  replace: '<u64>pins * PIN_ONE',
};

const CLAIM_STAYS = {
  file: THREADS,
  find: 'atomic.store<u64>(a + A_WORD, versionOf(word));',
  replace: 'versionOf(word);',
};

const EXCLUSIVE_IS_RELEASED = {
  file: THREADS,
  find: 'if ((word & LATCH_X) != 0 && (word & LATCH_E) == 0) return UNDECIDED;',
  replace: `if ((word & LATCH_X) != 0 && (word & LATCH_E) == 0) {
      atomic.store<u64>(a + A_WORD, versionOf(word));
      giveHolds(dead, frame);
      return OK;
    }`,
};

const LOADING_STAYS = {
  file: REAPER,
  find: 'if (result !== BUSY) return;',
  replace: 'return;',
};

const SLOT_WITHOUT_GENERATION = [
  {
    file: THREADS,
    find: '(atomic.load<u32>(slot + S_STATE) & ~SLOT_STATE_MASK) + SLOT_GENERATION;',
    replace: '(atomic.load<u32>(slot + S_STATE) & ~SLOT_STATE_MASK);',
  },
  {
    file: THREADS,
    find: 'const next = (seen & ~SLOT_STATE_MASK) + SLOT_GENERATION;',
    replace: 'const next = seen & ~SLOT_STATE_MASK;',
  },
];

/** Two mistakes in one variant, which takes long to compile; each scenario meets one of them. */
const COUNTS_AND_CLAIM_STAY = [SHARED_COUNTS_STAY, CLAIM_STAYS];
const RELEASED_AND_NO_GENERATION = [EXCLUSIVE_IS_RELEASED, ...SLOT_WITHOUT_GENERATION];

const OPENER_DIES_UNNOTICED = {
  file: REAPER,
  find: 'if (this.#memory.load(H_OPENER) === owner) {',
  replace: 'if (this.#memory.load(H_OPENER) === owner && owner === 0) {',
};

const IDS_WITHOUT_LEASE = {
  file: 'src/store/mapped-store.ts',
  find: 'this.commit([], [], id + ID_LEASE);',
  replace: 'this.#thread.memory.storeU64(H_LEASE_END, id + ID_LEASE);',
};

describe('a worker dies', () => {
  it.concurrent.each(['terminate', 'throw', 'exit', 'oom'])(
    'I1 by %s: its pins, shared latches, claims and loads go back, anything else poisons',
    async (how) => {
      const { stdout } = await expectPasses('death-holding', {
        args: [how],
        timeoutMs: TIMEOUT_MS,
      });
      expect(stdout).toContain(`${how} holding exclusive, main thread parked`);
    },
  );

  it.concurrent.each(['hits', 'misses'])(
    'G1 thirty-two workers that hammer the pool are terminated, %s: no count is wrong',
    async (mode) => {
      const options = { args: [mode], timeoutMs: TIMEOUT_MS };
      const { stdout } = await expectPasses('death-random', options);
      expect(stdout).toMatch(/^32 terminated/);
    },
  );
});

describe('a service or the opener dies', () => {
  it.concurrent.each(['prefetch', 'parked', 'worker'])(
    'I4 the loader thread, in the middle of a load: another one goes on (%s)',
    async (mode) => {
      await expectPasses('death-loader', { args: [mode] });
    },
  );

  it.concurrent('I6 the opener, a worker: the pool stops, and the directory can be opened again', async () => {
    await expectPasses('death-opener');
  });
});

describe('a thread dies beside others that commit', () => {
  it.each(['user', 'journal', 'checkpointer'])(
    'W2D R1 by terminate, the %s: the pool goes on or stops, and keeps what was acknowledged',
    async (whom) => {
      const options = { args: [whom, String(DEATHS)], timeoutMs: DEATHS_TIMEOUT_MS };
      const { stdout } = await expectPasses('death-bank', options);
      expect(stdout).toContain(`${DEATHS} died`);
      process.stderr.write(stdout);
    },
    2 * DEATHS_TIMEOUT_MS,
  );
});

describe('the process dies', () => {
  it.concurrent('I4 ids are never handed out again, and what was committed is there', async () => {
    await expectPasses('death-ids');
  });

  it.concurrent('I4 ids without a lease in the manifest come back', async () => {
    await expectCaught('death-ids', [IDS_WITHOUT_LEASE], { match: /never handed out again/ });
  });
});

describe('nobody dies', () => {
  it.concurrent.each(['shared', 'exclusive', 'load'])(
    'I1 a slow holder keeps what it has for as long as it likes: %s',
    async (what) => {
      await expectPasses('death-slow', { args: [what] });
    },
  );

  it.concurrent('G1 a late reaper leaves the next owner of a slot alone', async () => {
    await expectPasses('death-slot');
  });
});

describe('what would be wrong', () => {
  it.concurrent('G1 nobody reaps', async () => {
    const args = ['terminate', 'pins', 'parked'];
    await expectCaught('death-holding', [NOBODY_REAPS], {
      args,
      match: /POOL_EXHAUSTED/,
      symptom: 'crash',
    });
  });

  it.concurrent('G1 reaping leaves the shared count as it was', async () => {
    const args = ['terminate', 'shared', 'awaited'];
    await expectCaught('death-holding', COUNTS_AND_CLAIM_STAY, { args, match: /G1.*given back/ });
  });

  it.concurrent('G1 reaping leaves the claim of a dead writer', async () => {
    const args = ['terminate', 'claim', 'awaited'];
    await expectCaught('death-holding', COUNTS_AND_CLAIM_STAY, { args, match: /G1.*claim/ });
  });

  it.concurrent('I4 reaping leaves a load that nobody will finish', async () => {
    const args = ['exit', 'load', 'parked'];
    const options = { args, symptom: ['hang', 'violation'], variantTimeoutMs: 2500 } as const;
    await expectCaught('death-holding', [LOADING_STAYS], options);
  });

  it.concurrent('I1 the exclusive latch of a dead writer is just released', async () => {
    const args = ['terminate', 'exclusive', 'awaited'];
    const options = { args, match: /instead of POISONED/ };
    await expectCaught('death-holding', RELEASED_AND_NO_GENERATION, options);
  });

  it.concurrent('I1 a time-out takes the latch of a slow holder', async () => {
    await expectCaught('death-slow', [TIME_IS_A_SIGN], { args: ['shared'], match: /I1|G1/ });
  });

  it.concurrent('G1 a slot is used again without a generation', async () => {
    await expectCaught('death-slot', RELEASED_AND_NO_GENERATION, { match: /late reaper/ });
  });

  it.concurrent('I6 the death of the opener goes unnoticed', async () => {
    await expectCaught('death-opener', [OPENER_DIES_UNNOTICED], { match: /instead of POISONED/ });
  });
});
