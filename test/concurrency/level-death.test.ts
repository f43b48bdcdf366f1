/** Threads that die where others wait for them in a level database (test/scenarios/level-death.ts). */
import { describe, it } from 'vitest';
import { expectCaught } from '../support/scenario.ts';
import type { Patch } from '../support/variant.ts';

const VARIANT_TIMEOUT_MS = 8000;
const VERSIONS = 'src/level/versions.ts';

interface Case {
  readonly what: string;
  readonly naive: string;
  readonly patch: Patch;
  readonly symptom: 'hang' | 'violation';
}

const CASES: readonly Case[] = [
  {
    what: 'write',
    naive: 'waits for every writer',
    patch: {
      file: VERSIONS,
      find: 'if (this.#awaitChange(active, 1) || this.#isAlive(slot)) continue;',
      replace: 'if (this.#awaitChange(active, 1) || slot >= 0) continue;',
    },
    symptom: 'hang',
  },
  {
    what: 'gate',
    naive: 'waits until the gate is opened by who has closed it',
    patch: {
      file: VERSIONS,
      find: 'if (this.#holds(holder)) continue;',
      replace: 'if (holder !== 0) continue;',
    },
    symptom: 'hang',
  },
  {
    what: 'snapshot',
    naive: 'looks for the dead only when it closes a snapshot',
    patch: {
      file: 'src/level/database.ts',
      find: 'if (this.#saves >= WRITES_PER_LOOK)',
      replace: 'if (this.#saves >= Number.POSITIVE_INFINITY)',
    },
    symptom: 'violation',
  },
];

describe('a thread that dies', () => {
  it.each(CASES)('V4 $what: others go on, and one that $naive is found out', async (one) => {
    await expectCaught('level-death', [one.patch], {
      args: [one.what],
      timeoutMs: 40_000,
      variantTimeoutMs: VARIANT_TIMEOUT_MS,
      symptom: one.symptom,
    });
  });
});
