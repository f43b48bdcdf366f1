/** What one sample of each case does. */

import { assertSum } from '../support/numbers.ts';
import { type Job, type Jobs, loadInBatches, measured, startMeasuring } from './serve.ts';
import type { Store } from './store.ts';
import { Draw, indexOf, KEYS, shuffled } from './workload.ts';

/** Operations between two looks at the clock. */
const STRIDE = 1000;
const SUM_OF_ALL = (KEYS * (KEYS - 1)) / 2;

/** Random keys for `ms`; each must give the index that its value was made for. */
function repeat(ms: number, seed: number, one: (index: number) => number): number {
  const draw = new Draw(seed);
  let done = 0;
  let sum = 0;
  let expected = 0;
  for (const end = performance.now() + ms; performance.now() < end; done += STRIDE) {
    for (let i = 0; i < STRIDE; i++) {
      const index = draw.below(KEYS);
      expected += index;
      sum += one(index);
    }
  }
  assertSum('values read', sum, expected);
  return done;
}

/** A job that reads the loaded store. */
function reading(make: (store: Store, keys: readonly string[]) => (index: number) => number): Job {
  return async (bench, { ms, seed }) => {
    const one = make(await bench.loaded(), bench.supply.keys);
    const start = startMeasuring();
    return measured(start, repeat(ms, seed, one));
  };
}

/** A job that puts all keys into an empty store. */
function filling(put: (store: Store, order: Uint32Array) => void | Promise<void>): Job {
  return (bench, { seed }) =>
    bench.withEmpty(async (store) => {
      const order = shuffled(seed, 0, KEYS);
      const start = startMeasuring();
      const done = put(store, order);
      if (done !== undefined) await done;
      const sample = measured(start, KEYS);
      assertSum('values put', await store.scan(), SUM_OF_ALL);
      return sample;
    });
}

const scan: Job = async (bench) => {
  const store = await bench.loaded();
  const start = startMeasuring();
  const sum = await store.scan();
  const sample = measured(start, KEYS);
  assertSum('values scanned', sum, SUM_OF_ALL);
  return sample;
};

export const jobs: Jobs = {
  /** What the loops around the stores cost by themselves. */
  'empty-loop': async (bench, { ms, seed }) => {
    const { keys } = bench.supply;
    const start = startMeasuring();
    const one = (index: number): number => ((keys[index] as string).length > 0 ? index : -1);
    return measured(start, repeat(ms, seed, one));
  },
  'get-1': reading((store, keys) => (index) => indexOf(store.get(keys[index] as string))),
  'read-1': reading((store, keys) => (index) => store.read(keys[index] as string)),
  'put-single': filling((store, order) => store.putEach({ order, from: 0, end: order.length })),
  'put-batch': filling(loadInBatches),
  scan,
};
