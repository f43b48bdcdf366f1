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
 *   content    what lies in the blobs, by whoever knows it: src/tree/verify-trees.ts for trees.
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
import { Pace, type PaceOptions, type Progress } from './pace.ts';
import { checkLog, type LogExpectation } from './verify-log.ts';

export type { FindingCode, VerifyCode, VerifyFinding } from './finding.ts';

/** What a manifest is summed with, piece by piece. */
const SCRATCH_BYTES = 64 * 1024;

/**
 * What is being looked at: `blobs` (their bytes, each by itself), `trees` (how the blobs hang
 * together; counted are blobs), `log` (counted are records).
 */
export type VerifyPhase = 'blobs' | 'trees' | 'log';
export type VerifyProgress = Progress<VerifyPhase>;

export interface VerifyStoreOptions extends PaceOptions<VerifyPhase> {
  readonly kernels: WasmModule;
  /** Every file call; for simulations. */
  readonly fileSystem?: FileSystem;
  /** Knows what the blobs hold; without it only their bytes are compared. */
  readonly content?: MakeContentCheck;
}

/** A committed store, for those who look at its content. */
export interface CommittedStore {
  readonly state: StoreState;
  readonly blobBytes: number;
  /** Of the data file. */
  readonly path: string;
}

/** A tree as the last checkpoint has it: what the log has beyond is not in these figures. */
export interface TreeSummary {
  readonly name: string;
  /** Id of its root. */
  readonly root: BlobId;
  readonly entries: number;
  readonly nodes: number;
  /** Blobs of values that are too long for a node. */
  readonly overflowBlobs: number;
  /** Levels; 1 for a tree that is one leaf. */
  readonly height: number;
}

export interface ContentReport {
  readonly findings: readonly VerifyFinding[];
  readonly trees: readonly TreeSummary[];
}

/** Looks at blobs whose bytes are those that were committed. */
export interface ContentCheck {
  /** Each blob once, in any order; the bytes last until the call returns. */
  blob(id: BlobId, bytes: Uint8Array): void;
  /** The bytes of this one cannot be had; that is reported already. */
  unreadable(id: BlobId): void;
  /**
   * After all blobs.
   *
   * @param read  The bytes of a blob once more, until the next call; undefined: not any longer.
   * @param step  Called after each blob, with how many there were.
   */
  finish(
    read: (id: BlobId) => Uint8Array | undefined,
    step: (done: number) => Promise<void>,
  ): Promise<ContentReport>;
}

export type MakeContentCheck = (store: CommittedStore) => ContentCheck;

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
  /** Of the last checkpoint, in the order of their names; those that are being dropped left out. */
  readonly trees: readonly TreeSummary[];
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
    nextBlobId: state.nextBlobId,
    isMapped: (id) => state.blobs.has(id),
    isReserved: (id) => ranges.some(([first, last]) => first <= id && id <= last),
  };
}

interface BlobSource {
  readonly data: DataFile;
  readonly checksummer: Checksummer;
  readonly blobBytes: number;
}

/** Reads a blob into the checksummer's scratch area: its checksum. */
function sumOf({ data, checksummer, blobBytes }: BlobSource, { id, slot }: BlobMapping): bigint {
  data.readSlot(slot, checksummer.scratch(blobBytes));
  return checksummer.ofScratch(blobBytes, id);
}

class Verification {
  readonly #access: DirectoryAccess;
  readonly #kernels: WasmModule;
  readonly #findings: VerifyFinding[] = [];
  readonly #content: MakeContentCheck | undefined;
  readonly #pace: Pace<VerifyPhase>;
  #trees: readonly TreeSummary[] = [];
  #blobs = 0;
  #logRecords = 0;

  constructor(directory: string, options: VerifyStoreOptions) {
    const { kernels, fileSystem: fs = nodeFileSystem, content, onProgress, signal } = options;
    this.#access = { fs, directory, directorySync: new DirectorySync(fs) };
    this.#kernels = kernels;
    this.#content = content;
    this.#pace = new Pace({ onProgress, signal });
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
      trees: this.#trees,
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
    const data = join(this.#access.directory, DATA_FILE);
    const content = this.#content?.({ state, blobBytes: header.blobBytes, path: data });
    await this.#checkBlobs(data, blobs, header.blobBytes, content);
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

  async #checkBlobs(
    path: string,
    blobs: readonly BlobMapping[],
    blobBytes: number,
    content: ContentCheck | undefined,
  ): Promise<void> {
    const { fs } = this.#access;
    const dataBytes = this.#attempt(path, () => statIfPresent(fs, path)?.bytes ?? 0);
    if (dataBytes === undefined) return;
    const isThere = ({ slot }: BlobMapping): boolean => (slot + 1) * blobBytes <= dataBytes;
    for (const { id, slot } of blobs.filter((blob) => !isThere(blob))) {
      const message =
        `${path} has ${dataBytes} bytes, and slot ${slot} of blob ${id} ends at byte ` +
        `${(slot + 1) * blobBytes}. Restore the store from a backup.`;
      this.#findings.push({ code: 'SLOT_MISSING', path, id, slot, message });
      content?.unreadable(id);
    }
    const there = blobs.filter(isThere);
    if (there.length === 0) return;
    const settings = { path, blobBytes, directWrites: false, access: 'read' } as const;
    const data = this.#attempt(path, () => new DataFile(fs, settings));
    if (data === undefined) return;
    try {
      const source = { data, checksummer: new Checksummer(this.#kernels, blobBytes), blobBytes };
      await this.#readAll(source, there, content);
      if (content !== undefined) await this.#checkContent(source, there, content);
    } finally {
      await data.close();
    }
  }

  async #readAll(
    source: BlobSource,
    blobs: readonly BlobMapping[],
    content: ContentCheck | undefined,
  ): Promise<void> {
    const { path } = source.data;
    this.#pace.begin('blobs', blobs.length);
    for (const [index, blob] of blobs.entries()) {
      const { id, slot } = blob;
      const sum = this.#attempt(path, () => sumOf(source, blob), { id });
      if (sum !== undefined) this.#compare(path, blob, slot * source.blobBytes, sum);
      if (sum === blob.checksum) content?.blob(id, source.checksummer.scratch(source.blobBytes));
      else content?.unreadable(id);
      await this.#pace.step(index + 1, source.blobBytes);
    }
    this.#pace.end(blobs.length);
  }

  async #checkContent(
    source: BlobSource,
    blobs: readonly BlobMapping[],
    content: ContentCheck,
  ): Promise<void> {
    const byId = new Map(blobs.map((blob) => [blob.id, blob]));
    const read = (id: BlobId): Uint8Array | undefined => {
      const blob = byId.get(id);
      if (blob === undefined) return undefined;
      const sum = this.#attempt(source.data.path, () => sumOf(source, blob), { id });
      return sum === blob.checksum ? source.checksummer.scratch(source.blobBytes) : undefined;
    };
    let seen = 0;
    this.#pace.begin('trees', blobs.length);
    const step = (done: number): Promise<void> => {
      seen = done;
      return this.#pace.step(done, source.blobBytes);
    };
    const { findings, trees } = await content.finish(read, step);
    for (const finding of findings) this.#findings.push(finding);
    this.#trees = trees;
    this.#pace.end(seen);
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
    this.#pace.begin('log', 0);
    const check = checkLog({
      access: this.#access,
      sums: new LogSums(this.#kernels),
      storeId: manifest?.header.storeId,
      expectation: manifest?.content && expectationOf(manifest.content),
    });
    for (const finding of check.findings) this.#findings.push(finding);
    this.#logRecords = check.records;
    this.#pace.end(check.records);
  }
}

/**
 * Checks the store in a directory, and writes nothing. No writer may have it open meanwhile.
 *
 * @returns Everything that was found. Damage and failing reads are never thrown; the signal's reason is.
 */
export function verifyStore(directory: string, options: VerifyStoreOptions): Promise<VerifyReport> {
  return new Verification(resolve(directory), options).run();
}
