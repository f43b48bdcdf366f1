/**
 * Reading a manifest: which state it holds, and whether what is missing may be missing.
 *
 * Owns:        the rule for tails. Each record was synced before the next one was written, so only
 *              the last one can be torn: a bad record ends the file quietly if nothing valid
 *              follows, and is damage if something does. A clean close has left the end and the
 *              last commit's number in the close block, and then nothing may be missing at all.
 * Threads:     private to the caller.
 */
import { WeirpoolError } from '../errors.ts';
import type { Checksummer } from '../memory/checksum.ts';
import { isBlobSize } from './contract.ts';
import {
  BLOCK_BYTES,
  CLOSE_POSITION,
  type CloseBlock,
  decodeClose,
  decodeHeader,
  decodeRecord,
  FIRST_RECORD,
  FORMAT_VERSION,
  KIND_CHANGE,
  KIND_SNAPSHOT,
  type ManifestHeader,
  type ManifestRecord,
  type ManifestSeal,
} from './manifest.ts';
import { assertChange, StoreState } from './store-state.ts';

export interface ManifestFile {
  readonly path: string;
  /** Generation in the file's name. */
  readonly generation: number;
  readonly bytes: Uint8Array;
}

export interface ManifestContent {
  readonly header: ManifestHeader;
  readonly state: StoreState;
  readonly snapshotEnd: number;
  /** Where the last valid record ends. */
  readonly logEnd: number;
  /** `closed`: by a clean close; `torn`: bytes that are no record follow the last one. */
  readonly ending: 'closed' | 'open' | 'torn';
}

export function manifestCorrupt(
  path: string,
  offset: number,
  expected: string,
  cause?: unknown,
): WeirpoolError {
  return new WeirpoolError(
    'MANIFEST_CORRUPT',
    `${path} is damaged at byte ${offset}: expected ${expected}. Restore the store from a backup.`,
    { cause, details: { path, offset, expected } },
  );
}

/** The header alone. Errors as `readManifest`. */
export function readManifestHeader(
  checksummer: Checksummer,
  { path, generation, bytes }: ManifestFile,
): ManifestHeader {
  const header = decodeHeader(checksummer, bytes);
  if (header === undefined) throw manifestCorrupt(path, 0, 'a valid header');
  if (header.formatVersion !== FORMAT_VERSION) {
    throw new WeirpoolError(
      'FORMAT_UNSUPPORTED',
      `${path} has format ${header.formatVersion}; this version of weirpool reads format ` +
        `${FORMAT_VERSION}. Open the store with the version that wrote it.`,
      { details: { path, found: header.formatVersion, supported: FORMAT_VERSION } },
    );
  }
  if (header.generation !== generation) {
    const found = `generation ${generation}, not ${header.generation} (the file was renamed)`;
    throw manifestCorrupt(path, 24, found);
  }
  // Memory is taken by it before anything else of the store is known.
  if (!isBlobSize(header.blobBytes)) {
    throw manifestCorrupt(path, 12, `a size of blobs that there is, not ${header.blobBytes} bytes`);
  }
  return header;
}

/** What makes a valid record impossible at this place, or undefined. */
function contradiction(record: ManifestRecord, state: StoreState, kind: number, epoch: number) {
  const { change } = record;
  const commitNumber = kind === KIND_SNAPSHOT ? change.commitNumber : state.commitNumber + 1;
  if (record.kind !== kind) return `a record of kind ${kind}, not ${record.kind}`;
  if (change.epoch !== epoch) return `epoch ${epoch}, not ${change.epoch}`;
  if (change.commitNumber !== commitNumber) {
    return `commit ${commitNumber}, not ${change.commitNumber}`;
  }
  if (change.nextBlobId < state.nextBlobId || change.checkpointSeq < state.checkpointSeq) {
    return `next id and checkpoint seq of at least ${state.nextBlobId}, ${state.checkpointSeq}`;
  }
  return undefined;
}

/** Applies records one after the other. */
class ManifestWalk {
  readonly state: StoreState = new StoreState();
  position: number = FIRST_RECORD;
  readonly #file: ManifestFile;
  readonly #seal: ManifestSeal;
  readonly #epoch: number;

  constructor(file: ManifestFile, seal: ManifestSeal, epoch: number) {
    this.#file = file;
    this.#seal = seal;
    this.#epoch = epoch;
  }

  /** Applies the record at the position; false if there is no valid one. */
  step(kind: number): boolean {
    const record = decodeRecord(this.#seal, this.#file.bytes, this.position);
    if (record === undefined) return false;
    const wrong = contradiction(record, this.state, kind, this.#epoch);
    if (wrong !== undefined) throw this.corrupt(wrong);
    try {
      assertChange(record.change);
    } catch (error) {
      throw this.corrupt('ids, slots and numbers within their bounds', error);
    }
    this.state.apply(record.change);
    this.position += record.paddedBytes;
    return true;
  }

  /** Whether a valid record stands behind the bad one at the position. */
  somethingFollows(): boolean {
    const { bytes } = this.#file;
    for (let at = this.position + BLOCK_BYTES; at < bytes.length; at += BLOCK_BYTES) {
      if (decodeRecord(this.#seal, bytes, at) !== undefined) return true;
    }
    return false;
  }

  corrupt(expected: string, cause?: unknown): WeirpoolError {
    return manifestCorrupt(this.#file.path, this.position, expected, cause);
  }
}

function walkClosed(walk: ManifestWalk, close: CloseBlock): void {
  while (walk.position < close.logEnd && walk.step(KIND_CHANGE));
  const { commitNumber } = walk.state;
  if (walk.position !== close.logEnd || commitNumber !== close.commitNumber) {
    throw walk.corrupt(
      `a valid record, up to commit ${close.commitNumber} and byte ${close.logEnd} as recorded ` +
        `by the clean close (found up to commit ${commitNumber})`,
    );
  }
}

/**
 * The state that a manifest holds.
 *
 * @throws {WeirpoolError} `MANIFEST_CORRUPT` with path, offset and what was expected;
 *                         `FORMAT_UNSUPPORTED`.
 */
export function readManifest(checksummer: Checksummer, file: ManifestFile): ManifestContent {
  const content = readManifestUnchecked(checksummer, file);
  assertSlotsApart(content.state, file.path);
  assertIdsLeased(content.state, file.path);
  return content;
}

/** The same where blobs may share a slot, for a check that is to name all of them. */
export function readManifestUnchecked(
  checksummer: Checksummer,
  file: ManifestFile,
): ManifestContent {
  const { content, problem } = readManifestPrefix(checksummer, file);
  if (problem !== undefined) throw problem;
  return content;
}

/** What a manifest holds before its first damage. */
export interface ManifestPrefix {
  readonly content: ManifestContent;
  /** Undefined: there is none, as far as can be told. */
  readonly problem: WeirpoolError | undefined;
}

/**
 * The state up to the first damage, for salvage.
 *
 * @throws {WeirpoolError} as `readManifest`, if header or snapshot are damaged.
 */
export function readManifestPrefix(checksummer: Checksummer, file: ManifestFile): ManifestPrefix {
  const header = readManifestHeader(checksummer, file);
  const seal = { checksummer, storeId: header.storeId, generation: header.generation };
  const walk = new ManifestWalk(file, seal, header.epoch);
  if (!walk.step(KIND_SNAPSHOT)) throw walk.corrupt('a valid snapshot');
  const snapshotEnd = walk.position;
  const close = decodeClose(seal, file.bytes);
  let problem: WeirpoolError | undefined;
  try {
    if (close !== undefined) walkClosed(walk, close);
    else walkOpen(walk);
  } catch (error) {
    problem = error as WeirpoolError;
  }
  const torn = walk.position < file.bytes.length;
  const ending = close !== undefined ? 'closed' : torn ? 'torn' : 'open';
  const content = { header, state: walk.state, snapshotEnd, logEnd: walk.position } as const;
  return { content: { ...content, ending }, problem };
}

function walkOpen(walk: ManifestWalk): void {
  while (walk.step(KIND_CHANGE));
  if (walk.somethingFollows()) throw walk.corrupt('a valid record, as one follows it');
}

function assertSlotsApart(state: StoreState, path: string): void {
  const shared = state.sharedSlot();
  if (shared === undefined) return;
  const [one, other] = shared;
  throw new WeirpoolError(
    'MANIFEST_CORRUPT',
    `${path} gives slot ${one.slot} to blob ${one.id} and to blob ${other.id}. ` +
      'Restore the store from a backup.',
    { details: { path, slot: one.slot, id: one.id, otherId: other.id } },
  );
}

/** An id that is in use would be handed out again. */
function assertIdsLeased(state: StoreState, path: string): void {
  for (const id of state.blobs.keys()) {
    if (id < state.nextBlobId) continue;
    throw new WeirpoolError(
      'MANIFEST_CORRUPT',
      `${path} maps blob ${id}, and has only leased ids below ${state.nextBlobId}. ` +
        'Restore the store from a backup.',
      { details: { path, id, nextBlobId: state.nextBlobId } },
    );
  }
}

/** Whether the file at hand begins as the manifest of this store and generation does. */
export function isManifestOf(seal: ManifestSeal, head: Uint8Array): boolean {
  const header = decodeHeader(seal.checksummer, head.subarray(0, CLOSE_POSITION));
  return header?.storeId === seal.storeId && header.generation === seal.generation;
}
