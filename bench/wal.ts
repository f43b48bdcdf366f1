/**
 * Question:    how many records can be appended, by one thread and by two, while the journal worker
 *              writes them to files?
 * Workload:    changes without blobs, with a record of 128 bytes (168 in the log), durability
 *              `none`: `pool.change(op => { op.seal(128); return op.commit(record) })`, and the
 *              same with `pool.begin`.
 * Working set: the log alone: ring of 8 MiB, segments of 16 MiB, rounds at 64 MiB, all defaults.
 *              Nothing is left out: journal, syncs and trimming run all the time.
 * Warm-up:     150 ms a crew.
 * Baseline:    `empty-loop`, the same loop with a closure that copies the record into memory of the
 *              ring's size, is contained in every figure; two threads against one.
 *
 * `append-1-room` appends only as much as the ring holds and lets the journal catch up in between:
 * what an append costs the thread itself.
 */
import { isMainThread } from 'node:worker_threads';
import { BufferPool, type Op } from '../src/index.ts';
import { CalmRounds } from './support/calm.ts';
import {
  Crew,
  type CrewContext,
  type CrewJob,
  type CrewJobs,
  repeatFor,
  serveCrew,
} from './support/crew.ts';
import {
  logDiskBytes,
  logTail,
  PAYLOAD_BYTES,
  RECORD_BYTES,
  withDirectory,
} from './support/logged.ts';
import { ROUNDS } from './support/measure.ts';
import { assertSum, median, quantity } from './support/numbers.ts';
import { Report, suiteOptions } from './support/report.ts';

const WARMUP_MS = 150;
/** Records between two looks at the clock. */
const OPERATIONS = 1000;
const RING_BYTES = 8 * 1024 * 1024;
/** Less than the quarter of the ring at which the journal is woken. */
const ROOM_OPERATIONS = 12_000;
const ROOM_REPEATS = 9;

/** Appends `OPERATIONS` records and throws if their seqs do not rise. */
type Append = (first: number) => number;

function makeRecord(): { readonly record: Uint8Array; readonly numbers: Float64Array } {
  const record = new Uint8Array(PAYLOAD_BYTES);
  return { record, numbers: new Float64Array(record.buffer) };
}

/** The record's seq; false if there was no room, and the op has to begin again. */
function tryCommit(op: Op, record: Uint8Array): number {
  try {
    op.seal(PAYLOAD_BYTES);
    return op.commit(record);
  } catch (error) {
    if (op.restart === undefined) throw error;
    return 0;
  }
}

function changes({ pool }: CrewContext): Append {
  const { record, numbers } = makeRecord();
  return (first) => {
    let last = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      numbers[0] = first + i;
      const seq = pool.change((op) => {
        op.seal(PAYLOAD_BYTES);
        return op.commit(record);
      });
      if (seq - last < RECORD_BYTES) throw new Error(`seq ${seq} follows ${last}`);
      last = seq;
    }
    return last;
  };
}

function begins({ pool }: CrewContext): Append {
  const { record, numbers } = makeRecord();
  return (first) => {
    let last = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      numbers[0] = first + i;
      let seq = 0;
      while (seq === 0) seq = tryCommit(pool.begin(), record);
      if (seq - last < RECORD_BYTES) throw new Error(`seq ${seq} follows ${last}`);
      last = seq;
    }
    return last;
  };
}

function emptyLoop(): Append {
  const { record, numbers } = makeRecord();
  const ring = new Uint8Array(new SharedArrayBuffer(RING_BYTES));
  let at = 0;
  const put = (body: () => number): number => body();
  return (first) => {
    let last = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      numbers[0] = first + i;
      const seq = put(() => {
        ring.set(record, at);
        at += RECORD_BYTES;
        if (at + RECORD_BYTES > RING_BYTES) at = 0;
        return last + RECORD_BYTES;
      });
      if (seq - last < RECORD_BYTES) throw new Error(`seq ${seq} follows ${last}`);
      last = seq;
    }
    return last;
  };
}

function always(append: Append): CrewJob {
  let count = 0;
  const batch = (): void => {
    append(count);
    count += OPERATIONS;
  };
  return { run: (ms) => repeatFor(ms, OPERATIONS, batch) };
}

const jobs: CrewJobs = {
  empty: () => always(emptyLoop()),
  change: (context) => always(changes(context)),
  begin: (context) => always(begins(context)),
};

// --- the main thread's half ----------------------------------------------------------------------

interface Case {
  readonly name: string;
  readonly jobs: readonly string[];
  /** What `ratio` compares with. */
  readonly against?: string;
}

const CASES: readonly Case[] = [
  { name: 'empty-loop', jobs: ['empty'] },
  { name: 'append-1', jobs: ['change'] },
  { name: 'append-1-begin', jobs: ['begin'], against: 'append-1' },
  { name: 'append-2', jobs: ['change', 'change'], against: 'append-1' },
  { name: 'append-2-begin', jobs: ['begin', 'begin'], against: 'append-1-begin' },
];

/** ns for each record, with the whole ring free; median of some repeats. */
function measureRoom(pool: BufferPool, append: Append): number {
  const figures = Array.from({ length: ROOM_REPEATS }, () => {
    pool.durableSync(undefined, 'written');
    const from = performance.now();
    for (let done = 0; done < ROOM_OPERATIONS; done += OPERATIONS) append(done);
    return ((performance.now() - from) * 1e6) / ROOM_OPERATIONS;
  });
  return median(figures);
}

async function main(): Promise<void> {
  const options = suiteOptions();
  const report = new Report('wal', options);
  const ms = (options.seconds * 1000) / ROUNDS;
  await withDirectory('wal', async (directory) => {
    const pool = await BufferPool.open(directory, { frames: 16, blobBytes: 4096, log: true });
    const from = logTail(pool);
    const crews = CASES.map(({ jobs: names }) =>
      Crew.start(import.meta.url, pool.handle, names, options.seed),
    );
    const rounds = new CalmRounds();
    let rooms = 0;
    let diskMax = 0;
    const append = changes({ pool, thread: 0, threads: 1, seed: options.seed });
    for (const crew of crews) await crew.run(Math.min(WARMUP_MS, ms));
    const measureOwn = (): number => {
      rooms++;
      return measureRoom(pool, append);
    };
    for (let warm = 0; warm < 3; warm++) measureOwn();
    await rounds.run(async () => {
      for (const [index, { name }] of CASES.entries()) {
        const crew = crews[index] as Crew;
        await pool.durable(undefined, 'written');
        await rounds.take(name, async () => (await crew.run(ms)).opsPerSec);
        diskMax = Math.max(diskMax, logDiskBytes(pool));
      }
      await rounds.take('append-1-room', measureOwn);
    });
    for (const crew of crews) await crew.end();
    const appended = crews.reduce((sum, { operations }, n) => sum + (n > 0 ? operations : 0), 0);
    const own = rooms * ROOM_REPEATS * ROOM_OPERATIONS;
    assertSum('bytes appended', logTail(pool) - from, (appended + own) * RECORD_BYTES);
    await pool.close();
    for (const { name, jobs: names, against } of CASES) {
      const base =
        against === undefined
          ? undefined
          : { name: against, ratio: median(rounds.ratios(name, against)) };
      report.rate(name, names.length, quantity(rounds.of(name)), base);
    }
    report.time('append-1-room', quantity(rounds.of('append-1-room')));
    report.value('log-disk-max', 'MiB', [diskMax / 2 ** 20]);
    report.value('calm-rounds', '%', [rounds.calmPercent]);
  });
  report.finish();
}

await (isMainThread ? main() : serveCrew(jobs));
