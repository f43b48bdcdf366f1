/**
 * Snapshots: which commits somebody still reads, and the store slots that are kept for them.
 *
 * Owns:        the table of snapshots, the spans of the slots, the number of kept slots.
 * Invariants:  I6  a slot that a snapshot's mapping names is not handed out for writing. A mapping of
 *                  commit C names the slots with from <= C < until; a slot that is left while there
 *                  is such a snapshot stays marked as used, and is free when there is none any more.
 *                  A slot that was first named after C is not kept for C, so a snapshot keeps what
 *                  the store had at its commit, however long it lives and whatever is written.
 * Threads:     all changes but the end of a snapshot happen under the commit lock. A snapshot ends
 *              with one store, by its thread or by whoever reaps that one; the slots that it kept are
 *              free when they are next looked at under the lock.
 */
import { slotAt } from './descriptors';
import {
  FULL,
  H_CHECKPOINT_SEQ,
  H_COMMIT_NUMBER,
  H_SLOTS_KEPT,
  H_SNAPSHOT_ENDED,
  H_SNAPSHOTS_HIGH,
  H_SPAN_BASE,
  H_STORE_SLOTS,
  LOCK_COMMIT,
  MISS,
  NONE,
  NOT_HELD,
  OK,
  S_STATE,
  SLICE,
  SLOT_ATTACHED,
  SLOT_STATE_MASK,
  SNAPSHOT_COMMIT,
  SNAPSHOT_ENTRIES,
  SNAPSHOT_ENTRY,
  SNAPSHOT_OWNER,
  SNAPSHOT_SEQ,
  SNAPSHOT_VERSION,
  SNAPSHOTS,
  SPAN_ENTRY,
  SPAN_FROM,
  SPAN_UNTIL,
} from './layout';
import { lockGive, lockTake } from './locks';
import { mapVersion, slotFree, slotUsed } from './mapping';

function snapshotAt(entry: u32): usize {
  return SNAPSHOTS + entry * SNAPSHOT_ENTRY;
}

function spanAt(slot: u32): usize {
  return <usize>load<u32>(H_SPAN_BASE) + <usize>slot * SPAN_ENTRY;
}

/** Registers a snapshot of the last commit, under the commit lock: its entry, or NONE. */
export function snapshotBegin(me: u32): i32 {
  assert((atomic.load<u32>(slotAt(me) + S_STATE) & SLOT_STATE_MASK) == SLOT_ATTACHED);
  for (let entry: u32 = 0; entry < SNAPSHOT_ENTRIES; entry++) {
    const at = snapshotAt(entry);
    if (atomic.load<u32>(at + SNAPSHOT_OWNER) != 0) continue;
    store<u32>(at + SNAPSHOT_VERSION, mapVersion());
    store<u64>(at + SNAPSHOT_COMMIT, load<u64>(H_COMMIT_NUMBER));
    store<u64>(at + SNAPSHOT_SEQ, load<u64>(H_CHECKPOINT_SEQ));
    // First, so that every entry that is in use lies below, also for those who have no lock.
    if (entry >= load<u32>(H_SNAPSHOTS_HIGH)) store<u32>(H_SNAPSHOTS_HIGH, entry + 1);
    atomic.store<u32>(at + SNAPSHOT_OWNER, me + 1);
    return <i32>entry;
  }
  return NONE;
}

/**
 * The same for a thread without the lock, which it takes for no longer than that: a thread may be
 * terminated in JavaScript, and who dies with the lock stops the pool. Its entry, NONE, or SLICE.
 */
export function snapshotOpen(me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_COMMIT, me, parkMs) != OK) return SLICE;
  const entry = snapshotBegin(me);
  lockGive(LOCK_COMMIT);
  return entry;
}

/** Ends a snapshot of this thread: OK, or NOT_HELD. */
export function snapshotEnd(entry: u32, me: u32): i32 {
  const at = snapshotAt(entry);
  if (atomic.load<u32>(at + SNAPSHOT_OWNER) != me + 1) return NOT_HELD;
  atomic.store<u32>(at + SNAPSHOT_OWNER, 0);
  // After the entry: who takes the flag down sees that the snapshot has gone.
  atomic.store<u32>(H_SNAPSHOT_ENDED, 1);
  return OK;
}

/** Ends all snapshots of a thread that has died or leaves the pool; may be repeated. */
export function endSnapshots(thread: u32): void {
  const high = load<u32>(H_SNAPSHOTS_HIGH);
  for (let entry: u32 = 0; entry < high; entry++) snapshotEnd(entry, thread);
}

/** Snapshots that are open, of all threads. */
export function snapshotCount(): u32 {
  const high = load<u32>(H_SNAPSHOTS_HIGH);
  let count: u32 = 0;
  for (let entry: u32 = 0; entry < high; entry++) {
    if (atomic.load<u32>(snapshotAt(entry) + SNAPSHOT_OWNER) != 0) count++;
  }
  return count;
}

/** Whether a snapshot reads a slot that the mapping named from one commit until another. */
function isRead(from: u64, until: u64): bool {
  const high = load<u32>(H_SNAPSHOTS_HIGH);
  for (let entry: u32 = 0; entry < high; entry++) {
    const at = snapshotAt(entry);
    if (atomic.load<u32>(at + SNAPSHOT_OWNER) == 0) continue;
    const commit = load<u64>(at + SNAPSHOT_COMMIT);
    if (from <= commit && commit < until) return true;
  }
  return false;
}

/** The mapping names the slot from this commit on; under the commit lock: OK, or FULL. */
export function slotNamed(slot: u32, commit: f64): i32 {
  if (slot >= load<u32>(H_STORE_SLOTS)) return FULL;
  store<u64>(spanAt(slot) + SPAN_FROM, <u64>commit);
  store<u64>(spanAt(slot) + SPAN_UNTIL, 0);
  return OK;
}

/**
 * The mapping names the slot no more from this commit on; under the commit lock. OK: it is free;
 * NONE: it is kept; MISS: it was free already.
 */
export function slotLeft(slot: u32, commit: f64): i32 {
  if (!slotUsed(slot)) return MISS;
  const span = spanAt(slot);
  if (!isRead(load<u64>(span + SPAN_FROM), <u64>commit)) return slotFree(slot);
  store<u64>(span + SPAN_UNTIL, <u64>commit);
  store<u32>(H_SLOTS_KEPT, load<u32>(H_SLOTS_KEPT) + 1);
  return NONE;
}

/** Frees the kept slots that no snapshot reads any more; under the commit lock. How many. */
export function slotsReclaim(): u32 {
  if (atomic.load<u32>(H_SNAPSHOT_ENDED) == 0) return 0;
  // The flag first: a snapshot that ends from here on raises it again.
  atomic.store<u32>(H_SNAPSHOT_ENDED, 0);
  lowerHigh();
  const slots = load<u32>(H_STORE_SLOTS);
  let left = load<u32>(H_SLOTS_KEPT);
  let freed: u32 = 0;
  for (let slot: u32 = 0; slot < slots && left > 0; slot++) {
    const span = spanAt(slot);
    const until = load<u64>(span + SPAN_UNTIL);
    if (until == 0) continue;
    left--;
    if (isRead(load<u64>(span + SPAN_FROM), until)) continue;
    store<u64>(span + SPAN_UNTIL, 0);
    slotFree(slot);
    freed++;
  }
  store<u32>(H_SLOTS_KEPT, load<u32>(H_SLOTS_KEPT) - freed);
  return freed;
}

function lowerHigh(): void {
  let high = load<u32>(H_SNAPSHOTS_HIGH);
  while (high > 0 && atomic.load<u32>(snapshotAt(high - 1) + SNAPSHOT_OWNER) == 0) high--;
  store<u32>(H_SNAPSHOTS_HIGH, high);
}
