/**
 * One thread of a process under test: draws operations, does them, and says so.
 *
 * Owns:        its random numbers.
 * Invariants:  an operation is announced before it is begun, a commit is told before anybody is
 *              told that it is safe; whatever was told is out of the process.
 * Threads:     any; the words of `ShiftWords` are shared by all threads of one shift.
 */
import { WeirpoolError } from '../errors.ts';
import { Drawer, drawSeed, sumOfOperation } from './drawer.ts';
import { lineOf, say } from './live-protocol.ts';
import type { PartContext } from './parts.ts';
import { Random } from './random.ts';
import type { Acknowledged, AnySubject, Facts, Opened, Part } from './subject.ts';

/** Words that threads of a shift share. */
export const SHIFT_RUNNING = 0;
export const SHIFT_BEGUN = 1;
/** Somebody cannot go on: the others stop as well. */
export const SHIFT_BROKEN = 2;

export interface ThreadTask {
  readonly subject: string;
  readonly handle: unknown;
  readonly part: Part;
  readonly seed: number;
  readonly shift: number;
  readonly facts: Facts;
  readonly words: Int32Array;
  readonly tolerated: readonly string[];
}

export function subjectNamed({ subjects }: PartContext, name: string): AnySubject {
  const found = subjects.find((subject) => subject.name === name);
  if (found === undefined) throw new Error(`there is no subject ${name}`);
  return found;
}

export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'none';
}

/** The pool has stopped, or is closed: the thread goes, and its last operation is undecided. */
export function hasStopped(error: unknown): boolean {
  return ['POISONED', 'POOL_CLOSED'].includes(codeOf(error));
}

/** What a thread does, over and over. */
export class Hand {
  readonly part: Part;
  readonly #opened: Opened;
  readonly #subject: AnySubject;
  readonly #drawer: Drawer;
  /** Of its own: what is drawn must depend on nothing else. */
  readonly #random: Random;
  readonly #tolerated: readonly string[];

  constructor(
    opened: Opened,
    subject: AnySubject,
    task: Omit<ThreadTask, 'subject' | 'handle' | 'words'>,
  ) {
    const { part, shift, facts, tolerated } = task;
    const seed = drawSeed(task.seed, shift, part.thread);
    this.part = part;
    this.#opened = opened;
    this.#subject = subject;
    this.#drawer = new Drawer(subject, facts, seed, part);
    this.#random = Random.fork(seed, 1);
    this.#tolerated = tolerated;
  }

  /**
   * One operation.
   *
   * @returns  Its seq and what to wait for, if anything.
   * @throws if this thread cannot go on.
   */
  once(): { readonly seq: number; readonly level: Acknowledged } | undefined {
    const { thread } = this.part;
    const operation = this.#drawer.next();
    if (operation === undefined) return undefined;
    say('begin', thread, sumOfOperation(operation));
    let seq: number | undefined;
    try {
      seq = this.#subject.apply(this.#opened, operation);
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
    if (seq === undefined) {
      say('idle', thread);
      return undefined;
    }
    say('done', thread, seq);
    this.#drawer.done(operation);
    const level = this.#random.pick(['none', 'none', 'written', 'synced'] as const);
    return level === 'none' ? undefined : { seq, level };
  }

  #failed(error: unknown): void {
    const known = error instanceof WeirpoolError && this.#tolerated.includes(error.code);
    if (!known) throw error;
    if (error.outcome === 'not_applied') {
      say('not', this.part.thread, error.code);
      return;
    }
    say('unsure', this.part.thread, error.code);
    throw error;
  }

  /** An error while it waits for a commit: it was not acknowledged, that is all. */
  unacknowledged(error: unknown): void {
    if (hasStopped(error) || !this.#tolerated.includes(codeOf(error))) throw error;
  }

  acknowledge({ seq, level }: { readonly seq: number; readonly level: Acknowledged }): void {
    say(level, this.part.thread, seq);
  }

  /** One operation, and the wait for its acknowledgement. */
  onceSync(): void {
    const due = this.once();
    if (due === undefined) return;
    try {
      this.#opened.pool.durableSync(due.seq, due.level);
    } catch (error) {
      this.unacknowledged(error);
      return;
    }
    this.acknowledge(due);
  }
}

/** Says why a thread ends before it was told to. What nobody expects is wrong. */
export function sayLeft(thread: number, error: unknown, tolerated: readonly string[]): void {
  const expected = hasStopped(error) || tolerated.includes(codeOf(error));
  if (expected) say('left', thread, codeOf(error), lineOf(error));
  else say('wrong', `thread ${thread}:`, lineOf(error));
}

export function isRunning(words: Int32Array): boolean {
  return Atomics.load(words, SHIFT_RUNNING) === 1 && Atomics.load(words, SHIFT_BROKEN) === 0;
}

/** The part `live-thread`. */
export async function liveThread(task: ThreadTask, context: PartContext): Promise<void> {
  const { words } = task;
  const subject = subjectNamed(context, task.subject);
  try {
    const opened: Opened = await (subject.attach as NonNullable<AnySubject['attach']>)(
      task.handle as never,
    );
    const hand = new Hand(opened, subject, task);
    Atomics.add(words, SHIFT_BEGUN, 1);
    // Everybody begins at once, so that no commit is told before all are known to run.
    while (Atomics.load(words, SHIFT_RUNNING) === 0) Atomics.wait(words, SHIFT_RUNNING, 0, 100);
    while (isRunning(words)) hand.onceSync();
    await opened.close();
  } catch (error) {
    Atomics.store(words, SHIFT_BROKEN, 1);
    sayLeft(task.part.thread, error, task.tolerated);
  }
}
