/**
 * Whether figures stay flat while a process lives long.
 *
 * The rule: of at least 16 samples, in the order in which they were taken, the first quarter is
 * warming up. The median of the last quarter may be above the median of the second one by a share
 * of it and by a fixed amount, and by no more. Single samples may be anything.
 *
 * Threads:     one.
 */

export interface Allowance {
  /** Share of the earlier median. */
  readonly share: number;
  /** In the unit of the figure. */
  readonly fixed: number;
}

export const SAMPLES_MIN = 16;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] as number) + upper) / 2;
}

/** What has grown beyond its allowance, in words; undefined if it is flat. */
export function growth(
  name: string,
  samples: readonly number[],
  { share, fixed }: Allowance,
): string | undefined {
  if (samples.length < SAMPLES_MIN) return undefined;
  const quarter = Math.floor(samples.length / 4);
  const early = median(samples.slice(quarter, 2 * quarter));
  const late = median(samples.slice(-quarter));
  const most = early * (1 + share) + fixed;
  if (late <= most) return undefined;
  return `${name} has grown from ${early} to ${late} in ${samples.length} samples; ${Math.round(most)} would be flat`;
}

/** Series of samples by name. */
export class Series {
  readonly #allowances: Readonly<Record<string, Allowance>>;
  readonly #samples = new Map<string, number[]>();

  constructor(allowances: Readonly<Record<string, Allowance>>) {
    this.#allowances = allowances;
  }

  add(figures: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(figures)) {
      if (!Object.hasOwn(this.#allowances, name)) throw new Error(`no allowance for ${name}`);
      const samples = this.#samples.get(name);
      if (samples === undefined) this.#samples.set(name, [value]);
      else samples.push(value);
    }
  }

  /** Of the series that has the fewest; 0 as long as one has none. */
  get count(): number {
    return Math.min(
      ...Object.keys(this.#allowances).map((name) => this.#samples.get(name)?.length ?? 0),
    );
  }

  /** Everything that has grown. */
  grown(): string[] {
    return Object.entries(this.#allowances).flatMap(([name, allowance]) => {
      const found = growth(name, this.#samples.get(name) ?? [], allowance);
      return found === undefined ? [] : [found];
    });
  }

  /** First, middle and last median, for people. */
  toString(): string {
    return [...this.#samples]
      .map(([name, samples]) => {
        const quarter = Math.max(1, Math.floor(samples.length / 4));
        const of = (from: number): number => median(samples.slice(from, from + quarter));
        return `${name} ${of(quarter)} .. ${of(samples.length - quarter)}`;
      })
      .join(', ');
  }
}
