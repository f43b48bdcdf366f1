/**
 * Where a record came from, and what a flush hands on.
 *
 * Owns:        nothing.
 * Threads:     any.
 */

/** Where the record came from that an entry is the result of. */
export interface RecordContext {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** Milliseconds; -1: unknown. */
  readonly timestamp: number;
}

/** Of entries that were put without one. */
export const NO_CONTEXT: RecordContext = Object.freeze({
  topic: '',
  partition: -1,
  offset: -1,
  timestamp: -1,
});

/** An entry that was written through; without a value the key was deleted. */
export interface FlushedEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly context: RecordContext;
  /** What the inner store had before, if it was asked for; undefined: nothing. */
  readonly oldValue?: Uint8Array | undefined;
}

/** The same with what the inner store had before; undefined: nothing. */
export interface FlushedEntryWithOld extends FlushedEntry {
  readonly oldValue: Uint8Array | undefined;
}
