/**
 * How far the workers of an index are, for the progress bar.
 *
 * Owns:        three numbers for each worker in shared memory, which it alone writes.
 * Threads:     workers write, the main thread adds up.
 */
import type { Tally } from './directory.ts';

const DIRECTORIES = 0;
const ENTRIES = 1;
const HASHED = 2;
const FIELDS = 3;

export interface Counters {
  set(tally: Tally, hashedBytes: number): void;
}

export interface CounterSums {
  readonly directories: number;
  readonly entries: number;
  readonly hashedBytes: number;
}

export function makeCounters(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer(workers * FIELDS * BigInt64Array.BYTES_PER_ELEMENT);
}

/** @param place  Number of the worker. */
export function countersOf(memory: SharedArrayBuffer, place: number): Counters {
  const numbers = new BigInt64Array(
    memory,
    place * FIELDS * BigInt64Array.BYTES_PER_ELEMENT,
    FIELDS,
  );
  return {
    set({ directories, added, changed, unchanged }, hashedBytes) {
      Atomics.store(numbers, DIRECTORIES, BigInt(directories));
      Atomics.store(numbers, ENTRIES, BigInt(added + changed + unchanged));
      Atomics.store(numbers, HASHED, BigInt(hashedBytes));
    },
  };
}

export function sumCounters(memory: SharedArrayBuffer): CounterSums {
  const numbers = new BigInt64Array(memory);
  const sums = [0, 0, 0];
  for (let at = 0; at < numbers.length; at++) {
    const field = at % FIELDS;
    sums[field] = (sums[field] as number) + Number(Atomics.load(numbers, at));
  }
  const [directories = 0, entries = 0, hashedBytes = 0] = sums;
  return { directories, entries, hashedBytes };
}
