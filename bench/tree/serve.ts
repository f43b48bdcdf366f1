/**
 * The process of one store: takes orders, does the work of one sample, tells what it took.
 *
 * Owns:        the files of a store with all keys, loaded once and opened anew for each purpose, and of
 *              an empty one for each sample of the cases that fill a store; a crew that has joined it.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Crew } from './crew.ts';
import { openStore } from './open.ts';
import {
  BLOB_BYTES,
  CACHE_BYTES,
  COLD_CACHE_BYTES,
  type Contents,
  emptyDirectory,
  type Purpose,
  type Store,
  type StoreName,
  type StoreOptions,
  type StoreReference,
} from './store.ts';
import { BATCH_KEYS, KEYS, Supply, shuffled } from './workload.ts';

/** One sample of a case. */
export interface Order {
  readonly job: string;
  /** For about so long, if the job is not a given number of operations. */
  readonly ms: number;
  readonly seed: number;
}

export interface Sample {
  readonly operations: number;
  readonly ms: number;
  /** Time that the process had processors for, all its threads. */
  readonly cpuMs: number;
  /** What is neither time nor rate. */
  readonly value?: number;
}

export type Job = (bench: StoreBench, order: Order) => Promise<Sample>;
export type Jobs = Readonly<Record<string, Job>>;

interface Measuring {
  readonly from: number;
  readonly cpu: NodeJS.CpuUsage;
}

export function startMeasuring(): Measuring {
  return { cpu: process.cpuUsage(), from: performance.now() };
}

export function measured({ from, cpu }: Measuring, operations: number): Sample {
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(cpu);
  return { operations, ms, cpuMs: (user + system) / 1000 };
}

/** What all cases but the cold ones read. */
const ALL: Contents = { name: 'all', keys: KEYS, blobBytes: BLOB_BYTES };

interface Opened {
  /** Undefined: an empty store. */
  readonly contents: Contents | undefined;
  readonly purpose: Purpose;
  readonly store: Store;
  readonly reference: StoreReference;
}

export interface BenchOptions {
  readonly name: StoreName;
  readonly directory: string;
  /** URL of the program, which is that of its workers too. */
  readonly self: string;
  /** Memory for the store's own cache, in bytes. */
  readonly cacheBytes?: number | undefined;
}

export class StoreBench {
  readonly name: StoreName;
  readonly #directory: string;
  readonly #self: string;
  readonly #cacheBytes: number;
  readonly #supplies = new Map<string, Supply>();
  #opened: Opened | undefined;
  #crew: Crew | undefined;

  constructor({ name, directory, self, cacheBytes = CACHE_BYTES }: BenchOptions) {
    this.name = name;
    this.#directory = directory;
    this.#self = self;
    this.#cacheBytes = cacheBytes;
  }

  /** Keys in the order of their use, made once under that name. */
  supply(name: string, order: () => Uint32Array): Supply {
    const supply = this.#supplies.get(name) ?? new Supply(order());
    this.#supplies.set(name, supply);
    return supply;
  }

  /** The store with those contents, opened for that purpose. */
  async loaded(purpose: Purpose, contents: Contents = ALL): Promise<Store> {
    const opened = this.#opened;
    if (opened?.purpose === purpose && opened.contents === contents) return opened.store;
    await this.close();
    const { name, keys } = contents;
    const directory = join(this.#directory, name);
    const done = join(this.#directory, `${name}.done`);
    if (!existsSync(done)) {
      const store = await this.#open(emptyDirectory(directory), 'alone', contents);
      // In another order than that in which they are read.
      await loadInBatches(store, new Supply(shuffled(0, 0, keys)));
      await store.settle();
      await this.close();
      writeFileSync(done, '');
    }
    return this.#open(directory, purpose, contents);
  }

  /** An empty store. */
  async empty(purpose: Purpose): Promise<Store> {
    await this.close();
    return this.#open(emptyDirectory(join(this.#directory, 'empty')), purpose, undefined);
  }

  async #open(directory: string, purpose: Purpose, contents: Contents | undefined): Promise<Store> {
    const { blobBytes } = contents ?? ALL;
    const cacheBytes = purpose === 'cold' ? COLD_CACHE_BYTES : this.#cacheBytes;
    const options: StoreOptions = { directory, purpose, cacheBytes, blobBytes };
    const store = await openStore(this.name, options);
    const reference = { name: this.name, options, handle: store.handle };
    this.#opened = { purpose, contents, store, reference };
    return store;
  }

  /** Workers that have joined the store that is open. */
  async crew(threads: number): Promise<Crew> {
    if (this.#opened === undefined) throw new TypeError('No store is open');
    if (this.#crew?.threads !== threads) {
      await this.#crew?.end();
      this.#crew = new Crew(this.#self, this.#opened.reference, threads);
    }
    return this.#crew;
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    await this.#crew?.end();
    this.#crew = undefined;
    await opened?.store.close();
  }
}

export async function loadInBatches(store: Store, supply: Supply): Promise<void> {
  for (let from = 0; from < supply.count; from += BATCH_KEYS) {
    const done = store.putBatch(supply, from, Math.min(supply.count, from + BATCH_KEYS));
    if (done !== undefined) await done;
  }
}

/** Serves until the channel is closed. */
export function serve(jobs: Jobs, options: BenchOptions): void {
  const bench = new StoreBench(options);
  const run = async (order: Order): Promise<void> => {
    const job = jobs[order.job];
    if (job === undefined) throw new TypeError(`There is no job ${order.job}`);
    process.send?.(await job(bench, order));
  };
  process.on('message', (order: Order) => void run(order));
  process.on('disconnect', () => void bench.close());
}
