/**
 * Threads of a pool with a log die while others commit: by the first argument a `user` that
 * commits, the `journal` worker or the `checkpointer` worker, at random moments, many times.
 *
 * A user's death outside of a change leaves the pool running; any other death poisons it, with its
 * cause, for everybody. Then `close` settles, and reopening in the same process has everything that
 * was acknowledged as written, and of the rest a prefix.
 *
 * Arguments: whom, how often.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, type Worker, workerData } from 'node:worker_threads';
import {
  H_CHECKPOINTER,
  H_JOURNAL,
  S_NODE_THREAD,
  SLOT_BYTES,
  SLOTS,
} from '../../src/generated/layout.ts';
import { BufferPool, type PoolHandle, type WeirpoolError } from '../../src/index.ts';
import { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { audit, bankOwners, type Done, found, Teller } from '../support/bank.ts';
import { BankOracle, plain } from '../support/bank-oracle.ts';
import { ACCOUNTS, BALANCE, BANK_POOL, MAX } from '../support/bank-pool.ts';
import { check, checkEqual, violation } from '../support/checks.ts';
import { Reports } from '../support/reports.ts';
import { Random, testSeed } from '../support/seed.ts';
import { type Ending, pause, startMortal } from './death-support.ts';

const TELLERS = 3;
const REPORT_BYTES = 4 * 1024 * 1024;
const PATIENCE_MS = 10_000;

interface Task {
  readonly handle: PoolHandle;
  readonly teller: number;
  readonly seed: number;
  readonly reports: SharedArrayBuffer;
  readonly stop: Int32Array;
}

// --- a teller ------------------------------------------------------------------------------------

function isPoisoned(error: unknown): boolean {
  return (error as { code?: string }).code === 'POISONED';
}

function checkCause(error: unknown): void {
  const { cause } = error as { cause?: { code?: string } };
  checkEqual(cause?.code, 'WORKER_DIED', 'the cause of the poison');
}

async function runTeller({ handle, teller, seed, reports, stop }: Task): Promise<void> {
  const said = new Reports(reports);
  try {
    const pool = await BufferPool.attach(handle);
    const random = new Random(seed);
    const worker = new Teller(pool, teller, random, MAX);
    while (Atomics.load(stop, 0) === 0) {
      if (random.chance(0.2)) worker.look();
      const done = worker.work();
      said.say('done', done);
      if (random.chance(0.5)) continue;
      pool.durableSync(done.seq, random.chance(0.7) ? 'written' : 'synced');
      said.say('safe', done.seq);
    }
    await pool.close();
  } catch (error) {
    if (!isPoisoned(error)) violation(`a teller: ${(error as Error).stack ?? String(error)}`);
    checkCause(error);
  }
}

// --- the opener ----------------------------------------------------------------------------------

/** Workers that this process has started, the pool's own among them. */
const started: Worker[] = [];

/** The worker that has the slot which a word of the header names. */
async function workerOf(pool: BufferPool, word: number): Promise<Worker> {
  const memory = new ThreadMemory(pool.handle.memory);
  while (memory.load(word) === 0) await pause(1);
  const slot = memory.load(word) - 1;
  const thread = memory.load(SLOTS + slot * SLOT_BYTES + S_NODE_THREAD);
  const worker = started.find(({ threadId }) => threadId === thread);
  check(worker !== undefined, `no worker of this process is thread ${thread}`);
  return worker;
}

class Bank {
  readonly #directory: string;
  readonly #oracle = new BankOracle(TELLERS);
  readonly #random: Random;
  #pool: BufferPool | undefined;
  #tellers: Ending[] = [];
  #reports: Reports[] = [];
  #stop = new Int32Array(new SharedArrayBuffer(4));
  readonly outcomes = { poisoned: 0, went: 0 };

  constructor(directory: string, random: Random) {
    this.#directory = directory;
    this.#random = random;
  }

  get pool(): BufferPool {
    check(this.#pool !== undefined, 'the bank is open');
    return this.#pool;
  }

  get counts(): BankOracle['counts'] {
    return this.#oracle.counts;
  }

  async found(): Promise<void> {
    const pool = await BufferPool.open(this.#directory, BANK_POOL);
    found(pool, TELLERS, ACCOUNTS, BALANCE);
    await pool.close();
  }

  /** Opens and looks; tellers begin. */
  async open(): Promise<void> {
    this.#pool = await BufferPool.open(this.#directory, { ...BANK_POOL, owners: bankOwners() });
    const wrong = this.#oracle.check(plain(audit(this.pool)));
    check(wrong === undefined, `R1 after reopening: ${wrong}`);
    this.#stop = new Int32Array(new SharedArrayBuffer(4));
    this.#tellers = [];
    for (let teller = 0; teller < TELLERS; teller++) this.#start(teller);
  }

  #start(teller: number): void {
    const reports = Reports.ofBytes(REPORT_BYTES);
    const seed = this.#random.uint32();
    const task: Task = {
      handle: this.pool.handle,
      teller,
      seed,
      reports: reports.shared,
      stop: this.#stop,
    };
    this.#reports.push(reports);
    this.#tellers[teller] = startMortal(import.meta.url, task);
  }

  /** Waits until every teller has said more than now, or the pool is poisoned. */
  async progress(): Promise<void> {
    const before = this.#reports.slice(-TELLERS).map(({ said }) => said);
    const end = performance.now() + PATIENCE_MS;
    const others = this.#reports.slice(-TELLERS);
    while (!this.isPoisoned && others.some(({ said }, n) => said === before[n])) {
      check(performance.now() < end, 'D1 the tellers go on, or are told of a poison');
      await pause(1);
    }
  }

  get isPoisoned(): boolean {
    try {
      this.pool.has(1);
      return false;
    } catch (error) {
      check(isPoisoned(error), `what the opener is told: ${String(error)}`);
      checkCause(error);
      return true;
    }
  }

  /** Hears what was said since the opening. */
  #hear(): void {
    for (const reports of this.#reports) {
      for (const [what, value] of reports.lines()) {
        if (what === 'done') this.#oracle.done(value as Done);
        else this.#oracle.safe(value as number);
      }
    }
    this.#reports = [];
  }

  async killTeller(): Promise<void> {
    const teller = this.#random.int(TELLERS);
    const { worker, gone } = this.#tellers[teller] as Ending;
    await worker.terminate();
    await gone;
    if (this.isPoisoned) return;
    // Others go on, rounds too, and a new teller takes the place of the dead one.
    this.outcomes.went++;
    try {
      await this.pool.checkpoint();
    } catch (error) {
      violation(`G1 a round after a death outside of a change: ${String(error)}`);
    }
    await this.restart(teller);
  }

  /** A teller may have been killed between a commit and its saying so: the books are settled. */
  async restart(teller: number): Promise<void> {
    Atomics.store(this.#stop, 0, 1);
    await Promise.all(this.#tellers.map(({ gone }) => gone));
    check(!this.isPoisoned, `G1 teller ${teller} died outside of a change, and the pool stopped`);
    await this.pool.close();
    this.#hear();
    this.#oracle.closed();
    await this.open();
  }

  async killService(word: number, name: RegExp): Promise<void> {
    const worker = await workerOf(this.pool, word);
    await worker.terminate();
    const end = performance.now() + PATIENCE_MS;
    while (!this.isPoisoned) {
      check(performance.now() < end, 'the death of a service poisons');
      await pause(1);
    }
    try {
      this.pool.change(() => undefined);
      violation('a poisoned pool takes a change');
    } catch (error) {
      const cause = (error as Error).cause as Error;
      check(name.test(cause.message), `the cause names who died: ${cause.message}`);
    }
  }

  /** After a poison: everybody has heard of it, and the pool opens again in this process. */
  async reopen(): Promise<void> {
    this.outcomes.poisoned++;
    await Promise.all(this.#tellers.map(({ gone }) => gone));
    try {
      await this.pool.close();
    } catch (error) {
      // What was committed and not acknowledged may be lost, and the close says so.
      const { code, details } = error as WeirpoolError;
      const told =
        code === 'POISONED' && Number(details['durableSeq']) < Number(details['lastSeq']);
      check(told, `close after a poison: ${String(error)}`);
    }
    this.#hear();
    await this.open();
  }

  async end(): Promise<void> {
    Atomics.store(this.#stop, 0, 1);
    await Promise.all(this.#tellers.map(({ gone }) => gone));
    await this.pool.close();
  }
}

async function main(whom: string, times: number, directory: string): Promise<void> {
  process.on('worker', (worker: Worker) => started.push(worker));
  const random = new Random(testSeed());
  const bank = new Bank(directory, random);
  await bank.found();
  await bank.open();
  for (let n = 0; n < times; n++) {
    if (random.chance(0.7)) await bank.progress();
    await pause(random.int(30));
    if (whom === 'user') await bank.killTeller();
    else if (whom === 'journal') await bank.killService(H_JOURNAL, /journal/);
    else await bank.killService(H_CHECKPOINTER, /checkpointer/);
    if (bank.isPoisoned) await bank.reopen();
  }
  await bank.end();
  const { poisoned, went } = bank.outcomes;
  const { safe, kept, lost } = bank.counts;
  console.log(
    `${times} died (${whom}): ${poisoned} times poisoned, ${went} times it went on; ` +
      `${safe} acknowledged, ${kept} kept, ${lost} lost`,
  );
}

if (isMainThread) {
  const [whom = 'user', times = '10'] = process.argv.slice(2);
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-death-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  await main(whom, Number(times), directory);
} else {
  await runTeller(workerData as Task);
}
