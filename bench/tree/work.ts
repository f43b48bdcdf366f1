/** Loops over a store, in whichever thread. */
import { assertSum } from '../support/numbers.ts';
import type { Store } from './store.ts';
import { indexOf, type Supply } from './workload.ts';

/** Operations between two looks at the clock. */
const STRIDE = 1000;
/** Puts under way at once in a store that does them asynchronously. */
const IN_FLIGHT = 1000;
/** One of so many operations of a mixed load is a put. */
const MIXED_PUT_EVERY = 10;

/** Positions in a supply, one after the other and again from the beginning. */
class Walk {
  readonly #count: number;
  #at: number;

  /** Begins anywhere: what a sample has read the next one does not read again. */
  constructor({ count }: Supply, seed: number) {
    this.#count = count;
    this.#at = (seed * 31_337) % count;
  }

  next(): number {
    const at = this.#at;
    this.#at = at + 1 === this.#count ? 0 : at + 1;
    return at;
  }
}

/** Reads keys for `ms`; each must give the index that its value was made for. */
export function readFor(
  supply: Supply,
  { ms, seed }: { readonly ms: number; readonly seed: number },
  one: (key: string) => number,
): number {
  const { keys, indexes } = supply;
  const walk = new Walk(supply, seed);
  let done = 0;
  let sum = 0;
  let expected = 0;
  for (const end = performance.now() + ms; performance.now() < end; done += STRIDE) {
    for (let i = 0; i < STRIDE; i++) {
      const at = walk.next();
      expected += indexes[at] as number;
      sum += one(keys[at] as string);
    }
  }
  assertSum('values read', sum, expected);
  return done;
}

/** Waits for what is under way, now and then. */
class Flow {
  #underWay: Promise<unknown>[] = [];

  /** True: `drain` must be awaited before the next one. */
  add(one: Promise<unknown> | undefined): boolean {
    return one !== undefined && this.#underWay.push(one) === IN_FLIGHT;
  }

  async drain(): Promise<void> {
    const all = this.#underWay;
    this.#underWay = [];
    await Promise.all(all);
  }
}

/** Puts keys `from` to `end` - 1 one by one, each a commit of its own. */
export async function putEach(
  store: Store,
  supply: Supply,
  from = 0,
  end: number = supply.count,
): Promise<void> {
  const flow = new Flow();
  for (let at = from; at < end; at++) {
    const isFull = flow.add(store.put(supply.keys[at] as string, supply.valueAt(at)));
    if (isFull) await flow.drain();
  }
  await flow.drain();
}

/** Nine gets and a put of the value that is there, for `ms` or for a number of operations. */
export async function mixed(
  store: Store,
  supply: Supply,
  {
    ms = Number.POSITIVE_INFINITY,
    operations = Number.POSITIVE_INFINITY,
    seed,
  }: { readonly ms?: number; readonly operations?: number; readonly seed: number },
): Promise<number> {
  const walk = new Walk(supply, seed);
  const flow = new Flow();
  const get = (at: number): number => indexOf(store.get(supply.keys[at] as string));
  let done = 0;
  for (const end = performance.now() + ms; done < operations && performance.now() < end; ) {
    for (let i = 0; i < STRIDE; i++) {
      const at = walk.next();
      if (i % MIXED_PUT_EVERY === 0) {
        flow.add(store.put(supply.keys[at] as string, supply.valueAt(at)));
      } else if (get(at) !== supply.indexes[at]) {
        throw new Error(`${supply.keys[at]} has the value of another key`);
      }
    }
    await flow.drain();
    done += STRIDE;
  }
  return done;
}

/** Loops that each wait for their own put to be on the disk. */
export async function putSyncedFor(
  store: Store,
  supply: Supply,
  { ms, seed, loops }: { readonly ms: number; readonly seed: number; readonly loops: number },
): Promise<number> {
  const walk = new Walk(supply, seed);
  const end = performance.now() + ms;
  const loop = async (): Promise<number> => {
    let done = 0;
    for (; performance.now() < end; done++) {
      const at = walk.next();
      await store.putSynced(supply.keys[at] as string, supply.valueAt(at));
    }
    return done;
  };
  const all = await Promise.all(Array.from({ length: loops }, loop));
  return all.reduce((sum, done) => sum + done, 0);
}
