/**
 * A process that runs a bank (test/support/bank.ts) until it ends without a close: a pool with all its workers,
 * tellers on three workers and on the main thread, rounds all the time. What happens is said on
 * file descriptor 3, one line each:
 *
 *   opening <pid>     open {books}     threads {ids}        replayed <records>
 *   running           round            done {transaction}   safe <seq>
 *   closing           closed           leaving
 *
 * Arguments: directory, seed, ms until it ends (0: never), how it ends: `close`, or without a close
 * by `exit`, `throw` (both on the main thread), `exit-sealed` (in the middle of a change), `worker`
 * (a teller throws, and nobody catches it).
 */
import { writeSync } from 'node:fs';
import { isMainThread, threadId, type Worker, workerData } from 'node:worker_threads';
import {
  H_CHECKPOINTER,
  H_JOURNAL,
  S_NODE_THREAD,
  S_TID,
  SLOT_BYTES,
  SLOTS,
} from '../../src/generated/layout.ts';
import { BufferPool, type PoolHandle } from '../../src/index.ts';
import { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { audit, bankOwners, Teller } from '../support/bank.ts';
import { plain } from '../support/bank-oracle.ts';
import { BANK_POOL, MAX, TELLERS } from '../support/bank-pool.ts';
import { check, checkEqual, startWorker, violation } from '../support/checks.ts';
import { Random } from '../support/seed.ts';
import { slotOf } from '../support/stage.ts';

const REPORTS = 3;
const ROUND_EVERY_MS = 12;
const EXIT_CODE = 3;
/** Longer than anybody waits for. */
const SILENCE_MS = 60_000;

/** The whole line, whatever room the pipe has. */
function say(what: string, value?: unknown): void {
  const text = value === undefined ? what : `${what} ${JSON.stringify(value)}`;
  const bytes = new TextEncoder().encode(`${text}\n`);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(REPORTS, bytes, at);
    } catch (error) {
      if ((error as { code?: string }).code !== 'EAGAIN') throw error;
    }
  }
}

interface Task {
  readonly handle: PoolHandle;
  readonly teller: number;
  readonly seed: number;
  /** 1 while the tellers work; tellers that have begun; teller that is to throw. */
  readonly running: Int32Array;
}

const RUNNING = 0;
const BEGUN = 1;
const THROWS = 2;

/** Some commits are left alone, some are waited for, some of them by `change` itself. */
function workOnce(pool: BufferPool, teller: Teller, random: Random): void {
  const level = random.pick(['none', 'none', 'written', 'synced'] as const);
  const atOnce = random.chance(0.5);
  const done = teller.work(atOnce ? level : 'none');
  say('done', done);
  if (level === 'none') return;
  if (!atOnce) pool.durableSync(done.seq, level);
  say('safe', done.seq);
}

async function runTeller({ handle, teller, seed, running }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  const random = new Random(seed);
  const worker = new Teller(pool, teller, random, MAX);
  Atomics.add(running, BEGUN, 1);
  while (Atomics.load(running, RUNNING) === 1) {
    if (Atomics.load(running, THROWS) === teller) throw new Planned('a teller ends as planned');
    if (random.chance(0.3)) worker.look();
    else workOnce(pool, worker, random);
  }
  await pool.close();
}

class Planned extends Error {}

// --- the main thread -----------------------------------------------------------------------------

const named = new Map<string, number>();
process.on('worker', (worker: Worker) => {
  // The name is not told before Node 24; the order of starting is the product's.
  named.set(`worker ${named.size}`, worker.threadId);
});

/** Journal, checkpointer and users are threads of their own: the operating system says so. */
function checkThreads(pool: BufferPool): void {
  const memory = new ThreadMemory(pool.handle.memory);
  const field = (slot: number, at: number): number => memory.load(SLOTS + slot * SLOT_BYTES + at);
  const slots = [memory.load(H_JOURNAL) - 1, memory.load(H_CHECKPOINTER) - 1, slotOf(memory)];
  const threads = slots.map((slot) => field(slot, S_NODE_THREAD));
  checkEqual(threads[2], threadId, 'the opener');
  const started = [...named.values()];
  for (const thread of threads.slice(0, 2)) {
    check(started.includes(thread), `thread ${thread} of a service is none of ${started}`);
  }
  checkEqual(new Set(threads).size, 3, 'journal, checkpointer and opener are different threads');
  const tasks = slots.map((slot) => field(slot, S_TID));
  if (process.platform === 'linux') {
    checkEqual(new Set(tasks).size, 3, 'journal, checkpointer and opener are different tasks');
  }
  say('threads', { threads, tasks });
}

async function untilIn(pool: BufferPool): Promise<void> {
  const memory = new ThreadMemory(pool.handle.memory);
  // Once in any case: `worker` events come with the next turn of the event loop.
  await nap(1);
  while (memory.load(H_JOURNAL) === 0 || memory.load(H_CHECKPOINTER) === 0) await nap(1);
}

function nap(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** Commits, waits by promises, runs rounds. */
async function runMain(pool: BufferPool, random: Random, until: number): Promise<void> {
  const teller = new Teller(pool, 0, random, MAX);
  let roundAt = 0;
  let round: Promise<unknown> = Promise.resolve();
  const waits: Promise<void>[] = [];
  while (performance.now() < until) {
    const now = performance.now();
    if (now > roundAt) {
      roundAt = now + random.int(2 * ROUND_EVERY_MS);
      await round;
      say('round');
      round = pool.checkpoint();
    }
    const done = teller.work();
    say('done', done);
    const level = random.pick(['none', 'written', 'synced'] as const);
    const safe = pool.durable(done.seq, level).then(() => {
      if (level !== 'none') say('safe', done.seq);
    });
    waits.push(safe);
    if (random.chance(0.3)) await waits.pop();
    else await nap(0);
  }
  await round;
  await Promise.all(waits);
}

/** Leaves the process without a close. */
async function leave(how: string, pool: BufferPool, random: Random, running: Int32Array) {
  say('leaving');
  if (how === 'exit') process.exit(EXIT_CODE);
  if (how === 'throw') throw new Planned('the main thread ends as planned');
  if (how === 'exit-sealed') exitSealed(pool, random);
  Atomics.store(running, THROWS, 1 + random.int(TELLERS - 1));
  await nap(SILENCE_MS);
}

/** Half of a change is made, and its record is not. */
function exitSealed(pool: BufferPool, random: Random): never {
  const { accounts } = new Teller(pool, 0, random, MAX);
  const [a, b] = random.shuffled(accounts) as [number, number];
  pool.change((op) => {
    const from = op.write(a);
    op.write(b);
    op.seal(0);
    from.u32.fill(0xdead);
    process.exit(EXIT_CODE);
  });
  violation('the process goes on');
}

async function open(directory: string): Promise<BufferPool> {
  let replayed = 0;
  say('opening', process.pid);
  const owners = bankOwners(() => replayed++);
  const pool = await BufferPool.open(directory, { ...BANK_POOL, owners });
  say('open', plain(audit(pool)));
  await untilIn(pool);
  checkThreads(pool);
  say('replayed', replayed);
  return pool;
}

async function main(): Promise<void> {
  const [directory = '', seed = '', endAfter = '', how = 'close'] = process.argv.slice(2);
  const random = new Random(Number(seed));
  const pool = await open(directory);
  const running = new Int32Array(new SharedArrayBuffer(12));
  running[RUNNING] = 1;
  const workers = Array.from({ length: TELLERS - 1 }, (_, n) => {
    const task: Task = { handle: pool.handle, teller: n + 1, seed: random.uint32(), running };
    return startWorker(import.meta.url, task).done;
  });
  while (Atomics.load(running, BEGUN) < TELLERS - 1) await nap(1);
  say('running');
  const ms = Number(endAfter);
  await runMain(pool, random, ms === 0 ? Number.POSITIVE_INFINITY : performance.now() + ms);
  if (how !== 'close') await leave(how, pool, random, running);
  Atomics.store(running, RUNNING, 0);
  const codes = await Promise.all(workers);
  check(
    codes.every((code) => code === 0),
    `exit codes of the tellers: ${codes}`,
  );
  say('closing');
  await pool.close();
  say('closed');
}

if (isMainThread) await main();
else {
  runTeller(workerData as Task).catch((error: unknown) => {
    if (error instanceof Planned) throw error;
    violation(String(error));
  });
}
