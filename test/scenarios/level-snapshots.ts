/**
 * Snapshots of a level database while several threads write.
 *
 * Bank: each writer moves amounts between accounts of its own and counts its batches with them; all writers
 * put the same pairs of keys, both of a pair by one batch with one text; beside it each puts, deletes and
 * clears keys of its own, short and long. Readers find in every snapshot, explicit or of an iterator,
 * forwards and backwards, by chunks with pauses in which others write: the total unchanged, both of each
 * pair equal, no count below what was acknowledged before the snapshot, and the same again in each further
 * reading. One reader after the other is terminated with snapshots open, in the middle of taking them or of
 * reading: at the end nothing is kept for anybody, and the history is empty.
 *
 * Arguments: blob bytes, writers, readers, time in ms. The seed comes from the environment.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, workerData } from 'node:worker_threads';
import { historyName } from '../../src/level/database.ts';
import { WeirLevel, type WeirLevelHandle } from '../../src/level/index.ts';
import { waitAsync } from '../../src/memory/wait-async.ts';
import { check, checkEqual, startWorker, violation } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';

const ACCOUNTS = 60;
const PAIRS = 10;
const START = 1000;
/** Both are there, or none. */
const TWINS = ['twin/a', 'twin/b'];
/** Words of shared memory: the end, then a count for each writer, then a state for the victim. */
const STOP = 0;
const COUNTS = 1;
const VICTIM_READS = 1;

type Level = WeirLevel<string, string>;

interface Job {
  readonly handle: WeirLevelHandle;
  readonly role: 'writer' | 'reader' | 'victim';
  readonly index: number;
  readonly writers: number;
  readonly seed: number;
  readonly words: Int32Array;
}

function accountKey(writer: number, n: number): string {
  return `account/${String(n).padStart(3, '0')}/${writer}`;
}

function pairKeys(n: number): [string, string] {
  return [`pair/a/${n}`, `pair/b/${n}`];
}

async function prepare(db: Level, writers: number): Promise<void> {
  const batch = db.batch();
  for (let writer = 0; writer < writers; writer++) {
    for (let n = 0; n < ACCOUNTS; n++) batch.put(accountKey(writer, n), String(START));
    batch.put(`count/${writer}`, '0');
  }
  for (let n = 0; n < PAIRS; n++) for (const key of pairKeys(n)) batch.put(key, 'first');
  await batch.write();
}

function turn(): Promise<void> {
  return new Promise((done) => setImmediate(done));
}

// --- writing -------------------------------------------------------------------------------------------

async function write(db: Level, { index, words, seed }: Job): Promise<void> {
  const random = Random.fork(seed, index);
  const amounts = new Array<number>(ACCOUNTS).fill(START);
  for (let count = 1; Atomics.load(words, STOP) === 0; count++) {
    const [from, to] = [random.int(ACCOUNTS), random.int(ACCOUNTS)];
    const amount = random.int(50);
    amounts[from] = (amounts[from] as number) - amount;
    amounts[to] = (amounts[to] as number) + amount;
    const put = (key: string, value: string) => ({ type: 'put', key, value }) as const;
    const text = `${index} ${count}`;
    await db.batch([
      put(accountKey(index, from), String(amounts[from])),
      put(accountKey(index, to), String(amounts[to])),
      put(`count/${index}`, String(count)),
      ...pairKeys(random.int(PAIRS)).map((key) => put(key, text)),
    ]);
    Atomics.store(words, COUNTS + index, count);
    await makeNoise(db, index, random);
  }
}

async function makeNoise(db: Level, index: number, random: Random): Promise<void> {
  const key = `noise/${index}/${random.int(200)}`;
  if (random.chance(0.5)) await db.put(key, 'n'.repeat(random.int(200)));
  else await db.del(key);
  const type = random.chance(0.5) ? 'put' : 'del';
  await db.batch(TWINS.map((twin) => ({ type, key: twin, value: '' })));
  if (random.chance(0.01)) await db.put(`noise/${index}/\0\0long`, 'long'.repeat(1500));
  if (random.chance(0.01)) {
    await db.clear({ gte: `noise/${index}/`, lt: `noise/${index}0`, limit: random.int(50) - 1 });
  }
}

// --- reading -------------------------------------------------------------------------------------------

type Entries = [string, string][];

interface Moment {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

function committed({ words, writers }: Job): number[] {
  return Array.from({ length: writers }, (_, writer) => Atomics.load(words, COUNTS + writer));
}

function checkBank(entries: Entries, job: Job, { before, after }: Moment): void {
  let total = 0;
  let last = '';
  const values = new Map(entries);
  for (const [key, value] of entries) {
    check(key > last, `${last} came before ${key}`);
    last = key;
    if (key.startsWith('account/')) total += Number(value);
  }
  checkEqual(total, job.writers * ACCOUNTS * START, 'the total of a snapshot');
  for (let n = 0; n < PAIRS; n++) {
    const [a, b] = pairKeys(n);
    checkEqual(values.get(a), values.get(b), `pair ${n}: a batch is there in part`);
  }
  for (const [writer, least] of before.entries()) {
    const count = Number(values.get(`count/${writer}`) ?? violation(`no count of ${writer}`));
    check(count >= least, `writer ${writer}: ${count} in the snapshot, ${least} before the call`);
    const most = (after[writer] as number) + 1;
    check(count <= most, `writer ${writer}: ${count} in the snapshot, ${most} after the call`);
  }
}

/** All entries of an iterator that was made before, a few at a time, while others write. */
async function readSlowly(
  iterator: ReturnType<Level['iterator']>,
  random: Random,
  reverse: boolean,
): Promise<Entries> {
  const entries: Entries = [];
  for (;;) {
    const part = await iterator.nextv(1 + random.int(40));
    if (part.length === 0) break;
    entries.push(...(part as Entries));
    if (random.chance(0.5)) await turn();
  }
  await iterator.close();
  return reverse ? entries.reverse() : entries;
}

/** Keys that are asked for together are of one moment, without a snapshot too. */
async function readPairs(db: Level): Promise<void> {
  for (let n = 0; n < PAIRS; n++) {
    const [a, b] = await db.getMany(pairKeys(n));
    checkEqual(a, b, `pair ${n}: getMany sees a batch in part`);
    const [first, second] = await db.hasMany(TWINS);
    checkEqual(first, second, 'hasMany sees a batch in part');
  }
}

async function readOnce(db: Level, job: Job, random: Random): Promise<void> {
  const before = committed(job);
  const explicit = random.chance(0.5);
  const snapshot = explicit ? db.snapshot() : undefined;
  const reverse = random.chance(0.3);
  const iterator = db.iterator({ snapshot, reverse });
  const moment = { before, after: committed(job) };
  await readPairs(db);
  if (random.chance(0.3)) await turn();
  const entries = await readSlowly(iterator, random, reverse);
  checkBank(entries, job, moment);
  if (snapshot === undefined) return;
  await checkAgain(db, snapshot, entries, random);
  await snapshot.close();
}

/** Whatever is read of a snapshot, and however, is the same. */
async function checkAgain(
  db: Level,
  snapshot: ReturnType<Level['snapshot']>,
  entries: Entries,
  random: Random,
): Promise<void> {
  const values = new Map(entries);
  for (let n = 0; n < 20; n++) {
    const key = random.chance(0.5)
      ? accountKey(0, random.int(ACCOUNTS))
      : `noise/0/${random.int(200)}`;
    checkEqual(db.getSync(key, { snapshot }), values.get(key), `${key} of a snapshot, again`);
    checkEqual(await db.has(key, { snapshot }), values.has(key), `${key} in a snapshot, again`);
  }
  const reverse = random.chance(0.5);
  const again = await readSlowly(db.iterator({ snapshot, reverse }), random, reverse);
  checkEqual(JSON.stringify(again), JSON.stringify(entries), 'a snapshot read a second time');
  const range = { gte: 'noise/', lt: 'noise0', snapshot };
  const keys = await db.keys(range).all();
  const expected = entries.map(([key]) => key).filter((key) => key.startsWith('noise/'));
  checkEqual(JSON.stringify(keys), JSON.stringify(expected), 'keys of a range of a snapshot');
}

async function read(db: Level, job: Job): Promise<void> {
  const random = Random.fork(job.seed, 100 + job.index);
  while (Atomics.load(job.words, STOP) === 0) await readOnce(db, job, random);
}

/** Has snapshots open, takes more and reads, until it is terminated. */
async function linger(db: Level, job: Job): Promise<never> {
  const kept = [];
  for (let n = 0; ; n++) {
    const snapshot = db.snapshot();
    if (n < 40) kept.push(snapshot);
    for (const _ of await db.iterator({ snapshot, limit: 50 }).all());
    if (n >= 40) await snapshot.close();
    Atomics.store(job.words, job.index, VICTIM_READS);
    Atomics.notify(job.words, job.index);
  }
}

// --- the main thread -----------------------------------------------------------------------------------

async function killReader(job: Job): Promise<void> {
  const place = COUNTS + job.writers;
  Atomics.store(job.words, place, 0);
  const { worker, done } = startWorker(import.meta.url, { ...job, role: 'victim', index: place });
  const reading = waitAsync(job.words, place, 0, 20_000);
  if (reading.async) checkEqual(await reading.value, 'ok', 'the victim reads');
  await new Promise((after) => setTimeout(after, 20));
  await worker.terminate();
  await done.catch(() => undefined);
}

/** Nobody has a snapshot any more: the history is empty after the next one. */
async function checkEnd(db: Level): Promise<number> {
  await db.snapshot().close();
  checkEqual(db.store.tree(historyName('level')).count(), 0, 'H3 what is kept for nobody');
  return db.store.tree('level').count();
}

async function main(): Promise<void> {
  const [blobBytes = 4096, writers = 2, readers = 2, ms = 1500] = process.argv.slice(2).map(Number);
  const seed = testSeed();
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-level-'));
  const log = { ringBytes: 262_144 };
  const options = { store: { frames: 1024, blobBytes, log }, durability: 'none' } as const;
  const db: Level = new WeirLevel(join(directory, 'store'), options);
  await db.open();
  await prepare(db, writers);
  const words = new Int32Array(new SharedArrayBuffer(4 * (COUNTS + writers + 1)));
  const job = { handle: db.handle, writers, seed, words, role: 'writer', index: 0 } as const;
  const started = (['writer', 'reader'] as const).flatMap((role) =>
    Array.from({ length: role === 'writer' ? writers : readers }, (_, index) =>
      startWorker(import.meta.url, { ...job, role, index }),
    ),
  );
  const end = performance.now() + ms;
  let kills = 0;
  while (performance.now() < end || kills < 2) {
    kills++;
    await killReader(job);
  }
  Atomics.store(words, STOP, 1);
  for (const { done } of started) checkEqual(await done, 0, 'exit code of a worker');
  const keys = await checkEnd(db);
  await db.close();
  rmSync(directory, { recursive: true });
  console.log(JSON.stringify({ seed, kills, keys, batches: [...words].slice(1, 1 + writers) }));
}

async function work(job: Job): Promise<void> {
  const db: Level = new WeirLevel(job.handle);
  await db.open();
  if (job.role === 'writer') await write(db, job);
  else if (job.role === 'reader') await read(db, job);
  else await linger(db, job);
  await db.close();
}

if (isMainThread) await main();
else await work(workerData as Job);
