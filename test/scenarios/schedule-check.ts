/**
 * Runs programs under chosen interleavings: real workers, gated at their atomic operations.
 *
 * The first argument is a file with jobs, the second the file for their results.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import type { Job } from '../support/schedule/jobs.ts';
import { ScheduleRunner } from '../support/schedule/runner.ts';
import { serve, type WorkerData } from '../support/schedule/worker.ts';
import '../support/checks.ts';

async function main(): Promise<void> {
  const [jobsPath = '', resultsPath = ''] = process.argv.slice(2);
  const jobs = JSON.parse(readFileSync(jobsPath, 'utf8')) as Job[];
  const self = new URL(import.meta.url);
  const runner = await ScheduleRunner.start((data) => new Worker(self, { workerData: data }));
  writeFileSync(resultsPath, JSON.stringify(jobs.map((job) => runner.run(job))));
  await runner.stop();
}

if (isMainThread) await main();
else serve(workerData as WorkerData);
