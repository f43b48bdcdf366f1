/**
 * What a thread under test does next: drawn in the process under test, and once more by whoever
 * checks it, so that a report need not say what an operation is.
 *
 * Owns:        the thread's random numbers, and its own view of the facts: those that were there
 *              when it began, and what it has changed since. What other threads change it is not
 *              told: that is not of its part.
 * Threads:     one.
 */
import { Random } from './random.ts';
import type { AnySubject, Changes, Facts, Part } from './subject.ts';

/** Draws in a row that give nothing to do. */
const DRAWS_MAX = 1000;
const THREADS_MAX = 64;
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** Seed of one thread's operations in one shift of a life. */
export function drawSeed(seed: number, shift: number, thread: number): number {
  return Random.fork(seed, shift * THREADS_MAX + thread).uint32();
}

/** Tells whether two sides have drawn the same. */
export function sumOfOperation(operation: unknown): number {
  const text = JSON.stringify(operation) ?? '';
  let sum = FNV_OFFSET;
  for (let at = 0; at < text.length; at++) sum = Math.imul(sum ^ text.charCodeAt(at), FNV_PRIME);
  return sum >>> 0;
}

/** Changes facts in place. */
export function change(facts: Map<string, string>, changes: Changes): void {
  for (const [name, value] of changes) {
    if (value === undefined) facts.delete(name);
    else facts.set(name, value);
  }
}

export class Drawer {
  readonly #subject: AnySubject;
  readonly #facts: Map<string, string>;
  readonly #random: Random;
  readonly #part: Part;

  constructor(subject: AnySubject, facts: Facts, seed: number, part: Part) {
    this.#subject = subject;
    this.#facts = new Map(facts);
    this.#random = new Random(seed);
    this.#part = part;
  }

  /** The next operation; undefined if there has been nothing to do for a while. */
  next(): unknown {
    for (let n = 0; n < DRAWS_MAX; n++) {
      const operation: unknown = this.#subject.draw(this.#random, this.#facts, this.#part);
      if (operation !== undefined) return operation;
    }
    return undefined;
  }

  /** Whether the operation ought to change anything. */
  changes(operation: unknown): boolean {
    const changes = this.#subject.expect(this.#facts, operation);
    return [...changes].some(([name, value]) => this.#facts.get(name) !== value);
  }

  /** It was done. */
  done(operation: unknown): void {
    change(this.#facts, this.#subject.expect(this.#facts, operation));
  }
}
