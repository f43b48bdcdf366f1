/**
 * Question:    how fast does a round write what is dirty, and what do writers notice of it?
 * Workload:    `checkpoint-256-*`: a round with 256 dirty frames of 512 KiB, nobody else at work;
 *              `writers-in-round*`: two threads that each change 8 bytes of a random blob, while one
 *              round follows the other; every blob is dirty again for each round.
 * Working set: 256 blobs in 320 frames; `-hot`: the writers keep to 16 of the blobs.
 * Warm-up:     one round (`-first` is that one: code is compiled, staging frames are touched for the
 *              first time); 150 ms for writers.
 * Baseline:    `dd bs=512k oflag=direct conv=fdatasync` of the same bytes, run in turns: to a new
 *              file for rounds whose slots are new (`-fresh`: the file grows), over an old one for
 *              rounds that use slots again (`-over`); the same writers without rounds.
 *
 * Latencies are those of every change, the clock's cost included.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { BufferPool } from '../src/index.ts';
import { CalmRounds } from './support/calm.ts';
import { Crew, type CrewContext, type CrewJob, type CrewJobs, serveCrew } from './support/crew.ts';
import { NO_ROUNDS, withDirectory } from './support/logged.ts';
import { ROUNDS } from './support/measure.ts';
import { assertSum, Histogram, median, quantity } from './support/numbers.ts';
import { Report, type SuiteOptions, suiteOptions } from './support/report.ts';
import { draw, firstState } from './support/workload.ts';

const BLOBS = 256;
const FRAMES = 320;
const BLOB_BYTES = 512 * 1024;
const BYTES = BLOBS * BLOB_BYTES;
const HOT_BLOBS = 16;
const WARMUP_MS = 150;
const MB = 1e6;
const BATCH = 64;

/** Each thread adds to a word of its own. */
function writer({ pool, seed, thread }: CrewContext, blobs: number): CrewJob {
  const latencies = new Histogram();
  const record = new Uint8Array(8);
  const numbers = new Uint32Array(record.buffer);
  let state = firstState(seed);
  const change = (): void => {
    state = draw(state);
    const id = 1 + (state & (blobs - 1));
    numbers[0] = id;
    pool.change((op) => {
      const blob = op.write(id);
      op.seal(record.length);
      const words = blob.u32;
      words[thread] = ((words[thread] as number) + 1) >>> 0;
      op.commit(record);
    });
  };
  return {
    latencies,
    run: (ms) => {
      let done = 0;
      let now = performance.now();
      for (const end = now + ms; now < end; done += BATCH) {
        for (let i = 0; i < BATCH; i++) {
          change();
          const then = now;
          now = performance.now();
          latencies.record((now - then) * 1e6);
        }
      }
      return done;
    },
  };
}

const jobs: CrewJobs = {
  any: (context) => writer(context, BLOBS),
  hot: (context) => writer(context, HOT_BLOBS),
};

// --- the main thread's half ----------------------------------------------------------------------

async function openPool(directory: string): Promise<BufferPool> {
  return BufferPool.open(directory, {
    frames: FRAMES,
    blobBytes: BLOB_BYTES,
    log: { bytesMax: 2 ** 33 },
    checkpoint: NO_ROUNDS,
  });
}

/** Makes the blobs 1 to BLOBS. */
function fill(pool: BufferPool): void {
  const record = new Uint8Array(8);
  for (let n = 1; n <= BLOBS; n++) {
    const id = pool.change((op) => {
      const blob = op.create();
      op.seal(record.length);
      blob.u32.fill(n, 2);
      op.commit(record);
      return blob.id;
    });
    assertSum('blob id', id, n);
  }
}

const STAMP = 1024;

/** Changes every blob, so that all are dirty. */
function touchAll(pool: BufferPool): void {
  const record = new Uint8Array(8);
  for (let id = 1; id <= BLOBS; id++) {
    pool.change((op) => {
      const blob = op.write(id);
      op.seal(record.length);
      blob.u32[STAMP] = ((blob.u32[STAMP] as number) + 1) >>> 0;
      op.commit(record);
    });
  }
}

/** MB/s of one round over all blobs. */
async function roundRate(pool: BufferPool): Promise<number> {
  // What the log has to sync first is not what is asked for here.
  await pool.durable(undefined, 'synced');
  const from = performance.now();
  const { frames } = await pool.checkpoint();
  const ms = performance.now() - from;
  assertSum('frames of the round', frames, BLOBS);
  return BYTES / MB / (ms / 1000);
}

/** MB/s as dd says, which counts its fdatasync; undefined where there is no such dd. */
function ddRate(path: string): number | undefined {
  const args = [
    'if=/dev/zero',
    `of=${path}`,
    'bs=512k',
    `count=${BLOBS}`,
    'oflag=direct',
    'conv=notrunc,fdatasync',
  ];
  const { stderr, status } = spawnSync('dd', args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  const seconds = /copied, ([0-9.e-]+) s/.exec(stderr)?.[1];
  return status === 0 && seconds !== undefined ? BYTES / MB / Number(seconds) : undefined;
}

async function measureFresh(rounds: CalmRounds, directory: string): Promise<void> {
  const store = join(directory, 'fresh');
  const pool = await openPool(store);
  fill(pool);
  await rounds.take('checkpoint-256-first', () => roundRate(pool));
  touchAll(pool);
  // The file still grows: the first round's slots are named until this one is committed.
  await rounds.take('checkpoint-256-fresh', () => roundRate(pool));
  await pool.close();
  rmSync(store, { recursive: true });
  const file = join(directory, 'dd-fresh');
  await rounds.take('dd-fresh', () => ddRate(file) ?? Number.NaN);
  rmSync(file, { force: true });
}

function checkStamps(pool: BufferPool, expected: number): void {
  let sum = 0;
  for (let id = 1; id <= BLOBS; id++) {
    const guard = pool.read(id);
    sum += (guard.u32[STAMP] as number) - id;
    guard.release();
  }
  assertSum('stamps', sum, expected * BLOBS);
}

async function measureRounds(report: Report, directory: string): Promise<void> {
  const rounds = new CalmRounds();
  const store = join(directory, 'over');
  const pool = await openPool(store);
  const file = join(directory, 'dd-over');
  fill(pool);
  await pool.checkpoint();
  touchAll(pool);
  // From here on there are slots that were used before.
  await pool.checkpoint();
  ddRate(file);
  let stamps = 1;
  await rounds.run(async () => {
    touchAll(pool);
    stamps++;
    await rounds.take('checkpoint-256-over', () => roundRate(pool));
    await rounds.take('dd-over', () => ddRate(file) ?? Number.NaN);
    await measureFresh(rounds, directory);
  });
  checkStamps(pool, stamps);
  await pool.close();
  const again = await openPool(store);
  checkStamps(again, stamps);
  await again.close();
  rmSync(file);
  for (const [kind, baseline] of [
    ['fresh', 'fresh'],
    ['first', 'fresh'],
    ['over', 'over'],
  ]) {
    const dd = `dd-${baseline}`;
    const own = `checkpoint-256-${kind}`;
    const figures = rounds.of(own);
    if (kind === baseline) report.value(dd, 'MB/s', rounds.of(dd));
    // Each figure against the one beside it.
    const bases = rounds.ratios(own, dd).map((ratio, n) => (figures[n] ?? Number.NaN) / ratio);
    report.value(own, 'MB/s', figures, { baseline: dd, figures: bases });
  }
  report.value('calm-rounds', '%', [rounds.calmPercent]);
}

// --- writers ---------------------------------------------------------------------------------------

interface Writers {
  readonly crew: Crew;
  readonly quiet: Histogram;
  readonly busy: Histogram;
  roundsRun: number;
}

/** Operations a second while one round follows the other. */
async function withRounds(pool: BufferPool, writers: Writers, ms: number): Promise<number> {
  let running = true;
  const work = writers.crew.run(ms).finally(() => {
    running = false;
  });
  while (running) {
    touchAll(pool);
    await pool.checkpoint();
    writers.roundsRun++;
  }
  const { opsPerSec, latencies } = await work;
  writers.busy.add(latencies);
  return opsPerSec;
}

function reportLatencies(report: Report, name: string, latencies: Histogram): void {
  for (const [label, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
    ['p99.9', 0.999],
    ['max', 1],
  ] as const) {
    report.value(`${name}: ${label}`, 'us', [latencies.percentileNs(share) / 1000], { threads: 2 });
  }
}

async function measureWriters(
  report: Report,
  directory: string,
  options: SuiteOptions,
): Promise<void> {
  const ms = (options.seconds * 1000) / ROUNDS;
  const pool = await openPool(directory);
  fill(pool);
  await pool.checkpoint();
  const rounds = new CalmRounds();
  const kinds = (['any', 'hot'] as const).map((job) => {
    const crew = Crew.start(import.meta.url, pool.handle, [job, job], options.seed);
    const writers: Writers = { crew, quiet: new Histogram(), busy: new Histogram(), roundsRun: 0 };
    return { job, writers };
  });
  for (const { writers } of kinds) await writers.crew.run(Math.min(WARMUP_MS, ms));
  await rounds.run(async () => {
    for (const { job, writers } of kinds) {
      await pool.checkpoint();
      await rounds.take(`${job} without`, async () => {
        const { opsPerSec, latencies } = await writers.crew.run(ms);
        writers.quiet.add(latencies);
        return opsPerSec;
      });
      await rounds.take(`${job} in rounds`, () => withRounds(pool, writers, ms));
    }
  });
  let changes = 0;
  for (const { job, writers } of kinds) {
    await writers.crew.end();
    changes += writers.crew.operations;
    const name = job === 'hot' ? 'writers-in-round-hot' : 'writers-in-round';
    const ratio = median(rounds.ratios(`${job} in rounds`, `${job} without`));
    report.rate(`${name}: without`, 2, quantity(rounds.of(`${job} without`)));
    report.rate(name, 2, quantity(rounds.of(`${job} in rounds`)), {
      name: `${name}: without`,
      ratio,
    });
    reportLatencies(report, `${name}: without`, writers.quiet);
    reportLatencies(report, name, writers.busy);
    report.value(`${name}: rounds`, 'rounds', [writers.roundsRun]);
  }
  report.value('calm-rounds-writers', '%', [rounds.calmPercent]);
  await pool.close();
  const again = await openPool(directory);
  let sum = 0;
  for (let id = 1; id <= BLOBS; id++) {
    const guard = again.read(id);
    sum += (guard.u32[0] as number) + (guard.u32[1] as number);
    guard.release();
  }
  assertSum('changes', sum, changes);
  await again.close();
}

async function main(): Promise<void> {
  const options = suiteOptions();
  const report = new Report('checkpoint', options);
  await withDirectory('checkpoint', async (directory) => {
    await measureRounds(report, directory);
    await measureWriters(report, join(directory, 'writers'), options);
  });
  report.finish();
}

await (isMainThread ? main() : serveCrew(jobs));
