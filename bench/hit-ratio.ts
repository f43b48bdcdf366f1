/**
 * Question:    does the pool keep what will be used again, as well as exact LRU or better?
 * Workload:    seeded traces (support/traces.ts), 250,000 accesses for each second asked for, the
 *              first fifth not counted; every access an optimistic read.
 * Working set: as the trace says, in multiples of the 512 frames; blobs of 4 KiB.
 * Warm-up:     the first fifth of each trace.
 * Baseline:    `lru`, exact LRU over the same trace. Three lines for each trace: the pool, LRU, and
 *              the median of the differences in points. Five seeds.
 */
import { BufferPool } from '../src/index.ts';
import { Random } from '../test/support/seed.ts';
import { assertSum } from './support/numbers.ts';
import { Lru } from './support/policies.ts';
import { Report, suiteOptions } from './support/report.ts';
import {
  loop,
  type MakeTrace,
  phases,
  recent,
  type Trace,
  zipf,
  zipfWithScans,
} from './support/traces.ts';
import { readWord } from './support/workload.ts';

const FRAMES = 512;
const BLOB_BYTES = 4096;
const ACCESSES_PER_SECOND = 250_000;
const ACCESSES_MIN = 20_000;
const SEEDS = 5;

const TRACES: Readonly<Record<string, MakeTrace>> = {
  'zipf-0.80': zipf(0.8),
  'zipf-0.90': zipf(0.9),
  'zipf-0.99': zipf(0.99),
  'zipf-1.10': zipf(1.1),
  'zipf-scan-10': zipfWithScans(0.1),
  'zipf-scan-50': zipfWithScans(0.5),
  'loop-1.25': loop(1.25),
  'loop-2.00': loop(2),
  'phases-loop': phases('loop'),
  'phases-random': phases('random'),
  recent,
};

/** Hit ratio of a new pool over the trace, in percent. */
async function poolPercent({ blobs, accesses, warmup }: Trace): Promise<number> {
  const pool = await BufferPool.open('bench', {
    frames: FRAMES,
    blobBytes: BLOB_BYTES,
    store: 'memory',
    threads: 'inline',
  });
  const words = new Uint32Array(BLOB_BYTES / Uint32Array.BYTES_PER_ELEMENT);
  const bytes = new Uint8Array(words.buffer);
  for (let blob = 0; blob < blobs; blob++) {
    const id = pool.allocate();
    words[0] = id;
    pool.writeBlob(id, bytes);
  }
  const before = pool.stats();
  let warm = before;
  let sum = 0;
  let expected = 0;
  for (let at = 0; at < accesses.length; at++) {
    if (at === warmup) warm = pool.stats();
    const id = 1 + (accesses[at] as number);
    sum += pool.optimistic(id, readWord, 0);
    expected += id;
  }
  const { hits, misses } = pool.stats();
  await pool.close();
  assertSum('what was read', sum, expected);
  assertSum('hits and misses', hits - before.hits + misses - before.misses, accesses.length);
  return (100 * (hits - warm.hits)) / (accesses.length - warmup);
}

function lruPercent({ blobs, accesses, warmup }: Trace): number {
  const lru = new Lru(FRAMES, blobs);
  let hits = 0;
  for (let at = 0; at < accesses.length; at++) {
    if (lru.access(accesses[at] as number) && at >= warmup) hits++;
  }
  return (100 * hits) / (accesses.length - warmup);
}

const options = suiteOptions();
const report = new Report('hit-ratio', options);
const length = Math.max(ACCESSES_MIN, Math.round(options.seconds * ACCESSES_PER_SECOND));
for (const [name, makeTrace] of Object.entries(TRACES)) {
  const own: number[] = [];
  const lru: number[] = [];
  for (let n = 0; n < SEEDS; n++) {
    const trace = makeTrace(FRAMES, length, Random.fork(options.seed, n));
    own.push(await poolPercent(trace));
    lru.push(lruPercent(trace));
  }
  const differences = own.map((percent, n) => percent - (lru[n] as number));
  report.value(name, '%', own, { baseline: 'lru', figures: lru });
  report.value(`${name}: lru`, '%', lru);
  report.value(`${name}: difference`, 'points', differences);
}
report.finish();
