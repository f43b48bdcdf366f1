/**
 * Which prefix of the log it is that was found, among those that several threads may have left.
 *
 * Owns:        the facts after each prefix, one after the other, and how many of them differ from
 *              those that were found: no state is ever copied or summed.
 * Invariants:  an operation that was under way when its thread ended comes after all others of that
 *              thread, or not at all. Where facts are one thread's own it does not matter where, so
 *              it comes at the first place; where they are shared, every place is tried.
 * Threads:     one.
 */
import type { Step } from './history.ts';
import { differences } from './oracle.ts';
import type { AnySubject, Facts } from './subject.ts';

/** Operations that one search applies at most; only shared facts need more than a few. */
const STEPS_MAX = 3_000_000;

export interface PrefixesOptions {
  readonly subject: AnySubject;
  /** What was there before. */
  readonly safe: Facts;
  /** In log order. */
  readonly done: readonly Step[];
  readonly pending: readonly Step[];
  readonly found: Facts;
}

export interface Match {
  /** Of the operations that were done. */
  readonly kept: number;
  /** Of those that were under way. */
  readonly unsaid: number;
}

/** What a change has replaced: names and their former values. */
type Undo = readonly (readonly [string, string | undefined])[];

export class Prefixes {
  readonly #subject: AnySubject;
  readonly #done: readonly Step[];
  readonly #pending: readonly Step[];
  readonly #found: Facts;
  readonly #facts: Map<string, string>;
  readonly #different = new Set<string>();
  /** The nearest state that may be there, for people. */
  #nearest = { different: Number.POSITIVE_INFINITY, text: '' };
  /** A prefix that is the state, but too short. */
  #short: number | undefined;
  #least = 0;
  #steps = 0;

  constructor({ subject, safe, done, pending, found }: PrefixesOptions) {
    this.#subject = subject;
    this.#done = done;
    this.#pending = pending;
    this.#found = found;
    this.#facts = new Map(safe);
    for (const name of new Set([...safe.keys(), ...found.keys()])) this.#look(name);
  }

  /** The prefix that was found, with no fewer than `least` operations; else what is wrong. */
  find(least: number): Match | string {
    this.#least = least;
    const match = this.#search(0, this.#pending);
    if (match !== undefined) return match;
    if (this.#short !== undefined) {
      const lost = `${least - this.#short} of ${least} operations are lost`;
      const last = this.#done[this.#short - 1]?.seq;
      return `${lost}: it is the state after ${last === undefined ? 'none' : `seq ${last}`}`;
    }
    return `no state that may be there; the nearest differs: ${this.#nearest.text}`;
  }

  #look(name: string): void {
    if (this.#facts.get(name) === this.#found.get(name)) this.#different.delete(name);
    else this.#different.add(name);
  }

  #set(name: string, value: string | undefined): void {
    if (value === undefined) this.#facts.delete(name);
    else this.#facts.set(name, value);
    this.#look(name);
  }

  #apply({ operation }: Step): Undo {
    if (++this.#steps > STEPS_MAX) throw new Error('too many states could be there');
    const undo: [string, string | undefined][] = [];
    for (const [name, value] of this.#subject.expect(this.#facts, operation)) {
      undo.push([name, this.#facts.get(name)]);
      this.#set(name, value);
    }
    return undo;
  }

  #revert(undo: Undo): void {
    for (const [name, value] of [...undo].reverse()) this.#set(name, value);
  }

  /** How many operations come before one that was under way, at least. */
  #earliest({ thread }: Step): number {
    return this.#done.findLastIndex((step) => step.thread === thread) + 1;
  }

  #fits(step: Step, at: number): boolean {
    const earliest = this.#earliest(step);
    return this.#subject.shared === true ? at >= earliest : at === earliest;
  }

  /** The prefixes from `from` operations on, with any of `pending` after them. */
  #search(from: number, pending: readonly Step[]): Match | undefined {
    const undos: Undo[] = [];
    for (let at = from; ; at++) {
      this.#note(at, pending);
      if (this.#different.size === 0 && at >= this.#least) {
        return { kept: at, unsaid: this.#pending.length - pending.length };
      }
      for (const step of pending.filter((one) => this.#fits(one, at))) {
        const undo = this.#apply(step);
        const match = this.#search(
          at,
          pending.filter((one) => one !== step),
        );
        if (match !== undefined) return match;
        this.#revert(undo);
      }
      const next = this.#done[at];
      if (next === undefined) break;
      undos.push(this.#apply(next));
    }
    for (const undo of undos.reverse()) this.#revert(undo);
    return undefined;
  }

  #note(at: number, pending: readonly Step[]): void {
    const { size } = this.#different;
    if (at < this.#least) {
      if (size === 0 && pending.length === this.#pending.length) this.#short = at;
      return;
    }
    if (size >= this.#nearest.different) return;
    this.#nearest = { different: size, text: differences(this.#found, this.#facts) };
  }
}
