/**
 * A subject that is a map for several threads: what the mode `concurrent` works on.
 *
 * Everything is text here; how a text becomes a key or a value is up to the subject. Keys are
 * printable ASCII, and an ordered map orders them as bytes.
 */
import type { AnySubject, Opened, Subject } from './subject.ts';

export interface ScanRange {
  /** First key; inclusive. */
  readonly from: string;
  /** Behind the last key; exclusive. */
  readonly to: string;
  readonly reverse: boolean;
  /**
   * The state of one moment within the call, not only each value one of its own. A generator
   * function has not begun when its call returns: take the snapshot before.
   */
  readonly consistent: boolean;
}

/**
 * A map as one thread has it. Every call throws if it was not done; `OP_RESTART` is tried again.
 * Changes return the seq of their commit.
 */
export interface ConcurrentMap {
  get(key: string): string | undefined;
  put(key: string, value: string): number;
  /** The seq, or undefined if there was nothing to delete. */
  delete(key: string): number | undefined;
  /**
   * Puts a value, or deletes the key with undefined, if what is there is `expected` (undefined:
   * nothing): the seq, or undefined if something else is there.
   */
  compareAndSwap?(
    key: string,
    expected: string | undefined,
    value: string | undefined,
  ): number | undefined;
  /** Puts several at once, atomically. */
  putAll?(entries: ReadonlyMap<string, string>): number;
  /**
   * Entries in the order of their keys, backwards with `reverse`: every key that was there from call
   * to end, once, and no key or value that was not there at some moment between. Read bit by bit, and
   * not always to its end.
   */
  scan?(range: ScanRange): Iterable<readonly [key: string, value: string]>;
  /** Whether `scan` knows what `consistent` is. */
  readonly hasConsistentScans?: boolean;
}

/** A subject that several threads can use as a map. */
export interface MapSubject<S extends Opened = Opened, O = unknown> extends Subject<S, O> {
  attach(handle: never): Promise<S>;
  /** The map within it. Nothing but the harness changes that, and `facts` may ignore it. */
  map(opened: S): ConcurrentMap;
}

// biome-ignore lint/suspicious/noExplicitAny: as AnySubject
export type AnyMapSubject = MapSubject<any, any>;

export function isMapSubject(subject: AnySubject): subject is AnyMapSubject {
  return subject.attach !== undefined && 'map' in subject;
}
