/**
 * Throughput on a machine that others use too: time is cut into windows of one millisecond on the
 * clock that all threads share, and only those windows count in which no measured thread had to
 * wait for a processor. What a thread waited is what Linux says (`run_delay`, the second number of
 * /proc/thread-self/schedstat); a thread that is parked waits for nothing and its time does count.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readlinkSync, readSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { Histogram } from './numbers.ts';

const WINDOW_MS = 1;
/** A window in which a thread waited longer for a processor is disturbed. */
const DELAY_NS_MAX = 20_000;
/** A wait so long is looked at more closely. */
const LONG_NS = 20_000;
/** What one thread has done, window by window, from window `first` of the shared clock on. */
export interface WindowLog {
  readonly first: number;
  readonly operations: readonly number[];
  readonly delayNs: readonly number[];
  readonly longWaits: readonly LongWait[];
}

/** A wait in which somebody may have been without a processor; `endMs` on the shared clock. */
interface LongWait {
  readonly endMs: number;
  readonly ns: number;
}

/** Latencies of one thread; the long ones apart, until it is known what the others did meanwhile. */
export class Latencies {
  readonly short: Histogram = new Histogram();
  readonly long: LongWait[] = [];
  readonly #clock: SharedClock = new SharedClock();

  record(ns: number): void {
    if (ns < LONG_NS) this.short.record(ns);
    else this.long.push({ endMs: this.#clock.now(), ns });
  }

  clear(): void {
    this.short.clear();
    this.long.length = 0;
  }
}

/** Milliseconds of a clock that is the same in all threads. */
export class SharedClock {
  readonly #offset: number;

  constructor() {
    const [seconds, ns] = process.hrtime();
    this.#offset = seconds * 1e3 + ns / 1e6 - performance.now();
  }

  now(): number {
    return performance.now() + this.#offset;
  }
}

/**
 * Gives thread `n` of `threads` a processor of its own, where there are enough and `taskset` exists:
 * beside a third busy program the scheduler likes to put both measured threads on one.
 */
export function takeProcessor(n: number, threads: number): void {
  if (threads > availableParallelism()) return;
  try {
    const task = basename(readlinkSync('/proc/thread-self'));
    spawnSync('taskset', ['-p', '-c', String(n), task], { stdio: 'ignore' });
  } catch {
    // Not Linux: the scheduler decides.
  }
}

/** How long this thread has waited for a processor since it started; always 0 where nobody knows. */
class RunDelay {
  readonly #buffer: Buffer = Buffer.alloc(128);
  readonly #file: number | undefined;

  constructor() {
    try {
      this.#file = openSync('/proc/thread-self/schedstat', 'r');
    } catch {
      this.#file = undefined;
    }
  }

  read(): number {
    if (this.#file === undefined) return 0;
    const bytes = readSync(this.#file, this.#buffer, 0, this.#buffer.length, 0);
    return Number(this.#buffer.toString('latin1', 0, bytes).split(' ')[1] ?? 0);
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
  }
}

/** Calls `batch` for `ms` milliseconds and notes what was done in each window. */
export function runInWindows(
  batch: () => void,
  operations: number,
  ms: number,
  longWaits: readonly LongWait[],
): WindowLog {
  const clock = new SharedClock();
  const delay = new RunDelay();
  const log = { first: 0, operations: [] as number[], delayNs: [] as number[], longWaits };
  let now = clock.now();
  let delayed = delay.read();
  let done = 0;
  let window = Math.floor(now / WINDOW_MS);
  log.first = window;
  for (const end = now + ms; now < end; ) {
    batch();
    done += operations;
    now = clock.now();
    const next = Math.floor(now / WINDOW_MS);
    if (next === window) continue;
    const seen = delay.read();
    for (; window < next; window++) {
      log.operations.push(done);
      // A wait that spans several windows disturbs all of them.
      log.delayNs.push(seen - delayed);
      done = 0;
    }
    delayed = seen;
  }
  delay.close();
  return log;
}

/** What threads that worked at the same time have done; sums over windows. */
export class Throughput {
  readonly #calm: number[];
  readonly #all: number[];
  readonly #latencies: Histogram;
  calmWindows = 0;
  allWindows = 0;

  /** @param latencies  Gets the long waits, as far as nobody disturbed them. */
  constructor(threads: number, latencies: Histogram) {
    this.#latencies = latencies;
    this.#calm = new Array<number>(threads).fill(0);
    this.#all = new Array<number>(threads).fill(0);
  }

  /** The logs of one run, a thread each. */
  add(logs: readonly WindowLog[]): void {
    // The first and the last window of a thread are not whole.
    const from = Math.max(...logs.map(({ first }) => first + 1));
    const to = Math.min(...logs.map(({ first, operations }) => first + operations.length - 1));
    const isCalm = (window: number): boolean =>
      logs.every(({ first, delayNs }) => (delayNs[window - first] ?? 0) <= DELAY_NS_MAX);
    for (let window = from; window < to; window++) {
      // Just after a disturbance the caches still hold what the other program left there.
      const calm = isCalm(window) && isCalm(window - 1);
      this.allWindows++;
      if (calm) this.calmWindows++;
      logs.forEach(({ first, operations }, thread) => {
        const done = operations[window - first] ?? 0;
        this.#all[thread] = (this.#all[thread] ?? 0) + done;
        if (calm) this.#calm[thread] = (this.#calm[thread] ?? 0) + done;
      });
    }
    for (const { longWaits } of logs) this.#addLongWaits(longWaits, isCalm, from, to);
  }

  /** Long waits count if all threads had a processor from beginning to end. */
  #addLongWaits(
    waits: readonly LongWait[],
    isCalm: (window: number) => boolean,
    from: number,
    to: number,
  ): void {
    for (const { endMs, ns } of waits) {
      const begin = Math.floor((endMs - ns / 1e6) / WINDOW_MS);
      const end = Math.floor(endMs / WINDOW_MS);
      if (begin < from || end >= to) continue;
      let calm = true;
      for (let window = begin; window <= end; window++) calm &&= isCalm(window);
      if (calm) this.#latencies.record(ns);
    }
  }

  /** For each thread: over the calm windows if there are `windowsMin` of them, else over all. */
  opsPerSec(windowsMin: number): number[] {
    const calm = this.calmWindows >= windowsMin;
    const windows = Math.max(1, calm ? this.calmWindows : this.allWindows);
    return (calm ? this.#calm : this.#all).map((done) => (done * 1000) / (WINDOW_MS * windows));
  }
}
