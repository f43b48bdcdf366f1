/**
 * Short locks on control structures: shards, replacement lists, prefetch ring; and the commit lock.
 *
 * Owns:        the lock words. A word holds the owner's slot + 1, so that a dead owner is seen.
 * Invariants:  D1  nobody waits for a latch, a frame or I/O while holding a shard or replacement
 *                  lock; the commit lock is taken only by a thread that holds no latch.
 * Threads:     any; a failed attempt spins a bounded number of times, parks once for at most
 *              `parkMs` and then returns, so that the caller can look at poison and at the owner.
 */
import { LOCK_WAITED, OK, SLICE, SPIN_MAX } from './layout';
import { park } from './park';

function tryLock(lock: usize, me: u32): bool {
  return atomic.load<u32>(lock) == 0 && atomic.cmpxchg<u32>(lock, 0, me + 1) == 0;
}

/** Takes the lock: OK, or SLICE when it was still taken after one park of at most `parkMs`. */
export function lockTake(lock: usize, me: u32, parkMs: i32): i32 {
  for (let spin: u32 = 0; spin < SPIN_MAX; spin++) {
    if (tryLock(lock, me)) return OK;
  }
  const seen = atomic.load<u32>(lock);
  if (seen != 0) {
    // Whoever sees the mark on release notifies; a spurious wake-up only costs another attempt.
    const marked = seen | LOCK_WAITED;
    if (seen == marked || atomic.cmpxchg<u32>(lock, seen, marked) == seen) {
      park(lock, marked, parkMs);
    }
  }
  return tryLock(lock, me) ? OK : SLICE;
}

/** Gives the lock back and wakes everybody who marked it. */
export function lockGive(lock: usize): void {
  const word = atomic.xchg<u32>(lock, 0);
  if ((word & LOCK_WAITED) != 0) atomic.notify(lock, -1);
}

/** Slot + 1 of the lock's owner, 0 when it is free. */
export function lockOwner(lock: usize): u32 {
  return atomic.load<u32>(lock) & ~LOCK_WAITED;
}
