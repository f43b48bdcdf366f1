/**
 * What goes wrong in a write-behind cache.
 *
 * Owns:        the making of its errors; their codes are in src/errors.ts.
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';
import { type Outcome, WeirpoolError } from '../errors.ts';
import type { StoreOperation } from './store.ts';

/** One call of the backing store that failed. */
export interface StoreFailure {
  readonly operation: StoreOperation;
  readonly key: unknown;
  readonly cause: unknown;
}

/** `BACKING_STORE_FAILED`: what the store has thrown is the cause; of several failures, the first. */
export class BackingStoreError extends WeirpoolError {
  readonly failures: readonly StoreFailure[];

  constructor(failures: readonly StoreFailure[], outcome: Outcome) {
    const [first] = failures as readonly [StoreFailure];
    const { operation } = first;
    const key = textOf(first.key);
    const others = failures.length === 1 ? '' : `, and ${failures.length - 1} more,`;
    super(
      'BACKING_STORE_FAILED',
      `The backing store did not ${operation} ${key}${others}: ${textOf(first.cause)}`,
      { cause: first.cause, outcome, details: { operation, key, failures: failures.length } },
    );
    this.failures = failures;
  }

  /** What the first one was. */
  get operation(): StoreOperation {
    return (this.failures as readonly [StoreFailure])[0].operation;
  }

  /** The keys that the failures are about. */
  get keys(): unknown[] {
    return this.failures.map(({ key }) => key);
  }
}

/** Longest text of a key in a message. */
const TEXT_MAX = 200;

/** Whatever was thrown, or given as a key, in a few words. */
function textOf(value: unknown): string {
  let text: string;
  try {
    if (value instanceof Error) text = value.message;
    else if (typeof value === 'string') text = JSON.stringify(value);
    else if (value instanceof Uint8Array) text = `<${Buffer.from(value).toString('hex')}>`;
    else text = typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value);
  } catch {
    text = Object.prototype.toString.call(value);
  }
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}...` : text;
}

/** A synchronous call has to wait for something that only comes by a promise. */
export function asynchronous(what: string, outcome: Outcome): WeirpoolError {
  const goesOn = outcome === 'unknown' ? ' It goes on meanwhile.' : '';
  return new WeirpoolError(
    'BACKING_STORE_ASYNC',
    `A synchronous call would have to wait for ${what}.${goesOn} Call the asynchronous method.`,
    { outcome },
  );
}

/** Entries are found by their keys' bytes: a key that comes back as another one is lost. */
export function codecLoses(name: Uint8Array): TypeError {
  return new TypeError(
    `The codec of keys does not give back what it has encoded, ${textOf(name)}: encode(decode(bytes)) ` +
      'are the same bytes, for all keys of the cache',
  );
}

export function cacheClosed(): WeirpoolError {
  return new WeirpoolError('CACHE_CLOSED', 'The cache is closed: open or make another one.');
}
