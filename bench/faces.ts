/**
 * Question:    what do the layers for applications cost beside what they stand for?
 * Workload:    bench/faces/ has a file for each of them, which says what it does.
 * Baseline:    what an application would take otherwise, in turns with it.
 */
import { isMainThread, workerData } from 'node:worker_threads';
import { LEVEL_WORKER, runLevel, serveLevel } from './faces/level.ts';
import { runStreams } from './faces/streams.ts';
import { runWriteBehind } from './faces/write-behind.ts';
import { Report, suiteOptions } from './support/report.ts';

if (isMainThread) {
  const options = suiteOptions();
  const report = new Report('faces', options);
  await runLevel(report, options, import.meta.url);
  await runWriteBehind(report, options);
  await runStreams(report, options);
  report.finish();
} else if ((workerData as { readonly part?: string }).part === LEVEL_WORKER) {
  await serveLevel();
}
