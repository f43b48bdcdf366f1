/**
 * Puts and deletes of one turn of the event loop, made together.
 *
 * Owns:        operations that were asked for and are not made yet.
 * Invariants:  who reads or writes through the database in this thread makes them first, in the order in which
 *              they were asked for;
 *              an operation that cannot be made fails alone;
 *              what may have been made is not made again.
 * Threads:     private to a thread.
 *
 * A batch costs little more than half of what its operations cost one by one: one record, one visit to each
 * leaf, one wait for the journal.
 */
import { Buffer } from 'node:buffer';
import { WeirpoolError } from '../errors.ts';
import type { Formatted } from './formats.ts';

/** A put or a delete. */
export type Operation =
  | { readonly type: 'put'; readonly key: Formatted; readonly value: Formatted }
  | { readonly type: 'del'; readonly key: Formatted };

export interface GroupHost {
  /** Makes operations as one: the seq. */
  make(operations: readonly Operation[]): number;
  /** Whether nothing can be made now, because this thread is in the middle of a change of its own. */
  readonly isBusy: boolean;
  /** Bytes of a batch, and of a key and its value in it. */
  readonly batchBytesMax: number;
  readonly inlineBytesMax: number;
}

/** Operations of a group at most, and their bytes: while it is made others wait for its leaves. */
const OPERATIONS_MAX = 128;
const BYTES_MAX = 32 * 1024;
/** Of a batch, for what stands beside keys and values; strings count a byte for each unit. */
const BATCH_SHARE = 1 / 2;

function sizeOf(operation: Operation): number {
  return operation.key.length + (operation.type === 'put' ? operation.value.length : 0);
}

/** What is kept over a turn must not change with the caller's bytes. */
function kept(given: Formatted): Formatted {
  return typeof given === 'string' ? given : Buffer.from(given);
}

const TOO_LARGE: readonly unknown[] = ['OP_TOO_LARGE', 'RECORD_TOO_LARGE'];

/** How operations that have failed together are tried again. */
function partsOf(operations: readonly Operation[], error: unknown): readonly Operation[][] {
  const { code, outcome } = error instanceof WeirpoolError ? error : {};
  if (operations.length < 2 || outcome === 'unknown') return [];
  if (!TOO_LARGE.includes(code)) return operations.map((operation) => [operation]);
  const half = operations.length >>> 1;
  return [operations.slice(0, half), operations.slice(half)];
}

export class Group {
  readonly #host: GroupHost;
  #operations: Operation[] = [];
  #size = 0;
  #isMade = false;
  #failures: Map<Operation, unknown> | undefined;
  /** Seq of the last change that was made; 0: none was. */
  seq = 0;

  constructor(host: GroupHost) {
    this.#host = host;
  }

  get isMade(): boolean {
    return this.#isMade;
  }

  /** Whether it takes another operation of that size. Long values are made alone: they are no batch. */
  admits(operation: Operation): boolean {
    if (this.#operations.length === 0) return true;
    const { batchBytesMax, inlineBytesMax } = this.#host;
    const size = sizeOf(operation);
    const bytesMax = Math.min(BYTES_MAX, batchBytesMax * BATCH_SHARE);
    return (
      this.#operations.length < OPERATIONS_MAX &&
      this.#size + size <= bytesMax &&
      size <= inlineBytesMax &&
      sizeOf(this.#operations[0] as Operation) <= inlineBytesMax
    );
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

  /**
   * Makes the operations; how they went is told by `assertMade`. False: it cannot be done now.
   *
   * @param tries  Whether to try all the same: then they fail, and say why.
   */
  make(tries = false): boolean {
    if (this.#isMade || this.#operations.length === 0) return true;
    if (this.#host.isBusy && !tries) return false;
    const operations = this.#operations;
    this.#isMade = true;
    this.#operations = [];
    this.#makeAll(operations);
    return true;
  }

  #makeAll(operations: readonly Operation[]): void {
    try {
      this.seq = this.#host.make(operations);
    } catch (error) {
      const parts = partsOf(operations, error);
      for (const part of parts) this.#makeAll(part);
      if (parts.length > 0) return;
      this.#failures ??= new Map();
      for (const operation of operations) this.#failures.set(operation, error);
    }
  }

  /** @throws what making the operation has thrown. */
  assertMade(operation: Operation): void {
    if (this.#failures?.has(operation)) throw this.#failures.get(operation);
  }
}
