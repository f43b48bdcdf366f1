/** Snapshots of a level database under several threads (test/scenarios/level-snapshots.ts). */
import { describe, expect, it } from 'vitest';
import { describeResult, expectCaught, runScenario, symptomOf } from '../support/scenario.ts';
import type { Patch } from '../support/variant.ts';

const LONG = process.env['LONG'] === '1';
const MS = LONG ? 20_000 : 2500;
const TIMEOUT_MS = MS + 40_000;
const DATABASE = 'src/level/database.ts';
const HISTORY = 'src/level/history.ts';
const SCAN = 'src/level/scan.ts';
const VERSIONS = 'src/level/versions.ts';

/** Between the two looks of a writer that saves a key which others write too. */
const PAUSE =
  "if (key[0] === 'p'.charCodeAt(0)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);";

const VARIANTS: Readonly<Record<string, readonly Patch[]>> = {
  'H1 a write that saves nothing': [
    { file: DATABASE, find: 'if (versions.isLive) this.#save(keys);', replace: '' },
  ],
  'H1 keys that are asked for together and read one by one': [
    {
      file: 'src/level/level.ts',
      find: 'read(database, key, epoch)',
      replace: 'read(database, key, undefined)',
    },
  ],
  'H2 a scan that asks before it reads whether anything was written': [
    {
      file: SCAN,
      find: 'const batch = this.#cursor.next(entries);',
      replace: `const clean = this.#parts.versions?.isClean(this.#options.epoch) ?? true;
        const batch = this.#cursor.next(entries);`,
    },
    { file: SCAN, find: '!versions.isClean(epoch)', replace: '!clean' },
  ],
  'H1 a writer that looks into the history before it reads what is there': [
    {
      file: HISTORY,
      find: `const value = this.#main.get(key) as Buffer | undefined;
      const historical = historyKey(base, key, epoch);
      if (this.#tree.has(historical)) continue;`,
      replace: `const historical = historyKey(base, key, epoch);
      if (this.#tree.has(historical)) continue;
      ${PAUSE}
      const value = this.#main.get(key) as Buffer | undefined;`,
    },
  ],
  'V1 an epoch that begins in the middle of writes': [
    {
      file: VERSIONS,
      find: `this.#drain();
      const now`,
      replace: 'const now',
    },
  ],
  'V2 an epoch that is given away again after it was written under': [
    { file: VERSIONS, find: '>= now ? now + 1 : now', replace: '>= now ? now : now' },
  ],
  'V4 rows of the dead that nobody drops': [
    {
      file: VERSIONS,
      find: 'if (this.#isAlive(slot)) return NOTHING_TO_CLEAR;',
      replace: 'return NOTHING_TO_CLEAR;',
    },
  ],
  'H3 a sweep that takes all but the present epoch': [
    {
      file: HISTORY,
      find: 'const SWEEP_SAVED_MIN = 4096;',
      replace: 'const SWEEP_SAVED_MIN = 1;',
    },
    {
      file: HISTORY,
      find: 'return !epochs.some((open) => open > before && open <= epoch);',
      replace: 'return epochs.length >= 0 && before <= epoch;',
    },
  ],
};

const OFTEN: readonly Patch[] = [
  { file: HISTORY, find: 'const SWEEP_SAVED_MIN = 4096;', replace: 'const SWEEP_SAVED_MIN = 1;' },
  { file: HISTORY, find: 'const SWEEP_ENTRIES = 512;', replace: 'const SWEEP_ENTRIES = 16;' },
];
const PAUSING: readonly Patch[] = [
  {
    file: HISTORY,
    find: 'const historical = historyKey(base, key, epoch);',
    replace: `${PAUSE} const historical = historyKey(base, key, epoch);`,
  },
];

describe('snapshots of a level database while others write', () => {
  it.each([
    ['H3', 'the history is swept without a pause', OFTEN],
    ['H1', 'writers of one key pause between their two looks', PAUSING],
  ] as const)(
    '%s show one moment each while %s',
    async (_, _while, patches) => {
      const args = [4096, 2, 2, MS].map(String);
      const options = { args, timeoutMs: TIMEOUT_MS, patches };
      const result = await runScenario('level-snapshots', options);
      expect(symptomOf(result), describeResult(result)).toBe('none');
    },
    TIMEOUT_MS * 2,
  );

  it.each(Object.entries(VARIANTS))(
    'show one moment each; %s is found out',
    async (_, patches) => {
      await expectCaught('level-snapshots', patches, {
        args: [4096, 2, 2, MS].map(String),
        timeoutMs: TIMEOUT_MS,
        symptom: 'violation',
      });
    },
    TIMEOUT_MS * 3,
  );
});
