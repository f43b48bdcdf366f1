/**
 * Collecting garbage: every memory of a pool reserves gigabytes of address space, and the collector
 * does not know that. Thousands of pools in one process exhaust it before their heap looks large.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const POOLS_BETWEEN = 100;

setFlagsFromString('--expose-gc');
/** A full collection, now. */
export const collectGarbage = runInNewContext('gc') as () => void;

let pools = 0;

/** One more pool: now and then those that are not needed any more go. */
export async function countPool(): Promise<void> {
  if (++pools % POOLS_BETWEEN !== 0) return;
  // A wait on shared memory that has ended is settled, and lets go, when the event loop turns.
  await new Promise(setImmediate);
  collectGarbage();
}
