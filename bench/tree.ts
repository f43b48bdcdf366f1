/**
 * Question:    what do trees of this store cost beside the stores that one would take otherwise?
 * Workload:    200,000 path-shaped keys, values of 100 bytes, strings in and bytes out; tree/cases.ts has
 *              the cases, tree/jobs.ts and tree/crew-jobs.ts what they do.
 * Working set: all of it cached (26 MiB in 256 MiB), but `cold`: four times the pool.
 * Warm-up:     one sample of each case and store, which does not count.
 * Baseline:    lmdb, classic-level and better-sqlite3, each in a process of its own with the same program
 *              and in its own fastest way, samples in turns; and `empty-loop`, which is contained in
 *              every figure.
 */

import { parseArgs } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { withDirectory } from './support/logged.ts';
import { suiteOptions } from './support/report.ts';
import { CASES } from './tree/cases.ts';
import { serveCrew } from './tree/crew.ts';
import { crewJobs } from './tree/crew-jobs.ts';
import { jobs } from './tree/jobs.ts';
import { arePeersInstalled, INSTALL } from './tree/peers.ts';
import { Runner } from './tree/run.ts';
import { serve } from './tree/serve.ts';
import { OWN, PEERS, type StoreName } from './tree/store.ts';
import { TreeReport } from './tree/table.ts';

const EXIT_USAGE = 2;

const { values: given } = parseArgs({
  options: {
    json: { type: 'boolean' },
    seconds: { type: 'string' },
    only: { type: 'string' },
    stores: { type: 'string' },
    // Of the processes that this program starts.
    serve: { type: 'string' },
    directory: { type: 'string' },
    cache: { type: 'string' },
  },
});

/** The names of a list that was given, in the order of all; undefined, and said why, if one is wrong. */
function chosen<T extends string>(
  option: string,
  all: readonly T[],
  list: string | undefined,
): T[] | undefined {
  const names = list?.split(',') ?? all;
  const wrong = names.find((name) => !all.includes(name as T));
  if (wrong === undefined) return all.filter((name) => names.includes(name));
  console.error(`--${option}: there is no ${wrong}, but ${all.join(', ')}.`);
  process.exitCode = EXIT_USAGE;
  return undefined;
}

async function main(): Promise<void> {
  const options = suiteOptions();
  const hasPeers = arePeersInstalled();
  const cases = chosen(
    'only',
    CASES.map(({ name }) => name),
    given.only,
  );
  const names = chosen<StoreName>('stores', hasPeers ? [OWN, ...PEERS] : [OWN], given.stores);
  if (!hasPeers) {
    console.error(`Nothing is compared, as the peers are not installed. They are by: ${INSTALL}`);
  }
  if (cases === undefined || names === undefined) return;
  const report = new TreeReport(options, names);
  await withDirectory('tree', async (directory) => {
    const runner = new Runner(import.meta.url, directory, names, options);
    try {
      for (const one of CASES) {
        if (cases.includes(one.name)) report.add(one, await runner.run(one));
      }
    } finally {
      await runner.end();
    }
  });
  report.finish();
}

if (!isMainThread) await serveCrew(crewJobs);
else if (given.serve === undefined) await main();
else {
  serve(jobs, {
    name: given.serve as StoreName,
    directory: given.directory as string,
    self: import.meta.url,
    cacheBytes: given.cache === undefined ? undefined : Number(given.cache),
  });
}
