/** What one sample of each case does. */
import { assertSum } from '../support/numbers.ts';
import {
  type Job,
  type Jobs,
  loadInBatches,
  measured,
  type StoreBench,
  startMeasuring,
} from './serve.ts';
import type { Purpose, Store } from './store.ts';
import { putEach, repeat, uniform } from './work.ts';
import { BATCH_KEYS, BUCKET_KEYS, COLD_KEYS, indexOf, KEYS, shuffled, zipf } from './workload.ts';

const SUM_OF_ALL = (KEYS * (KEYS - 1)) / 2;
const ROLL_UP_ROUNDS = 20;
const ZIPF_ALPHA = 0.99;
/** Draws that are made before the time is measured, and used again and again. */
const ZIPF_LENGTH = 200_000;
const MIB = 1024 * 1024;

/** A job that reads the loaded store. */
function reading(make: (store: Store, keys: readonly string[]) => (index: number) => number): Job {
  return async (bench, { ms, seed }) => {
    const store = await bench.loaded('alone');
    const one = make(store, bench.supply.keys);
    const draw = uniform(seed);
    const start = startMeasuring();
    return measured(start, repeat(ms, draw, one));
  };
}

/** A job that puts all keys into an empty store. */
function filling(put: (store: Store, bench: StoreBench, order: Uint32Array) => Promise<void>): Job {
  return async (bench, { seed }) => {
    const store = await bench.empty('alone');
    const order = shuffled(seed, 0, KEYS);
    const start = startMeasuring();
    await put(store, bench, order);
    const sample = measured(start, KEYS);
    assertSum('values put', await store.scan(), SUM_OF_ALL);
    return sample;
  };
}

const scan: Job = async (bench) => {
  const store = await bench.loaded('alone');
  const start = startMeasuring();
  const sum = await store.scan();
  const sample = measured(start, KEYS);
  assertSum('values scanned', sum, SUM_OF_ALL);
  return sample;
};

/** An operation is one list of all common prefixes. */
function rollingUp(rounds: number, list: (store: Store) => ReturnType<Store['rollUp']>): Job {
  return async (bench) => {
    const store = await bench.loaded('alone');
    let found = 0;
    const start = startMeasuring();
    for (let round = 0; round < rounds; round++) found += (await list(store)).length;
    const sample = measured(start, rounds);
    assertSum('common prefixes', found, (rounds * KEYS) / BUCKET_KEYS);
    return sample;
  };
}

/** A job of a crew on the loaded store. */
function together(job: string, threads: number, purpose: Purpose): Job {
  return async (bench, { ms, seed }) => {
    await bench.loaded(purpose);
    const { cpu } = startMeasuring();
    const done = await (await bench.crew(threads)).run({ job, ms, seed });
    const { user, system } = process.cpuUsage(cpu);
    return { ...done, cpuMs: (user + system) / 1000 };
  };
}

/** A job of a new crew on an empty store. */
function togetherEmpty(job: string, threads: number): Job {
  return async (bench, order) => {
    await bench.empty('threads');
    const done = await (await bench.crew(threads)).run({ ...order, job });
    return { ...done, cpuMs: 0 };
  };
}

function value(figure: number): ReturnType<Job> {
  return Promise.resolve({ operations: 0, ms: 0, cpuMs: 0, value: figure });
}

/** Every second key, in order. */
function everySecond(): Uint32Array {
  return Uint32Array.from({ length: KEYS / 2 }, (_, at) => at * 2);
}

async function deleteInBatches(store: Store, order: Uint32Array): Promise<void> {
  for (let from = 0; from < order.length; from += BATCH_KEYS) {
    await store.deleteBatch({ order, from, end: from + BATCH_KEYS });
  }
}

interface Sizes {
  readonly loaded: number;
  readonly halved: number;
  readonly refilled: number;
}

/** Bytes after loading, after deleting every second key, and after putting those again. */
async function sizesOf(bench: StoreBench): Promise<Sizes> {
  const store = await bench.empty('small');
  await loadInBatches(store, shuffled(0, 0, KEYS));
  await store.settle();
  const loaded = store.liveBytes();
  await deleteInBatches(store, everySecond());
  await store.settle();
  const halved = store.liveBytes();
  await loadInBatches(store, everySecond());
  await store.settle();
  assertSum('values put', await store.scan(), SUM_OF_ALL);
  return { loaded, halved, refilled: store.liveBytes() };
}

function sizing(): (of: keyof Sizes) => Job {
  // Once for all three cases of a process.
  let sizes: Promise<Sizes> | undefined;
  return (of) => async (bench) => {
    sizes ??= sizesOf(bench);
    return value((await sizes)[of] / MIB);
  };
}

const size = sizing();

/** The store must have been loaded by a process before, so that this one has not. */
const rss: Job = async (bench, { seed }) => {
  await bench.loaded('threads');
  await (await bench.crew(2)).run({ job: 'mixed-rss', ms: 0, seed });
  globalThis.gc?.();
  return value(process.memoryUsage.rss() / MIB);
};

const load: Job = async (bench) => {
  await bench.loaded('threads');
  await bench.close();
  return value(0);
};

function cold(make: (seed: number) => () => number): Job {
  return async (bench, { ms, seed }) => {
    const store = await bench.loaded('cold');
    const { keys } = bench.supply;
    const draw = make(seed);
    const start = startMeasuring();
    return measured(
      start,
      repeat(ms, draw, (index) => indexOf(store.get(keys[index] as string))),
    );
  };
}

function zipfDraw(isScattered: boolean): (seed: number) => () => number {
  return (seed) => {
    const places = isScattered ? shuffled(0, 0, COLD_KEYS) : undefined;
    const options = { count: COLD_KEYS, alpha: ZIPF_ALPHA, length: ZIPF_LENGTH, seed };
    const indexes = zipf(options, (rank) =>
      places === undefined ? rank : (places[rank] as number),
    );
    let at = 0;
    return () => indexes[at++ % ZIPF_LENGTH] as number;
  };
}

export const jobs: Jobs = {
  /** What the loops around the stores cost by themselves. */
  'empty-loop': async (bench, { ms, seed }) => {
    const { keys } = bench.supply;
    const one = (index: number): number => ((keys[index] as string).length > 0 ? index : -1);
    const draw = uniform(seed);
    const start = startMeasuring();
    return measured(start, repeat(ms, draw, one));
  },
  'get-1': reading((store, keys) => (index) => indexOf(store.get(keys[index] as string))),
  'read-1': reading((store, keys) => (index) => store.read(keys[index] as string)),
  'get-2': together('get', 2, 'threads'),
  'put-single': filling((store, { supply }, order) => putEach(store, supply, order)),
  'put-batch': filling((store, _, order) => loadInBatches(store, order)),
  'put-1-half': togetherEmpty('put-half', 1),
  'put-2': togetherEmpty('put-half', 2),
  'put-1-hot': together('put-hot', 1, 'threads'),
  'put-2-hot': together('put-hot', 2, 'threads'),
  'put-synced-32': together('put-synced', 2, 'synced'),
  'mixed-2': together('mixed', 2, 'threads'),
  scan,
  rollup: rollingUp(1, (store) => store.rollUp()),
  'rollup-seek': rollingUp(ROLL_UP_ROUNDS, (store) => store.rollUpBySeeks()),
  size: size('loaded'),
  'size-after-delete': size('halved'),
  'size-refilled': size('refilled'),
  load,
  rss,
  'cold-uniform': cold((seed) => uniform(seed, COLD_KEYS)),
  'cold-zipf': cold(zipfDraw(false)),
  'cold-zipf-scattered': cold(zipfDraw(true)),
};
