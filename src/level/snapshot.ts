/**
 * Explicit snapshots of a level database.
 *
 * Owns:        one open epoch, until it is closed.
 * Threads:     belongs to the thread that has taken it.
 */
import { AbstractSnapshot } from 'abstract-level';
import { attached, type Owner } from './attached.ts';
import type { Database } from './database.ts';

/** As abstract-level declares it nowhere. */
export interface SnapshotOptions {
  /** The database that closes it with itself. */
  readonly owner: Owner;
}

const Base = AbstractSnapshot as unknown as new (options: SnapshotOptions) => AbstractSnapshot;

export class WeirSnapshot extends Base {
  readonly #database: Database;
  readonly #epoch: number;

  constructor(database: Database, options: SnapshotOptions) {
    super(options);
    this.#database = database;
    this.#epoch = attached(options.owner, this, () => database.openSnapshot());
  }

  /**
   * @internal What to read a database with.
   * @throws {TypeError} the snapshot is another one's.
   */
  epochIn(database: Database): number {
    if (database === this.#database) return this.#epoch;
    throw new TypeError('The snapshot is of another database, or of another thread');
  }

  async _close(): Promise<void> {
    this.#database.closeSnapshot(this.#epoch);
  }
}
