/**
 * Question:    how long does opening a store take, after a clean close and with records to replay?
 * Workload:    `reopen-1000`: BufferPool.open of a store with 1,000 blobs that was closed cleanly;
 *              `reopen-1000-synced`: until the first change after it is acknowledged as synced,
 *              which waits for the journal worker to start; `replay`: records of 128 bytes that a
 *              killed process has left, each with a callback that reads a word, and commits.
 * Working set: 1,000 blobs of 512 KiB, 524 MB in the data file, none of which is read; 500,000
 *              records, 84 MB of log, in the cache of the operating system.
 * Warm-up:     one opening of each kind.
 * Baseline:    `reopen-empty`, the same for a store without blobs.
 *
 * A replay's rate counts the whole opening. Each replay gets a copy of the directory, since closing
 * takes the records away.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BufferPool, type Owners, type PoolOptions } from '../src/index.ts';
import { CalmRounds } from './support/calm.ts';
import { NO_ROUNDS, PAYLOAD_BYTES, withDirectory } from './support/logged.ts';
import { assertSum, quantity } from './support/numbers.ts';
import { Report, suiteOptions } from './support/report.ts';

const BLOBS = 1000;
const BLOBS_IN_CHANGE = 64;
const RECORDS = 500_000;
const FILL = 'WEIRPOOL_BENCH_FILL';

const OPTIONS: PoolOptions = { log: { bytesMax: 2 ** 33 }, checkpoint: NO_ROUNDS };

async function makeStore(directory: string, blobs: number): Promise<void> {
  const pool = await BufferPool.open(directory, OPTIONS);
  const record = new Uint8Array(8);
  for (let n = 1; n <= blobs; n++) {
    pool.change((op) => {
      const blob = op.create();
      op.seal(record.length);
      blob.u32[0] = n;
      op.commit(record);
    });
    if (n % BLOBS_IN_CHANGE === 0) await pool.checkpoint();
  }
  await pool.close();
}

/** ms of an opening; and until a change is synced, if that is asked for. */
async function openOnce(directory: string, blobs: number, synced: boolean): Promise<number> {
  const from = performance.now();
  const pool = await BufferPool.open(directory, OPTIONS);
  let ms = performance.now() - from;
  if (synced) {
    pool.change((op) => op.commit(new Uint8Array(PAYLOAD_BYTES)));
    await pool.durable(undefined, 'synced');
    ms = performance.now() - from;
  }
  assertSum('blobs', pool.list().length, blobs);
  await pool.close();
  return ms;
}

/** The process that is killed: leaves records of which no round knows. */
async function fillAndDie(directory: string): Promise<void> {
  const pool = await BufferPool.open(directory, { ...OPTIONS, frames: 16, blobBytes: 4096 });
  const record = new Uint8Array(PAYLOAD_BYTES);
  const numbers = new Float64Array(record.buffer);
  for (let n = 1; n <= RECORDS; n++) {
    numbers[0] = n;
    pool.change((op) => {
      op.seal(PAYLOAD_BYTES);
      op.commit(record);
    });
  }
  await pool.durable(undefined, 'synced');
  process.kill(process.pid, 'SIGKILL');
}

/** Records a second of an opening that replays all of them. */
async function replayOnce(left: string, copy: string): Promise<number> {
  cpSync(left, copy, { recursive: true });
  let sum = 0;
  let count = 0;
  const owners: Owners = {
    0: {
      replay: ({ payload }, op) => {
        sum += new DataView(payload.buffer, payload.byteOffset).getFloat64(0, true);
        count++;
        op.commit();
      },
    },
  };
  const from = performance.now();
  const pool = await BufferPool.open(copy, { ...OPTIONS, frames: 16, owners });
  const ms = performance.now() - from;
  assertSum('records', count, RECORDS);
  assertSum('their numbers', sum, (RECORDS * (RECORDS + 1)) / 2);
  await pool.close();
  rmSync(copy, { recursive: true });
  return (count * 1000) / ms;
}

async function main(): Promise<void> {
  const options = suiteOptions();
  const report = new Report('reopen', options);
  await withDirectory('reopen', async (directory) => {
    const path = (name: string): string => join(directory, name);
    await makeStore(path('empty'), 0);
    await makeStore(path('full'), BLOBS);
    const { signal } = spawnSync(process.execPath, [fileURLToPath(import.meta.url)], {
      env: { ...process.env, [FILL]: path('left') },
      stdio: 'inherit',
    });
    if (signal !== 'SIGKILL') throw new Error('the process that leaves records has failed');
    await openOnce(path('full'), BLOBS, true);
    await replayOnce(path('left'), path('copy'));
    const rounds = new CalmRounds();
    await rounds.run(async () => {
      await rounds.take('reopen-empty', () => openOnce(path('empty'), 0, false));
      await rounds.take('reopen-1000', () => openOnce(path('full'), BLOBS, false));
      await rounds.take('reopen-1000-synced', () => openOnce(path('full'), BLOBS, true));
      await rounds.take('replay', () => replayOnce(path('left'), path('copy')));
    });
    report.value('reopen-empty', 'ms', rounds.of('reopen-empty'));
    for (const name of ['reopen-1000', 'reopen-1000-synced']) {
      report.value(name, 'ms', rounds.of(name));
    }
    report.rate('replay', 1, quantity(rounds.of('replay')));
    report.value('calm-rounds', '%', [rounds.calmPercent]);
  });
  report.finish();
}

const fill = process.env[FILL];
await (fill === undefined ? main() : fillAndDie(fill));
