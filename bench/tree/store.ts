/**
 * What the tree benchmark asks of a store; each one does it in its own fastest way.
 *
 * One handle for each thread. What a store can do only asynchronously, it does as many at a time as
 * serve it best, and gives a promise; the others give nothing, so nobody waits for a turn of the loop.
 */
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Values } from './workload.ts';

export const OWN = 'weirpool';
export const PEERS = ['lmdb', 'classic-level', 'better-sqlite3'] as const;
export type StoreName = typeof OWN | (typeof PEERS)[number];

/** Keys and values that this thread has made. */
export interface Supply {
  readonly keys: readonly string[];
  readonly values: Values;
}

/** Which keys are put, in this order: indexes of `order` from `from` to `end` - 1. */
export interface Span {
  readonly order: Uint32Array;
  readonly from: number;
  readonly end: number;
}

export interface Store {
  /** A copy of the value. */
  get(key: string): Uint8Array | undefined;
  /** Word 0 of the value, without a copy if the store can; -1 if there is no value. */
  read(key: string): number;
  /** Each put a commit of its own; nothing is synced. */
  putEach(span: Span): void | Promise<void>;
  /** One commit for all; nothing is synced. */
  putBatch(span: Span): void | Promise<void>;
  /** Every entry in order, key and value: the sum of the values' words. */
  scan(): number | Promise<number>;
  /** What is left to be done behind the puts: rounds, compaction, the log's way into the file. */
  settle(): void | Promise<void>;
  close(): void | Promise<void>;
}

/** What stores are opened with. */
export interface StoreOptions {
  readonly directory: string;
  readonly supply: Supply;
  /** Memory for the store's own cache, in bytes. */
  readonly cacheBytes: number;
}

export const CACHE_BYTES: number = 256 * 1024 * 1024;

/** An empty directory. */
export function emptyDirectory(directory: string): string {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** Bytes of the files below a directory. */
export function bytesBelow(directory: string): number {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}
