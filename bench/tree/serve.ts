/**
 * The process of one store: takes orders, does the work of one sample, tells what it took.
 *
 * Owns:        the store that is loaded once for all cases that read, and an empty one for each
 *              sample of those that put, in directories of their own.
 */
import { join } from 'node:path';
import { openStore } from './open.ts';
import {
  CACHE_BYTES,
  emptyDirectory,
  type Store,
  type StoreName,
  type StoreOptions,
  type Supply,
} from './store.ts';
import { BATCH_KEYS, KEYS, makeKeys, shuffled, Values } from './workload.ts';

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
  /** Figures that are neither, by name. */
  readonly values: Readonly<Record<string, number>>;
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

export function measured(
  { from, cpu }: Measuring,
  operations: number,
  values: Readonly<Record<string, number>> = {},
): Sample {
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(cpu);
  return { operations, ms, cpuMs: (user + system) / 1000, values };
}

export class StoreBench {
  readonly name: StoreName;
  readonly supply: Supply;
  readonly #directory: string;
  #loaded: Promise<Store> | undefined;

  constructor(name: StoreName, directory: string) {
    this.name = name;
    this.#directory = directory;
    this.supply = { keys: makeKeys(), values: new Values() };
  }

  /** The store that holds all keys. */
  loaded(): Promise<Store> {
    this.#loaded ??= this.#load();
    return this.#loaded;
  }

  async #load(): Promise<Store> {
    const store = await openStore(this.name, this.options('loaded'));
    await loadInBatches(store, shuffled(0, 0, KEYS));
    await store.settle();
    return store;
  }

  options(folder: string): StoreOptions {
    const directory = emptyDirectory(join(this.#directory, folder));
    return { directory, supply: this.supply, cacheBytes: CACHE_BYTES };
  }

  /** Runs with an empty store. */
  async withEmpty<T>(body: (store: Store) => Promise<T>, isSynced = false): Promise<T> {
    const store = await openStore(this.name, this.options('empty'), isSynced);
    try {
      return await body(store);
    } finally {
      await store.close();
    }
  }

  async close(): Promise<void> {
    await (await this.#loaded)?.close();
  }
}

export async function loadInBatches(store: Store, order: Uint32Array): Promise<void> {
  for (let from = 0; from < order.length; from += BATCH_KEYS) {
    const done = store.putBatch({ order, from, end: Math.min(order.length, from + BATCH_KEYS) });
    if (done !== undefined) await done;
  }
}

/** Serves until the channel is closed. */
export function serve(jobs: Jobs, name: StoreName, directory: string): void {
  const bench = new StoreBench(name, directory);
  const run = async (order: Order): Promise<void> => {
    const job = jobs[order.job];
    if (job === undefined) throw new TypeError(`There is no job ${order.job}`);
    process.send?.(await job(bench, order));
  };
  process.on('message', (order: Order) => void run(order));
  process.on('disconnect', () => void bench.close());
}
