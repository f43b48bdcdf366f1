/**
 * The bank on the smallest pool that its transactions may have, with the smallest ring, the least
 * staging and a small log: everything is short all the time, and rounds never stop. Nothing may
 * deadlock (the watchdog looks), nothing may be torn, and the totals are right at the end and after
 * reopening; the log on disk stays below its bound.
 *
 * Arguments: number of workers, ms.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, workerData } from 'node:worker_threads';
import {
  H_LOG_DISK_BYTES,
  H_STAGING_COUNT,
  S_OP_RESTARTS,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
} from '../../src/generated/layout.ts';
import { BufferPool, type PoolHandle, type PoolOptions } from '../../src/index.ts';
import { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { LOG_BLOCK_BYTES, segmentBytesFor } from '../../src/wal/format.ts';
import { ringRecordBytesMax } from '../../src/wal/ring.ts';
import {
  audit,
  BLOB_BYTES,
  bankOwners,
  found,
  Teller,
  type TellerOptions,
} from '../support/bank.ts';
import { check, checkEqual, startWorker, violation } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';

const RING_BYTES = 16 * 1024;
const BYTES_MAX = 2 * RING_BYTES;
const SEGMENT_BYTES = segmentBytesFor(ringRecordBytesMax(RING_BYTES));
const ACCOUNTS = 10;
/** A ledger and two accounts, or one account and a new one. */
const SHARE = 3;
const STAGING_LEAST = 4;

/** Records are of half of `padMax` in the mean; each group that is synced by itself takes blocks. */
const BLOCKS_FACTOR = 4;
const SEGMENTS_SPARE = 4;

/**
 * What the log may take on disk: records above the last round up to `bytesMax`, one more of each
 * thread that was let in below it, and segments that are being written, spare, or to be trimmed.
 */
function diskBound(threads: number): number {
  const records = BYTES_MAX + threads * (OPTIONS.padMax + LOG_BLOCK_BYTES);
  return BLOCKS_FACTOR * records + SEGMENTS_SPARE * SEGMENT_BYTES;
}

const OPTIONS: TellerOptions = {
  moveMax: 2,
  padMax: 3000,
  accountsMax: 16,
  kinds: ['move', 'move', 'move', 'open', 'close', 'renew'],
};

function poolOptions(workers: number): PoolOptions {
  return {
    frames: SHARE * 2 * (workers + 1),
    blobBytes: BLOB_BYTES,
    blobsMax: 256,
    log: { ringBytes: RING_BYTES, bytesMax: BYTES_MAX, segmentBytes: SEGMENT_BYTES },
    checkpoint: { intervalMs: 1, ageMs: 1, dirtyFrames: 2 },
    owners: bankOwners(),
    frameWaitMs: 20_000,
  };
}

interface Task {
  readonly handle: PoolHandle;
  readonly teller: number;
  readonly seed: number;
  /** 1 while the tellers work; transactions of all of them. */
  readonly words: Int32Array;
}

async function run({ handle, teller, seed, words }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  const random = new Random(seed);
  const worker = new Teller(pool, teller, random, OPTIONS);
  while (Atomics.load(words, 0) === 1) {
    if (random.chance(0.3)) {
      worker.look();
      continue;
    }
    worker.work(random.pick(['none', 'none', 'none', 'written', 'synced']));
    Atomics.add(words, 1, 1);
  }
  await pool.close();
}

function directoryBytes(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => /wal/.test(name))
    .map((name) => statSync(join(directory, name), { throwIfNoEntry: false }))
    .reduce((sum, stat) => sum + (stat?.isFile() ? stat.size : 0), 0);
}

function restartsOf(memory: ThreadMemory): number {
  let sum = 0;
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    sum += memory.loadU64(SLOTS + slot * SLOT_BYTES + S_OP_RESTARTS);
  }
  return sum;
}

/** Runs rounds and looks at the log until the time is over: the most that the log has taken. */
async function watch(pool: BufferPool, directory: string, ms: number): Promise<number> {
  const memory = new ThreadMemory(pool.handle.memory);
  const end = performance.now() + ms;
  let most = 0;
  while (performance.now() < end) {
    await pool.checkpoint();
    most = Math.max(most, memory.loadU64(H_LOG_DISK_BYTES), directoryBytes(directory));
  }
  return most;
}

async function main(workers: number, ms: number, directory: string): Promise<void> {
  const random = new Random(testSeed());
  let pool = await BufferPool.open(directory, poolOptions(workers));
  checkEqual(
    new ThreadMemory(pool.handle.memory).load(H_STAGING_COUNT),
    STAGING_LEAST,
    'the pool has the least staging',
  );
  found(pool, workers, ACCOUNTS, 1000);
  await pool.checkpoint();
  const words = new Int32Array(new SharedArrayBuffer(8));
  words[0] = 1;
  const { handle } = pool;
  const tellers = Array.from({ length: workers }, (_, teller) => {
    const task: Task = { handle, teller, seed: random.uint32(), words };
    return startWorker(import.meta.url, task).done;
  });
  const most = await watch(pool, directory, ms);
  Atomics.store(words, 0, 0);
  const codes = await Promise.all(tellers);
  check(
    codes.every((code) => code === 0),
    `exit codes of the tellers: ${codes}`,
  );
  const bound = diskBound(workers + 1);
  check(most <= bound, `the log took ${most} bytes on disk, its bound is ${bound}`);
  const restarts = restartsOf(new ThreadMemory(pool.handle.memory));
  const books = audit(pool);
  const stats = pool.stats();
  checkEqual(stats.pinned + stats.latched + stats.loading, 0, 'G1 what is left at the end');
  await pool.close();
  pool = await BufferPool.open(directory, poolOptions(workers));
  const again = audit(pool);
  checkEqual(JSON.stringify(again.numbers), JSON.stringify(books.numbers), 'R1 after reopening');
  checkEqual(JSON.stringify([...again.marks]), JSON.stringify([...books.marks]), 'R1 all blobs');
  await pool.close();
  const done = books.numbers.reduce((sum, number) => sum + number, 0);
  checkEqual(done, words[1], 'R1 transactions that the ledgers count');
  check(restarts > 0, 'D1 nobody had to start again: nothing was short');
  for (const number of books.numbers)
    check(number > 0, `a teller has done nothing: ${books.numbers}`);
  console.log(
    `${done} transactions, at most ${most} of ${bound} bytes of log, ${restarts} restarts`,
  );
}

if (isMainThread) {
  const [workers = 3, ms = 3000] = process.argv.slice(2).map(Number);
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-stress-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  await main(workers, ms, directory);
} else {
  run(workerData as Task).catch((error: unknown) => {
    violation(`a teller ended: ${(error as Error).stack ?? String(error)}`);
  });
}
