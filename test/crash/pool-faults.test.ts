/**
 * The durable pool on a disk that fails: the n-th call of each kind, once or for ever, and a disk
 * that is full and has space again later. LONG=1 takes every n with several workloads.
 */
import { describe, expect, it } from 'vitest';
import { faultyFileSystem } from '../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { takeHangs, underStepClock } from '../../src/harness/step-clock.ts';
import { Random, testSeed } from '../support/seed.ts';
import { type Fault, KINDS, runTrial } from './pool/faults.ts';
import { History } from './pool/history.ts';
import { violationsOf } from './pool/images.ts';
import { PRODUCT } from './pool/product.ts';
import { Session } from './pool/session.ts';

const LONG = process.env['LONG'] === '1';
const WORKLOADS = LONG ? 10 : 1;
/** Trials of a kind of fault with a workload; more calls than that are left out in turns. */
const TRIALS_MAX = LONG ? 10_000 : 25;
const TIMEOUT_MS = LONG ? 7_200_000 : 600_000;

const EVERY_CALL = Number.MAX_SAFE_INTEGER;

/** Violations over all n; a part of them that differs from seed to seed when there are too many. */
async function allViolations(fault: Omit<Fault, 'n'>): Promise<string[]> {
  const violations: string[] = [];
  for (let workload = 0; workload < WORKLOADS; workload++) {
    const random = Random.fork(testSeed(), workload);
    const seed = random.uint32();
    const { count } = await runTrial(PRODUCT, seed, { ...fault, n: EVERY_CALL });
    const step = Math.max(1, Math.ceil(count / TRIALS_MAX));
    for (let n = 1 + random.int(step); n <= count; n += step) {
      const found = await runTrial(PRODUCT, seed, { ...fault, n });
      violations.push(...found.violations.map((text) => `workload ${seed}, n ${n}: ${text}`));
    }
  }
  return violations;
}

const once = KINDS.map((kind) => ({ kind, mode: 'once' as const }));
const late = (['write', 'open', 'rename', 'unlink', 'link'] as const).map((kind) => {
  return { kind, mode: 'late' as const };
});
const ever = KINDS.map((kind) => ({ kind, mode: 'ever' as const }));

describe('a pool with a log on a disk that fails', () => {
  it.each([...once, ...late, ...ever])(
    'loses nothing that it promised when $kind fails, $mode',
    async (fault) => {
      expect(await allViolations(fault)).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it.each(['truncate', 'syncData', 'unlink', 'stat'] as const)(
    'loses nothing when what would put a failed write right fails, too: %s',
    async (also) => {
      expect(await allViolations({ kind: 'write', mode: 'late', also })).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it.each([
    { title: 'takes no write', kind: 'write' as const },
    { title: 'lets no file grow', kind: undefined },
  ])(
    'waits or refuses while a full disk $title, and goes on when there is space',
    async ({ kind }) => {
      expect(await allViolations({ kind, mode: 'full' })).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it('completes short reads and writes', async () => {
    const seed = Random.fork(testSeed(), 77).uint32();
    for (const bytesMax of [4096, 1000, 333]) {
      await underStepClock(async () => {
        const disk = new SimFileSystem();
        const fs = faultyFileSystem(disk);
        fs.bytesMax = bytesMax;
        const history = new History();
        const session = new Session(PRODUCT, fs, history, Random.fork(seed, bytesMax));
        await session.open();
        await session.run(12);
        await session.close();
        expect([...history.violations, ...takeHangs()]).toEqual([]);
        const safe = { history, mark: history.mark(), least: history.synced };
        const settings = { steps: 2, again: true };
        const random = Random.fork(seed, 1);
        const image = disk.afterCrash((end) => (end === 2 ? 1 : 0));
        expect(await violationsOf(PRODUCT, image, safe, random, settings)).toEqual([]);
      });
    }
  });
});
