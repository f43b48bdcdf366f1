/**
 * The hammer: workers do everything that a pool can do, at random, with a pool much smaller than
 * the store, and check every byte that they see.
 *
 * A place stands for one blob at a time; a delete gives it another one. Every blob says in all its
 * words which blob it is and how often it was changed, so that a torn, stale or foreign image
 * shows itself. A change adds one to the count under an exclusive latch, and to the place's count
 * of changes outside the pool.
 *
 * Writing a blob to the store replaces it as a whole, and a pool without a log cannot say whether
 * somebody changed it meanwhile: as an index does, the hammer keeps writers of whole blobs apart
 * from writers in place, by a lock of its own for each place. Writers in place are not kept apart.
 *
 * Arguments: blob bytes, workers, frames, time in ms. The seed comes from the environment.
 */
import { isMainThread, workerData } from 'node:worker_threads';
import {
  BufferPool,
  type Frame,
  type PoolHandle,
  RESTART,
  WeirpoolError,
} from '../../src/index.ts';
import { Barrier, check, checkEqual, runWorkers, sleepSync, violation } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';

const PLACES = 24;
const HOT_PLACES = 2;
/** How often operations are chosen, where not once. */
const WEIGHTS: Readonly<Record<string, number>> = {
  optimistic: 8,
  tryOptimistic: 6,
  read: 4,
  pinned: 6,
  write: 8,
  upgrade: 4,
  evict: 6,
};

interface Job {
  readonly handle: PoolHandle;
  readonly worker: number;
  readonly seed: number;
  readonly ms: number;
  readonly workers: number;
  readonly barrier: SharedArrayBuffer;
  /** For each place: id, changes, lock (writers in place, or -1 for one of the whole blob). */
  readonly places: SharedArrayBuffer;
}

const ID = 0;
const CHANGES = 1;
const LOCK = 2;
const PLACE_WORDS = 4;

/** Word `n` of blob `id` after `count` changes; the first two say id and count themselves. */
function wordOf(id: number, count: number, n: number): number {
  return (
    (Math.imul(id, 0x9e3779b1) ^ Math.imul(count, 0x85ebca77) ^ Math.imul(n, 0xc2b2ae3d)) >>> 0
  );
}

function compose(words: Uint32Array, id: number, count: number): void {
  for (let n = 2; n < words.length; n++) words[n] = wordOf(id, count, n);
  words[1] = count;
  words[0] = id;
}

/** The count of changes, or what is wrong with the bytes as a text. */
function examine(words: Uint32Array, id: number): number | string {
  const [found, count] = [words[0] as number, words[1] as number];
  if (found !== id) return `the bytes of blob ${found} instead of blob ${id}`;
  for (let n = 2; n < words.length; n++) {
    if (words[n] !== wordOf(id, count, n)) return `blob ${id}, change ${count}: word ${n} is torn`;
  }
  return count;
}

class Hammer {
  readonly #pool: BufferPool;
  readonly #job: Job;
  readonly #random: Random;
  readonly #places: Int32Array;
  readonly #seen = new Map<number, number>();
  /** Places that this worker has made dirty and not written. */
  readonly #dirty = new Set<number>();
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly done = new Map<string, number>();

  constructor(pool: BufferPool, job: Job) {
    this.#pool = pool;
    this.#job = job;
    this.#random = Random.fork(job.seed, job.worker);
    this.#places = new Int32Array(job.places);
    this.#bytes = new Uint8Array(pool.blobBytes);
    this.#words = new Uint32Array(this.#bytes.buffer);
  }

  // --- what is checked ---------------------------------------------------------------------------

  /** A count never goes back, as one thread sees it. */
  #note(id: number, result: number | string, how: string): number {
    if (typeof result === 'string') violation(`I5 ${how}: ${result}`);
    const last = this.#seen.get(id) ?? 0;
    if (result < last) violation(`I1 ${how}: blob ${id} went back from ${last} to ${result}`);
    this.#seen.set(id, result);
    return result;
  }

  // --- locks of places -------------------------------------------------------------------------------

  #at(place: number, word: number): number {
    return place * PLACE_WORDS + word;
  }

  /** One of several writers in place, or the only writer of the whole blob; false if taken. */
  #tryLock(place: number, whole: boolean): boolean {
    const at = this.#at(place, LOCK);
    const seen = Atomics.load(this.#places, at);
    if (seen < 0 || (whole && seen !== 0)) return false;
    return Atomics.compareExchange(this.#places, at, seen, whole ? -1 : seen + 1) === seen;
  }

  #unlock(place: number, whole: boolean): void {
    Atomics.add(this.#places, this.#at(place, LOCK), whole ? 1 : -1);
  }

  #idOf(place: number): number {
    return Atomics.load(this.#places, this.#at(place, ID));
  }

  // --- what is done ----------------------------------------------------------------------------------

  readonly #read = ({ u32 }: Frame, id: number): number | string => examine(u32, id);

  readonly #operations: Readonly<Record<string, (id: number, place: number) => void>> = {
    optimistic: (id) =>
      void this.#note(id, this.#pool.optimistic(id, this.#read, id), 'optimistic'),
    tryOptimistic: (id) => {
      const result = this.#pool.tryOptimistic(id, this.#read, id);
      if (result !== RESTART) this.#note(id, result, 'tryOptimistic');
    },
    read: (id) => {
      using guard = this.#pool.read(id);
      const count = this.#note(id, examine(guard.u32, id), 'read');
      checkEqual(examine(guard.u32, id), count, 'I5 the same bytes under a shared latch');
    },
    nested: (id) => {
      using outer = this.#pool.read(id);
      using pin = this.#pool.pinSilent(id);
      using inner = pin.read();
      this.#note(id, examine(inner.u32, id), 'nested read');
      this.#note(id, examine(outer.u32, id), 'nested read');
    },
    readInto: (id) => {
      this.#pool.readInto(id, this.#bytes);
      this.#note(id, examine(this.#words, id), 'readInto');
    },
    copyCached: (id) => {
      if (!this.#pool.copyCached(id, this.#bytes)) return;
      this.#note(id, examine(this.#words, id), 'copyCached');
    },
    pinned: (id) => {
      using pin = this.#pool.pin(id);
      const look = pin.optimistic();
      const result = examine(look.u32, id);
      if (look.validate()) this.#note(id, result, 'optimistic look at a pin');
    },
    write: (id, place) => this.#change(place, () => this.#pool.write(id)),
    upgrade: (id, place) => this.#change(place, () => this.#upgrade(id)),
    flush: (_id, place) => this.#flush(place),
    whole: (id, place) => this.#writeWhole(id, place),
    evict: (id) => void this.#pool.evict(id),
    prefetch: (id) => void this.#pool.prefetch([id]).catch((error) => this.#tolerate(error, id, 0)),
    replace: (id, place) => this.#replace(id, place),
  };

  #upgrade(id: number): ReturnType<BufferPool['write']> | undefined {
    using pin = this.#pool.pin(id);
    const look = pin.optimistic();
    const before = examine(look.u32, id);
    const guard = look.upgrade();
    if (guard === undefined) return undefined;
    const count = this.#note(id, examine(guard.u32, id), 'upgrade');
    checkEqual(count, before, 'I5 what an upgrade has seen before');
    // The latch outlives this pin's guard: it is handed on with a pin of its own.
    this.#rewrite(guard.u32, id, count);
    guard.release();
    return undefined;
  }

  #rewrite(words: Uint32Array, id: number, count: number): void {
    compose(words, id, count + 1);
    this.#seen.set(id, count + 1);
    Atomics.add(this.#places, this.#at(this.#place, CHANGES), 1);
  }

  /** The place that the current operation is about. */
  #place = 0;

  #change(place: number, take: () => ReturnType<BufferPool['write']> | undefined): void {
    if (!this.#tryLock(place, false)) return;
    this.#place = place;
    try {
      this.#dirty.add(place);
      const guard = take();
      if (guard === undefined) return;
      const { id } = guard;
      this.#rewrite(guard.u32, id, this.#note(id, examine(guard.u32, id), 'write'));
      guard.release();
    } finally {
      this.#unlock(place, false);
    }
    // Mostly at once: dirty frames stay, and the pool has few.
    if (this.#dirty.size > 1 || this.#random.chance(0.7)) {
      for (const dirty of [...this.#dirty]) this.#flush(dirty);
    }
  }

  /** Writes a place to the store as it is. */
  #flush(place: number): void {
    if (!this.#tryLock(place, true)) return;
    try {
      const id = this.#idOf(place);
      this.#pool.readInto(id, this.#bytes);
      this.#note(id, examine(this.#words, id), 'readInto before a write');
      this.#pool.writeBlob(id, this.#bytes);
      this.#dirty.delete(place);
    } finally {
      this.#unlock(place, true);
    }
  }

  /** Changes a blob by writing it whole, whether it is cached or not. */
  #writeWhole(id: number, place: number): void {
    if (!this.#tryLock(place, true)) return;
    this.#place = place;
    try {
      if (this.#idOf(place) !== id) return;
      this.#pool.readInto(id, this.#bytes);
      const count = this.#note(id, examine(this.#words, id), 'readInto before a whole write');
      if (this.#random.chance(0.5)) this.#pool.evict(id);
      this.#rewrite(this.#words, id, count);
      this.#pool.writeBlob(id, this.#bytes);
      this.#dirty.delete(place);
    } finally {
      this.#unlock(place, true);
    }
  }

  /** Deletes the blob of a place and puts a new one there. */
  #replace(id: number, place: number): void {
    if (!this.#tryLock(place, true)) return;
    try {
      if (this.#idOf(place) !== id) return;
      const next = this.#pool.allocate();
      compose(this.#words, next, 1);
      this.#pool.writeBlob(next, this.#bytes);
      Atomics.store(this.#places, this.#at(place, CHANGES), 1);
      Atomics.store(this.#places, this.#at(place, ID), next);
      check(this.#pool.deleteBlob(id), 'a blob that only this thread may delete was there');
      check(!this.#pool.has(id), 'a deleted blob is not there any more');
      check(!this.#pool.deleteBlob(id), 'a deleted blob cannot be deleted again');
      this.#dirty.delete(place);
    } finally {
      this.#unlock(place, true);
    }
  }

  // --- running -----------------------------------------------------------------------------------------

  /** Errors that the others' work explains; everything else is a violation. */
  #tolerate(error: unknown, id: number, place: number): void {
    const code = error instanceof WeirpoolError ? error.code : 'none';
    if (code === 'OP_RESTART' || code === 'POOL_CLOSED') return;
    if (code === 'POOL_EXHAUSTED') {
      for (const dirty of [...this.#dirty]) this.#flushQuietly(dirty);
      return;
    }
    const gone = code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE';
    if (gone && this.#idOf(place) !== id) return;
    violation(`blob ${id}: ${error instanceof Error ? error.stack : String(error)}`);
  }

  #flushQuietly(place: number): void {
    try {
      this.#flush(place);
    } catch (error) {
      const code = error instanceof WeirpoolError ? error.code : 'none';
      if (code !== 'POOL_EXHAUSTED') violation(`flush: ${String(error)}`);
    }
  }

  run(): void {
    const names = Object.keys(this.#operations).flatMap((name) =>
      new Array<string>(WEIGHTS[name] ?? 1).fill(name),
    );
    const end = performance.now() + this.#job.ms;
    while (performance.now() < end) {
      const name = this.#random.pick(names);
      // Half of it on few blobs, where the threads meet; the others see to it that frames change.
      const place = this.#random.int(this.#random.chance(0.5) ? HOT_PLACES : PLACES);
      const id = this.#idOf(place);
      try {
        this.#operations[name]?.(id, place);
        this.done.set(name, (this.done.get(name) ?? 0) + 1);
      } catch (error) {
        this.#tolerate(error, id, place);
      }
    }
    for (let turn = 0; this.#dirty.size > 0 && turn < 500; turn++) {
      for (const place of [...this.#dirty]) this.#flushQuietly(place);
      if (turn > 10) sleepSync(2);
    }
  }
}

/** After all is quiet: every change counted, nothing held, nothing lost. */
function settle(pool: BufferPool, places: Int32Array): void {
  for (let place = 0; place < PLACES; place++) {
    const id = Atomics.load(places, place * PLACE_WORDS + ID);
    const count = pool.optimistic(id, ({ u32 }) => examine(u32, id));
    const changes = Atomics.load(places, place * PLACE_WORDS + CHANGES);
    checkEqual(count, changes, `I1 changes of blob ${id}`);
  }
  const { latched, pinned, loading, store } = pool.stats();
  checkEqual(latched + pinned + loading, 0, 'G1 latches, pins and loads that are left');
  checkEqual(store.blobs, PLACES, 'blobs');
  checkEqual(store.slotsUsed, PLACES, 'slots');
  checkEqual(pool.verify().length, 0, 'findings of a verification');
  checkEqual(pool.list().length, PLACES, 'ids listed');
}

async function main(): Promise<void> {
  const [blobBytes = 4096, workers = 3, frames = 8, ms = 1000] = process.argv.slice(2).map(Number);
  const seed = testSeed();
  const options = { frames, blobBytes, blobsMax: 1024, store: 'memory', frameWaitMs: 5 } as const;
  const pool = await BufferPool.open('nowhere', options);
  const shared = new SharedArrayBuffer(PLACES * PLACE_WORDS * 4);
  const places = new Int32Array(shared);
  const words = new Uint32Array(blobBytes / 4);
  for (let place = 0; place < PLACES; place++) {
    const id = pool.allocate();
    compose(words, id, 1);
    pool.writeBlob(id, new Uint8Array(words.buffer));
    places[place * PLACE_WORDS + ID] = id;
    places[place * PLACE_WORDS + CHANGES] = 1;
  }
  const barrier = Barrier.shared();
  const job = { handle: pool.handle, seed, ms, workers, barrier, places: shared };
  await runWorkers(
    import.meta.url,
    Array.from({ length: workers }, (_, worker): Job => ({ ...job, worker })),
  );
  settle(pool, places);
  const { loads, evictions, restarts, fallbacks, parks, hits } = pool.stats();
  console.log(JSON.stringify({ seed, hits, loads, evictions, restarts, fallbacks, parks }));
  await pool.close();
}

async function work(job: Job): Promise<void> {
  const pool = await BufferPool.attach(job.handle);
  const hammer = new Hammer(pool, job);
  new Barrier(job.barrier, job.workers).meet();
  hammer.run();
  if (process.env['VERBOSE'] !== undefined) console.log(JSON.stringify([...hammer.done]));
  await pool.close();
}

if (isMainThread) await main();
else await work(workerData as Job);
