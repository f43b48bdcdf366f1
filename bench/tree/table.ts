/**
 * What the tree benchmark prints: a line for each case with all stores beside each other and a verdict,
 * or JSON, a line for each case and store.
 */
import { median, medianRatio, quantity } from '../support/numbers.ts';
import { header, type SuiteOptions } from '../support/report.ts';
import type { Case } from './cases.ts';
import { versionOf } from './peers.ts';
import type { Samples } from './run.ts';
import type { Sample } from './serve.ts';
import { OWN, type StoreName } from './store.ts';

interface Row {
  readonly one: Case;
  /** Medians, by store. */
  readonly figures: ReadonlyMap<string, number>;
  readonly spread: number | null;
  /** What weirpool is compared with: the best peer, or another job of its own. */
  readonly baseline: string | null;
  /** Median of the ratios of figures of one round. */
  readonly ratio: number | null;
  /** The same of the processor time of an operation; says more where others use the machine. */
  readonly cpuRatio: number | null;
  readonly cpuNs: number | null;
}

function figureOf({ operations, ms, value }: Sample): number {
  return value ?? (operations * 1000) / ms;
}

function cpuNsOf({ operations, cpuMs }: Sample): number {
  return (cpuMs * 1e6) / operations;
}

function bestOf({ unit }: Case, figures: ReadonlyMap<string, number>): string | null {
  const peers = [...figures].filter(([name]) => name !== OWN);
  const sorted = peers.sort(([, a], [, b]) => (unit === undefined ? b - a : a - b));
  return sorted[0]?.[0] ?? null;
}

function rowOf(one: Case, samples: Samples): Row {
  const listOf = (name: string, of: (sample: Sample) => number): number[] =>
    (samples.get(name) ?? []).map(of);
  const figures = new Map<string, number>();
  for (const name of samples.keys()) figures.set(name, median(listOf(name, figureOf)));
  const own = listOf(OWN, figureOf);
  const baseline = bestOf(one, figures);
  const base = baseline === null ? [] : listOf(baseline, figureOf);
  const isCompared = base.length > 0 && own.length > 0;
  // Processor time of several threads hides that they wait for each other.
  const hasCpu = one.unit === undefined && one.threads === 1 && own.length > 0;
  const cpuNs = hasCpu ? median(listOf(OWN, cpuNsOf)) : null;
  const baseCpuNs = median(baseline === null ? [] : listOf(baseline, cpuNsOf));
  return {
    one,
    figures,
    spread: own.length > 1 ? quantity(own).spread : null,
    baseline,
    ratio: isCompared ? medianRatio(own, base) : null,
    cpuRatio: isCompared && cpuNs !== null ? baseCpuNs / cpuNs : null,
    cpuNs,
  };
}

function target(one: Case): string {
  if (one.unit === undefined) return one.atLeast === undefined ? '' : `>= ${one.atLeast}`;
  return one.atMost === undefined ? '' : `<= ${one.atMost}`;
}

function verdict({ one, ratio }: Row): string {
  if (ratio === null || target(one) === '') return '';
  const isMet =
    one.unit === undefined
      ? ratio >= (one.atLeast ?? 0)
      : ratio <= (one.atMost ?? Number.POSITIVE_INFINITY);
  return isMet ? 'met' : 'missed';
}

/** Thousands of operations a second, or the figure. */
function figure({ unit }: Case, value: number | undefined): string {
  if (value === undefined) return '';
  const shown = unit === undefined ? value / 1000 : value;
  const digits = shown < 1 ? 3 : shown < 100 ? 1 : 0;
  const text = shown.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return unit === undefined ? text : `${text} ${unit}`;
}

function cellsOf(row: Row, names: readonly StoreName[]): string[] {
  const { one, ratio, baseline, spread, cpuNs, cpuRatio } = row;
  return [
    one.name,
    one.what,
    ...names.map((name) => figure(one, row.figures.get(name))),
    ratio === null ? '' : `${ratio.toFixed(2)} x ${baseline}`,
    target(one),
    verdict(row),
    spread === null ? '' : `${(spread * 100).toFixed(0)} %`,
    cpuNs === null ? '' : `${cpuNs.toFixed(0)} ns`,
    cpuRatio === null ? '' : `${cpuRatio.toFixed(2)} x`,
  ];
}

const LAST_HEADINGS = ['ratio', 'target', 'verdict', 'spread', 'cpu/op', 'cpu ratio'];

function print(rows: readonly Row[], names: readonly StoreName[]): void {
  const headings = ['case', 'measure', ...names, ...LAST_HEADINGS];
  const all = [headings, ...rows.map((row) => cellsOf(row, names))];
  const widths = headings.map((_, at) => Math.max(...all.map((cells) => (cells[at] ?? '').length)));
  const isText = (at: number): boolean => at < 2 || headings[at] === 'ratio';
  const pad = (cell: string, at: number): string =>
    isText(at) ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0);
  for (const cells of all) console.log(cells.map(pad).join('  ').trimEnd());
  console.log(
    'Thousands of operations a second, all threads together, but where there is a unit. Ratios are ' +
      'medians over the rounds; spread and processor time (cpu) are those of weirpool.',
  );
}

function lineOf(row: Row, store: string, list: readonly Sample[]) {
  const { one } = row;
  const isOwn = store === OWN;
  const { median: middle, spread } = quantity(list.map(figureOf));
  const isRate = one.unit === undefined;
  const hasCpu = isRate && one.threads === 1;
  return {
    bench: 'tree',
    case: one.name,
    store,
    threads: one.threads,
    nsPerOp: isRate ? (one.threads * 1e9) / middle : null,
    opsPerSec: isRate ? middle : null,
    value: isRate ? null : middle,
    unit: one.unit ?? null,
    baseline: isOwn ? row.baseline : null,
    ratio: isOwn ? row.ratio : null,
    spread: list.length > 1 ? spread : null,
    cpuNsPerOp: hasCpu ? median(list.map(cpuNsOf)) : null,
    cpuRatio: isOwn ? row.cpuRatio : null,
    target: (isOwn && target(one)) || null,
    verdict: (isOwn && verdict(row)) || null,
  };
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

  add(one: Case, samples: Samples): void {
    const row = rowOf(one, samples);
    this.#rows.push(row);
    if (!this.#options.json) return;
    for (const [store, list] of samples) console.log(JSON.stringify(lineOf(row, store, list)));
  }

  finish(): void {
    if (!this.#options.json) print(this.#rows, this.#names);
  }
}
