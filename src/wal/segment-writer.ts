/**
 * Writing the log: groups of records, segments, syncs, the spare, trimming.
 *
 * Owns:        the segment that takes records, and what is known of the others.
 * Invariants:  W2D  the durable seq covers what was synced, and nothing else;
 *              a segment is synced completely before the next one gets its header, so durable never
 *              passes into a segment before the one before it is whole;
 *              an opening appends to a segment of its own; the last records of the one before it
 *              are written again and synced before its header names their end;
 *              what a failed write has left is overwritten at the same offset, never followed;
 *              a block that a sync has covered is never written again; until then the last group, if
 *              a block holds it, takes more records: each write of it has all bytes of the one
 *              before, so whatever is torn, the records before stay;
 *              a failed sync stops the writer for good: the next one would succeed although the
 *              pages are gone.
 * Threads:     one at a time; the directory is locked by its opener. Synchronous calls only.
 */
import { WeirpoolError } from '../errors.ts';
import { closeQuietly, OPEN_WRITE, openOwn, readFully, writeFully } from '../fs/files.ts';
import { ioError } from '../fs/io-error.ts';
import type { DirectoryAccess } from '../store/manifest-files.ts';
import {
  encodeGroupHeader,
  GROUP_HEADER_BYTES,
  groupBytes,
  LOG_BLOCK_BYTES,
  LOG_FORMAT_VERSION,
  type LogPlace,
  type LogSums,
  paddedBytes,
  RECORD_ALIGNMENT,
  RING_BYTES_MAX,
  recordLengthAt,
  segmentBytesFor,
} from './format.ts';
import { GroupOutput, viewsFrom } from './group-output.ts';
import { type LogEnd, walCorrupt } from './reader.ts';
import {
  activateSpare,
  dropTemporaries,
  makeSpare,
  segmentPath,
  spareBytes,
  syncNames,
} from './segment-files.ts';
import { dropSegment, type FullSegment, recycleSegment, trimmable } from './trim.ts';

/** Twice the default ring, whose largest record is a quarter of it. */
const SEGMENT_BYTES_DEFAULT = 16 * 1024 * 1024;
const SEGMENT_TO_RECORD_MIN = 4;
/** Two blocks hold a header and a small record; tests take small segments. */
export const SEGMENT_BYTES_MIN: number = 8 * 1024;
/** A reader holds one segment in memory. */
export const SEGMENT_BYTES_MAX: number = 256 * 1024 * 1024;

/** At most a quarter is left empty before a record that does not fit. */
export function defaultSegmentBytes(recordBytesMax: number): number {
  const bytes = paddedBytes(recordBytesMax) * SEGMENT_TO_RECORD_MIN;
  return Math.max(SEGMENT_BYTES_DEFAULT, bytes);
}

export interface LogParts {
  readonly access: DirectoryAccess;
  readonly sums: LogSums;
  readonly storeId: bigint;
  /** Of this opening, above that of every segment. */
  readonly epoch: number;
  /** Default: `defaultSegmentBytes`. */
  readonly segmentBytes?: number;
  /** The largest record that will come; a segment must hold it. */
  readonly recordBytesMax: number;
  /** Trimmed segments that are kept, beside the spare, to be written over. Default 0. */
  readonly keptMax?: number;
  /** Whether large groups are written past the system's cache. Default false. */
  readonly directWrites?: boolean;
}

/** A writer between two threads: everything but its descriptor. Can be posted. */
export interface LogWriterState {
  readonly full: readonly FullSegment[];
  readonly segment: number;
  readonly firstPosition: number;
  readonly offset: number;
  readonly recordsEnd: number;
  readonly position: number;
  readonly durableSeq: number;
  readonly sparePresent: boolean;
}

export interface LogStats {
  readonly bytesOnDisk: number;
  readonly segments: number;
  readonly sparePresent: boolean;
  /** Bytes of the segment that is being written that are free: they need no space on the disk. */
  readonly freeBytes: number;
  readonly writtenSeq: number;
  readonly durableSeq: number;
}

/** A group that is being written. */
interface Group {
  readonly offset: number;
  /** Of its first record. */
  readonly position: number;
  recordBytes: number;
  /** A write has failed: the file may have more of it than is known here. */
  isTorn: boolean;
}

/** Bytes of the records from `from` on that fit into `room`; no length word straddles two views. */
function wholeRecords(views: readonly Uint8Array[], from: number, room: number): number {
  let bytes = 0;
  let begin = -from;
  for (const view of views) {
    while (bytes - begin < view.length) {
      const length = recordLengthAt(view, bytes - begin);
      if (length === 0) throw new TypeError(`no record begins at byte ${from + bytes}`);
      if (bytes + length > room) return bytes;
      bytes += length;
    }
    begin += view.length;
  }
  return bytes;
}

function assertSegmentBytes(segmentBytes: number, recordBytesMax: number): void {
  const bytesMin = Math.max(SEGMENT_BYTES_MIN, segmentBytesFor(recordBytesMax));
  const whole = Number.isInteger(segmentBytes / LOG_BLOCK_BYTES);
  if (whole && segmentBytes >= bytesMin && segmentBytes <= SEGMENT_BYTES_MAX) return;
  throw new RangeError(
    `segmentBytes must be a multiple of ${LOG_BLOCK_BYTES} from ${bytesMin}, which holds the ` +
      `largest record, to ${SEGMENT_BYTES_MAX}; not ${segmentBytes}`,
  );
}

export class LogWriter {
  readonly #access: DirectoryAccess;
  readonly #sums: LogSums;
  readonly #storeId: bigint;
  readonly #epoch: number;
  readonly #segmentBytes: number;
  readonly #headerSeed: number;
  readonly #output: GroupOutput;
  readonly #keptMax: number;
  /** Segments that take no records any more, in order. */
  #full: readonly FullSegment[];
  /** Those among them that are trimmed. */
  #kept: readonly FullSegment[] = [];
  #segment = 0;
  #firstPosition = 0;
  /** Where the next group goes. */
  #offset = 0;
  /** Where the last record ends in the file. */
  #recordsEnd = 0;
  /** The last group, while it takes more records. */
  #open: Group | undefined;
  #position = 0;
  #durableSeq = 0;
  #sparePresent = false;
  #stopped = false;

  private constructor(parts: LogParts, full: readonly FullSegment[]) {
    this.#access = parts.access;
    this.#sums = parts.sums;
    this.#storeId = parts.storeId;
    this.#epoch = parts.epoch;
    this.#segmentBytes = parts.segmentBytes ?? defaultSegmentBytes(parts.recordBytesMax);
    this.#headerSeed = parts.sums.seed(parts.storeId, 0);
    this.#output = new GroupOutput(parts.access.fs, parts.directWrites === true);
    this.#keptMax = parts.keptMax ?? 0;
    this.#full = full;
  }

  /**
   * Goes on where another writer has handed over, in whichever thread.
   *
   * @throws {WeirpoolError} `STORE_IO`.
   */
  static adopt(parts: LogParts, state: LogWriterState): LogWriter {
    const writer = new LogWriter(parts, state.full);
    const path = segmentPath(parts.access.directory, state.segment);
    writer.#output.use(openOwn(parts.access.fs, path, OPEN_WRITE), path);
    writer.#segment = state.segment;
    writer.#firstPosition = state.firstPosition;
    writer.#offset = state.offset;
    writer.#recordsEnd = state.recordsEnd;
    writer.#position = state.position;
    writer.#durableSeq = state.durableSeq;
    writer.#sparePresent = state.sparePresent;
    return writer;
  }

  /** Ends here without a sync, so that another thread may go on with `adopt`. */
  handOver(): LogWriterState {
    this.#assertRunning();
    try {
      this.#mend();
    } finally {
      this.abandon();
    }
    return {
      full: this.#full,
      segment: this.#segment,
      firstPosition: this.#firstPosition,
      offset: this.#offset,
      recordsEnd: this.#recordsEnd,
      position: this.#position,
      durableSeq: this.#durableSeq,
      sparePresent: this.#sparePresent,
    };
  }

  /**
   * Opens the log for writing: a segment of its own, which begins beyond everything that was
   * written or lay in a ring. Records before it are durable when this returns.
   *
   * @param end            What a reader has found.
   * @param checkpointSeq  What lies wholly at or below it is dropped, and one becomes the spare.
   * @throws {WeirpoolError} `STORE_IO`: nothing is lost, open again; `WAL_CORRUPT` if a segment has
   *                         this epoch or a later one.
   */
  static open(parts: LogParts, end: LogEnd, checkpointSeq: number): LogWriter {
    assertSegmentBytes(
      parts.segmentBytes ?? defaultSegmentBytes(parts.recordBytesMax),
      parts.recordBytesMax,
    );
    if (parts.epoch <= end.epoch) {
      const path = segmentPath(parts.access.directory, end.place.segment);
      const expected = `an epoch below ${parts.epoch}, not ${end.epoch}: is the manifest an old one?`;
      throw walCorrupt({ path, offset: 0, seq: end.place.seq, expected });
    }
    const writer = new LogWriter(parts, end.segments);
    try {
      writer.#begin(end, checkpointSeq);
      return writer;
    } catch (error) {
      writer.abandon();
      throw error;
    }
  }

  #begin(end: LogEnd, checkpointSeq: number): void {
    dropTemporaries(this.#access);
    this.#syncAgain(end);
    // A name that a trim took away may have come back, or may still be going.
    syncNames(this.#access);
    this.#sparePresent = spareBytes(this.#access) === this.#segmentBytes;
    // All but the last, which the new header is going to name.
    const older = this.#full.filter(({ segment }) => segment !== end.place.segment);
    const last = this.#full.filter(({ segment }) => segment === end.place.segment);
    this.#full = older;
    this.#drop(checkpointSeq);
    this.#full = [...this.#full, ...last];
    const first = end.place.segment === 0 && end.durableSeq === 0;
    // What lay in the ring had seqs, too, and somebody may know them.
    this.#position = first ? 0 : end.writtenBelow + RING_BYTES_MAX;
    this.#durableSeq = this.#position;
    this.#segment = Math.max(end.place.segment, ...end.segments.map(({ segment }) => segment));
    this.#startSegment(end.place);
    this.#drop(checkpointSeq);
    this.#tryPrepareSpare();
  }

  /**
   * Writes again what may never have reached the disk, although it can be read: after a failed sync
   * pages count as clean. The same bytes at the same place harm nothing, whatever happens.
   */
  #syncAgain({ place, unsynced }: LogEnd): void {
    if (place.segment === 0) return;
    const { fs, directory } = this.#access;
    const path = segmentPath(directory, place.segment);
    const fd = openOwn(fs, path, OPEN_WRITE);
    try {
      if (unsynced !== undefined) {
        const bytes = new Uint8Array(unsynced.to - unsynced.from);
        readFully(fs, { fd, path, position: unsynced.from }, bytes);
        writeFully(fs, { fd, path, position: unsynced.from }, bytes);
      }
      this.#stopUnlessSynced(path, () => fs.syncData(fd));
    } finally {
      closeQuietly(fs, fd);
    }
  }

  #tryPrepareSpare(): void {
    try {
      this.prepareSpare();
    } catch (error) {
      // A full disk must not keep the store from opening: the next round makes room.
      if (this.#stopped) throw error;
    }
  }

  // --- what is known -------------------------------------------------------------------------------

  /** Position of the next record: seq of the last one that was written. */
  get writtenSeq(): number {
    return this.#position;
  }

  get durableSeq(): number {
    return this.#durableSeq;
  }

  /** Whether a sync failed: nothing may be written any more. */
  get stopped(): boolean {
    return this.#stopped;
  }

  get stats(): LogStats {
    const full = this.#full.reduce((sum, { bytes }) => sum + bytes, 0);
    const own = this.#output.isOpen ? 1 : 0;
    const spare = this.#sparePresent ? 1 : 0;
    return {
      bytesOnDisk: full + (own + spare) * this.#segmentBytes,
      segments: this.#full.length + own,
      sparePresent: this.#sparePresent,
      freeBytes: this.#segmentBytes - this.#offset,
      writtenSeq: this.#position,
      durableSeq: this.#durableSeq,
    };
  }

  /** Bytes of records above a seq: seqs jump at an opening, so their difference says too much. */
  recordBytesAbove(seq: number): number {
    const own = { firstPosition: this.#firstPosition, endSeq: this.#position };
    return [...this.#full, own]
      .map(({ firstPosition, endSeq }) => Math.max(0, endSeq - Math.max(firstPosition, seq)))
      .reduce((sum, bytes) => sum + bytes, 0);
  }

  // --- appending -----------------------------------------------------------------------------------

  /**
   * Writes whole records: into the last group as many as that still takes, the others as one more, or
   * as several where a segment ends.
   *
   * @param views     Their bytes, in one piece or in two, cut at a multiple of 8.
   * @param position  Where the first one begins: `writtenSeq`.
   * @returns         `writtenSeq`, the end of the last one.
   * @throws {WeirpoolError} `STORE_IO`: records up to `writtenSeq` are written; the rest may be
   *                         given again, unless the writer has stopped (outcome `unknown`).
   *                         `RECORD_TOO_LARGE`.
   */
  append(views: readonly Uint8Array[], position: number): number {
    this.#assertRunning();
    if (position !== this.#position) {
      throw new RangeError(`records for ${this.#position} are due, not for ${position}`);
    }
    const bytes = views.reduce((sum, view) => sum + view.length, 0);
    if (bytes % RECORD_ALIGNMENT !== 0) throw new TypeError(`${bytes} bytes are no whole records`);
    let done = this.#extend(views, bytes);
    while (done < bytes) {
      const room = this.#segmentBytes - this.#offset - GROUP_HEADER_BYTES;
      const left = bytes - done;
      const fitting = left <= room ? left : wholeRecords(views, done, room);
      if (fitting === 0) {
        this.#assertFits(views, done);
        this.#rotate();
      } else {
        this.#open = undefined;
        const group = {
          offset: this.#offset,
          position: this.#position,
          recordBytes: 0,
          isTorn: false,
        };
        this.#write(group, viewsFrom(views, done, fitting), fitting);
        done += fitting;
      }
    }
    return this.#position;
  }

  #assertRunning(): void {
    if (!this.#stopped && this.#output.isOpen) return;
    const path = segmentPath(this.#access.directory, this.#segment);
    throw new WeirpoolError(
      'STORE_IO',
      `${path} takes no records any more: an earlier sync failed, or the log was closed. ` +
        'Close the pool and open the store again.',
      { details: { operation: 'append', path, errno: 'ESTOPPED' } },
    );
  }

  /** Whether a new segment would hold the record that begins there. */
  #assertFits(views: readonly Uint8Array[], at: number): void {
    const [piece = new Uint8Array(0)] = viewsFrom(views, at, RECORD_ALIGNMENT);
    const bytes = recordLengthAt(piece, 0);
    const bytesMax = this.#segmentBytes - LOG_BLOCK_BYTES - GROUP_HEADER_BYTES;
    if (bytes <= bytesMax) return;
    throw new WeirpoolError(
      'RECORD_TOO_LARGE',
      `A record of ${bytes} bytes exceeds the ${bytesMax} that a segment of the log holds. ` +
        'Write smaller records, or open the pool with larger segments.',
      { details: { bytes, bytesMax } },
    );
  }

  /**
   * Adds records to the last group: so many bytes of them. Always as many as it takes, so that after a
   * failed write the same records go to the same place.
   */
  #extend(views: readonly Uint8Array[], bytes: number): number {
    const group = this.#open;
    if (group === undefined) return 0;
    const room = LOG_BLOCK_BYTES - GROUP_HEADER_BYTES - group.recordBytes;
    const fitting = bytes <= room ? bytes : wholeRecords(views, 0, room);
    if (fitting > 0) this.#write(group, viewsFrom(views, 0, fitting), fitting);
    else this.#mend();
    return fitting;
  }

  /** Takes back what a failed write may have added to the last group, before anything follows it. */
  #mend(): void {
    if (this.#open?.isTorn === true) this.#write(this.#open, [], 0);
  }

  #write(group: Group, views: readonly Uint8Array[], bytes: number): void {
    const { offset, position, recordBytes: kept } = group;
    const recordBytes = kept + bytes;
    const header = {
      epoch: this.#epoch,
      segment: this.#segment,
      offset,
      position,
      durableSeq: this.#durableSeq,
      recordBytes,
    };
    const putHeader = (block: Uint8Array): void =>
      encodeGroupHeader(this.#sums, this.#headerSeed, block, header);
    group.isTorn = true;
    this.#output.write(offset, putHeader, views, { kept, bytes });
    group.isTorn = false;
    group.recordBytes = recordBytes;
    this.#recordsEnd = offset + GROUP_HEADER_BYTES + recordBytes;
    this.#offset = offset + groupBytes(recordBytes);
    this.#position = position + recordBytes;
    this.#open = groupBytes(recordBytes) === LOG_BLOCK_BYTES ? group : undefined;
  }

  // --- syncing -------------------------------------------------------------------------------------

  /**
   * Makes everything that was written durable.
   *
   * @returns The durable seq.
   * @throws {WeirpoolError} `STORE_IO`, outcome `unknown`: the writer has stopped for good. Otherwise
   *         what a failed write has left could not be taken back, and syncing may be tried again.
   */
  sync(): number {
    this.#assertRunning();
    if (this.#durableSeq === this.#position) return this.#durableSeq;
    this.#mend();
    const path = segmentPath(this.#access.directory, this.#segment);
    this.#stopUnlessSynced(path, () => this.#output.sync());
    this.#durableSeq = this.#position;
    this.#open = undefined;
    return this.#durableSeq;
  }

  #stopUnlessSynced(path: string, sync: () => void): void {
    try {
      sync();
    } catch (error) {
      this.#stopped = true;
      throw ioError(error, { operation: 'fdatasync', path, outcome: 'unknown' });
    }
  }

  /** Syncs what is left and ends; the seq belongs into the record of a clean close. */
  close(): number {
    try {
      return this.sync();
    } finally {
      this.abandon();
    }
  }

  /** Ends without a sync. */
  abandon(): void {
    this.#output.close();
  }

  // --- segments ------------------------------------------------------------------------------------

  /** Runs steps that may leave the directory in doubt: then the writer stops. */
  #stopIfUnknown(steps: () => void): void {
    try {
      steps();
    } catch (error) {
      if ((error as WeirpoolError).outcome === 'unknown') this.#stopped = true;
      throw error;
    }
  }

  #rotate(): void {
    this.sync();
    const place = { segment: this.#segment, offset: this.#recordsEnd, seq: this.#position };
    const full: FullSegment = {
      segment: this.#segment,
      bytes: this.#segmentBytes,
      firstPosition: this.#firstPosition,
      endSeq: this.#position,
    };
    this.#startSegment(place);
    this.#full = [...this.#full, full];
  }

  /** Begins the next segment at `#position`, after what `previous` names. */
  #startSegment(previous: LogPlace): void {
    this.prepareSpare();
    const segment = this.#segment + 1;
    const header = {
      formatVersion: LOG_FORMAT_VERSION,
      storeId: this.#storeId,
      epoch: this.#epoch,
      segment,
      segmentBytes: this.#segmentBytes,
      firstPosition: this.#position,
      previous,
    };
    this.#stopIfUnknown(() => {
      const fd = activateSpare(this.#access, this.#sums, header);
      this.#output.use(fd, segmentPath(this.#access.directory, segment));
    });
    this.#sparePresent = false;
    this.#segment = segment;
    this.#firstPosition = this.#position;
    this.#offset = LOG_BLOCK_BYTES;
    this.#recordsEnd = LOG_BLOCK_BYTES;
  }

  /**
   * Sees to it that there is a spare: after every rotation, when nobody waits.
   *
   * @throws {WeirpoolError} `STORE_IO`, such as `ENOSPC`: may be tried again.
   */
  prepareSpare(): void {
    if (this.#sparePresent) return;
    this.#stopIfUnknown(() => {
      for (const full of this.#kept) if (!this.#sparePresent) this.#recycle(full);
      if (!this.#sparePresent) makeSpare(this.#access, this.#segmentBytes);
    });
    this.#sparePresent = true;
  }

  /**
   * I2: drops what lies wholly at or below the S of the last synced manifest record.
   *
   * @throws {WeirpoolError} `STORE_IO`: may be tried again, unless the outcome is `unknown`.
   */
  trim(checkpointSeq: number): void {
    this.#assertRunning();
    if (checkpointSeq > this.#durableSeq) {
      throw new RangeError(`seq ${checkpointSeq} is not durable: ${this.#durableSeq} is`);
    }
    this.#drop(checkpointSeq);
  }

  #drop(checkpointSeq: number): void {
    const trimmed = trimmable(this.#full, checkpointSeq);
    const dropped = trimmed.filter((full) => !this.#kept.includes(full));
    if (dropped.length === 0) return;
    this.#stopIfUnknown(() => {
      for (const full of dropped) {
        const reusable = full.bytes === this.#segmentBytes;
        if (reusable && !this.#sparePresent) this.#recycle(full);
        else if (reusable && this.#kept.length < this.#keptMax) this.#kept = [...this.#kept, full];
        else {
          dropSegment(this.#access, full.segment);
          this.#forget(full);
        }
      }
      syncNames(this.#access);
    });
  }

  #recycle(full: FullSegment): void {
    recycleSegment(this.#access, full.segment);
    this.#sparePresent = spareBytes(this.#access) === this.#segmentBytes;
    this.#forget(full);
  }

  #forget(gone: FullSegment): void {
    this.#full = this.#full.filter((full) => full !== gone);
    this.#kept = this.#kept.filter((full) => full !== gone);
  }
}
