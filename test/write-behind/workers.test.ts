/** Caches that several threads share, on the product and on naive variants. */
import { describe, it } from 'vitest';
import { expectCaught, expectPasses, type Patch } from '../support/scenario.ts';

const SHARED = 'src/write-behind/shared-claims.ts';
const DURABLE = 'src/write-behind/durable-entries.ts';
const TIMEOUT_MS = 60_000;
const HANG_MS = 6_000;

const NO_CLAIMS: Patch = {
  file: SHARED,
  find: 'if (seen === 0) return;',
  replace: 'if (seen >= 0) return;',
};

const NOBODY_DIES: Patch = {
  file: SHARED,
  find: 'if (this.#isDead(seen)) this.#free(stripe, seen);',
  replace: 'if (this.#isDead(seen) && id === undefined) this.#free(stripe, seen);',
};

/** A thread that attaches leaves no trace of it. */
const KNOWS_NOBODY: Patch = {
  file: 'src/write-behind/open.ts',
  find: 'members: [...others, me] };',
  replace: 'members: others.concat([me].slice(1)) };',
};

/** A change is made whatever has become of the entry. */
const UNGUARDED: Patch = {
  file: 'src/write-behind/entry-guards.ts',
  find: 'inserted === header.inserted && version === header.version && dirtied === header.dirtied',
  replace: 'inserted >= 0 && version >= 0 && dirtied >= 0',
};

const FILLS_ANYWAY: Patch = {
  file: DURABLE,
  find: '() => this.isCurrent(token))',
  replace: '() => true)',
};

const LOOKS_ONCE: Patch = {
  file: 'src/write-behind/cache-work.ts',
  find: 'if (put !== undefined) return put;',
  replace: 'if (put !== undefined && reads < 0) return put;',
};

const DELETES_ANYWAY: Patch = {
  file: 'src/write-behind/cache-work.ts',
  find: 'if (!this.#isReplaced(doomed, behind.puts > puts)) yield*',
  replace: 'if (doomed !== undefined) yield*',
};

/** A deletion knows nothing of the puts behind it that are gone from the cache again. */
const FORGETS_PUTS: Patch = {
  file: 'src/write-behind/cache-work.ts',
  find: 'behind !== undefined) behind.puts++',
  replace: 'behind === null) behind.puts++',
};

/** A claim names the slot of its thread, whichever thread has it now. */
const NO_GENERATION: Patch = {
  file: SHARED,
  find: '(state & ~SLOT_STATE_MASK) | (slot + 1)',
  replace: 'slot + 1',
};

const NO_LOOK_AT_ROOM: Patch = {
  file: DURABLE,
  find: 'also: () => this.size < this.capacity && also(),',
  replace: 'also,',
};

describe('a cache of several threads', { timeout: TIMEOUT_MS * 3 }, () => {
  it('B4 B6 changes a key in the store once at a time, and never goes back', async () => {
    const options = { args: ['hammer'], timeoutMs: TIMEOUT_MS };
    await expectCaught('write-behind-workers', [NO_CLAIMS], options);
  });

  it.each([
    ['clean', UNGUARDED],
    ['evict', UNGUARDED],
    ['redirty', UNGUARDED],
    ['drop', UNGUARDED],
    ['fill', FILLS_ANYWAY],
    ['full', NO_LOOK_AT_ROOM],
    ['late-read', LOOKS_ONCE],
    ['late-delete', DELETES_ANYWAY],
    ['late-delete-evicted', FORGETS_PUTS],
  ] as const)('B1 B3 loses no change of another thread: %s', async (play, patch) => {
    await expectCaught('write-behind-stage', [patch], {
      args: [play],
      symptom: ['violation', 'crash'],
    });
  });

  it.each(['dead-write', 'dead-write-sync', 'dead-delete'])(
    'B7 takes over what a dead thread has claimed: %s',
    async (play) => {
      await expectCaught('write-behind-workers', [NOBODY_DIES], {
        args: [play],
        timeoutMs: TIMEOUT_MS,
        variantTimeoutMs: HANG_MS,
        symptom: 'hang',
      });
    },
  );

  it.each(['taken-over-twice', 'left-by-my-slot'])(
    'B7 takes no claim from a thread that lives: %s',
    async (play) => {
      await expectCaught('write-behind-claims', [NO_GENERATION], { args: [play] });
    },
  );

  it.each(['opener-closes', 'opener-dies'])(
    'B8 is opened again only when no thread has it: %s',
    async (play) => {
      await expectCaught('write-behind-workers', [KNOWS_NOBODY], {
        args: [play],
        timeoutMs: TIMEOUT_MS,
      });
    },
  );

  it('one thread opens it, the others attach, each once', async () => {
    await expectPasses('write-behind-workers', { args: ['apart'], timeoutMs: TIMEOUT_MS });
  });
});
