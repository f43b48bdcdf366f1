/**
 * Fuzzes one family of decoders in a process of its own, so that an endless loop and an endless heap
 * end a process and not the test run.
 *
 * Arguments: family, cases, number of the part (another part, other cases); `--quick` stops at the
 * first failure without making it smaller; `--case N` runs the N-th case alone.
 *
 * A case that does not end is told by the time that the process has computed meanwhile, not by a
 * clock: a busy machine makes nothing slow that way. What waits instead of computing is stopped by
 * the watchdog of the whole program.
 */
import { writeSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import fc from 'fast-check';
import { handlesOf, serveHandles } from '../fuzz/families/handles.ts';
import { FAMILIES } from '../fuzz/families/index.ts';
import { type Budget, installBudget } from '../fuzz/support/budget.ts';
import { Context, type Family } from '../fuzz/support/family.ts';
import { violation } from '../support/checks.ts';
import { VIOLATION } from '../support/protocol.ts';
import { testSeed } from '../support/seed.ts';

const LOOK_MS = 100;
/** No case comes near to it; those that loop have it soon. */
const COMPUTED_MS_MAX = Number(process.env['FUZZ_CASE_MS'] ?? 20_000);

/** Counts the cases that were begun. */
const begun = new Int32Array(
  isMainThread ? new SharedArrayBuffer(4) : (workerData.begun ?? new SharedArrayBuffer(4)),
);

function watch(family: string): void {
  let last = -1;
  let since = 0;
  setInterval(() => {
    const now = Atomics.load(begun, 0);
    const { user, system } = process.cpuUsage();
    const computedMs = (user + system) / 1000;
    if (now !== last) {
      last = now;
      since = computedMs;
    } else if (now > 0 && computedMs - since > COMPUTED_MS_MAX) {
      const told = `case ${now} of ${family} does not end, seed ${process.env['SEED']}`;
      writeSync(2, `${VIOLATION}${told}\n`);
      process.kill(process.pid, 'SIGKILL');
    }
  }, LOOK_MS);
}

interface Wanted {
  readonly runs: number;
  readonly part: number;
  readonly quick: boolean;
  readonly only: number | undefined;
}

/** A seed of its own for each family and part. */
function seedOf(name: string, part: number): number {
  let mixed = testSeed() ^ Math.imul(part + 1, 0x9e37_79b9);
  for (const character of name) mixed = Math.imul(mixed ^ character.charCodeAt(0), 0x0100_0193);
  return mixed | 0;
}

async function fuzz<T>(family: Family<T>, budget: Budget, wanted: Wanted): Promise<void> {
  const { runs, part, quick, only } = wanted;
  const context = new Context(budget);
  const { cases, check, wanted: outcomes, end } = await family.prepare(context);
  let count = 0;
  const property = fc.asyncProperty(cases, async (given) => {
    count++;
    Atomics.add(begun, 0, 1);
    if (only === undefined || only === count) await check(given);
  });
  const seed = seedOf(family.name, part);
  const result = await fc.check(property, { seed, numRuns: runs, endOnFailure: quick });
  await end?.();
  if (result.failed) {
    const { errorInstance, counterexample, numRuns } = result;
    const error = errorInstance as Error | null;
    const shown = fc.stringify(counterexample);
    const { message = 'no error' } = error ?? {};
    violation(`${family.name}, case ${numRuns} of part ${part}: ${message}\n${shown}`);
  }
  const missing = runs < 1000 ? [] : outcomes.filter((name) => !(name in context.outcomes));
  if (missing.length > 0) violation(`${family.name} never had: ${missing.join(', ')}`);
  const peaks = Object.fromEntries(
    Object.entries(context.peaks).map(([what, share]) => [what, Math.round(share * 100) / 100]),
  );
  process.stdout.write(
    `${JSON.stringify({ family: family.name, runs: count, peaks, outcomes: context.outcomes })}\n`,
  );
}

async function main(): Promise<void> {
  const [name = '', runs = '0', part = '0', ...flags] = process.argv.slice(2);
  const families = [...FAMILIES, handlesOf(import.meta.url)];
  const family = families.find((one) => one.name === name);
  if (family === undefined) throw new RangeError(`there is no family ${name}`);
  const watcher = new Worker(new URL(import.meta.url), {
    workerData: { begun: begun.buffer, watch: name },
  });
  watcher.unref();
  const only = flags.includes('--case') ? Number(flags[flags.indexOf('--case') + 1]) : undefined;
  const wanted = { runs: Number(runs), part: Number(part), quick: flags.includes('--quick'), only };
  await fuzz(family, installBudget(), wanted);
}

if (isMainThread) await main();
else if (workerData?.attach === true && parentPort !== null) serveHandles(parentPort);
else if (typeof workerData?.watch === 'string') watch(workerData.watch);
