/**
 * A store of one's own, as its author would write one with nothing but what is exported: slots in one
 * file, and the whole mapping in a new small file for each commit, with a sum of its own.
 *
 *   own/slots      store slots, one behind the other
 *   own/map-<n>    the mapping after commit n; the highest one counts
 *   own/map.new    one that is being written; never read
 *
 * Owns:        the directory `own` of the store.
 * Invariants:  a mapping has its name only once it is whole and synced, and the one before goes only
 *              once that name is safe: the highest one is always whole, or damaged.
 * Threads:     one. Nothing keeps a second process out: it is for simulated disks.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { join } from 'node:path';
import type { FileSystem } from '../../../src/fs/file-system.ts';
import type { HarnessOptions } from '../../../src/harness/subject.ts';
import {
  type BackendContext,
  type BackendHandle,
  type BackendUsage,
  type BlobMapping,
  BufferPool,
  type Outcome,
  type PoolOptions,
  type SlotWrite,
  type SlotWriteResult,
  type StoreBackend,
  type StoreChange,
  type StoreImage,
  WeirpoolError,
} from '../../../src/index.ts';
import { bankSubject, OPTIONS_ON_DISKS } from './bank.ts';

const FOLDER = 'own';
const SLOTS = 'slots';
const MAP = /^map-(\d+)$/;
const NEW_MAP = 'map.new';
const SUM_BYTES = 32;
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
const { O_RDONLY, O_RDWR, O_CREAT, O_TRUNC } = constants;

function codeOf(error: unknown): string | undefined {
  return (error as { readonly code?: string }).code;
}

function ioError(operation: string, path: string, cause: unknown, outcome: Outcome): WeirpoolError {
  if (cause instanceof WeirpoolError) return cause;
  const errno = codeOf(cause) ?? 'unknown';
  const message = `${operation} failed on ${path} (${errno}).`;
  return new WeirpoolError('STORE_IO', message, {
    cause,
    outcome,
    details: { operation, path, errno },
  });
}

/** Bytes of a mapping: its sum, then JSON with integers beyond 2^53 as texts. */
function encode(image: StoreImage): Buffer {
  const json = JSON.stringify({ ...image, roots: [...image.roots] }, (_key, value) =>
    typeof value === 'bigint' ? `${value}n` : value,
  );
  const body = Buffer.from(json);
  return Buffer.concat([createHash('sha256').update(body).digest(), body]);
}

/** @throws {WeirpoolError} `MANIFEST_CORRUPT`. */
function decode(bytes: Buffer, path: string): StoreImage {
  const body = bytes.subarray(SUM_BYTES);
  const sum = createHash('sha256').update(body).digest();
  if (Buffer.compare(sum, bytes.subarray(0, SUM_BYTES)) !== 0) {
    throw new WeirpoolError('MANIFEST_CORRUPT', `${path} is damaged.`, { details: { path } });
  }
  const found = JSON.parse(body.toString(), (_key, value: unknown) =>
    typeof value === 'string' && /^\d+n$/.test(value) ? BigInt(value.slice(0, -1)) : value,
  ) as Omit<StoreImage, 'roots'> & { readonly roots: readonly [number, number][] };
  return { ...found, roots: new Map(found.roots) };
}

/** After a change. */
function changed(image: StoreImage, change: StoreChange): StoreImage {
  const blobs = new Map(image.blobs.map((blob) => [blob.id, blob]));
  for (const id of change.deleted) blobs.delete(id);
  for (const blob of change.mapped) blobs.set(blob.id, blob);
  const roots = new Map([...image.roots, ...(change.roots ?? [])].filter(([, id]) => id !== 0));
  return {
    ...image,
    blobs: [...blobs.values()] as readonly BlobMapping[],
    roots,
    nextBlobId: change.nextBlobId,
    commitNumber: image.commitNumber + 1,
    checkpointSeq: change.checkpointSeq ?? image.checkpointSeq,
  };
}

export class OwnStore implements StoreBackend {
  readonly #fs: FileSystem;
  readonly #parent: string;
  readonly #directory: string;
  readonly #context: BackendContext;
  #slots: number | undefined;
  #image: StoreImage | undefined;
  /** Number of the mapping that counts. */
  #number = 0;

  constructor(parent: string, context: BackendContext, fs: FileSystem) {
    this.#fs = fs;
    this.#parent = parent;
    this.#directory = join(parent, FOLDER);
    this.#context = context;
  }

  // --- opening and closing -----------------------------------------------------------------------------

  async open(): Promise<StoreImage> {
    this.#make();
    const path = join(this.#directory, SLOTS);
    this.#slots = this.#do('open', path, () => this.#fs.open(path, O_RDWR | O_CREAT, FILE_MODE));
    try {
      const image = this.#newest() ?? this.#first();
      this.#image = { ...image, epoch: image.epoch + 1 };
      this.#putMap(this.#image);
      return this.#image;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  #make(): void {
    try {
      this.#fs.makeDirectory(this.#directory, DIRECTORY_MODE);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw ioError('mkdir', this.#directory, error, 'not_applied');
    }
    // Whether it was there or not: who made it may not have come so far.
    this.#syncDirectory(this.#parent, 'not_applied');
  }

  #maps(): number[] {
    const names = this.#do('readdir', this.#directory, () => this.#fs.list(this.#directory));
    return names
      .map((name) => Number(MAP.exec(name)?.[1] ?? 0))
      .filter((number) => number > 0)
      .sort((a, b) => b - a);
  }

  #newest(): StoreImage | undefined {
    const [number] = this.#maps();
    if (number === undefined) return undefined;
    this.#number = number;
    const path = this.#mapPath(number);
    const fd = this.#do('open', path, () => this.#fs.open(path, O_RDONLY, 0));
    try {
      const { bytes } = this.#do('fstat', path, () => this.#fs.statFd(fd));
      const content = Buffer.alloc(bytes);
      this.#readAll(fd, path, content, 0);
      return decode(content, path);
    } finally {
      this.#fs.close(fd);
    }
  }

  #first(): StoreImage {
    return {
      storeId: randomBytes(8).readBigUInt64LE(),
      blobs: [],
      nextBlobId: 1,
      commitNumber: 0,
      epoch: 0,
      checkpointSeq: 0,
      roots: new Map(),
    };
  }

  handle(): BackendHandle {
    return { kind: 'module' };
  }

  async close(): Promise<void> {
    if (this.#slots !== undefined) this.#fs.close(this.#slots);
    this.#slots = undefined;
  }

  // --- slots -------------------------------------------------------------------------------------------

  get #slotsFd(): number {
    if (this.#slots === undefined) throw new WeirpoolError('POOL_CLOSED', 'The store is closed.');
    return this.#slots;
  }

  #offsetOf(slot: number): number {
    return slot * this.#context.blobBytes;
  }

  readSlot(slot: number, target: Uint8Array): void {
    const path = join(this.#directory, SLOTS);
    this.#readAll(this.#slotsFd, path, target, this.#offsetOf(slot));
  }

  writeSlot(slot: number, source: Uint8Array): void {
    const path = join(this.#directory, SLOTS);
    this.#writeAll(this.#slotsFd, path, source, this.#offsetOf(slot));
  }

  writeSlots(writes: readonly SlotWrite[]): Promise<readonly SlotWriteResult[]> {
    return Promise.all(writes.map((write) => this.#writeLater(write)));
  }

  async #writeLater({ slot, source }: SlotWrite): Promise<SlotWriteResult> {
    const [fd, from] = [this.#slotsFd, this.#offsetOf(slot)];
    try {
      for (let done = 0; done < source.length; ) {
        done += await this.#fs.writeAsync(fd, source.subarray(done), from + done);
      }
      return { slot, error: undefined };
    } catch (cause) {
      const path = join(this.#directory, SLOTS);
      return { slot, error: ioError('write', path, cause, 'not_applied') };
    }
  }

  sync(): void {
    const path = join(this.#directory, SLOTS);
    this.#do('fdatasync', path, () => this.#fs.syncData(this.#slotsFd), 'unknown');
  }

  // --- commits -----------------------------------------------------------------------------------------

  commit(change: StoreChange): void {
    const image = this.#image as StoreImage;
    const next = changed(image, change);
    this.#putMap(next);
    this.#image = next;
  }

  #mapPath(number: number): string {
    return join(this.#directory, `map-${number}`);
  }

  #putMap(image: StoreImage): void {
    const path = join(this.#directory, NEW_MAP);
    const flags = O_RDWR | O_CREAT | O_TRUNC;
    const fd = this.#do('open', path, () => this.#fs.open(path, flags, FILE_MODE));
    try {
      this.#writeAll(fd, path, encode(image), 0);
      this.#do('fsync', path, () => this.#fs.syncAll(fd));
    } finally {
      this.#fs.close(fd);
    }
    const name = this.#mapPath(this.#number + 1);
    this.#do('rename', name, () => this.#fs.rename(path, name), 'unknown');
    this.#syncDirectory(this.#directory, 'unknown');
    this.#number++;
    for (const old of this.#maps().filter((number) => number < this.#number)) this.#remove(old);
  }

  #remove(number: number): void {
    try {
      this.#fs.unlink(this.#mapPath(number));
    } catch {
      // It does not count any more.
    }
  }

  usage(): BackendUsage {
    const { bytes } = this.#fs.statFd(this.#slotsFd);
    return { dataBytes: bytes, manifestBytes: encode(this.#image as StoreImage).length };
  }

  // --- calls -------------------------------------------------------------------------------------------

  #do<T>(operation: string, path: string, call: () => T, outcome: Outcome = 'not_applied'): T {
    try {
      return call();
    } catch (error) {
      throw ioError(operation, path, error, outcome);
    }
  }

  #syncDirectory(path: string, outcome: Outcome): void {
    const fd = this.#do('open', path, () => this.#fs.open(path, O_RDONLY, 0), outcome);
    try {
      this.#do('fsync', path, () => this.#fs.syncAll(fd), outcome);
    } finally {
      this.#fs.close(fd);
    }
  }

  #readAll(fd: number, path: string, target: Uint8Array, from: number): void {
    for (let done = 0; done < target.length; ) {
      const rest = target.subarray(done);
      const count = this.#do('read', path, () => this.#fs.read(fd, rest, rest.length, from + done));
      if (count === 0) throw ioError('read', path, new Error('the file ends'), 'not_applied');
      done += count;
    }
  }

  #writeAll(fd: number, path: string, source: Uint8Array, from: number): void {
    for (let done = 0; done < source.length; ) {
      const rest = source.subarray(done);
      done += this.#do('write', path, () => this.#fs.write(fd, rest, from + done));
    }
  }
}

function optionsOn(directory: string, fileSystem: FileSystem): PoolOptions {
  const store = (context: BackendContext): StoreBackend =>
    new OwnStore(directory, context, fileSystem);
  return { ...OPTIONS_ON_DISKS, blobBytes: 4096, store, fileSystem };
}

/** What is wrong from the files alone. */
async function verifyOwn(directory: string, fileSystem: FileSystem): Promise<readonly string[]> {
  // Nobody has come so far as to make a store.
  if (!fileSystem.list(directory).includes(FOLDER)) return [];
  if (!fileSystem.list(join(directory, FOLDER)).some((name) => MAP.test(name))) return [];
  try {
    const pool = await BufferPool.open(directory, {
      ...optionsOn(directory, fileSystem),
      threads: 'inline',
    });
    try {
      return pool.verify().map(({ code, message }) => `verify: ${code} ${message}`);
    } finally {
      await pool.close();
    }
  } catch (error) {
    return [`opening: ${(error as Error).message}`];
  }
}

/** The bank on it. */
export const ownStoreSubject: typeof bankSubject = {
  ...bankSubject,
  name: 'own-store',
  open(directory, options) {
    const { fileSystem } = options;
    if (fileSystem === undefined) throw new Error('it is for simulated disks alone');
    const given = { ...optionsOn(directory, fileSystem), threads: options.threads };
    return bankSubject.open(directory, given as HarnessOptions);
  },
  verify(directory, fileSystem) {
    if (fileSystem === undefined) throw new Error('it is for simulated disks alone');
    return verifyOwn(directory, fileSystem);
  },
};
