/**
 * `weirpool/metrics`: a pool's statistics for Prometheus, by prom-client.
 *
 * Owns:        the metrics that it has put into a register, until the last pool there is taken out.
 * Threads:     any that has the pool; the figures are of the whole pool in each of them, so one
 *              thread registers it.
 *
 * Nothing else of weirpool imports this module, nor prom-client.
 *
 * @module weirpool/metrics
 */
import { Counter, register as defaultRegister, Gauge, type Registry } from 'prom-client';
import type { PoolStats } from '../pool/stats.ts';
import { type Definition, LOG_METRICS, POOL_METRICS, type Sample } from './definitions.ts';

/** What is asked of a pool. */
export interface MeasuredPool {
  stats(): PoolStats;
  onPoison(listener: () => void): () => void;
}

export type AnyRegistry =
  | Registry
  | Registry<'application/openmetrics-text; version=1.0.0; charset=utf-8'>;

export interface MetricsOptions {
  /** Where the metrics go. Default: prom-client's own register. */
  readonly register?: AnyRegistry;
  /** Begins every name. Default `weirpool_`. */
  readonly prefix?: string;
  /** Goes with every figure: what tells several pools of one register apart. */
  readonly labels?: Readonly<Record<string, string>>;
}

const PREFIX = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** One pool in a register. */
class Source {
  readonly labels: Readonly<Record<string, string>>;
  readonly logged: boolean;
  readonly #pool: MeasuredPool;
  readonly #unlisten: () => void;
  #poisoned = false;
  #last: Sample;
  #isFresh = false;

  constructor(pool: MeasuredPool, labels: Readonly<Record<string, string>>) {
    this.#pool = pool;
    this.labels = labels;
    const stats = pool.stats();
    this.logged = stats.log !== undefined;
    this.#last = { stats, up: true };
    this.#unlisten = pool.onPoison(() => {
      this.#poisoned = true;
    });
  }

  /** The figures of this scrape, which asks all metrics in one turn: counted once for all of them. */
  sample(): Sample {
    if (this.#isFresh) return this.#last;
    this.#isFresh = true;
    queueMicrotask(() => {
      this.#isFresh = false;
    });
    this.#last = this.#take();
    return this.#last;
  }

  /** A pool that was closed says what it said last: it must not make the whole scrape fail. */
  #take(): Sample {
    try {
      return { stats: this.#pool.stats(), up: !this.#poisoned };
    } catch {
      return { stats: this.#last.stats, up: false };
    }
  }

  end(): void {
    this.#unlisten();
  }
}

/** The pools of one register that share a prefix, and so their metrics. */
class Group {
  readonly #register: AnyRegistry;
  readonly #prefix: string;
  readonly #labelNames: readonly string[];
  readonly #sources = new Map<string, Source>();
  readonly #names: string[] = [];
  #logged = false;

  constructor(register: AnyRegistry, prefix: string, labelNames: readonly string[]) {
    this.#register = register;
    this.#prefix = prefix;
    this.#labelNames = labelNames;
  }

  get isEmpty(): boolean {
    return this.#sources.size === 0;
  }

  add(source: Source): string {
    const names = Object.keys(source.labels).sort();
    if (names.join() !== this.#labelNames.join()) {
      throw new TypeError(
        `Pools under the prefix ${this.#prefix} have the labels ${this.#labelNames.join()} here: ` +
          'give the same ones, or another prefix',
      );
    }
    const key = JSON.stringify(names.map((name) => source.labels[name]));
    if (this.#sources.has(key)) {
      throw new TypeError(
        `A pool is registered here under the prefix ${this.#prefix} and the labels ${key}: give ` +
          'each pool labels of its own',
      );
    }
    this.#makeMetrics(source);
    this.#sources.set(key, source);
    return key;
  }

  #makeMetrics(source: Source): void {
    const before = this.#names.length;
    try {
      if (this.isEmpty) for (const definition of POOL_METRICS) this.#make(definition);
      if (!source.logged || this.#logged) return;
      for (const definition of LOG_METRICS) this.#make(definition);
      this.#logged = true;
    } catch (error) {
      this.#removeMetrics(before); // such as a name that somebody else has
      throw error;
    }
  }

  #make({ kind, name, help, label, read }: Definition): void {
    const sources = this.#sources;
    const labelNames = label === undefined ? [...this.#labelNames] : [...this.#labelNames, label];
    const figures = function* (): Generator<[Record<string, string>, number]> {
      for (const source of sources.values()) {
        const reading = read(source.sample());
        if (typeof reading === 'number') yield [source.labels, reading];
        else if (label !== undefined) {
          for (const [key, value] of reading ?? [])
            yield [{ ...source.labels, [label]: key }, value];
        }
      }
    };
    const registers = [this.#register];
    const configuration = { name: this.#prefix + name, help, labelNames, registers };
    if (kind === 'counter') {
      new Counter({
        ...configuration,
        collect() {
          this.reset();
          for (const [labels, value] of figures()) this.inc(labels, value);
        },
      });
    } else {
      new Gauge({
        ...configuration,
        collect() {
          this.reset();
          for (const [labels, value] of figures()) this.set(labels, value);
        },
      });
    }
    this.#names.push(configuration.name);
  }

  remove(key: string): void {
    this.#sources.get(key)?.end();
    this.#sources.delete(key);
    if (!this.isEmpty) return;
    this.#removeMetrics(0);
    this.#logged = false;
  }

  #removeMetrics(from: number): void {
    for (const name of this.#names.splice(from)) this.#register.removeSingleMetric(name);
  }
}

const groups = new WeakMap<AnyRegistry, Map<string, Group>>();

function checkLabels(labels: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(labels)) {
    if (!LABEL.test(name) || name === 'phase') throw new TypeError(`${name} cannot be a label`);
    if (typeof value !== 'string') throw new TypeError(`The label ${name} is no string`);
  }
}

/**
 * Puts a pool's figures into a register; each scrape looks at the pool once.
 *
 * @returns Takes them out again: call it when the pool is closed.
 * @throws {TypeError} a prefix or label that Prometheus does not allow; the same prefix and labels
 *         as another pool of the register; {Error} of prom-client, for a name that is taken.
 */
export function registerMetrics(pool: MeasuredPool, options: MetricsOptions = {}): () => void {
  const { register = defaultRegister, prefix = 'weirpool_', labels = {} } = options;
  if (typeof prefix !== 'string' || !PREFIX.test(prefix)) {
    throw new TypeError(`${String(prefix)} cannot begin the name of a metric`);
  }
  checkLabels(labels);
  const ofRegister = groups.get(register) ?? new Map<string, Group>();
  groups.set(register, ofRegister);
  const names = Object.keys(labels).sort();
  const group = ofRegister.get(prefix) ?? new Group(register, prefix, names);
  const source = new Source(pool, { ...labels });
  let key: string;
  try {
    key = group.add(source);
  } catch (error) {
    source.end();
    throw error;
  }
  ofRegister.set(prefix, group);
  let isThere = true;
  return () => {
    if (!isThere) return;
    isThere = false;
    group.remove(key);
    if (group.isEmpty) ofRegister.delete(prefix);
  };
}
