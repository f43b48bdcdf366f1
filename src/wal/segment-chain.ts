/**
 * Which segments belong to the log: from the last one backwards, as far as they are needed.
 *
 * Owns:        the rule for names and headers. Each header names the segment before and the seq at
 *              which it ends; the chain goes back until that seq lies at or below the checkpoint.
 *              Files below the chain are leftovers of a trim and are not looked for.
 * Threads:     private to the caller.
 */
import { WeirpoolError } from '../errors.ts';
import { readOwn } from '../fs/files.ts';
import type { DirectoryAccess } from '../store/manifest-files.ts';
import {
  decodeSegmentHeader,
  LOG_BLOCK_BYTES,
  LOG_FORMAT_VERSION,
  type LogPlace,
  type LogSums,
  type SegmentHeader,
} from './format.ts';
import type { LogProblem } from './reader.ts';
import { listLogFiles, segmentPath } from './segment-files.ts';
import type { FullSegment } from './trim.ts';

export interface ChainLink {
  readonly segment: number;
  readonly header: SegmentHeader;
}

export interface ChainSource {
  readonly access: DirectoryAccess;
  readonly sums: LogSums;
  readonly storeId: bigint;
  readonly segmentsBelow?: number;
}

export class LogChain {
  readonly #source: ChainSource;
  readonly #report: (problem: LogProblem) => void;
  readonly #numbers: readonly number[];
  readonly #headers = new Map<number, SegmentHeader | undefined>();
  #links: ChainLink[] = [];

  /** @param report  Throws, or returns to go on without what is damaged. */
  constructor(source: ChainSource, report: (problem: LogProblem) => void) {
    this.#source = source;
    this.#report = report;
    const { access, segmentsBelow = Number.POSITIVE_INFINITY } = source;
    this.#numbers = listLogFiles(access).segments.filter((number) => number < segmentsBelow);
  }

  /** The segments that may hold records above `seq`, in order; with `all` also what is left before. */
  from(seq: number, durableSeq: number, all: boolean): readonly ChainLink[] {
    for (const number of this.#numbers) this.#headers.set(number, this.#read(number));
    const links: ChainLink[] = [];
    let wanted = this.#numbers.at(-1);
    while (wanted !== undefined) {
      const header = this.#headers.get(wanted);
      if (header === undefined) {
        this.#damaged(wanted, links[0]?.header.previous.seq ?? durableSeq);
        wanted = this.#below(wanted);
        continue;
      }
      this.#assertFits(header, links[0]?.header);
      links.unshift({ segment: wanted, header });
      const { previous } = header;
      const there = all && this.#numbers.includes(previous.segment);
      const needed = previous.segment > 0 && (previous.seq > seq || there);
      wanted = needed ? previous.segment : undefined;
    }
    this.#links = links;
    return links;
  }

  #below(segment: number): number | undefined {
    return this.#numbers.findLast((number) => number < segment);
  }

  #damaged(segment: number, seq: number): void {
    const path = segmentPath(this.#source.access.directory, segment);
    const missing = !this.#numbers.includes(segment);
    const expected = missing ? 'this segment, which is missing' : 'a valid segment header';
    this.#report({ path, offset: 0, seq, expected });
  }

  #assertFits(header: SegmentHeader, next: SegmentHeader | undefined): void {
    if (next === undefined) return;
    const { epoch, firstPosition, segment } = header;
    if (epoch <= next.epoch && firstPosition <= next.previous.seq) return;
    const path = segmentPath(this.#source.access.directory, segment);
    const expected = `an epoch and a first seq of at most ${next.epoch}, ${next.previous.seq}`;
    this.#report({ path, offset: 0, seq: firstPosition, expected });
  }

  /** Undefined if the header is damaged. */
  #read(segment: number): SegmentHeader | undefined {
    const { access, sums, storeId } = this.#source;
    const path = segmentPath(access.directory, segment);
    const header = decodeSegmentHeader(sums, readOwn(access.fs, path, LOG_BLOCK_BYTES));
    if (header === undefined) return undefined;
    if (header.formatVersion !== LOG_FORMAT_VERSION) {
      const { formatVersion } = header;
      throw new WeirpoolError(
        'FORMAT_UNSUPPORTED',
        `${path} has format ${formatVersion}; this version of weirpool reads format ` +
          `${LOG_FORMAT_VERSION}. Open the store with the version that wrote it.`,
        { details: { path, found: formatVersion, supported: LOG_FORMAT_VERSION } },
      );
    }
    const wrong = this.#contradiction(header, segment, storeId);
    if (wrong === undefined) return header;
    this.#report({ path, offset: 0, seq: 0, expected: wrong });
    return undefined;
  }

  #contradiction(header: SegmentHeader, segment: number, storeId: bigint): string | undefined {
    if (header.storeId !== storeId) return 'a segment of this store, not of another';
    if (header.segment !== segment) return `segment ${segment}, not ${header.segment} (renamed)`;
    const { epoch, segmentBytes, firstPosition, previous } = header;
    const counts = [epoch, segmentBytes, firstPosition, previous.offset, previous.seq];
    if (counts.some(Number.isNaN)) return 'a header of whole numbers';
    // Also what ends the way back: from each segment to one with a lower number.
    if (previous.segment < segment) return undefined;
    return `a segment before ${segment}, not ${previous.segment}`;
  }

  /** All files with their ends: those below the chain are not needed, a damaged one in it stays. */
  segments(end: LogPlace): FullSegment[] {
    const first = this.#links[0]?.segment ?? 0;
    return this.#numbers.map((segment) => {
      const at = this.#links.findIndex((link) => link.segment === segment);
      const header = this.#links[at]?.header;
      const bytes = this.#headers.get(segment)?.segmentBytes ?? 0;
      if (header === undefined) {
        const position = segment < first ? 0 : end.seq;
        return { segment, bytes, firstPosition: position, endSeq: position };
      }
      const endSeq = this.#links[at + 1]?.header.previous.seq ?? end.seq;
      return { segment, bytes, firstPosition: header.firstPosition, endSeq };
    });
  }
}
