/**
 * Keys and bounds as they come from the command line.
 *
 * Threads:     any.
 */
import { Buffer } from 'node:buffer';
import type { RangeOptions } from '../index.ts';
import { usageError } from './failure.ts';
import { unescapeBytes } from './text.ts';

/** Options that say which keys a command is about. */
export interface RangeArguments {
  readonly prefix?: string;
  readonly gt?: string;
  readonly gte?: string;
  readonly lt?: string;
  readonly lte?: string;
  /** Keys have the escapes that `scan` prints. */
  readonly escapes?: boolean;
}

/** @throws {CommandError} a backslash that begins no escape. */
export function keyOf(text: string, { escapes }: { readonly escapes?: boolean }): Buffer {
  if (escapes !== true) return Buffer.from(text, 'utf8');
  try {
    return unescapeBytes(text);
  } catch (error) {
    throw usageError((error as Error).message);
  }
}

/** First key behind all those that begin with the prefix; undefined: there is none. */
function behind(prefix: Buffer): Buffer | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const next = Buffer.from(prefix.subarray(0, length));
  next[length - 1] = (next[length - 1] as number) + 1;
  return next;
}

type Bounds = Omit<RangeOptions<Uint8Array>, 'limit' | 'reverse'>;

function larger(a: Buffer, b: Buffer | undefined): Buffer {
  return b === undefined || Buffer.compare(a, b) > 0 ? a : b;
}

function smaller(a: Buffer, b: Buffer | undefined): Buffer {
  return b === undefined || Buffer.compare(a, b) < 0 ? a : b;
}

/** The bounds that all of the options together make. */
export function boundsOf(range: RangeArguments): Bounds {
  const bounds: { -readonly [K in 'gt' | 'gte' | 'lt' | 'lte']?: Buffer } = {};
  for (const name of ['gt', 'gte', 'lt', 'lte'] as const) {
    const text = range[name];
    if (text !== undefined) bounds[name] = keyOf(text, range);
  }
  if (range.prefix !== undefined) {
    const prefix = keyOf(range.prefix, range);
    const end = behind(prefix);
    bounds.gte = larger(prefix, bounds.gte);
    if (end !== undefined) bounds.lt = smaller(end, bounds.lt);
  }
  return bounds;
}

export function isBounded({ prefix, gt, gte, lt, lte }: RangeArguments): boolean {
  return [prefix, gt, gte, lt, lte].some((bound) => bound !== undefined);
}
