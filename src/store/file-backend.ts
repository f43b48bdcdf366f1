/**
 * The store in a directory: one data file, a manifest log, a lock.
 *
 * Owns:        this thread's descriptors; in the opener also the directory lock.
 * Invariants:  I6   committed slots are named by the manifest alone; nothing here writes a slot
 *                   that the caller has not given;
 *              W2D  a failed sync, here or in another thread, stops `sync` and `commit` for good.
 * Threads:     one object for each thread; see `StoreBackend`.
 *
 * For reading only, nothing in the directory or around it changes: no file, no lock, no epoch. So
 * nothing keeps a later writer out. What it commits is not seen, and what it writes over fails the
 * reader's checksums.
 *
 *   blobs.dat              slot n at byte n * blobBytes
 *   manifest-<generation>  what is committed; the highest generation counts
 *   lock-<random>          who has the directory open
 */
import { randomBytes } from 'node:crypto';
import { join, resolve } from 'node:path';
import { WeirpoolError } from '../errors.ts';
import { type FileSystem, nodeFileSystem } from '../fs/file-system.ts';
import { DirectorySync, makeDirectories, readOwn, statIfPresent } from '../fs/files.ts';
import type { Checksummer } from '../memory/checksum.ts';
import type {
  BackendContext,
  BackendHandle,
  BackendUsage,
  SlotWrite,
  SlotWriteResult,
  StoreBackend,
  StoreChange,
  StoreImage,
} from './contract.ts';
import { DataFile, type DataFileOptions } from './data-file.ts';
import { DirectoryLock, type DirectoryLockOptions } from './directory-lock.ts';
import { BLOCK_BYTES } from './manifest.ts';
import {
  type DirectoryAccess,
  dropLeftovers,
  manifestPath,
  newestGeneration,
  unknownOutcome,
} from './manifest-files.ts';
import { ManifestLog } from './manifest-log.ts';
import { type ManifestContent, readManifestHeader } from './manifest-reader.ts';
import { Positions } from './positions.ts';
import { assertSlotBytes, StoreState } from './store-state.ts';

export const DATA_FILE: string = 'blobs.dat';
const STORE_ID_BYTES = 8;
const LOG_BYTES_MIN = 1024 * 1024;

export interface FileBackendOptions {
  /** Every file call; for simulations. It is not in the handle: for the opener's thread alone. */
  readonly fileSystem?: FileSystem;
  /**
   * Opens a store that must be there, writes nothing, and takes no lock. Any number of readers may
   * have it open; while a writer has, opening is `STORE_LOCKED`. Default false.
   */
  readonly readOnly?: boolean;
  /**
   * Whether batches are written past the cache of the operating system. `auto`, the default: with
   * blobs of 512 KiB and more. Where the platform refuses, batches go through the cache.
   */
  readonly directWrites?: 'auto' | boolean;
  readonly lock?: DirectoryLockOptions;
  /** Log bytes after which a new manifest file may begin. Default 1 MiB; tests take less. */
  readonly manifestLogBytes?: number;
  /** Id of a store that is made now. Default: random. */
  readonly newStoreId?: bigint;
}

/** From which another thread builds its own backend. */
export interface FileHandle extends BackendHandle {
  readonly kind: 'file';
  readonly directory: string;
  readonly readOnly: boolean;
  /** Empty when opened for reading only. */
  readonly lockFile: string;
  /** Both 0 when a reader has found no data file. */
  readonly dataDevice: bigint;
  readonly dataInode: bigint;
  readonly directWrites: 'auto' | boolean;
}

/** What is open while the store is. */
interface OpenStore {
  /** Undefined when a reader has found none: then there are no blobs. */
  readonly data: DataFile | undefined;
  readonly log: ManifestLog;
  readonly lockFile: string;
  /** Undefined in a thread that was attached, and for reading only. */
  readonly lock: DirectoryLock | undefined;
}

const NO_LOCK_FILE = '';
const NO_DATA_FILE = { device: 0n, inode: 0n, bytes: 0 };

export class FileBackend implements StoreBackend {
  readonly directory: string;
  readonly #context: BackendContext;
  readonly #options: FileBackendOptions;
  readonly #access: DirectoryAccess;
  readonly #positions: Positions;
  readonly #readOnly: boolean;
  #store: OpenStore | undefined;
  #opened = false;
  #closing: Promise<void> | undefined;

  /** @param directory  Made by `open`, with its parents, if it is missing; unless `readOnly`. */
  constructor(directory: string, context: BackendContext, options: FileBackendOptions = {}) {
    const fs = options.fileSystem ?? nodeFileSystem;
    this.directory = resolve(directory);
    this.#context = context;
    this.#options = options;
    this.#access = { fs, directory: this.directory, directorySync: new DirectorySync(fs) };
    this.#positions = new Positions(context.shared);
    this.#readOnly = options.readOnly ?? false;
  }

  /**
   * The backend of another thread than the opener's.
   *
   * @throws {WeirpoolError} `STORE_IO`, also if the directory was replaced since it was opened.
   */
  static attach(
    handle: FileHandle,
    context: BackendContext,
    options: FileBackendOptions = {},
  ): FileBackend {
    const { directory, directWrites, lockFile, readOnly } = handle;
    const given = { ...options, directWrites, readOnly };
    const backend = new FileBackend(directory, context, given);
    const data = backend.#attachData(handle);
    backend.#opened = true;
    backend.#store = { data, log: backend.#newLog(lockFile), lockFile, lock: undefined };
    return backend;
  }

  #attachData({ dataDevice, dataInode }: FileHandle): DataFile | undefined {
    if (this.#readOnly && dataInode === NO_DATA_FILE.inode) return undefined;
    const data = this.#openData(this.#readOnly ? 'read' : 'write');
    try {
      data.assertSame(dataDevice, dataInode);
      return data;
    } catch (error) {
      void data.close();
      throw error;
    }
  }

  // --- opening -------------------------------------------------------------------------------

  async open(): Promise<StoreImage> {
    if (this.#opened) throw new TypeError('this backend was opened before: make a new one');
    this.#opened = true;
    if (this.#readOnly) return this.#openToRead();
    const { fs, directorySync } = this.#access;
    makeDirectories(fs, this.directory, directorySync);
    const lock = await DirectoryLock.acquire(fs, this.directory, this.#options.lock);
    try {
      return this.#openLocked(lock);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  #openLocked(lock: DirectoryLock): StoreImage {
    this.#positions.reset();
    const { lockFile } = lock;
    const log = this.#newLog(lockFile);
    const found = log.load();
    if (found === undefined) this.#assertNoData();
    else this.#assertUsable(found);
    const data = this.#openData('make');
    try {
      const state = found?.state ?? new StoreState();
      state.epoch++;
      const storeId = this.#storeId(found);
      log.begin(state, storeId, found?.header.generation ?? 0);
      dropLeftovers(this.#access, this.#positions.generation);
      this.#store = { data, log, lockFile, lock };
      return state.image(storeId);
    } catch (error) {
      log.close();
      void data.close();
      throw error;
    }
  }

  async #openToRead(): Promise<StoreImage> {
    const { fs } = this.#access;
    if (statIfPresent(fs, this.directory) === undefined) throw this.#noStore();
    await this.#probe();
    try {
      return this.#readFiles();
    } catch (error) {
      // A writer that has come meanwhile may have taken the files away, and is the better reason.
      await this.#probe();
      throw error;
    }
  }

  #probe(): Promise<void> {
    return DirectoryLock.probe(this.#access.fs, this.directory, this.#options.lock);
  }

  #readFiles(): StoreImage {
    this.#positions.reset();
    const log = this.#newLog(NO_LOCK_FILE);
    const found = log.load();
    if (found === undefined) {
      this.#assertNoData();
      throw this.#noStore();
    }
    this.#assertUsable(found);
    const data = this.#dataBytes() === undefined ? undefined : this.#openData('read');
    log.adopt(found);
    this.#store = { data, log, lockFile: NO_LOCK_FILE, lock: undefined };
    return found.state.image(found.header.storeId);
  }

  #noStore(): WeirpoolError {
    return new WeirpoolError(
      'STORE_IO',
      `There is no store in ${this.directory}, and opening for reading only makes none. Check the ` +
        'path, or open it for writing once.',
      { details: { operation: 'open', path: this.directory, errno: 'ENOENT' } },
    );
  }

  #newLog(lockFile: string): ManifestLog {
    return new ManifestLog({
      access: this.#access,
      positions: this.#positions,
      checksummer: this.#context.checksummer,
      blobBytes: this.#context.blobBytes,
      lockFile,
      logBytesMin: this.#options.manifestLogBytes ?? LOG_BYTES_MIN,
    });
  }

  get #dataPath(): string {
    return join(this.directory, DATA_FILE);
  }

  #openData(access: DataFileOptions['access']): DataFile {
    const { blobBytes } = this.#context;
    const directWrites = this.#options.directWrites ?? 'auto';
    const path = this.#dataPath;
    return new DataFile(this.#access.fs, { path, blobBytes, directWrites, access });
  }

  #storeId(found: ManifestContent | undefined): bigint {
    if (found !== undefined) return found.header.storeId;
    return this.#options.newStoreId ?? randomBytes(STORE_ID_BYTES).readBigUInt64LE();
  }

  /** Bytes of the data file that is there, or undefined. */
  #dataBytes(): number | undefined {
    return statIfPresent(this.#access.fs, this.#dataPath)?.bytes;
  }

  /** A data file with blobs in it whose manifest is lost must not be taken for a new store. */
  #assertNoData(): void {
    const bytes = this.#dataBytes() ?? 0;
    if (bytes === 0) return;
    throw new WeirpoolError(
      'MANIFEST_CORRUPT',
      `${this.directory} has a ${DATA_FILE} of ${bytes} bytes and no manifest to say what is in ` +
        'it. Restore the store from a backup, or give another directory.',
      { details: { path: this.directory, dataBytes: bytes } },
    );
  }

  #assertUsable({ header, state }: ManifestContent): void {
    const { blobBytes } = this.#context;
    if (header.blobBytes !== blobBytes) {
      throw new WeirpoolError(
        'BLOB_SIZE_MISMATCH',
        `The store in ${this.directory} has blobs of ${header.blobBytes} bytes, not of ` +
          `${blobBytes}. Open it with blobBytes: ${header.blobBytes}.`,
        { details: { path: this.directory, found: header.blobBytes, wanted: blobBytes } },
      );
    }
    const last = state.lastBlob();
    const needed = last === undefined ? 0 : (last.slot + 1) * blobBytes;
    const dataBytes = this.#dataBytes() ?? 0;
    if (last === undefined || dataBytes >= needed) return;
    throw new WeirpoolError(
      'MANIFEST_CORRUPT',
      `${this.#dataPath} has ${dataBytes} bytes, but the manifest names slot ` +
        `${last.slot} (blob ${last.id}), which ends at byte ${needed}: the data file was cut, ` +
        'replaced or only partly restored. Restore the store from a backup.',
      { details: { path: this.directory, id: last.id, slot: last.slot, dataBytes, needed } },
    );
  }

  // --- using ---------------------------------------------------------------------------------

  #use(): OpenStore {
    if (this.#store !== undefined) return this.#store;
    throw new WeirpoolError('POOL_CLOSED', `The store in ${this.directory} is not open.`, {
      details: { path: this.directory },
    });
  }

  /** What writing needs. */
  #useToWrite(operation: string): { readonly data: DataFile; readonly log: ManifestLog } {
    const { data, log } = this.#use();
    if (!this.#readOnly && data !== undefined) return { data, log };
    throw new WeirpoolError(
      'READ_ONLY',
      `The store in ${this.directory} was opened for reading only; nothing was written. Open it ` +
        'without readOnly to change it.',
      { details: { operation, path: this.directory } },
    );
  }

  handle(): FileHandle {
    const { data, lockFile } = this.#use();
    const { device, inode } = data?.stat() ?? NO_DATA_FILE;
    return {
      kind: 'file',
      directory: this.directory,
      readOnly: this.#readOnly,
      lockFile,
      dataDevice: device,
      dataInode: inode,
      directWrites: this.#options.directWrites ?? 'auto',
    };
  }

  readSlot(slot: number, target: Uint8Array): void {
    const { data } = this.#use();
    if (data === undefined) throw this.#noSlot(slot, target);
    data.readSlot(slot, target);
  }

  #noSlot(slot: number, target: Uint8Array): WeirpoolError {
    const { blobBytes } = this.#context;
    const path = this.#dataPath;
    assertSlotBytes(slot, target, blobBytes);
    const details = { operation: 'read', path, slot, offset: slot * blobBytes, errno: 'ENOENT' };
    return new WeirpoolError('STORE_IO', `${path} was missing when the store was opened.`, {
      details,
    });
  }

  writeSlot(slot: number, source: Uint8Array): void {
    this.#useToWrite('writeSlot').data.writeSlot(slot, source);
  }

  async writeSlots(writes: readonly SlotWrite[]): Promise<readonly SlotWriteResult[]> {
    return this.#useToWrite('writeSlots').data.writeSlots(writes);
  }

  sync(): void {
    const { data } = this.#useToWrite('sync');
    if (this.#positions.stopped) throw this.#stoppedError(data.path);
    try {
      data.sync();
    } catch (error) {
      this.#positions.stop();
      throw unknownOutcome(error as WeirpoolError);
    }
  }

  #stoppedError(path: string): WeirpoolError {
    return new WeirpoolError(
      'STORE_IO',
      `${path} is not synced any more: an earlier sync failed, and another one would succeed ` +
        'although the bytes are gone; or the directory was taken over. Close the pool and open ' +
        'the store again.',
      { outcome: 'unknown', details: { operation: 'fdatasync', path, errno: 'ESTOPPED' } },
    );
  }

  commit(change: StoreChange): void {
    this.#useToWrite('commit').log.commit(change);
  }

  /** Every file call of this store. */
  get fileSystem(): FileSystem {
    return this.#access.fs;
  }

  /**
   * What is committed, read from the manifest; under the commit lock.
   *
   * @throws {WeirpoolError} `MANIFEST_CORRUPT`, `STORE_IO`.
   */
  committed(): StoreState {
    return this.#use().log.committed();
  }

  usage(): BackendUsage {
    const { data, log } = this.#use();
    const { bytes } = data?.stat() ?? NO_DATA_FILE;
    return { dataBytes: bytes, manifestBytes: log.bytes };
  }

  /** Whether batches are written past the cache. */
  get writesDirectly(): boolean {
    return this.#use().data?.writesDirectly ?? false;
  }

  /** Whether names in the directory can be synced here; undefined before the first try. */
  get syncsDirectory(): boolean | undefined {
    return this.#access.directorySync.isSupported(this.directory);
  }

  // --- closing -------------------------------------------------------------------------------

  close(clean = true): Promise<void> {
    this.#closing ??= this.#close(clean);
    return this.#closing;
  }

  async #close(clean: boolean): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    if (store === undefined) return;
    try {
      if (clean && store.lock !== undefined) store.log.finish();
    } finally {
      store.log.close();
      await store.data?.close();
      await store.lock?.release();
    }
  }
}

/**
 * Blob size of the store in a directory; undefined if there is none.
 *
 * @throws {WeirpoolError} `MANIFEST_CORRUPT`, `FORMAT_UNSUPPORTED`, `STORE_IO`.
 */
export function storedBlobBytes(
  directory: string,
  checksummer: Checksummer,
  fs: FileSystem = nodeFileSystem,
): number | undefined {
  const path = resolve(directory);
  if (statIfPresent(fs, path) === undefined) return undefined;
  const access = { fs, directory: path, directorySync: new DirectorySync(fs) };
  const generation = newestGeneration(access);
  if (generation === 0) return undefined;
  const file = manifestPath(path, generation);
  const bytes = readOwn(fs, file, BLOCK_BYTES);
  return readManifestHeader(checksummer, { path: file, generation, bytes }).blobBytes;
}
