/**
 * What a suite prints: a header, then one aligned table, or one JSON line for each case.
 *
 * Owns:        standard output; in JSON nothing but the lines goes there.
 */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { medianRatio, type Quantity, quantity } from './numbers.ts';

/** One line of the report; what does not apply to a case is null. */
export interface CaseLine {
  readonly bench: string;
  readonly case: string;
  readonly threads: number;
  readonly nsPerOp: number | null;
  /** All threads together. */
  readonly opsPerSec: number | null;
  /** A figure that is neither time nor rate, with its unit. */
  readonly value: number | null;
  readonly unit: string | null;
  /** The case that `ratio` compares with. */
  readonly baseline: string | null;
  /** Own figure divided by the baseline's; median of the rounds. */
  readonly ratio: number | null;
  /** (largest - smallest) / median over the rounds; null for a single figure. */
  readonly spread: number | null;
}

export interface SuiteOptions {
  readonly json: boolean;
  /** Measured time of each case, all rounds together. */
  readonly seconds: number;
  readonly seed: number;
}

const SECONDS_DEFAULT = 2;
const SEED_DEFAULT = 1;

/** Options of a suite program; scripts/bench.ts has checked them. */
export function suiteOptions(): SuiteOptions {
  const { values } = parseArgs({
    strict: false,
    options: { json: { type: 'boolean' }, seconds: { type: 'string' } },
  });
  return {
    json: values.json === true,
    seconds: Number(values.seconds ?? SECONDS_DEFAULT),
    seed: Number(process.env['SEED'] || SEED_DEFAULT),
  };
}

function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    const changed = git('status', '--porcelain', '--', 'src', 'assembly') === '' ? '' : '+changes';
    return `${git('rev-parse', '--short', 'HEAD')}${changed}`;
  } catch {
    return 'unknown';
  }
}

/** First line of a report. */
export function header(bench: string, { seconds, seed }: SuiteOptions): string {
  const processors = cpus();
  return [
    `${bench}: commit ${commit()}, ${processors[0]?.model.trim() ?? 'unknown CPU'}, `,
    `${processors.length} cores, Node ${process.version}, seed ${seed}, ${seconds} s a case, `,
    `load ${loadavg()[0]?.toFixed(2)}`,
  ].join('');
}

function figure(value: number | null, digits: number): string {
  if (value === null) return '';
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

function cells(line: CaseLine): string[] {
  const rate = line.opsPerSec === null ? null : line.opsPerSec / 1e6;
  return [
    line.case,
    String(line.threads),
    figure(line.nsPerOp, 1),
    figure(rate, rate !== null && rate < 0.1 ? 4 : 2),
    line.value === null ? '' : `${figure(line.value, 2)} ${line.unit ?? ''}`,
    line.ratio === null ? '' : `${figure(line.ratio, 2)} x ${line.baseline ?? ''}`,
    line.spread === null ? '' : `${figure(line.spread * 100, 0)} %`,
  ];
}

const HEADINGS = ['case', 'threads', 'ns/op', 'M ops/s', 'value', 'ratio', 'spread'];
const TEXT_COLUMNS: readonly number[] = [0, 5];

function table(lines: readonly CaseLine[]): string {
  const rows = [HEADINGS, ...lines.map(cells)];
  const widths = HEADINGS.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  const pad = (text: string, column: number): string =>
    TEXT_COLUMNS.includes(column)
      ? text.padEnd(widths[column] ?? 0)
      : text.padStart(widths[column] ?? 0);
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}

interface Against {
  readonly name: string;
  readonly ratio: number;
}

interface ValueOptions {
  readonly threads?: number;
  readonly baseline?: string;
  readonly figures?: readonly number[];
}

/** A baseline of 0 has no ratio. */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

export class Report {
  readonly #bench: string;
  readonly #options: SuiteOptions;
  readonly #lines: CaseLine[] = [];

  constructor(bench: string, options: SuiteOptions) {
    this.#bench = bench;
    this.#options = options;
    if (!options.json) console.log(header(bench, options));
  }

  #add(line: Omit<CaseLine, 'bench'>): void {
    const whole: CaseLine = { bench: this.#bench, ...line };
    this.#lines.push(whole);
    if (this.#options.json) console.log(JSON.stringify(whole));
  }

  /** A case that is a time for each operation. */
  time(name: string, nsPerOp: Quantity, against?: Against): void {
    this.#add({
      case: name,
      threads: 1,
      nsPerOp: nsPerOp.median,
      opsPerSec: 1e9 / nsPerOp.median,
      value: null,
      unit: null,
      baseline: against?.name ?? null,
      ratio: against?.ratio ?? null,
      spread: nsPerOp.spread,
    });
  }

  /** A case that is the throughput of several threads together. */
  rate(name: string, threads: number, opsPerSec: Quantity, against?: Against): void {
    this.#add({
      case: name,
      threads,
      nsPerOp: (threads * 1e9) / opsPerSec.median,
      opsPerSec: opsPerSec.median,
      value: null,
      unit: null,
      baseline: against?.name ?? null,
      ratio: against?.ratio ?? null,
      spread: opsPerSec.spread,
    });
  }

  /** A case that is neither; compared with the figures of a baseline if one is given. */
  value(name: string, unit: string, values: readonly number[], more: ValueOptions = {}): void {
    const { median: value, spread } = quantity(values);
    const ratio = more.figures === undefined ? null : finite(medianRatio(values, more.figures));
    this.#add({
      case: name,
      threads: more.threads ?? 1,
      nsPerOp: null,
      opsPerSec: null,
      value,
      unit,
      baseline: more.baseline ?? null,
      ratio,
      spread: values.length > 1 ? finite(spread) : null,
    });
  }

  finish(): void {
    if (!this.#options.json) console.log(table(this.#lines));
  }
}
