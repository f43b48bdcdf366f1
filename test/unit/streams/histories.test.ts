/**
 * Random histories in which nobody waits: puts, deletes, reads, ranges, flushes and clears over an asynchronous
 * inner store that takes its time, fails now and then, also after it has written, and has little room
 * above it. What each read gives must have been there between its call and its answer.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import * as streams from '../../../src/streams/index.ts';
import { type AsyncByteStore, type ByteWrite, MemoryStore } from '../../../src/streams/index.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { bytes, type Patch, type StreamsModule, text, variantOf } from './support.ts';

const RUNS = process.env['LONG'] === '1' ? 20_000 : 150;
const VARIANT_RUNS = 2000;
const VARIANT_SEED = 1;
const KEYS = ['a', 'b', 'c', 'd', 'e'];

async function pause(random: Random): Promise<void> {
  for (let left = random.int(3); left > 0; left--) {
    if (random.int(3) === 0) await new Promise((done) => setImmediate(done));
    else await Promise.resolve();
  }
}

/** Knows which writes it has said yes to. */
class UnreliableStore implements AsyncByteStore {
  readonly mode = 'async';
  readonly inner = new MemoryStore();
  /** `key=value` or `key-`, in the order in which they were done. */
  readonly done: string[] = [];
  readonly #random: Random;
  failures: number;
  batch?: (writes: readonly ByteWrite[]) => Promise<void>;

  constructor(random: Random, failures: number, hasBatches: boolean) {
    this.#random = random;
    this.failures = failures;
    if (hasBatches) this.batch = (writes) => this.#write(writes);
  }

  async #write(writes: readonly ByteWrite[]): Promise<void> {
    const random = this.#random;
    await pause(random);
    const fate = random.int(100);
    if (fate < this.failures) throw new Error('nothing was written');
    this.inner.batch(writes);
    await pause(random);
    if (fate < 2 * this.failures) throw new Error('it was written all the same');
    for (const { key, value } of writes) {
      this.done.push(`${text(key)}${value ? `=${text(value)}` : '-'}`);
    }
  }

  put(key: Uint8Array, value: Uint8Array): Promise<void> {
    return this.#write([{ key, value }]);
  }

  delete(key: Uint8Array): Promise<void> {
    return this.#write([{ key, value: undefined }]);
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    await pause(this.#random);
    const value = this.inner.get(key);
    await pause(this.#random);
    return value;
  }

  async *range(range: streams.ByteRange): AsyncGenerator<streams.ByteEntry> {
    await pause(this.#random);
    for (const entry of this.inner.range(range)) {
      yield entry;
      await pause(this.#random);
    }
  }

  async clear(): Promise<void> {
    await pause(this.#random);
    this.inner.clear();
    await pause(this.#random);
  }
}

type Value = string | undefined;

/** What each key had, one value after the other. */
class Ledger {
  readonly #values = new Map<string, Value[]>(KEYS.map((key) => [key, [undefined]]));

  /** Clears under way: where the values that they delete begin. */
  readonly #clears = new Set<ReadonlyMap<string, number>>();

  put(key: string, value: Value): void {
    this.#values.get(key)?.push(value);
  }

  /** All are deleted, now or until what is given is called: meanwhile a read may give either. */
  clear(): () => void {
    const clear = new Map(Array.from(this.#values, ([key, values]) => [key, values.length - 1]));
    for (const values of this.#values.values()) values.push(undefined);
    this.#clears.add(clear);
    return () => this.#clears.delete(clear);
  }

  now(key: string): Value {
    return this.#values.get(key)?.at(-1);
  }

  /** From now on: what a read that begins now may give. */
  since(key: string): () => readonly Value[] {
    const values = this.#values.get(key) ?? [];
    const cleared = Array.from(this.#clears, (clear) => clear.get(key) ?? 0);
    const from = Math.min(values.length - 1, ...cleared);
    return () => values.slice(from);
  }
}

class History {
  readonly #random: Random;
  readonly inner: UnreliableStore;
  readonly #store: streams.KeyValueStore<AsyncByteStore>;
  readonly #ledger = new Ledger();
  readonly #told: string[] = [];
  readonly #wrong: string[] = [];
  readonly #pending: Promise<unknown>[] = [];
  readonly cacheBytes: number;
  #number = 0;

  constructor(module: StreamsModule, seed: number) {
    this.#random = new Random(seed);
    const random = this.#random;
    const failures = random.int(2) * 15;
    this.inner = new UnreliableStore(random, failures, random.int(2) === 0);
    this.cacheBytes = [0, 1, 2, 3, 100][random.int(5)] as number;
    this.cacheBytes *= module.ENTRY_OVERHEAD_BYTES + 8;
    this.#store = new module.KeyValueStore<AsyncByteStore>({
      inner: this.inner,
      cacheBytes: this.cacheBytes,
    });
    this.#store.setFlushListener((flushed) => {
      for (const { key, value } of flushed) {
        this.#told.push(`${text(key)}${value ? `=${text(value)}` : '-'}`);
      }
    });
  }

  /** What fails stays dirty: the end writes it. */
  #later(work: Promise<unknown>): void {
    this.#pending.push(
      work.catch((error: unknown) => {
        if ((error as { code?: unknown }).code !== 'FLUSH_FAILED') this.#wrong.push(String(error));
      }),
    );
  }

  #check(what: string, given: Value, allowed: readonly Value[]): void {
    if (!allowed.includes(given)) this.#wrong.push(`${what}: ${given}, not of ${allowed.join()}`);
  }

  #step(): void {
    const random = this.#random;
    const [store, ledger] = [this.#store, this.#ledger];
    const key = KEYS[random.int(KEYS.length)] as string;
    const value = `${key}${++this.#number}`;
    const kind = random.int(21);
    const allowed = ledger.since(key);
    if (kind < 8) {
      ledger.put(key, value);
      this.#later(store.put(key, value));
    } else if (kind < 10) {
      // Of its moment, however late it is told: nothing that is put later.
      const there = [...allowed()];
      ledger.put(key, undefined);
      this.#later(store.delete(key).then((old) => this.#check(`delete ${key}`, text(old), there)));
    } else if (kind < 16) {
      this.#later(
        store.get(key).then((found) => this.#check(`get ${key}`, text(found), allowed())),
      );
    } else if (kind < 18) {
      this.#later(this.#scan());
    } else if (kind < 20) {
      this.#later(store.flush());
    } else {
      const end = ledger.clear();
      this.#later(store.clear().finally(end));
    }
  }

  async #scan(): Promise<void> {
    const allowed = new Map(KEYS.map((key) => [key, this.#ledger.since(key)]));
    const found = new Map<string, Value>();
    for await (const [key, value] of this.#store.range()) {
      if (found.has(text(key) ?? '')) this.#wrong.push(`twice ${text(key)}`);
      found.set(text(key) ?? '', text(value));
    }
    for (const key of KEYS) {
      this.#check(`range ${key}`, found.get(key), allowed.get(key)?.() ?? []);
    }
  }

  async run(): Promise<void> {
    for (let step = 0; step < 60; step++) {
      this.#step();
      if (this.#random.int(3) === 0) await pause(this.#random);
    }
    await Promise.all(this.#pending);
    expect(this.#wrong).toEqual([]);
    this.inner.failures = 0;
    await this.#store.flush();
    const { dirty, bytes: size } = this.#store.stats();
    expect({ dirty, isWithin: size <= this.cacheBytes }).toEqual({ dirty: 0, isWithin: true });
    for (const key of KEYS) {
      expect(text(this.inner.inner.get(bytes(key)))).toBe(this.#ledger.now(key));
      expect(text(await this.#store.get(key))).toBe(this.#ledger.now(key));
    }
    // Each value was put once: it is written once, and told once, in that order.
    expect(this.#told).toEqual(this.inner.done);
    const values = this.inner.done.filter((each) => !each.endsWith('-'));
    expect(new Set(values).size).toBe(values.length);
  }
}

function property(module: StreamsModule) {
  return fc.asyncProperty(fc.nat(), (seed) => new History(module, seed).run());
}

it('nothing is lost, hidden, written twice or told twice, though nobody waits', async () => {
  await fc.assert(property(streams), { seed: testSeed(), numRuns: RUNS, endOnFailure: true });
});

const WRITER = 'src/streams/writer.ts';
const STORE = 'src/streams/caching-store.ts';
const CACHE = 'src/streams/named-cache.ts';

const NAIVE: readonly (readonly [string, Patch])[] = [
  [
    'landing whatever was put meanwhile',
    { file: CACHE, find: 'if (node.version !== version) return;\n', replace: '' },
  ],
  [
    'clean as soon as it is taken',
    {
      file: WRITER,
      find: 'yield* this.#begin(turn, ids, this.#running(ids));',
      replace: 'for (const entry of taken) this.#cache.land(entry);',
    },
  ],
  [
    'flushing at once',
    {
      file: WRITER,
      find: 'if (before !== undefined) yield before;\n    return turn;',
      replace: 'return turn;',
    },
  ],
  [
    'a victim that is dirty for ever',
    {
      file: CACHE,
      find: 'node.isDirty = false;\n    this.#unlink(node);',
      replace: 'this.#unlink(node);',
    },
  ],
  [
    'flushing what was put after a clear',
    {
      file: WRITER,
      find: 'takeDirty(victim, this.#clears[0]?.version)',
      replace: 'takeDirty(victim)',
    },
  ],
  [
    'keeping what was read',
    {
      file: STORE,
      find: 'const isFresh = !mark.isStale && ',
      replace: 'const isFresh = ',
    },
  ],
  [
    'looking for the old value without a turn',
    {
      file: STORE,
      find: 'return this.run(this.#currentBelow(key, node?.value, doom));',
      replace: 'return this.#inner.get(key) as Answer<S, Uint8Array | undefined>;',
    },
  ],
  [
    'telling nobody what landed before a failure',
    {
      file: WRITER,
      find: 'if (landed.length > 0) this.#onLanded(landed);',
      replace: 'if (failures.length === 0) this.#onLanded(landed);',
    },
  ],
  [
    'the cache as it is while a range goes on',
    {
      file: 'src/streams/merge.ts',
      find: 'return mergeLater(this.#begin(), this.#make);',
      replace:
        'const begin = this.#begin; const make = this.#make; ' +
        'return (async function* () { await Promise.resolve(); await Promise.resolve(); const { inner } = begin(); ' +
        'const all = []; for await (const entry of inner) all.push(entry); const start = begin(); ' +
        'yield* mergeLater({ ...start, inner: (async function* () { yield* all; })() }, make); })();',
    },
  ],
];

it.each(NAIVE)('%s is noticed', async (_, patch) => {
  const variant = await variantOf([patch]);
  const result = await fc.check(property(variant), {
    seed: VARIANT_SEED,
    numRuns: VARIANT_RUNS,
    endOnFailure: true,
  });
  expect(result.failed).toBe(true);
});
