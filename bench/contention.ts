/**
 * Question:    what remains of the throughput when two threads want the same frames, and how long
 *              does one wait for a latch?
 * Workload:    optimistic readers beside a writer, shared readers, writers; on one blob ("same"),
 *              on any of 64 ("any"), or each thread on blobs of its own ("apart").
 * Working set: 64 blobs of 512 KiB in 64 frames: every access is a hit.
 * Warm-up:     150 ms in each new thread.
 * Baseline:    one thread with the same job.
 *
 * Latencies are those of every 64th acquisition and contain the clock's own cost (`clock`); a long
 * one does not count if one of the threads was without a processor meanwhile (support/windows.ts).
 * Counters are for each million operations of all threads.
 */
import { isMainThread } from 'node:worker_threads';
import type { BufferPool, Frame } from '../src/index.ts';
import { ROUNDS } from './support/measure.ts';
import { assertSum, Histogram, medianRatio, quantity } from './support/numbers.ts';
import { Report, type SuiteOptions, suiteOptions } from './support/report.ts';
import {
  type Job,
  type JobContext,
  type Jobs,
  runJob,
  runThreads,
  type ThreadsResult,
} from './support/threads.ts';
import {
  BLOBS,
  draw,
  firstState,
  idOf,
  offsetOf,
  openCachedPool,
  sumOverBlobs,
  TWIN_FIRST,
  TWIN_LAST,
  wordOf,
} from './support/workload.ts';

const OPERATIONS = 256;
const SAMPLE_MASK = 63;
const SAME_BLOB = 1;
const NS_PER_MS = 1e6;

type ChooseId = (state: number) => number;

const same: ChooseId = () => SAME_BLOB;
const any: ChooseId = idOf;

/** Blobs of the thread's own: id - 1 leaves the thread's number when divided by the threads. */
function apart({ thread, threads }: JobContext): ChooseId {
  const count = Math.floor(BLOBS / threads);
  return (state) => 1 + thread + threads * (Math.imul(state & 0xffff, count) >>> 16);
}

/** 0 unless the bytes are torn: the writer keeps both words equal. */
function twinsDiffer(frame: Frame): number {
  return (frame.u32[TWIN_FIRST] as number) ^ (frame.u32[TWIN_LAST] as number);
}

function reader(choose: ChooseId, { pool, seed, latencies }: JobContext): Job {
  let state = firstState(seed);
  const batch = (): void => {
    let differences = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      state = draw(state);
      const id = choose(state);
      if ((i & SAMPLE_MASK) === 0) {
        const start = performance.now();
        differences |= pool.optimistic(id, twinsDiffer);
        latencies.record((performance.now() - start) * NS_PER_MS);
      } else {
        differences |= pool.optimistic(id, twinsDiffer);
      }
    }
    assertSum('torn optimistic reads', differences, 0);
  };
  return { operations: OPERATIONS, batch };
}

function shared(choose: ChooseId, { pool, seed, latencies }: JobContext): Job {
  const expected = expectedSumOf(choose, seed);
  const batch = (): void => {
    let state = firstState(seed);
    let sum = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      state = draw(state);
      const id = choose(state);
      const timed = (i & SAMPLE_MASK) === 0;
      const start = timed ? performance.now() : 0;
      const guard = pool.read(id);
      if (timed) latencies.record((performance.now() - start) * NS_PER_MS);
      sum = (sum + (guard.u32[offsetOf(state)] as number)) | 0;
      guard.release();
    }
    assertSum('shared reads', sum, expected);
  };
  return { operations: OPERATIONS, batch };
}

function expectedSumOf(choose: ChooseId, seed: number): number {
  let state = firstState(seed);
  let sum = 0;
  for (let i = 0; i < OPERATIONS; i++) {
    state = draw(state);
    sum = (sum + wordOf(choose(state), offsetOf(state))) | 0;
  }
  return sum;
}

function writer(choose: ChooseId, { pool, seed, latencies }: JobContext): Job {
  let state = firstState(seed);
  const batch = (): void => {
    for (let i = 0; i < OPERATIONS; i++) {
      state = draw(state);
      const id = choose(state);
      const timed = (i & SAMPLE_MASK) === 0;
      const start = timed ? performance.now() : 0;
      const guard = pool.write(id);
      if (timed) latencies.record((performance.now() - start) * NS_PER_MS);
      const words = guard.u32;
      const next = ((words[TWIN_FIRST] as number) + 1) | 0;
      words[TWIN_FIRST] = next;
      words[TWIN_LAST] = next;
      guard.release();
    }
  };
  return { operations: OPERATIONS, batch };
}

const jobs: Jobs = {
  'read-same': (context) => reader(same, context),
  'read-any': (context) => reader(any, context),
  'shared-same': (context) => shared(same, context),
  'shared-apart': (context) => shared(apart(context), context),
  'write-same': (context) => writer(same, context),
  'write-any': (context) => writer(any, context),
  'write-apart': (context) => writer(apart(context), context),
};

// --- the main thread's half ----------------------------------------------------------------------

/** What runs together; the first job is compared with itself alone. */
interface Scene {
  readonly name: string;
  readonly jobs: readonly string[];
}

const SCENES: readonly Scene[] = [
  { name: 'optimistic-beside-writer-same', jobs: ['read-same', 'write-same'] },
  { name: 'optimistic-beside-writer-any', jobs: ['read-any', 'write-any'] },
  { name: 'shared-2-same', jobs: ['shared-same', 'shared-same'] },
  { name: 'shared-2-apart', jobs: ['shared-apart', 'shared-apart'] },
  { name: 'exclusive-2-same', jobs: ['write-same', 'write-same'] },
  { name: 'exclusive-2-any', jobs: ['write-any', 'write-any'] },
  { name: 'exclusive-2-apart', jobs: ['write-apart', 'write-apart'] },
];

const COUNTERS = ['restarts', 'fallbacks', 'parks'] as const;
type Counters = Record<(typeof COUNTERS)[number], number>;

interface Taken {
  readonly alone: number[];
  readonly rates: number[][];
  readonly latencies: Histogram;
  readonly counters: Counters;
  operations: number;
}

function isWriter(job: string): boolean {
  return job.startsWith('write-');
}

class Contention {
  readonly #pool: BufferPool;
  readonly #settings: { readonly ms: number; readonly seed: number };
  #written = 0;
  readonly undisturbed: number[] = [];

  constructor(pool: BufferPool, options: SuiteOptions) {
    this.#pool = pool;
    this.#settings = { ms: (options.seconds * 1000) / ROUNDS, seed: options.seed };
  }

  async #run(names: readonly string[]): Promise<ThreadsResult> {
    const result = await runThreads(import.meta.url, this.#pool.handle, names, this.#settings);
    names.forEach((job, thread) => {
      if (isWriter(job)) this.#written += result.operations[thread] ?? 0;
    });
    this.undisturbed.push(result.undisturbed * 100);
    return result;
  }

  async take(scene: Scene): Promise<Taken> {
    const counters: Counters = { restarts: 0, fallbacks: 0, parks: 0 };
    const taken: Taken = {
      alone: [],
      rates: scene.jobs.map(() => []),
      latencies: new Histogram(),
      counters,
      operations: 0,
    };
    for (let round = 0; round < ROUNDS; round++) {
      taken.alone.push((await this.#run(scene.jobs.slice(0, 1))).opsPerSecTotal);
      const before = this.#pool.stats();
      const result = await this.#run(scene.jobs);
      const after = this.#pool.stats();
      for (const name of COUNTERS) counters[name] += after[name] - before[name];
      result.opsPerSec.forEach((rate, thread) => {
        taken.rates[thread]?.push(rate);
      });
      taken.latencies.add(result.latencies);
      taken.operations += result.operations.reduce((sum, count) => sum + count, 0);
    }
    return taken;
  }

  /** Each writer adds one to a blob's first word: none of the additions may be lost. */
  check(): void {
    assertSum('additions', sumOverBlobs(this.#pool, TWIN_FIRST), this.#written);
    assertSum('additions', sumOverBlobs(this.#pool, TWIN_LAST), this.#written);
  }
}

function reportScene(report: Report, { name, jobs: names }: Scene, taken: Taken): void {
  const [first = [], second = []] = taken.rates;
  const single = `${names[0]}-1`;
  const threads = names.length;
  report.rate(single, 1, quantity(taken.alone));
  if (names[0] === names[1]) {
    const both = first.map((rate, round) => rate + (second[round] ?? 0));
    const ratio = medianRatio(both, taken.alone);
    report.rate(name, threads, quantity(both), { name: single, ratio });
  } else {
    const ratio = medianRatio(first, taken.alone);
    report.rate(name, 1, quantity(first), { name: single, ratio });
    report.rate(`${name}: the writer`, 1, quantity(second));
  }
  for (const [label, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
    ['p99.9', 0.999],
    ['max', 1],
  ] as const) {
    report.value(`${name}: ${label}`, 'ns', [taken.latencies.percentileNs(share)], { threads });
  }
  for (const counter of COUNTERS) {
    const perMillion = (taken.counters[counter] * 1e6) / taken.operations;
    report.value(`${name}: ${counter}`, 'per M ops', [perMillion], { threads });
  }
}

function clockCost(): number {
  const costs = new Histogram();
  for (let i = 0; i < 200_000; i++) {
    const start = performance.now();
    costs.record((performance.now() - start) * NS_PER_MS);
  }
  return costs.percentileNs(0.5);
}

async function main(): Promise<void> {
  const options = suiteOptions();
  const report = new Report('contention', options);
  const pool = await openCachedPool();
  const contention = new Contention(pool, options);
  report.value('clock', 'ns', [clockCost()]);
  for (const scene of SCENES) reportScene(report, scene, await contention.take(scene));
  report.value('undisturbed-windows', '%', contention.undisturbed, { threads: 2 });
  contention.check();
  await pool.close();
  report.finish();
}

await (isMainThread ? main() : runJob(jobs));
