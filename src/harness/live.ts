/**
 * The process under test: opens a subject, changes it from several threads while rounds run all the
 * time, and says what it does (live-protocol.ts), until it is killed or told to end.
 *
 * A life has shifts. At the end of one its threads stop, and the subject says what it holds, so that
 * the next shift begins with facts that everybody knows. A shift ends after its time, when a thread
 * has died, and when a thread cannot know whether its operation was done.
 *
 * Owns:        the opened subject.
 * Invariants:  facts are told only when no thread runs and a round has ended after the last commit,
 *              or when the subject was just opened: whatever they say is safe.
 * Threads:     the main thread of a process of its own; the threads that it starts play
 *              `live-thread`.
 */
import { setTimeout as nap } from 'node:timers/promises';
import { figuresOf } from './figures.ts';
import { type LiveTask, lineOf, say, sayFacts } from './live-protocol.ts';
import { codeOf, Hand, hasStopped, sayLeft, subjectNamed } from './live-thread.ts';
import type { PartContext } from './parts.ts';
import { Random } from './random.ts';
import { mustLive, Shift, servicesOf, watchServices } from './shift.ts';
import type { AnySubject, Facts, Opened } from './subject.ts';

const ROUND_EVERY_MS = 12;
/** Acknowledgements and rounds that the main thread waits for at once. */
const WAITS_MAX = 8;
/** Of a shift's life before a thread is terminated. */
const DEATH_AFTER_MS = 40;
const SERVICE_DEATHS = 0.2;
/** Within this time the death of a service must have stopped the pool, in ms. */
const PATIENCE_MS = 10_000;
const SHIFTS_MAX = 3;
/** Openings and rounds that fail, with what was to be expected, before the process gives up. */
const TRIES_MAX = 100;
const RETRY_MS = 20;
const EXIT_CODE = 3;

/** How a process ends that was told to end by an exception. */
class Planned extends Error {}

class LiveProcess {
  readonly #task: LiveTask;
  readonly #self: string;
  readonly #subject: AnySubject;
  readonly #threads: number;
  readonly #random: Random;
  readonly #tolerated: readonly string[];
  #opened: Opened | undefined;
  #facts: Facts = new Map();
  #shifts = 0;
  #deathsLeft: number;
  #endAt: number | undefined;
  /** A thread was terminated in this shift: the pool may have stopped for that. */
  #hasDied = false;

  constructor(task: LiveTask, context: PartContext) {
    this.#task = task;
    this.#self = context.self;
    this.#subject = subjectNamed(context, task.subject);
    this.#threads = this.#subject.attach === undefined ? Math.min(task.threads, 1) : task.threads;
    this.#random = Random.fork(task.seed, 0);
    this.#tolerated = task.tolerated ?? [];
    this.#deathsLeft = task.deaths ?? 0;
  }

  async run(): Promise<void> {
    for (;;) {
      if (!(await this.#open())) return;
      if (this.#threads === 0) return this.#close();
      const { endAfterMs } = this.#task;
      this.#endAt ??= endAfterMs > 0 ? performance.now() + endAfterMs : Number.POSITIVE_INFINITY;
      const isWell = await this.#runShifts();
      await this.#close();
      if (isWell && this.#isOver) return;
    }
  }

  get #isOver(): boolean {
    const hadItsDeaths = (this.#task.deaths ?? 0) > 0 && this.#deathsLeft <= 0;
    return hadItsDeaths || performance.now() >= (this.#endAt as number);
  }

  #isTolerated(error: unknown): boolean {
    return this.#tolerated.includes(codeOf(error));
  }

  // --- opening, closing ----------------------------------------------------------------------------

  /** Whether it is open; refusals that were to be expected end the process after a while. */
  async #open(): Promise<boolean> {
    for (let n = 0; n < TRIES_MAX; n++) {
      say('opening', process.pid);
      try {
        this.#opened = await this.#subject.open(this.#task.directory, { threads: 'workers' });
        this.#look('open');
        return true;
      } catch (error) {
        if (!this.#isTolerated(error)) throw error;
        say('refused', codeOf(error), lineOf(error));
        await this.#opened?.close().catch(() => undefined);
        await nap(RETRY_MS);
      }
    }
    return false;
  }

  /** Tells what it holds. */
  #look(when: 'open' | 'quiet'): void {
    const opened = this.#opened as Opened;
    this.#facts = this.#subject.facts(opened);
    sayFacts(when, this.#facts);
    for (const finding of this.#subject.check?.(opened) ?? []) say('wrong', lineOf(finding));
  }

  async #close(): Promise<void> {
    say('closing');
    try {
      await this.#opened?.close();
      say('closed');
    } catch (error) {
      // A pool that had stopped says that commits may be missing, a full disk that a round is.
      if (!hasStopped(error) && !this.#isTolerated(error)) throw error;
      say('unclosed', codeOf(error), lineOf(error));
    }
    this.#opened = undefined;
  }

  /** Ends the process without a close, whatever its threads are in the middle of. */
  #leave(): void {
    say('leaving');
    if (this.#task.ending !== 'throw') process.exit(EXIT_CODE);
    setImmediate(() => {
      throw new Planned('the main thread ends as planned');
    });
  }

  // --- shifts --------------------------------------------------------------------------------------

  /** Until it is over, or time to reopen it: whether the pool has not stopped. */
  async #runShifts(): Promise<boolean> {
    const shifts = 1 + this.#random.int(SHIFTS_MAX);
    for (let n = 0; n < shifts && !this.#isOver; n++) {
      this.#hasDied = false;
      await this.#runShift();
      if (this.#hasStopped() || !(await this.#settle())) return false;
      if (this.#task.shiftMs === undefined) continue;
      say('figures', JSON.stringify(await figuresOf(this.#task.directory)));
    }
    return true;
  }

  async #runShift(): Promise<void> {
    const opened = this.#opened as Opened;
    const { subject, seed, shiftMs = Number.POSITIVE_INFINITY } = this.#task;
    const number = this.#shifts++;
    const common = { seed, shift: number, facts: this.#facts, tolerated: this.#tolerated };
    const part = { thread: 0, threads: this.#threads };
    const hand = new Hand(opened, this.#subject, { ...common, part });
    const shift = new Shift(this.#self);
    shift.start({ ...common, subject, handle: opened.handle }, this.#threads);
    if (await shift.begin()) {
      say('running', number);
      shift.release();
      const until = Math.min(this.#endAt as number, performance.now() + shiftMs);
      const isDeadly = this.#deathsLeft > 0 && this.#random.chance(this.#task.deathChance ?? 1);
      const death = isDeadly ? this.#killIn(shift) : undefined;
      await Promise.all([this.#work(hand, shift, until), death]);
    }
    await shift.end();
  }

  /** What the main thread does in a shift: operations, waits by promises, rounds. */
  async #work(hand: Hand, shift: Shift, until: number): Promise<void> {
    const waits = new Set<Promise<void>>();
    const keep = (wait: Promise<void>): void => {
      waits.add(wait);
      void wait.finally(() => waits.delete(wait));
    };
    let roundAt = 0;
    while (shift.isRunning && performance.now() < until) {
      if (performance.now() > roundAt) {
        roundAt = Number.POSITIVE_INFINITY;
        const next = (): number => performance.now() + this.#random.int(2 * ROUND_EVERY_MS);
        keep(this.#round(shift).finally(() => (roundAt = next())));
      }
      const wait = this.#once(hand, shift);
      if (wait !== undefined) keep(wait);
      if (waits.size >= WAITS_MAX) await Promise.race(waits);
      await new Promise(setImmediate);
    }
    if (this.#isOver && this.#task.ending !== 'close') this.#leave();
    await Promise.all(waits);
  }

  /** One operation, and what is to be waited for; errors end here. */
  #once(hand: Hand, shift: Shift): Promise<void> | undefined {
    try {
      const due = hand.once();
      if (due === undefined) return undefined;
      const pool = (this.#opened as Opened).pool;
      return pool.durable(due.seq, due.level).then(
        () => hand.acknowledge(due),
        (error: unknown) => this.#fail(error, shift),
      );
    } catch (error) {
      sayLeft(0, error, this.#tolerated);
      shift.break();
      return undefined;
    }
  }

  async #round(shift: Shift): Promise<void> {
    say('round');
    try {
      await (this.#opened as Opened).pool.checkpoint();
      say('rounded');
    } catch (error) {
      this.#fail(error, shift);
    }
  }

  #fail(error: unknown, shift: Shift): void {
    if (hasStopped(error)) shift.break();
    else if (!this.#isTolerated(error)) {
      say('wrong', lineOf(error));
      shift.break();
    }
  }

  /** A thread dies at a random moment, and the shift ends. */
  async #killIn(shift: Shift): Promise<void> {
    await nap(this.#random.float() * DEATH_AFTER_MS);
    const services = servicesOf();
    const ofPool = shift.users.length === 0 || this.#random.chance(SERVICE_DEATHS);
    const whom = ofPool ? services : shift.users;
    if (whom.length > 0) {
      const victim = this.#random.pick(whom);
      say('die', ofPool ? 'service' : 'user', victim.threadId);
      const isVital = mustLive((this.#opened as Opened).pool, victim.threadId);
      this.#hasDied = true;
      this.#deathsLeft--;
      await victim.terminate();
      say('died');
      if (isVital) await this.#untilStopped();
    }
    shift.break();
  }

  // --- between shifts ------------------------------------------------------------------------------

  async #untilStopped(): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (this.#poison() === undefined) {
      if (performance.now() > end) {
        say('wrong', 'a thread of the pool has died, and the pool goes on');
        return;
      }
      await nap(1);
    }
  }

  /** Why the pool has stopped, if it has. */
  #poison(): Error | undefined {
    try {
      (this.#opened as Opened).pool.has(1);
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /** Whether the pool has stopped, which it may only after a death, or a fault. */
  #hasStopped(): boolean {
    const poison = this.#poison();
    if (poison === undefined) return false;
    const cause = codeOf(poison.cause);
    const ofDeath = this.#hasDied && cause === 'WORKER_DIED';
    if (ofDeath || this.#isTolerated(poison)) say('poisoned', cause, lineOf(poison.cause));
    else say('wrong', 'the pool has stopped:', lineOf(poison));
    return true;
  }

  /** No thread runs: what threads had was given back, and a round makes everything safe. */
  async #settle(): Promise<boolean> {
    const { pool } = this.#opened as Opened;
    for (let n = 0; ; n++) {
      say('round');
      try {
        await pool.checkpoint();
        break;
      } catch (error) {
        if (hasStopped(error)) return !this.#hasStopped();
        if (!this.#isTolerated(error)) throw error;
        if (n === TRIES_MAX) this.#leave();
        await nap(RETRY_MS);
      }
    }
    say('rounded');
    try {
      this.#checkGivenBack();
      this.#look('quiet');
    } catch (error) {
      if (!this.#isTolerated(error)) throw error;
      say('unseen', codeOf(error), lineOf(error));
      return false;
    }
    return true;
  }

  #checkGivenBack(): void {
    const { pinned, latched, loading, threads } = (this.#opened as Opened).pool.stats();
    if (pinned + latched + loading > 0 || threads > 1 + servicesOf().length) {
      const held = JSON.stringify({ pinned, latched, loading, threads });
      say('wrong', `G1 no thread runs but the opener, and there is something held: ${held}`);
    }
  }
}

/** A process under test does not outlive the harness, which has to see what becomes of it. */
function endWithParent(): void {
  process.stdin.once('end', () => process.exit(EXIT_CODE)).resume();
  // It waits for nothing else: a process that has ended on its own must not wait for this.
  process.stdin.unref();
}

/** The part `live`. */
export async function live(task: LiveTask, context: PartContext): Promise<void> {
  endWithParent();
  watchServices();
  await new LiveProcess(task, context).run();
}
