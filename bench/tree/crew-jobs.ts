/** What the threads of a crew do. */
import type { CrewContext, CrewJob, CrewJobs } from './crew.ts';
import { mixed, putEach, repeat, uniform } from './work.ts';
import { indexOf, KEYS, shuffled } from './workload.ts';

const IN_FLIGHT = 16;
/** Operations of a thread before the memory is looked at: each has seen all nodes of its store. */
const RSS_OPERATIONS = 100_000;
/** Keys that everybody puts in `put-2-hot`: of one directory, so of one leaf or two. */
export const HOT_KEYS = 1000;
/** Puts of a thread before it is measured in `put-2`. */
const WARMUP_KEYS = 20_000;
export const PUT_KEYS: number = KEYS / 2 - WARMUP_KEYS;

const get: CrewJob = ({ store, supply, ms, seed, thread }) => {
  const { keys } = supply;
  const draw = uniform(seed * 2 + thread);
  return () => repeat(ms, draw, (index) => indexOf(store.get(keys[index] as string)));
};

/** The half of the keys that is this thread's: a few of them to warm up, then the others. */
const putHalf: CrewJob = async ({ store, supply, seed, thread }) => {
  const half = KEYS / 2;
  const order = shuffled(seed, thread * half, (thread + 1) * half);
  await putEach(store, supply, order.subarray(0, WARMUP_KEYS));
  const measured = order.subarray(WARMUP_KEYS);
  return async () => {
    await putEach(store, supply, measured);
    return measured.length;
  };
};

const putHot: CrewJob = ({ store, supply, ms, seed, thread }) => {
  const order = shuffled(seed * 2 + thread, 0, HOT_KEYS);
  return async () => {
    let done = 0;
    for (const end = performance.now() + ms; performance.now() < end; done += HOT_KEYS) {
      await putEach(store, supply, order);
    }
    return done;
  };
};

/** Loops that each wait for their own put to be on the disk. */
function putSynced({ store, supply, ms, seed, thread }: CrewContext): () => Promise<number> {
  const { keys, values } = supply;
  const draw = uniform(seed * 2 + thread);
  const loop = async (end: number): Promise<number> => {
    let done = 0;
    for (; performance.now() < end; done++) {
      const index = draw();
      await store.putSynced(keys[index] as string, values.of(index));
    }
    return done;
  };
  return async () => {
    const end = performance.now() + ms;
    const loops = await Promise.all(Array.from({ length: IN_FLIGHT }, () => loop(end)));
    return loops.reduce((sum, done) => sum + done, 0);
  };
}

export const crewJobs: CrewJobs = {
  get,
  'put-half': putHalf,
  'put-hot': putHot,
  'put-synced': putSynced,
  /** Whatever the store's rate, the same work; then no garbage. */
  'mixed-rss':
    ({ store, supply, seed, thread }) =>
    async () => {
      const options = { operations: RSS_OPERATIONS, seed: seed * 2 + thread };
      const done = await mixed(store, supply, options);
      globalThis.gc?.();
      return done;
    },
  mixed:
    ({ store, supply, ms, seed, thread }) =>
    () =>
      mixed(store, supply, { ms, seed: seed * 2 + thread }),
};
