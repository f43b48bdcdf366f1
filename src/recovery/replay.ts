/**
 * Recovery: the records above the committed cut are done again, in order and once.
 *
 * Owns:        the log from reading to the first append of this opening.
 * Invariants:  R1   the cut at S plus every valid record after S;
 *              W2D  before a round runs in the middle of a replay, everything that was read is
 *                   durable: the log is read to its end and opened for writing first;
 *              a crash during replay changes nothing: rounds only move the cut forward.
 * Threads:     the opener, before any other thread is there.
 */
import { WeirpoolError } from '../errors.ts';
import {
  H_CHECKPOINT_SEQ,
  H_LOG_BASE,
  H_LOG_CONSUMED,
  H_LOG_DURABLE,
  H_LOG_TAIL,
  H_LOG_TAKEN,
  H_LOG_WRITTEN,
  H_NEXT_ID,
} from '../generated/layout.ts';
import type { PoolThread } from '../memory/thread.ts';
import type { BlobId } from '../store/contract.ts';
import type { Op } from '../txn/op.ts';
import type { Transactions } from '../txn/transactions.ts';
import type { LogRecord } from '../wal/format.ts';
import { LogReader, type LogSource } from '../wal/reader.ts';
import { type LogParts, LogWriter } from '../wal/segment-writer.ts';

/** An index whose records are in the log. */
export interface Owner {
  /**
   * Does the change of a record again. The blobs are as they were when it was made, so it may be
   * logical. `op.create()` gives the ids that the record names; the commit appends nothing, and
   * happens by itself if it is left out. It may run again from its beginning after an OP_RESTART.
   */
  replay(record: LogRecord, op: Op): void;
}

/** By owner number. */
export type Owners = Readonly<Record<number, Owner>>;

export interface RecoveryParts {
  readonly thread: PoolThread;
  readonly source: LogSource;
  readonly writerParts: LogParts;
  readonly owners: Owners;
}

export class Recovery {
  readonly #thread: PoolThread;
  readonly #owners: Owners;
  readonly #reader: LogReader;
  readonly #parts: RecoveryParts;
  readonly #records: Iterator<LogRecord>;
  /** Read ahead, because a round needed the log's end. */
  readonly #ahead: LogRecord[] = [];
  /** How many of these were taken. */
  #aheadTaken = 0;
  #writer: LogWriter | undefined;
  /** Records that were done again. */
  replayed = 0;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
    this.#thread = parts.thread;
    this.#owners = parts.owners;
    this.#reader = new LogReader(parts.source);
    this.#records = this.#reader.records();
  }

  /** Does everything again. Errors: `REPLAY_FAILED`, `MANIFEST_CORRUPT`, `WAL_CORRUPT`, `STORE_IO`. */
  replayAll(transactions: Transactions): void {
    this.#assertRecords();
    // Where the cut is: a round before the first record must not move it back.
    this.#thread.memory.storeU64(H_LOG_TAIL, this.#parts.source.checkpointSeq);
    for (let record = this.#take(); record !== undefined; record = this.#take()) {
      this.#replay(record, transactions);
    }
  }

  /** Reads the whole log once before anything is done again. */
  #assertRecords(): void {
    const nextId = this.#thread.memory.loadU64(H_NEXT_ID);
    for (const record of new LogReader(this.#parts.source).records()) {
      this.#ownerOf(record);
      const id = record.created.find((one) => one >= nextId);
      if (id !== undefined) throw this.#manifestBehind(record, id, nextId);
    }
  }

  /**
   * An id is covered by a lease in the manifest, synced, before any record names it. Where it is not,
   * the last record of the manifest was lost, and looks like one that never reached the disk: ids of
   * living blobs would be handed out again.
   */
  #manifestBehind({ seq }: LogRecord, id: BlobId, nextId: BlobId): WeirpoolError {
    const { directory } = this.#parts.source.access;
    return new WeirpoolError(
      'MANIFEST_CORRUPT',
      `The log in ${directory} creates blob ${id} (seq ${seq}), but the manifest has only leased ids ` +
        `below ${nextId}: its last records are missing. Restore the store from a backup.`,
      { details: { path: directory, seq, id, nextBlobId: nextId } },
    );
  }

  /** The next record: those that were read ahead come before what is still to be read. */
  #take(): LogRecord | undefined {
    if (this.#aheadTaken < this.#ahead.length) return this.#ahead[this.#aheadTaken++];
    return this.#next();
  }

  #next(): LogRecord | undefined {
    if (this.#writer !== undefined) return undefined;
    const result = this.#records.next();
    return result.done === true ? undefined : result.value;
  }

  #replay(record: LogRecord, transactions: Transactions): void {
    const owner = this.#ownerOf(record);
    try {
      transactions.replay(record, (op) => owner.replay(record, op));
    } catch (cause) {
      const known = cause instanceof WeirpoolError && cause.code !== 'OP_RESTART';
      if (known) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new WeirpoolError(
        'REPLAY_FAILED',
        `The record of seq ${record.seq} of owner ${record.owner} could not be done again: ${why}`,
        { cause, details: { seq: record.seq, owner: record.owner } },
      );
    }
    this.replayed++;
    this.#thread.memory.storeU64(H_LOG_TAIL, record.seq);
  }

  #ownerOf({ owner, seq }: LogRecord): Owner {
    const known = this.#owners[owner];
    if (known !== undefined) return known;
    throw new WeirpoolError(
      'REPLAY_FAILED',
      `The log has a record of owner ${owner} (seq ${seq}), which was not given in \`owners\`. ` +
        'Open the store with every owner that has written to it.',
      { details: { seq, owner } },
    );
  }

  /** The log, open for writing; what is left to replay is read first. */
  writer(): LogWriter {
    if (this.#writer !== undefined) return this.#writer;
    for (let record = this.#next(); record !== undefined; record = this.#next()) {
      this.#ahead.push(record);
    }
    const { checkpointSeq } = this.#parts.source;
    this.#writer = LogWriter.open(this.#parts.writerParts, this.#reader.end, checkpointSeq);
    // Everything that may be replayed is durable now.
    this.#thread.memory.storeU64(H_LOG_DURABLE, this.#writer.durableSeq);
    return this.#writer;
  }

  /** Closes the log if a round has opened it: the opening has failed. */
  abandon(): void {
    this.#writer?.abandon();
  }

  /** Positions the ring where the new segment begins: from here on records may be made. */
  finish(): LogWriter {
    const writer = this.writer();
    const { memory } = this.#thread;
    const start = writer.writtenSeq;
    // Rounds in the middle of the replay have moved the cut.
    const backlog = writer.recordBytesAbove(memory.loadU64(H_CHECKPOINT_SEQ));
    for (const word of [H_LOG_TAIL, H_LOG_TAKEN, H_LOG_CONSUMED, H_LOG_WRITTEN, H_LOG_DURABLE]) {
      memory.storeU64(word, start);
    }
    memory.storeU64(H_LOG_BASE, start - backlog);
    return writer;
  }
}
