/**
 * What a thread has of a pool's log: ring, durability, mini-transactions, rounds.
 *
 * Owns:        nothing of its own; it makes the parts and holds them together.
 * Threads:     one for each thread of a pool that has a log.
 */
import { RoundRequests } from '../checkpoint/requests.ts';
import type { LogServices } from '../memory/services.ts';
import type { PoolThread } from '../memory/thread.ts';
import type { MappedStore } from '../store/mapped-store.ts';
import { Roots } from '../txn/roots.ts';
import { Transactions } from '../txn/transactions.ts';
import { Durability, type DurabilityLevel } from '../wal/durability.ts';
import { LogRing } from '../wal/ring.ts';
import type { Residency } from './residency.ts';

/** What every thread is told; travels with the handle. */
export interface LogShared {
  readonly durability: DurabilityLevel;
  readonly debug: boolean;
}

export class PoolLog {
  readonly ring: LogRing;
  readonly durability: Durability;
  readonly rounds: RoundRequests;
  readonly roots: Roots;
  readonly transactions: Transactions;

  constructor(thread: PoolThread, store: MappedStore, residency: Residency, shared: LogShared) {
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
    });
  }
}
