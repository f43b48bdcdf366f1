/** Takes the samples of a case: what is compared takes turns. */
import { ROUNDS } from '../support/measure.ts';
import { median } from '../support/numbers.ts';
import type { Case, FigureCase, RateCase } from './cases.ts';
import { StoreProcess } from './process.ts';
import type { Sample } from './serve.ts';
import { NO_STORE, OWN, SMALL_CACHE_BYTES, type StoreName } from './store.ts';

/** Samples by the store's name; by another one if it is the baseline of a case of weirpool alone. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

export interface Settings {
  readonly seconds: number;
  readonly seed: number;
}

interface Lane {
  readonly name: string;
  readonly store: StoreProcess;
  readonly job: string;
}

export class Runner {
  readonly #stores: readonly StoreProcess[];
  readonly #self: string;
  readonly #directory: string;
  readonly #settings: Settings;

  constructor(self: string, directory: string, names: readonly StoreName[], settings: Settings) {
    this.#self = self;
    this.#directory = directory;
    this.#settings = settings;
    this.#stores = names.map((name) => new StoreProcess(name, self, this.#directoryOf(name)));
  }

  #directoryOf(name: StoreName): string {
    return `${this.#directory}/${name}`;
  }

  #order(job: string, round: number) {
    const { seconds, seed } = this.#settings;
    return { job, ms: (seconds * 1000) / ROUNDS, seed: seed + round };
  }

  run(one: Case): Promise<Samples> {
    return one.unit === undefined ? this.#rates(one) : this.#figures(one);
  }

  #lanes({ job, isOwn = false, against }: RateCase): Lane[] {
    const stores = isOwn ? this.#stores.filter(({ name }) => name === OWN) : this.#stores;
    const lanes: Lane[] = stores.map((store) => ({ name: store.name, store, job }));
    const [store] = stores;
    if (against !== undefined && store !== undefined) lanes.push({ ...against, store });
    return lanes;
  }

  /** The first round is the warm-up. */
  async #rates(one: RateCase): Promise<Samples> {
    const lanes = this.#lanes(one);
    const samples = new Map<string, Sample[]>(lanes.map(({ name }) => [name, []]));
    for (let round = 0; round <= one.rounds; round++) {
      for (let turn = 0; turn < lanes.length; turn++) {
        // Nobody is always first or always behind the same one.
        const { name, store, job } = lanes[(turn + round) % lanes.length] as Lane;
        const sample = await store.sample(this.#order(job, round));
        if (round > 0) samples.get(name)?.push(sample);
      }
    }
    return samples;
  }

  async #figures(one: FigureCase): Promise<Samples> {
    const samples = new Map<string, Sample[]>(this.#stores.map(({ name }) => [name, []]));
    const bare: number[] = [];
    for (let round = 0; round < one.rounds; round++) {
      if (one.isAlone === true) bare.push((await this.#alone(NO_STORE, one.job, round)).value ?? 0);
      for (const store of this.#stores) {
        if (one.isAlone === true) await store.sample(this.#order('load', round));
        const sample = await (one.isAlone === true
          ? this.#alone(store.name, one.job, round)
          : store.sample(this.#order(one.job, round)));
        samples.get(store.name)?.push(sample);
      }
    }
    if (one.isAlone !== true) return samples;
    const less = median(bare);
    const above = (sample: Sample): Sample => ({ ...sample, value: (sample.value ?? 0) - less });
    return new Map([...samples].map(([name, list]) => [name, list.map(above)]));
  }

  /** A sample of a process that ends behind it. */
  async #alone(name: StoreName, job: string, round: number): Promise<Sample> {
    const directory = this.#directoryOf(name);
    const store = new StoreProcess(name, this.#self, directory, SMALL_CACHE_BYTES);
    try {
      return await store.sample(this.#order(job, round));
    } finally {
      await store.end();
    }
  }

  async end(): Promise<void> {
    for (const store of this.#stores) await store.end();
  }
}
