/**
 * The threads of one shift of a process under test, and those that the pool has for itself.
 *
 * Owns:        the workers of the shift, until they have gone.
 * Threads:     the main thread.
 */
import type { Worker } from 'node:worker_threads';
import {
  H_CHECKPOINTER,
  H_JOURNAL,
  S_NODE_THREAD,
  SLOT_BYTES,
  SLOTS,
} from '../generated/layout.ts';
import { ThreadMemory } from '../memory/pool-memory.ts';
import type { BufferPool } from '../pool/pool.ts';
import { lineOf, say } from './live-protocol.ts';
import {
  isRunning,
  SHIFT_BEGUN,
  SHIFT_BROKEN,
  SHIFT_RUNNING,
  type ThreadTask,
} from './live-thread.ts';
import { startThread } from './parts.ts';

const LOOK_MS = 1;

/** Workers of this process that the harness has not started, while they live. */
const services = new Set<Worker>();
const users = new WeakSet<Worker>();
let watched = false;

/** From now on the threads that the pool starts are known. */
export function watchServices(): void {
  if (watched) return;
  watched = true;
  process.on('worker', (worker: Worker) => {
    if (users.has(worker)) return;
    services.add(worker);
    worker.once('exit', () => services.delete(worker));
  });
}

export function servicesOf(): Worker[] {
  return [...services];
}

/** Whether the pool cannot go on without this thread of its own. */
export function mustLive(pool: BufferPool, thread: number): boolean {
  const memory = new ThreadMemory(pool.handle.memory);
  return [H_JOURNAL, H_CHECKPOINTER].some((word) => {
    const slot = memory.load(word) - 1;
    return slot >= 0 && memory.load(SLOTS + slot * SLOT_BYTES + S_NODE_THREAD) === thread;
  });
}

export class Shift {
  readonly #self: string;
  readonly #words = new Int32Array(new SharedArrayBuffer(16));
  readonly #workers = new Set<Worker>();
  readonly #gone: Promise<void>[] = [];
  #count = 0;

  constructor(self: string) {
    this.#self = self;
  }

  start(task: Omit<ThreadTask, 'words' | 'part'>, threads: number): void {
    for (let thread = 1; thread < threads; thread++) {
      const data: ThreadTask = { ...task, words: this.#words, part: { thread, threads } };
      const worker = startThread(this.#self, 'live-thread', data);
      users.add(worker);
      this.#workers.add(worker);
      this.#count++;
      worker.on('error', (error) => say('wrong', `thread ${thread}:`, lineOf(error)));
      const gone = new Promise<void>((done) => worker.once('exit', () => done()));
      this.#gone.push(gone.then(() => void this.#workers.delete(worker)));
    }
  }

  /** Threads beside the main one, while they live. */
  get users(): Worker[] {
    return [...this.#workers];
  }

  get isRunning(): boolean {
    return isRunning(this.#words);
  }

  /** Whether all have begun; not if one could not. */
  async begin(): Promise<boolean> {
    while (Atomics.load(this.#words, SHIFT_BEGUN) < this.#count) {
      if (Atomics.load(this.#words, SHIFT_BROKEN) !== 0) return false;
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
    return true;
  }

  /** Lets them go on to their first operation. */
  release(): void {
    Atomics.store(this.#words, SHIFT_RUNNING, 1);
    Atomics.notify(this.#words, SHIFT_RUNNING);
  }

  /** No thread begins another operation. */
  break(): void {
    Atomics.store(this.#words, SHIFT_BROKEN, 1);
  }

  async end(): Promise<void> {
    this.break();
    this.release();
    await Promise.all(this.#gone);
  }
}
