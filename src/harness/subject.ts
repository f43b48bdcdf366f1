/**
 * What the harness crashes: an index on a pool, or a store below one, described by its author.
 *
 * A subject says how it is opened, what can be done to it, what that ought to change, and what it
 * holds. What it holds are its facts: names and values as short texts, of which the harness keeps a
 * copy for every commit. It never looks into the subject's blobs.
 */

import type { FileSystem } from '../fs/file-system.ts';
import type { PoolOptions } from '../pool/options.ts';
import type { BufferPool } from '../pool/pool.ts';
import type { DurabilityLevel } from '../wal/durability.ts';
import type { Random } from './random.ts';

/** Everything that an index holds, as texts; long values as a sum of theirs. */
export type Facts = ReadonlyMap<string, string>;

/** What an operation changes: facts by name, undefined for those that go. */
export type Changes = ReadonlyMap<string, string | undefined>;

/** Options that the harness decides about; a subject spreads them over its own. */
export type HarnessOptions = Pick<PoolOptions, 'threads' | 'fileSystem' | 'readOnly'>;

/** Whose facts an operation may change: those of one of several threads, which nobody else does. */
export interface Part {
  /** From 0 on. */
  readonly thread: number;
  /** Threads that work at once; with one, everything is its own. */
  readonly threads: number;
}

/** A subject that is open. A `BufferPool` or a `Weirpool` alone has all of it but `pool`. */
export interface Opened {
  readonly pool: BufferPool;
  /** For `attach` in other threads; cloneable. */
  readonly handle: unknown;
  close(): Promise<void>;
}

/**
 * @typeParam S  The subject when it is open.
 * @typeParam O  What can be done to it; plain data, as it is sent through pipes as JSON.
 */
export interface Subject<S extends Opened = Opened, O = unknown> {
  /** For reports and `--subject`. */
  readonly name: string;
  /**
   * Its operations change facts of other threads' parts as well. What they change is then asked in
   * the order of the log (`expect`); what they are still depends on what the thread can know: the
   * facts when it began, and its own changes. Default false.
   */
  readonly shared?: boolean;
  /** Opens what is in the directory, or makes it; small limits find more, and sooner. */
  open(directory: string, options: HarnessOptions): Promise<S>;
  /** Joins what another thread has opened. Without it, processes under test have one thread. */
  attach?(handle: never): Promise<S>;
  /**
   * Something to do next; undefined if there is nothing to do. It may depend on the given numbers
   * and facts alone, and change facts of the thread's part alone. Blobs may be shared by all parts,
   * and ought to be.
   */
  draw(random: Random, facts: Facts, part: Part): O | undefined;
  /** What the operation ought to change; may be nothing. */
  expect(facts: Facts, operation: O): Changes;
  /**
   * Does it, as one mini-transaction: its seq, or undefined if nothing was to change. It does not
   * wait for durability: the harness does.
   *
   * @throws if it was not done.
   */
  apply(opened: S, operation: O): number | undefined;
  /** What it holds, read anew. Called when nothing else is under way. */
  facts(opened: S): Facts;
  /**
   * What is wrong from the files alone, when nobody has it open; for stores whose files are not
   * weirpool's. A file system that is given is a copy: the store may be opened there, which is all
   * that stores of one's own have. Without one it is the real one. Default: what `verify` finds.
   */
  verify?(directory: string, fileSystem?: FileSystem): Promise<readonly string[]>;
  /** What is wrong with it beyond its facts. */
  check?(opened: S): readonly string[];
  /**
   * Uses what changes no facts, such as snapshots and scans, now and then: what was wrong. Called
   * on simulated disks, when nothing else is under way.
   */
  exercise?(opened: S, random: Random, facts: Facts): readonly string[];
}

/** A subject of any kind: only its own functions look into what they have opened and drawn. */
// biome-ignore lint/suspicious/noExplicitAny: each subject is consistent in itself
export type AnySubject = Subject<any, any>;

/** Levels that an acknowledgement can have. */
export type Acknowledged = Exclude<DurabilityLevel, 'none'>;
