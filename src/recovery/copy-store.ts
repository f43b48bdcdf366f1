/**
 * Copying one committed state of a store into a directory of its own.
 *
 * Owns:        a directory beside the target, until it gets the target's name.
 * Invariants:  nothing that opens has the target's name before the copy is whole and synced: blobs
 *              first, then the log's first segment, the manifest last, then the name;
 *              W2D  blobs are synced before the manifest that names them;
 *              every blob is verified as it is copied.
 * Threads:     the caller's; it yields between batches.
 *
 * The copy is a store of its own: it has an id of its own, so that a log of the original is never
 * taken for its. Seqs and ids go on where the original's were. Blobs are packed into the first slots.
 * Bulk loads that nothing has adopted are left out, as the next opening would drop them.
 */
import { randomBytes } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { errnoOf, WeirpoolError } from '../errors.ts';
import type { FileSystem } from '../fs/file-system.ts';
import { DirectorySync, makeDirectories, statIfPresent, unlinkQuietly } from '../fs/files.ts';
import { guarded, ioError } from '../fs/io-error.ts';
import { Checksummer } from '../memory/checksum.ts';
import type { WasmModule } from '../memory/webassembly.ts';
import { type BlobMapping, BULK_OWNER, type SlotWrite } from '../store/contract.ts';
import { DataFile, WRITES_IN_FLIGHT } from '../store/data-file.ts';
import { DATA_FILE } from '../store/file-backend.ts';
import { type DirectoryAccess, unknownOutcome } from '../store/manifest-files.ts';
import { ManifestLog } from '../store/manifest-log.ts';
import { Positions } from '../store/positions.ts';
import { StoreState } from '../store/store-state.ts';
import { LogSums } from '../wal/format.ts';
import { LogWriter, SEGMENT_BYTES_MIN } from '../wal/segment-writer.ts';

const TOKEN_BYTES = 6;
const STORE_ID_BYTES = 8;
const DIRECTORY_MODE = 0o700;
const POSITION_WORDS = 16;
const MANIFEST_SCRATCH_BYTES = 64 * 1024;
/** Bytes after which what was written is synced: one sync of everything would stop the thread. */
const SYNC_BYTES = 32 * 1024 * 1024;
/** The log of the copy has no records, only a place to go on from. */
const RECORD_BYTES_MAX = 64;

export interface CopyProgress {
  /** Blobs that were copied, of how many, and their bytes. */
  readonly blobs: number;
  readonly blobsTotal: number;
  readonly bytes: number;
}

export interface CopyOptions {
  /** Ends the copy between two blobs; what it has made is removed. */
  readonly signal?: AbortSignal;
  /** Called after each batch of blobs. */
  readonly onProgress?: (progress: CopyProgress) => void;
}

export interface CopyReport {
  /** Blobs that were copied, and their bytes. */
  readonly blobs: number;
  readonly bytes: number;
  /** Seq of the cut: every change up to it is in the copy, and none beyond. */
  readonly seq: number;
}

export interface CopySource {
  readonly fs: FileSystem;
  readonly kernels: WasmModule;
  readonly blobBytes: number;
  readonly state: StoreState;
  /** Whether it has a log; an opening for reading only goes by that. */
  readonly logged: boolean;
  /** Reads a blob into a scratch area and verifies it. */
  readonly read: (blob: BlobMapping, into: Checksummer) => void;
}

/**
 * Makes sure that a store may be made in the directory.
 *
 * @throws {WeirpoolError} `DIRECTORY_NOT_EMPTY`, `STORE_IO`.
 */
export function assertVacant(fs: FileSystem, directory: string): void {
  const found = statIfPresent(fs, directory);
  if (found === undefined) return;
  const isEmpty =
    found.kind === 'directory' &&
    guarded('readdir', directory, () => fs.list(directory)).length === 0;
  if (!isEmpty) throw notVacant(directory);
}

function notVacant(directory: string, cause?: unknown): WeirpoolError {
  return new WeirpoolError(
    'DIRECTORY_NOT_EMPTY',
    `${directory} is no empty directory, and nothing was written to it. Give a path that does not ` +
      'exist, or an empty directory.',
    { cause, details: { path: directory } },
  );
}

/** The state without bulk loads that nothing has adopted, its blobs packed in the order of slots. */
function packed(state: StoreState): { readonly from: BlobMapping[]; readonly to: StoreState } {
  const ranges = [...state.roots].filter(([owner]) => owner >= BULK_OWNER);
  const isLoose = (id: number): boolean =>
    ranges.some(([owner, last]) => owner - BULK_OWNER <= id && id <= last);
  const from = [...state.blobs.values()]
    .filter(({ id }) => !isLoose(id))
    .sort((a, b) => a.slot - b.slot);
  const to = new StoreState();
  to.apply({
    mapped: from.map(({ id, checksum }, slot) => ({ id, slot, checksum })),
    deleted: [],
    roots: new Map([...state.roots].filter(([owner]) => owner < BULK_OWNER)),
    nextBlobId: state.nextBlobId,
    checkpointSeq: state.checkpointSeq,
    commitNumber: state.commitNumber,
    epoch: 1,
  });
  return { from, to };
}

class StoreCopy {
  readonly #source: CopySource;
  readonly #options: CopyOptions;
  readonly #access: DirectoryAccess;
  readonly #storeId = randomBytes(STORE_ID_BYTES).readBigUInt64LE();

  constructor(source: CopySource, directory: string, options: CopyOptions) {
    this.#source = source;
    this.#options = options;
    const { fs } = source;
    this.#access = { fs, directory, directorySync: new DirectorySync(fs) };
  }

  get #dataPath(): string {
    return join(this.#access.directory, DATA_FILE);
  }

  /** Everything but the name. */
  async write(): Promise<CopyReport> {
    const { from, to } = packed(this.#source.state);
    await this.#writeBlobs(from);
    this.#writeLog(to);
    this.#writeManifest(to);
    const bytes = from.length * this.#source.blobBytes;
    return { blobs: from.length, bytes, seq: to.checkpointSeq };
  }

  async #writeBlobs(blobs: readonly BlobMapping[]): Promise<void> {
    const { fs, kernels, blobBytes } = this.#source;
    const settings = { path: this.#dataPath, blobBytes, directWrites: 'auto' } as const;
    const data = new DataFile(fs, { ...settings, access: 'make' });
    const buffers = Array.from(
      { length: Math.min(WRITES_IN_FLIGHT, blobs.length) },
      () => new Checksummer(kernels, blobBytes),
    );
    try {
      let unsynced = 0;
      for (let at = 0; at < blobs.length; at += buffers.length) {
        this.#options.signal?.throwIfAborted();
        const batch = blobs.slice(at, at + buffers.length);
        await this.#writeBatch(data, batch, at, buffers);
        unsynced += batch.length * blobBytes;
        if (unsynced >= SYNC_BYTES) {
          data.sync();
          unsynced = 0;
        }
        this.#report(at + batch.length, blobs.length);
      }
      data.sync();
    } finally {
      await data.close();
    }
  }

  async #writeBatch(
    data: DataFile,
    blobs: readonly BlobMapping[],
    at: number,
    buffers: readonly Checksummer[],
  ): Promise<void> {
    const { blobBytes, read } = this.#source;
    const writes = blobs.map((blob, index): SlotWrite => {
      const buffer = buffers[index] as Checksummer;
      read(blob, buffer);
      return { slot: at + index, source: buffer.scratch(blobBytes) };
    });
    const results = await data.writeSlots(writes);
    const failed = results.find(({ error }) => error !== undefined);
    if (failed !== undefined) throw failed.error;
  }

  #report(blobs: number, blobsTotal: number): void {
    const bytes = blobs * this.#source.blobBytes;
    this.#options.onProgress?.({ blobs, blobsTotal, bytes });
  }

  /** A segment that begins behind the cut: without one the log would count as lost. */
  #writeLog({ checkpointSeq, epoch }: StoreState): void {
    if (!this.#source.logged) return;
    const sums = new LogSums(this.#source.kernels);
    const sizes = { segmentBytes: SEGMENT_BYTES_MIN, recordBytesMax: RECORD_BYTES_MAX };
    const parts = { access: this.#access, sums, storeId: this.#storeId, epoch, ...sizes };
    const end = {
      place: { segment: 0, offset: 0, seq: checkpointSeq },
      durableSeq: checkpointSeq,
      unsynced: undefined,
      writtenBelow: checkpointSeq,
      epoch: 0,
      segments: [],
    };
    LogWriter.open(parts, end, checkpointSeq).close();
  }

  #writeManifest(state: StoreState): void {
    const log = new ManifestLog({
      access: this.#access,
      positions: new Positions(new BigInt64Array(POSITION_WORDS)),
      checksummer: new Checksummer(this.#source.kernels, MANIFEST_SCRATCH_BYTES),
      blobBytes: this.#source.blobBytes,
      // Nobody else has the directory: its own data file stands for the lock.
      lockFile: this.#dataPath,
      logBytesMin: 0,
    });
    try {
      log.begin(state, this.#storeId, 0);
      log.finish();
    } finally {
      log.close();
    }
  }

  /** Gives the copy its name. */
  name(target: string): void {
    const { fs, directory, directorySync } = this.#access;
    try {
      // Not every platform renames over a directory, even an empty one.
      if (statIfPresent(fs, target) !== undefined) fs.removeDirectory(target);
      fs.rename(directory, target);
    } catch (error) {
      const errno = errnoOf(error) ?? '';
      if (NOT_VACANT.includes(errno)) throw notVacant(target, error);
      throw ioError(error, { operation: 'rename', path: target });
    }
    try {
      directorySync.sync(dirname(target));
    } catch (error) {
      throw unknownOutcome(error as WeirpoolError);
    }
  }

  /** Removes what was made, as far as that is possible. */
  discard(): void {
    const { fs, directory } = this.#access;
    try {
      for (const name of fs.list(directory)) unlinkQuietly(fs, join(directory, name));
      fs.removeDirectory(directory);
    } catch {
      // It has no name that anybody opens; its own says what it is.
    }
  }
}

const NOT_VACANT: readonly string[] = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'];

/**
 * Makes a store in `directory`, which does not exist or is empty, out of a committed state.
 *
 * @throws {WeirpoolError} `DIRECTORY_NOT_EMPTY`, `STORE_IO`, and what `read` throws: nothing has the
 *         directory's name then, unless the outcome is `unknown`: then the whole copy may have it.
 *         The signal's reason when it was aborted.
 */
export async function copyStore(
  source: CopySource,
  directory: string,
  options: CopyOptions = {},
): Promise<CopyReport> {
  const { fs } = source;
  const target = resolve(directory);
  options.signal?.throwIfAborted();
  assertVacant(fs, target);
  makeDirectories(fs, dirname(target), new DirectorySync(fs));
  const temporary = `${target}.${randomBytes(TOKEN_BYTES).toString('hex')}.partial`;
  guarded('mkdir', temporary, () => fs.makeDirectory(temporary, DIRECTORY_MODE));
  const copy = new StoreCopy(source, temporary, options);
  let report: CopyReport;
  try {
    report = await copy.write();
    options.signal?.throwIfAborted();
    copy.name(target);
  } catch (error) {
    copy.discard();
    throw error;
  }
  return report;
}
