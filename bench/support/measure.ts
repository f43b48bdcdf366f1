/**
 * Costs in one thread, by tinybench: what is compared runs in turns, several rounds, and the
 * median of each round counts.
 *
 * One iteration of tinybench is a batch of operations, so that its own cost vanishes. Each batch
 * checks what it computed and throws if that is wrong.
 */
import { Bench } from 'tinybench';

export const ROUNDS = 7;
const WARMUP_MS = 150;
const NS_PER_MS = 1e6;

export interface Measured {
  readonly name: string;
  /** Operations of one call of `batch`. */
  readonly operations: number;
  readonly batch: () => void;
  /** Not measured: run before and after each batch. */
  readonly before?: () => void;
  readonly after?: () => void;
}

function measureOnce(measured: Measured, timeMs: number, warmupTimeMs: number): number {
  const bench = new Bench({
    time: timeMs,
    iterations: 3,
    warmupTime: warmupTimeMs,
    warmupIterations: 3,
    retainSamples: false,
    throws: true,
  });
  bench.add(measured.name, measured.batch, {
    async: false,
    ...(measured.before && { beforeEach: measured.before }),
    ...(measured.after && { afterEach: measured.after }),
  });
  const result = bench.runSync()[0]?.result;
  if (result?.state !== 'completed') throw new Error(`${measured.name} was not completed`);
  return (result.latency.p50 * NS_PER_MS) / measured.operations;
}

/** ns for each operation, one figure for each round, by the case's name. */
export function measureInTurns(
  cases: readonly Measured[],
  seconds: number,
): ReadonlyMap<string, readonly number[]> {
  const timeMs = (seconds * 1000) / ROUNDS;
  const warmupMs = Math.min(WARMUP_MS, seconds * 100);
  const figures = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
  for (const measured of cases) measureOnce(measured, warmupMs, warmupMs);
  for (let round = 0; round < ROUNDS; round++) {
    for (let turn = 0; turn < cases.length; turn++) {
      // Nobody is always first or always behind the same one.
      const measured = cases[(turn + round) % cases.length] as Measured;
      figures.get(measured.name)?.push(measureOnce(measured, timeMs, warmupMs / 10));
    }
  }
  return figures;
}
