/** Flushing in the background, with a clock that the test moves. */
import { channel } from 'node:diagnostics_channel';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { codecOf } from '../../src/tree/codec.ts';
import { SYSTEM_CLOCK } from '../../src/write-behind/clock.ts';
import { DurableEntries } from '../../src/write-behind/durable-entries.ts';
import type { CacheOptions } from '../../src/write-behind/index.ts';
import { SharedWords } from '../../src/write-behind/words.ts';
import { type Cache, ManualClock, PlainStore, StagedStore, turn } from './stores.ts';
import { MODES, openDb, openDurable } from './support.ts';

const DOWN = new Error('down');

describe.each(MODES)('a $name cache in the background', ({ open }) => {
  interface Stage {
    readonly cache: Cache;
    readonly store: PlainStore;
    readonly clock: ManualClock;
    readonly errors: unknown[];
  }

  async function stage(options: CacheOptions): Promise<Stage> {
    const store = new PlainStore();
    const clock = new ManualClock();
    const errors: unknown[] = [];
    const onError = (error: unknown): void => {
      errors.push(error);
    };
    return { cache: await open(store, { clock, onError, ...options }), store, clock, errors };
  }

  it('flushes nothing by itself unless it is told to', async () => {
    const { cache, store, clock } = await stage({});
    await cache.put('a', 1);
    await clock.pass(1e7);
    expect([store.calls, clock.timers]).toEqual([[], 0]);
  });

  it('flushes all when so many are dirty', async () => {
    const { cache, store, clock } = await stage({ flush: { count: 3 } });
    for (const key of ['a', 'b', 'a']) await cache.put(key, 1);
    await clock.pass(1000);
    expect(store.calls).toEqual([]);
    await cache.put('c', 1);
    expect(store.calls).toEqual([]);
    await clock.pass(0);
    expect(store.takeCalls()).toEqual(['write a=1', 'write b=1', 'write c=1']);
    for (const key of ['a', 'b', 'c']) cache.putSync(key, 2);
    await clock.pass(0);
    expect(store.takeCalls()).toHaveLength(3);
    expect(cache.stats()).toMatchObject({ flushes: 2, entriesFlushed: 6 });
  });

  it('looks after puts that had to wait for room', async () => {
    const store = new StagedStore();
    const clock = new ManualClock();
    const cache = await open(store, { clock, capacity: 3, flush: { count: 3 } });
    await cache.put('a', 1);
    for (const key of ['b', 'c']) {
      store.content.set(key, 1);
      const get = cache.get(key);
      await turn();
      await store.next(`read ${key}`).land();
      await get;
    }
    // Those behind the first one find clean victims: only their puts make so many dirty.
    const puts = ['d', 'e', 'f'].map((key) => cache.put(key, 1));
    await turn();
    await store.next('write a=1').land();
    await Promise.all(puts);
    await clock.pass(0);
    expect(store.texts).toEqual(['write d=1']);
  });

  it('begins no flush before the last one has ended', async () => {
    const store = new StagedStore();
    const clock = new ManualClock();
    const flush = { count: 2, intervalMs: 1000 };
    const cache = await open(store, { clock, concurrency: 2, flush });
    await cache.put('a', 1);
    await clock.pass(1000);
    await cache.put('b', 1);
    await clock.pass(0);
    expect(store.texts).toEqual(['write a=1']);
    await store.next('write a=1').land();
    expect(store.texts).toEqual(['write b=1']);
  });

  it('flushes again what was put during a flush', async () => {
    const store = new StagedStore();
    const clock = new ManualClock();
    const cache = await open(store, { clock, flush: { count: 2 } });
    for (const key of ['a', 'b']) await cache.put(key, 1);
    await clock.pass(0);
    for (const key of ['c', 'd']) await cache.put(key, 1);
    for (const key of ['a', 'b']) await store.next(`write ${key}=1`).land();
    await clock.pass(0);
    for (const key of ['c', 'd']) {
      await store.next(`write ${key}=1`).land();
    }
    expect(cache.dirtyCount).toBe(0);
  });

  it('goes on, and closes, when onError throws', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    const bug = new Error('a bug of onError');
    const onError = (): void => {
      throw bug;
    };
    const { cache, store, clock } = await stage({ flush: { intervalMs: 50 }, onError });
    store.failure = () => DOWN;
    await cache.put('a', 1);
    await clock.pass(50);
    expect(warn.mock.calls).toEqual([[bug]]);
    store.failure = () => undefined;
    await clock.pass(50);
    expect(store.takeCalls()).toEqual(['write a=1']);
    await cache.close();
  });

  it('flushes what was last changed so long ago, half as long again at most', async () => {
    const { cache, store, clock } = await stage({ flush: { ageMs: 100 } });
    await cache.put('a', 1);
    await clock.pass(60);
    await cache.put('b', 1);
    await clock.pass(39);
    expect(store.calls).toEqual([]);
    await clock.pass(51);
    expect(store.takeCalls()).toEqual(['write a=1']);
    await clock.pass(60);
    expect(store.takeCalls()).toEqual(['write b=1']);
    await clock.pass(1000);
    expect(cache.stats().flushes).toBe(2);
  });

  it('flushes all at each interval', async () => {
    const { cache, store, clock } = await stage({ flush: { intervalMs: 50 } });
    await cache.put('a', 1);
    await clock.pass(49);
    expect(store.calls).toEqual([]);
    await clock.pass(1);
    expect(store.takeCalls()).toEqual(['write a=1']);
    await cache.put('a', 2);
    await clock.pass(50);
    expect(store.takeCalls()).toEqual(['write a=2']);
    expect(cache.stats().flushes).toBe(2);
  });

  it('tells of a failure, keeps the entries dirty, and tries again', async () => {
    const { cache, store, clock, errors } = await stage({ flush: { count: 1 } });
    store.failure = () => DOWN;
    await cache.put('a', 1);
    await clock.pass(0);
    expect(errors).toMatchObject([{ code: 'BACKING_STORE_FAILED', cause: DOWN, keys: ['a'] }]);
    expect(cache.isDirty('a')).toBe(true);
    // It is not asked for with each put.
    for (let n = 0; n < 5; n++) await cache.put('b', n);
    await clock.pass(900);
    expect(errors).toHaveLength(1);
    store.failure = () => undefined;
    await clock.pass(100);
    expect([store.takeCalls(), cache.dirtyCount, errors.length]).toEqual([
      ['write a=1', 'write b=4'],
      0,
      1,
    ]);
  });

  it('an interval goes on after a failure', async () => {
    const { cache, store, clock, errors } = await stage({ flush: { intervalMs: 50 } });
    store.failure = () => DOWN;
    await cache.put('a', 1);
    await clock.pass(100);
    expect(errors).toHaveLength(2);
    store.failure = () => undefined;
    await clock.pass(50);
    expect(cache.dirtyCount).toBe(0);
  });

  it('stops when it is closed, and goes on when closing has failed', async () => {
    const { cache, store, clock } = await stage({ flush: { count: 9, intervalMs: 50, ageMs: 80 } });
    await cache.put('a', 1);
    store.failure = () => DOWN;
    await expect(cache.close()).rejects.toMatchObject({ code: 'BACKING_STORE_FAILED' });
    store.failure = () => undefined;
    await clock.pass(50);
    expect(store.takeCalls()).toEqual(['write a=1']);
    await cache.close();
    expect(clock.timers).toBe(0);
  });

  it('close waits for the flush that is under way', async () => {
    const store = new StagedStore();
    const clock = new ManualClock();
    const cache = await open(store, { clock, flush: { intervalMs: 50 } });
    await cache.put('a', 1);
    await clock.pass(50);
    let closed = false;
    const close = cache.close().then(() => {
      closed = true;
    });
    await turn();
    expect([store.texts, closed]).toEqual([['write a=1'], false]);
    await store.next('write a=1').land();
    await close;
    expect([store.content.get('a'), store.texts]).toEqual([1, []]);
  });

  it('publishes failures to a diagnostics channel', async () => {
    const { cache, store, clock } = await stage({ flush: { intervalMs: 50 } });
    const heard: unknown[] = [];
    const listen = (message: unknown): void => {
      heard.push(message);
    };
    const errors = channel('weirpool:write-behind:error');
    errors.subscribe(listen);
    onTestFinished(() => void errors.unsubscribe(listen));
    store.failure = () => DOWN;
    await cache.put('a', 1);
    await clock.pass(50);
    expect(heard).toMatchObject([{ error: { code: 'BACKING_STORE_FAILED' }, cache }]);
  });

  it('warns of failures that nobody listens to', async () => {
    const store = new PlainStore();
    const clock = new ManualClock();
    const cache = await open(store, { clock, flush: { intervalMs: 50 } });
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    store.failure = () => DOWN;
    await cache.put('a', 1);
    await clock.pass(50);
    expect(warn.mock.calls).toMatchObject([[{ code: 'BACKING_STORE_FAILED' }]]);
  });
});

it('timers of the system keep no process alive, and can be taken back', async () => {
  const called: string[] = [];
  // What keeps the process alive; an unref'ed timer is not among it.
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  SYSTEM_CLOCK.after(1, () => called.push('kept'));
  const stop = SYSTEM_CLOCK.after(1, () => called.push('stopped'));
  expect(timers()).toBe(before);
  stop();
  await vi.waitFor(() => {
    expect(called).toEqual(['kept']);
  });
});

describe('a durable cache in the background', () => {
  it('flushes what was left dirty, and what others have put', async () => {
    const db = await openDb();
    const store = new PlainStore();
    const left = await openDurable(db, store);
    for (const key of ['a', 'b']) await left.put(key, 1);
    await left.close({ flush: false });
    const clock = new ManualClock();
    const cache = await openDurable(db, store, { clock, flush: { count: 2 } });
    await clock.pass(0);
    expect(store.takeCalls()).toEqual(['write a=1', 'write b=1']);
    const other = new DurableEntries<string, number>({
      db,
      prefix: 'write-behind/cache',
      words: SharedWords.from(cache.handle.words),
      key: codecOf<string>('utf8', 'key'),
      value: codecOf<number>('json', 'value'),
      durability: 'written',
    });
    for (const key of ['c', 'd']) other.put(key, 1, 0);
    await clock.pass(1000);
    await clock.pass(0);
    expect(store.takeCalls()).toEqual(['write c=1', 'write d=1']);
    await cache.close();
    expect(clock.timers).toBe(0);
  });
});
