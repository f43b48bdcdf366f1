/** What the threads of a crew do. */
import type { CrewJob, CrewJobs } from './crew.ts';
import { mixed, putEach, putSyncedFor, readFor } from './work.ts';
import { indexOf, KEYS, shuffled } from './workload.ts';

/** Synced puts of a thread that are under way at once. */
const LOOPS = 16;
/** Operations of a thread before the memory is looked at: each has seen all nodes of its store. */
const RSS_OPERATIONS = 100_000;
/** Keys that everybody puts in `put-2-hot`: of one directory, so of one leaf or two. */
const HOT_KEYS = 1000;
/** Puts of a thread before it is measured in `put-2`. */
const WARMUP_KEYS = 20_000;

/** Another start for each thread. */
function seedOf({ seed, thread }: { readonly seed: number; readonly thread: number }): number {
  return seed * 2 + thread;
}

const get: CrewJob = (context) => {
  const { store, supply, ms } = context;
  const options = { ms, seed: seedOf(context) };
  return () => readFor(supply, options, (key) => indexOf(store.get(key)));
};

/** The half of the keys that is this thread's: a few of them to warm up, then the others. */
const putHalf: CrewJob = async ({ store, supply, seed, thread }) => {
  const half = KEYS / 2;
  const own = supply.with(shuffled(seed, thread * half, (thread + 1) * half));
  await putEach(store, own, 0, WARMUP_KEYS);
  return async () => {
    await putEach(store, own, WARMUP_KEYS);
    return own.count - WARMUP_KEYS;
  };
};

const putHot: CrewJob = (context) => {
  const { store, supply, ms } = context;
  const hot = supply.with(shuffled(seedOf(context), 0, HOT_KEYS));
  return async () => {
    let done = 0;
    for (const end = performance.now() + ms; performance.now() < end; done += HOT_KEYS) {
      await putEach(store, hot);
    }
    return done;
  };
};

export const crewJobs: CrewJobs = {
  get,
  'put-half': putHalf,
  'put-hot': putHot,
  'put-synced': (context) => {
    const { store, supply, ms } = context;
    return () => putSyncedFor(store, supply, { ms, seed: seedOf(context), loops: LOOPS });
  },
  mixed: (context) => {
    const { store, supply, ms } = context;
    return () => mixed(store, supply, { ms, seed: seedOf(context) });
  },
  /** Whatever the store's rate, the same work; then no garbage. */
  'mixed-rss': (context) => {
    const { store, supply } = context;
    return async () => {
      const done = await mixed(store, supply, {
        operations: RSS_OPERATIONS,
        seed: seedOf(context),
      });
      globalThis.gc?.();
      return done;
    };
  },
};
