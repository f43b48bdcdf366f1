/** The cases of the tree benchmark, in the order in which they are printed. */

export interface Case {
  readonly name: string;
  readonly job: string;
  readonly threads: number;
  /** What is compared, and in which unit: operations per second unless it is a figure. */
  readonly what: string;
  /** Least ratio to the best peer. */
  readonly atLeast?: number;
  /** Samples of a case of a given number of operations; the others run ROUNDS times. */
  readonly rounds?: number;
  /** The harness's own cost: run by weirpool's process alone. */
  readonly isHarness?: boolean;
}

const FILL_ROUNDS = 5;

export const CASES: readonly Case[] = [
  { name: 'empty-loop', job: 'empty-loop', threads: 1, what: 'loop alone', isHarness: true },
  { name: 'get-1', job: 'get-1', threads: 1, what: 'get, a copy', atLeast: 2.5 },
  { name: 'read-1', job: 'read-1', threads: 1, what: 'read without a copy', atLeast: 4 },
  {
    name: 'put-single',
    job: 'put-single',
    threads: 1,
    what: 'put, one by one, no sync',
    atLeast: 3,
    rounds: FILL_ROUNDS,
  },
  {
    name: 'put-batch',
    job: 'put-batch',
    threads: 1,
    what: 'put in batches of 1,000, no sync',
    atLeast: 1.5,
    rounds: FILL_ROUNDS,
  },
  { name: 'scan', job: 'scan', threads: 1, what: 'entries scanned', atLeast: 3 },
];
