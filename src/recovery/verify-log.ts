/**
 * Checking the log: that it can be read, and that its records fit each other and the manifest.
 *
 * Owns:        which damages are told apart, and the rules for ids in the log.
 * Invariants:  R1   the records above the checkpoint seq are those that an opening would replay;
 *              nothing is written.
 * Threads:     private to the caller.
 *
 * What holds for the records above the checkpoint seq S of a whole log, and is checked:
 *
 *   - each begins at or behind the end of the one before, so seqs strictly increase;
 *   - no two create the same id: ids are handed out once, and one that lies in a tail which was
 *     given up is not in the log any more;
 *   - none creates an id that the manifest maps: the manifest is the state at S, and the record
 *     comes later. Blobs of a bulk load that nothing has adopted yet are mapped without a record,
 *     and the record that adopts them is above S: their ranges are left out;
 *   - none creates an id that the manifest has not leased: leases are synced before ids are used;
 *   - no segment has a later epoch than the manifest: an opening begins its manifest first.
 *
 * What does not hold, and is not checked: created ids do not grow with seqs, as threads draw ids
 * before they reserve their place in the log; deleted ids need not be mapped.
 *
 * Records at or below S are read as well, as far as their segments are still there. Damage there
 * harms no opening, and tells of a medium that loses bytes.
 */

import { readOwn } from '../fs/files.ts';
import type { BlobId } from '../store/contract.ts';
import type { DirectoryAccess } from '../store/manifest-files.ts';
import {
  decodeSegmentHeader,
  LOG_BLOCK_BYTES,
  type LogRecord,
  type LogSums,
  type SegmentHeader,
} from '../wal/format.ts';
import { type LogEnd, type LogProblem, LogReader, walCorrupt } from '../wal/reader.ts';
import { listLogFiles, segmentPath } from '../wal/segment-files.ts';
import { findingOf, type VerifyFinding } from './finding.ts';

/** What the manifest says that the log has to fit. */
export interface LogExpectation {
  readonly checkpointSeq: number;
  readonly epoch: number;
  readonly nextBlobId: BlobId;
  isMapped(id: BlobId): boolean;
  /** Whether the blob is one of a bulk load that nothing has adopted. */
  isReserved(id: BlobId): boolean;
}

export interface LogCheckSource {
  readonly access: DirectoryAccess;
  readonly sums: LogSums;
  /** Undefined: what the segments say. */
  readonly storeId: bigint | undefined;
  /** Undefined if there is no manifest that could be read. */
  readonly expectation: LogExpectation | undefined;
}

export interface LogCheck {
  readonly findings: readonly VerifyFinding[];
  /** Records above the checkpoint seq that could be read. */
  readonly records: number;
}

/** A problem of a segment as a whole: its header, or that it is missing. */
function isOfSegment({ offset }: LogProblem): boolean {
  return offset === 0;
}

/** The header of a segment, or undefined if it cannot be read; the reader says why. */
function headerOf(source: LogCheckSource, segment: number): SegmentHeader | undefined {
  const { access, sums } = source;
  try {
    const path = segmentPath(access.directory, segment);
    return decodeSegmentHeader(sums, readOwn(access.fs, path, LOG_BLOCK_BYTES));
  } catch {
    return undefined;
  }
}

/**
 * Store and checkpoint seq: from the manifest, or as the segments tell them. What lies below the
 * last gap in their numbers may have been trimmed, so the log is then taken to begin above it.
 */
function basisOf(source: LogCheckSource, numbers: readonly number[]) {
  let { storeId } = source;
  const { expectation } = source;
  if (storeId !== undefined && expectation !== undefined) return { storeId, ...expectation };
  let checkpointSeq = 0;
  for (let segment = numbers.at(-1) ?? 0; numbers.includes(segment); segment--) {
    const header = headerOf(source, segment);
    if (header === undefined) continue;
    storeId ??= header.storeId;
    checkpointSeq = header.previous.seq;
  }
  return { storeId: storeId ?? 0n, checkpointSeq };
}

/**
 * The problems without those that follow from others: a segment that cannot be used is reported
 * once, and as it would have told where the one before it ends, the reader meets a hole there.
 */
function independent(
  problems: readonly LogProblem[],
  directory: string,
  numbers: readonly number[],
  end: LogEnd,
): LogProblem[] {
  const paths = numbers.map((segment) => segmentPath(directory, segment));
  const finals = new Map(problems.map((problem) => [problem.path, problem]));
  const openEnded = new Set<string | undefined>();
  for (const { path } of problems.filter(isOfSegment)) {
    const number = Number(/[0-9]+$/.exec(path)?.[0]);
    openEnded.add(paths[numbers.findLastIndex((segment) => segment < number)]);
  }
  const seen = new Set<string>();
  // That there is no segment at all is no news where some are there, and none can be used.
  const someUsed = end.place.segment > 0 || paths.length === 0;
  const last = segmentPath(directory, end.place.segment);
  return problems.filter((problem) => {
    const { path, seq } = problem;
    if (isOfSegment(problem)) {
      const first = !seen.has(path);
      seen.add(path);
      return first && (someUsed || paths.includes(path));
    }
    const isAtEnd = finals.get(path) === problem && (path !== last || seq === end.place.seq);
    return !(openEnded.has(path) && isAtEnd);
  });
}

/** What is wrong with a record that can be read. */
interface RecordFault {
  readonly code: 'ID_NOT_ALLOCATED' | 'ID_REUSED' | 'WAL_CORRUPT';
  readonly seq: number;
  readonly id?: BlobId;
  readonly text: string;
}

/** Takes the records one after the other. */
class RecordRules {
  readonly faults: RecordFault[] = [];
  records = 0;
  readonly #expectation: LogExpectation | undefined;
  readonly #creators = new Map<BlobId, number>();
  #seq = 0;

  constructor(expectation: LogExpectation | undefined) {
    this.#expectation = expectation;
  }

  add({ position, seq, created }: LogRecord, idsCount: boolean): void {
    this.records++;
    if (position < this.#seq || seq <= position) {
      const text = `The record at seq ${seq} begins at ${position}, before seq ${this.#seq}`;
      this.faults.push({ code: 'WAL_CORRUPT', seq, text });
    }
    this.#seq = seq;
    if (!idsCount) return;
    for (const id of created) this.#create(id, seq);
  }

  #create(id: BlobId, seq: number): void {
    const creator = this.#creators.get(id);
    if (creator !== undefined) {
      const text = `The record at seq ${seq} creates blob ${id}, as the one at seq ${creator} did`;
      this.faults.push({ code: 'ID_REUSED', seq, id, text });
      return;
    }
    this.#creators.set(id, seq);
    const expectation = this.#expectation;
    if (expectation !== undefined && id >= expectation.nextBlobId) {
      const leased = `the manifest has leased ids below ${expectation.nextBlobId}`;
      const text = `The record at seq ${seq} creates blob ${id}, and ${leased}: its end is missing`;
      this.faults.push({ code: 'ID_NOT_ALLOCATED', seq, id, text });
    }
    if (expectation?.isMapped(id) !== true || expectation.isReserved(id)) return;
    const at = expectation.checkpointSeq;
    const text = `The record at seq ${seq} creates blob ${id}, which was there at checkpoint ${at}`;
    this.faults.push({ code: 'ID_REUSED', seq, id, text });
  }
}

/** The segment that holds a seq, or the directory. */
function pathOf(seq: number, directory: string, end: LogEnd | undefined): string {
  const found = end?.segments.findLast((at) => at.firstPosition < seq && seq <= at.endSeq);
  return found === undefined ? directory : segmentPath(directory, found.segment);
}

function faultFinding(fault: RecordFault, path: string): VerifyFinding {
  const { text, ...facts } = fault;
  return { ...facts, path, message: `${text}. Restore the store from a backup.` };
}

/** Epochs of the segments against the manifest's. */
function epochProblem(directory: string, epoch: number, end: LogEnd): LogProblem | undefined {
  if (end.epoch <= epoch) return undefined;
  const expected = `an epoch of at most ${epoch}, not ${end.epoch}: is the manifest an old one?`;
  const path = segmentPath(directory, end.place.segment);
  return { path, offset: 0, seq: end.place.seq, expected };
}

/** Reads all of the log. What cannot be read at all ends it, and is a finding as well. */
export function checkLog(source: LogCheckSource): LogCheck {
  const { access, sums, expectation } = source;
  const { directory } = access;
  const findings: VerifyFinding[] = [];
  const rules = new RecordRules(expectation);
  let problems: readonly LogProblem[] = [];
  let end: LogEnd | undefined;
  try {
    const numbers = listLogFiles(access).segments;
    const { storeId, checkpointSeq } = basisOf(source, numbers);
    const reading = { salvage: true, checkAll: true };
    const reader = new LogReader({ access, sums, storeId, checkpointSeq, ...reading });
    problems = reader.problems;
    for (const record of reader.records()) {
      // Before a segment that cannot be used, records may turn up that had been given up.
      rules.add(record, !problems.some(isOfSegment));
    }
    end = reader.end;
    const epoch = expectation?.epoch ?? Number.POSITIVE_INFINITY;
    const stale = epochProblem(directory, epoch, end);
    problems = independent(problems, directory, numbers, end);
    if (stale !== undefined) problems = [...problems, stale];
  } catch (error) {
    findings.push(findingOf(error, directory));
  }
  findings.push(...problems.map((problem) => findingOf(walCorrupt(problem), problem.path)));
  for (const fault of rules.faults) {
    findings.push(faultFinding(fault, pathOf(fault.seq, directory, end)));
  }
  return { findings, records: rules.records };
}
