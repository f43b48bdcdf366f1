/** What a run of the harness says: progress on a terminal, then a table, or JSON. */
import { Presets, SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import type { Details, Mode, Outcome, Tally } from './mode.ts';

export interface ReporterOptions {
  readonly seed: number;
  readonly json: boolean;
  /** The command without seed and run. */
  readonly replay: string;
}

export class Reporter {
  readonly #mode: Mode;
  readonly #options: ReporterOptions;
  #bar: SingleBar | undefined;
  #began = 0;
  #seconds: number | undefined;

  constructor(mode: Mode, options: ReporterOptions) {
    this.#mode = mode;
    this.#options = options;
  }

  begin({ runs, seconds }: { runs: number; seconds: number | undefined }): void {
    const { seed, json } = this.#options;
    this.#began = Date.now();
    this.#seconds = seconds;
    if (json) return;
    console.log(`${this.#mode.name}, seed ${seed}`);
    if (!process.stderr.isTTY) return;
    const unit = seconds === undefined ? 'runs' : 'seconds';
    const format = `{bar} {value} of {total} ${unit} | {done}`;
    this.#bar = new SingleBar({ format, hideCursor: true }, Presets.shades_classic);
    this.#bar.start(seconds ?? runs, 0, { done: '' });
  }

  progress(tally: Readonly<Tally>): void {
    const seconds = (Date.now() - this.#began) / 1000;
    const value = this.#seconds === undefined ? tally.runs : Math.round(seconds);
    this.#bar?.update(value, { done: countsOf(tally) });
  }

  end({ report, details, violations, failedRun, skipped }: Outcome): void {
    this.#bar?.stop();
    const replay = `${this.#options.replay} --seed ${report.seed} --run ${failedRun}`;
    if (this.#options.json) {
      if (skipped !== undefined) say({ skipped });
      for (const violation of violations) say({ violation });
      if (failedRun !== undefined) say({ replay });
      if (Object.keys(details).length > 0) say({ details });
      say(report);
      return;
    }
    if (skipped !== undefined) console.log(`not run: ${skipped}`);
    for (const violation of violations) console.log(`violation: ${violation}`);
    console.log(tableOf(report, (Date.now() - this.#began) / 1000));
    if (Object.keys(details).length > 0) console.log(detailsText(details));
    if (failedRun !== undefined) console.log(`replay: ${replay}`);
  }
}

function say(value: object): void {
  console.log(JSON.stringify(value));
}

function detailsText(details: Readonly<Details>): string {
  return Object.entries(details)
    .map(([what, count]) => `${count} ${what}`)
    .join(', ');
}

/** The counts that are not zero, of those that differ from mode to mode. */
function countsOf(tally: Readonly<Omit<Tally, 'runs'>>): string {
  const { images, kills, injections, placements, schedules } = tally;
  return Object.entries({ images, kills, injections, placements, schedules })
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} ${what}`)
    .join(', ');
}

function tableOf({ runs, violations, ...report }: Outcome['report'], seconds: number): string {
  const done = countsOf(report) || 'nothing';
  const table = new Table({
    head: ['runs', 'done', 'seconds', 'violations'],
    style: { head: [], border: [] },
  });
  table.push([runs, done, seconds.toFixed(1), violations]);
  return table.toString();
}
