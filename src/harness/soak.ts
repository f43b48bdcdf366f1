/**
 * The mode `soak`: a mixed load for as long as it may take, and nothing that grows.
 *
 * One process lives all the time. Its threads change a store, die, and are replaced; writes fail for
 * a while, as a limit on the size of files comes and goes; the store is closed and opened again.
 * Beside it other processes work on a second store, and are killed. What the long-lived process has
 * of memory, descriptors and threads, what both stores have of the disk, and what this process has
 * of memory must stay flat (flat.ts). In the end the long-lived process is killed as well.
 *
 * Threads:     the main thread.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout as nap } from 'node:timers/promises';
import { bytesIn, figuresOf } from './figures.ts';
import { type Allowance, SAMPLES_MIN, Series } from './flat.ts';
import { killOnce } from './kill.ts';
import type { Life } from './life.ts';
import type { Figures } from './live-protocol.ts';
import { addDetails, type Details, type Mode, type Run, type Tally } from './mode.ts';
import type { PartContext } from './parts.ts';
import type { Random } from './random.ts';
import type { AnySubject } from './subject.ts';
import { Trial } from './trial.ts';

const MIB = 1024 * 1024;
/** Without a time: until there are so many samples. */
const SAMPLES = 20;
/** Of a shift of the long-lived process: it is sampled after each. */
const SHIFT_MS_MIN = 80;
const SHIFT_MS_MAX = 2000;
const SAMPLES_WANTED = 400;
const DEATH_CHANCE = 0.3;
const THREADS = 3;
/** How long no file may grow, and how long all is well, in ms at most. */
const FAULT_MS = 150;
const WELL_MS = 600;
/** What files may have while no file may grow. */
const LIMIT_BYTES = 4096;

/** Errors that a failing write leads to. */
const OF_FAULTS: readonly string[] = ['STORE_IO', 'STORE_FULL', 'POOL_EXHAUSTED'];

/** What may come on top: buffers that are not collected yet, a segment or two of the log. */
const ALLOWANCES = {
  rss: { share: 0.15, fixed: 32 * MIB },
  heap: { share: 0.1, fixed: 3 * MIB },
  external: { share: 0.1, fixed: 2 * MIB },
  descriptors: { share: 0, fixed: 3 },
  threads: { share: 0, fixed: 3 },
  files: { share: 0.25, fixed: 512 * 1024 },
  'files of the other store': { share: 0.25, fixed: 512 * 1024 },
  'heap of the harness': { share: 0.1, fixed: 3 * MIB },
  'descriptors of the harness': { share: 0, fixed: 3 },
} as const satisfies Readonly<Record<string, Allowance>>;

class Soak {
  readonly #random: Random;
  readonly #tally: Tally;
  readonly #details: Details;
  readonly #resident: Trial;
  readonly #other: Trial;
  readonly #series = new Series(ALLOWANCES);
  readonly #wrong: string[] = [];
  readonly #seconds: number | undefined;
  readonly #signal: AbortSignal;
  #life: Life | undefined;

  constructor(subject: AnySubject, self: string, run: Run) {
    const { random, tally, details, seconds, signal } = run;
    this.#random = random;
    this.#tally = tally;
    this.#details = details;
    this.#resident = new Trial(subject, self);
    this.#other = new Trial(subject, self);
    this.#seconds = seconds;
    this.#signal = signal;
  }

  get #isOver(): boolean {
    if (this.#wrong.length > 0) return true;
    const { count } = this.#series;
    return this.#seconds === undefined
      ? count >= SAMPLES
      : this.#signal.aborted && count >= SAMPLES_MIN;
  }

  async run(): Promise<readonly string[]> {
    try {
      const resident = this.#live();
      await Promise.all([this.#killOthers(), this.#limitFiles()]);
      this.#life?.kill();
      await resident;
      if (this.#wrong.length === 0) {
        this.#wrong.push(...(await this.#resident.look(0)), ...(await this.#other.look(0)));
        this.#wrong.push(...this.#series.grown());
        process.stderr.write(`medians of the second and the last quarter: ${this.#series}\n`);
      }
      return this.#wrong;
    } finally {
      this.#life?.kill();
      for (const trial of [this.#resident, this.#other]) {
        addDetails(this.#details, trial.history.counts);
        trial.end();
      }
    }
  }

  /** The long-lived process. */
  async #live(): Promise<void> {
    const ms = ((this.#seconds ?? 0) * 1000) / SAMPLES_WANTED;
    const { wrong, end } = await this.#resident.live(
      {
        seed: this.#random.uint32(),
        threads: THREADS,
        endAfterMs: 0,
        ending: 'close',
        deaths: Number.MAX_SAFE_INTEGER,
        deathChance: DEATH_CHANCE,
        shiftMs: Math.min(SHIFT_MS_MAX, Math.max(SHIFT_MS_MIN, ms)),
        tolerated: OF_FAULTS,
      },
      {
        onLine: (line, life) => {
          this.#life = life;
          this.#hear(line);
        },
      },
    );
    this.#wrong.push(...wrong);
    if (end.signal === 'SIGKILL') this.#tally.kills++;
  }

  #hear(line: string): void {
    const [what] = line.split(' ', 1);
    if (what === 'died') this.#tally.kills++;
    else if (what === 'figures') {
      this.#series.add({ ...(JSON.parse(line.slice('figures '.length)) as Figures) });
    }
    this.#wrong.push(...this.#resident.history.takeViolations());
  }

  /** Processes on the other store, one after the other. */
  async #killOthers(): Promise<void> {
    while (!this.#isOver) {
      const { end, wrong } = await killOnce(this.#other, this.#random);
      if (end.signal === 'SIGKILL') this.#tally.kills++;
      this.#wrong.push(...wrong);
      const { heap, descriptors } = await figuresOf(this.#other.directory);
      this.#series.add({
        'files of the other store': bytesIn(this.#other.directory),
        'heap of the harness': heap,
        'descriptors of the harness': descriptors,
      });
    }
  }

  /** Now and then no file of the long-lived process may grow: `EFBIG`. */
  async #limitFiles(): Promise<void> {
    while (!this.#isOver) {
      await nap(this.#random.float() * WELL_MS);
      if (this.#limit(String(LIMIT_BYTES))) this.#tally.injections++;
      await nap(this.#random.float() * FAULT_MS);
      this.#limit('unlimited');
    }
  }

  /** Whether there is a process, and a limit to be set. */
  #limit(bytes: string): boolean {
    const { pid, isOver = true } = this.#life ?? {};
    if (pid === undefined || isOver) return false;
    const argv = ['--pid', String(pid), `--fsize=${bytes}:`];
    return spawnSync('prlimit', argv, { stdio: 'ignore' }).status === 0;
  }
}

export function soakMode({ subjects, self }: PartContext): Mode {
  const able = subjects.filter(({ attach }) => attach !== undefined);
  return {
    name: 'soak',
    summary: 'a mixed load with deaths, failing writes and reopenings: nothing may grow',
    runs: 1,
    prepare: () => Promise.resolve(able.length > 0 ? undefined : 'no subject has threads'),
    run: (run) => new Soak(able[run.number % able.length] as AnySubject, self, run).run(),
  };
}
