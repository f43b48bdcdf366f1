/**
 * Question:    what do trees of this store cost beside the stores that one would take otherwise?
 * Workload:    200,000 path-shaped keys, values of 100 bytes, strings in and bytes out; see tree/cases.ts.
 * Working set: all of it cached (26 MB in 256 MiB), but where a case says so.
 * Warm-up:     one sample of each case and store, which does not count.
 * Baseline:    lmdb, classic-level and better-sqlite3, each in a process of its own with the same
 *              program and in its own fastest way; samples in turns; and `empty-loop`, which is
 *              contained in every figure.
 */
import { parseArgs } from 'node:util';
import { withDirectory } from './support/logged.ts';
import { ROUNDS } from './support/measure.ts';
import { suiteOptions } from './support/report.ts';
import { CASES, type Case } from './tree/cases.ts';
import { jobs } from './tree/jobs.ts';
import { arePeersInstalled, INSTALL } from './tree/peers.ts';
import { StoreProcess } from './tree/process.ts';
import { type Sample, serve } from './tree/serve.ts';
import { OWN, PEERS, type StoreName } from './tree/store.ts';
import { TreeReport } from './tree/table.ts';

const { values: given } = parseArgs({
  options: {
    json: { type: 'boolean' },
    seconds: { type: 'string' },
    only: { type: 'string' },
    stores: { type: 'string' },
    serve: { type: 'string' },
    directory: { type: 'string' },
  },
});

function chosen<T extends string>(what: string, all: readonly T[], list: string | undefined): T[] {
  const names = list?.split(',') ?? all;
  for (const name of names) {
    if (!all.includes(name as T)) throw new RangeError(`There is no ${what} ${name}: ${all}`);
  }
  return all.filter((name) => names.includes(name));
}

async function runCase(
  stores: readonly StoreProcess[],
  { job, rounds = ROUNDS, isHarness = false }: Case,
  { seconds, seed }: { readonly seconds: number; readonly seed: number },
): Promise<Map<StoreName, Sample[]>> {
  const ms = (seconds * 1000) / ROUNDS;
  const taking = isHarness ? stores.slice(0, 1) : stores;
  const samples = new Map<StoreName, Sample[]>(taking.map(({ name }) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (let turn = 0; turn < taking.length; turn++) {
      // Nobody is always first or always behind the same one.
      const store = taking[(turn + round) % taking.length] as StoreProcess;
      const sample = await store.sample({ job, ms, seed: seed + round });
      if (round > 0) samples.get(store.name)?.push(sample);
    }
  }
  return samples;
}

async function main(): Promise<void> {
  const options = suiteOptions();
  const only = chosen(
    'case',
    CASES.map(({ name }) => name),
    given.only,
  );
  const hasPeers = arePeersInstalled();
  const names = chosen<StoreName>('store', hasPeers ? [OWN, ...PEERS] : [OWN], given.stores);
  const report = new TreeReport(options, names);
  if (!hasPeers) report.note(`The peers are not installed, so nothing is compared: ${INSTALL}`);
  await withDirectory('tree', async (directory) => {
    const stores = names.map(
      (name) => new StoreProcess(name, import.meta.url, `${directory}/${name}`),
    );
    try {
      for (const one of CASES) {
        if (only.includes(one.name)) report.add(one, await runCase(stores, one, options));
      }
    } finally {
      for (const store of stores) await store.end();
    }
  });
  report.finish();
}

if (given.serve === undefined) await main();
else serve(jobs, given.serve as StoreName, given.directory as string);
