/**
 * Question:    which replacement policy keeps what will be used again?
 * Workload:    seeded traces (support/traces.ts) of 500,000 accesses, the first fifth not counted.
 * Working set: as the trace says, in multiples of the frames; 64, 512 and 4096 frames.
 * Baseline:    exact LRU over the same trace: its hit ratio in percent, the others' difference to
 *              it in points; means of three seeds.
 *
 * Not a suite of the benchmark command, and no times: `npx tsx bench/policies.ts [frames ...]`
 * prints the table of README.md, always the same one.
 */
import { Random } from '../test/support/seed.ts';
import { Clock, Lru, type Policy, S3Fifo, type S3FifoOptions, Sieve } from './support/policies.ts';
import {
  loop,
  type MakeTrace,
  phases,
  recent,
  type Trace,
  zipf,
  zipfShifting,
  zipfWithScans,
} from './support/traces.ts';

const LENGTH = 500_000;
const SEEDS: readonly number[] = [1, 2, 3];
const FRAMES_DEFAULT: readonly number[] = [64, 512, 4096];

const TRACES: Readonly<Record<string, MakeTrace>> = {
  'zipf.8': zipf(0.8),
  'zipf.99': zipf(0.99),
  'scan10%': zipfWithScans(0.1),
  'scan50%': zipfWithScans(0.5),
  'loop1.25': loop(1.25),
  loop2: loop(2),
  shifting: zipfShifting,
  'ph.loop': phases('loop'),
  'ph.rand': phases('random'),
  recent,
};

type MakePolicy = (frames: number, blobs: number) => Policy;

function s3Fifo(options: S3FifoOptions): MakePolicy {
  return (frames, blobs) => new S3Fifo(frames, blobs, options);
}

const PAPER: S3FifoOptions = { small: 0.1, counterMax: 3, promoteAt: 2, ghost: 'fifo' };
const CHOSEN: S3FifoOptions = { small: 0.2, counterMax: 2, promoteAt: 2, ghost: 'buckets' };

const POLICIES: Readonly<Record<string, MakePolicy>> = {
  LRU: (frames, blobs) => new Lru(frames, blobs),
  CLOCK: (frames, blobs) => new Clock(frames, blobs, 1),
  CLOCK2: (frames, blobs) => new Clock(frames, blobs, 3),
  SIEVE: (frames, blobs) => new Sieve(frames, blobs),
  'S3 no ghost': s3Fifo({ ...PAPER, ghost: 'none' }),
  'S3 paper': s3Fifo(PAPER),
  'S3 10 %': s3Fifo({ ...CHOSEN, small: 0.1 }),
  'S3 20 % chosen': s3Fifo(CHOSEN),
  'S3 33 %': s3Fifo({ ...CHOSEN, small: 0.33 }),
  'S3 20 % one hit': s3Fifo({ ...CHOSEN, counterMax: 1, promoteAt: 1 }),
};

function hitPercent(policy: Policy, { accesses, warmup }: Trace): number {
  let hits = 0;
  for (let at = 0; at < accesses.length; at++) {
    const hit = policy.access(accesses[at] as number);
    if (hit && at >= warmup) hits++;
  }
  return (100 * hits) / (accesses.length - warmup);
}

/** Mean hit ratio of each policy, in percent. */
function compare(frames: number, makeTrace: MakeTrace): Map<string, number> {
  const means = new Map<string, number>();
  for (const seed of SEEDS) {
    const trace = makeTrace(frames, LENGTH, Random.fork(seed, frames));
    for (const [name, make] of Object.entries(POLICIES)) {
      const percent = hitPercent(make(frames, trace.blobs), trace);
      means.set(name, (means.get(name) ?? 0) + percent / SEEDS.length);
    }
  }
  return means;
}

function printTable(frames: number): void {
  const names = Object.keys(TRACES);
  const columns = names.map((name) => compare(frames, TRACES[name] as MakeTrace));
  console.log(`${`${frames} frames`.padEnd(16)}${names.map((name) => name.padStart(9)).join('')}`);
  for (const policy of Object.keys(POLICIES)) {
    const cells = columns.map((column) => {
      const lru = column.get('LRU') ?? 0;
      const difference = (column.get(policy) ?? 0) - lru;
      const sign = difference < 0 ? '' : '+';
      return (policy === 'LRU' ? lru.toFixed(1) : `${sign}${difference.toFixed(1)}`).padStart(9);
    });
    console.log(`${policy.padEnd(16)}${cells.join('')}`);
  }
  console.log();
}

const wanted = process.argv.slice(2).map(Number);
for (const frames of wanted.length > 0 ? wanted : FRAMES_DEFAULT) {
  if (!Number.isInteger(frames) || frames < 4) {
    throw new RangeError(`Frames are whole numbers from 4 upwards, not ${frames}`);
  }
  printTable(frames);
}
