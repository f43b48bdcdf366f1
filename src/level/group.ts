/**
 * Puts and deletes of one turn of the event loop, made together.
 *
 * Owns:        the operations that were asked for and are not made yet.
 * Invariants:  who reads or writes the tree in this thread makes them first, in the order in which they were
 *              asked for: nobody can tell that they have waited;
 *              an operation that cannot be made fails alone.
 * Threads:     one object for each thread and database.
 *
 * A batch costs little more than half of what its operations cost one by one: one record, one visit to each
 * leaf, one wait for the journal.
 */
import { Buffer } from 'node:buffer';
import type { Formatted } from './formats.ts';

/** A put or a delete. */
export type Operation =
  | { readonly type: 'put'; readonly key: Formatted; readonly value: Formatted }
  | { readonly type: 'del'; readonly key: Formatted };

/** Operations of a group at most: while it is made others wait for its leaves. */
const OPERATIONS_MAX = 128;
/** Bytes, or units of strings, with which a group is made at once. */
const GROUP_SIZE = 32 * 1024;

function sizeOf(operation: Operation): number {
  return operation.key.length + (operation.type === 'put' ? operation.value.length : 0);
}

/** What is kept over a turn must not change with the caller's bytes. */
function kept(given: Formatted): Formatted {
  return typeof given === 'string' ? given : Buffer.from(given);
}

export class Group {
  readonly #make: (operations: readonly Operation[]) => number;
  readonly #operations: Operation[] = [];
  #size = 0;
  #isMade = false;
  #failures: Map<Operation, unknown> | undefined;
  /** Seq of the last change that was made; 0: none was. */
  seq = 0;

  constructor(make: (operations: readonly Operation[]) => number) {
    this.#make = make;
  }

  get isMade(): boolean {
    return this.#isMade;
  }

  /** Whether it takes another operation of that size. */
  admits(operation: Operation): boolean {
    if (this.#operations.length === 0) return true;
    return this.#operations.length < OPERATIONS_MAX && this.#size + sizeOf(operation) <= GROUP_SIZE;
  }

  /** Adds an operation: what `assertMade` takes. */
  add(operation: Operation): Operation {
    const { type, key } = operation;
    const own: Operation =
      type === 'put'
        ? { type, key: kept(key), value: kept(operation.value) }
        : { type, key: kept(key) };
    this.#operations.push(own);
    this.#size += sizeOf(own);
    return own;
  }

  /** Makes the operations; how they went is told by `assertMade`. */
  make(): void {
    if (this.#isMade) return;
    this.#isMade = true;
    this.#makeAll(this.#operations);
  }

  /** What cannot be made together, because the pool is small for so many leaves, is made in parts. */
  #makeAll(operations: readonly Operation[]): void {
    try {
      this.seq = this.#make(operations);
    } catch (error) {
      if (operations.length > 1) {
        const half = operations.length >>> 1;
        this.#makeAll(operations.slice(0, half));
        this.#makeAll(operations.slice(half));
        return;
      }
      this.#failures ??= new Map();
      this.#failures.set(operations[0] as Operation, error);
    }
  }

  /** @throws what making the operation has thrown. */
  assertMade(operation: Operation): void {
    if (this.#failures?.has(operation)) throw this.#failures.get(operation);
  }
}
