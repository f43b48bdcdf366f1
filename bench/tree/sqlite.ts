/**
 * better-sqlite3 in the tree benchmark: a table without row ids, a write-ahead log, prepared
 * statements, the file mapped; locked once and for all where one thread has the store alone.
 *
 * It can do only one thing at a time. Synced puts that are under way become one transaction, as an
 * application would make it that has several requests to answer.
 */
import { join } from 'node:path';
import { requirePeer } from './peers.ts';
import {
  dataBytesBelow,
  rollUpAll,
  rollUpSeeking,
  type Store,
  type StoreOptions,
} from './store.ts';
import { indexOf, type Supply, wordAt } from './workload.ts';

interface Statement {
  pluck(): this;
  raw(): this;
  get(...values: unknown[]): unknown;
  run(...values: unknown[]): unknown;
  iterate(...values: unknown[]): IterableIterator<unknown>;
}

interface Database {
  pragma(text: string): unknown;
  exec(text: string): void;
  prepare(text: string): Statement;
  close(): void;
}

type Sqlite = new (path: string, options?: object) => Database;

const MAP_BYTES = 2 ** 30;
/** Ten times the default: pages that change again are written once. */
const CHECKPOINT_PAGES = 10_000;
const BUSY_MS = 10_000;

export class SqliteStore implements Store {
  readonly #db: Database;
  readonly #get: Statement;
  readonly #put: Statement;
  readonly #all: Statement;
  readonly #keys: Statement;
  readonly #first: Statement;
  readonly #delete: Statement;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #directory: string;
  /** Synced puts that are under way. */
  #waiting: { readonly key: string; readonly value: Uint8Array; readonly done: () => void }[] = [];

  constructor({ directory, cacheBytes, purpose }: StoreOptions) {
    this.#directory = directory;
    const Sqlite = requirePeer<Sqlite>('better-sqlite3');
    const db = new Sqlite(join(directory, 'data.sqlite'), { timeout: BUSY_MS });
    // Before the log is opened: then its index needs no memory that is shared with others.
    if (purpose === 'alone') db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('journal_mode = WAL');
    db.pragma(`synchronous = ${purpose === 'synced' ? 'FULL' : 'OFF'}`);
    db.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    db.pragma(`mmap_size = ${MAP_BYTES}`);
    db.pragma(`cache_size = ${-cacheBytes / 1024}`);
    db.exec('CREATE TABLE IF NOT EXISTS bench (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID');
    this.#db = db;
    this.#get = db.prepare('SELECT v FROM bench WHERE k = ?').pluck();
    this.#put = db.prepare('INSERT OR REPLACE INTO bench VALUES (?, ?)');
    this.#all = db.prepare('SELECT k, v FROM bench ORDER BY k').raw();
    this.#keys = db.prepare('SELECT k FROM bench ORDER BY k').pluck();
    this.#first = db.prepare('SELECT k FROM bench WHERE k >= ? ORDER BY k LIMIT 1').pluck();
    this.#delete = db.prepare('DELETE FROM bench WHERE k = ?');
    this.#begin = db.prepare('BEGIN IMMEDIATE');
    this.#commit = db.prepare('COMMIT');
  }

  get(key: string): Uint8Array | undefined {
    return this.#get.get(key) as Uint8Array | undefined;
  }

  read(key: string): number {
    const value = this.get(key);
    return value === undefined ? -1 : wordAt(value, 0);
  }

  put(key: string, value: Uint8Array): undefined {
    this.#put.run(key, value);
  }

  putSynced(key: string, value: Uint8Array): Promise<unknown> {
    if (this.#waiting.length === 0) setImmediate(() => this.#putWaiting());
    return new Promise<void>((done) => this.#waiting.push({ key, value, done }));
  }

  #putWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#begin.run();
    for (const { key, value } of waiting) this.#put.run(key, value);
    this.#commit.run();
    for (const { done } of waiting) done();
  }

  putBatch(supply: Supply, from: number, end: number): void {
    this.#begin.run();
    for (let at = from; at < end; at++) this.#put.run(supply.keys[at], supply.valueAt(at));
    this.#commit.run();
  }

  deleteBatch({ keys }: Supply, from: number, end: number): void {
    this.#begin.run();
    for (let at = from; at < end; at++) this.#delete.run(keys[at]);
    this.#commit.run();
  }

  scan(): number {
    let sum = 0;
    for (const row of this.#all.iterate()) {
      const [key, value] = row as [string, Uint8Array];
      if (key.length > 0) sum += indexOf(value);
    }
    return sum;
  }

  rollUp(): string[] {
    return rollUpAll(this.#keys.iterate() as IterableIterator<string>);
  }

  rollUpBySeeks(): string[] {
    return rollUpSeeking((key) => this.#first.get(key) as string | undefined);
  }

  settle(): void {
    this.#db.pragma('wal_checkpoint(TRUNCATE)');
  }

  liveBytes(): number {
    return dataBytesBelow(this.#directory);
  }

  close(): void {
    this.#db.close();
  }
}
