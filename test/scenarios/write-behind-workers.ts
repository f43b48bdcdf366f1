/**
 * One durable cache in several threads, before one slow store.
 *
 * Argument: the play. `hammer`: all put, get, delete and flush at once, with less room than keys;
 * `dead-write`, `dead-write-sync`: a worker dies while its store writes; `dead-delete`: while it
 * deletes; `apart`: who may open, who must attach; `opener-closes`, `opener-dies`: while another one has it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  isMainThread,
  MessageChannel,
  type MessagePort,
  threadId,
  workerData,
} from 'node:worker_threads';
import { Weirpool } from '../../src/index.ts';
import { type BackingStore, type CacheHandle, WriteBehind } from '../../src/write-behind/index.ts';
import { check, checkEqual, checkThrows, startWorker } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';
import { turn } from '../write-behind/stores.ts';
import { pause, Signals, startMortal } from './death-support.ts';

type Cache = WriteBehind<number, number>;

const KEYS = 48;
const CAPACITY = 20;
const WORKERS = 3;
const STEPS = 400;
/** Key codec: two digits. */
const key = {
  encode: (n: number): string => String(n).padStart(2, '0'),
  decode: (bytes: Buffer): number => Number(bytes.toString()),
};

/** The store's content and what is known of it, in memory that all threads share; 0 is absent. */
class SharedStore implements BackingStore<number, number> {
  readonly buffer: SharedArrayBuffer;
  readonly content: Int32Array;
  /** Changes of a key that are under way. */
  readonly under: Int32Array;
  /** The value of a key whose put has been acknowledged last. */
  readonly acked: Int32Array;
  readonly #random: Random;

  constructor(buffer = new SharedArrayBuffer(KEYS * 3 * 4), seed = 0) {
    this.buffer = buffer;
    this.content = new Int32Array(buffer, 0, KEYS);
    this.under = new Int32Array(buffer, KEYS * 4, KEYS);
    this.acked = new Int32Array(buffer, KEYS * 8, KEYS);
    this.#random = new Random(seed);
  }

  async #pause(): Promise<void> {
    const turns = this.#random.int(3);
    for (let n = 0; n < turns; n++) await new Promise((done) => setImmediate(done));
  }

  async read(n: number): Promise<number | undefined> {
    await this.#pause();
    const value = Atomics.load(this.content, n);
    await this.#pause();
    return value === 0 ? undefined : value;
  }

  async #change(n: number, value: number): Promise<void> {
    checkEqual(Atomics.add(this.under, n, 1), 0, `changes of key ${n} that are under way`);
    await this.#pause();
    const before = Atomics.exchange(this.content, n, value);
    check(value === 0 || value >= before, `key ${n} goes back from ${before} to ${value}`);
    await this.#pause();
    Atomics.sub(this.under, n, 1);
  }

  write(n: number, value: number): Promise<void> {
    return this.#change(n, value);
  }

  delete(n: number): Promise<void> {
    return this.#change(n, 0);
  }
}

interface Task {
  readonly role: 'hammer' | 'write' | 'delete' | 'apart' | 'stay' | 'open';
  readonly index: number;
  readonly seed: number;
  readonly handle: CacheHandle;
  readonly store: SharedArrayBuffer;
  readonly words: Int32Array;
  /** Hands the handle on: `open` to `stay`. */
  readonly port?: MessagePort;
}

const STARTED = 0;
const OPENED = 1;
const LEAVE = 2;

// --- workers -------------------------------------------------------------------------------------

/** Keys of its own are put and deleted by one thread only; all threads read and flush all of them. */
async function hammer(cache: Cache, store: SharedStore, index: number, seed: number) {
  const random = new Random(seed);
  let next = 1;
  for (let n = 0; n < STEPS; n++) {
    const any = random.int(KEYS);
    const mine = any - (any % WORKERS) + index;
    const kind = random.int(20);
    if (kind < 10) {
      const value = next++;
      await cache.put(mine, value);
      Atomics.store(store.acked, mine, value);
    } else if (kind < 11) {
      // Whoever reads meanwhile may see the value or nothing; later ones see the next put.
      Atomics.store(store.acked, mine, 0);
      await cache.delete(mine);
    } else if (kind < 18) {
      const least = Atomics.load(store.acked, any);
      const value = (await cache.get(any)) ?? 0;
      const isSafe = least !== 0 && Atomics.load(store.acked, any) >= least;
      check(!isSafe || value >= least || value === 0, `key ${any} is ${value}, was ${least}`);
      if (any === mine) checkEqual(value, least, `key ${any} of this thread`);
    } else if (kind < 19) await cache.flush();
    else await cache.flushIfNeeded(4);
  }
}

/** Opens the cache for another thread, and lives until it is ended. */
async function openFor(task: Task): Promise<void> {
  const db = await Weirpool.attach(task.handle.db);
  const cache = await WriteBehind.open<number, number>(db, new SharedStore(task.store), {
    key,
    name: 'mortal',
  });
  task.port?.postMessage(cache.handle);
  setInterval(() => undefined, 1000);
}

/** Has a cache until it is told to leave it. */
async function stay({ handle, store, words, port }: Task): Promise<void> {
  const db = await Weirpool.attach(handle.db);
  const of = port === undefined ? handle : await received(port);
  const cache: Cache = WriteBehind.attach(db, of, new SharedStore(store), { key });
  await cache.put(2, 20);
  const signals = new Signals(words);
  signals.raise(OPENED);
  await signals.wait(LEAVE);
  checkEqual(cache.isDirty(2), true, 'what was put is dirty');
  await cache.close();
  await db.close();
}

function received(port: MessagePort): Promise<CacheHandle> {
  return new Promise((resolve) => {
    port.once('message', (handle: CacheHandle) => {
      port.close();
      resolve(handle);
    });
  });
}

async function work(of: Task): Promise<void> {
  if (of.role === 'open') return openFor(of);
  if (of.role === 'stay') return stay(of);
  const { role, index, seed, handle, store: buffer, words } = of;
  const db = await Weirpool.attach(handle.db);
  const store = new SharedStore(buffer, seed);
  const signals = new Signals(words);
  const never = (): Promise<void> => {
    signals.raise(STARTED);
    return new Promise(() => setInterval(() => undefined, 1000));
  };
  if (role === 'write') store.write = never;
  if (role === 'delete') store.delete = never;
  if (role === 'apart') {
    const error = await WriteBehind.open(db, store, { key }).catch((reason: unknown) => reason);
    checkEqual((error as { code?: string }).code, 'CACHE_OPEN', 'opening it a second time');
  }
  const cache: Cache = WriteBehind.attach(db, handle, store, { key, concurrency: 4 });
  if (role === 'hammer') await hammer(cache, store, index, seed);
  if (role === 'write') await cache.flush();
  if (role === 'delete') await cache.delete(1);
  if (role === 'apart') {
    checkThrows(
      () => WriteBehind.attach(db, handle, store, { key }),
      'CACHE_OPEN',
      'joining twice',
    );
    checkEqual(cache.peek(1), 10, 'what the opener has put');
    await cache.put(2, 20);
  }
  await cache.close({ flush: false });
  await db.close();
}

// --- the main thread -----------------------------------------------------------------------------

interface Stage {
  readonly db: Weirpool;
  readonly cache: Cache;
  readonly store: SharedStore;
  readonly task: (role: Task['role'], index: number, seed: number) => Task;
  readonly signals: Signals;
  /** Opens another cache. */
  readonly open: (name: string) => Promise<Cache>;
}

/** A worker has begun a change of the store that does not end; it dies, with what it has claimed. */
async function dead({ task, signals }: Stage, role: Task['role']): Promise<void> {
  const { worker, gone } = startMortal(import.meta.url, task(role, 0, 0));
  signals.waitSync(STARTED);
  // It waits for its store, and holds a claim: nothing else.
  await turn();
  await worker.terminate();
  await gone;
}

const plays: Readonly<Record<string, (stage: Stage) => Promise<void>>> = {
  async hammer({ cache, store, task }) {
    const seeds = new Random(testSeed());
    const workers = Array.from({ length: WORKERS }, (_, index) =>
      startWorker(import.meta.url, task('hammer', index, seeds.int(2 ** 31))),
    );
    const codes = await Promise.all(workers.map(({ done }) => done));
    checkEqual(codes.join(), '0,0,0', 'exit codes');
    await cache.flush();
    checkEqual(cache.dirtyCount, 0, 'dirty entries at the end');
    checkEqual(cache.dirtyKeys().length, 0, 'dirty keys at the end');
    let cached = 0;
    for (let n = 0; n < KEYS; n++) {
      checkEqual(store.content[n], store.acked[n], `key ${n} in the store at the end`);
      if (cache.contains(n)) cached++;
      checkEqual((await cache.get(n)) ?? 0, store.acked[n], `key ${n} at the end`);
    }
    check(cached > 0, 'nothing is cached at the end');
    check(cache.size <= CAPACITY + WORKERS, `${cache.size} entries at the end`);
    check(cache.stats().entriesFlushed > KEYS, 'hardly anything was flushed');
  },

  async 'dead-write'(stage) {
    const { cache, store } = stage;
    await cache.put(1, 10);
    await dead(stage, 'write');
    checkEqual(cache.isDirty(1), true, 'the entry is dirty');
    checkEqual(await cache.flush(), 1, 'entries that were flushed');
    checkEqual(store.content[1], 10, 'the value in the store');
  },

  async 'dead-write-sync'(stage) {
    const { cache, store } = stage;
    await cache.put(1, 10);
    store.write = (n, value) => {
      store.content[n] = value;
      return undefined as never;
    };
    await dead(stage, 'write');
    checkEqual(cache.flushSync(), 1, 'entries that were flushed');
    checkEqual(store.content[1], 10, 'the value in the store');
  },

  async 'dead-delete'(stage) {
    const { cache, store } = stage;
    await cache.put(1, 10);
    await cache.flush();
    await dead(stage, 'delete');
    checkEqual(cache.peek(1), 10, 'the value that was being deleted');
    checkEqual(await cache.flush(), 0, 'entries that were flushed');
    checkEqual(store.content[1], 0, 'the value in the store');
    checkEqual(cache.contains(1), false, 'it is cached');
    checkEqual(cache.size, 0, 'entries');
  },

  /** The opener closes while another thread has the cache. */
  async 'opener-closes'({ db, store, signals, open, task }) {
    const cache = await open('mortal');
    const { done } = startWorker(import.meta.url, { ...task('stay', 0, 0), handle: cache.handle });
    await signals.wait(OPENED);
    await cache.close({ flush: false });
    const error = await open('mortal').catch((reason: unknown) => reason);
    checkEqual((error as { code?: string }).code, 'CACHE_OPEN', 'opening what another thread has');
    const again: Cache = WriteBehind.attach(db, cache.handle, store, { key });
    checkEqual(again.peek(2), 20, 'what the other one has put');
    await again.close({ flush: false });
    signals.raise(LEAVE);
    checkEqual(await done, 0, 'exit code');
    checkEqual(store.content[2], 20, 'the value in the store');
    const last = await open('mortal');
    checkThrows(
      () => WriteBehind.attach(db, cache.handle, store, { key }),
      'CACHE_OPEN',
      'the old handle, here',
    );
    await last.close();
    checkThrows(
      () => WriteBehind.attach(db, cache.handle, store, { key }),
      'CACHE_CLOSED',
      'the old handle',
    );
  },

  /** The opener dies while another thread has the cache. */
  async 'opener-dies'({ store, signals, open, task }) {
    const { port1, port2 } = new MessageChannel();
    const opener = startMortal(import.meta.url, { ...task('open', 0, 0), port: port1 }, [port1]);
    const user = startMortal(import.meta.url, { ...task('stay', 1, 0), port: port2 }, [port2]);
    await signals.wait(OPENED);
    await opener.worker.terminate();
    await opener.gone;
    for (let n = 0; n < 20; n++) {
      const error = await open('mortal').catch((reason: unknown) => reason);
      checkEqual((error as { code?: string }).code, 'CACHE_OPEN', 'opening what another one has');
      await pause(50);
    }
    signals.raise(LEAVE);
    await user.gone;
    checkEqual(store.content[2], 20, 'the value in the store');
    await (await open('mortal')).close();
  },

  async apart({ db, cache, store, task }) {
    await cache.put(1, 10);
    const again = await WriteBehind.open(db, store, { key }).catch((reason: unknown) => reason);
    checkEqual((again as { code?: string }).code, 'CACHE_OPEN', 'opening it twice in a thread');
    const other = await WriteBehind.open<number, number>(db, store, { key, name: 'other' });
    checkEqual(other.size, 0, 'entries of another cache');
    await other.close();
    checkEqual(await startWorker(import.meta.url, task('apart', 0, 0)).done, 0, 'exit code');
    checkEqual(cache.peek(2), 20, 'what the worker has put');
    checkEqual(cache.dirtyKeys().join(), '1,2', 'dirty keys');
  },
};

async function main(name: string): Promise<void> {
  const play = plays[name];
  check(play !== undefined, `there is no play ${name}`);
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-behind-'));
  try {
    const db = await Weirpool.open(join(directory, 'db'), {
      frames: 256,
      blobBytes: 4096,
      log: { ringBytes: 64 * 1024 },
    });
    const store = new SharedStore();
    const options = { key, capacity: CAPACITY, concurrency: 4 };
    const cache = await WriteBehind.open<number, number>(db, store, options);
    const signals = new Signals();
    const { handle } = cache;
    const { words } = signals;
    const task: Stage['task'] = (role, index, seed) => ({
      role,
      index,
      seed,
      handle,
      store: store.buffer,
      words,
    });
    const open: Stage['open'] = (name) => WriteBehind.open(db, store, { ...options, name });
    await play({ db, cache, store, task, signals, open });
    await cache.close();
    const again = await WriteBehind.open<number, number>(db, store, options);
    checkEqual(again.dirtyCount, 0, 'dirty entries after reopening');
    await again.close();
    await db.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

if (isMainThread) await main(process.argv[2] ?? '');
else if (threadId > 0) await work(workerData as Task);
