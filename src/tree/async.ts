/**
 * Reading and changing without blocking the thread.
 *
 * Owns:        nothing: it waits, with other things running meanwhile, until the call that may block
 *              has nothing left to wait for, and then makes that call.
 * Invariants:  D1   no latch, no pin and no credit is held across an `await`;
 *              an abort is heeded only before a change is made: afterwards it is there.
 * Threads:     one object for each thread.
 *
 * What is left to block for is short: another thread's latch, a frame for a leaf that splits.
 */
import { H_CREDIT_WAKE } from '../generated/layout.ts';
import { PARK_MS } from '../memory/thread.ts';
import { waitAsync } from '../memory/wait-async.ts';
import type { BlobId } from '../store/contract.ts';
import type { Key, PutOptions, TreeStore } from './store.ts';

/** Blobs of one key that are waited for before the call is made nevertheless: they come and go. */
const LOADS_MAX = 64;

export interface AsyncOptions {
  /** Ends the waiting: the promise rejects with its reason, and nothing was done. */
  readonly signal?: AbortSignal;
}

export interface AsyncPutOptions extends PutOptions, AsyncOptions {}

export class AsyncAccess {
  readonly #store: TreeStore;
  readonly #load: (id: BlobId) => Promise<void>;

  /** @param load  Brings a blob into the pool, or fails to, without blocking this thread. */
  constructor(store: TreeStore, load: (id: BlobId) => Promise<void>) {
    this.#store = store;
    this.#load = load;
  }

  /** As `TreeStore.get`, loading what is not cached beside this thread. */
  async get(tree: BlobId, key: Key, { signal }: AsyncOptions = {}): Promise<Buffer | undefined> {
    for (let loads = 0; loads < LOADS_MAX; loads++) {
      signal?.throwIfAborted();
      const missing = this.#store.missingFor(tree, key);
      if (missing === 0) break;
      await orAborted(this.#load(missing), signal);
    }
    return this.#store.get(tree, key);
  }

  /** As `TreeStore.put`, once the log has room for it and its leaf is cached. */
  async put(
    tree: BlobId,
    key: Key,
    value: Uint8Array,
    { durability = 'none', signal }: AsyncPutOptions = {},
  ): Promise<number> {
    const { log } = this.#store;
    for (let loads = 0; ; ) {
      signal?.throwIfAborted();
      // No `await` between the last look and the put: others would take the room meanwhile.
      const missing = loads < LOADS_MAX ? this.#store.missingFor(tree, key) : 0;
      if (missing !== 0) loads++;
      const wait =
        missing === 0 ? this.#noRoom(key.length * 3 + value.length) : this.#load(missing);
      if (wait === undefined) break;
      await orAborted(wait, signal);
    }
    const seq = this.#store.put(tree, key, value, { flush: false });
    await log.durability.durable(seq, durability);
    if (this.#store.isFlushDue(seq)) await log.durability.durable(seq, 'synced');
    return seq;
  }

  /** What there is to wait for while the log is behind: a round, or room in the ring. */
  #noRoom(payloadBytes: number): Promise<unknown> | undefined {
    const { core, log } = this.#store;
    const { transactions, ring } = log;
    core.thread.assertRunning();
    if (transactions.isBehind()) return log.rounds.run();
    const { i32 } = core.memory;
    const index = H_CREDIT_WAKE / Int32Array.BYTES_PER_ELEMENT;
    const seen = Atomics.load(i32, index);
    if (ring.hasCredit(ring.bytesOf(0, Math.min(payloadBytes, ring.payloadBytesMax)))) {
      return undefined;
    }
    core.thread.services?.journal();
    return moved(i32, index, seen);
  }
}

/** Resolves when the word has another value, or after a while. */
async function moved(words: Int32Array, index: number, seen: number): Promise<void> {
  const wait = waitAsync(words, index, seen, PARK_MS);
  // A pending wait does not keep the process alive by itself.
  const alive = setInterval(() => undefined, 2 ** 30);
  try {
    if (wait.async) await wait.value;
  } finally {
    clearInterval(alive);
  }
}

/** The promise, or the reason of the signal if that comes first. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort as () => void);
  }
}
