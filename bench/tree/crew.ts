/**
 * Worker threads that join a store, each with keys of its own making: what two workers do at once.
 *
 * They begin together; the rate is the sum of theirs.
 */
import { once } from 'node:events';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { Barrier } from '../../test/support/checks.ts';
import { joinStore } from './open.ts';
import type { Store, StoreReference } from './store.ts';
import { KEYS, Supply, shuffled } from './workload.ts';

export interface CrewOrder {
  readonly job: string;
  readonly ms: number;
  readonly seed: number;
}

export interface CrewContext extends CrewOrder {
  readonly store: Store;
  /** All keys, in an order of this thread. */
  readonly supply: Supply;
  /** 0-based. */
  readonly thread: number;
  readonly threads: number;
}

/** Works: the operations that were done. Throws if a result is wrong. */
export type Work = () => number | Promise<number>;

/** Prepares, for example warms up, and gives the work. */
export type CrewJob = (context: CrewContext) => Work | Promise<Work>;
export type CrewJobs = Readonly<Record<string, CrewJob>>;

interface CrewData {
  readonly reference: StoreReference;
  readonly thread: number;
  readonly threads: number;
  readonly barrier: SharedArrayBuffer;
}

interface Done {
  readonly operations: number;
  readonly ms: number;
}

/** The worker's half: serves until it is told to end. */
export async function serveCrew(jobs: CrewJobs): Promise<void> {
  const { reference, thread, threads, barrier } = workerData as CrewData;
  const port = parentPort as NonNullable<typeof parentPort>;
  const supply = new Supply(shuffled(thread + 1, 0, KEYS));
  const store = await joinStore(reference);
  const start = new Barrier(barrier, threads);
  const run = async (order: CrewOrder): Promise<void> => {
    const job = jobs[order.job];
    if (job === undefined) throw new TypeError(`There is no job ${order.job}`);
    const work = await job({ ...order, store, supply, thread, threads });
    start.meet();
    const from = performance.now();
    const operations = await work();
    const done: Done = { operations, ms: performance.now() - from };
    port.postMessage(done);
  };
  const end = async (): Promise<void> => {
    await store.close();
    port.close();
  };
  port.on('message', (order: CrewOrder | undefined) => {
    void (order === undefined ? end() : run(order));
  });
}

export class Crew {
  readonly #workers: readonly Worker[];

  constructor(self: string, reference: StoreReference, threads: number) {
    const barrier = Barrier.shared();
    this.#workers = Array.from({ length: threads }, (_, thread) => {
      const data: CrewData = { reference, thread, threads, barrier };
      return new Worker(new URL(self), { workerData: data });
    });
  }

  get threads(): number {
    return this.#workers.length;
  }

  /** All together: operations, and how long they would have taken at the sum of the rates. */
  async run(order: CrewOrder): Promise<Done> {
    const all = await Promise.all(
      this.#workers.map(async (worker) => {
        // An error of the worker rejects it.
        const done = once(worker, 'message') as Promise<[Done]>;
        worker.postMessage(order);
        return (await done)[0];
      }),
    );
    const operations = all.reduce((sum, done) => sum + done.operations, 0);
    const perMs = all.reduce((sum, done) => sum + done.operations / done.ms, 0);
    return { operations, ms: operations / perMs };
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#workers.map((worker) => {
        const ended = once(worker, 'exit');
        worker.postMessage(undefined);
        return ended;
      }),
    );
  }
}
