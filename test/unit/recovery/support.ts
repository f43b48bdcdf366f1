/** Stores with a log in real directories, and ways to harm their files. */
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { type VerifyReport, verifyStore } from '../../../src/recovery/verify.ts';
import { BULK_OWNER, type StoreChange } from '../../../src/store/contract.ts';
import { FileBackend, type FileBackendOptions } from '../../../src/store/file-backend.ts';
import { BLOCK_BYTES, FIRST_RECORD } from '../../../src/store/manifest.ts';
import {
  encodeRecord,
  GROUP_HEADER_BYTES,
  LOG_BLOCK_BYTES,
  type RecordContent,
} from '../../../src/wal/format.ts';
import { LogReader } from '../../../src/wal/reader.ts';
import { LogWriter } from '../../../src/wal/segment-writer.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { checksummer, newContext, temporaryDirectory } from '../store/support.ts';
import { accessTo, kernels, STORE_ID, sums } from '../wal/support.ts';

/** Two sectors each, so that one of them can be stale. */
export const BLOB_BYTES = 8192;
/** A header and three groups of one block. */
const SEGMENT_BYTES = 4 * LOG_BLOCK_BYTES;
const RECORD_BYTES_MAX = LOG_BLOCK_BYTES;

/** A store that is open: blobs and their mapping, and a log, as an opening makes them. */
/** Ids of records are below it: a commit leases them first. */
const LEASED = 1000;

export class TestStore {
  readonly seqs: number[] = [];
  readonly backend: FileBackend;
  readonly log: LogWriter;
  readonly epoch: number;

  private constructor(backend: FileBackend, log: LogWriter, epoch: number) {
    this.backend = backend;
    this.log = log;
    this.epoch = epoch;
  }

  static async open(directory: string, given: FileBackendOptions = {}): Promise<TestStore> {
    const { fileSystem = nodeFileSystem } = given;
    const options = { ...given, newStoreId: STORE_ID };
    const backend = new FileBackend(directory, newContext(BLOB_BYTES), options);
    const { epoch, checkpointSeq } = await backend.open();
    const parts = { access: accessTo(fileSystem, directory), sums, storeId: STORE_ID };
    const reader = new LogReader({ ...parts, checkpointSeq });
    for (const _ of reader.records());
    const sizes = { segmentBytes: SEGMENT_BYTES, recordBytesMax: RECORD_BYTES_MAX };
    const log = LogWriter.open({ ...parts, ...sizes, epoch }, reader.end, checkpointSeq);
    return new TestStore(backend, log, epoch);
  }

  /** Writes blobs to slots, and commits them with whatever else there is. */
  write(
    blobs: readonly { readonly id: number; readonly slot: number; readonly bytes: Uint8Array }[],
    change: Partial<StoreChange> = {},
  ): void {
    for (const { slot, bytes } of blobs) this.backend.writeSlot(slot, bytes);
    this.backend.sync();
    const mapped = blobs.map(({ id, slot, bytes }) => {
      return { id, slot, checksum: checksummer.of(bytes, id) };
    });
    const nextBlobId = Math.max(LEASED, ...blobs.map(({ id }) => id + 1));
    this.backend.commit({ mapped, deleted: [], nextBlobId, ...change });
  }

  /** A record in a group of its own; everything before it is synced, and the group says so. */
  append(content: Partial<RecordContent> = {}): number {
    this.log.sync();
    const record = { kind: 1, owner: 1, created: [], deleted: [], payload: new Uint8Array(3000) };
    const seed = sums.seed(STORE_ID, this.epoch);
    const bytes = encodeRecord(sums, seed, { ...record, ...content }, this.log.writtenSeq);
    this.seqs.push(this.log.append([bytes], this.log.writtenSeq));
    return this.log.writtenSeq;
  }

  async close(clean = true): Promise<void> {
    this.log.close();
    await this.backend.close(clean);
  }
}

export const SECTOR: number = 4096;
/** Of the manifest: the snapshot, then one block for each commit. */
export const CHANGE_1: number = FIRST_RECORD + BLOCK_BYTES;
export const CHANGE_2: number = CHANGE_1 + BLOCK_BYTES;
export const GROUP_1: number = LOG_BLOCK_BYTES;
export const GROUP_2: number = GROUP_1 + LOG_BLOCK_BYTES;
export const GROUP_3: number = GROUP_2 + LOG_BLOCK_BYTES;
/** Of a group: into the payload of its record. */
export const IN_RECORD: number = GROUP_HEADER_BYTES + 500;

/**
 * Six blobs in slots 0 to 5, committed by two changes; eight records in three segments, of which
 * the first two are covered by the checkpoint. The last record is in the second group of `wal-3`.
 */
export async function newStore({ clean = true } = {}) {
  const random = Random.fork(testSeed(), 1);
  const directory = temporaryDirectory();
  const store = await TestStore.open(directory);
  const blobs = [0, 1, 2, 3, 4, 5].map((slot) => {
    return { id: slot + 1, slot, bytes: randomBlob(random) };
  });
  for (let n = 0; n < 8; n++)
    store.append({ created: n > 1 ? [20 + n, 10 + n] : [], deleted: [n + 1] });
  store.write(blobs.slice(0, 3));
  const roots = new Map([
    [1, 4],
    [BULK_OWNER + 30, 33],
  ]);
  const checkpointSeq = store.seqs[1] as number;
  store.write(blobs.slice(3), { roots, checkpointSeq, nextBlobId: 34 });
  await store.close(clean);
  const path = (name: string) => join(directory, name);
  return { directory, path, blobs, seqs: store.seqs, random };
}

export function randomBlob(random: Random): Uint8Array {
  return random.fill(new Uint8Array(BLOB_BYTES));
}

export function verify(directory: string): Promise<VerifyReport> {
  return verifyStore(directory, { kernels });
}

/** The findings without their messages, and with names instead of paths. */
export async function found(directory: string): Promise<unknown[]> {
  const { findings } = await verify(directory);
  return findings.map(({ message, path, ...rest }) => {
    if (!/[.?]$/.test(message)) throw new Error(`no sentence: ${message}`);
    return { ...rest, path: path === directory ? '.' : path.slice(directory.length + 1) };
  });
}

export function bytesAt(path: string, offset: number, bytes: number): Uint8Array {
  return readFileSync(path).subarray(offset, offset + bytes);
}

export function overwrite(path: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

export function flipBit(path: string, offset: number, bit: number): void {
  const [byte = 0] = bytesAt(path, offset, 1);
  overwrite(path, offset, Uint8Array.of(byte ^ (1 << bit)));
}

/** Content of all files by name. */
export function filesOf(directory: string): Map<string, string> {
  const names = readdirSync(directory).sort();
  return new Map(names.map((name) => [name, readFileSync(join(directory, name)).toString('hex')]));
}
