/** Histories of caching stores beside the plain model: what each kind of step does to both. */
import { expect } from 'vitest';
import type {
  ByteStore,
  FlushedEntry,
  KeyValueStore,
  SessionStore,
  WindowStore,
} from '../../src/streams/index.ts';
import { ENTRY_OVERHEAD_BYTES, sessionKey, TIME_MAX, windowKey } from '../../src/streams/index.ts';
import { Random } from '../support/seed.ts';
import type { StreamsModule } from '../unit/streams/support.ts';
import type { Inner } from './streams-inner.ts';
import { type PlainFlushed, PlainStore } from './streams-plain.ts';

export interface Step {
  readonly kind: string;
  /** Chooses everything that the step does. */
  readonly seed: number;
}

type AnyStore = KeyValueStore<ByteStore> | WindowStore<ByteStore> | SessionStore<ByteStore>;

function latin(value: Uint8Array | undefined): string | undefined {
  return value && Buffer.from(value).toString('latin1');
}

function bytes(value: string): Uint8Array {
  return Buffer.from(value, 'latin1');
}

function one<T>(random: Random, values: readonly T[]): T {
  return values[random.int(values.length)] as T;
}

async function rawOf(
  range: Iterable<[Uint8Array, Uint8Array]> | AsyncIterable<[Uint8Array, Uint8Array]>,
): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const [key, value] of range) found.push([latin(key) ?? '', latin(value) ?? '']);
  return found;
}

/** What all three histories have in common. */
abstract class Run<T extends AnyStore> {
  readonly streams: StreamsModule;
  readonly #inner: Inner;
  readonly cacheBytes: number;
  readonly plain: PlainStore;
  readonly #told: (readonly FlushedEntry[])[] = [];
  store!: T;

  constructor(streams: StreamsModule, inner: Inner, random: Random) {
    this.streams = streams;
    this.#inner = inner;
    // From nothing to everything.
    this.cacheBytes = one(random, [0, 1, 2, 4, 9, 1000]) * (ENTRY_OVERHEAD_BYTES + 12);
    this.plain = new PlainStore(this.cacheBytes);
  }

  abstract make(inner: ByteStore): T;
  abstract someKey(random: Random): string;
  abstract step(kind: string, random: Random): Promise<void>;
  /** What has to be known again after a reopening. */
  async opened(_random: Random): Promise<void> {}

  async open(random: Random): Promise<void> {
    this.store = this.make(await this.#inner.open());
    this.store.setFlushListener((flushed) => this.#told.push(flushed), { oldValues: true });
    await this.opened(random);
  }

  async close(): Promise<void> {
    await this.store.close();
    await this.#inner.close();
  }

  async do({ kind, seed }: Step): Promise<void> {
    const random = new Random(seed);
    const known = await this.#common(kind, random);
    if (!known) await this.step(kind, random);
    const { dirty, entries, bytes: size } = this.store.stats();
    const { dirtyCount, cachedCount, bytes: plainBytes } = this.plain;
    expect({ dirty, entries, size }).toEqual({
      dirty: dirtyCount,
      entries: cachedCount,
      size: plainBytes,
    });
    const told = this.#told.splice(0).map((flushed) => this.texts(flushed));
    expect(told).toEqual(this.plain.told.splice(0));
  }

  async #common(kind: string, random: Random): Promise<boolean> {
    const { store, plain } = this;
    if (kind === 'flush') expect(this.texts(await store.flush())).toEqual(this.flushed());
    else if (kind === 'flushWithOld') {
      expect(this.texts(await store.flushWithOld())).toEqual(this.flushed());
    } else if (kind === 'scanAll') expect(await rawOf(store.scanAll())).toEqual(this.#seen());
    else if (kind === 'range' || kind === 'reverseRange') {
      const reverse = kind === 'reverseRange';
      const low = random.int(4) === 0 ? undefined : this.someKey(random);
      const high = random.int(4) === 0 ? undefined : this.someKey(random);
      const args = [low, high].map((key) => (key === undefined ? undefined : bytes(key)));
      const range = reverse ? store.reverseRange(...args) : store.range(...args);
      expect(await rawOf(range)).toEqual(this.#seen({ low, high, reverse }));
    } else if (kind === 'deleteInner') {
      const key = this.someKey(random);
      plain.inner.delete(key);
      await store.deleteInner(bytes(key));
    } else if (kind === 'clear') {
      plain.clear();
      await store.clear();
    } else if (kind === 'reopen') {
      this.flushed();
      plain.forget();
      await this.close();
      await this.open(random);
    } else if (kind === 'crash') {
      plain.forget();
      await this.#inner.crash();
      await this.open(random);
    } else return false;
    return true;
  }

  /** Whether raw reads see what is stored by that key. */
  isSeen(_stored: string): boolean {
    return true;
  }

  #seen(range?: Parameters<PlainStore['range']>[0]): [string, string][] {
    return this.plain.range(range).filter(([stored]) => this.isSeen(stored));
  }

  /** What a flush of the model gives. */
  flushed(): PlainFlushed[] {
    return this.plain.flush();
  }

  texts(flushed: readonly FlushedEntry[]): PlainFlushed[] {
    return flushed.map(({ key, value, oldValue }) => ({
      key: latin(key) ?? '',
      value: latin(value),
      old: latin(oldValue),
    }));
  }
}

const COMMON = [
  'flush',
  'flush',
  'flushWithOld',
  'scanAll',
  'range',
  'range',
  'reverseRange',
  'deleteInner',
  'putInner',
  'clear',
  'reopen',
  'crash',
];

// --- keys and values ----------------------------------------------------------------------------------

const LETTERS = ['\x00', '\x01', 'a', '\xff'];

function someText(random: Random, lengthMax: number): string {
  return Array.from({ length: random.int(lengthMax + 1) }, () => one(random, LETTERS)).join('');
}

class KeyValueRun extends Run<KeyValueStore<ByteStore>> {
  static readonly KINDS = [
    ...COMMON,
    ...['put', 'put', 'put', 'put', 'get', 'get', 'get', 'putIfAbsent', 'putIfAbsent'],
    ...['putAll', 'delete', 'delete', 'prefixScan', 'all', 'reverseAll'],
  ];

  make(inner: ByteStore): KeyValueStore<ByteStore> {
    return new this.streams.KeyValueStore({ inner, cacheBytes: this.cacheBytes });
  }

  someKey(random: Random): string {
    return someText(random, 3);
  }

  async step(kind: string, random: Random): Promise<void> {
    const { store, plain } = this;
    const key = this.someKey(random);
    const value = someText(random, 12);
    if (kind === 'put') {
      const put = random.int(4) === 0 ? undefined : value;
      plain.put(key, put);
      await store.put(bytes(key), put === undefined ? undefined : bytes(put));
    } else if (kind === 'putInner') {
      plain.inner.set(key, value);
      await store.putInner(bytes(key), bytes(value));
    } else if (kind === 'get') {
      expect(latin(await store.get(bytes(key)))).toBe(plain.get(key, true));
    } else if (kind === 'putIfAbsent') {
      const there = plain.get(key, false);
      if (there === undefined) plain.put(key, value);
      expect(latin(await store.putIfAbsent(bytes(key), bytes(value)))).toBe(there);
    } else if (kind === 'putAll') {
      const entries = Array.from({ length: random.int(4) }, () => this.someKey(random));
      for (const each of entries) plain.put(each, value);
      await store.putAll(entries.map((each) => [bytes(each), bytes(value)] as const));
    } else if (kind === 'delete') {
      const there = plain.get(key, false);
      plain.put(key, undefined);
      expect(latin(await store.delete(bytes(key)))).toBe(there);
    } else if (kind === 'prefixScan') {
      const all = plain.range({ isHit: false }).filter(([each]) => each.startsWith(key));
      const high = key === '' ? undefined : `${key}\xff\xff\xff\xff`;
      plain.range({ low: key, high });
      expect(await rawOf(store.prefixScan(bytes(key)))).toEqual(all);
    } else if (kind === 'all') expect(await rawOf(store.all())).toEqual(plain.range());
    else expect(await rawOf(store.reverseAll())).toEqual(plain.range({ reverse: true }));
  }
}

// --- windows --------------------------------------------------------------------------------------------

function time(value: number): string {
  return latin(windowKey(new Uint8Array(0), value).subarray(0, 8)) ?? '';
}

/** Keys that go on with the times, or the numbers, that others have behind them. */
const USER_KEYS = [
  '',
  'a',
  'a\x00',
  `a${time(3)}`,
  `a${time(3)}\x00\x00\x00\x00`,
  `a${time(3)}${time(5)}`,
  'ab',
  'b',
  '\x00',
  time(4),
  '\x00\x1f\xff\xff\xff\xff\xff\xff\xff',
  '\xff',
  '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff',
];
const TIMES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 256, 2 ** 32 - 1, 2 ** 32, TIME_MAX - 1, TIME_MAX];

function someTime(random: Random): number {
  return random.int(4) === 0 ? one(random, TIMES) : random.int(9);
}

function someBound(random: Random, unlimited: number): number | undefined {
  const kind = random.int(8);
  if (kind === 0) return undefined;
  if (kind === 1) return unlimited;
  return kind === 2 ? -someTime(random) : someTime(random);
}

function someUserKeys(random: Random): [string | undefined, string | undefined] {
  const some = (): string | undefined => (random.int(5) === 0 ? undefined : one(random, USER_KEYS));
  return [some(), some()];
}

function isBetween(key: string, [from, to]: readonly [string | undefined, string | undefined]) {
  return (from === undefined || key >= from) && (to === undefined || key <= to);
}

function bytesIf(key: string | undefined): Uint8Array | undefined {
  return key === undefined ? undefined : bytes(key);
}

class WindowRun extends Run<WindowStore<ByteStore>> {
  static readonly KINDS = [
    ...COMMON,
    ...['put', 'put', 'put', 'put', 'put', 'put', 'delete', 'get', 'fetchOne', 'fetchOne', 'fetch'],
    ...['fetch', 'fetch', 'fetch', 'fetchKeys', 'fetchKeys', 'fetchKeys', 'fetchAll', 'all'],
    'expire',
  ];
  readonly #retention: number | undefined;
  #streamTime = -1;
  #expiredAt = -1;

  constructor(streams: StreamsModule, inner: Inner, random: Random) {
    super(streams, inner, random);
    this.#retention = one(random, [undefined, undefined, 1, 3, 300]);
  }

  make(inner: ByteStore): WindowStore<ByteStore> {
    return new this.streams.WindowStore({
      inner,
      cacheBytes: this.cacheBytes,
      ...(this.#retention !== undefined && { retentionMs: this.#retention, expireMs: 4 }),
    });
  }

  override async opened(random: Random): Promise<void> {
    this.#streamTime = -1;
    this.#expiredAt = -1;
    if (random.int(2) === 0) return;
    const starts = [...this.plain.inner.keys()].map((key) => this.#partsOf(key).start);
    this.#streamTime = Math.max(-1, ...starts);
    expect(await this.store.restoreStreamTime()).toBe(this.#streamTime);
  }

  get #earliest(): number {
    return this.#retention === undefined ? 0 : this.#streamTime - this.#retention + 1;
  }

  someKey(random: Random): string {
    const key = bytes(one(random, USER_KEYS));
    return latin(windowKey(key, someTime(random), random.int(2))) ?? '';
  }

  #partsOf(stored: string): { key: string; start: number; sequence: number } {
    const tail = bytes(stored.slice(-12)) as Buffer;
    return {
      key: stored.slice(0, -12),
      start: Number(tail.readBigUInt64BE(0)),
      sequence: tail.readUInt32BE(8),
    };
  }

  override isSeen(stored: string): boolean {
    return this.#partsOf(stored).start >= this.#earliest;
  }

  override flushed(): PlainFlushed[] {
    const flushed = super.flushed();
    if (this.#retention !== undefined && this.#streamTime - this.#expiredAt >= 4) this.#expire();
    return flushed;
  }

  #expire(): number {
    this.#expiredAt = this.#streamTime;
    return this.plain.purge((key) => this.#partsOf(key).start < this.#earliest);
  }

  /** The model's entries that are meant, in the order asked for; the span is what counts as hit. */
  #expected(
    isMeant: (key: string, start: number) => boolean,
    reverse: boolean,
  ): readonly (string | number)[][] {
    const found = this.plain
      .range({ isHit: false, reverse })
      .map(([stored, value]) => ({ ...this.#partsOf(stored), value }))
      .filter(({ key, start }) => start >= this.#earliest && isMeant(key, start));
    return found.map(({ key, start, sequence, value }) => {
      const stamp = Number((bytes(value.slice(0, 8)) as Buffer).readBigInt64BE(0));
      return [key, start, sequence, stamp, value.slice(8)];
    });
  }

  async #given(entries: ReturnType<WindowStore<ByteStore>['all']>): Promise<unknown[][]> {
    return (await entries.toArray()).map(({ key, start, sequence, timestamp, value }) => {
      return [latin(key), start, sequence, timestamp, latin(value)];
    });
  }

  async step(kind: string, random: Random): Promise<void> {
    const { store, plain } = this;
    if (kind === 'put') await this.#put(random);
    else if (kind === 'putInner') {
      const key = this.someKey(random);
      const value = time(7) + someText(random, 3);
      this.#streamTime = Math.max(this.#streamTime, this.#partsOf(key).start);
      plain.inner.set(key, value);
      await store.putInner(bytes(key), bytes(value));
    } else if (kind === 'delete') {
      const key = this.someKey(random);
      plain.put(key, undefined);
      await store.delete(bytes(key));
    } else if (kind === 'get') {
      const key = this.someKey(random);
      const there = this.isSeen(key) ? plain.get(key, false) : undefined;
      expect(latin(await store.get(bytes(key)))).toBe(there);
    } else if (kind === 'fetchOne') {
      const [key, start] = [one(random, USER_KEYS), someTime(random)];
      const stored = latin(windowKey(bytes(key), start)) ?? '';
      const value = start < this.#earliest ? undefined : plain.get(stored, false);
      const found = await store.fetch(bytes(key), start);
      expect(latin(found?.value)).toBe(value?.slice(8));
    } else if (kind === 'expire') expect(await store.expire()).toBe(this.#expire());
    else await this.#fetch(kind, random);
    expect(store.streamTime).toBe(this.#streamTime);
  }

  async #put(random: Random): Promise<void> {
    const [key, start, sequence] = [one(random, USER_KEYS), someTime(random), random.int(2)];
    const value = random.int(4) === 0 ? undefined : someText(random, 5);
    const timestamp = one(random, [-1, 0, 5, 2 ** 40]);
    this.#streamTime = Math.max(this.#streamTime, start);
    if (start >= this.#earliest) {
      const stored = latin(windowKey(bytes(key), start, sequence)) ?? '';
      const stamp = Buffer.alloc(8);
      stamp.writeBigInt64BE(BigInt(timestamp));
      this.plain.put(stored, value === undefined ? undefined : latin(stamp) + value);
    }
    const context = { topic: 't', partition: 0, offset: 1, timestamp };
    await this.store.put(bytes(key), bytesIf(value), start, context, sequence);
  }

  /** Both directions, which are looked at without the order of use: that is asked of `range`. */
  async #fetch(kind: string, random: Random): Promise<void> {
    const { store } = this;
    const [from, to] = [someBound(random, -5), someBound(random, Number.POSITIVE_INFINITY)];
    const isInTime = (start: number): boolean =>
      start >= (from ?? 0) && start <= (to ?? Number.POSITIVE_INFINITY);
    const reverse = random.int(2) === 0;
    let given: ReturnType<WindowStore<ByteStore>['all']>;
    let isMeant = (_key: string, start: number): boolean => isInTime(start);
    if (kind === 'fetch') {
      const asked = one(random, USER_KEYS);
      given = reverse
        ? store.backwardFetch(bytes(asked), from, to)
        : store.fetch(bytes(asked), from, to);
      isMeant = (key, start) => key === asked && isInTime(start);
    } else if (kind === 'fetchKeys') {
      const keys = someUserKeys(random);
      const [low, high] = keys.map(bytesIf);
      given = reverse ? store.backwardFetch(low, high, from, to) : store.fetch(low, high, from, to);
      isMeant = (key, start) => isBetween(key, keys) && isInTime(start);
    } else if (kind === 'fetchAll') {
      given = reverse ? store.backwardFetchAll(from, to) : store.fetchAll(from, to);
    } else {
      given = reverse ? store.backwardAll() : store.all();
      isMeant = () => true;
    }
    const expected = this.#expected(isMeant, reverse);
    expect(await this.#given(given)).toEqual(expected);
    // What a fetch promotes depends on its bounds in bytes: make the order known again.
    await rawOf(store.scanAll());
    this.plain.range();
  }
}

// --- sessions -------------------------------------------------------------------------------------------

class SessionRun extends Run<SessionStore<ByteStore>> {
  static readonly KINDS = [
    ...COMMON,
    ...['put', 'put', 'put', 'put', 'put', 'remove', 'get', 'fetchSession', 'fetchSession'],
    ...['find', 'find', 'find', 'find', 'findKeys', 'findKeys', 'findKeys', 'fetch', 'all'],
  ];

  make(inner: ByteStore): SessionStore<ByteStore> {
    return new this.streams.SessionStore({ inner, cacheBytes: this.cacheBytes });
  }

  #someSession(random: Random): { key: string; start: number; end: number } {
    const times = [someTime(random), someTime(random)].sort((a, b) => a - b);
    return { key: one(random, USER_KEYS), start: times[0] ?? 0, end: times[1] ?? 0 };
  }

  #stored({ key, start, end }: { key: string; start: number; end: number }): string {
    return latin(sessionKey({ key: bytes(key), start, end })) ?? '';
  }

  someKey(random: Random): string {
    return this.#stored(this.#someSession(random));
  }

  async step(kind: string, random: Random): Promise<void> {
    const { store, plain } = this;
    const session = this.#someSession(random);
    const { start, end } = session;
    const stored = this.#stored(session);
    const given = { key: bytes(session.key), start, end };
    const value = someText(random, 12);
    if (kind === 'put') {
      plain.put(stored, value);
      await store.put(given, bytes(value));
    } else if (kind === 'putInner') {
      plain.inner.set(stored, value);
      await store.putInner(bytes(stored), bytes(value));
    } else if (kind === 'remove') {
      plain.put(stored, undefined);
      await store.remove(given);
    } else if (kind === 'get') {
      expect(latin(await store.get(bytes(stored)))).toBe(plain.get(stored, false));
    } else if (kind === 'fetchSession') {
      const found = await store.fetchSession(bytes(session.key), start, end);
      expect(latin(found)).toBe(plain.get(stored, false));
    } else await this.#find(kind, random);
  }

  async #find(kind: string, random: Random): Promise<void> {
    const { store, plain } = this;
    const [end, start] = [someBound(random, -5), someBound(random, Number.POSITIVE_INFINITY)];
    const keys = someUserKeys(random);
    const key = keys[0] ?? 'a';
    const [low, high] = keys.map(bytesIf);
    const reverse = random.int(2) === 0;
    const isInTime = (entry: { readonly start: number; readonly end: number }): boolean =>
      entry.end >= (end ?? 0) && entry.start <= (start ?? Number.POSITIVE_INFINITY);
    let found: ReturnType<SessionStore<ByteStore>['all']>;
    let isMeant = (each: string): boolean => each === key;
    let isTimed = true;
    if (kind === 'find') {
      found = reverse
        ? store.backwardFindSessions(bytes(key), end, start)
        : store.findSessions(bytes(key), end, start);
    } else if (kind === 'findKeys') {
      found = reverse
        ? store.backwardFindSessionsOfKeys(low, high, end, start)
        : store.findSessionsOfKeys(low, high, end, start);
      isMeant = (each) => isBetween(each, keys);
    } else if (kind === 'fetch') {
      found = reverse ? store.backwardFetch(bytes(key), high) : store.fetch(bytes(key), high);
      if (high !== undefined) isMeant = (each) => isBetween(each, [key, keys[1]]);
      isTimed = false;
    } else {
      found = reverse ? store.backwardAll() : store.all();
      isMeant = () => true;
      isTimed = false;
    }
    const expected = plain
      .range({ isHit: false, reverse })
      .map(([stored, value]) => {
        const tail = bytes(stored.slice(-16)) as Buffer;
        const [ended, began] = [tail.readBigUInt64BE(0), tail.readBigUInt64BE(8)].map(Number);
        return { key: stored.slice(0, -16), start: began ?? 0, end: ended ?? 0, value };
      })
      .filter((entry) => isMeant(entry.key) && (!isTimed || isInTime(entry)));
    const entries = (await found.toArray()).map((entry) => ({
      ...entry,
      key: latin(entry.key),
      value: latin(entry.value),
    }));
    expect(entries).toEqual(expected);
    await rawOf(store.scanAll());
    plain.range();
  }
}

export const STORES = {
  'key-value': KeyValueRun,
  window: WindowRun,
  session: SessionRun,
} as const;
