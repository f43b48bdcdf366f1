/**
 * Runs jobs of schedules in this process: the scheduler here, gated threads beside it.
 *
 * Owns:        the threads and the words that they share with the scheduler.
 * Threads:     the main thread; each started thread calls `serve`.
 */
import { readFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { wasm } from '../../../src/memory/webassembly.ts';
import { Explorer } from './explore.ts';
import { type Job, type JobResult, readSites } from './jobs.ts';
import { PROGRAMS } from './programs.ts';
import {
  createSharedWords,
  GO_JOB,
  MESSAGE_BYTES,
  SITE_NAMES,
  STOP_VIOLATION,
  THREADS_MAX,
} from './protocol.ts';
import { formatSchedule, parseSchedule, Scheduler } from './scheduler.ts';
import { Setup } from './setup.ts';
import type { WorkerData, WorkerJob } from './worker.ts';

/** Starts a thread that calls `serve` with this. */
export type StartThread = (data: WorkerData) => Worker;

export class ScheduleRunner {
  readonly #shared = createSharedWords();
  readonly #scheduler = new Scheduler(this.#shared);
  readonly #threads: readonly Worker[];

  private constructor(start: StartThread) {
    this.#threads = Array.from({ length: THREADS_MAX }, (_, worker) => {
      return start({ worker, shared: this.#shared });
    });
  }

  static async start(start: StartThread): Promise<ScheduleRunner> {
    const runner = new ScheduleRunner(start);
    const online = (thread: Worker) => new Promise((resolve) => thread.once('online', resolve));
    await Promise.all(runner.#threads.map(online));
    return runner;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #send(worker: number, job: WorkerJob): void {
    (this.#threads[worker] as Worker).postMessage(job);
    if (this.#scheduler.grant(worker, GO_JOB, 0) !== STOP_VIOLATION) return;
    const { message, words } = this.#shared;
    const text = message.slice(0, words[MESSAGE_BYTES] as number);
    throw new Error(`worker ${worker}: ${new TextDecoder().decode(text)}`);
  }

  #printSteps(labels: readonly string[], steps: number): void {
    for (let step = 0; step < steps; step++) {
      const { worker, site, address } = this.#scheduler.traced(step);
      const what = labels[site] ?? SITE_NAMES[site] ?? `site ${site}`;
      console.log(`${String(step).padStart(4)}  worker ${worker}  ${what} @${address}`);
    }
  }

  run(job: Job): JobResult {
    const program = PROGRAMS.get(job.program);
    if (program === undefined) throw new Error(`there is no program ${job.program}`);
    const threads = program.bodies.length;
    const modules = {
      control: new wasm.Module(readFileSync(job.modules.control)),
      kernels: new wasm.Module(readFileSync(job.modules.kernels)),
    };
    const { frames = 1, shards = 1, victim, timeouts = false, log } = program;
    const setup = new Setup(modules, { frames, shards, threads, log }, this.#shared);
    program.setup(setup);
    setup.remember();
    const memory = setup.shared;
    for (let worker = 0; worker < threads; worker++) {
      this.#send(worker, { program: job.program, gated: job.modules.gated, memory });
    }
    const sites = readSites(job.modules.sites);
    const after = () => program.after?.(setup);
    const limits = { threads, victim, timeouts };
    const kinds = sites.map(({ kind }) => kind);
    const reset = () => setup.reset();
    const explorer = new Explorer(this.#scheduler, limits, kinds, reset, after);
    if (job.schedule !== undefined) {
      const { steps, violation } = explorer.replay(parseSchedule(job.schedule));
      this.#printSteps(
        sites.map(({ label }) => label),
        steps,
      );
      console.log(violation ?? 'no violation');
    }
    const plan =
      job.schedule === undefined ? job.plan : { ...job.plan, preemptions: -1, random: 0 };
    const { found, ...report } = explorer.explore(plan);
    const { subject } = job;
    const { undecided } = setup;
    if (found === undefined) return { program: job.program, subject, ...report, undecided };
    const { violation, at, segments } = found;
    const schedule = formatSchedule(segments);
    return { program: job.program, subject, ...report, undecided, violation, at, schedule };
  }
}
