/**
 * Options of a write-behind cache.
 *
 * Owns:        their checks and defaults.
 * Threads:     any.
 */
import { integerBetween } from '../pool/integer-between.ts';
import { type Codec, type CodecName, codecOf } from '../tree/codec.ts';
import { type Clock, SYSTEM_CLOCK } from './clock.ts';

/** When entries are flushed without being asked to; none of them by default. */
export interface FlushOptions {
  /** All, as soon as so many are dirty; within a second, if another thread's put has made them so. */
  readonly count?: number;
  /** Those that were last changed so many ms ago; half as long again at most. */
  readonly ageMs?: number;
  /** All, so many ms after the last time. */
  readonly intervalMs?: number;
}

/** What both modes have. */
export interface CacheOptions {
  /** Entries at most, 100,000 by default; 0 becomes 1. */
  readonly capacity?: number;
  readonly flush?: FlushOptions;
  /** Writes of one flush that may be under way at a time. Default 1: they are made in order. */
  readonly concurrency?: number;
  /**
   * Told of failures that no call throws: of flushing in the background, of room that could not be made
   * for what a get has read. Without it they are warnings of the process. Also published to the
   * diagnostics channel `weirpool:write-behind:error`.
   */
  readonly onError?: (error: unknown) => void;
  /** For tests. */
  readonly clock?: Clock;
}

export interface MemoryOptions<K> extends CacheOptions {
  /** Keys are the same if their bytes are. Without it, if a Map says so: right for all but objects. */
  readonly key?: CodecName | Codec<K>;
}

export interface DurableOptions<K, V> extends CacheOptions {
  /** Tells several caches of one store apart. Default `cache`. */
  readonly name?: string;
  /** How keys become bytes. Default `utf8`. */
  readonly key?: CodecName | Codec<K>;
  /** How values do. Default `json`. */
  readonly value?: CodecName | Codec<V>;
  /**
   * What the entries survive: `written` (default) the end of the process, `synced` power loss. No put
   * waits for it, see `WriteBehind.durable`; the backing store is changed only afterwards.
   */
  readonly durability?: 'written' | 'synced';
}

/** Of the thread that attaches; the rest is the opener's. */
export type AttachOptions<K, V> = Omit<DurableOptions<K, V>, 'name' | 'capacity' | 'durability'>;

const CAPACITY = 100_000;
const CAPACITY_MAX = 2 ** 30;
const MS_MAX = 2 ** 31 - 1;
const CONCURRENCY_MAX = 1024;

export interface CommonParts {
  readonly concurrency: number;
  readonly flush: FlushOptions;
  readonly onError: ((error: unknown) => void) | undefined;
  readonly clock: Clock;
}

export function capacityOf({ capacity = CAPACITY }: CacheOptions): number {
  return Math.max(1, integerBetween('capacity', capacity, 0, CAPACITY_MAX));
}

/** @throws {TypeError}, {RangeError} an option is none. */
export function commonOf(options: CacheOptions): CommonParts {
  const { concurrency = 1, flush = {}, onError, clock = SYSTEM_CLOCK } = options;
  integerBetween('concurrency', concurrency, 1, CONCURRENCY_MAX);
  const { count, ageMs, intervalMs } = flush;
  if (count !== undefined) integerBetween('flush.count', count, 1, CAPACITY_MAX);
  if (ageMs !== undefined) integerBetween('flush.ageMs', ageMs, 1, MS_MAX);
  if (intervalMs !== undefined) integerBetween('flush.intervalMs', intervalMs, 1, MS_MAX);
  if (onError !== undefined && typeof onError !== 'function') {
    throw new TypeError('onError is a function');
  }
  return { concurrency, flush, onError, clock };
}

export function keyCodecOf<K>(key: CodecName | Codec<K> | undefined): Codec<K> | undefined {
  return key === undefined ? undefined : codecOf<K>(key, 'key');
}
