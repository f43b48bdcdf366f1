/**
 * Page table: BlobId -> frame, as hash chains through the frame descriptors.
 *
 * Owns:        bucket heads, A_ID and A_NEXT of mapped frames.
 * Invariants:  I4  one blob, at most one frame: insertion looks once more under the shard's lock;
 *              I1  a pinned frame is not evicted: pin adds and then reads the word, eviction sets
 *                  E by compare-and-swap and then reads the holds.
 * Threads:     look-ups take no lock. A chain may change under a reader's feet, so a look-up can
 *              miss a blob that is there (never find a wrong one: the id is checked after the
 *              word, and E or a moved version betrays a frame that changed its blob). A miss is
 *              therefore only final under the shard's lock.
 */
import {
  beginIntent,
  count,
  descA,
  descB,
  endIntent,
  holdAt,
  nextVersion,
  slotAt,
  versionOf,
} from './descriptors';
import { markDirty } from './dirty';
import {
  acquireExclusive,
  latchesHeld,
  releaseExclusive,
  wakeFrame,
  wakeFrameWaiters,
} from './latch';
import {
  A_ID,
  A_NEXT,
  A_RECENCY,
  A_STATE,
  A_WORD,
  B_HOLDS,
  BUCKETS,
  BUSY,
  CHAIN_MAX,
  FRAME_LOADING,
  H_BUCKET_SHIFT,
  H_SHARD_MASK,
  H_STATUS,
  HOLD_PINS,
  HOLD_SHARED,
  LATCH_E,
  LATCH_FLAGS,
  LATCH_G,
  LATCH_X,
  LINE,
  LOCKS,
  MISS,
  NOT_HELD,
  OK,
  PIN_MASK,
  PIN_ONE,
  RECENCY_MAX,
  S_HITS,
  S_OUT,
  SHARED_ONE,
  SHARED_SHIFT,
  SLICE,
  STOPPED,
  VERSION_SHIFT,
} from './layout';
import { lockGive, lockTake } from './locks';

function bucketOf(id: u64): u32 {
  // Fibonacci hashing: ids are consecutive, the golden ratio spreads any stride of them.
  return <u32>((id * 0x9e37_79b9_7f4a_7c15) >> <u64>load<u32>(H_BUCKET_SHIFT));
}

function headOf(bucket: u32): usize {
  return BUCKETS + (bucket << 2);
}

function shardLock(bucket: u32): usize {
  return LOCKS + (bucket & load<u32>(H_SHARD_MASK)) * LINE;
}

/** Frame + 1 of the blob, 0 if it was not seen. */
function find(id: u64): u32 {
  let ref = atomic.load<u32>(headOf(bucketOf(id)));
  for (let step: u32 = 0; ref != 0 && step < CHAIN_MAX; step++) {
    const a = descA(ref - 1);
    if (atomic.load<u64>(a + A_ID) == id) return ref;
    ref = atomic.load<u32>(a + A_NEXT);
  }
  return 0;
}

function touch(a: usize): void {
  const recency = load<u32>(a + A_RECENCY);
  if (recency < RECENCY_MAX) store<u32>(a + A_RECENCY, recency + 1);
}

/**
 * Optimistic look-up: the frame, with its version as f64 at S_OUT of the thread's slot; MISS, BUSY
 * or STOPPED. Writes nothing shared but, at most
 * twice until the replacement looks again, the recency counter.
 */
export function locate(idNumber: f64, me: u32): i32 {
  if (atomic.load<u32>(H_STATUS) != 0) return STOPPED;
  const id = <u64>idNumber;
  const slot = slotAt(me);
  let ref = atomic.load<u32>(headOf(bucketOf(id)));
  for (let step: u32 = 0; ref != 0 && step < CHAIN_MAX; step++) {
    const a = descA(ref - 1);
    // The word first: a frame that changes its blob after this fails validation.
    const word = atomic.load<u64>(a + A_WORD);
    if (atomic.load<u64>(a + A_ID) == id) {
      if (<f64>id != idNumber) return MISS;
      if ((word & (LATCH_X | LATCH_E | LATCH_G)) != 0) return BUSY;
      store<f64>(slot + S_OUT, <f64>(word >> VERSION_SHIFT));
      touch(a);
      count(slot, S_HITS, 1);
      return <i32>(ref - 1);
    }
    ref = atomic.load<u32>(a + A_NEXT);
  }
  return MISS;
}

/**
 * Pins the blob if it is in a frame: the frame, MISS, BUSY (loading or evicting) or STOPPED.
 * With `counted` 0 neither the hit counter nor the recency is touched.
 */
export function pin(idNumber: f64, me: u32, counted: u32): i32 {
  if (atomic.load<u32>(H_STATUS) != 0) return STOPPED;
  const id = <u64>idNumber;
  const ref = find(id);
  if (ref == 0 || <f64>id != idNumber) return MISS;
  return pinFound(ref - 1, id, me, counted);
}

/**
 * The same for the frame that `findLocked` has found: chains longer than CHAIN_MAX are seen only
 * there. The frame, BUSY, STOPPED.
 */
export function pinThere(frame: u32, idNumber: f64, me: u32, counted: u32): i32 {
  if (atomic.load<u32>(H_STATUS) != 0) return STOPPED;
  return pinFound(frame, <u64>idNumber, me, counted);
}

function pinFound(frame: u32, id: u64, me: u32, counted: u32): i32 {
  const a = descA(frame);
  addPin(frame, me);
  // The word before the id: once it shows no E while our pin is there, the blob cannot change.
  const word = atomic.load<u64>(a + A_WORD);
  if ((word & (LATCH_E | LATCH_G)) == 0 && atomic.load<u64>(a + A_ID) == id) {
    if (counted != 0) {
      touch(a);
      count(slotAt(me), S_HITS, 1);
    }
    return <i32>frame;
  }
  dropPin(frame, me);
  return BUSY;
}

/**
 * Pin and shared latch in one addition: the frame, or MISS, BUSY, STOPPED, and then nothing is
 * held. The fast path of a read; whatever is in its way is the slow path's business.
 */
export function pinShared(idNumber: f64, me: u32): i32 {
  if (atomic.load<u32>(H_STATUS) != 0) return STOPPED;
  const id = <u64>idNumber;
  const ref = find(id);
  if (ref == 0 || <f64>id != idNumber) return MISS;
  const frame = ref - 1;
  const a = descA(frame);
  addBoth(frame, me);
  if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0 && atomic.load<u64>(a + A_ID) == id) {
    touch(a);
    count(slotAt(me), S_HITS, 1);
    return <i32>frame;
  }
  dropBoth(frame, me);
  return BUSY;
}

function addBoth(frame: u32, me: u32): void {
  const slot = slotAt(me);
  const hold = holdAt(me, frame);
  beginIntent(slot, frame);
  // Pins and shared latches of one thread lie side by side: one addition for both.
  store<u64>(hold, load<u64>(hold) + (PIN_ONE | SHARED_ONE));
  atomic.add<u64>(descB(frame) + B_HOLDS, PIN_ONE | SHARED_ONE);
  endIntent(slot);
  latchesHeld(slot, 1);
}

function dropBoth(frame: u32, me: u32): void {
  const slot = slotAt(me);
  const hold = holdAt(me, frame);
  beginIntent(slot, frame);
  store<u64>(hold, load<u64>(hold) - (PIN_ONE | SHARED_ONE));
  const both = PIN_ONE | SHARED_ONE;
  const left = atomic.sub<u64>(descB(frame) + B_HOLDS, both) - both;
  endIntent(slot);
  latchesHeld(slot, -1);
  if (left >> SHARED_SHIFT == 0) wakeFrame(frame);
  if ((left & PIN_MASK) == 0) wakeFrameWaiters();
}

/** Gives back what `pinShared` (or a pin and a shared latch) took: OK or NOT_HELD. */
export function unpinShared(frame: u32, me: u32): i32 {
  const hold = holdAt(me, frame);
  if (load<u32>(hold + HOLD_SHARED) == 0 || load<u32>(hold + HOLD_PINS) == 0) return NOT_HELD;
  dropBoth(frame, me);
  return OK;
}

/**
 * Pin, exclusive latch and (unless `seq` is 0) dirty mark in one call, without waiting: the frame,
 * or MISS, BUSY, STOPPED, and then nothing is held.
 */
export function pinExclusive(idNumber: f64, me: u32, seq: f64): i32 {
  const frame = pin(idNumber, me, 1);
  if (frame < 0) return frame;
  if (acquireExclusive(frame, me, 0) != OK) {
    dropPin(frame, me);
    return BUSY;
  }
  if (seq != 0) markDirty(frame, seq);
  return frame;
}

/** Gives back what `pinExclusive` (or a pin and an exclusive latch) took: OK or NOT_HELD. */
export function unpinExclusive(frame: u32, me: u32): i32 {
  if (releaseExclusive(frame, me) != OK) return NOT_HELD;
  return unpin(frame, me);
}

/** Adds a pin without a look: for a frame that this thread already holds. */
export function addPin(frame: u32, me: u32): void {
  const slot = slotAt(me);
  const hold = holdAt(me, frame);
  beginIntent(slot, frame);
  store<u32>(hold + HOLD_PINS, load<u32>(hold + HOLD_PINS) + 1);
  atomic.add<u64>(descB(frame) + B_HOLDS, PIN_ONE);
  endIntent(slot);
}

function dropPin(frame: u32, me: u32): void {
  const slot = slotAt(me);
  const hold = holdAt(me, frame);
  beginIntent(slot, frame);
  store<u32>(hold + HOLD_PINS, load<u32>(hold + HOLD_PINS) - 1);
  const left = atomic.sub<u64>(descB(frame) + B_HOLDS, PIN_ONE) - PIN_ONE;
  endIntent(slot);
  if ((left & PIN_MASK) == 0) wakeFrameWaiters();
}

/** Gives a pin back: OK or NOT_HELD. */
export function unpin(frame: u32, me: u32): i32 {
  if (load<u32>(holdAt(me, frame) + HOLD_PINS) == 0) return NOT_HELD;
  dropPin(frame, me);
  return OK;
}

/** Whether the blob is in a frame and its bytes are there; changes nothing. */
export function isCached(idNumber: f64): bool {
  const ref = find(<u64>idNumber);
  return ref != 0 && (atomic.load<u64>(descA(ref - 1) + A_WORD) & (LATCH_E | LATCH_G)) == 0;
}

/** The blob's frame in whatever state, MISS if the table does not have it, SLICE. */
export function findLocked(idNumber: f64, me: u32, parkMs: i32): i32 {
  const id = <u64>idNumber;
  const bucket = bucketOf(id);
  if (lockTake(shardLock(bucket), me, parkMs) != OK) return SLICE;
  const ref = findExact(bucket, id);
  lockGive(shardLock(bucket));
  return ref == 0 ? MISS : <i32>(ref - 1);
}

/** Look-up under the shard's lock: complete, whatever the chain's length. */
function findExact(bucket: u32, id: u64): u32 {
  let ref = atomic.load<u32>(headOf(bucket));
  while (ref != 0) {
    const a = descA(ref - 1);
    if (atomic.load<u64>(a + A_ID) == id) return ref;
    ref = atomic.load<u32>(a + A_NEXT);
  }
  return 0;
}

/**
 * Publishes the blob as LOADING in a frame that this thread owns (X and E): OK, BUSY when another
 * thread was faster, SLICE. Only after OK may the bytes be read from the store.
 */
export function publishLoading(idNumber: f64, frame: u32, me: u32, parkMs: i32): i32 {
  const id = <u64>idNumber;
  const bucket = bucketOf(id);
  if (lockTake(shardLock(bucket), me, parkMs) != OK) return SLICE;
  const there = findExact(bucket, id);
  if (there == 0) {
    const a = descA(frame);
    store<u32>(a + A_RECENCY, 0);
    atomic.store<u32>(a + A_STATE, FRAME_LOADING);
    atomic.store<u32>(a + A_NEXT, atomic.load<u32>(headOf(bucket)));
    atomic.store<u64>(a + A_ID, id);
    atomic.store<u32>(headOf(bucket), frame + 1);
  }
  lockGive(shardLock(bucket));
  return there == 0 ? OK : BUSY;
}

/** The change of a frame is in the log: marks it, gives latch and pin back. Whether it was clean. */
export function commitFrame(frame: u32, me: u32, seq: f64): bool {
  const wasClean = markDirty(frame, seq);
  releaseExclusive(frame, me);
  dropPin(frame, me);
  return wasClean;
}

/**
 * Takes the blob of a frame that this thread owns (X) out of the page table and moves the version:
 * OK (also if it is in none), SLICE.
 */
export function unmap(frame: u32, me: u32, parkMs: i32): i32 {
  const a = descA(frame);
  const id = atomic.load<u64>(a + A_ID);
  if (id == 0) return OK;
  const bucket = bucketOf(id);
  if (lockTake(shardLock(bucket), me, parkMs) != OK) return SLICE;
  let link: usize = headOf(bucket);
  let ref = atomic.load<u32>(link);
  while (ref != 0 && ref != frame + 1) {
    link = descA(ref - 1) + A_NEXT;
    ref = atomic.load<u32>(link);
  }
  // The frame's own A_NEXT stays: a reader that stands here still finds its way.
  if (ref != 0) atomic.store<u32>(link, atomic.load<u32>(a + A_NEXT));
  atomic.store<u64>(a + A_ID, 0);
  lockGive(shardLock(bucket));
  // Who waits for the old blob must not take the next one's fate for its own.
  const word = atomic.load<u64>(a + A_WORD);
  atomic.store<u64>(a + A_WORD, nextVersion(word) | (word & ~versionOf(word)));
  wakeFrame(frame);
  return OK;
}

/** Blob id of a frame, 0 if it has none. */
export function blobOf(frame: u32): f64 {
  return <f64>atomic.load<u64>(descA(frame) + A_ID);
}
