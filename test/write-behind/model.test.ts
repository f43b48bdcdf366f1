/**
 * Caches against the plain model: random histories of every call, with stores that fail, synchronous
 * and with promises, by the synchronous methods and the others; the durable ones reopened between.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { Weirpool } from '../../src/tree/weirpool.ts';
import { BackingStoreError, WriteBehind } from '../../src/write-behind/index.ts';
import { Random, testSeed } from '../support/seed.ts';
import { DIRECTORY, newDisk, SMALL } from '../unit/tree/support.ts';
import { PlainModel } from './plain-model.ts';
import { type Cache, ManualClock, PlainStore, PromisedStore } from './stores.ts';
import { openDurable } from './support.ts';

const LONG = process.env['LONG'] === '1';
const RUNS = LONG ? 1000 : 60;
const TIME_MS_MAX = LONG ? 240_000 : 20_000;
const KEYS = Array.from({ length: 9 }, (_, n) => `key/${n}`);

const KINDS = [
  ...Array<'put'>(10).fill('put'),
  ...Array<'get'>(6).fill('get'),
  'delete',
  'delete',
  'markClean',
  'flush',
  'flushIfNeeded',
  'flushOlderThan',
  'pass',
  'fail',
  'mend',
  'reopen',
] as const;

interface Step {
  readonly kind: (typeof KINDS)[number];
  readonly seed: number;
}

const OF_KEY = ['put', 'get', 'delete', 'markClean'] as const;
type KeyKind = (typeof OF_KEY)[number];

function isOfKey(kind: Step['kind']): kind is KeyKind {
  return (OF_KEY as readonly string[]).includes(kind);
}

interface Shape {
  readonly mode: 'memory' | 'durable';
  readonly promises: boolean;
  /** By the synchronous methods. */
  readonly sync: boolean;
}

class Run {
  readonly #shape: Shape;
  readonly #model: PlainModel;
  readonly #store = new PlainStore();
  readonly #clock = new ManualClock();
  readonly #disk: SimFileSystem = newDisk();
  #db: Weirpool | undefined;
  #cache: Cache | undefined;
  #nextValue = 1;

  constructor(shape: Shape, capacity: number) {
    this.#shape = shape;
    this.#model = new PlainModel(capacity);
    this.#store.failure = (_operation, key) =>
      this.#model.failing.has(key) ? new Error(`no ${key}`) : undefined;
  }

  get #open(): Cache {
    return this.#cache as Cache;
  }

  async open(): Promise<void> {
    const { mode, promises } = this.#shape;
    const store = promises ? new PromisedStore(this.#store) : this.#store;
    // A get that could not keep what it read says so here; the model has no such place.
    const onError = (error: unknown): void => {
      expect(error).toBeInstanceOf(BackingStoreError);
    };
    const options = { capacity: this.#model.capacity, clock: this.#clock, onError };
    this.#model.now = this.#clock.now();
    if (mode === 'memory') {
      this.#cache = WriteBehind.memory(store, options);
      return;
    }
    this.#db = await Weirpool.open(DIRECTORY, { ...SMALL, fileSystem: this.#disk });
    this.#cache = await openDurable(this.#db, store, options);
  }

  async close(): Promise<void> {
    await this.#cache?.close({ flush: false });
    await this.#db?.close();
  }

  async #call<T>(sync: () => T, promised: () => Promise<T>): Promise<T | 'failed'> {
    try {
      return this.#shape.sync ? sync() : await promised();
    } catch (error) {
      expect(error).toMatchObject({ code: 'BACKING_STORE_FAILED' });
      return 'failed';
    }
  }

  async run({ kind, seed }: Step): Promise<void> {
    const random = new Random(seed);
    if (isOfKey(kind)) await this.#runKey(kind, KEYS[random.int(KEYS.length)] as string);
    else await this.#runOther(kind, random);
    this.#check();
  }

  async #runKey(kind: KeyKind, key: string): Promise<void> {
    const cache = this.#open;
    const model = this.#model;
    switch (kind) {
      case 'put': {
        const value = this.#nextValue++;
        const put = await this.#call(
          () => cache.putSync(key, value),
          () => cache.put(key, value),
        );
        expect(put ?? 'done').toBe(model.put(key, value));
        break;
      }
      case 'get': {
        const got = await this.#call(
          () => cache.getSync(key),
          () => cache.get(key),
        );
        expect(got).toBe(model.get(key));
        break;
      }
      case 'delete': {
        const deleted = await this.#call(
          () => cache.deleteSync(key),
          () => cache.delete(key),
        );
        expect(deleted).toBe(model.delete(key));
        break;
      }
      case 'markClean':
        expect(cache.markClean(key)).toBe(model.markClean(key));
    }
  }

  async #runOther(kind: Exclude<Step['kind'], KeyKind>, random: Random): Promise<void> {
    const cache = this.#open;
    const model = this.#model;
    switch (kind) {
      case 'flush': {
        const flushed = await this.#call(
          () => cache.flushSync(),
          () => cache.flush(),
        );
        expect(flushed).toBe(model.flush());
        break;
      }
      case 'flushIfNeeded': {
        const count = random.int(6);
        const flushed = await this.#call(
          () => cache.flushIfNeededSync(count),
          () => cache.flushIfNeeded(count),
        );
        expect(flushed).toBe(model.flushIfNeeded(count));
        break;
      }
      case 'flushOlderThan': {
        const ms = random.int(3) * 50;
        const flushed = await this.#call(
          () => cache.flushOlderThanSync(ms),
          () => cache.flushOlderThan(ms),
        );
        expect(flushed).toBe(model.flushOlderThan(ms));
        break;
      }
      case 'pass':
        await this.#clock.pass(random.int(3) * 25);
        model.now = this.#clock.now();
        break;
      case 'fail':
        model.failing = new Set(KEYS.filter(() => random.int(3) === 0));
        break;
      case 'mend':
        model.failing = new Set();
        break;
      case 'reopen':
        await this.#reopen();
    }
  }

  async #reopen(): Promise<void> {
    if (this.#shape.mode === 'memory') return;
    await this.close();
    await this.open();
    this.#model.reopened();
  }

  #check(): void {
    const cache = this.#open;
    const { entries, dirty, capacity, flushes, entriesFlushed, store } = this.#model;
    expect(cache.stats()).toEqual({
      entries: entries.size,
      dirty: dirty.length,
      capacity,
      flushes,
      entriesFlushed,
    });
    expect(cache.dirtyKeys()).toEqual(dirty);
    for (const key of KEYS) {
      expect([key, cache.peek(key), cache.contains(key), cache.isDirty(key)]).toEqual([
        key,
        entries.get(key)?.value,
        entries.has(key),
        dirty.includes(key),
      ]);
    }
    expect(new Map(this.#store.content)).toEqual(store);
  }
}

const step = fc.record({
  kind: fc.constantFrom(...KINDS),
  seed: fc.nat({ max: 2 ** 31 }),
});

const SHAPES: readonly Shape[] = [
  { mode: 'memory', promises: false, sync: true },
  { mode: 'memory', promises: false, sync: false },
  { mode: 'memory', promises: true, sync: false },
  { mode: 'durable', promises: false, sync: true },
  { mode: 'durable', promises: false, sync: false },
  { mode: 'durable', promises: true, sync: false },
];

it.each(SHAPES)('B1 B2 a cache is the plain model: %j', async (shape) => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat({ max: 6 }),
      fc.array(step, { minLength: 10, maxLength: 80, size: 'max' }),
      async (capacity, steps) => {
        const run = new Run(shape, capacity);
        await run.open();
        try {
          for (const next of steps) await run.run(next);
        } finally {
          await run.close();
        }
      },
    ),
    { seed: testSeed(), numRuns: RUNS, interruptAfterTimeLimit: TIME_MS_MAX, endOnFailure: false },
  );
});
