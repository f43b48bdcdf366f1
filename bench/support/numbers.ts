/** Medians, spreads, and a histogram of latencies. */

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Figures of the rounds, as they are reported. */
export interface Quantity {
  readonly median: number;
  /** (largest - smallest) / median. */
  readonly spread: number;
}

export function quantity(values: readonly number[]): Quantity {
  const middle = median(values);
  return { median: middle, spread: (Math.max(...values) - Math.min(...values)) / Math.abs(middle) };
}

/** Median of the ratios of figures that were taken in the same round. */
export function medianRatio(own: readonly number[], baseline: readonly number[]): number {
  return median(own.map((value, round) => value / (baseline[round] ?? Number.NaN)));
}

/** The program ends with exit code 1 if what a benchmark computed is wrong. */
export function assertSum(what: string, actual: number, expected: number): void {
  if (actual === expected) return;
  throw new Error(`${what}: the sum is ${actual} instead of ${expected}`);
}

const STEPS_PER_OCTAVE = 16;
const OCTAVES = 40;

/** Counts of latencies in ns; a bucket is 4.4 % wide. */
export class Histogram {
  readonly counts: Float64Array;
  maxNs = 0;

  constructor(counts: Float64Array = new Float64Array(STEPS_PER_OCTAVE * OCTAVES), maxNs = 0) {
    this.counts = counts;
    this.maxNs = maxNs;
  }

  clear(): void {
    this.counts.fill(0);
    this.maxNs = 0;
  }

  record(ns: number): void {
    const bucket = Math.floor(Math.log2(Math.max(1, ns)) * STEPS_PER_OCTAVE);
    const at = Math.min(bucket, this.counts.length - 1);
    this.counts[at] = (this.counts[at] ?? 0) + 1;
    if (ns > this.maxNs) this.maxNs = ns;
  }

  add(other: Histogram): void {
    for (let at = 0; at < this.counts.length; at++) {
      this.counts[at] = (this.counts[at] ?? 0) + (other.counts[at] ?? 0);
    }
    this.maxNs = Math.max(this.maxNs, other.maxNs);
  }

  /** Upper bound of the bucket in which the share `p` (0 to 1) of the latencies ends. */
  percentileNs(p: number): number {
    const total = this.counts.reduce((sum, count) => sum + count, 0);
    let seen = 0;
    for (let at = 0; at < this.counts.length; at++) {
      seen += this.counts[at] ?? 0;
      if (seen >= p * total) return Math.min(this.maxNs, 2 ** ((at + 1) / STEPS_PER_OCTAVE));
    }
    return this.maxNs;
  }
}
