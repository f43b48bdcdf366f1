/**
 * Iterators over a level database: entries, keys, values.
 *
 * Owns:        the implicit snapshot of the moment when it was made, until it is closed.
 * Threads:     private to a thread.
 *
 * Reading is synchronous; what abstract-level's promises add is theirs. Only a long `all` gives way now and
 * then, and heeds the signal there.
 */
import { Buffer } from 'node:buffer';
import {
  AbstractIterator,
  type AbstractIteratorOptions,
  AbstractKeyIterator,
  type AbstractKeyIteratorOptions,
  AbstractValueIterator,
  type AbstractValueIteratorOptions,
} from 'abstract-level';
import type { Bounds } from '../tree/cursor.ts';
import { attached } from './attached.ts';
import type { Database } from './database.ts';
import { abortError } from './errors.ts';
import { bytesOf, type Format, type Formatted, formatPart, formatWhole } from './formats.ts';
import type { WeirLevel } from './level.ts';
import type { Chunk, SnapshotScan } from './scan.ts';
import type { WeirSnapshot } from './snapshot.ts';

/** Entries of the first chunk, and of the largest one. */
const CHUNK_MIN = 16;
const CHUNK_MAX = 1024;
/** Entries after which `all` lets others have their turn. */
const TURN_ENTRIES = 8192;

/** Bounds of a range as abstract-level hands them on, encoded. */
export interface RangeGiven {
  readonly gt?: Formatted;
  readonly gte?: Formatted;
  readonly lt?: Formatted;
  readonly lte?: Formatted;
}

/** Inclusive bounds win over exclusive ones, whichever is narrower: so abstract-level's tests. */
export function boundsOf({ gt, gte, lt, lte }: RangeGiven): Bounds {
  const low = gte ?? gt;
  const high = lte ?? lt;
  return {
    low: low === undefined ? undefined : bytesOf(low),
    lowExclusive: gte === undefined && gt !== undefined,
    high: high === undefined ? undefined : bytesOf(high),
    highInclusive: lte !== undefined,
  };
}

export interface ReadingOptions extends RangeGiven {
  readonly reverse?: boolean;
  readonly limit?: number;
  readonly keys?: boolean;
  readonly values?: boolean;
  readonly keyEncoding?: string;
  readonly valueEncoding?: string;
  readonly snapshot?: WeirSnapshot | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Makes an item of a chunk's keys and values. */
type Take<T> = (reader: Reader<T>, chunk: Chunk, index: number) => T;

/** What the three kinds of iterators have in common. */
class Reader<T> {
  readonly keyFormat: Format;
  readonly valueFormat: Format;
  readonly keys: boolean;
  readonly values: boolean;
  readonly #database: Database;
  readonly #take: Take<T>;
  readonly #bounds: Bounds;
  readonly #reverse: boolean;
  readonly #needsValues: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #epoch: number;
  #own: boolean;
  #left: number;
  #scan: SnapshotScan | undefined;
  #chunk: Chunk | undefined;
  #index = 0;
  #size = CHUNK_MIN;

  constructor(database: Database, options: ReadingOptions, take: Take<T>, needsValues: boolean) {
    const { limit = -1, snapshot } = options;
    this.keyFormat = options.keyEncoding as Format;
    this.valueFormat = options.valueEncoding as Format;
    this.keys = options.keys !== false;
    this.values = options.values !== false;
    this.#database = database;
    this.#take = take;
    this.#bounds = boundsOf(options);
    this.#reverse = options.reverse === true;
    this.#needsValues = needsValues;
    this.#signal = options.signal ?? undefined;
    this.#left = limit < 0 ? Number.POSITIVE_INFINITY : limit;
    this.#own = snapshot === undefined || snapshot === null;
    this.#epoch = snapshot?.epochIn(database) ?? database.openSnapshot();
    try {
      this.#scan = this.#begin(this.#bounds);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #begin(bounds: Bounds): SnapshotScan {
    return this.#database.scan({
      bounds,
      reverse: this.#reverse,
      values: this.#needsValues,
      epoch: this.#epoch,
    });
  }

  /** Whether there is another item in the chunk, which may be a new one. */
  #fill(): boolean {
    if (this.#chunk !== undefined && this.#index < this.#chunk.count) return true;
    if (this.#left <= 0) return false;
    this.#chunk = this.#scan?.next(Math.min(this.#size, this.#left));
    this.#size = Math.min(this.#size * 4, CHUNK_MAX);
    this.#index = 0;
    if (this.#chunk !== undefined) return true;
    this.#scan = undefined;
    return false;
  }

  next(): T | undefined {
    if (!this.#fill()) return undefined;
    this.#left--;
    return this.#take(this, this.#chunk as Chunk, this.#index++);
  }

  nextv(size: number): T[] {
    const items: T[] = [];
    if (size > this.#size) this.#size = Math.min(size, CHUNK_MAX);
    while (items.length < size && this.#fill()) {
      const chunk = this.#chunk as Chunk;
      const end = Math.min(chunk.count, this.#index + Math.min(size - items.length, this.#left));
      if (end === this.#index) break;
      this.#left -= end - this.#index;
      for (let index = this.#index; index < end; index++)
        items.push(this.#take(this, chunk, index));
      this.#index = end;
    }
    return items;
  }

  async all(): Promise<T[]> {
    let items = await this.heeding(() => this.nextv(TURN_ENTRIES));
    for (let part = items; part.length === TURN_ENTRIES; ) {
      await new Promise((done) => setImmediate(done));
      if (this.#signal?.aborted === true) throw abortError(this.#signal);
      part = this.nextv(TURN_ENTRIES);
      if (part.length > 0) items = items.concat(part);
    }
    return items;
  }

  /** Reads at once, or with a signal in a turn of its own, unless it is aborted until then. */
  heeding<R>(read: () => R): R | Promise<R> {
    const signal = this.#signal;
    return signal === undefined ? read() : this.#readLater(signal, read);
  }

  async #readLater<R>(signal: AbortSignal, read: () => R): Promise<R> {
    await Promise.resolve();
    if (signal.aborted) throw abortError(signal);
    return read();
  }

  /** Goes on at the target; nothing is left when it lies outside of the range. */
  seek(target: Formatted): void {
    const bytes = bytesOf(target);
    this.#chunk = undefined;
    this.#size = CHUNK_MIN;
    const { low, high, highInclusive, lowExclusive } = this.#bounds;
    const fromLow = low === undefined ? 1 : Buffer.compare(bytes, low);
    const fromHigh = high === undefined ? -1 : Buffer.compare(bytes, high);
    const isIn =
      (fromLow > 0 || (fromLow === 0 && !lowExclusive)) &&
      (fromHigh < 0 || (fromHigh === 0 && highInclusive));
    if (!isIn) {
      this.#scan = undefined;
      return;
    }
    this.#scan = this.#begin(
      this.#reverse
        ? { ...this.#bounds, high: bytes, highInclusive: true }
        : { ...this.#bounds, low: bytes, lowExclusive: false },
    );
  }

  close(): void {
    this.#scan = undefined;
    this.#chunk = undefined;
    if (!this.#own) return;
    this.#own = false;
    this.#database.closeSnapshot(this.#epoch);
  }
}

function keyAt<T>({ keyFormat }: Reader<T>, chunk: Chunk, index: number): Formatted {
  if ('keys' in chunk) return formatWhole(chunk.keys[index] as Buffer, keyFormat);
  const { bytes, places } = chunk.batch;
  const from = places[index * 3] as number;
  return formatPart(bytes, from, from + bytes.readUInt32LE(from - 8), keyFormat);
}

function valueAt<T>({ valueFormat }: Reader<T>, chunk: Chunk, index: number): Formatted {
  if ('keys' in chunk) return formatWhole(chunk.values[index] as Buffer, valueFormat);
  const { bytes, places } = chunk.batch;
  return formatPart(
    bytes,
    places[index * 3 + 1] as number,
    places[index * 3 + 2] as number,
    valueFormat,
  );
}

type Entry = [Formatted | undefined, Formatted | undefined];

function entryAt(reader: Reader<Entry>, chunk: Chunk, index: number): Entry {
  return [
    reader.keys ? keyAt(reader, chunk, index) : undefined,
    reader.values ? valueAt(reader, chunk, index) : undefined,
  ];
}

export class WeirIterator<K, V> extends AbstractIterator<WeirLevel<K, V>, K, V> {
  readonly #reader: Reader<Entry>;

  constructor(db: WeirLevel<K, V>, database: Database, options: ReadingOptions) {
    super(db, options as AbstractIteratorOptions<K, V>);
    this.#reader = attached(
      db,
      this,
      () => new Reader(database, options, entryAt, options.values !== false),
    );
  }

  _next(): Entry | undefined | Promise<Entry | undefined> {
    return this.#reader.heeding(() => this.#reader.next());
  }

  _nextv(size: number): Entry[] | Promise<Entry[]> {
    return this.#reader.heeding(() => this.#reader.nextv(size));
  }

  _all(): Promise<Entry[]> {
    return this.#reader.all();
  }

  _seek(target: Formatted): void {
    this.#reader.seek(target);
  }

  async _close(): Promise<void> {
    this.#reader.close();
  }
}

export class WeirKeyIterator<K, V> extends AbstractKeyIterator<WeirLevel<K, V>, K> {
  readonly #reader: Reader<Formatted>;

  constructor(db: WeirLevel<K, V>, database: Database, options: ReadingOptions) {
    super(db, options as AbstractKeyIteratorOptions<K>);
    this.#reader = attached(db, this, () => new Reader(database, options, keyAt, false));
  }

  _next(): Formatted | undefined | Promise<Formatted | undefined> {
    return this.#reader.heeding(() => this.#reader.next());
  }

  _nextv(size: number): Formatted[] | Promise<Formatted[]> {
    return this.#reader.heeding(() => this.#reader.nextv(size));
  }

  _all(): Promise<Formatted[]> {
    return this.#reader.all();
  }

  _seek(target: Formatted): void {
    this.#reader.seek(target);
  }

  async _close(): Promise<void> {
    this.#reader.close();
  }
}

export class WeirValueIterator<K, V> extends AbstractValueIterator<WeirLevel<K, V>, K, V> {
  readonly #reader: Reader<Formatted>;

  constructor(db: WeirLevel<K, V>, database: Database, options: ReadingOptions) {
    super(db, options as AbstractValueIteratorOptions<K, V>);
    this.#reader = attached(db, this, () => new Reader(database, options, valueAt, true));
  }

  _next(): Formatted | undefined | Promise<Formatted | undefined> {
    return this.#reader.heeding(() => this.#reader.next());
  }

  _nextv(size: number): Formatted[] | Promise<Formatted[]> {
    return this.#reader.heeding(() => this.#reader.nextv(size));
  }

  _all(): Promise<Formatted[]> {
    return this.#reader.all();
  }

  _seek(target: Formatted): void {
    this.#reader.seek(target);
  }

  async _close(): Promise<void> {
    this.#reader.close();
  }
}
