/**
 * What a thread has of a pool's log: ring, durability, mini-transactions, rounds.
 *
 * Owns:        nothing of its own; it makes the parts and holds them together.
 * Threads:     one for each thread of a pool that has a log.
 */
import { oldestDirtyMs } from '../checkpoint/checkpointer.ts';
import { type RoundReport, RoundRequests } from '../checkpoint/requests.ts';
import { FRAMES_MAX, H_DIRTY_COUNT, MISS } from '../generated/layout.ts';
import type { LogServices } from '../memory/services.ts';
import type { PoolThread } from '../memory/thread.ts';
import type { BlobId } from '../store/contract.ts';
import type { MappedStore } from '../store/mapped-store.ts';
import { type BulkHost, BulkLoad } from '../txn/bulk-load.ts';
import { Roots } from '../txn/roots.ts';
import { Transactions } from '../txn/transactions.ts';
import { Durability, type DurabilityLevel } from '../wal/durability.ts';
import { LogRing } from '../wal/ring.ts';
import { integerBetween } from './integer-between.ts';
import { checkBlobId, type Residency } from './residency.ts';

/** What every thread is told; travels with the handle. */
export interface LogShared {
  readonly durability: DurabilityLevel;
  readonly debug: boolean;
}

export interface LogParts extends LogShared {
  readonly readOnly: boolean;
}

export class PoolLog {
  readonly ring: LogRing;
  readonly durability: Durability;
  readonly rounds: RoundRequests;
  readonly roots: Roots;
  readonly transactions: Transactions;
  readonly #host: BulkHost;
  readonly #residency: Residency;

  constructor(thread: PoolThread, store: MappedStore, residency: Residency, shared: LogParts) {
    const services = (): LogServices => thread.services as LogServices;
    const waitMs = residency.frameWaitMs;
    this.ring = new LogRing(thread, services, waitMs);
    this.durability = new Durability(thread, services, shared.durability, waitMs);
    this.rounds = new RoundRequests(thread, waitMs);
    this.roots = new Roots(thread);
    this.transactions = new Transactions({
      thread,
      store,
      residency,
      ring: this.ring,
      roots: this.roots,
      durability: this.durability,
      rounds: this.rounds,
      debug: shared.debug,
      readOnly: shared.readOnly,
    });
    this.#host = { thread, store, roots: this.roots, loads: new Set() };
    this.#residency = residency;
  }

  /** Errors: see `BufferPool.bulkLoad`. */
  bulkLoad(blobsMax: number): BulkLoad {
    this.#host.thread.assertRunning();
    return new BulkLoad(this.#host, blobsMax);
  }

  /** Ends this thread's bulk loads, before it leaves the pool: their writes have settled then. */
  async abortLoads(): Promise<void> {
    // A guard that was taken meanwhile keeps slots from going back: they are free when it is reopened.
    for (const load of this.#host.loads) await load.abort().catch(() => undefined);
  }

  /** Runs a round. Errors: see `BufferPool.checkpoint`. */
  checkpoint(): Promise<RoundReport> {
    return this.rounds.run();
  }

  /** Errors: see `BufferPool.flush`. */
  async flush(id: BlobId): Promise<void> {
    checkBlobId(id);
    const { thread } = this.#host;
    thread.assertRunning();
    const frame = this.#residency.frameOf(id);
    if (frame !== MISS && thread.control.unflushedSeq(frame) !== 0) await this.checkpoint();
  }

  async flushIfNeeded(threshold: number): Promise<number> {
    integerBetween('threshold', threshold, 0, FRAMES_MAX);
    const { thread } = this.#host;
    thread.assertRunning();
    const needed = thread.memory.load(H_DIRTY_COUNT) >= threshold;
    return needed ? (await this.checkpoint()).frames : 0;
  }

  async flushOlderThan(ms: number): Promise<number> {
    integerBetween('ms', ms, 0, Number.MAX_SAFE_INTEGER);
    const { thread } = this.#host;
    thread.assertRunning();
    const age = oldestDirtyMs({ thread });
    return age >= 0 && age >= ms ? (await this.checkpoint()).frames : 0;
  }
}
