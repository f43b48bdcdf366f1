/**
 * The real thing: a process with three threads that put, flush and evict is killed (SIGKILL) at any
 * moment; the cache is opened again over the same files. The store is a file for each key.
 *
 * Without arguments it is the judge, which starts itself as the victim: `victim <directory>`.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Weirpool } from '../../src/index.ts';
import { type BackingStore, type CacheHandle, WriteBehind } from '../../src/write-behind/index.ts';
import { check, checkEqual } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';

const ROUNDS = 4;
const THREADS = 3;
const KEYS = 30;
const CAPACITY = 12;
/** Acknowledgements before a kill, at most. */
const ACKS_MAX = 200;
const OPTIONS = { capacity: CAPACITY } as const;

/** Complete files only: a write is there or not. */
class FileStore implements BackingStore<string, number> {
  readonly #directory: string;
  readonly #mine: string;

  constructor(directory: string, thread: number) {
    this.#directory = join(directory, 'store');
    this.#mine = `.new-${thread}`;
    mkdirSync(this.#directory, { recursive: true });
  }

  read(key: string): number | undefined {
    try {
      return Number(readFileSync(join(this.#directory, key), 'utf8'));
    } catch {
      return undefined;
    }
  }

  write(key: string, value: number): void {
    const path = join(this.#directory, key + this.#mine);
    writeFileSync(path, String(value));
    renameSync(path, join(this.#directory, key));
  }

  delete(key: string): void {
    rmSync(join(this.#directory, key), { force: true });
  }
}

interface Task {
  readonly directory: string;
  readonly handle: CacheHandle;
  readonly thread: number;
  readonly seed: number;
  readonly from: number;
}

// --- the victim ------------------------------------------------------------------------------------

/** Each thread puts keys of its own, with values that only grow, and tells what is safe. */
async function load(cache: WriteBehind<string, number>, { thread, seed, from }: Task) {
  const random = new Random(seed);
  for (let value = from; ; value++) {
    const key = `k${random.int(KEYS / THREADS) * THREADS + thread}`;
    await cache.put(key, value);
    const kind = random.int(10);
    if (kind === 0) await cache.flush();
    if (kind < 4) {
      await cache.durable();
      parentPort?.postMessage(`${key} ${value}`);
    }
    if (kind > 7) await cache.get(`k${random.int(KEYS)}`);
    await new Promise((done) => setImmediate(done));
  }
}

async function victim(directory: string, from: number): Promise<void> {
  const db = await Weirpool.open(join(directory, 'db'), { frames: 64 });
  const store = new FileStore(directory, THREADS);
  const cache = await WriteBehind.open<string, number>(db, store, OPTIONS);
  for (let thread = 0; thread < THREADS; thread++) {
    const task: Task = { directory, handle: cache.handle, thread, seed: from + thread, from };
    new Worker(new URL(import.meta.url), { workerData: task }).on('message', (text: string) => {
      process.stdout.write(`${text}\n`);
    });
  }
}

async function joinIn(task: Task): Promise<void> {
  const db = await Weirpool.attach(task.handle.db);
  const store = new FileStore(task.directory, task.thread);
  await load(WriteBehind.attach<string, number>(db, task.handle, store), task);
}

// --- the judge -------------------------------------------------------------------------------------

/** Runs the victim until it has acknowledged so much, and kills it. */
async function runAndKill(directory: string, from: number, acks: number) {
  const args = [fileURLToPath(import.meta.url), 'victim', directory, String(from)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const acked = new Map<string, number>();
  let count = 0;
  for await (const line of createInterface(child.stdout)) {
    const [key = '', value = ''] = line.split(' ');
    // The last line may have been cut.
    if (!/^k\d+ \d{7}$/.test(line)) continue;
    acked.set(key, Math.max(acked.get(key) ?? 0, Number(value)));
    if (++count === acks) child.kill('SIGKILL');
  }
  check(count >= acks, `the victim has ended by itself after ${count} acknowledgements`);
  return acked;
}

async function judge(directory: string): Promise<void> {
  const random = new Random(testSeed());
  const least = new Map<string, number>();
  let survived = 0;
  for (let round = 1; round <= ROUNDS; round++) {
    const acked = await runAndKill(directory, round * 1_000_000, 1 + random.int(ACKS_MAX));
    for (const [key, value] of acked) least.set(key, value);
    const store = new FileStore(directory, THREADS);
    const before = new Map(Array.from({ length: KEYS }, (_, n) => [`k${n}`, store.read(`k${n}`)]));
    const db = await Weirpool.open(join(directory, 'db'), { frames: 64 });
    const cache = await WriteBehind.open<string, number>(db, store, OPTIONS);
    survived += cache.dirtyCount;
    for (const [key, stored] of before) {
      const there = cache.peek(key);
      if (there !== undefined && !cache.isDirty(key)) checkEqual(there, stored, `clean ${key}`);
      const value = there ?? stored ?? 0;
      const safe = least.get(key) ?? 0;
      check(value >= safe, `round ${round}: ${key} is ${value}, acknowledged was ${safe}`);
      check(value >= (stored ?? 0), `round ${round}: ${key} is ${value}, behind its store`);
      least.set(key, value);
    }
    const dirty = cache.dirtyKeys();
    checkEqual(dirty.length, cache.dirtyCount, `round ${round}: dirty entries`);
    // Every second time they are left to the next life.
    if (round % 2 === 0) checkEqual(await cache.flush(), dirty.length, `round ${round}: flushed`);
    if (round % 2 === 0) {
      for (const [key, value] of least) checkEqual(store.read(key) ?? 0, value, `${key} at last`);
    }
    await cache.close({ flush: false });
    await db.close();
  }
  check(survived > 0, 'no dirty entry has survived a kill');
  console.log(`${survived} dirty entries have survived ${ROUNDS} kills`);
}

const [role, given = '', from = ''] = process.argv.slice(2);
if (!isMainThread) {
  if (workerData?.handle !== undefined) await joinIn(workerData as Task);
} else if (role === 'victim') await victim(given, Number(from));
else {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-behind-'));
  try {
    await judge(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
