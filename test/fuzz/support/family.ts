/**
 * What a decoder's fuzzer is made of, and what no answer of a decoder may be.
 *
 * Owns:        the rule for errors: only a WeirpoolError, or what the call documents for its arguments.
 * Threads:     the main thread of a fuzz program.
 */
import type fc from 'fast-check';
import { WeirpoolError } from '../../../src/errors.ts';
import type { Budget } from './budget.ts';

/** Of one family, what a program does with it. */
export interface Family<T> {
  readonly name: string;
  readonly prepare: (context: Context) => Promise<Prepared<T>> | Prepared<T>;
}

export interface Prepared<T> {
  readonly cases: fc.Arbitrary<T>;
  /** Throws if the case is answered as it must not be. */
  readonly check: (given: T) => Promise<void> | void;
  /** Outcomes that a run of some length must have had: a fuzzer that never gets there is none. */
  readonly wanted: readonly string[];
  /** After the last case. */
  readonly end?: () => Promise<void>;
}

/** A decoder did what it must not do. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export function must(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Violation(message);
}

type Documented = (error: unknown) => string | undefined;

const CALLS_MAX = 50_000;
const RESERVED_MAX = 1024 * 1024;

export interface Bounds {
  readonly bytesMax: number;
  /** Of wasm memories; by default what checksums take. */
  readonly reservedMax?: number;
  readonly callsMax?: number;
  /** Errors beside those of the product: what they are counted as. */
  readonly documented?: Documented;
}

function told(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

export class Context {
  readonly budget: Budget;
  /** How often which outcome was had. */
  readonly outcomes: Record<string, number> = {};
  /** Largest shares of the bounds that were asked for. */
  readonly peaks = { bytes: 0, reserved: 0, calls: 0 };

  constructor(budget: Budget) {
    this.budget = budget;
  }

  note(outcome: string): void {
    this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1;
  }

  /** Runs a decoder: what it gives, or undefined after an error that it may give. */
  async run<T>(name: string, bounds: Bounds, action: () => T | Promise<T>): Promise<T | undefined> {
    const { budget } = this;
    let error: unknown;
    let result: T | undefined;
    this.#begin(bounds);
    try {
      result = await action();
    } catch (thrown) {
      error = thrown ?? new Error('nothing was thrown, as an error');
    } finally {
      budget.end();
    }
    return this.#judge(name, bounds, error, result);
  }

  /** The last error that was one of those that may be: what a violation is explained by. */
  last: unknown;

  /** The same for what answers at once. */
  runSync<T>(name: string, bounds: Bounds, action: () => T): T | undefined {
    const { budget } = this;
    let error: unknown;
    let result: T | undefined;
    this.#begin(bounds);
    try {
      result = action();
    } catch (thrown) {
      error = thrown ?? new Error('nothing was thrown, as an error');
    } finally {
      budget.end();
    }
    return this.#judge(name, bounds, error, result);
  }

  #begin({ bytesMax, reservedMax = RESERVED_MAX, callsMax = CALLS_MAX }: Bounds): void {
    this.last = undefined;
    this.budget.begin(bytesMax, reservedMax, callsMax);
  }

  #judge<T>(name: string, bounds: Bounds, error: unknown, result: T | undefined): T | undefined {
    const { budget } = this;
    const { reservedMax = RESERVED_MAX, callsMax = CALLS_MAX } = bounds;
    this.peaks.reserved = Math.max(this.peaks.reserved, budget.reserved / reservedMax);
    this.peaks.calls = Math.max(this.peaks.calls, budget.calls / callsMax);
    this.peaks.bytes = Math.max(this.peaks.bytes, budget.bytes / bounds.bytesMax);
    if (budget.exceeded !== undefined) throw new Violation(`${name}: ${told(budget.exceeded)}`);
    if (error === undefined) {
      this.note(`${name} ok`);
      return result;
    }
    if (error instanceof Violation) throw error;
    this.last = error;
    const code = error instanceof WeirpoolError ? error.code : bounds.documented?.(error);
    if (code === undefined)
      throw new Violation(`${name} ends with no error of ours: ${told(error)}`);
    this.note(`${name} ${code}`);
    return undefined;
  }
}
