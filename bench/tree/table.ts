/**
 * What the tree benchmark prints: a line for each case with all stores beside each other and a verdict,
 * or JSON, a line for each case and store.
 */
import { median, medianRatio, quantity } from '../support/numbers.ts';
import { header, type SuiteOptions } from '../support/report.ts';
import type { Case } from './cases.ts';
import { versionOf } from './peers.ts';
import type { Sample } from './serve.ts';
import { OWN, type StoreName } from './store.ts';

export type Samples = ReadonlyMap<StoreName, readonly Sample[]>;

interface Row {
  readonly one: Case;
  /** Medians, by store. */
  readonly figures: ReadonlyMap<StoreName, number>;
  readonly spread: number;
  readonly cpuNs: number;
  readonly best: StoreName | undefined;
  readonly ratio: number | null;
  /** The same of the processor time of one operation; says more where others use the machine. */
  readonly cpuRatio: number | null;
}

function rateOf({ operations, ms }: Sample): number {
  return (operations * 1000) / ms;
}

function cpuNsOf({ operations, cpuMs }: Sample): number {
  return (cpuMs * 1e6) / operations;
}

function rowOf(one: Case, samples: Samples): Row {
  const figures = new Map<StoreName, number>();
  for (const [name, list] of samples) figures.set(name, median(list.map(rateOf)));
  const own = (samples.get(OWN) ?? []).map(rateOf);
  let best: StoreName | undefined;
  for (const [name, figure] of figures) {
    if (name !== OWN && !(figure <= (best === undefined ? 0 : (figures.get(best) as number)))) {
      best = name;
    }
  }
  const ratio =
    best === undefined || own.length === 0
      ? null
      : medianRatio(own, (samples.get(best) ?? []).map(rateOf));
  const cpuNs = median((samples.get(OWN) ?? []).map(cpuNsOf));
  const bestCpuNs = median((best === undefined ? [] : (samples.get(best) ?? [])).map(cpuNsOf));
  return {
    one,
    figures,
    cpuRatio: one.threads > 1 || ratio === null ? null : bestCpuNs / cpuNs,
    spread: quantity(own).spread,
    cpuNs,
    best,
    ratio,
  };
}

function thousands(rate: number | undefined): string {
  if (rate === undefined) return '';
  const value = rate / 1000;
  return value.toLocaleString('en-US', { maximumFractionDigits: value < 100 ? 1 : 0 });
}

function verdict({ one, ratio }: Row): string {
  if (one.atLeast === undefined || ratio === null) return '';
  return ratio >= one.atLeast ? 'met' : 'missed';
}

export class TreeReport {
  readonly #options: SuiteOptions;
  readonly #names: readonly StoreName[];
  readonly #rows: Row[] = [];

  constructor(options: SuiteOptions, names: readonly StoreName[]) {
    this.#options = options;
    this.#names = names;
    const peers = names.filter((name) => name !== OWN).map((name) => `${name} ${versionOf(name)}`);
    if (!options.json) console.log([header('tree', options), ...peers].join(', '));
  }

  note(text: string): void {
    if (!this.#options.json) console.log(text);
  }

  add(one: Case, samples: Samples): void {
    const row = rowOf(one, samples);
    this.#rows.push(row);
    if (!this.#options.json) return;
    for (const [store, list] of samples) {
      const { median: opsPerSec, spread } = quantity(list.map(rateOf));
      const isOwn = store === OWN;
      const line = {
        bench: 'tree',
        case: one.name,
        store,
        threads: one.threads,
        nsPerOp: (one.threads * 1e9) / opsPerSec,
        opsPerSec,
        cpuNsPerOp: median(list.map(cpuNsOf)),
        cpuRatio: isOwn ? row.cpuRatio : null,
        value: null,
        unit: null,
        baseline: isOwn ? (row.best ?? null) : null,
        ratio: isOwn ? row.ratio : null,
        target: isOwn ? (one.atLeast ?? null) : null,
        verdict: isOwn ? verdict(row) || null : null,
        spread,
      };
      console.log(JSON.stringify(line));
    }
  }

  finish(): void {
    if (this.#options.json) return;
    const headings = [
      'case',
      'measure',
      ...this.#names,
      'ratio',
      'target',
      'verdict',
      'spread',
      'cpu/op',
      'cpu ratio',
    ];
    const rows = this.#rows.map((row) => [
      row.one.name,
      row.one.what,
      ...this.#names.map((name) => thousands(row.figures.get(name))),
      row.ratio === null ? '' : `${row.ratio.toFixed(2)} x ${row.best ?? ''}`,
      row.one.atLeast === undefined ? '' : `>= ${row.one.atLeast}`,
      verdict(row),
      `${(row.spread * 100).toFixed(0)} %`,
      `${row.cpuNs.toFixed(0)} ns`,
      row.cpuRatio === null ? '' : `${row.cpuRatio.toFixed(2)} x`,
    ]);
    const all = [headings, ...rows];
    const widths = headings.map((_, at) =>
      Math.max(...all.map((cells) => (cells[at] ?? '').length)),
    );
    const isText = (at: number): boolean => at < 2 || (headings[at] ?? '') === 'ratio';
    for (const cells of all) {
      const padded = cells.map((cell, at) =>
        isText(at) ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0),
      );
      console.log(padded.join('  ').trimEnd());
    }
    console.log('Thousands of operations a second; spread and processor time are weirpool’s.');
  }
}
