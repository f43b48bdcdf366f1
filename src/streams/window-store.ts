/**
 * Values of keys in windows of time, behind a write-back cache (Kafka: CachingWindowStore, a
 * TimestampedWindowStore below it).
 *
 * Owns:        the stream time.
 * Invariants:  stream time is the largest start of a window that was put through this object, or told
 *              to it; it never goes back. With a retention nothing whose start is at or before stream
 *              time less the retention is given or taken (Kafka: InMemoryWindowStore).
 * Threads:     private to a thread.
 */
import { integerBetween } from '../pool/integer-between.ts';
import type { Answer, ByteStore, Entries } from './byte-store.ts';
import { type Bytes, bytesOf, copyOf, readTime } from './bytes.ts';
import { CachingStore, type CachingStoreOptions, type CachingStoreStats } from './caching-store.ts';
import { NO_CONTEXT, type RecordContext } from './context.ts';
import { FlushError } from './flush-error.ts';
import type { MakeItem } from './merge.ts';
import type { Steps } from './steps.ts';
import {
  areCrossed,
  endOfKeys,
  isKeyBetween,
  keyWithTime,
  lowerTime,
  timeOf,
  upperTime,
} from './times.ts';
import {
  assertWindowKey,
  assertWindowValue,
  readWindowValue,
  startOf,
  WINDOW_SUFFIX_BYTES,
  type WindowEntry,
  type WindowValue,
  windowIn,
  windowKey,
  windowValue,
} from './window-keys.ts';
import type { Landed } from './writer.ts';

export interface WindowStoreOptions<S extends ByteStore> extends CachingStoreOptions<S> {
  /** How long windows are kept, in ms of stream time. Default: for ever. */
  readonly retentionMs?: number;
  /**
   * How far stream time goes on between two calls of `expire` by `flush`, in ms. Default: half of the
   * retention, at least a minute, as Kafka's segments; Infinity: never by itself.
   */
  readonly expireMs?: number;
  /** Where stream time begins: what `streamTime` was, or see `restoreStreamTime`. Default -1. */
  readonly streamTime?: number;
}

export interface WindowStoreStats extends CachingStoreStats {
  /** Puts that came too late. */
  readonly dropped: number;
}

const SEGMENT_MS_MIN = 60_000;

/** Bounds of keys and of times. */
interface Asked {
  readonly keyFrom: Uint8Array | undefined;
  readonly keyTo: Uint8Array | undefined;
  readonly from: number;
  readonly to: number;
}

export class WindowStore<S extends ByteStore> extends CachingStore<S> {
  readonly #retentionMs: number;
  readonly #expireMs: number;
  #streamTime: number;
  #expiredAt: number;
  #dropped = 0;

  /** @throws {RangeError} {TypeError} an option that is none. */
  constructor(options: WindowStoreOptions<S>) {
    super(options);
    const { retentionMs, expireMs, streamTime = -1 } = options;
    if (retentionMs !== undefined) {
      integerBetween('retentionMs', retentionMs, 1, Number.MAX_SAFE_INTEGER);
    }
    if (expireMs !== undefined && expireMs !== Number.POSITIVE_INFINITY) {
      integerBetween('expireMs', expireMs, 1, Number.MAX_SAFE_INTEGER);
    }
    this.#retentionMs = retentionMs ?? Number.POSITIVE_INFINITY;
    this.#expireMs = expireMs ?? Math.max(this.#retentionMs / 2, SEGMENT_MS_MIN);
    this.#streamTime = integerBetween('streamTime', streamTime, -1, Number.MAX_SAFE_INTEGER);
    this.#expiredAt = this.#streamTime;
  }

  /** The largest start of a window so far; -1: there was none. */
  get streamTime(): number {
    return this.#streamTime;
  }

  /** The earliest start that is not expired. */
  get #earliest(): number {
    return Math.max(0, this.#streamTime - this.#retentionMs + 1);
  }

  #observe(start: number): void {
    if (start > this.#streamTime) this.#streamTime = start;
  }

  // --- writing -------------------------------------------------------------------------------------------

  /**
   * Puts what a window has; undefined deletes it. What is stored is the timestamp of the context and
   * the value. A window that is expired is not put: `stats().dropped` counts it.
   *
   * @throws {RangeError} `start` is not a whole number of milliseconds from 0 on. Otherwise as
   *         `KeyValueStore.put`.
   */
  put(
    key: Bytes,
    value: Bytes | undefined,
    start: number,
    context: RecordContext = NO_CONTEXT,
    sequence = 0,
  ): Answer<S, void> {
    this.assertWritable();
    const stored = windowKey(bytesOf(key, 'A key'), start, sequence);
    const bytes = value === undefined ? undefined : bytesOf(value, 'A value');
    const stamped = bytes && windowValue(bytes, context.timestamp);
    this.#observe(start);
    if (start < this.#earliest) {
      this.#dropped++;
      return this.answer(undefined);
    }
    return this.putRaw(stored, stamped, context);
  }

  /**
   * Deletes a window by its stored key, as ranges and flushes give it, or `windowKey` makes it.
   *
   * @throws {RangeError} it is none. Otherwise as `KeyValueStore.put`.
   */
  delete(storeKey: Uint8Array, context?: RecordContext): Answer<S, void> {
    const key = copyOf(bytesOf(storeKey, 'A stored key'));
    assertWindowKey(key);
    return this.putRaw(key, undefined, context);
  }

  /** As of all stores; the stream time goes on as if the window had been put. */
  override putInner(storeKey: Bytes, value: Bytes): Answer<S, void> {
    const key = bytesOf(storeKey, 'A stored key');
    const bytes = bytesOf(value, 'A value');
    assertWindowKey(key);
    assertWindowValue(bytes);
    this.#observe(startOf(key));
    return super.putInner(key, bytes);
  }

  // --- fetching ------------------------------------------------------------------------------------------

  /** As of all stores; of a window that is expired nothing. */
  override get(storeKey: Bytes): Answer<S, Uint8Array | undefined> {
    const key = bytesOf(storeKey, 'A stored key');
    if (!startsBefore(key, 0, key.length, this.#earliest)) return super.get(key);
    this.assertOpen();
    return this.answer<Uint8Array | undefined>(undefined);
  }

  protected override rawItem(): MakeItem<[Uint8Array, Uint8Array]> {
    const make = super.rawItem();
    const earliest = this.#earliest;
    return (slot) => {
      const { key, keyAt, keyEnd } = slot;
      return startsBefore(key, keyAt, keyEnd, earliest) ? undefined : make(slot);
    };
  }

  /** What a key has in the window that starts at `time`. */
  fetch(key: Bytes, time: number): Answer<S, WindowValue | undefined>;
  /**
   * What a key has in the windows that start from `from` to `to`, both inclusive, in that order; with
   * several of one window in the order of their sequence numbers. A negative `from` is 0, a `to` that is
   * undefined or Infinity is unlimited: three arguments are given all the same.
   */
  fetch(key: Bytes, from: number | undefined, to: number | undefined): Entries<S, WindowEntry>;
  /**
   * The same of all keys from `keyFrom` to `keyTo`, both inclusive; undefined: from the first, to the
   * last (KIP-763). In the order of the stored keys: by key, then by start, if keys have one length.
   */
  fetch(
    keyFrom: Bytes | undefined,
    keyTo: Bytes | undefined,
    from: number | undefined,
    to: number | undefined,
  ): Entries<S, WindowEntry>;
  fetch(
    ...args: readonly (Bytes | number | undefined)[]
  ): Answer<S, WindowValue | undefined> | Entries<S, WindowEntry> {
    if (args.length === 2) return this.#fetchOne(args[0] as Bytes, args[1] as number);
    return this.#fetchMany(args, false);
  }

  /** As `fetch` of several, from the last one down (KIP-617). */
  backwardFetch(
    key: Bytes,
    from: number | undefined,
    to: number | undefined,
  ): Entries<S, WindowEntry>;
  backwardFetch(
    keyFrom: Bytes | undefined,
    keyTo: Bytes | undefined,
    from: number | undefined,
    to: number | undefined,
  ): Entries<S, WindowEntry>;
  backwardFetch(...args: readonly (Bytes | number | undefined)[]): Entries<S, WindowEntry> {
    return this.#fetchMany(args, true);
  }

  /** All windows that start from `from` to `to`, both inclusive. Reads all that there are. */
  fetchAll(from?: number, to?: number): Entries<S, WindowEntry> {
    return this.#fetchKeys(askedOf(undefined, undefined, from, to), false);
  }

  /** The same from the last stored key down (KIP-617). */
  backwardFetchAll(from?: number, to?: number): Entries<S, WindowEntry> {
    return this.#fetchKeys(askedOf(undefined, undefined, from, to), true);
  }

  /** All windows that are not expired. */
  all(): Entries<S, WindowEntry> {
    return this.fetchAll();
  }

  /** The same from the last stored key down (KIP-617). */
  backwardAll(): Entries<S, WindowEntry> {
    return this.backwardFetchAll();
  }

  #fetchOne(key: Bytes, time: number): Answer<S, WindowValue | undefined> {
    this.assertOpen();
    const stored = windowKey(bytesOf(key, 'A key'), timeOf(time, 'A time'));
    if (time < this.#earliest) return this.answer(undefined);
    const found = this.fetchRaw(stored, false);
    if (found instanceof Promise) {
      return found.then((bytes) => bytes && readWindowValue(bytes)) as Answer<
        S,
        WindowValue | undefined
      >;
    }
    return (found && readWindowValue(found as Uint8Array)) as Answer<S, WindowValue | undefined>;
  }

  #fetchMany(
    args: readonly (Bytes | number | undefined)[],
    reverse: boolean,
  ): Entries<S, WindowEntry> {
    const [first, second, third, fourth] = args;
    if (args.length === 3 && (typeof second === 'number' || second === undefined)) {
      const key = copyOf(bytesOf(first as Bytes, 'A key'));
      return this.#fetchKey(key, second, third as number | undefined, reverse);
    }
    const asked = askedOf(first as Bytes, second as Bytes, third as number, fourth as number);
    return this.#fetchKeys(asked, reverse);
  }

  #fetchKey(
    key: Uint8Array,
    from: number | undefined,
    to: number | undefined,
    reverse: boolean,
  ): Entries<S, WindowEntry> {
    const earliest = Math.max(lowerTime(from), this.#earliest);
    const latest = upperTime(to);
    const length = key.length + WINDOW_SUFFIX_BYTES;
    // Between the bounds all begin with the key; those of other keys are longer.
    const make: MakeItem<WindowEntry> = (slot) =>
      slot.keyEnd - slot.keyAt === length ? windowIn(slot, key) : undefined;
    if (latest < earliest) return this.entries({ low: key, high: key, reverse }, make);
    const low = keyWithTime(key, earliest);
    const high = keyWithTime(key, latest + 1);
    return this.entries({ low, high, reverse }, make);
  }

  #fetchKeys({ keyFrom, keyTo, from, to }: Asked, reverse: boolean): Entries<S, WindowEntry> {
    const earliest = Math.max(from, this.#earliest);
    const make: MakeItem<WindowEntry> = (slot) => {
      const end = slot.keyEnd - WINDOW_SUFFIX_BYTES;
      if (end < slot.keyAt) return undefined;
      const start = readTime(slot.key, end);
      if (start < earliest || start > to || !isKeyBetween(slot, end, keyFrom, keyTo)) {
        return undefined;
      }
      return windowIn(slot);
    };
    const isEmpty = to < earliest || areCrossed(keyFrom, keyTo);
    const low = isEmpty ? NO_KEY : keyFrom;
    const high = isEmpty ? NO_KEY : keyTo && endOfKeys(keyTo, to);
    return this.entries({ low, high, reverse }, make);
  }

  // --- retention -----------------------------------------------------------------------------------------

  /**
   * Deletes what is expired from the inner store, and from the cache what is not dirty: how many.
   * Nothing of it was to be seen any more. Reads all keys. `flush` calls it as stream time goes on,
   * and again after a failure.
   */
  expire(): Answer<S, number> {
    this.assertWritable();
    return this.run(this.#expire());
  }

  *#expire(): Steps<number> {
    const earliest = this.#earliest;
    const before = this.#expiredAt;
    // Not when it has ended: a flush meanwhile need not begin the same again.
    this.#expiredAt = this.#streamTime;
    if (earliest === 0) return 0;
    try {
      return yield* this.purge((stored) => startsBefore(stored, 0, stored.length, earliest));
    } catch (error) {
      this.#expiredAt = Math.min(this.#expiredAt, before);
      throw error;
    }
  }

  protected override *flushSteps(withOld: boolean): Steps<Landed> {
    const landed = yield* super.flushSteps(withOld);
    if (this.#streamTime - this.#expiredAt < this.#expireMs) return landed;
    try {
      yield* this.#expire();
    } catch (error) {
      // What has landed must not get lost with it.
      throw new FlushError(error, landed, super.stats().dirty);
    }
    return landed;
  }

  /**
   * Reads all windows and sets stream time to the largest start there is, if it is not beyond: for a
   * store with a retention that was opened again.
   */
  restoreStreamTime(): Answer<S, number> {
    this.assertOpen();
    const make: MakeItem<number> = ({ key, keyAt, keyEnd }) =>
      keyEnd - keyAt < WINDOW_SUFFIX_BYTES
        ? undefined
        : readTime(key, keyEnd - WINDOW_SUFFIX_BYTES);
    const range = { low: undefined, high: undefined, reverse: false };
    return this.run(this.#restoreFrom(this.entries(range, make, false)));
  }

  *#restoreFrom(starts: Entries<S, number>): Steps<number> {
    const all = starts.toArray();
    for (const start of (all instanceof Promise ? yield all : all) as number[]) {
      this.#observe(start);
    }
    return this.#streamTime;
  }

  override stats(): WindowStoreStats {
    return { ...super.stats(), dropped: this.#dropped };
  }
}

const NO_KEY = new Uint8Array(0);

/** Whether the bytes are the key of a window that starts before `earliest`. */
function startsBefore(bytes: Uint8Array, at: number, end: number, earliest: number): boolean {
  const startAt = end - WINDOW_SUFFIX_BYTES;
  return startAt >= at && readTime(bytes, startAt) < earliest;
}

function askedOf(
  keyFrom: Bytes | undefined,
  keyTo: Bytes | undefined,
  from: number | undefined,
  to: number | undefined,
): Asked {
  return {
    keyFrom: keyFrom === undefined ? undefined : copyOf(bytesOf(keyFrom, 'A key')),
    keyTo: keyTo === undefined ? undefined : copyOf(bytesOf(keyTo, 'A key')),
    from: lowerTime(from),
    to: upperTime(to),
  };
}
