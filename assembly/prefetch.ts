/**
 * Prefetch ring: ids on their way to the loader thread.
 *
 * Owns:        the ring's entries, head and tail.
 * Threads:     producers under the prefetch lock, one consumer: the loader thread.
 */
import { slotAt } from './descriptors';
import {
  FULL,
  H_PREFETCH_HEAD,
  H_PREFETCH_TAIL,
  H_PREFETCH_WAKE,
  LOCK_PREFETCH,
  NONE,
  OK,
  PREFETCH_ENTRIES,
  PREFETCH_ENTRY,
  PREFETCH_RING,
  S_OUT,
  S_PREFETCHED,
  S_STATE,
  SLICE,
} from './layout';
import { lockGive, lockTake } from './locks';
import { park } from './park';

function entryAt(position: u32): usize {
  return PREFETCH_RING + (position & (PREFETCH_ENTRIES - 1)) * PREFETCH_ENTRY;
}

/** Appends an id: OK, FULL, SLICE. */
export function prefetchPush(id: f64, me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_PREFETCH, me, parkMs) != OK) return SLICE;
  const tail = load<u32>(H_PREFETCH_TAIL);
  const room = tail - atomic.load<u32>(H_PREFETCH_HEAD) < PREFETCH_ENTRIES;
  if (room) {
    const entry = entryAt(tail);
    store<f64>(entry, id);
    store<u32>(entry + 8, me);
    store<u32>(entry + 12, atomic.load<u32>(slotAt(me) + S_STATE));
    atomic.store<u32>(H_PREFETCH_TAIL, tail + 1);
  }
  lockGive(LOCK_PREFETCH);
  if (!room) return FULL;
  atomic.add<u32>(H_PREFETCH_WAKE, 1);
  atomic.notify(H_PREFETCH_WAKE, -1);
  return OK;
}

/** The loader's next id, written to its S_OUT: OK, or NONE. It stays until `prefetchDone`. */
export function prefetchPeek(me: u32): i32 {
  const head = load<u32>(H_PREFETCH_HEAD);
  if (atomic.load<u32>(H_PREFETCH_TAIL) == head) return NONE;
  store<f64>(slotAt(me) + S_OUT, load<f64>(entryAt(head)));
  return OK;
}

/** The id at the head was dealt with: counts it for its thread and wakes that thread. */
export function prefetchDone(): void {
  const head = load<u32>(H_PREFETCH_HEAD);
  const entry = entryAt(head);
  const slot = slotAt(load<u32>(entry + 8));
  if (load<u32>(entry + 12) == atomic.load<u32>(slot + S_STATE)) {
    atomic.add<u32>(slot + S_PREFETCHED, 1);
    atomic.notify(slot + S_PREFETCHED, -1);
  }
  atomic.store<u32>(H_PREFETCH_HEAD, head + 1);
}

/** Parks the loader until something is pushed, for at most `parkMs`. */
export function prefetchWait(seen: u32, parkMs: i32): void {
  if (load<u32>(H_PREFETCH_HEAD) != atomic.load<u32>(H_PREFETCH_TAIL)) return;
  park(H_PREFETCH_WAKE, seen, parkMs);
}

export function prefetchWake(): u32 {
  return atomic.load<u32>(H_PREFETCH_WAKE);
}
