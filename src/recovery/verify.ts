/**
 * Checking a store in a directory from its files alone, without opening it.
 *
 * Owns:        one descriptor of the data file while it reads.
 * Invariants:  I6   is checked: no two blobs share a slot;
 *              nothing is written, and no lock is taken: whoever calls makes sure that no writer
 *              has the store open, whose slots, manifests and segments would change meanwhile;
 *              damage is never thrown: everything that is found is reported.
 * Threads:     private to the caller, whom it keeps busy.
 *
 * What is looked at:
 *
 *   manifest   the newest generation, as an opening reads it, up to its first damage. Older ones
 *              are leftovers. Without a valid manifest nobody knows which blobs there are; the log
 *              is then checked by itself.
 *   mapping    every id is below the next one; every slot is the blob's own, and in the data file;
 *              every root names a blob.
 *   blobs      the bytes of every blob against its checksum, one blob at a time.
 *   log        see verify-log.ts.
 *
 * What cannot be found is the same as for an opening (docs/format.md): the last change record and
 * the last records of the log, if damaged after a crash, look like tails that never reached the
 * disk. Slots that the mapping does not name, the spare and temporary files mean nothing.
 */
import { join, resolve } from 'node:path';
import { type FileSystem, nodeFileSystem } from '../fs/file-system.ts';
import { DirectorySync, readOwn, statIfPresent } from '../fs/files.ts';
import { Checksummer } from '../memory/checksum.ts';
import type { WasmModule } from '../memory/webassembly.ts';
import { type BlobId, type BlobMapping, BULK_OWNER } from '../store/contract.ts';
import { DataFile } from '../store/data-file.ts';
import { DATA_FILE } from '../store/file-backend.ts';
import type { ManifestHeader } from '../store/manifest.ts';
import { type DirectoryAccess, manifestPath, newestGeneration } from '../store/manifest-files.ts';
import {
  type ManifestContent,
  readManifestHeader,
  readManifestUnchecked,
} from '../store/manifest-reader.ts';
import type { StoreState } from '../store/store-state.ts';
import { LogSums } from '../wal/format.ts';
import { listLogFiles } from '../wal/segment-files.ts';
import { findingOf, type VerifyFinding } from './finding.ts';
import { checkLog, type LogExpectation } from './verify-log.ts';

export type { VerifyCode, VerifyFinding } from './finding.ts';

/** What a manifest is summed with, piece by piece. */
const SCRATCH_BYTES = 64 * 1024;

export interface VerifyOptions {
  readonly kernels: WasmModule;
  /** Every file call; for simulations. */
  readonly fileSystem?: FileSystem;
}

export interface VerifyReport {
  /** One for each damage; none for a healthy store. */
  readonly findings: readonly VerifyFinding[];
  /** Blobs whose bytes were read and compared. */
  readonly blobs: number;
  /** Records of the log above the checkpoint seq that could be read. */
  readonly logRecords: number;
  /** Of the newest manifest; 0 if there is none. */
  readonly generation: number;
  /** From here on from the manifest; undefined if it cannot be read. */
  readonly blobBytes: number | undefined;
  readonly storeId: bigint | undefined;
  readonly checkpointSeq: number | undefined;
  /** Without the ids that records of the log create. */
  readonly nextBlobId: BlobId | undefined;
  readonly commitNumber: number | undefined;
}

interface FoundManifest {
  readonly path: string;
  readonly header: ManifestHeader;
  /** Undefined if only the header is whole. */
  readonly content: ManifestContent | undefined;
}

/** First and last id of each bulk load that nothing has adopted yet. */
function reservedRanges({ roots }: StoreState): readonly (readonly [BlobId, BlobId])[] {
  return [...roots]
    .filter(([owner]) => owner >= BULK_OWNER)
    .map(([owner, last]) => [owner - BULK_OWNER, last]);
}

function expectationOf({ header, state }: ManifestContent): LogExpectation {
  const ranges = reservedRanges(state);
  return {
    checkpointSeq: state.checkpointSeq,
    epoch: header.epoch,
    isMapped: (id) => state.blobs.has(id),
    isReserved: (id) => ranges.some(([first, last]) => first <= id && id <= last),
  };
}

class Verification {
  readonly #access: DirectoryAccess;
  readonly #kernels: WasmModule;
  readonly #findings: VerifyFinding[] = [];
  #blobs = 0;
  #logRecords = 0;

  constructor(directory: string, { kernels, fileSystem: fs = nodeFileSystem }: VerifyOptions) {
    this.#access = { fs, directory, directorySync: new DirectorySync(fs) };
    this.#kernels = kernels;
  }

  async run(): Promise<VerifyReport> {
    const { directory } = this.#access;
    const generation = this.#attempt(directory, () => newestGeneration(this.#access));
    if (generation === undefined) return this.#report(0, undefined);
    if (generation === 0) this.#reportLostManifest();
    const manifest = generation === 0 ? undefined : this.#readManifest(generation);
    // Of a format of the future nothing more can be said.
    if (this.#findings.some(({ code }) => code === 'FORMAT_UNSUPPORTED')) {
      return this.#report(generation, undefined);
    }
    if (manifest?.content !== undefined) await this.#checkState(manifest.path, manifest.content);
    this.#checkLog(manifest);
    return this.#report(generation, manifest);
  }

  #report(generation: number, manifest: FoundManifest | undefined): VerifyReport {
    const state = manifest?.content?.state;
    return {
      findings: this.#findings,
      blobs: this.#blobs,
      logRecords: this.#logRecords,
      generation,
      blobBytes: manifest?.header.blobBytes,
      storeId: manifest?.header.storeId,
      checkpointSeq: state?.checkpointSeq,
      nextBlobId: state?.nextBlobId,
      commitNumber: state?.commitNumber,
    };
  }

  /** What the call returns, or undefined: then it has become a finding. */
  #attempt<T>(path: string, call: () => T, facts: { readonly id?: BlobId } = {}): T | undefined {
    try {
      return call();
    } catch (error) {
      this.#findings.push({ ...findingOf(error, path), ...facts });
      return undefined;
    }
  }

  // --- manifest ----------------------------------------------------------------------------------

  #readManifest(generation: number): FoundManifest | undefined {
    const path = manifestPath(this.#access.directory, generation);
    const checksummer = new Checksummer(this.#kernels, SCRATCH_BYTES);
    const bytes = this.#attempt(path, () => readOwn(this.#access.fs, path));
    if (bytes === undefined) return undefined;
    const file = { path, generation, bytes };
    const header = this.#attempt(path, () => readManifestHeader(checksummer, file));
    if (header === undefined) return undefined;
    const content = this.#attempt(path, () => readManifestUnchecked(checksummer, file));
    return { path, header, content };
  }

  /** Without a manifest: either it is lost, or there is no store. */
  #reportLostManifest(): void {
    const { fs, directory } = this.#access;
    const data = this.#attempt(directory, () => statIfPresent(fs, join(directory, DATA_FILE)));
    const segments = this.#attempt(directory, () => listLogFiles(this.#access).segments) ?? [];
    const isStore = (data?.bytes ?? 0) > 0 || segments.length > 0;
    this.#findings.push({
      code: isStore ? 'MANIFEST_CORRUPT' : 'STORE_IO',
      path: directory,
      message: isStore
        ? `${directory} has blobs or a log, and no manifest to say what is in them. Restore the ` +
          'store from a backup.'
        : `There is no store in ${directory}. Check the path.`,
    });
  }

  // --- blobs and roots ---------------------------------------------------------------------------

  async #checkState(path: string, { header, state }: ManifestContent): Promise<void> {
    this.#checkIds(path, state);
    const blobs = [...state.blobs.values()].sort((a, b) => a.slot - b.slot || a.id - b.id);
    this.#checkSlots(path, blobs);
    await this.#checkBlobs(blobs, header.blobBytes);
  }

  #checkIds(path: string, state: StoreState): void {
    const { blobs, nextBlobId, roots } = state;
    for (const id of blobs.keys()) this.#checkAllocated(path, id, nextBlobId);
    for (const [, last] of reservedRanges(state)) this.#checkAllocated(path, last, nextBlobId);
    for (const [owner, id] of roots) {
      if (owner >= BULK_OWNER || blobs.has(id)) continue;
      const message =
        `${path} names blob ${id} as the root of owner ${owner}, and has no such blob. Restore ` +
        'the store from a backup.';
      this.#findings.push({ code: 'ROOT_MISSING', path, id, message });
    }
  }

  #checkAllocated(path: string, id: BlobId, nextBlobId: BlobId): void {
    if (id < nextBlobId) return;
    const message =
      `${path} maps blob ${id}, and hands out ids from ${nextBlobId} on: the id would be given ` +
      'again. Do not write to the store; restore it from a backup.';
    this.#findings.push({ code: 'ID_NOT_ALLOCATED', path, id, message });
  }

  /** @param blobs  In the order of their slots. */
  #checkSlots(path: string, blobs: readonly BlobMapping[]): void {
    let before: BlobMapping | undefined;
    for (const blob of blobs) {
      const { id, slot } = blob;
      if (before?.slot === slot) {
        const message =
          `${path} gives slot ${slot} to blob ${before.id} and to blob ${id}. Restore the store ` +
          'from a backup.';
        this.#findings.push({ code: 'SLOT_SHARED', path, id, slot, message });
      }
      before = blob;
    }
  }

  async #checkBlobs(blobs: readonly BlobMapping[], blobBytes: number): Promise<void> {
    const { fs, directory } = this.#access;
    const path = join(directory, DATA_FILE);
    const dataBytes = this.#attempt(path, () => statIfPresent(fs, path)?.bytes ?? 0);
    if (dataBytes === undefined) return;
    const isThere = ({ slot }: BlobMapping): boolean => (slot + 1) * blobBytes <= dataBytes;
    for (const { id, slot } of blobs.filter((blob) => !isThere(blob))) {
      const message =
        `${path} has ${dataBytes} bytes, and slot ${slot} of blob ${id} ends at byte ` +
        `${(slot + 1) * blobBytes}. Restore the store from a backup.`;
      this.#findings.push({ code: 'SLOT_MISSING', path, id, slot, message });
    }
    const there = blobs.filter(isThere);
    if (there.length === 0) return;
    const settings = { path, blobBytes, directWrites: false, access: 'read' } as const;
    const data = this.#attempt(path, () => new DataFile(fs, settings));
    if (data === undefined) return;
    const checksummer = new Checksummer(this.#kernels, blobBytes);
    try {
      for (const blob of there) {
        const { id, slot } = blob;
        const check = (): void => {
          data.readSlot(slot, checksummer.scratch(blobBytes));
          this.#compare(path, blob, slot * blobBytes, checksummer.ofScratch(blobBytes, id));
        };
        this.#attempt(path, check, { id });
      }
    } finally {
      await data.close();
    }
  }

  #compare(path: string, { id, slot, checksum }: BlobMapping, offset: number, sum: bigint): void {
    this.#blobs++;
    if (sum === checksum) return;
    const message =
      `${path} has bytes for blob ${id} in slot ${slot} (offset ${offset}) that do not match their ` +
      'checksum. Restore the store from a backup.';
    this.#findings.push({ code: 'BLOB_CORRUPT', path, offset, id, slot, message });
  }

  // --- log ---------------------------------------------------------------------------------------

  #checkLog(manifest: FoundManifest | undefined): void {
    const check = checkLog({
      access: this.#access,
      sums: new LogSums(this.#kernels),
      storeId: manifest?.header.storeId,
      expectation: manifest?.content && expectationOf(manifest.content),
    });
    this.#findings.push(...check.findings);
    this.#logRecords = check.records;
  }
}

/**
 * Checks the store in a directory, and writes nothing. No writer may have it open meanwhile.
 *
 * @returns Everything that was found. Damage and failing reads are never thrown.
 */
export function verifyStore(directory: string, options: VerifyOptions): Promise<VerifyReport> {
  return new Verification(resolve(directory), options).run();
}
