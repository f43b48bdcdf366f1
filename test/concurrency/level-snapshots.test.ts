/** Snapshots of a level database under several threads (test/scenarios/level-snapshots.ts). */
import { describe, it } from 'vitest';
import { expectCaught } from '../support/scenario.ts';
import type { Patch } from '../support/variant.ts';

const LONG = process.env['LONG'] === '1';
const MS = LONG ? 20_000 : 2500;
const TIMEOUT_MS = MS + 40_000;
const DATABASE = 'src/level/database.ts';
const HISTORY = 'src/level/history.ts';
const SCAN = 'src/level/scan.ts';
const VERSIONS = 'src/level/versions.ts';

const VARIANTS: Readonly<Record<string, readonly Patch[]>> = {
  'H1 a write that saves nothing': [
    { file: DATABASE, find: 'if (versions.isLive) this.#save(keys);', replace: '' },
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
      replace: 'const SWEEP_SAVED_MIN = 64;',
    },
    {
      file: HISTORY,
      find: 'return !epochs.some((open) => open > before && open <= epoch);',
      replace: 'return epochs.length >= 0 && before <= epoch;',
    },
  ],
};

describe('snapshots of a level database while others write', () => {
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
