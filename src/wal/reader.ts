/**
 * Reading the log: its records above the checkpoint seq, in order, once, and where it ends.
 *
 * Owns:        the rule for tails. Everything up to a durable seq was synced, so a hole at or below
 *              one is damage; above every one that is known, the log ends at the first hole. That
 *              something valid follows a hole proves nothing: unsynced writes reach the disk in
 *              any order. Durable seqs are known from the manifest (the checkpoint seq), from the
 *              caller, from headers of later segments, and from groups, also those behind the hole.
 * Invariants:  R1   records above the checkpoint seq, each once, in log order;
 *              a later segment names the end of the one before: what follows that end is ignored
 *              for ever, so that old tails never come back.
 * Threads:     private to the caller; nothing is written.
 */
import { type ErrorDetails, WeirpoolError } from '../errors.ts';
import { readOwn } from '../fs/files.ts';
import type { DirectoryAccess } from '../store/manifest-files.ts';
import {
  decodeGroupHeader,
  decodeRecord,
  GROUP_HEADER_BYTES,
  type GroupHeader,
  LOG_BLOCK_BYTES,
  type LogPlace,
  type LogRecord,
  type LogSums,
  paddedBytes,
  viewOf,
} from './format.ts';
import { type ChainLink, LogChain } from './segment-chain.ts';
import { segmentPath } from './segment-files.ts';
import type { FullSegment } from './trim.ts';

export interface LogSource {
  readonly access: DirectoryAccess;
  readonly sums: LogSums;
  readonly storeId: bigint;
  /** From the manifest; records up to it are skipped. */
  readonly checkpointSeq: number;
  /** Any other seq that is known to be durable, such as that of a clean close. */
  readonly durableSeq?: number;
  /** Skip what is damaged, and list it in `problems`, instead of throwing. */
  readonly salvage?: boolean;
  /** Also look at the records up to the checkpoint seq that are still there. */
  readonly checkAll?: boolean;
  /** As if segments from this number on were not there; for salvage. */
  readonly segmentsBelow?: number;
}

/** A damaged place. */
export interface LogProblem {
  readonly path: string;
  readonly offset: number;
  /** The log is whole up to here. */
  readonly seq: number;
  readonly expected: string;
}

/** Where the log ends, for those who write on. */
export interface LogEnd {
  /** The end of what counts; segment 0 if there is no segment. */
  readonly place: LogPlace;
  /** The highest seq that is known to be durable. */
  readonly durableSeq: number;
  /** Bytes of the last segment above it, which may never have reached the disk. */
  readonly unsynced: { readonly from: number; readonly to: number } | undefined;
  /** No seq at or above it was ever given to a record that may lie in a file. */
  readonly writtenBelow: number;
  readonly epoch: number;
  /** All that are there, also those that are to be dropped. */
  readonly segments: readonly FullSegment[];
}

/** What the walk knows of a segment. */
interface Walk {
  readonly link: ChainLink;
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** What the next segment says about this one's end; undefined in the last. */
  readonly limit: LogPlace | undefined;
  /** Ends of groups, for what is to be synced again. */
  readonly groups: { readonly offset: number; endSeq: number }[];
  /** Where the group or record begins that comes next. */
  offset: number;
  /** Where the last valid record ends. */
  recordsEnd: number;
}

export function walCorrupt(problem: LogProblem): WeirpoolError {
  const { path, offset, seq, expected } = problem;
  const details: ErrorDetails = { path, offset, seq, expected };
  return new WeirpoolError(
    'WAL_CORRUPT',
    `${path} is damaged at byte ${offset}, behind seq ${seq}: expected ${expected}. ` +
      'Restore the store from a backup. `verify` tells what else is damaged.',
    { details },
  );
}

const ZEROS = new Uint8Array(LOG_BLOCK_BYTES);

/** For less than a block. */
function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, ZEROS.subarray(0, bytes.length)) === 0;
}

export class LogReader {
  /** What salvage has skipped. */
  readonly problems: LogProblem[] = [];
  readonly #source: LogSource;
  readonly #headerSeed: number;
  readonly #skipTo: number;
  #durableSeq: number;
  #position = 0;
  #end: LogEnd | undefined;

  constructor(source: LogSource) {
    const { checkpointSeq, durableSeq = 0, checkAll = false } = source;
    this.#source = source;
    this.#headerSeed = source.sums.seed(source.storeId, 0);
    this.#skipTo = checkAll ? 0 : checkpointSeq;
    this.#durableSeq = Math.max(checkpointSeq, durableSeq);
  }

  /** Where the log ends; only after all records were taken. */
  get end(): LogEnd {
    if (this.#end === undefined) throw new TypeError('the records were not read to their end');
    return this.#end;
  }

  /** In salvage a problem is noted; otherwise it is thrown. */
  #report(problem: LogProblem): void {
    if (!this.#source.salvage) throw walCorrupt(problem);
    this.problems.push(problem);
  }

  /**
   * The records above the checkpoint seq.
   *
   * @throws {WeirpoolError} `WAL_CORRUPT` at the place of the damage, all records before it were
   *                         given; `FORMAT_UNSUPPORTED`; `STORE_IO`.
   */
  *records(): Generator<LogRecord, void, void> {
    const { checkpointSeq, checkAll = false, access } = this.#source;
    const chain = new LogChain(this.#source, (problem) => this.#report(problem));
    const links = chain.from(checkpointSeq, this.#durableSeq, checkAll);
    this.#durableSeq = Math.max(
      this.#durableSeq,
      ...links.map(({ header }) => header.previous.seq),
    );
    let last: Walk | undefined;
    for (const [index, link] of links.entries()) {
      const next = links[index + 1]?.header.previous;
      last = this.#begin(link, next?.segment === link.segment ? next : undefined);
      yield* this.#segment(last, index === links.length - 1);
    }
    if (last === undefined && this.#durableSeq > 0) {
      const path = segmentPath(access.directory, 1);
      const expected = 'a segment of the log, of which none is there';
      this.#report({ path, offset: 0, seq: 0, expected });
    }
    this.#end = this.#endOf(chain, last);
  }

  #begin(link: ChainLink, limit: LogPlace | undefined): Walk {
    const { access } = this.#source;
    const path = segmentPath(access.directory, link.segment);
    const bytes = readOwn(access.fs, path);
    this.#position = Math.max(this.#position, link.header.firstPosition);
    const offset = LOG_BLOCK_BYTES;
    const view = viewOf(bytes);
    return { link, path, bytes, view, limit, groups: [], offset, recordsEnd: offset };
  }

  #endOf(chain: LogChain, last: Walk | undefined): LogEnd {
    const seq = this.#position;
    const header = last?.link.header;
    const offset = last?.recordsEnd ?? 0;
    const place = { segment: header?.segment ?? 0, offset, seq };
    const doubtful = last?.groups.find(({ endSeq }) => endSeq > this.#durableSeq);
    const unsynced = doubtful === undefined ? undefined : { from: doubtful.offset, to: offset };
    const written = header === undefined ? 0 : header.firstPosition + header.segmentBytes;
    return {
      place,
      durableSeq: this.#durableSeq,
      unsynced,
      writtenBelow: Math.max(written, seq, this.#durableSeq),
      epoch: header?.epoch ?? 0,
      segments: chain.segments(place),
    };
  }

  // --- one segment -------------------------------------------------------------------------------

  *#segment(walk: Walk, isLast: boolean): Generator<LogRecord, void, void> {
    while (walk.limit === undefined || this.#position < walk.limit.seq) {
      const header = this.#groupAt(walk, walk.offset);
      const hole = header?.position === this.#position ? yield* this.#group(walk, header) : true;
      if (walk.limit !== undefined && this.#position >= walk.limit.seq) break;
      if (hole && !this.#pass(walk, isLast)) return;
    }
    if (walk.limit === undefined || this.#position === walk.limit.seq) return;
    this.#report(this.#problem(walk, `the end of a record at seq ${walk.limit.seq}`));
  }

  /** A group's header if there is one of this opening; its durable seq counts from then on. */
  #groupAt(walk: Walk, offset: number): GroupHeader | undefined {
    const { segment, header } = walk.link;
    const { sums } = this.#source;
    const group = decodeGroupHeader(sums, this.#headerSeed, walk.bytes, { segment, offset });
    if (group === undefined || group.epoch !== header.epoch) return undefined;
    this.#durableSeq = Math.max(this.#durableSeq, group.durableSeq);
    return group;
  }

  /** Gives the records of a group; true if it is not whole. */
  *#group(walk: Walk, header: GroupHeader): Generator<LogRecord, boolean, void> {
    const from = walk.offset + GROUP_HEADER_BYTES;
    const end = from + header.recordBytes;
    const entry = { offset: walk.offset, endSeq: this.#position };
    walk.groups.push(entry);
    if (header.position + header.recordBytes <= this.#skipTo && end <= walk.bytes.length) {
      this.#position += header.recordBytes;
      walk.offset = end;
    } else {
      walk.offset = from;
      yield* this.#records(walk, Math.min(end, walk.bytes.length));
    }
    entry.endSeq = this.#position;
    walk.recordsEnd = walk.offset;
    if (walk.limit?.seq === this.#position) return false;
    const padded = paddedBytes(end);
    if (walk.offset < end || padded > walk.bytes.length) return true;
    if (!isZero(walk.bytes.subarray(end, padded))) return true;
    walk.offset = padded;
    return false;
  }

  /** Gives records up to the first that is not valid, or to where the segment ends. */
  *#records(walk: Walk, end: number): Generator<LogRecord, void, void> {
    const { sums, storeId, checkpointSeq } = this.#source;
    const seed = sums.seed(storeId, walk.link.header.epoch);
    while (walk.offset < end && walk.limit?.seq !== this.#position) {
      const place = { at: walk.offset, end, position: this.#position };
      const record = decodeRecord(sums, seed, walk.bytes, walk.view, place);
      if (record === undefined) return;
      if (record.position < checkpointSeq && record.seq > checkpointSeq) {
        this.#report(
          this.#problem(walk, `a record that ends at the checkpoint's ${checkpointSeq}`),
        );
      }
      walk.offset += record.seq - record.position;
      this.#position = record.seq;
      if (record.seq > checkpointSeq) yield record;
    }
  }

  /**
   * Decides about a hole at the walk's offset: false if the log (or in salvage the segment) ends
   * here; true if salvage has found a group to go on with.
   */
  #pass(walk: Walk, isLast: boolean): boolean {
    const following = this.#following(walk);
    const synced = !isLast || this.#durableSeq > this.#position;
    if (!synced) return false;
    this.#report(this.#problem(walk, 'a valid group of records, as it was synced'));
    if (following === undefined) return false;
    this.#position = following.position;
    walk.offset = following.offset;
    return true;
  }

  /** The first group behind the hole that goes on with the log; all are asked for durable seqs. */
  #following(walk: Walk): GroupHeader | undefined {
    let first: GroupHeader | undefined;
    const from = paddedBytes(walk.offset + 1);
    for (let offset = from; offset < walk.bytes.length; offset += LOG_BLOCK_BYTES) {
      const group = this.#groupAt(walk, offset);
      if (group !== undefined && group.position >= this.#position) first ??= group;
    }
    return first;
  }

  #problem({ path, offset }: Walk, expected: string): LogProblem {
    return { path, offset, seq: this.#position, expected };
  }
}
