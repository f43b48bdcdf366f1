/**
 * What the tree benchmark asks of a store; each one does it in its own fastest way.
 *
 * One object for each thread. What a store does only asynchronously gives a promise; what it does at
 * once gives nothing, so nobody waits for a turn of the loop.
 */
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { WeirpoolHandle } from '../../src/index.ts';
import type { Supply } from './workload.ts';

export const OWN = 'weirpool';
export const PEERS = ['lmdb', 'classic-level', 'better-sqlite3'] as const;
/** The same program without a store: what its memory is compared with. */
export const NO_STORE = 'none';
export type StoreName = typeof OWN | (typeof PEERS)[number] | typeof NO_STORE;

export type Later<T> = T | Promise<T>;

export interface Store {
  /** For other threads, if they cannot open the store by its directory. */
  readonly handle?: WeirpoolHandle;
  /** A copy of the value. */
  get(key: string): Uint8Array | undefined;
  /** Word 0 of the value, without a copy if the store can; -1 if there is no value. */
  read(key: string): number;
  /** A commit of its own; nothing is synced. Several may be under way. */
  put(key: string, value: Uint8Array): Promise<unknown> | undefined;
  /** Several puts under way: each survives power loss when its promise is fulfilled. */
  putSynced(key: string, value: Uint8Array): Promise<unknown>;
  /** Keys `from` to `end` - 1 of the supply, one commit for all; nothing is synced. */
  putBatch(supply: Supply, from: number, end: number): Later<void>;
  deleteBatch(supply: Supply, from: number, end: number): Later<void>;
  /** Every entry in order, key and value: the sum of the values' words. */
  scan(): Later<number>;
  /** Keys up to and with the first slash, each once; by reading all keys if there is no better call. */
  rollUp(): Later<readonly string[]>;
  /** The same with a seek behind each of them, written by hand if there is no better call. */
  rollUpBySeeks(): Later<readonly string[]>;
  /** What is left to be done behind the puts: rounds, compaction, the log's way into the file. */
  settle(): Later<void>;
  /** Bytes of data that a settled store needs on the disk, without its log. */
  liveBytes(): number;
  close(): Later<void>;
}

/**
 * What a store is opened for: by one thread alone, by several, with everything synced, to be small, with
 * little memory.
 */
export type Purpose = 'alone' | 'threads' | 'synced' | 'small' | 'cold';

/** What stores are opened with. */
export interface StoreOptions {
  readonly directory: string;
  readonly purpose: Purpose;
  /** Memory for the store's own cache, in bytes. */
  readonly cacheBytes: number;
  /** Bytes of a blob of weirpool. */
  readonly blobBytes: number;
}

/** What a store is loaded with. */
export interface Contents {
  readonly name: string;
  readonly keys: number;
  readonly blobBytes: number;
}

/** For a thread that joins. */
export interface StoreReference {
  readonly name: StoreName;
  readonly options: StoreOptions;
  readonly handle: WeirpoolHandle | undefined;
}

const KIB = 1024;
const MIB = 1024 * KIB;
export const BLOB_BYTES: number = 512 * KIB;
export const SMALL_BLOB_BYTES: number = 64 * KIB;
export const CACHE_BYTES: number = 256 * MIB;
export const SMALL_CACHE_BYTES: number = 64 * MIB;
/** About a quarter of the store with COLD_KEYS. */
export const COLD_CACHE_BYTES: number = 16 * MIB;

/** The first key above all that begin with `prefix`, which ends with a slash. */
export function behind(prefix: string): string {
  return `${prefix.slice(0, -1)}0`;
}

/** A key up to and with its first slash. */
export function topOf(key: string): string {
  return key.slice(0, key.indexOf('/') + 1);
}

/** Common prefixes of keys in order. */
export function rollUpAll(keys: Iterable<string>): string[] {
  const found: string[] = [];
  let last = '/';
  for (const key of keys) {
    if (key.startsWith(last)) continue;
    last = topOf(key);
    found.push(last);
  }
  return found;
}

/** The same with `first(key)`, which seeks the first key that is at least `key`. */
export function rollUpSeeking(first: (key: string) => string | undefined): string[] {
  const found: string[] = [];
  for (let key = first(''); key !== undefined; ) {
    const top = topOf(key);
    found.push(top);
    key = first(behind(top));
  }
  return found;
}

/** An empty directory. */
export function emptyDirectory(directory: string): string {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** Bytes of the files below a directory, logs left out. */
export function dataBytesBelow(directory: string): number {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && !/(?:\.log|^LOG(?:\.old)?|-wal|-shm)$/.test(entry.name))
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}
