/**
 * The gate: where a worker stops before each atomic instruction until the scheduler lets it go.
 *
 * Owns:        nothing; the imports of one gated module in one worker.
 * Threads:     one object for each worker. A grant names a number of steps, so that a run without
 *              a preemption costs no switch of threads.
 */
import {
  ASLEEP,
  BUDGET,
  DATA_ADDRESS,
  DEAD,
  DEATH_ADDRESS,
  GO,
  GO_ABANDON,
  GO_DIE,
  GO_TIMEOUT,
  READY,
  READY_SHIFT,
  type SharedWords,
  SITE_AWAIT_DEATH,
  SITE_READ,
  SITE_RESUME,
  SITE_START,
  SITE_TIMEOUT,
  SITE_WRITE,
  SITE_YIELD,
  STEPS,
  STEPS_MAX,
  STOP,
  STOP_ASLEEP,
  STOP_BUDGET,
  STOP_DONE,
  STOP_YIELD,
  TRACE_WORDS,
  TURN,
} from './protocol.ts';

/** Looks at the own word before parking: a switch is quicker than a wake-up. */
const SPINS = 2000;

const WOKEN = 0;
const NOT_EQUAL = 1;
const TIMED_OUT = 2;

/** A check of a program failed. */
export class Violation extends Error {}

const ENDED = new Error('this schedule is over for this thread');

export class Gate {
  readonly #words: Int32Array;
  readonly #data: Int32Array;
  readonly #trace: Int32Array;
  readonly #worker: number;
  #memory: Int32Array = new Int32Array(0);
  #budget = 0;
  #ended = true;

  constructor(shared: SharedWords, worker: number) {
    this.#words = shared.words;
    this.#data = shared.data;
    this.#trace = shared.trace;
    this.#worker = worker;
  }

  /** The memory that the next schedules run on. */
  set memory(words: Int32Array) {
    this.#memory = words;
  }

  /** The imports of the gated module. */
  get imports(): Record<string, unknown> {
    return {
      step: (site: number, address: number) => this.#step(site, address),
      wait: (site: number, address: number, expected: number, ns: number) =>
        this.#wait(site, address, expected, ns),
      notify: (site: number, address: number, _count: number) => this.#notify(site, address),
    };
  }

  // --- turns ---------------------------------------------------------------------------------

  /** Waits for a command; the first of a schedule, or of a job. */
  idle(): number {
    return this.#command();
  }

  #command(): number {
    const at = GO + this.#worker;
    for (let spin = 0; spin < SPINS && Atomics.load(this.#words, at) === 0; spin++);
    while (Atomics.load(this.#words, at) === 0) Atomics.wait(this.#words, at, 0);
    const command = this.#words[at] as number;
    this.#words[at] = 0;
    this.#budget = this.#words[BUDGET + this.#worker] as number;
    return command;
  }

  #handOver(stop: number): void {
    this.#words[STOP] = stop;
    Atomics.add(this.#words, TURN, 1);
    Atomics.notify(this.#words, TURN);
  }

  #park(stop: number): number {
    this.#handOver(stop);
    const command = this.#command();
    if (command === GO_ABANDON || command === GO_DIE) this.#ended = true;
    if (this.#ended) throw ENDED;
    return command;
  }

  start(): void {
    this.#ended = false;
    this.#record(SITE_START, 0);
  }

  /** The thread's part of the schedule is over. */
  finish(stop: number = STOP_DONE): void {
    this.#ended = true;
    this.#setReady(false);
    this.#handOver(stop);
  }

  /** Whether the thread was stopped from outside: what it throws then means nothing. */
  get ended(): boolean {
    return this.#ended;
  }

  #setReady(ready: boolean): void {
    const bit = 1 << this.#worker;
    const others = (this.#words[READY] as number) & ~bit;
    this.#words[READY] = ready ? others | bit : others;
  }

  // --- steps ---------------------------------------------------------------------------------

  #record(site: number, address: number): void {
    const step = this.#words[STEPS] as number;
    if (step >= STEPS_MAX) throw new Violation(`livelock: no end after ${step} steps`);
    const at = step * TRACE_WORDS;
    this.#trace[at] = this.#worker | ((this.#words[READY] as number) << READY_SHIFT);
    this.#trace[at + 1] = site;
    this.#trace[at + 2] = address;
    this.#words[STEPS] = step + 1;
    this.#budget--;
  }

  #step(site: number, address: number): void {
    // A thread that is dead does nothing more, also in handlers that catch what killed it.
    if (this.#ended) throw ENDED;
    if (this.#budget <= 0) this.#park(STOP_BUDGET);
    this.#record(site, address);
  }

  #wait(site: number, address: number, expected: number, ns: number): number {
    this.#step(site, address);
    if (this.#memory[address / 4] !== expected) return NOT_EQUAL;
    if (ns === 0) return TIMED_OUT;
    return this.#sleep(address);
  }

  #sleep(address: number): number {
    this.#words[ASLEEP + this.#worker] = address;
    this.#setReady(false);
    const command = this.#park(STOP_ASLEEP);
    this.#record(command === GO_TIMEOUT ? SITE_TIMEOUT : SITE_RESUME, address);
    return command === GO_TIMEOUT ? TIMED_OUT : WOKEN;
  }

  #notify(site: number, address: number): number {
    this.#step(site, address);
    let woken = 0;
    for (let worker = 0; worker < BUDGET - GO; worker++) {
      if (this.#words[ASLEEP + worker] !== address) continue;
      this.#words[ASLEEP + worker] = 0;
      this.#words[READY] = (this.#words[READY] as number) | (1 << worker);
      woken++;
    }
    return woken;
  }

  // --- for the programs ------------------------------------------------------------------------

  /** A plain load of a data word, as a step of its own. */
  read(index: number): number {
    this.#step(SITE_READ, DATA_ADDRESS + index * 4);
    return this.#data[index] as number;
  }

  /** A plain store to a data word, as a step of its own. */
  write(index: number, value: number): void {
    this.#step(SITE_WRITE, DATA_ADDRESS + index * 4);
    this.#data[index] = value;
  }

  /** Lets somebody else go first: for loops that wait for others without parking. */
  yield(): void {
    this.#step(SITE_YIELD, 0);
    this.#park(STOP_YIELD);
  }

  /** `Atomics.add` and `Atomics.notify` of JavaScript on a word of the pool's memory. */
  wake(address: number): void {
    this.#step(SITE_WRITE, address);
    this.#memory[address / 4] = (this.#memory[address / 4] as number) + 1;
    this.#notify(SITE_WRITE, address);
  }

  store(address: number, value: number): void {
    this.#step(SITE_WRITE, address);
    this.#memory[address / 4] = value;
  }

  /** Sleeps until the victim is dead or done; whether it is dead. */
  awaitDeath(): boolean {
    this.#step(SITE_AWAIT_DEATH, DEATH_ADDRESS);
    if (this.#words[DEAD] === 0) this.#sleep(DEATH_ADDRESS);
    return this.#words[DEAD] === 1;
  }
}
