/**
 * Entries of a cache that lives in trees of a Weirpool: they survive a crash, and threads share them.
 *
 * Owns:        four trees: entries (key -> header and value), order (number of the insertion -> key),
 *              dirty (number of the dirty mark -> key), deletes that are under way (key -> what there
 *              was of it).
 * Invariants:  B1, B2, B3 as stated in entries.ts; B5: `ahead` waits for the log;
 *              an entry, its place in the order and its dirty mark change with one record.
 * Threads:     one object for each thread that has the cache.
 *
 * A change reads the entry, says what comes of it, and is made if the entry is still the same when its
 * leaf is latched; else it begins again. A put over a dirty entry, the most frequent one, reads the
 * entry only then.
 */
import { Buffer } from 'node:buffer';
import { H_LOG_DURABLE, H_LOG_TAIL, H_LOG_WRITTEN } from '../generated/layout.ts';
import type { BlobId } from '../store/contract.ts';
import type { Entry } from '../tree/change.ts';
import { asBytes, type Codec } from '../tree/codec.ts';
import { mergeAround } from '../tree/merge.ts';
import type { TreeStore } from '../tree/store.ts';
import type { Tree } from '../tree/tree.ts';
import type { Weirpool } from '../tree/weirpool.ts';
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
import { type Expected, ExpectGuard, HitGuard } from './entry-guards.ts';
import { codecLoses } from './failure.ts';
import {
  decodeDoomed,
  encodeDoomed,
  HEADER_BYTES,
  type Header,
  HeaderBytes,
  readSequence,
  sequenceKey,
} from './record.ts';
import { SharedClaims } from './shared-claims.ts';
import { type SharedWords, stripeOf } from './words.ts';

export interface DurableParts<K, V> {
  readonly db: Weirpool;
  /** Begins the names of the trees. */
  readonly prefix: string;
  readonly words: SharedWords;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
  readonly durability: 'written' | 'synced';
}

interface Found extends Header {
  readonly payload: Buffer;
}

type EncodedKey = Uint8Array | string;

/** Of so many changes that leave a leaf sparse, one looks at its neighbours. */
const MERGE_EVERY = 16;
/** Oldest entries that are looked up at a time. */
const VICTIMS = 64;
/** Of the tree of entries: no look at the oldest one finds it changing so often. */
const LOOKS_MAX = 64;

export class DurableEntries<K, V> implements Entries<K, V> {
  readonly claims: SharedClaims;
  readonly words: SharedWords;
  readonly #key: Codec<K>;
  readonly #value: Codec<V>;
  readonly #synced: boolean;
  readonly #store: TreeStore;
  readonly #entries: BlobId;
  readonly #order: Tree;
  readonly #orderRoot: BlobId;
  readonly #dirty: Tree;
  readonly #dirtyRoot: BlobId;
  readonly #deletes: Tree;
  readonly #hit: HitGuard;
  readonly #header = new HeaderBytes();
  /** Oldest entries as the order had them, the next victim first. Nothing is ever put before them. */
  #oldest: (readonly [place: number, name: Uint8Array])[] = [];
  /** The last put was one of a new key: the next one probably is. */
  #isNew = false;
  /** Changes that have left a leaf sparse. */
  #sparse = 0;
  /** Where what is put is made. */
  #scratch = Buffer.allocUnsafe(1024);

  constructor({ db, prefix, words, key, value, durability }: DurableParts<K, V>) {
    const { store, root } = db.tree(`${prefix}/entries`).place;
    this.#store = store;
    this.#entries = root;
    this.#order = db.tree(`${prefix}/order`);
    this.#orderRoot = this.#order.place.root;
    this.#dirty = db.tree(`${prefix}/dirty`);
    this.#dirtyRoot = this.#dirty.place.root;
    this.#deletes = db.tree(`${prefix}/deletes`);
    this.#hit = new HitGuard(root);
    this.#key = key;
    this.#value = value;
    this.#synced = durability === 'synced';
    this.words = words;
    this.claims = new SharedClaims(words, store.core.thread);
  }

  /** Counts what is there; by the opener, before anybody else has the cache. */
  count(): void {
    const { words } = this;
    words.addSize(this.#order.count());
    words.addDirty(this.#dirty.count());
    words.addDeletes(this.#deletes.count());
    let last = 0;
    for (const entry of [this.#order.last(), this.#dirty.last()]) {
      if (entry !== undefined) last = Math.max(last, readSequence(entry[0]));
    }
    // What a deletion that was left knows may be gone already: nothing else may ever look like it.
    for (const doomed of this.#deletes.values()) {
      last = Math.max(last, decodeDoomed(doomed)?.inserted ?? 0);
    }
    words.startAfter(last);
  }

  get capacity(): number {
    return this.words.capacity;
  }

  get size(): number {
    return this.words.size;
  }

  get dirtyCount(): number {
    return this.words.dirtyCount;
  }

  get flushes(): number {
    return this.words.flushes;
  }

  get entriesFlushed(): number {
    return this.words.entriesFlushed;
  }

  idOf(key: K): string {
    return textOf(this.#encoded(key));
  }

  own(key: K): K {
    if (typeof key !== 'object') return key;
    return this.#keyOf(Buffer.from(asBytes(this.#encoded(key))));
  }

  #keyOf(name: Uint8Array): K {
    const key = this.#key.decode(name as Buffer);
    if (Buffer.compare(asBytes(this.#encoded(key)), name) !== 0) throw codecLoses(name);
    return key;
  }

  /** @throws {TypeError} half a character, of which UTF-8 would make another one. */
  #encoded(key: K): EncodedKey {
    const encoded = this.#key.encode(key);
    if (typeof encoded !== 'string' || encoded.isWellFormed()) return encoded;
    throw new TypeError('A key is no well-formed text: it has half of a surrogate pair');
  }

  // --- looking up ------------------------------------------------------------------------------------------

  readonly #copyValue = (bytes: Uint8Array, start: number, end: number): Buffer => {
    // What is changing may look shorter than it is.
    const from = Math.min(start + HEADER_BYTES, end);
    const value = Buffer.allocUnsafe(end - from);
    value.set(bytes.subarray(from, end));
    return value;
  };

  readonly #readHeader = (bytes: Uint8Array, start: number): Header => {
    this.#header.load(bytes, start);
    return this.#header.header;
  };

  get(key: K): V | undefined {
    const bytes = this.#store.read(this.#entries, this.#encoded(key), this.#copyValue);
    return bytes === undefined ? undefined : this.#value.decode(bytes);
  }

  has(key: K): boolean {
    return this.#store.has(this.#entries, this.#encoded(key));
  }

  isDirty(key: K): boolean {
    return (this.#headerOf(this.#encoded(key))?.dirtied ?? 0) !== 0;
  }

  #headerOf(key: EncodedKey): Header | undefined {
    return this.#store.read(this.#entries, key, this.#readHeader);
  }

  #find(key: EncodedKey): Found | undefined {
    const bytes = this.#store.get(this.#entries, key);
    if (bytes === undefined) return undefined;
    this.#header.load(bytes, 0);
    return { ...this.#header.header, payload: bytes.subarray(HEADER_BYTES) };
  }

  // --- changes of an entry -----------------------------------------------------------------------------------

  /** Makes changes of the trees if the entry is as expected: whether they were made. */
  #change(changes: readonly Entry[], expected: Omit<Expected, 'tree'>): boolean {
    const guard = new ExpectGuard({ tree: this.#entries, ...expected });
    if (this.#store.changeIf(changes, guard) === 0) return false;
    this.#merge();
    return true;
  }

  /**
   * Not after each deletion from a sparse leaf: the order loses its first entries, and the first leaf's
   * neighbour is full. What is left sparse, or empty, is merged with the next one that becomes so.
   */
  #merge(): void {
    const places = this.#store.takeSparse();
    if (places.length === 0 || ++this.#sparse % MERGE_EVERY !== 0) return;
    for (const { tree, key } of places) mergeAround(this.#store, tree, key);
  }

  #entry(key: EncodedKey, header: Header, payload: Uint8Array): Entry {
    const value = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
    this.#header.header = header;
    this.#header.save(value);
    value.set(payload, HEADER_BYTES);
    return { tree: this.#entries, key, value };
  }

  put(key: K, value: V, now: number): boolean {
    const encoded = this.#encoded(key);
    // A look costs less than an attempt.
    if (this.#isNew && this.size >= this.capacity && !this.#store.has(this.#entries, encoded)) {
      return false;
    }
    const bytes = this.#encode(this.#value.encode(value));
    for (;;) {
      const hit = this.#hit;
      hit.key = encoded;
      hit.value = bytes;
      hit.now = now;
      const entry = { tree: this.#entries, key: encoded, value: bytes };
      const skips = this.#isNew && !this.#store.has(this.#entries, encoded);
      if (!skips && this.#store.changeIf([entry], hit) !== 0) {
        this.#isNew = false;
        return true;
      }
      const there = skips ? undefined : hit.seen;
      this.#isNew = there === undefined;
      if (there !== undefined) {
        if (this.#redirty(encoded, there, bytes, now)) return true;
      } else if (this.size >= this.capacity) return false;
      else if (this.#insert(encoded, bytes.subarray(HEADER_BYTES), now)) return true;
    }
  }

  /** A value in the scratch area, behind room for a header. */
  #encode(value: Uint8Array | string): Buffer {
    const isText = typeof value === 'string';
    const bytesMax = HEADER_BYTES + (isText ? value.length * 3 : asBytes(value).length);
    if (this.#scratch.length < bytesMax) this.#scratch = Buffer.allocUnsafe(bytesMax * 2);
    let length: number;
    if (isText) length = this.#scratch.write(value, HEADER_BYTES, 'utf8');
    else {
      this.#scratch.set(value, HEADER_BYTES);
      length = value.length;
    }
    const bytes = this.#scratch.subarray(0, HEADER_BYTES + length);
    this.#store.assertValue(bytes);
    return bytes;
  }

  /** Puts a value over a clean entry. */
  #redirty(key: EncodedKey, there: Header, bytes: Uint8Array, now: number): boolean {
    const dirtied = this.words.next();
    const { inserted, version } = there;
    const header = { inserted, dirtied, version: version + 1, changedAt: now };
    const mark = { tree: this.#dirtyRoot, key: sequenceKey(dirtied), value: asBytes(key) };
    const changes = [this.#entry(key, header, bytes.subarray(HEADER_BYTES)), mark];
    const sealed = (): void => {
      this.words.addDirty(1);
    };
    return this.#change(changes, { key, header: there, sealed });
  }

  /** Inserts an entry: dirty, or with no time of a change, clean. */
  #insert(
    key: EncodedKey,
    payload: Uint8Array,
    now: number | undefined,
    also: () => boolean = () => true,
  ): boolean {
    const { words } = this;
    const inserted = words.next();
    const isDirty = now !== undefined;
    const header = {
      inserted,
      dirtied: isDirty ? inserted : 0,
      version: isDirty ? 1 : 0,
      changedAt: now ?? 0,
    };
    const place = sequenceKey(inserted);
    const name = asBytes(key);
    this.#keyOf(Buffer.from(name));
    const changes: Entry[] = [
      this.#entry(key, header, payload),
      { tree: this.#orderRoot, key: place, value: name },
    ];
    if (isDirty) changes.push({ tree: this.#dirtyRoot, key: place, value: name });
    const stripe = stripeOf(textOf(key));
    return this.#change(changes, {
      key,
      header: undefined,
      also: () => this.size < this.capacity && also(),
      sealed: () => {
        words.addSize(1);
        if (isDirty) words.addDirty(1);
        words.moveEpoch(stripe);
      },
    });
  }

  // --- reading through -----------------------------------------------------------------------------------------

  beginRead(key: K): ReadToken {
    const id = this.idOf(key);
    return { id, epoch: this.words.epoch(stripeOf(id)) };
  }

  isCurrent({ id, epoch }: ReadToken): boolean {
    return this.words.epoch(stripeOf(id as string)) === epoch;
  }

  endRead(): void {
    // An epoch is nobody's.
  }

  fill(key: K, value: V, token: ReadToken): Filled {
    const encoded = this.#encoded(key);
    const payload = asBytes(this.#value.encode(value));
    this.#store.assertValue(payload);
    for (;;) {
      if (!this.isCurrent(token)) return 'stale';
      if (this.size >= this.capacity) return 'full';
      if (this.#insert(encoded, payload, undefined, () => this.isCurrent(token))) return 'filled';
      if (this.#store.has(this.#entries, encoded)) return 'stale';
    }
  }

  // --- eviction, flushing ----------------------------------------------------------------------------------------

  victim(): Victim<K> | undefined {
    for (let looks = 0; looks < LOOKS_MAX; looks++) {
      const [oldest] = this.#oldest;
      if (oldest === undefined) {
        this.#oldest = this.#order
          .range({ limit: VICTIMS })
          .toArray()
          .map(([place, name]) => [readSequence(place), name]);
        if (this.#oldest.length === 0) return undefined;
        continue;
      }
      const [place, name] = oldest;
      const header = this.#headerOf(name);
      if (header?.inserted === place) {
        const { inserted, version, dirtied } = header;
        return { key: this.#keyOf(name), inserted, version, dirty: dirtied !== 0 };
      }
      // It was dropped since, by this thread or another one.
      this.#oldest.shift();
    }
    return undefined;
  }

  evict(victim: Victim<K>): void {
    const key = this.#encoded(victim.key);
    const header = this.#headerOf(key);
    if (header === undefined || header.dirtied !== 0 || !isSameStamp(header, victim)) return;
    this.#drop(key, header, []);
  }

  #drop(key: EncodedKey, header: Header, more: readonly Entry[]): boolean {
    const { inserted, dirtied } = header;
    const changes: Entry[] = [
      { tree: this.#entries, key, value: undefined },
      { tree: this.#orderRoot, key: sequenceKey(inserted), value: undefined },
      ...more,
    ];
    if (dirtied !== 0) changes.push(this.#unmark(dirtied));
    return this.#change(changes, {
      key,
      header,
      sealed: () => {
        this.words.addSize(-1);
        if (dirtied !== 0) this.words.addDirty(-1);
      },
    });
  }

  #unmark(dirtied: number): Entry {
    return { tree: this.#dirtyRoot, key: sequenceKey(dirtied), value: undefined };
  }

  dirtyKeys(until: number = Number.POSITIVE_INFINITY): DirtyKey<K>[] {
    const keys: DirtyKey<K>[] = [];
    for (const name of this.#dirty.values()) {
      const header = this.#headerOf(name);
      if (header === undefined || header.dirtied === 0 || header.changedAt > until) continue;
      const { inserted, version } = header;
      keys.push({ key: this.#keyOf(name), inserted, version });
    }
    return keys;
  }

  dirty(key: K): DirtyEntry<V> | undefined {
    const found = this.#find(this.#encoded(key));
    if (found === undefined || found.dirtied === 0) return undefined;
    const { inserted, version, changedAt, payload } = found;
    return { inserted, version, changedAt, value: this.#value.decode(payload) };
  }

  written(key: K, stamp: Stamp): void {
    this.words.noteFlushed();
    this.#clean(key, (found) => isSameStamp(found, stamp));
  }

  forgetRead(key: K, since: Stamp): void {
    const encoded = this.#encoded(key);
    if (this.#headerOf(encoded)?.inserted === since.inserted) return;
    // First, as in endDelete.
    this.words.moveEpoch(stripeOf(textOf(encoded)));
    for (;;) {
      const header = this.#headerOf(encoded);
      if (header === undefined || header.version !== 0) return;
      if (this.#drop(encoded, header, [])) return;
    }
  }

  markClean(key: K): boolean {
    return this.#clean(key, () => true);
  }

  /** Makes a dirty entry clean if it is the one: whether it was. */
  #clean(key: K, isIt: (found: Found) => boolean): boolean {
    const encoded = this.#encoded(key);
    for (;;) {
      const found = this.#find(encoded);
      if (found === undefined || found.dirtied === 0 || !isIt(found)) return false;
      const entry = this.#entry(encoded, { ...found, dirtied: 0 }, found.payload);
      const sealed = (): void => {
        this.words.addDirty(-1);
      };
      const changes = [entry, this.#unmark(found.dirtied)];
      if (this.#change(changes, { key: encoded, header: found, sealed })) return true;
    }
  }

  noteFlush(): void {
    this.words.noteFlush();
  }

  // --- deleting ----------------------------------------------------------------------------------------------------

  stampOf(key: K): Stamp | undefined {
    return this.#headerOf(this.#encoded(key));
  }

  beginDelete({ key, stamp }: Doomed<K>): void {
    const encoded = this.#encoded(key);
    this.words.addDeletes(1);
    this.#deletes.put(asBytes(encoded), encodeDoomed(stamp));
    this.words.moveEpoch(stripeOf(textOf(encoded)));
  }

  endDelete(doomed: Doomed<K>): void {
    const encoded = this.#encoded(doomed.key);
    const { root: tree } = this.#deletes.place;
    const mark: Entry = { tree, key: asBytes(encoded), value: undefined };
    // First: what a read brings from here on is not kept, and what was kept before is seen here.
    this.words.moveEpoch(stripeOf(textOf(encoded)));
    for (;;) {
      const header = this.#headerOf(encoded);
      if (header === undefined || !isTaken(header, doomed)) {
        this.cancelDelete(doomed);
        return;
      }
      if (this.#drop(encoded, header, [mark])) break;
    }
    this.words.addDeletes(-1);
  }

  cancelDelete({ key }: Doomed<K>): void {
    const encoded = this.#encoded(key);
    this.words.moveEpoch(stripeOf(textOf(encoded)));
    this.#deletes.delete(asBytes(encoded));
    this.words.addDeletes(-1);
  }

  leftDeletes(): K[] {
    if (this.words.deletes === 0) return [];
    return this.#deletes
      .keys()
      .toArray()
      .map((name) => this.#keyOf(name));
  }

  leftDelete(key: K): Doomed<K> | undefined {
    if (this.words.deletes === 0) return undefined;
    const bytes = this.#deletes.get(asBytes(this.#encoded(key)));
    return bytes === undefined ? undefined : { key, stamp: decodeDoomed(bytes) };
  }

  // --- safety ------------------------------------------------------------------------------------------------------

  ahead(sync: boolean): void | Promise<void> {
    const { core, log } = this.#store;
    const seq = core.memory.loadU64(H_LOG_TAIL);
    const watermark = this.#synced ? H_LOG_DURABLE : H_LOG_WRITTEN;
    if (core.memory.loadU64(watermark) >= seq) return undefined;
    const level = this.#synced ? 'synced' : 'written';
    if (!sync) return log.durability.durable(seq, level);
    log.durability.durableSync(seq, level);
    return undefined;
  }
}

function textOf(key: EncodedKey): string {
  if (typeof key === 'string') return key;
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}
