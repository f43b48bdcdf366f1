/**
 * Staging frames: where a round keeps the bytes of captured frames until they are written.
 *
 * Owns:        the staging entries.
 * Invariants:  an entry goes FREE -> TAKEN (bytes are being copied in) -> READY -> WRITING -> FREE;
 *              it names its frame and its round, so that an image that was preserved for a failed
 *              round is never taken for a later one's.
 * Threads:     any thread takes an entry; only the checkpointer goes on from READY.
 */
import {
  H_STAGING_COUNT,
  H_STAGING_WAKE,
  NONE,
  STAGING,
  STAGING_ENTRY,
  STAGING_FREE,
  STAGING_READY,
  STAGING_TAKEN,
  STAGING_WRITING,
} from './layout';

function entryAt(index: u32): usize {
  return STAGING + index * STAGING_ENTRY;
}

/** A free entry, now TAKEN by the caller, or NONE. */
export function stagingTake(): i32 {
  const count = load<u32>(H_STAGING_COUNT);
  for (let index: u32 = 0; index < count; index++) {
    const at = entryAt(index);
    if (atomic.load<u32>(at) != STAGING_FREE) continue;
    if (atomic.cmpxchg<u32>(at, STAGING_FREE, STAGING_TAKEN) == STAGING_FREE) return <i32>index;
  }
  return NONE;
}

/** The bytes are there: the checkpointer may write them. */
export function stagingReady(index: u32, frame: u32, round: f64): void {
  const at = entryAt(index);
  store<u32>(at, frame, 4);
  store<u64>(at, <u64>round, 8);
  atomic.store<u32>(at, STAGING_READY);
}

/** Next READY entry from `from` on, now WRITING, or NONE. */
export function stagingNext(from: u32): i32 {
  const count = load<u32>(H_STAGING_COUNT);
  for (let index = from; index < count; index++) {
    const at = entryAt(index);
    if (atomic.load<u32>(at) != STAGING_READY) continue;
    atomic.store<u32>(at, STAGING_WRITING);
    return <i32>index;
  }
  return NONE;
}

export function stagingFrame(index: u32): u32 {
  return load<u32>(entryAt(index), 4);
}

export function stagingRound(index: u32): f64 {
  return <f64>load<u64>(entryAt(index), 8);
}

/** Gives the entry back and wakes who waits for one. */
export function stagingGive(index: u32): void {
  atomic.store<u32>(entryAt(index), STAGING_FREE);
  atomic.add<u32>(H_STAGING_WAKE, 1);
  atomic.notify(H_STAGING_WAKE, -1);
}

export function stagingFree(): u32 {
  const count = load<u32>(H_STAGING_COUNT);
  let free: u32 = 0;
  for (let index: u32 = 0; index < count; index++) {
    if (atomic.load<u32>(entryAt(index)) == STAGING_FREE) free++;
  }
  return free;
}
