/**
 * Entries of a cache that is private to a thread, in its heap.
 *
 * Owns:        the entries, in a list in the order of their insertion; a map of them, and one of the
 *              dirty ones. Values are kept as they were given, not copied.
 * Invariants:  B1, B2, B3 as stated in entries.ts.
 * Threads:     one.
 *
 * The list is one of its own: taking the first key of a Map again and again passes over all those that
 * were deleted before it.
 */
import { Buffer } from 'node:buffer';
import { asBytes, type Codec } from '../tree/codec.ts';
import { LocalClaims } from './claims.ts';
import {
  type DirtyEntry,
  type DirtyKey,
  type Doomed,
  type Entries,
  type Filled,
  isSameStamp,
  isTaken,
  type ReadToken,
  type Stamp,
  type Victim,
} from './entries.ts';
import { codecLoses } from './failure.ts';

interface Entry<K, V> {
  readonly key: K;
  value: V;
  readonly inserted: number;
  version: number;
  dirty: boolean;
  changedAt: number;
  before: Entry<K, V> | undefined;
  after: Entry<K, V> | undefined;
}

/** A key that is being read. */
interface Watched {
  epoch: number;
  reads: number;
}

export class MemoryEntries<K, V> implements Entries<K, V> {
  readonly capacity: number;
  readonly claims: LocalClaims = new LocalClaims();
  flushes = 0;
  entriesFlushed = 0;
  readonly #codec: Codec<K> | undefined;
  readonly #entries = new Map<unknown, Entry<K, V>>();
  readonly #dirty = new Map<unknown, Entry<K, V>>();
  readonly #watched = new Map<unknown, Watched>();
  #first: Entry<K, V> | undefined;
  #last: Entry<K, V> | undefined;
  #insertions = 0;

  /** @param codec  Of keys whose bytes tell whether they are the same; else the map's rules do. */
  constructor(capacity: number, codec: Codec<K> | undefined) {
    this.capacity = capacity;
    this.#codec = codec;
  }

  get size(): number {
    return this.#entries.size;
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  idOf(key: K): unknown {
    if (this.#codec === undefined) return key;
    const encoded = this.#codec.encode(key);
    if (typeof encoded === 'string') return encoded;
    const bytes = asBytes(encoded);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  }

  own(key: K): K {
    return this.#own(key, this.idOf(key));
  }

  get(key: K): V | undefined {
    return this.#entries.get(this.idOf(key))?.value;
  }

  has(key: K): boolean {
    return this.#entries.has(this.idOf(key));
  }

  isDirty(key: K): boolean {
    return this.#dirty.has(this.idOf(key));
  }

  put(key: K, value: V, now: number): boolean {
    const id = this.idOf(key);
    let entry = this.#entries.get(id);
    if (entry === undefined) {
      if (this.size >= this.capacity) return false;
      entry = this.#insert(id, key, value);
    }
    entry.value = value;
    entry.version++;
    entry.changedAt = now;
    if (!entry.dirty) {
      entry.dirty = true;
      this.#dirty.set(id, entry);
    }
    return true;
  }

  #insert(id: unknown, key: K, value: V): Entry<K, V> {
    const before = this.#last;
    const inserted = ++this.#insertions;
    const entry: Entry<K, V> = {
      key: this.#own(key, id),
      value,
      inserted,
      version: 0,
      dirty: false,
      changedAt: 0,
      before,
      after: undefined,
    };
    if (before === undefined) this.#first = entry;
    else before.after = entry;
    this.#last = entry;
    this.#entries.set(id, entry);
    this.#touch(id);
    return entry;
  }

  /** A key that the caller cannot change: an entry is found by its key as long as it lives. */
  #own(key: K, id: unknown): K {
    const codec = this.#codec;
    if (codec === undefined || typeof key !== 'object') return key;
    const isText = typeof codec.encode(key) === 'string';
    const own = codec.decode(Buffer.from(id as string, isText ? 'utf8' : 'latin1'));
    if (this.idOf(own) !== id) throw codecLoses(asBytes(codec.encode(key)));
    return own;
  }

  #drop(id: unknown, entry: Entry<K, V>): void {
    const { before, after } = entry;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    this.#entries.delete(id);
    this.#clean(id, entry);
  }

  #clean(id: unknown, entry: Entry<K, V>): void {
    if (!entry.dirty) return;
    entry.dirty = false;
    this.#dirty.delete(id);
  }

  // --- reading through -------------------------------------------------------------------------------

  /** What a read of the key brings from now on is old. */
  #touch(id: unknown): void {
    if (this.#watched.size === 0) return;
    const watched = this.#watched.get(id);
    if (watched !== undefined) watched.epoch++;
  }

  beginRead(key: K): ReadToken {
    const id = this.idOf(key);
    let watched = this.#watched.get(id);
    if (watched === undefined) {
      watched = { epoch: 0, reads: 0 };
      this.#watched.set(id, watched);
    }
    watched.reads++;
    return { id, epoch: watched.epoch };
  }

  isCurrent({ id, epoch }: ReadToken): boolean {
    return this.#watched.get(id)?.epoch === epoch;
  }

  endRead({ id }: ReadToken): void {
    const watched = this.#watched.get(id);
    if (watched !== undefined && --watched.reads === 0) this.#watched.delete(id);
  }

  fill(key: K, value: V, token: ReadToken): Filled {
    if (!this.isCurrent(token)) return 'stale';
    if (this.size >= this.capacity) return 'full';
    this.#insert(token.id, key, value);
    return 'filled';
  }

  // --- eviction, flushing ------------------------------------------------------------------------------

  victim(): Victim<K> | undefined {
    return this.#first;
  }

  evict(victim: Victim<K>): void {
    const id = this.idOf(victim.key);
    const entry = this.#entries.get(id);
    if (entry !== undefined && !entry.dirty && isSameStamp(entry, victim)) this.#drop(id, entry);
  }

  dirtyKeys(until: number = Number.POSITIVE_INFINITY): DirtyKey<K>[] {
    const keys: DirtyKey<K>[] = [];
    for (const { key, inserted, version, changedAt } of this.#dirty.values()) {
      if (changedAt <= until) keys.push({ key, inserted, version });
    }
    return keys;
  }

  dirty(key: K): DirtyEntry<V> | undefined {
    const entry = this.#dirty.get(this.idOf(key));
    if (entry === undefined) return undefined;
    // Not the entry itself: it may change while it is being written.
    const { value, inserted, version, changedAt } = entry;
    return { value, inserted, version, changedAt };
  }

  written(key: K, stamp: Stamp): void {
    this.entriesFlushed++;
    const id = this.idOf(key);
    const entry = this.#dirty.get(id);
    if (entry !== undefined && isSameStamp(entry, stamp)) this.#clean(id, entry);
  }

  forgetRead(key: K, since: Stamp): void {
    const id = this.idOf(key);
    const entry = this.#entries.get(id);
    if (entry?.inserted === since.inserted) return;
    this.#touch(id);
    if (entry?.version === 0) this.#drop(id, entry);
  }

  markClean(key: K): boolean {
    const id = this.idOf(key);
    const entry = this.#dirty.get(id);
    if (entry === undefined) return false;
    this.#clean(id, entry);
    return true;
  }

  noteFlush(): void {
    this.flushes++;
  }

  // --- deleting ------------------------------------------------------------------------------------------

  stampOf(key: K): Stamp | undefined {
    const entry = this.#entries.get(this.idOf(key));
    return entry === undefined ? undefined : { inserted: entry.inserted, version: entry.version };
  }

  beginDelete({ key }: Doomed<K>): void {
    this.#touch(this.idOf(key));
  }

  endDelete(doomed: Doomed<K>): void {
    const id = this.idOf(doomed.key);
    this.#touch(id);
    const entry = this.#entries.get(id);
    if (entry !== undefined && isTaken(entry, doomed)) this.#drop(id, entry);
  }

  cancelDelete(doomed: Doomed<K>): void {
    this.#touch(this.idOf(doomed.key));
  }

  leftDeletes(): K[] {
    return [];
  }

  leftDelete(): undefined {
    return undefined;
  }

  ahead(): void {
    // Nothing outlives the process.
  }
}
