/**
 * Snapshots, consistent scans and backups while several threads write.
 *
 * Bank: each writer moves amounts between accounts of its own, in two trees and by one batch, and
 * counts its batches in both trees with it; beside it, it puts and deletes keys of its own, so that
 * nodes split and merge. A reader finds the total unchanged in every snapshot and in every consistent
 * scan, both counts of each writer equal, and no count below what was committed before the call.
 * One reader after the other is terminated in the middle of a scan: what was kept for it is free
 * afterwards. Backups are taken meanwhile, and opened: each is one cut as well.
 *
 * Arguments: blob bytes, writers, readers, frames, time in ms. The seed comes from the environment.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, workerData } from 'node:worker_threads';
import {
  type Snapshot,
  type Tree,
  verify,
  Weirpool,
  type WeirpoolHandle,
} from '../../src/index.ts';
import { waitAsync } from '../../src/memory/wait-async.ts';
import { check, checkEqual, startWorker, violation } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';

/** More than fit the frames that a thread reads snapshots through. */
const ACCOUNTS = 200;
const START = 1000;
const VALUE_BYTES = 100;
const LOG = { ringBytes: 65_536, bytesMax: 524_288 };
/** Words of shared memory: the end, then a count for each writer, then a state for each reader. */
const STOP = 0;
const COUNTS = 1;
const READING = 1;

type Role = 'writer' | 'reader' | 'victim';

interface Job {
  readonly handle: WeirpoolHandle;
  readonly role: Role;
  readonly index: number;
  readonly writers: number;
  readonly seed: number;
  readonly words: Int32Array;
}

interface Bank {
  readonly db: Weirpool;
  readonly left: Tree<string, string>;
  readonly right: Tree<string, string>;
}

function bankOf(db: Weirpool): Bank {
  const codecs = { key: 'utf8', value: 'utf8' } as const;
  return { db, left: db.tree('left', codecs), right: db.tree('right', codecs) };
}

function accountKey(writer: number, n: number): string {
  return `account/${String(n).padStart(3, '0')}/${writer}`;
}

function countKey(writer: number): string {
  return `count/${writer}`;
}

function amountText(amount: number): string {
  return String(amount).padEnd(VALUE_BYTES, '.');
}

/** Runs `step`, again where another thread was in the way for too long. */
function insist<T>(step: () => T): T {
  for (;;) {
    try {
      return step();
    } catch (error) {
      if ((error as { code?: string }).code !== 'OP_RESTART') throw error;
    }
  }
}

function prepare({ left, right }: Bank, writers: number): void {
  for (let writer = 0; writer < writers; writer++) {
    for (let n = 0; n < ACCOUNTS; n++) {
      for (const tree of [left, right]) tree.put(accountKey(writer, n), amountText(START));
    }
    for (const tree of [left, right]) tree.put(countKey(writer), '0');
  }
}

// --- writing -------------------------------------------------------------------------------------

function write(bank: Bank, { index, words, seed }: Job): void {
  const { db, left, right } = bank;
  const random = Random.fork(seed, index);
  const amounts = [left, right].map(() => new Array<number>(ACCOUNTS).fill(START));
  for (let count = 1; Atomics.load(words, STOP) === 0; count++) {
    const [from, to] = [random.int(ACCOUNTS), random.int(ACCOUNTS)];
    const amount = random.int(50);
    (amounts[0] as number[])[from] = (amounts[0]?.[from] as number) - amount;
    (amounts[1] as number[])[to] = (amounts[1]?.[to] as number) + amount;
    const noise = `noise/${index}/${random.int(300)}`;
    const put = (tree: Tree<string, string>, key: string, value: string) =>
      ({ tree, operation: { type: 'put', key, value } }) as const;
    insist(() =>
      db.batch([
        put(left, accountKey(index, from), amountText(amounts[0]?.[from] as number)),
        put(right, accountKey(index, to), amountText(amounts[1]?.[to] as number)),
        put(left, countKey(index), String(count)),
        put(right, countKey(index), String(count)),
      ]),
    );
    Atomics.store(words, COUNTS + index, count);
    if (random.chance(0.5)) insist(() => left.put(noise, 'n'.repeat(random.int(200))));
    else insist(() => left.delete(noise));
    if (random.chance(0.01)) insist(() => right.put(noise, 'long'.repeat(1500)));
    if (random.chance(0.005))
      insist(() => left.clear({ gte: `noise/${index}/`, lt: `noise/${index}0` }));
  }
}

// --- reading -------------------------------------------------------------------------------------

interface Sums {
  total: number;
  readonly counts: Map<string, number>;
}

function sumOf(entries: Iterable<[string, string]>, into: Sums): void {
  let before = '';
  for (const [key, value] of entries) {
    check(key > before, `${before} came before ${key}`);
    before = key;
    if (key.startsWith('account/')) into.total += Number.parseInt(value, 10);
    if (key.startsWith('count/')) {
      const other = into.counts.get(key);
      if (other !== undefined) checkEqual(Number(value), other, `${key}: a batch is there in part`);
      into.counts.set(key, Number(value));
    }
  }
}

/** One cut of both trees: the total and each count. */
function checkBank({ left, right }: Bank, writers: number, snapshot: Snapshot | undefined): Sums {
  const sums = { total: 0, counts: new Map<string, number>() };
  sumOf(left.range({ snapshot }), sums);
  sumOf(right.range({ snapshot }), sums);
  checkEqual(sums.total, 2 * writers * ACCOUNTS * START, 'the total of a snapshot');
  checkEqual(sums.counts.size, writers, 'counts of a snapshot');
  return sums;
}

function committed(words: Int32Array, writers: number): number[] {
  return Array.from({ length: writers }, (_, writer) => Atomics.load(words, COUNTS + writer));
}

/** What was committed before the call is in it; of what came after it at most what was under way. */
function checkMoment({ counts }: Sums, before: readonly number[], after: readonly number[]): void {
  for (const [writer, least] of before.entries()) {
    const count = counts.get(countKey(writer)) ?? violation(`no count of ${writer}`);
    check(count >= least, `writer ${writer}: ${count} in the snapshot, ${least} before the call`);
    const most = (after[writer] as number) + 1;
    check(count <= most, `writer ${writer}: ${count} in the snapshot, ${most} after the call`);
  }
}

function read(bank: Bank, { writers, words }: Job): void {
  while (Atomics.load(words, STOP) === 0) {
    const before = committed(words, writers);
    const snapshot = bank.db.snapshot();
    const after = committed(words, writers);
    checkMoment(checkBank(bank, writers, snapshot), before, after);
    // Two rounds: a slot that the first one gives back is written by the second.
    for (let round = 0; round < 2; round++) bank.db.snapshot().close();
    checkMoment(checkBank(bank, writers, snapshot), before, after);
    snapshot.close();
    checkScan(bank, writers, words);
  }
}

/** Leaves the pool with a snapshot open, and a scan in its middle. */
function readAndLeave(bank: Bank, job: Job): void {
  read(bank, job);
  bank.db.snapshot();
  bank.left.range({ consistent: true })[Symbol.iterator]().next();
}

/** A consistent scan of one tree sees what each writer's last batch before it has left there. */
function checkScan({ left }: Bank, writers: number, words: Int32Array): void {
  const before = committed(words, writers);
  const range = left.range({ consistent: true, gte: 'count/', lt: 'count0' });
  const after = committed(words, writers);
  const sums = { total: 0, counts: new Map<string, number>() };
  sumOf(range, sums);
  checkMoment(sums, before, after);
}

/** Is in the middle of a scan, with a snapshot beside it, until it is terminated. */
function linger({ db, left }: Bank, words: Int32Array, place: number): never {
  db.snapshot();
  const scan = left.range({ consistent: true })[Symbol.iterator]();
  scan.next();
  Atomics.store(words, place, READING);
  Atomics.notify(words, place);
  for (;;) if (scan.next().done === true) Atomics.wait(words, STOP, 0, 100);
}

// --- the main thread -------------------------------------------------------------------------------

async function killReader(db: Weirpool, job: Job, place: number): Promise<void> {
  Atomics.store(job.words, place, 0);
  const { worker, done } = startWorker(import.meta.url, { ...job, role: 'victim', index: place });
  const reading = waitAsync(job.words, place, 0, 20_000);
  if (reading.async) checkEqual(await reading.value, 'ok', 'the victim reads');
  await worker.terminate();
  await done.catch(() => undefined);
  db.pool.core.thread.reaper.reapVanished();
}

async function checkBackup(db: Weirpool, job: Job, directory: string): Promise<number> {
  const before = committed(job.words, job.writers);
  await db.backup(directory);
  const after = committed(job.words, job.writers);
  checkEqual(JSON.stringify((await verify(directory)).findings), '[]', 'findings in the backup');
  const copy = await Weirpool.open(directory, { frames: 96, log: LOG });
  checkMoment(checkBank(bankOf(copy), job.writers, undefined), before, after);
  const { blobs } = copy.stats().store;
  await copy.close();
  rmSync(directory, { recursive: true });
  return blobs;
}

async function main(): Promise<void> {
  const [blobBytes = 4096, writers = 2, readers = 2, frames = 256, ms = 1500] = process.argv
    .slice(2)
    .map(Number);
  const seed = testSeed();
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-snapshots-'));
  const store = join(directory, 'store');
  const checkpoint = { intervalMs: 20 };
  const db = await Weirpool.open(store, { frames, blobBytes, log: LOG, checkpoint });
  const bank = bankOf(db);
  prepare(bank, writers);
  const words = new Int32Array(new SharedArrayBuffer(4 * (COUNTS + writers + 1)));
  const job = { handle: db.handle, writers, seed, words, role: 'writer', index: 0 } as const;
  const started = (['writer', 'reader'] as const).flatMap((role) =>
    Array.from({ length: role === 'writer' ? writers : readers }, (_, index) =>
      startWorker(import.meta.url, { ...job, role, index }),
    ),
  );
  const end = performance.now() + ms;
  let turns = 0;
  let blobs = 0;
  while (performance.now() < end || turns < 2) {
    turns++;
    await killReader(db, job, COUNTS + writers);
    blobs = await checkBackup(db, job, join(directory, 'backup'));
  }
  Atomics.store(words, STOP, 1);
  for (const { done } of started) checkEqual(await done, 0, 'exit code of a worker');
  await checkEnd(bank, writers);
  const { dataBytes, slotsUsed } = db.stats().store;
  const rounds = db.stats().log?.rounds.succeeded;
  await db.close();
  rmSync(directory, { recursive: true });
  console.log(JSON.stringify({ seed, turns, blobs, dataBytes, slotsUsed, rounds }));
}

/** Nothing is kept any more, and the total is there. */
async function checkEnd(bank: Bank, writers: number): Promise<void> {
  const { db, left } = bank;
  checkBank(bank, writers, undefined);
  checkEqual(db.stats().store.snapshots, 0, 'snapshots that are left');
  left.put('last', 'change');
  await db.checkpoint();
  const { blobs, slotsUsed, slotsKept } = db.stats().store;
  checkEqual(slotsKept, 0, 'I6 slots that are kept for nobody');
  checkEqual(slotsUsed, blobs, 'slots that are used');
}

async function work(job: Job): Promise<void> {
  const bank = bankOf(await Weirpool.attach(job.handle));
  if (job.role === 'writer') write(bank, job);
  else if (job.role === 'reader') readAndLeave(bank, job);
  else linger(bank, job.words, job.index);
  await bank.db.close();
}

if (isMainThread) await main();
else await work(workerData as Job);
