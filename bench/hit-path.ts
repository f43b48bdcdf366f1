/**
 * Question:    what does a hit cost, in each mode, and do two threads get twice as much?
 * Workload:    random blob of 64, random word of its first 4 KiB; one thread unless said.
 * Working set: 64 blobs of 512 KiB in 64 frames: every access is a hit.
 * Warm-up:     150 ms for each case, in each new thread as well.
 * Baseline:    `empty-loop`, the same loop over the same bytes without a pool, is contained in
 *              every figure; two threads against one thread with the same job.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';
import type { BufferPool } from '../src/index.ts';
import { type Measured, measureInTurns, ROUNDS } from './support/measure.ts';
import { assertSum, medianRatio, quantity } from './support/numbers.ts';
import { Report, type SuiteOptions, suiteOptions } from './support/report.ts';
import { type Jobs, runJob, runThreads } from './support/threads.ts';
import {
  draw,
  expectedSum,
  firstState,
  idOf,
  offsetOf,
  openCachedPool,
  readWord,
  WORDS,
  WRITTEN_F64,
  wordOf,
} from './support/workload.ts';

const OPERATIONS = 100_000;
const JOB_OPERATIONS = 2_000;
const HEAP_OPERATIONS = 10_000_000;
/**
 * Guards of so many operations fit into the smallest young generation: nothing is collected. The
 * difference between the two is reported, since what an allocation area holds counts as a whole.
 */
const HEAP_GUARD_OPERATIONS = [1_000, 6_000] as const;

type Loop = (operations: number, seed: number) => number;

/** The loops that are measured. Each has its accumulator in a local variable: one outside of the
 * function would itself allocate 16 bytes at each addition. */
function makeLoops(pool: BufferPool): Readonly<Record<string, Loop>> {
  const words = Int32Array.from({ length: 64 * WORDS }, (_, i) =>
    wordOf(1 + Math.floor(i / WORDS), i % WORDS),
  );
  return {
    'empty-loop': (operations, seed) => {
      let state = firstState(seed);
      let sum = 0;
      for (let i = 0; i < operations; i++) {
        state = draw(state);
        sum = (sum + (words[(idOf(state) - 1) * WORDS + offsetOf(state)] as number)) | 0;
      }
      return sum;
    },
    optimistic: (operations, seed) => {
      let state = firstState(seed);
      let sum = 0;
      for (let i = 0; i < operations; i++) {
        state = draw(state);
        sum = (sum + pool.optimistic(idOf(state), readWord, offsetOf(state))) | 0;
      }
      return sum;
    },
    'pin-shared': (operations, seed) => {
      let state = firstState(seed);
      let sum = 0;
      for (let i = 0; i < operations; i++) {
        state = draw(state);
        const guard = pool.read(idOf(state));
        sum = (sum + (guard.u32[offsetOf(state)] as number)) | 0;
        guard.release();
      }
      return sum;
    },
    'pin-then-read': (operations, seed) => {
      let state = firstState(seed);
      let sum = 0;
      for (let i = 0; i < operations; i++) {
        state = draw(state);
        const pin = pool.pin(idOf(state));
        const guard = pin.read();
        sum = (sum + (guard.u32[offsetOf(state)] as number)) | 0;
        guard.release();
        pin.release();
      }
      return sum;
    },
    'pin-then-optimistic': (operations, seed) => {
      let state = firstState(seed);
      let sum = 0;
      for (let i = 0; i < operations; i++) {
        state = draw(state);
        const pin = pool.pin(idOf(state));
        const look = pin.optimistic();
        const word = look.u32[offsetOf(state)] as number;
        if (look.validate()) sum = (sum + word) | 0;
        pin.release();
      }
      return sum;
    },
    'exclusive-dirty': (operations, seed) => {
      let state = firstState(seed);
      for (let i = 0; i < operations; i++) {
        state = draw(state);
        const guard = pool.write(idOf(state));
        guard.f64[WRITTEN_F64 + offsetOf(state)] = i;
        guard.release();
      }
      return 0;
    },
  };
}

/** Throws unless every word that the loop wrote last is there. */
function checkWritten(pool: BufferPool, seed: number): void {
  const last = new Map<number, number>();
  let state = firstState(seed);
  for (let i = 0; i < OPERATIONS; i++) {
    state = draw(state);
    last.set(idOf(state) * WORDS + offsetOf(state), i);
  }
  for (const [place, value] of last) {
    const guard = pool.read(Math.floor(place / WORDS));
    assertSum('a written word', guard.f64[WRITTEN_F64 + (place % WORDS)] as number, value);
    guard.release();
  }
}

function measureOneThread(
  report: Report,
  loops: Readonly<Record<string, Loop>>,
  options: SuiteOptions,
) {
  const expected = expectedSum(options.seed, OPERATIONS);
  const cases = Object.entries(loops).map(
    ([name, loop]): Measured => ({
      name,
      operations: OPERATIONS,
      batch: () => {
        const sum = loop(OPERATIONS, options.seed);
        assertSum(name, sum, name === 'exclusive-dirty' ? 0 : expected);
      },
    }),
  );
  for (const [name, figures] of measureInTurns(cases, options.seconds)) {
    report.time(name, quantity(figures));
  }
}

// --- two threads -------------------------------------------------------------------------------

const SAME_BLOB = 1;

const jobs: Jobs = {
  random: ({ pool, seed }) => {
    const expected = expectedSum(seed, JOB_OPERATIONS);
    const batch = (): void => {
      let state = firstState(seed);
      let sum = 0;
      for (let i = 0; i < JOB_OPERATIONS; i++) {
        state = draw(state);
        sum = (sum + pool.optimistic(idOf(state), readWord, offsetOf(state))) | 0;
      }
      assertSum('random', sum, expected);
    };
    return { operations: JOB_OPERATIONS, batch };
  },
  same: ({ pool, seed }) => {
    const expected = expectedSum(seed, JOB_OPERATIONS, SAME_BLOB);
    const batch = (): void => {
      let state = firstState(seed);
      let sum = 0;
      for (let i = 0; i < JOB_OPERATIONS; i++) {
        state = draw(state);
        sum = (sum + pool.optimistic(SAME_BLOB, readWord, offsetOf(state))) | 0;
      }
      assertSum('same', sum, expected);
    };
    return { operations: JOB_OPERATIONS, batch };
  },
};

async function measureTwoThreads(report: Report, pool: BufferPool, options: SuiteOptions) {
  const settings = { ms: (options.seconds * 1000) / ROUNDS, seed: options.seed };
  const undisturbed: number[] = [];
  const run = async (...names: string[]): Promise<number> => {
    const result = await runThreads(import.meta.url, pool.handle, names, settings);
    undisturbed.push(result.undisturbed * 100);
    return result.opsPerSecTotal;
  };
  for (const [job, single, both] of [
    ['random', 'optimistic-1', 'optimistic-2'],
    ['same', 'optimistic-1-same', 'optimistic-2-same'],
  ] as const) {
    const one: number[] = [];
    const two: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      one.push(await run(job));
      two.push(await run(job, job));
    }
    report.rate(single, 1, quantity(one));
    report.rate(both, 2, quantity(two), { name: single, ratio: medianRatio(two, one) });
  }
  report.value('undisturbed-windows', '%', undisturbed, { threads: 2 });
}

// --- the heap ----------------------------------------------------------------------------------

declare const gc: () => void;

function heapGrowth(loop: Loop, operations: number, seed: number): number {
  gc();
  const before = process.memoryUsage().heapUsed;
  loop(operations, seed);
  return process.memoryUsage().heapUsed - before;
}

/** Bytes of heap for each operation, over loops that are too short for a collection. */
function guardBytes(loop: Loop, seed: number): number[] {
  const [few, many] = HEAP_GUARD_OPERATIONS;
  return Array.from({ length: ROUNDS }, () => {
    const less = heapGrowth(loop, few, seed);
    return (heapGrowth(loop, many, seed) - less) / (many - few);
  });
}

/** Collections of the young and of the old generation while `action` runs. */
async function countCollections(action: () => void): Promise<number> {
  let collections = 0;
  const observer = new PerformanceObserver((list) => {
    collections += list.getEntries().length;
  });
  observer.observe({ entryTypes: ['gc'] });
  await new Promise((done) => setTimeout(done, 20));
  collections = 0;
  action();
  await new Promise((done) => setTimeout(done, 20));
  observer.disconnect();
  return collections;
}

async function measureHeap(
  report: Report,
  loops: Readonly<Record<string, Loop>>,
  options: SuiteOptions,
) {
  const expected = expectedSum(options.seed, HEAP_OPERATIONS);
  const loop = loops['optimistic'] as Loop;
  gc();
  let growth = 0;
  const collections = await countCollections(() => {
    const before = process.memoryUsage().heapUsed;
    assertSum('hit-heap', loop(HEAP_OPERATIONS, options.seed), expected);
    growth = process.memoryUsage().heapUsed - before;
  });
  report.value('hit-heap', 'B/op', [growth / HEAP_OPERATIONS]);
  report.value('hit-heap-collections', 'collections', [collections]);
  for (const [name, guarded] of [
    ['hit-heap-read-guard', 'pin-shared'],
    ['hit-heap-pin-read-guard', 'pin-then-read'],
    ['hit-heap-pin-optimistic-guard', 'pin-then-optimistic'],
    ['hit-heap-write-guard', 'exclusive-dirty'],
  ] as const) {
    report.value(name, 'B/op', guardBytes(loops[guarded] as Loop, options.seed));
  }
}

async function main(): Promise<void> {
  const options = suiteOptions();
  const report = new Report('hit-path', options);
  const pool = await openCachedPool();
  const loops = makeLoops(pool);
  measureOneThread(report, loops, options);
  checkWritten(pool, options.seed);
  await measureTwoThreads(report, pool, options);
  await measureHeap(report, loops, options);
  await pool.close();
  report.finish();
}

await (isMainThread ? main() : runJob(jobs));
