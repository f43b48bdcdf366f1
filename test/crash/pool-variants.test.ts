/** The crash and fault tests themselves: they must catch a product that is broken on purpose. */
import { describe, expect, it } from 'vitest';
import { Random, testSeed } from '../support/seed.ts';
import type { Patch } from '../support/variant.ts';
import { BROKEN } from './pool/broken.ts';
import { Crashes, type CrashOptions, LOSSES } from './pool/crashes.ts';
import { runTrial } from './pool/faults.ts';
import { variantOf } from './pool/product.ts';
import type { Product } from './pool/session.ts';

/** A workload that is known to get that far, unless others are asked for: LONG=1, SEED=. */
const KNOWN_SEED = 509606467;
const SEED_OF_VARIANTS =
  process.env['LONG'] === '1' || process.env['SEED'] !== undefined ? testSeed() : KNOWN_SEED;

const TIMEOUT_MS = 600_000;
/** Workloads after which a variant that nobody has seen counts as survived. */
const RUNS_MAX = 4;

const QUICK: CrashOptions = {
  losses: (call) => [call % 3 === 0 ? LOSSES.nothing : LOSSES.any],
  kill: (call) => call % 3 === 0,
  again: () => true,
};

type Finder = (product: Product, seed: number) => Promise<readonly string[]>;

async function crashViolations(product: Product, seed: number): Promise<readonly string[]> {
  const crashes = new Crashes(product, seed);
  await crashes.ofWorkload(QUICK);
  return crashes.violations;
}

const FAULTS = [
  { kind: 'write', mode: 'once' },
  { kind: 'syncData', mode: 'once' },
  { kind: undefined, mode: 'full' },
] as const;

/** Trials with one workload, as far as they are needed. */
async function faultViolations(product: Product, seed: number): Promise<readonly string[]> {
  const { count } = await runTrial(product, seed, { kind: 'write', mode: 'once', n: 1_000_000 });
  for (let n = 2; n <= count; n += 2) {
    for (const fault of FAULTS) {
      const { violations } = await runTrial(product, seed, { ...fault, n });
      if (violations.length > 0) return violations;
    }
  }
  return [];
}

async function expectFound(patches: readonly Patch[], find: Finder): Promise<void> {
  const product = await variantOf(patches);
  let found: readonly string[] = [];
  for (let run = 0; found.length === 0 && run < RUNS_MAX; run++) {
    found = await find(product, Random.fork(SEED_OF_VARIANTS, run).uint32());
    if (process.env['VERBOSE'] === '1') console.log(run, found[0]);
  }
  expect(found).not.toEqual([]);
}

describe('the crash test catches a pool that', () => {
  it.each(BROKEN.filter(({ failing }) => failing !== true))(
    '$title',
    ({ patches }) => expectFound(patches, crashViolations),
    TIMEOUT_MS,
  );
});

describe('the fault test catches a pool that', () => {
  it.each(BROKEN.filter(({ failing }) => failing === true))(
    '$title',
    ({ patches }) => expectFound(patches, faultViolations),
    TIMEOUT_MS,
  );
});
