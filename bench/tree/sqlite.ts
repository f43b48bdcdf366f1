/**
 * better-sqlite3 in the tree benchmark: a table without row ids, a write-ahead log, prepared
 * statements, the file mapped.
 */
import { join } from 'node:path';
import { requirePeer } from './peers.ts';
import type { Span, Store, StoreOptions, Supply } from './store.ts';
import { indexOf, wordAt } from './workload.ts';

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
const BUSY_MS = 10_000;

export class SqliteStore implements Store {
  readonly #db: Database;
  readonly #supply: Supply;
  readonly #get: Statement;
  readonly #put: Statement;
  readonly #all: Statement;
  readonly #begin: Statement;
  readonly #commit: Statement;

  constructor({ directory, supply, cacheBytes }: StoreOptions, isSynced = false) {
    const Sqlite = requirePeer<Sqlite>('better-sqlite3');
    const db = new Sqlite(join(directory, 'data.sqlite'), { timeout: BUSY_MS });
    db.pragma('journal_mode = WAL');
    db.pragma(`synchronous = ${isSynced ? 'FULL' : 'OFF'}`);
    db.pragma(`mmap_size = ${MAP_BYTES}`);
    db.pragma(`cache_size = ${-cacheBytes / 1024}`);
    db.exec('CREATE TABLE IF NOT EXISTS bench (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID');
    this.#db = db;
    this.#supply = supply;
    this.#get = db.prepare('SELECT v FROM bench WHERE k = ?').pluck();
    this.#put = db.prepare('INSERT OR REPLACE INTO bench VALUES (?, ?)');
    this.#all = db.prepare('SELECT k, v FROM bench ORDER BY k').raw();
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

  putEach({ order, from, end }: Span): void {
    const { keys, values } = this.#supply;
    for (let at = from; at < end; at++) {
      const index = order[at] as number;
      this.#put.run(keys[index], values.of(index));
    }
  }

  putBatch(span: Span): void {
    this.#begin.run();
    this.putEach(span);
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

  settle(): void {
    this.#db.pragma('wal_checkpoint(TRUNCATE)');
  }

  close(): void {
    this.#db.close();
  }
}
