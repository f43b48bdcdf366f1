/**
 * Question:    does the log stay below its bound, and memory flat, under changes that never stop?
 * Workload:    two threads add to words of their own in random blobs, 255 of 256 times in one of 16
 *              hot ones; payload of 128 bytes, durability `none`; 60 s (`--seconds` shortens it).
 * Working set: 96 blobs of 512 KiB in 64 frames, so that now and then a frame is needed; the log
 *              bounded to 32 MiB, ring of 8 MiB, segments of 16 MiB, rounds by all triggers.
 * Warm-up:     a tenth of the time, for the memory's baseline.
 * Baseline:    none: it is bounded or it is not. Exit code 1 if it is not, or if a change is missing
 *              after reopening.
 */
import { isMainThread } from 'node:worker_threads';
import { BufferPool } from '../src/index.ts';
import { Crew, type CrewContext, type CrewJob, type CrewJobs, serveCrew } from './support/crew.ts';
import {
  logBacklog,
  logDiskBytes,
  PAYLOAD_BYTES,
  RECORD_BYTES,
  withDirectory,
} from './support/logged.ts';
import { assertSum, Histogram, quantity } from './support/numbers.ts';
import { Report, suiteOptions } from './support/report.ts';
import { draw, firstState } from './support/workload.ts';

const SECONDS_DEFAULT = 60;
const FRAMES = 64;
const BLOBS = 96;
const HOT_MASK = 15;
const COLD_SHARE_MASK = 0xff;
const RING_BYTES = 8 * 1024 * 1024;
const SEGMENT_BYTES = 16 * 1024 * 1024;
const LOG_BYTES_MAX = 32 * 1024 * 1024;
/**
 * The files hold the backlog, what a round that is under way has not trimmed yet, in whole segments
 * of which the first and the last are in part something else; and the spare.
 */
const DISK_BYTES_MAX = 2 * LOG_BYTES_MAX + 4 * SEGMENT_BYTES;
/** Threads that are past the check append once more; what is in the ring counts. */
const BACKLOG_BYTES_MAX = LOG_BYTES_MAX + RING_BYTES;
const SAMPLE_MS = 50;
const BATCH = 64;
const MIB = 2 ** 20;
/** Memory may grow so much after the warm-up: heaps breathe. */
const GROWTH_MIB_MAX = 48;

function worker({ pool, seed, thread }: CrewContext): CrewJob {
  const latencies = new Histogram();
  const record = new Uint8Array(PAYLOAD_BYTES);
  const numbers = new Uint32Array(record.buffer);
  let state = firstState(seed);
  const change = (): void => {
    state = draw(state);
    const cold = ((state >>> 8) & COLD_SHARE_MASK) === 0;
    const id = 1 + (cold ? (state >>> 16) % BLOBS : state & HOT_MASK);
    numbers[0] = id;
    pool.change((op) => {
      const blob = op.write(id);
      op.seal(PAYLOAD_BYTES);
      const words = blob.f64;
      words[thread] = (words[thread] as number) + 1;
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

const jobs: CrewJobs = { change: worker };

// --- the main thread's half ----------------------------------------------------------------------

async function openPool(directory: string): Promise<BufferPool> {
  return BufferPool.open(directory, {
    frames: FRAMES,
    log: { ringBytes: RING_BYTES, segmentBytes: SEGMENT_BYTES, bytesMax: LOG_BYTES_MAX },
  });
}

async function makeBlobs(pool: BufferPool): Promise<void> {
  for (let n = 1; n <= BLOBS; n++) {
    const id = pool.change((op) => {
      const blob = op.create();
      op.commit(new Uint8Array(8));
      return blob.id;
    });
    assertSum('blob id', id, n);
  }
  await pool.checkpoint();
}

/** The largest of what is looked at while `work` goes on, and the memory after a tenth of it. */
class Watch {
  backlogMax = 0;
  diskMax = 0;
  readonly memory: number[] = [];

  look(pool: BufferPool): void {
    this.backlogMax = Math.max(this.backlogMax, logBacklog(pool));
    this.diskMax = Math.max(this.diskMax, logDiskBytes(pool));
    this.memory.push(process.memoryUsage.rss() / MIB);
  }

  /** Mean of a tenth of the samples. */
  #tenth(n: number): number {
    const size = Math.max(1, Math.floor(this.memory.length / 10));
    const part = this.memory.slice(n * size, (n + 1) * size);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  }

  get grownMib(): number {
    return this.#tenth(9) - this.#tenth(1);
  }
}

async function run(pool: BufferPool, seconds: number, report: Report, seed: number) {
  const crew = Crew.start(import.meta.url, pool.handle, ['change', 'change'], seed);
  const watch = new Watch();
  const work = crew.run(seconds * 1000);
  const timer = setInterval(() => watch.look(pool), SAMPLE_MS);
  const { opsPerSec, operations, latencies } = await work;
  clearInterval(timer);
  await crew.end();
  report.rate('sustained', 2, quantity([opsPerSec]));
  const written = (operations * RECORD_BYTES) / MIB;
  report.value('log-written', 'MiB', [written]);
  report.value('log-backlog-max', 'MiB', [watch.backlogMax / MIB]);
  report.value('log-disk-max', 'MiB', [watch.diskMax / MIB]);
  report.value('memory-growth', 'MiB', [watch.grownMib]);
  report.value('memory', 'MiB', [watch.memory.at(-1) ?? Number.NaN]);
  for (const [label, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
    ['p99.9', 0.999],
    ['max', 1],
  ] as const) {
    report.value(label, 'us', [latencies.percentileNs(share) / 1000], { threads: 2 });
  }
  return { operations, watch };
}

function assertBelow(what: string, value: number, bound: number): void {
  if (value <= bound) return;
  throw new Error(`${what}: ${value} exceeds ${bound}`);
}

async function main(): Promise<void> {
  const given = suiteOptions();
  const seconds = process.argv.includes('--seconds') ? given.seconds : SECONDS_DEFAULT;
  const report = new Report('sustained', { ...given, seconds });
  await withDirectory('sustained', async (directory) => {
    const pool = await openPool(directory);
    await makeBlobs(pool);
    const { operations, watch } = await run(pool, seconds, report, given.seed);
    await pool.close();
    const from = performance.now();
    const again = await openPool(directory);
    report.value('reopened', 'ms', [performance.now() - from]);
    let sum = 0;
    for (let id = 1; id <= BLOBS; id++) {
      const guard = again.read(id);
      sum += (guard.f64[0] as number) + (guard.f64[1] as number);
      guard.release();
    }
    await again.close();
    report.value('changes-found', '%', [(100 * sum) / operations]);
    report.finish();
    assertSum('changes after reopening', sum, operations);
    assertBelow('backlog of the log', watch.backlogMax, BACKLOG_BYTES_MAX);
    assertBelow('bytes of the log on disk', watch.diskMax, DISK_BYTES_MAX);
    assertBelow('growth of the memory in MiB', watch.grownMib, GROWTH_MIB_MAX);
  });
}

await (isMainThread ? main() : serveCrew(jobs));
