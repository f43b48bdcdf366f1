/**
 * An index run: the workers, from their start to their last word.
 *
 * Owns:        the workers; the queue and the counters that they share.
 * Threads:     the main thread, which only waits, so that signals are heard.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { fromWire, type Weirpool } from '../../index.ts';
import { type CounterSums, makeCounters, sumCounters } from './counters.ts';
import { emptyTally, type Problem, type Tally } from './directory.ts';
import { DirectoryQueue, makeQueue } from './queue.ts';
import type { WorkerData, WorkerMessage } from './worker.ts';

/** Problems that are kept to be shown; the others are counted. */
const PROBLEMS_SHOWN = 20;

export interface IndexRunOptions {
  readonly db: Weirpool;
  readonly tree: string;
  /** Absolute; a byte string. */
  readonly root: string;
  readonly keyBytesMax: number;
  readonly store: { readonly dev: number; readonly ino: number };
  readonly threads: number;
  /** Algorithm, undefined for no hashes. */
  readonly hash: string | undefined;
  readonly signal: AbortSignal;
}

export interface IndexOutcome {
  readonly tally: Tally;
  readonly hashedBytes: number;
  /** The first ones. */
  readonly problems: readonly Problem[];
  readonly problemCount: number;
}

/** Beside this file, with its extension: from source it needs a Node.js that strips types by itself. */
const WORKER = new URL(`./worker${extname(import.meta.url)}`, import.meta.url);

export class IndexRun {
  readonly #options: IndexRunOptions;
  readonly #memory = makeQueue('');
  readonly #queue: DirectoryQueue = new DirectoryQueue(this.#memory);
  readonly #counters: SharedArrayBuffer;
  readonly #tally = emptyTally();
  readonly #problems: Problem[] = [];
  #problemCount = 0;
  #hashedBytes = 0;
  #failure: unknown;

  constructor(options: IndexRunOptions) {
    this.#options = options;
    this.#counters = makeCounters(options.threads);
  }

  get sums(): CounterSums {
    return sumCounters(this.#counters);
  }

  /** Directories that are known to be left. */
  get pending(): number {
    return this.#queue.pending;
  }

  /**
   * Runs to the end, or until the signal is aborted: then the workers end what they have in hand.
   *
   * @throws the first error of a worker.
   */
  async run(): Promise<IndexOutcome> {
    const { signal, threads } = this.#options;
    const stop = (): void => this.#queue.stop();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      await Promise.all(Array.from({ length: threads }, (_, place) => this.#work(place)));
    } finally {
      signal.removeEventListener('abort', stop);
    }
    if (this.#failure !== undefined) throw this.#failure;
    return {
      tally: this.#tally,
      hashedBytes: this.#hashedBytes,
      problems: this.#problems,
      problemCount: this.#problemCount,
    };
  }

  /** Resolves when the worker has ended, in whatever way. */
  #work(place: number): Promise<void> {
    const { db, tree, root, keyBytesMax, store, hash } = this.#options;
    const shared = { queue: this.#memory, counters: this.#counters };
    const data: WorkerData = {
      db: db.handle,
      tree,
      root,
      keyBytesMax,
      store,
      hash,
      place,
      ...shared,
    };
    return new Promise((resolve) => {
      const worker = new Worker(WORKER, { workerData: data });
      worker.on('message', (message: WorkerMessage) => this.#hear(message));
      worker.once('error', (error) => this.#fail(error));
      worker.once('exit', () => resolve());
    });
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#queue.stop();
  }

  #hear(message: WorkerMessage): void {
    switch (message.type) {
      case 'problem':
        if (this.#problemCount++ < PROBLEMS_SHOWN) this.#problems.push(message.problem);
        break;
      case 'tally':
        this.#hashedBytes += message.hashedBytes;
        for (const field of Object.keys(this.#tally) as (keyof Tally)[]) {
          this.#tally[field] += message.tally[field];
        }
        break;
      case 'failure':
        this.#fail(fromWire(message.error));
        break;
    }
  }
}
