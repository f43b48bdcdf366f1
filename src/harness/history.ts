/**
 * What several threads have done, as they have said it, and what may be left of it.
 *
 * Owns:        the facts that are safe, the operations since, in log order, and how much of them was
 *              acknowledged.
 * Invariants:  what is there after an end is a state that the log has had: the safe facts, the first
 *              k operations by seq with k >= `leastAfter`, and of the operations that were under way
 *              any, each after all others of its thread. Nothing else.
 * Threads:     one.
 */
import { Drawer, drawSeed, sumOfOperation } from './drawer.ts';
import { factsFrom, type LiveTask } from './live-protocol.ts';
import { type End, leastAfter } from './oracle.ts';
import { Prefixes } from './prefixes.ts';
import type { Acknowledged, AnySubject, Facts } from './subject.ts';

/** An operation that was done, or, without a seq, may have been. */
export interface Step {
  readonly thread: number;
  readonly operation: unknown;
  readonly seq: number | undefined;
}

type Done = Step & { readonly seq: number };

/** Added up over a mode they are its figures. */
export interface HistoryCounts {
  /** Operations that were done, those of them that are known to be safe, and those that are gone. */
  done: number;
  acknowledged: number;
  lost: number;
  /** Operations of which nobody has said that they were done, and that are there. */
  unsaid: number;
  /** Times at which the facts were compared. */
  compared: number;
}

export class History {
  readonly counts: HistoryCounts = { done: 0, acknowledged: 0, lost: 0, unsaid: 0, compared: 0 };
  readonly #subject: AnySubject;
  #violations: string[] = [];
  #task: LiveTask | undefined;
  #safe: Facts | undefined;
  #done: Done[] = [];
  readonly #pending = new Map<number, Step>();
  readonly #drawers = new Map<number, Drawer>();
  readonly #acknowledged: Record<Acknowledged, number> = { written: 0, synced: 0 };
  #seqMax = 0;
  /** How the last state that anybody has seen has ended. */
  #end: End = 'death';

  constructor(subject: AnySubject) {
    this.#subject = subject;
  }

  /** A process begins. */
  begin(task: LiveTask): void {
    this.#task = task;
  }

  /** The power was lost since the facts were told last; it takes what was not synced. */
  losePower(): void {
    if (this.#end === 'death') this.#end = 'power loss';
  }

  /** What was wrong since the last call. */
  takeViolations(): string[] {
    const violations = this.#violations;
    this.#violations = [];
    return violations;
  }

  /** Facts that are safe, once a process has told any. */
  get facts(): Facts | undefined {
    return this.#safe;
  }

  /** A line of the process under test; the last one may be cut short. */
  hear(line: string): void {
    const [what = '', first = '', second = ''] = line.split(' ', 3);
    const thread = Number(first);
    if (what === 'begin') this.#hearBegin(thread, Number(second));
    else if (what === 'done') this.#hearDone(thread, Number(second));
    else if (what === 'idle') this.#hearIdle(thread);
    else if (what === 'not') this.#pending.delete(thread);
    else if (what === 'written' || what === 'synced') this.#acknowledge(what, Number(second));
    else if (what === 'open') this.#compare(line.slice(what.length + 1), this.#end);
    else if (what === 'quiet') this.#compare(line.slice(what.length + 1), 'quiet');
    else if (what === 'running') this.#beginShift(thread);
    else if (what === 'closed') this.#end = 'close';
    else if (what === 'wrong') this.#violations.push(line.slice(what.length + 1));
  }

  #beginShift(shift: number): void {
    const { seed, threads } = this.#task as LiveTask;
    for (let thread = 0; thread < threads; thread++) {
      const part = { thread, threads: this.#subject.attach === undefined ? 1 : threads };
      const own = drawSeed(seed, shift, thread);
      this.#drawers.set(thread, new Drawer(this.#subject, this.#safe as Facts, own, part));
    }
  }

  #hearBegin(thread: number, sum: number): void {
    const operation = this.#drawers.get(thread)?.next();
    if (sumOfOperation(operation) !== sum) {
      this.#violations.push('the subject draws differently the second time: see Subject.draw');
    }
    this.#pending.set(thread, { thread, operation, seq: undefined });
  }

  #take(thread: number): Step {
    const step = this.#pending.get(thread);
    if (step === undefined) throw new Error(`thread ${thread} has begun nothing`);
    this.#pending.delete(thread);
    return step;
  }

  #hearDone(thread: number, seq: number): void {
    const { operation } = this.#take(thread);
    this.#drawers.get(thread)?.done(operation);
    this.counts.done++;
    const step: Done = { thread, operation, seq };
    // Threads say so nearly in the order of the log.
    let at = this.#done.length;
    while (at > 0 && (this.#done[at - 1] as Done).seq > seq) at--;
    if (this.#done[at - 1]?.seq === seq || seq <= this.#seqMax) {
      this.#violations.push(`seq ${seq} was used before`);
    }
    this.#done.splice(at, 0, step);
  }

  /** Nothing was to be changed: so the subject says, and so it must be. */
  #hearIdle(thread: number): void {
    const { operation } = this.#take(thread);
    const drawer = this.#drawers.get(thread) as Drawer;
    if (drawer.changes(operation)) {
      this.#violations.push(
        `nothing was done by ${JSON.stringify(operation)}, which was to do some`,
      );
    }
  }

  #acknowledge(level: Acknowledged, seq: number): void {
    if (level === 'synced') this.#acknowledge('written', seq);
    this.#acknowledged[level] = Math.max(this.#acknowledged[level], seq);
  }

  #countUpTo(seq: number): number {
    let count = this.#done.length;
    while (count > 0 && (this.#done[count - 1] as Done).seq > seq) count--;
    return count;
  }

  /** What was found, against what may be there; from now on it is what must be there. */
  #compare(text: string, end: End): void {
    const found = factsFrom(text);
    const done = this.#done;
    const mark = {
      issued: done.length,
      written: this.#countUpTo(this.#acknowledged.written),
      synced: this.#countUpTo(this.#acknowledged.synced),
    };
    const least = leastAfter(end, mark);
    if (this.#safe !== undefined) this.#judge(found, least, end);
    this.counts.compared++;
    this.counts.acknowledged += least;
    this.#seqMax = Math.max(this.#seqMax, done.at(-1)?.seq ?? 0);
    this.#safe = found;
    this.#done = [];
    this.#pending.clear();
    this.#drawers.clear();
    this.#acknowledged.written = 0;
    this.#acknowledged.synced = 0;
    this.#end = 'death';
  }

  #judge(found: Facts, least: number, end: End): void {
    const safe = this.#safe as Facts;
    const pending = [...this.#pending.values()];
    const prefixes = new Prefixes({
      subject: this.#subject,
      safe,
      done: this.#done,
      pending,
      found,
    });
    const match = prefixes.find(least);
    if (typeof match === 'string') {
      const acknowledged = this.#done[least - 1]?.seq;
      const upTo = acknowledged === undefined ? '' : `, with everything up to seq ${acknowledged}`;
      this.#violations.push(`after ${end}${upTo}: ${match}`);
      return;
    }
    this.counts.lost += this.#done.length - match.kept;
    this.counts.unsaid += match.unsaid;
  }
}
