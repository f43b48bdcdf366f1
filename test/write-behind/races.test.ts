/**
 * Races of a cache with its store, each on the product, where nothing may happen, in both modes, and
 * on a naive variant, which the play (test/scenarios/write-behind-races.ts) must notice.
 */
import { describe, it } from 'vitest';
import { expectCaught, expectPasses, type Patch } from '../support/scenario.ts';

const WORK = 'src/write-behind/cache-work.ts';
const MEMORY = 'src/write-behind/memory-entries.ts';
const DURABLE = 'src/write-behind/durable-entries.ts';
const ENTRIES = 'src/write-behind/entries.ts';
const CLAIMS = 'src/write-behind/claims.ts';

type Mode = 'memory' | 'durable';
const MODES: readonly Mode[] = ['memory', 'durable'];

function caught(mode: Mode, play: string, ...patches: Patch[]): () => Promise<unknown> {
  return () =>
    expectCaught('write-behind-races', patches, {
      args: [mode, play],
      symptom: ['violation', 'crash'],
    });
}

/** Everybody has every claim of this thread. */
const NO_LOCAL_CLAIMS: Patch = {
  file: CLAIMS,
  find: 'if (waiting === undefined) {',
  replace: 'if (waiting === undefined || id !== undefined) {',
};

/** Where threads share a cache, the words of the claims stop this thread too. */
const NO_CLAIMS: Readonly<Record<Mode, readonly Patch[]>> = {
  memory: [NO_LOCAL_CLAIMS],
  durable: [
    NO_LOCAL_CLAIMS,
    {
      file: 'src/write-behind/shared-claims.ts',
      find: 'if (seen === 0) return;',
      replace: 'if (seen >= 0) return;',
    },
  ],
};

/** What was deleted takes whatever is there in the end. */
const TAKES_ALL: Patch = {
  file: ENTRIES,
  find: 'if (stamp?.inserted === now.inserted) return stamp.version === now.version;\n  return now.version === 0;',
  replace: 'return stamp !== now;',
};

/** What was deleted takes only what it has seen. */
const TAKES_SAME: Patch = {
  file: ENTRIES,
  find: 'return now.version === 0;',
  replace: 'return false;',
};

const JOINS_ALL: Patch = {
  file: WORK,
  find: 'if (under?.token !== undefined && this.#entries.isCurrent(under.token)) {',
  replace: 'if (under?.token !== undefined) {',
};

const STALE_FILL: Readonly<Record<Mode, readonly Patch[]>> = {
  memory: [{ file: MEMORY, find: "if (!this.isCurrent(token)) return 'stale';", replace: '' }],
  durable: [
    { file: DURABLE, find: "if (!this.isCurrent(token)) return 'stale';", replace: '' },
    { file: DURABLE, find: '() => this.isCurrent(token))', replace: '() => true)' },
  ],
};

const CLEAN_ANYWAY: Readonly<Record<Mode, Patch>> = {
  memory: {
    file: MEMORY,
    find: 'if (entry !== undefined && isSameStamp(entry, stamp)) this.#clean',
    replace: 'if (entry !== undefined && stamp.version > 0) this.#clean',
  },
  durable: {
    file: DURABLE,
    find: '(found) => isSameStamp(found, stamp)',
    replace: '(found) => found.version >= stamp.version',
  },
};

/** The victim goes once it has been written, whatever has become of it. */
const EVICTS_WRITTEN: Readonly<Record<Mode, readonly Patch[]>> = {
  memory: [
    {
      file: WORK,
      find: 'else yield* this.#writeThrough(victim.key, sync);',
      replace: 'else { yield* this.#writeThrough(victim.key, sync); this.#entries.evict(victim); }',
    },
    {
      file: MEMORY,
      find: 'if (entry !== undefined && !entry.dirty && isSameStamp(entry, victim))',
      replace: 'if (entry !== undefined)',
    },
  ],
  durable: [
    {
      file: WORK,
      find: 'else yield* this.#writeThrough(victim.key, sync);',
      replace: 'else { yield* this.#writeThrough(victim.key, sync); this.#entries.evict(victim); }',
    },
    {
      file: DURABLE,
      find: 'if (header === undefined || header.dirtied !== 0 || !isSameStamp(header, victim)) return;',
      replace: 'if (header === undefined) return;',
    },
  ],
};

describe.each(MODES)('a cache, %s', (mode) => {
  it(
    'B1 what is put while the entry is being written stays dirty',
    caught(mode, 'put-in-flush', CLEAN_ANYWAY[mode]),
  );

  it('B1 what is put while a write fails stays dirty, and is written the next time', async () => {
    await expectPasses('write-behind-races', { args: [mode, 'put-in-failure'] });
  });

  it('B3 a put wins over a read that began before it', async () => {
    await caught(mode, 'put-in-read', ...STALE_FILL.memory.slice(mode === 'memory' ? 0 : 1), {
      file: WORK,
      find: 'if (cached !== undefined) return cached;\n      // What was read',
      replace: 'if (cached !== undefined) return value;\n      // What was read',
    })();
  });

  it(
    'B3 a delete wins over a read that began before it',
    caught(mode, 'delete-in-read', ...STALE_FILL[mode]),
  );

  it(
    'B3 a delete takes what a read has brought meanwhile',
    caught(mode, 'read-in-delete', TAKES_SAME),
  );

  it(
    'B3 a read from during a delete is not kept after it',
    caught(mode, 'read-past-delete', ...STALE_FILL[mode]),
  );

  it.each(['read-in-write', 'read-in-failure'])(
    'B3 what is read while the key is being written is not kept beyond that: %s',
    async (play) => {
      await caught(mode, play, {
        file: WORK,
        find: 'this.#entries.forgetRead(key, entry);',
        replace: '',
      })();
    },
  );

  it('gets of one key share one read', async () => {
    await caught(mode, 'one-read', {
      file: WORK,
      find: 'this.#flights.set(id, flight);',
      replace: '',
    })();
  });

  it(
    'a get joins no read from before a delete that it must see',
    caught(mode, 'late-get', JOINS_ALL),
  );

  it(
    'B4 a delete waits for a write of the same key',
    caught(mode, 'delete-in-flush', ...NO_CLAIMS[mode]),
  );

  it(
    'B4 a put during a delete stays, and is written after it',
    caught(mode, 'put-in-delete', TAKES_ALL),
  );

  it('B4 a put after a delete stays, whatever the delete has to wait for', async () => {
    await caught(mode, 'put-behind-delete', {
      file: WORK,
      find: 'yield* this.#deleteDoomed(doomed, sync);',
      replace: 'yield* this.#deleteDoomed({ key, stamp: this.#entries.stampOf(key) }, sync);',
    })();
  });

  it(
    'B4 a write waits for a delete of the same key',
    caught(mode, 'put-in-delete', ...NO_CLAIMS[mode]),
  );

  it('B4 two flushes write no entry twice', caught(mode, 'two-flushes', ...NO_CLAIMS[mode]));

  it(
    'B1 a victim that is changed while it is being written is written again',
    caught(mode, 'put-in-eviction', ...EVICTS_WRITTEN[mode]),
  );

  it('puts of one key that wait for room come in their order', async () => {
    await caught(mode, 'puts-in-order', {
      file: WORK,
      find: 'this.#waiting.size === 0 ||',
      replace: 'this.#waiting.size >= 0 ||',
    })();
  });

  it('a delete comes behind a put of its key that waits for room', async () => {
    await caught(mode, 'delete-behind-put', {
      file: WORK,
      find: 'if (!this.#waiting.has(id)) return this',
      replace: 'if (this.#waiting.size >= 0) return this',
    })();
  });

  it('B4 a put comes behind a delete of its key that queues behind an earlier put', async () => {
    await caught(mode, 'put-behind-queued-delete', {
      file: WORK,
      find: 'yield* this.#queue(id, sync);\n    try {\n      return this.#entries.stampOf(key);\n    } finally {\n      this.#leaveQueue(id);',
      replace:
        'yield* this.#room.take(ROOM, sync);\n    try {\n      return this.#entries.stampOf(key);\n    } finally {\n      this.#room.release(ROOM);',
    })();
  });

  it('a close waits for what is under way', async () => {
    await caught(mode, 'close-in-calls', {
      file: 'src/write-behind/write-behind.ts',
      find: 'while (this.#pending.size > 0) await Promise.allSettled(this.#pending);',
      replace: '',
    })();
  });
});
