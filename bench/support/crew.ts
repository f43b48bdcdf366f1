/**
 * Threads that stay for a whole suite: each has one job, joins the pool once, and works when it is
 * told to, at the same time as the others of its crew, for a given wall time.
 *
 * Unlike support/threads.ts nothing is left out: the journal worker and the checkpointer belong to
 * what is measured, and with as many jobs as processors they take their time from the jobs.
 */
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { BufferPool, type PoolHandle } from '../../src/index.ts';
import { Barrier } from '../../test/support/checks.ts';
import { Histogram } from './numbers.ts';

export interface CrewJob {
  /** Works for about so long: the operations that were done. Throws if a result is wrong. */
  readonly run: (ms: number) => number | Promise<number>;
  /** Filled by `run`; the harness clears it before. */
  readonly latencies?: Histogram;
}

export interface CrewContext {
  readonly pool: BufferPool;
  /** 0-based. */
  readonly thread: number;
  readonly threads: number;
  readonly seed: number;
}

export type CrewJobs = Readonly<Record<string, (context: CrewContext) => CrewJob>>;

interface CrewOrder {
  readonly handle: PoolHandle;
  readonly job: string;
  readonly thread: number;
  readonly threads: number;
  readonly seed: number;
  readonly barrier: SharedArrayBuffer;
}

interface CrewReport {
  readonly operations: number;
  readonly ms: number;
  readonly counts: Float64Array | undefined;
  readonly maxNs: number;
}

export interface CrewResult {
  readonly operations: number;
  readonly opsPerSec: number;
  readonly latencies: Histogram;
}

/** Repeats `batch` for about `ms` milliseconds; it does so many operations each time. */
export function repeatFor(ms: number, operations: number, batch: () => void): number {
  let done = 0;
  for (const end = performance.now() + ms; performance.now() < end; done += operations) batch();
  return done;
}

/** The worker's half. */
export async function serveCrew(jobs: CrewJobs): Promise<void> {
  const { handle, job: name, thread, threads, seed, barrier } = workerData as CrewOrder;
  const make = jobs[name];
  if (make === undefined) throw new TypeError(`There is no job ${name}`);
  const start = new Barrier(barrier, threads);
  const pool = await BufferPool.attach(handle);
  const job = make({ pool, thread, threads, seed: seed + thread });
  const port = parentPort as NonNullable<typeof parentPort>;
  const work = async (ms: number): Promise<void> => {
    job.latencies?.clear();
    start.meet();
    const from = performance.now();
    const operations = await job.run(ms);
    const elapsed = performance.now() - from;
    const { counts, maxNs = 0 } = job.latencies ?? {};
    const report: CrewReport = { operations, ms: elapsed, counts, maxNs };
    port.postMessage(report);
  };
  port.on('message', (ms: number) => {
    if (ms > 0) void work(ms);
    else void pool.close().then(() => port.close());
  });
}

export class Crew {
  readonly #workers: readonly Worker[];
  /** Of all runs, the warm-up too. */
  operations = 0;

  private constructor(workers: readonly Worker[]) {
    this.#workers = workers;
  }

  /** @param jobs  A thread for each. */
  static start(self: string, handle: PoolHandle, jobs: readonly string[], seed: number): Crew {
    const barrier = Barrier.shared();
    const common = { handle, threads: jobs.length, seed, barrier };
    const workers = jobs.map((job, thread) => {
      const order: CrewOrder = { ...common, job, thread };
      return new Worker(new URL(self), { workerData: order });
    });
    return new Crew(workers);
  }

  get threads(): number {
    return this.#workers.length;
  }

  async run(ms: number): Promise<CrewResult> {
    const reports = await Promise.all(
      this.#workers.map(
        (worker) =>
          new Promise<CrewReport>((resolve, reject) => {
            worker.once('error', reject);
            worker.once('message', (report: CrewReport) => {
              worker.off('error', reject);
              resolve(report);
            });
            worker.postMessage(ms);
          }),
      ),
    );
    const latencies = new Histogram();
    let operations = 0;
    let opsPerSec = 0;
    for (const report of reports) {
      if (report.counts !== undefined) latencies.add(new Histogram(report.counts, report.maxNs));
      operations += report.operations;
      opsPerSec += (report.operations * 1000) / report.ms;
    }
    this.operations += operations;
    return { operations, opsPerSec, latencies };
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#workers.map((worker) => {
        const ended = new Promise((resolve) => worker.once('exit', resolve));
        worker.postMessage(0);
        return ended;
      }),
    );
  }
}
