/**
 * Seeds of random tests: one for each process, printed once, replayed with `SEED=`.
 *
 * `runScenario` hands the seed of the test file on, so a scenario program that fails is replayed
 * with the same variable.
 */
import { randomInt } from 'node:crypto';
import { isMainThread } from 'node:worker_threads';
import { SEED_END } from '../../src/harness/random.ts';

export { Random } from '../../src/harness/random.ts';

function seedFromEnvironment(): number | undefined {
  const text = process.env['SEED'];
  if (text === undefined || text === '') return undefined;
  const seed = Number(text);
  if (!Number.isInteger(seed) || seed < 0 || seed >= SEED_END) {
    throw new RangeError(`SEED must be an integer from 0 to ${SEED_END - 1}, not ${text}`);
  }
  return seed;
}

let known: number | undefined;

/** The seed of this process; printed when it is first asked for. */
export function testSeed(): number {
  if (known !== undefined) return known;
  known = seedFromEnvironment() ?? randomInt(SEED_END);
  // Workers share the environment; only the main thread prints.
  if (isMainThread) {
    process.env['SEED'] = String(known);
    process.stderr.write(`seed ${known}, replay with SEED=${known}\n`);
  }
  return known;
}
