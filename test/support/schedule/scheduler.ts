/**
 * The scheduler: runs one schedule after the other on the same gated workers.
 *
 * A schedule is a list of segments: which worker, how many steps. It stops short of its end when a
 * worker sleeps, yields or is done; from there on, and when the list is over, a rule decides.
 */
import {
  ASLEEP,
  BUDGET,
  DEAD,
  DEATH_ADDRESS,
  GO,
  GO_ABANDON,
  GO_DIE,
  GO_RUN,
  GO_TIMEOUT,
  MESSAGE_BYTES,
  READY,
  READY_SHIFT,
  type SharedWords,
  STEPS,
  STOP,
  STOP_DONE,
  STOP_VIOLATION,
  TRACE_WORDS,
  TURN,
} from './protocol.ts';

const SPINS = 4000;
/** Time-outs in a row that help nobody. */
const TIMEOUTS_MAX = 12;
/** As many steps as the worker wants. */
export const ALL_STEPS = 1_000_000;

export type How = 'run' | 'timeout' | 'die';

export interface Segment {
  readonly worker: number;
  readonly steps: number;
  readonly how: How;
}

/** A segment that was run. */
export interface Done extends Segment {
  /** Position of its first step in the trace. */
  readonly start: number;
  readonly stop: number;
  /** Workers that could go on after it. */
  readonly ready: number;
}

/** Decides when the prefix is over. */
export interface Rule {
  next(state: {
    readonly ready: number;
    readonly last: number;
    readonly position: number;
    /** Why `last` stopped. */
    readonly stop: number;
    /** Workers whose wait could end by time-out. */
    readonly asleep: readonly number[];
  }): Segment;
}

export interface Outcome {
  readonly violation: string | undefined;
  readonly segments: readonly Done[];
  readonly steps: number;
  /** Times that all were asleep and a time-out had to help. */
  readonly forced: number;
}

export interface Limits {
  readonly threads: number;
  readonly victim: number | undefined;
  readonly timeouts: boolean;
}

/** The next ready worker after `last`, round and round. */
export function nextReady(ready: number, last: number, threads: number): number {
  for (let n = 1; n <= threads; n++) {
    const worker = (last + n) % threads;
    if ((ready & (1 << worker)) !== 0) return worker;
  }
  return last;
}

export class Scheduler {
  readonly #shared: SharedWords;
  readonly #words: Int32Array;

  constructor(shared: SharedWords) {
    this.#shared = shared;
    this.#words = shared.words;
  }

  /** Lets one worker go and waits until it has stopped: why. */
  grant(worker: number, command: number, steps: number): number {
    const turn = Atomics.load(this.#words, TURN);
    this.#words[BUDGET + worker] = steps;
    Atomics.store(this.#words, GO + worker, command);
    Atomics.notify(this.#words, GO + worker);
    for (let spin = 0; spin < SPINS && Atomics.load(this.#words, TURN) === turn; spin++);
    while (Atomics.load(this.#words, TURN) === turn) Atomics.wait(this.#words, TURN, turn);
    return this.#words[STOP] as number;
  }

  run(prefix: readonly Segment[], rule: Rule, limits: Limits): Outcome {
    const schedule = new Schedule(this, this.#words, limits);
    const violation = schedule.run(prefix, rule) ?? undefined;
    const text = violation === 'violation' ? this.#message() : violation;
    schedule.abandon();
    const { segments, forced } = schedule;
    return { violation: text, segments, steps: this.#words[STEPS] as number, forced };
  }

  #message(): string {
    const bytes = this.#words[MESSAGE_BYTES] as number;
    return new TextDecoder().decode(this.#shared.message.slice(0, bytes));
  }

  traced(step: number): { worker: number; ready: number; site: number; address: number } {
    const at = step * TRACE_WORDS;
    const [who = 0, site = 0, address = 0] = this.#shared.trace.subarray(at, at + TRACE_WORDS);
    const worker = who & (2 ** READY_SHIFT - 1);
    return { worker, ready: who >> READY_SHIFT, site, address };
  }
}

class Schedule {
  readonly segments: Done[] = [];
  forced = 0;
  readonly #scheduler: Scheduler;
  readonly #words: Int32Array;
  readonly #limits: Limits;
  #open: number;
  #started = 0;

  constructor(scheduler: Scheduler, words: Int32Array, limits: Limits) {
    this.#scheduler = scheduler;
    this.#words = words;
    this.#limits = limits;
    this.#open = 2 ** limits.threads - 1;
    words[READY] = this.#open;
    words[STEPS] = 0;
    words[DEAD] = 0;
    for (let worker = 0; worker < limits.threads; worker++) words[ASLEEP + worker] = 0;
  }

  get #ready(): number {
    return this.#words[READY] as number;
  }

  run(prefix: readonly Segment[], rule: Rule): string | undefined {
    let last = this.#limits.threads - 1;
    let stop: number = STOP_DONE;
    for (let n = 0; this.#open !== 0; n++) {
      const segment: Segment | string = prefix[n] ?? this.#decide(rule, last, stop);
      if (typeof segment === 'string') return segment;
      stop = this.#segment(segment);
      if (stop === STOP_VIOLATION) {
        this.#open &= ~(1 << segment.worker);
        return 'violation';
      }
      last = segment.worker;
    }
    return undefined;
  }

  #decide(rule: Rule, last: number, stop: number): Segment | string {
    if (this.#ready !== 0) {
      const position = this.#words[STEPS] as number;
      return rule.next({ ready: this.#ready, last, position, stop, asleep: this.#asleep() });
    }
    this.forced++;
    if (!this.#limits.timeouts) return `lost wake-up: all sleep\n${this.#sleepers()}`;
    if (this.forced > TIMEOUTS_MAX) return `deadlock: time-outs do not help\n${this.#sleepers()}`;
    const asleep = this.#asleep();
    const worker = asleep[this.forced % asleep.length];
    if (worker === undefined) return `deadlock: nothing to wait for\n${this.#sleepers()}`;
    return { worker, steps: ALL_STEPS, how: 'timeout' };
  }

  #asleep(): number[] {
    const workers = Array.from({ length: this.#limits.threads }, (_, worker) => worker);
    return workers.filter((worker) => {
      const address = this.#words[ASLEEP + worker] as number;
      return address !== 0 && address !== DEATH_ADDRESS;
    });
  }

  #sleepers(): string {
    const asleep = Array.from({ length: this.#limits.threads }, (_, worker) => worker)
      .filter((worker) => this.#words[ASLEEP + worker] !== 0)
      .map((worker) => `  worker ${worker} sleeps on ${this.#words[ASLEEP + worker]}`);
    return asleep.join('\n');
  }

  #segment({ worker, steps, how }: Segment): number {
    const start = this.#words[STEPS] as number;
    const bit = 1 << worker;
    let stop: number;
    if (how === 'die') {
      this.#kill(worker);
      stop = STOP_DONE;
    } else {
      if (how === 'timeout') {
        this.#words[ASLEEP + worker] = 0;
        this.#words[READY] = this.#ready | bit;
      }
      if ((this.#ready & bit) === 0)
        throw new Error(`worker ${worker} cannot go on: wrong schedule`);
      this.#started |= bit;
      const command = how === 'timeout' ? GO_TIMEOUT : GO_RUN;
      stop = this.#scheduler.grant(worker, command, Math.max(1, steps));
      if (stop === STOP_DONE) this.#open &= ~bit;
      if (stop === STOP_DONE && worker === this.#limits.victim) this.#tellOfDeath(false);
    }
    const done = (this.#words[STEPS] as number) - start;
    this.segments.push({ worker, steps: done, how, start, stop, ready: this.#ready });
    return stop;
  }

  #kill(worker: number): void {
    const bit = 1 << worker;
    if ((this.#started & bit) !== 0) this.#scheduler.grant(worker, GO_DIE, 0);
    this.#words[ASLEEP + worker] = 0;
    this.#words[READY] = this.#ready & ~bit;
    this.#open &= ~bit;
    this.#tellOfDeath(true);
  }

  #tellOfDeath(dead: boolean): void {
    this.#words[DEAD] = dead ? 1 : 2;
    for (let worker = 0; worker < this.#limits.threads; worker++) {
      if (this.#words[ASLEEP + worker] !== DEATH_ADDRESS) continue;
      this.#words[ASLEEP + worker] = 0;
      this.#words[READY] = this.#ready | (1 << worker);
    }
  }

  /** Ends what still runs. */
  abandon(): void {
    for (let worker = 0; worker < this.#limits.threads; worker++) {
      const bit = 1 << worker;
      if ((this.#open & this.#started & bit) !== 0) this.#scheduler.grant(worker, GO_ABANDON, 0);
    }
  }
}

// --- schedules as text -----------------------------------------------------------------------

const MARKS: Readonly<Record<How, string>> = { run: '', timeout: '!', die: '+' };

/** Such as `0*12 1*5 0! 2+`: worker and steps; `!` after a time-out, `+` dies. */
export function formatSchedule(segments: readonly Segment[]): string {
  return segments.map(({ worker, steps, how }) => `${worker}${MARKS[how]}*${steps}`).join(' ');
}

export function parseSchedule(text: string): Segment[] {
  return text
    .trim()
    .split(/\s+/)
    .map((part) => {
      const match = /^(\d)([!+]?)\*(\d+)$/.exec(part);
      if (match === null) throw new TypeError(`a segment is not written as ${part}`);
      const how: How = match[2] === '!' ? 'timeout' : match[2] === '+' ? 'die' : 'run';
      return { worker: Number(match[1]), steps: Number(match[3]), how };
    });
}
