/**
 * A limit in bytes that the caches of several stores share (Kafka: ThreadCache).
 *
 * Owns:        the sum of the bytes of its caches.
 * Invariants:  the store that puts makes room: only its own entries are evicted for it, as in Kafka.
 * Threads:     private to a thread, like the stores that share it.
 */
import { integerBetween } from '../pool/integer-between.ts';

export interface ThreadCacheOptions {
  /** Limit of all caches together, in bytes. 0: every change is written through at once. */
  readonly bytesMax: number;
}

export class ThreadCache {
  readonly bytesMax: number;
  /** @internal Counted by the caches. */
  bytes = 0;

  constructor({ bytesMax }: ThreadCacheOptions) {
    this.bytesMax = integerBetween('bytesMax', bytesMax, 0, Number.MAX_SAFE_INTEGER);
  }

  get isOver(): boolean {
    return this.bytes > this.bytesMax;
  }
}
