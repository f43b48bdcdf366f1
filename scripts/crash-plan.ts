/**
 * `npm run crash:normal`, `npm run crash:long`: every mode of the harness until it has done what
 * docs/testing.md promises, then every broken build.
 *
 * Two modes run at a time. What a mode has done is counted over as many processes as it takes, each
 * with a seed of its own (the same ones with SEED=n); the first violation ends the plan, and its replay line is printed.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import Table from 'cli-table3';
import { addDetails } from '../src/harness/mode.ts';
import { catchBroken } from '../test/crash/broken/catching.ts';
import { BROKEN } from '../test/crash/broken/index.ts';
import { bundleProgram } from '../test/support/scenario.ts';
import { type Entry, PLANS, type Plan } from './crash-plans.ts';

const LANES = 2;
const SEED_END = 2 ** 32;
/** Processes of one entry; a mode that counts nothing would go on for ever. */
const PROCESSES_MAX = 2000;
const COUNTS = ['images', 'kills', 'injections', 'placements', 'schedules'] as const;

type Count = (typeof COUNTS)[number];
type Counts = Record<Count | 'runs' | 'violations', number> & { lost: number };

interface Row {
  readonly entry: Entry;
  readonly counts: Counts;
  readonly details: Readonly<Record<string, number>>;
  readonly seconds: number;
  /** Why it could not be run, or what it has found. */
  readonly said: string;
}

/** One line of what a process says. */
interface Said {
  readonly skipped?: string;
  readonly details?: Readonly<Record<string, number>>;
}

interface Ended {
  readonly report: Counts;
  /** What it says beyond the report. */
  readonly details: Readonly<Record<string, number>>;
  readonly skipped: string | undefined;
  readonly lines: readonly string[];
}

/** A random seed, or with SEED=n the same one for the same process of the same entry. */
function seedOf(entry: number, process_: number): number {
  const base = process.env['SEED'];
  if (base === undefined || base === '') return randomInt(SEED_END);
  return (Number(base) + entry * PROCESSES_MAX + process_) % SEED_END;
}

function runOnce(program: string, entry: Entry, seedNumber: number): Promise<Ended> {
  const { mode, args, runs } = entry;
  const limit = runs === undefined ? [] : ['--runs', String(runs)];
  const seed = ['--seed', String(seedNumber)];
  const argv = ['--enable-source-maps', program, mode, ...args, ...limit, ...seed, '--json'];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    child.once('error', reject);
    child.once('close', (code) => {
      const lines = text.trim().split('\n');
      try {
        const said = lines.map((line) => JSON.parse(line) as Said);
        const { details = {} } = said.find((line) => line.details !== undefined) ?? {};
        const report = { ...(said.at(-1) as unknown as Counts), lost: details['lost'] ?? 0 };
        resolve({ report, details, skipped: said[0]?.skipped, lines: lines.slice(0, -1) });
      } catch {
        reject(new Error(`${mode} ended with ${code} and no report: ${text.slice(-2000)}`));
      }
    });
  });
}

function isReached({ least }: Entry, counts: Counts): boolean {
  return Object.entries(least).every(([what, count]) => counts[what as Count | 'lost'] >= count);
}

/** As many processes as it takes. */
async function runEntry(program: string, entry: Entry, at: number): Promise<Row> {
  const began = Date.now();
  const counts: Counts = {
    runs: 0,
    images: 0,
    kills: 0,
    injections: 0,
    placements: 0,
    schedules: 0,
    violations: 0,
    lost: 0,
  };
  const details: Record<string, number> = {};
  let said = '';
  for (let processes = 0; processes < PROCESSES_MAX; processes++) {
    const {
      report,
      skipped,
      lines,
      details: more,
    } = await runOnce(program, entry, seedOf(at, processes));
    for (const what of Object.keys(counts) as (keyof Counts)[]) counts[what] += report[what];
    addDetails(details, more);
    if (skipped !== undefined) said = `not run: ${skipped}`;
    if (counts.violations > 0) said = lines.join('\n');
    if (said !== '' || isReached(entry, counts)) break;
    // What has done nothing once will do nothing for ever.
    if (!COUNTS.some((what) => report[what] > 0)) break;
  }
  const seconds = (Date.now() - began) / 1000;
  process.stderr.write(`${entry.mode}: ${seconds.toFixed(0)} s ${said}\n`);
  return { entry, counts, details, seconds, said };
}

/** Entries in order, as lanes get free; none is begun after a violation. */
async function runPlan(program: string, { entries }: Plan): Promise<Row[]> {
  const rows: Row[] = [];
  const left = [...entries];
  const lane = async (): Promise<void> => {
    for (let entry = left.shift(); entry !== undefined; entry = left.shift()) {
      if (rows.some(({ counts }) => counts.violations > 0)) return;
      rows.push(await runEntry(program, entry, entries.indexOf(entry)));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return rows;
}

/** Whether it has done what it must without a violation; only where nobody looks may it be skipped. */
function isGood({ entry, counts, said }: Row): boolean {
  const isSkipped = said.startsWith('not run') && process.env['CI'] !== 'true';
  return counts.violations === 0 && (isSkipped || isReached(entry, counts));
}

function plain(head: readonly string[]): Table.Table {
  return new Table({ head: [...head], style: { head: [], border: [] } });
}

function show(rows: readonly Row[]): void {
  const table = plain(['mode', 'runs', ...COUNTS, 'seconds', 'violations']);
  for (const { entry, counts, seconds } of rows) {
    const cells = COUNTS.map((what) => counts[what] || '');
    table.push([entry.mode, counts.runs, ...cells, seconds.toFixed(0), counts.violations]);
  }
  console.log(table.toString());
  for (const { entry, details } of rows) {
    const texts = Object.entries(details).map(([what, count]) => `${count} ${what}`);
    if (texts.length > 0) console.log(`${entry.mode}: ${texts.join(', ')}`);
  }
}

/** Whether every broken build is caught. */
async function catchAll(): Promise<boolean> {
  const table = plain(['broken build', 'mode', 'caught in run', 'seconds']);
  const left = [...BROKEN];
  let all = true;
  const lane = async (): Promise<void> => {
    for (let broken = left.shift(); broken !== undefined; broken = left.shift()) {
      const { caught, report, seconds } = await catchBroken(broken, randomInt(SEED_END));
      all &&= caught;
      const run = caught ? (report['runs'] as number) : 'NOT CAUGHT';
      table.push([broken.title, broken.mode, run, seconds.toFixed(1)]);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  console.log(table.toString());
  return all;
}

const [name = ''] = process.argv.slice(2);
const plan = PLANS.get(name);
if (plan === undefined) {
  console.error(`usage: crash-plan ${[...PLANS.keys()].join('|')}`);
  process.exitCode = 2;
} else {
  const program = await bundleProgram('test/crash/main.ts');
  const rows = await runPlan(program, plan);
  show(rows);
  for (const { said } of rows) if (said !== '') console.log(said);
  const isWell = rows.length === plan.entries.length && rows.every(isGood);
  const caught = isWell && plan.broken ? await catchAll() : true;
  if (!isWell || !caught) process.exitCode = 1;
}
