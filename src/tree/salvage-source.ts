/**
 * A damaged store, read as far as it can be: manifest, blobs, log.
 *
 * Owns:        one descriptor of the data file.
 * Invariants:  nothing is written, and no lock is taken;
 *              bytes that do not match their checksum are not handed out;
 *              what is thrown has no other way on: everything else is a finding.
 * Threads:     private to the caller.
 */
import { join } from 'node:path';
import { WeirpoolError } from '../errors.ts';
import type { FileSystem } from '../fs/file-system.ts';
import { DirectorySync, readOwn } from '../fs/files.ts';
import { Checksummer } from '../memory/checksum.ts';
import type { WasmModule } from '../memory/webassembly.ts';
import { findingOf, type VerifyCode, type VerifyFinding } from '../recovery/finding.ts';
import { type BlobId, type BlobMapping, BULK_OWNER } from '../store/contract.ts';
import { DataFile } from '../store/data-file.ts';
import { DATA_FILE } from '../store/file-backend.ts';
import { type DirectoryAccess, generations, manifestPath } from '../store/manifest-files.ts';
import { type ManifestPrefix, readManifestPrefix } from '../store/manifest-reader.ts';
import type { StoreState } from '../store/store-state.ts';
import { type LogRecord, LogSums } from '../wal/format.ts';
import { LogReader } from '../wal/reader.ts';
import { listLogFiles, segmentNumber } from '../wal/segment-files.ts';

/** What a manifest is summed with, piece by piece. */
const SCRATCH_BYTES = 64 * 1024;

export interface SourceParts {
  readonly directory: string;
  readonly fs: FileSystem;
  readonly kernels: WasmModule;
}

export class SalvageSource {
  readonly directory: string;
  readonly findings: VerifyFinding[] = [];
  readonly state: StoreState;
  readonly blobBytes: number;
  readonly #storeId: bigint;
  readonly #access: DirectoryAccess;
  readonly #kernels: WasmModule;
  readonly #checksummer: Checksummer;
  readonly #data: DataFile | undefined;

  /** @throws {WeirpoolError} `MANIFEST_CORRUPT`, `FORMAT_UNSUPPORTED`, `STORE_IO`: nothing says what is where. */
  constructor({ directory, fs, kernels }: SourceParts) {
    this.directory = directory;
    this.#access = { fs, directory, directorySync: new DirectorySync(fs) };
    this.#kernels = kernels;
    const { header, state } = this.#readManifest();
    this.state = state;
    this.blobBytes = header.blobBytes;
    this.#storeId = header.storeId;
    this.#checksummer = new Checksummer(kernels, header.blobBytes);
    this.#data = this.#openData();
  }

  /** The newest manifest of which the beginning is whole, up to its first damage. */
  #readManifest(): ManifestPrefix['content'] {
    const { fs, directory } = this.#access;
    const checksummer = new Checksummer(this.#kernels, SCRATCH_BYTES);
    let first: WeirpoolError | undefined;
    for (const generation of generations(this.#access)) {
      const path = manifestPath(directory, generation);
      try {
        const file = { path, generation, bytes: readOwn(fs, path) };
        const { content, problem } = readManifestPrefix(checksummer, file);
        for (const error of [first, problem]) {
          if (error !== undefined) this.findings.push(findingOf(error, path));
        }
        return content;
      } catch (error) {
        if (!(error instanceof WeirpoolError) || error.code === 'FORMAT_UNSUPPORTED') throw error;
        first ??= error;
      }
    }
    if (first !== undefined) throw first;
    throw new WeirpoolError(
      'MANIFEST_CORRUPT',
      `${directory} has no manifest, and without one nothing says which bytes are whose. Check the ` +
        'path, or restore the store from a backup.',
      { details: { path: directory } },
    );
  }

  #openData(): DataFile | undefined {
    const path = join(this.directory, DATA_FILE);
    const { blobBytes } = this;
    try {
      return new DataFile(this.#access.fs, {
        path,
        blobBytes,
        directWrites: false,
        access: 'read',
      });
    } catch (error) {
      if (this.state.blobs.size > 0) this.findings.push(findingOf(error, path));
      return undefined;
    }
  }

  /** What is mapped, in the order of the slots; without bulk loads that nothing has adopted. */
  get blobs(): BlobMapping[] {
    const { blobs, roots } = this.state;
    const ranges = [...roots].filter(([owner]) => owner >= BULK_OWNER);
    const isLoaded = (id: BlobId): boolean =>
      ranges.some(([owner, last]) => owner - BULK_OWNER <= id && id <= last);
    return [...blobs.values()].filter(({ id }) => !isLoaded(id)).sort((a, b) => a.slot - b.slot);
  }

  /** The blob's bytes, until the next call, or why they cannot be had. */
  read(id: BlobId): Uint8Array | VerifyCode {
    const mapping = this.state.blobs.get(id);
    if (mapping === undefined) return 'CHILD_MISSING';
    if (this.#data === undefined) return 'SLOT_MISSING';
    const bytes = this.#checksummer.scratch(this.blobBytes);
    try {
      this.#data.readSlot(mapping.slot, bytes);
    } catch (error) {
      if (!(error instanceof WeirpoolError)) throw error;
      return error.details['errno'] === 'EOF' ? 'SLOT_MISSING' : error.code;
    }
    const sum = this.#checksummer.ofScratch(this.blobBytes, id);
    return sum === mapping.checksum ? bytes : 'BLOB_CORRUPT';
  }

  // --- log ---------------------------------------------------------------------------------------------

  /**
   * The records above the checkpoint, up to the first damage, which is a finding then. Whole segments
   * that cannot be used end the log where they begin.
   */
  *records(): Generator<LogRecord, void, void> {
    let below = Number.POSITIVE_INFINITY;
    for (;;) {
      let given = 0;
      try {
        for (const record of this.#readLog(below)) {
          given++;
          yield record;
        }
        return;
      } catch (error) {
        // Only the first damage is told: what the log then ends with follows from it.
        if (below === Number.POSITIVE_INFINITY) {
          this.findings.push(findingOf(error, this.directory));
        }
        // A whole segment: those before it are read without it.
        const segment = given > 0 ? 0 : segmentOf(error);
        if (segment === 0 || segment >= below || !this.#hasBefore(segment)) return;
        below = segment;
      }
    }
  }

  #readLog(segmentsBelow: number): Generator<LogRecord, void, void> {
    const sums = new LogSums(this.#kernels);
    const { checkpointSeq } = this.state;
    const storeId = this.#storeId;
    const source = { access: this.#access, sums, storeId, checkpointSeq, segmentsBelow };
    return new LogReader(source).records();
  }

  #hasBefore(segment: number): boolean {
    return listLogFiles(this.#access).segments.some((number) => number < segment);
  }

  async close(): Promise<void> {
    await this.#data?.close();
  }
}

/** The segment that an error is about; 0: about none. */
function segmentOf(error: unknown): number {
  const path = error instanceof WeirpoolError ? error.details['path'] : undefined;
  return typeof path === 'string' ? segmentNumber(path) : 0;
}
