/**
 * The worker harness: threads that join one pool, warm up, start at one moment, and run one job
 * each for a fixed wall time.
 *
 * A suite's bundle is its workers' program too: `new Worker(import.meta.url)` runs it again, and
 * the half of it that is not the main thread's calls `runJob`.
 */
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { BufferPool, type PoolHandle } from '../../src/index.ts';
import { Barrier } from '../../test/support/checks.ts';
import { Histogram } from './numbers.ts';
import { Latencies, runInWindows, Throughput, takeProcessor, type WindowLog } from './windows.ts';

const WARMUP_MS = 150;
/** Undisturbed windows that a figure is made of, and how often that is tried. */
const WINDOWS_MIN = 50;
const RUNS_MAX = 6;

/** What a job is made of, in its worker. */
export interface JobContext {
  readonly pool: BufferPool;
  /** 0-based. */
  readonly thread: number;
  readonly threads: number;
  readonly seed: number;
  /** For the latencies of a sample of the operations. */
  readonly latencies: Latencies;
}

export interface Job {
  /** Operations of one call of `batch`: few enough that the clock is looked at in time. */
  readonly operations: number;
  /** Throws if what it computed is wrong. */
  readonly batch: () => void;
}

export type Jobs = Readonly<Record<string, (context: JobContext) => Job>>;

interface JobOrder {
  readonly handle: PoolHandle;
  readonly job: string;
  readonly thread: number;
  readonly threads: number;
  readonly seed: number;
  readonly ms: number;
  readonly barrier: SharedArrayBuffer;
}

interface JobReport {
  readonly log: WindowLog;
  /** Also those of the warm-up. */
  readonly operations: number;
  readonly counts: Float64Array;
  readonly maxNs: number;
}

/** Several threads, at the same time. */
export interface ThreadsResult {
  /** For each thread, over the same windows. */
  readonly opsPerSec: readonly number[];
  readonly opsPerSecTotal: number;
  /** For each thread, also those of the warm-up. */
  readonly operations: readonly number[];
  readonly latencies: Histogram;
  /** Share of the time in which all threads had a processor. */
  readonly undisturbed: number;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The worker's half: does what the main thread has ordered. */
export async function runJob(jobs: Jobs): Promise<void> {
  const order = workerData as JobOrder;
  const make = jobs[order.job];
  if (make === undefined) throw new TypeError(`There is no job ${order.job}`);
  const barrier = new Barrier(order.barrier, order.threads);
  takeProcessor(order.thread, order.threads);
  const pool = await BufferPool.attach(order.handle);
  const { thread, threads, seed } = order;
  const latencies = new Latencies();
  const job = make({ pool, thread, threads, seed: seed + thread, latencies });
  let operations = 0;
  const batch = (): void => {
    job.batch();
    operations += job.operations;
  };
  barrier.meet();
  runInWindows(batch, job.operations, Math.min(WARMUP_MS, order.ms), []);
  latencies.clear();
  barrier.meet();
  const log = runInWindows(batch, job.operations, order.ms, latencies.long);
  await pool.close();
  const { counts, maxNs } = latencies.short;
  const report: JobReport = { log, operations, counts, maxNs };
  parentPort?.postMessage(report);
}

function startJob(self: string, order: JobOrder): Promise<JobReport> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(self), { workerData: order });
    let report: JobReport | undefined;
    worker.once('message', (message: JobReport) => {
      report = message;
    });
    worker.once('error', reject);
    worker.once('exit', () => {
      if (report === undefined) reject(new Error(`${order.job} ended without a report`));
      else resolve(report);
    });
  });
}

/**
 * Runs one job in each of so many new threads; again, a few times, while other programs leave too
 * little undisturbed time to both.
 */
export async function runThreads(
  self: string,
  handle: PoolHandle,
  jobs: readonly string[],
  { ms, seed }: { readonly ms: number; readonly seed: number },
): Promise<ThreadsResult> {
  const threads = jobs.length;
  const windowsMin = Math.min(WINDOWS_MIN, ms / 4);
  const latencies = new Histogram();
  const total = new Throughput(threads, latencies);
  const operations = jobs.map(() => 0);
  for (let run = 0; run < RUNS_MAX && total.calmWindows < windowsMin; run++) {
    const barrier = Barrier.shared();
    const order = { handle, threads, barrier, ms, seed };
    const reports = await Promise.all(
      jobs.map((job, thread) => startJob(self, { ...order, job, thread })),
    );
    total.add(reports.map(({ log }) => log));
    reports.forEach((report, thread) => {
      latencies.add(new Histogram(report.counts, report.maxNs));
      operations[thread] = (operations[thread] ?? 0) + report.operations;
    });
  }
  const opsPerSec = total.opsPerSec(windowsMin);
  return {
    opsPerSec,
    opsPerSecTotal: sum(opsPerSec),
    operations,
    latencies,
    undisturbed: total.calmWindows / Math.max(1, total.allWindows),
  };
}
