/**
 * Trees under several threads at once: nothing is lost, skipped, given twice or out of order.
 *
 * Counters: keys that all threads count up by compare-and-swap; each thread notes its successes, and
 * the sum must come out. Own keys: each thread puts and deletes keys of its own, all over the tree,
 * and knows what is there. Steady keys: they are never changed, and every scan must give all of
 * them, in order, once. Sums: a batch moves an amount between two keys; a look at the end finds the
 * total unchanged.
 *
 * Arguments: blob bytes, workers, frames, time in ms. The seed comes from the environment.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, workerData } from 'node:worker_threads';
import { type Tree, Weirpool, type WeirpoolHandle } from '../../src/index.ts';
import { Barrier, check, checkEqual, runWorkers, violation } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';

const COUNTERS = 12;
const ACCOUNTS = 16;
const ACCOUNT_START = 1000;
const STEADY = 400;

interface Job {
  readonly handle: WeirpoolHandle;
  readonly worker: number;
  readonly workers: number;
  readonly seed: number;
  readonly ms: number;
  readonly barrier: SharedArrayBuffer;
  /** Successes of each counter. */
  readonly counts: SharedArrayBuffer;
  readonly directory: string;
}

type Texts = Tree<string, string>;

function treeOf(db: Weirpool): Texts {
  return db.tree('hammered', { key: 'utf8', value: 'utf8' });
}

function counterKey(n: number): string {
  return `${'c'.repeat(n)}ounter-${n}`;
}

function accountKey(n: number): string {
  return `account/${n}`;
}

function steadyKey(n: number): string {
  return `steady/${String(n * 7919).padStart(9, '0')}/${'x'.repeat(n % 60)}`;
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

class Hammer {
  readonly #tree: Texts;
  readonly #job: Job;
  readonly #random: Random;
  readonly #counts: Int32Array;
  readonly own = new Map<string, string>();

  constructor(db: Weirpool, job: Job) {
    this.#tree = treeOf(db);
    this.#job = job;
    this.#random = Random.fork(job.seed, job.worker);
    this.#counts = new Int32Array(job.counts);
  }

  run(): void {
    const end = performance.now() + this.#job.ms;
    for (let step = 0; performance.now() < end; step++) {
      const chance = this.#random.float();
      if (chance < 0.45) this.#putOwn(step);
      else if (chance < 0.65) this.#deleteOwn();
      else if (chance < 0.8) this.#getOwn();
      else if (chance < 0.9) this.#count();
      else if (chance < 0.96) this.#move();
      else if (chance < 0.99) this.#scan();
      else this.#clearOwn();
    }
    for (const [key, value] of this.own) checkEqual(this.#tree.get(key), value, `own key ${key}`);
  }

  #ownKey(): string {
    const place = this.#random.int(400);
    return `${'abcdefghij'[place % 10]}/${this.#job.worker}/${'k'.repeat(place % 90)}${place}`;
  }

  #putOwn(step: number): void {
    const key = this.#ownKey();
    const long = this.#random.chance(0.03);
    const value = `${step}:${'v'.repeat(this.#random.int(long ? 9000 : 60))}`;
    insist(() => this.#tree.put(key, value));
    this.own.set(key, value);
  }

  #deleteOwn(): void {
    const key = this.#ownKey();
    const { existed } = insist(() => this.#tree.delete(key));
    checkEqual(existed, this.own.delete(key), `whether ${key} was there`);
  }

  #getOwn(): void {
    const key = this.#ownKey();
    checkEqual(this.#tree.get(key), this.own.get(key), `own key ${key}`);
    checkEqual(this.#tree.has(key), this.own.has(key), `own key ${key}`);
  }

  /** Clears a range of own keys. */
  #clearOwn(): void {
    const prefix = `${'abcdefghij'[this.#random.int(10)]}/${this.#job.worker}/`;
    const mine = [...this.own.keys()].filter((key) => key.startsWith(prefix));
    const cleared = insist(() => this.#tree.clear({ gte: prefix, lt: `${prefix.slice(0, -1)}0` }));
    // A step that was done before a restart has cleared its part.
    check(cleared <= mine.length, `${cleared} keys of ${mine.length} were cleared`);
    for (const key of mine) this.own.delete(key);
  }

  #count(): void {
    const n = this.#random.int(COUNTERS);
    const key = counterKey(n);
    const there = this.#tree.get(key) ?? violation(`${key} is gone`);
    const done = insist(() => this.#tree.compareAndSwap(key, there, String(Number(there) + 1)));
    if (done !== undefined) Atomics.add(this.#counts, n, 1);
  }

  /** Moves an amount between two accounts; nobody else does, by a lock of the test's own. */
  #move(): void {
    if (Atomics.compareExchange(this.#counts, COUNTERS, 0, 1) !== 0) return;
    const [from, to] = this.#random.shuffled([...Array(ACCOUNTS).keys()]) as [number, number];
    const amount = this.#random.int(50);
    const read = (n: number): number => Number(this.#tree.get(accountKey(n)));

    insist(() =>
      this.#tree.batch([
        { type: 'put', key: accountKey(from), value: `${read(from) - amount}` },
        { type: 'put', key: accountKey(to), value: `${read(to) + amount}` },
      ]),
    );
    Atomics.store(this.#counts, COUNTERS, 0);
  }

  /** Every steady key, in order, once; own keys as they are, for this thread changes none. */
  #scan(): void {
    const reverse = this.#random.chance(0.5);
    let before: string | undefined;
    let steady = 0;
    let own = 0;
    for (const key of this.#tree.keys({ reverse })) {
      if (before !== undefined) {
        const order = Buffer.compare(Buffer.from(before), Buffer.from(key));
        check(reverse ? order > 0 : order < 0, `${before} was given before ${key}`);
      }
      before = key;
      if (key.startsWith('steady/')) steady++;
      if (this.own.has(key)) own++;
    }
    checkEqual(steady, STEADY, 'steady keys of a scan');
    if (own !== this.own.size) {
      const seen = new Set(this.#tree.keys({ reverse }));
      const missing = [...this.own.keys()].filter((key) => !seen.has(key));
      const lost = missing.filter((key) => this.#tree.get(key) === undefined);
      violation(
        `${own} own keys of ${this.own.size} in a scan (reverse ${reverse}); missing again ` +
          `${missing.slice(0, 20)}; lost ${lost.slice(0, 20)}`,
      );
    }
  }
}

function prepare(tree: Texts): void {
  for (let n = 0; n < COUNTERS; n++) tree.put(counterKey(n), '0');
  for (let n = 0; n < ACCOUNTS; n++) tree.put(accountKey(n), String(ACCOUNT_START));
  for (let n = 0; n < STEADY; n++) tree.put(steadyKey(n), 's'.repeat(n % 50));
}

function settle(tree: Texts, counts: Int32Array): void {
  for (let n = 0; n < COUNTERS; n++) {
    checkEqual(Number(tree.get(counterKey(n))), Atomics.load(counts, n), `counter ${n}`);
  }
  let total = 0;
  for (let n = 0; n < ACCOUNTS; n++) total += Number(tree.get(accountKey(n)));
  checkEqual(total, ACCOUNTS * ACCOUNT_START, 'sum of the accounts');
  for (let n = 0; n < STEADY; n++) checkEqual(tree.get(steadyKey(n)), 's'.repeat(n % 50), 'steady');
}

async function main(): Promise<void> {
  const [blobBytes = 4096, workers = 3, frames = 64, ms = 1000] = process.argv.slice(2).map(Number);
  const seed = testSeed();
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-tree-'));
  const log = { ringBytes: 65_536, bytesMax: 262_144 };
  const options = { frames, blobBytes, log, checkpoint: { intervalMs: 30 } };
  const db = await Weirpool.open(directory, options);
  prepare(treeOf(db));
  const counts = new SharedArrayBuffer((COUNTERS + 1) * 4);
  const barrier = Barrier.shared();
  const job = { handle: db.handle, workers, seed, ms, barrier, counts, directory };
  await runWorkers(
    import.meta.url,
    Array.from({ length: workers }, (_, worker): Job => ({ ...job, worker })),
  );
  settle(treeOf(db), new Int32Array(counts));
  const { log: figures, restarts, evictions, latched, pinned } = db.stats();
  checkEqual(latched + pinned, 0, 'G1 latches and pins that are left');
  const before = treeOf(db).range().toArray();
  await db.close();
  const again = await Weirpool.open(directory, options);
  const after = treeOf(again).range().toArray();
  checkEqual(JSON.stringify(after), JSON.stringify(before), 'the tree after reopening');
  await again.close();
  rmSync(directory, { recursive: true });
  const { commits, opRestarts, rounds } = figures ?? violation('no log');
  console.log(
    JSON.stringify({ seed, commits, opRestarts, rounds: rounds.succeeded, restarts, evictions }),
  );
}

async function work(job: Job): Promise<void> {
  const db = await Weirpool.attach(job.handle);
  const hammer = new Hammer(db, job);
  new Barrier(job.barrier, job.workers).meet();
  hammer.run();
  await db.close();
}

if (isMainThread) await main();
else await work(workerData as Job);
