/**
 * Runs programs under chosen interleavings: real workers, gated at their atomic operations.
 *
 * The first argument is a file with jobs, the second the file for their results.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import {
  isMainThread,
  MessageChannel,
  type MessagePort,
  Worker,
  workerData,
} from 'node:worker_threads';
import { wasm } from '../../src/memory/webassembly.ts';
import { Explorer } from '../support/schedule/explore.ts';
import { type Job, type JobResult, readSites } from '../support/schedule/jobs.ts';
import { PROGRAMS } from '../support/schedule/programs.ts';
import {
  createSharedWords,
  GO_JOB,
  MESSAGE_BYTES,
  SITE_NAMES,
  STOP_VIOLATION,
  THREADS_MAX,
} from '../support/schedule/protocol.ts';
import { formatSchedule, parseSchedule, Scheduler } from '../support/schedule/scheduler.ts';
import { Setup } from '../support/schedule/setup.ts';
import { serve, type WorkerData, type WorkerJob } from '../support/schedule/worker.ts';
import '../support/checks.ts';

const shared = createSharedWords();
const scheduler = new Scheduler(shared);
const ports: MessagePort[] = [];

async function startWorkers(): Promise<Worker[]> {
  const workers = Array.from({ length: THREADS_MAX }, (_, worker) => {
    const { port1, port2 } = new MessageChannel();
    ports.push(port1);
    const data: WorkerData = { worker, shared, port: port2 };
    return new Worker(new URL(import.meta.url), { workerData: data, transferList: [port2] });
  });
  await Promise.all(
    workers.map((worker) => new Promise((resolve) => worker.once('online', resolve))),
  );
  return workers;
}

function sendJob(worker: number, job: WorkerJob): void {
  (ports[worker] as MessagePort).postMessage(job);
  if (scheduler.grant(worker, GO_JOB, 0) !== STOP_VIOLATION) return;
  const text = shared.message.slice(0, shared.words[MESSAGE_BYTES] as number);
  throw new Error(`worker ${worker}: ${new TextDecoder().decode(text)}`);
}

function printSteps(labels: readonly string[], steps: number): void {
  for (let step = 0; step < steps; step++) {
    const { worker, site, address } = scheduler.traced(step);
    const what = labels[site] ?? SITE_NAMES[site] ?? `site ${site}`;
    console.log(`${String(step).padStart(4)}  worker ${worker}  ${what} @${address}`);
  }
}

function runJob(job: Job): JobResult {
  const program = PROGRAMS.get(job.program);
  if (program === undefined) throw new Error(`there is no program ${job.program}`);
  const threads = program.bodies.length;
  const modules = {
    control: new wasm.Module(readFileSync(job.modules.control)),
    kernels: new wasm.Module(readFileSync(job.modules.kernels)),
  };
  const { frames = 1, shards = 1, victim, timeouts = false, log } = program;
  const setup = new Setup(modules, { frames, shards, threads, log }, shared);
  program.setup(setup);
  setup.remember();
  const memory = setup.shared;
  for (let worker = 0; worker < threads; worker++) {
    sendJob(worker, { program: job.program, gated: job.modules.gated, memory });
  }
  const sites = readSites(job.modules.sites);
  const after = () => program.after?.(setup);
  const limits = { threads, victim, timeouts };
  const kinds = sites.map(({ kind }) => kind);
  const explorer = new Explorer(scheduler, limits, kinds, () => setup.reset(), after);
  if (job.schedule !== undefined) {
    const { steps, violation } = explorer.replay(parseSchedule(job.schedule));
    printSteps(
      sites.map(({ label }) => label),
      steps,
    );
    console.log(violation ?? 'no violation');
  }
  const plan = job.schedule === undefined ? job.plan : { ...job.plan, preemptions: -1, random: 0 };
  const { found, ...report } = explorer.explore(plan);
  const { subject } = job;
  const { undecided } = setup;
  if (found === undefined) return { program: job.program, subject, ...report, undecided };
  const { violation, at, segments } = found;
  const schedule = formatSchedule(segments);
  return { program: job.program, subject, ...report, undecided, violation, at, schedule };
}

async function main(): Promise<void> {
  const [jobsPath = '', resultsPath = ''] = process.argv.slice(2);
  const jobs = JSON.parse(readFileSync(jobsPath, 'utf8')) as Job[];
  const workers = await startWorkers();
  writeFileSync(resultsPath, JSON.stringify(jobs.map(runJob)));
  await Promise.all(workers.map((worker) => worker.terminate()));
}

if (isMainThread) await main();
else serve(workerData as WorkerData);
