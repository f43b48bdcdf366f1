/** What one sample of each case does. */
import { Buffer } from 'node:buffer';
import { assertSum } from '../support/numbers.ts';
import {
  type Job,
  type Jobs,
  loadInBatches,
  measured,
  type StoreBench,
  startMeasuring,
} from './serve.ts';
import {
  BLOB_BYTES,
  type Contents,
  OWN,
  type Purpose,
  SMALL_BLOB_BYTES,
  type Store,
} from './store.ts';
import { putEach, readFor } from './work.ts';
import {
  BATCH_KEYS,
  BUCKET_KEYS,
  COLD_KEYS,
  indexOf,
  KEYS,
  Supply,
  shuffled,
  VALUE_BYTES,
  zipf,
} from './workload.ts';

const SUM_OF_ALL = (KEYS * (KEYS - 1)) / 2;
const ROLL_UP_ROUNDS = 20;
const ZIPF_ALPHA = 0.99;
/** Draws that are made before the time is measured, and used again and again. */
const ZIPF_LENGTH = 200_000;
const MIB = 1024 * 1024;

function allKeys(bench: StoreBench): Supply {
  return bench.supply('all', () => shuffled(1, 0, KEYS));
}

/** A job that reads the loaded store. */
function reading(make: (store: Store) => (key: string) => number): Job {
  return async (bench, order) => {
    const one = make(await bench.loaded('alone'));
    const supply = allKeys(bench);
    const start = startMeasuring();
    return measured(start, readFor(supply, order, one));
  };
}

/** A job that puts all keys into an empty store. */
function filling(put: (store: Store, supply: Supply) => Promise<void>): Job {
  return async (bench) => {
    const store = await bench.empty('alone');
    const supply = allKeys(bench);
    const start = startMeasuring();
    await put(store, supply);
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

async function deleteInBatches(store: Store, supply: Supply): Promise<void> {
  for (let from = 0; from < supply.count; from += BATCH_KEYS) {
    await store.deleteBatch(supply, from, Math.min(supply.count, from + BATCH_KEYS));
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
  const everySecond = new Supply(shuffled(1, 0, KEYS).filter((index) => index % 2 === 0));
  await loadInBatches(store, allKeys(bench));
  await store.settle();
  const loaded = store.liveBytes();
  await deleteInBatches(store, everySecond);
  await store.settle();
  const halved = store.liveBytes();
  await loadInBatches(store, everySecond);
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

const COLD: Contents = { name: 'cold', keys: COLD_KEYS, blobBytes: BLOB_BYTES };
const COLD_SMALL: Contents = { name: 'cold-64k', keys: COLD_KEYS, blobBytes: SMALL_BLOB_BYTES };

/** Peers have no blobs, so what they hold is always the same. */
function cold(name: string, indexes: () => Uint32Array, own: Contents = COLD): Job {
  return async (bench, order) => {
    const store = await bench.loaded('cold', bench.name === OWN ? own : COLD);
    const supply = bench.supply(name, indexes);
    const start = startMeasuring();
    return measured(
      start,
      readFor(supply, order, (key) => indexOf(store.get(key))),
    );
  };
}

function zipfIndexes(indexOfRank: (rank: number) => number): Uint32Array {
  const options = { count: COLD_KEYS, alpha: ZIPF_ALPHA, length: ZIPF_LENGTH, seed: 1 };
  return zipf(options, indexOfRank);
}

export const jobs: Jobs = {
  /** What the loops around the stores cost by themselves. */
  'empty-loop': async (bench, order) => {
    const supply = allKeys(bench);
    const value = Buffer.alloc(VALUE_BYTES);
    const one = (key: string): number => {
      // The digits of the file's number are the index: what a value is checked against.
      value.writeUInt32LE(Number(key.slice(-10, -4)), 0);
      return indexOf(value);
    };
    const start = startMeasuring();
    return measured(start, readFor(supply, order, one));
  },
  'get-1': reading((store) => (key) => indexOf(store.get(key))),
  'read-1': reading((store) => (key) => store.read(key)),
  'get-2': together('get', 2, 'threads'),
  'put-single': filling(putEach),
  'put-batch': filling(loadInBatches),
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
  'cold-uniform': cold('cold', () => shuffled(1, 0, COLD_KEYS)),
  'cold-uniform-64k': cold('cold', () => shuffled(1, 0, COLD_KEYS), COLD_SMALL),
  'cold-zipf': cold('zipf', () => zipfIndexes((rank) => rank)),
  'cold-zipf-64k': cold('zipf', () => zipfIndexes((rank) => rank), COLD_SMALL),
  'cold-zipf-scattered': cold('zipf-scattered', () => {
    const places = shuffled(2, 0, COLD_KEYS);
    return zipfIndexes((rank) => places[rank] as number);
  }),
};
