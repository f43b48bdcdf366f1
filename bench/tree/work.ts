/** Loops over a store, in whichever thread. */
import { assertSum } from '../support/numbers.ts';
import type { Store, Supply } from './store.ts';
import { Draw, indexOf, KEYS } from './workload.ts';

/** Operations between two looks at the clock. */
const STRIDE = 1000;
/** Puts under way at once in a store that does them asynchronously. */
const IN_FLIGHT = 1000;
/** One of so many operations of a mixed load is a put. */
const MIXED_PUT_EVERY = 10;

/** Random keys for `ms`; each must give the index that its value was made for. */
export function repeat(ms: number, draw: () => number, one: (index: number) => number): number {
  let done = 0;
  let sum = 0;
  let expected = 0;
  for (const end = performance.now() + ms; performance.now() < end; done += STRIDE) {
    for (let i = 0; i < STRIDE; i++) {
      const index = draw();
      expected += index;
      sum += one(index);
    }
  }
  assertSum('values read', sum, expected);
  return done;
}

export function uniform(seed: number, count: number = KEYS): () => number {
  const draw = new Draw(seed);
  return () => draw.below(count);
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

/** Puts keys one by one, each a commit of its own. */
export async function putEach(
  store: Store,
  { keys, values }: Supply,
  indexes: Uint32Array,
): Promise<void> {
  const flow = new Flow();
  for (const index of indexes) {
    if (flow.add(store.put(keys[index] as string, values.of(index)))) await flow.drain();
  }
  await flow.drain();
}

/** Nine gets and a put of the value that is there, for `ms` or for a number of operations. */
export async function mixed(
  store: Store,
  { keys, values }: Supply,
  {
    ms = Number.POSITIVE_INFINITY,
    operations = Number.POSITIVE_INFINITY,
    seed,
  }: { readonly ms?: number; readonly operations?: number; readonly seed: number },
): Promise<number> {
  const draw = uniform(seed);
  const flow = new Flow();
  const get = (index: number): number => indexOf(store.get(keys[index] as string));
  let done = 0;
  for (const end = performance.now() + ms; done < operations && performance.now() < end; ) {
    for (let i = 0; i < STRIDE; i++) {
      const index = draw();
      if (i % MIXED_PUT_EVERY === 0) flow.add(store.put(keys[index] as string, values.of(index)));
      else if (get(index) !== index) throw new Error(`Key ${index} has the value of another one`);
    }
    await flow.drain();
    done += STRIDE;
  }
  return done;
}
