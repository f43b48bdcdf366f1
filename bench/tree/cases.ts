/** The cases of the tree benchmark, in the order in which they are measured and printed. */
import { ROUNDS } from '../support/measure.ts';

interface CaseBase {
  readonly name: string;
  readonly job: string;
  readonly threads: number;
  readonly what: string;
  /** Samples that count; of a case that is done for a given time there are ROUNDS. */
  readonly rounds: number;
}

/** What is better the larger it is: operations a second. */
export interface RateCase extends CaseBase {
  readonly unit: undefined;
  /** Least ratio to the best peer, or to `against`. */
  readonly atLeast?: number;
  /** Run by weirpool alone: the harness's own cost, or compared with another job of its own. */
  readonly isOwn?: boolean;
  /** The job that weirpool's is compared with, and what to call it. */
  readonly against?: { readonly job: string; readonly name: string };
}

/** What is better the smaller it is. */
export interface FigureCase extends CaseBase {
  readonly unit: 'MiB';
  /** Largest ratio to the best peer. */
  readonly atMost?: number;
  /** In a process that does nothing else; the figure of one without a store is taken off. */
  readonly isAlone?: boolean;
}

export type Case = RateCase | FigureCase;

const FILL_ROUNDS = 5;
const RSS_ROUNDS = 3;

function rate(
  name: string,
  what: string,
  more: Partial<Omit<RateCase, 'name' | 'what' | 'unit'>> = {},
): RateCase {
  return { name, what, job: name, threads: 1, rounds: ROUNDS, unit: undefined, ...more };
}

function mib(
  name: string,
  what: string,
  more: Partial<Omit<FigureCase, 'name' | 'what' | 'unit'>> = {},
): FigureCase {
  return { name, what, job: name, threads: 1, rounds: 1, unit: 'MiB', ...more };
}

export const CASES: readonly Case[] = [
  rate('empty-loop', 'the loop alone', { isOwn: true }),
  rate('get-1', 'get, a copy', { atLeast: 2.5 }),
  rate('read-1', 'read without a copy', { atLeast: 4 }),
  rate('scan', 'entries of a full scan, keys and values', { atLeast: 3 }),
  rate('rollup', 'lists of 20 common prefixes; peers read all keys', { atLeast: 50 }),
  rate('rollup-seek', 'the same; peers seek behind each prefix'),
  rate('get-2', 'get, two workers', { threads: 2, atLeast: 3 }),
  rate('mixed-2', '90 % get, 10 % put, two workers', { threads: 2, atLeast: 5 }),
  rate('put-2-hot', 'put, 1,000 keys for both workers', {
    threads: 2,
    isOwn: true,
    against: { job: 'put-1-hot', name: 'one worker' },
  }),
  rate('put-2', 'put, disjoint ranges, two workers', {
    threads: 2,
    rounds: FILL_ROUNDS,
    atLeast: 1.6,
    isOwn: true,
    against: { job: 'put-1-half', name: 'one worker' },
  }),
  rate('put-single', 'put, one by one, no sync', { rounds: FILL_ROUNDS, atLeast: 3 }),
  rate('put-batch', 'put in batches of 1,000, no sync', { rounds: FILL_ROUNDS, atLeast: 1.5 }),
  rate('put-synced-32', 'put, each synced, two workers with 16 under way', {
    threads: 2,
    atLeast: 2,
  }),
  mib('size', 'data on the disk after loading', { atMost: 1.5 }),
  mib('size-after-delete', 'after deleting every second key'),
  mib('size-refilled', 'after putting these again'),
  mib('rss-2', 'memory beside that of the program, two workers', {
    job: 'rss',
    threads: 2,
    rounds: RSS_ROUNDS,
    atMost: 1,
    isAlone: true,
  }),
  rate('cold-uniform', 'get, store 4 times the pool, any key'),
  rate('cold-zipf', 'the same, Zipf 0.99, popular keys are neighbours', { atLeast: 0.5 }),
  rate('cold-zipf-scattered', 'the same, popular keys lie anywhere'),
  rate('cold-uniform-64k', 'cold-uniform with blobs of 64 KiB'),
  rate('cold-zipf-64k', 'cold-zipf with blobs of 64 KiB', { atLeast: 0.5 }),
];
