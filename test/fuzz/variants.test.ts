/** The fuzzer itself: builds in which one check was taken away are caught within so many cases. */
import { describe, expect, it } from 'vitest';
import { describeResult, type Patch, runScenario, symptomOf } from '../support/scenario.ts';

interface Variant {
  readonly name: string;
  readonly family: string;
  readonly runs: number;
  readonly patch: Patch;
  /** What is said of it. */
  readonly match: RegExp;
}

const VARIANTS: readonly Variant[] = [
  {
    name: 'the chain of segments follows any number',
    family: 'log',
    runs: 6000,
    patch: {
      file: 'src/wal/segment-chain.ts',
      find: 'if (previous.segment < segment) return undefined;',
      replace: 'return undefined;',
    },
    match: /does not end|heap/,
  },
  {
    name: 'the sum of a record is not compared',
    family: 'log',
    runs: 3000,
    patch: {
      file: 'src/wal/format.ts',
      find: 'if (sum !== view.getBigUint64(at + 8, true) || view.getUint32(at + 4, true) !== 0) {',
      replace: 'if (sum === 0n) {',
    },
    match: /was never written/,
  },
  {
    name: 'a record of the manifest takes what it claims to have',
    family: 'manifest',
    runs: 3000,
    patch: {
      file: 'src/store/manifest.ts',
      find: 'if (view.getUint32(8, true) !== RECORD_MAGIC || length !== counted) return undefined;',
      replace: 'if (view.getUint32(8, true) !== RECORD_MAGIC) return undefined;',
    },
    match: /bytes were asked for|no error of ours/,
  },
  {
    name: 'a size of blobs is taken as it comes',
    family: 'sealed',
    runs: 2500,
    patch: {
      file: 'src/store/manifest-reader.ts',
      find: 'if (!isBlobSize(header.blobBytes)) {',
      replace: 'if (header.blobBytes < 0) {',
    },
    match: /no error of ours|bytes reserved|bytes were asked for/,
  },
  {
    name: 'a scan goes on wherever a bound leads',
    family: 'nodes',
    runs: 1000,
    patch: {
      file: 'src/tree/cursor.ts',
      find: 'if (!this.#isBeyond(from)) throw nodeCorrupt(id, this.#tree);',
      replace: '',
    },
    match: /does not end|heap|entries/,
  },
  {
    name: 'causes are followed for ever',
    family: 'wire',
    runs: 500,
    patch: {
      file: 'src/errors.ts',
      find: 'wireOf(error.cause, causesMax - 1)',
      replace: 'wireOf(error.cause, causesMax)',
    },
    match: /call stack/,
  },
];

const LIMIT_MS = 180_000;
/** Cases that are known to get that far, unless others are asked for: LONG=1, SEED=. */
const KNOWN_SEED = '7';
const isKnown = process.env['LONG'] !== '1' && process.env['SEED'] === undefined;

describe.concurrent('the fuzzer notices where', () => {
  it.each(VARIANTS)(
    '$name',
    async ({ family, runs, patch, match }) => {
      const result = await runScenario('fuzz', {
        args: [family, String(runs), '0', '--quick'],
        env: { FUZZ_CASE_MS: '2500', ...(isKnown ? { SEED: KNOWN_SEED } : {}) },
        patches: [patch],
        timeoutMs: LIMIT_MS,
        nodeArgs: ['--max-old-space-size=512'],
      });
      expect(symptomOf(result), describeResult(result)).not.toBe('none');
      expect(result.stderr).toMatch(match);
    },
    LIMIT_MS + 10_000,
  );
});
