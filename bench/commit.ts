/**
 * Question:    what does a commit cost that must survive power loss, and how many can be acknowledged
 *              when several are under way?
 * Workload:    changes without blobs, with a record of 128 bytes; `synced-1`: one thread, `durableSync`
 *              after each; `synced-32`: two threads with 16 loops each that await `durable`;
 *              `written-1`: one thread, the operating system has it.
 * Working set: the log alone, all defaults.
 * Warm-up:     150 ms a crew.
 * Baseline:    `bare-sync`: a loop of a write of 4 KiB and fdatasync, one place after the other in a
 *              file of 16 MiB whose bytes were written and synced before, in a thread of its own like
 *              the pool's; run in turns with the cases.
 */
import { closeSync, fdatasyncSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { BufferPool } from '../src/index.ts';
import { CalmRounds } from './support/calm.ts';
import { Crew, type CrewContext, type CrewJob, type CrewJobs, serveCrew } from './support/crew.ts';
import { logTail, PAYLOAD_BYTES, RECORD_BYTES, withDirectory } from './support/logged.ts';
import { ROUNDS } from './support/measure.ts';
import { assertSum, median, quantity } from './support/numbers.ts';
import { Report, suiteOptions } from './support/report.ts';

const WARMUP_MS = 150;
const IN_FLIGHT = 16;
const FILE_BYTES = 16 * 1024 * 1024;
const BLOCK_BYTES = 4096;

function appendOne(pool: BufferPool, record: Uint8Array): number {
  return pool.change((op) => {
    op.seal(PAYLOAD_BYTES);
    return op.commit(record);
  });
}

function blocking({ pool }: CrewContext, level: 'synced' | 'written'): CrewJob {
  const record = new Uint8Array(PAYLOAD_BYTES);
  return {
    run: (ms) => {
      let done = 0;
      for (const end = performance.now() + ms; performance.now() < end; done++) {
        pool.durableSync(appendOne(pool, record), level);
      }
      return done;
    },
  };
}

/** Each loop awaits its own commit before it makes the next one. */
function awaiting({ pool }: CrewContext): CrewJob {
  const record = new Uint8Array(PAYLOAD_BYTES);
  const loop = async (end: number): Promise<number> => {
    let done = 0;
    for (; performance.now() < end; done++) await pool.durable(appendOne(pool, record), 'synced');
    return done;
  };
  return {
    run: async (ms) => {
      const end = performance.now() + ms;
      const loops = await Promise.all(Array.from({ length: IN_FLIGHT }, () => loop(end)));
      return loops.reduce((sum, done) => sum + done, 0);
    },
  };
}

const jobs: CrewJobs = {
  synced: (context) => blocking(context, 'synced'),
  written: (context) => blocking(context, 'written'),
  awaited: awaiting,
};

// --- the main thread's half ----------------------------------------------------------------------

/** The loop that everything is compared with; its file is as the log's segments are. */
class BareLoop {
  readonly #file: number;
  readonly #block = new Uint8Array(BLOCK_BYTES).fill(1);
  #at = 0;

  constructor(directory: string) {
    this.#file = openSync(join(directory, 'bare'), 'w+');
    writeSync(this.#file, new Uint8Array(FILE_BYTES));
    fsyncSync(this.#file);
  }

  /** Commits a second. */
  run(ms: number): number {
    const from = performance.now();
    let done = 0;
    let now = from;
    for (; now < from + ms; done++) {
      writeSync(this.#file, this.#block, 0, BLOCK_BYTES, this.#at);
      fdatasyncSync(this.#file);
      this.#at = (this.#at + BLOCK_BYTES) % FILE_BYTES;
      now = performance.now();
    }
    return (done * 1000) / (now - from);
  }

  close(): void {
    closeSync(this.#file);
  }
}

const CASES = [
  { name: 'synced-1', jobs: ['synced'] },
  { name: 'synced-32', jobs: ['awaited', 'awaited'] },
  { name: 'written-1', jobs: ['written'] },
] as const;

async function main(): Promise<void> {
  const options = suiteOptions();
  const report = new Report('commit', options);
  const ms = (options.seconds * 1000) / ROUNDS;
  await withDirectory('commit', async (directory) => {
    const pool = await BufferPool.open(join(directory, 'store'), {
      frames: 16,
      blobBytes: 4096,
      log: true,
    });
    const bare = new BareLoop(directory);
    const from = logTail(pool);
    const rounds = new CalmRounds();
    const crews = CASES.map(({ jobs: names }) =>
      Crew.start(import.meta.url, pool.handle, names, options.seed),
    );
    for (const crew of crews) await crew.run(Math.min(WARMUP_MS, ms));
    bare.run(Math.min(WARMUP_MS, ms));
    await rounds.run(async () => {
      for (const [index, { name }] of CASES.entries()) {
        // Each has a loop of its own beside it.
        await rounds.take(`bare-sync of ${name}`, () => bare.run(ms));
        await rounds.take(name, async () => (await (crews[index] as Crew).run(ms)).opsPerSec);
      }
    });
    for (const crew of crews) await crew.end();
    const commits = crews.reduce((sum, { operations }) => sum + operations, 0);
    assertSum('bytes appended', logTail(pool) - from, commits * RECORD_BYTES);
    await pool.close();
    bare.close();
    report.rate(
      'bare-sync',
      1,
      quantity(CASES.flatMap(({ name }) => rounds.of(`bare-sync of ${name}`))),
    );
    for (const { name, jobs: names } of CASES) {
      const ratio = median(rounds.ratios(name, `bare-sync of ${name}`));
      report.rate(name, names.length, quantity(rounds.of(name)), { name: 'bare-sync', ratio });
    }
    report.value('calm-rounds', '%', [rounds.calmPercent]);
  });
  report.finish();
}

await (isMainThread ? main() : serveCrew(jobs));
