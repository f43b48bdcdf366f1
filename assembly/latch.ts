/**
 * Hybrid latch of a frame: optimistic, shared, exclusive.
 *
 * Owns:        the latch word (descriptor A) and the shared count, waiters and wake word (B).
 * Invariants:  I5  the version moves at every exclusive release and whenever the frame changes its
 *                  blob, and never goes back;
 *              D1  who already holds a latch only tries.
 * Threads:     any. A blocking call parks once, for at most `parkMs`, and returns SLICE; the
 *              caller looks at poison and at the owner's life and calls again.
 * Source:      Böttcher et al., "Scalable and Robust Latches for Database Systems", DaMoN 2020,
 *              doi 10.1145/3399666.3399908.
 *
 * Exclusion is Dekker's: a writer puts X or P into the word and then reads the shared count, a
 * reader adds to the count and then reads the word; wasm atomics are sequentially consistent, so
 * at least one of them sees the other. Parking is the same pattern: a waiter registers and then
 * looks at the word, a release stores the word and then looks at the waiters.
 *
 * Order of the plain accesses (bytes of a frame, from JavaScript or wasm) around the word:
 *   - reader: an atomic load does not keep earlier plain loads before it on Arm, so validation
 *     begins with a fence there. On x86-64 loads are not reordered with loads, and no engine moves
 *     a plain access across a wasm call or an atomic access, so no fence is emitted.
 *   - writer: on Arm a plain store may become visible before the store half of a compare-and-swap
 *     that precedes it, so acquisition ends with a fence. On x86-64 a locked instruction orders it.
 *   - release is an atomic store, which orders everything before it on both.
 * The fences exist only in the build that defines FENCED (see scripts/compile-wasm.ts): Binaryen's
 * `precompute` pass deletes them, and on x86-64 each costs about 17 ns for nothing.
 */
import {
  beginIntent,
  count,
  descA,
  descB,
  endIntent,
  holdAt,
  isOwner,
  nextVersion,
  ownerBits,
  slotAt,
  versionOf,
} from './descriptors';
import {
  A_WORD,
  B_HOLDS,
  B_WAITERS,
  B_WAKE,
  BUSY,
  GONE,
  H_FRAME_WAITERS,
  H_FRAME_WAKE,
  H_STATUS,
  HELD,
  HOLD_SHARED,
  LATCH_E,
  LATCH_FLAGS,
  LATCH_G,
  LATCH_P,
  LATCH_X,
  NOT_HELD,
  OK,
  OWNER_MASK,
  OWNER_SHIFT,
  PIN_MASK,
  S_LATCHES,
  S_PARKS,
  S_WAITING_ON,
  SHARED_ONE,
  SHARED_SHIFT,
  SLICE,
  SPIN_MAX,
  STOPPED,
  VERSION_SHIFT,
} from './layout';
import { park } from './park';

function fence(): void {
  if (isDefined(FENCED)) atomic.fence();
}

// --- waiting ---------------------------------------------------------------------------------

/** Wakes whoever parks on the frame; to be called after the word or the holds were changed. */
export function wakeFrame(frame: u32): void {
  const b = descB(frame);
  if (atomic.load<u32>(b + B_WAITERS) != 0) {
    atomic.add<u32>(b + B_WAKE, 1);
    atomic.notify(b + B_WAKE, -1);
  }
}

/** Wakes whoever waits until some frame can be evicted. */
export function wakeFrameWaiters(): void {
  if (atomic.load<u32>(H_FRAME_WAITERS) != 0) {
    atomic.add<u32>(H_FRAME_WAKE, 1);
    atomic.notify(H_FRAME_WAKE, -1);
  }
}

/** X or P has left the word: the frame may be latched, and evicted too unless it is pinned. */
function wakeAfterLatch(frame: u32): void {
  wakeFrame(frame);
  if ((atomic.load<u64>(descB(frame) + B_HOLDS) & PIN_MASK) == 0) wakeFrameWaiters();
}

/** Registers this thread as a waiter of the frame; returns the wake word to park on. */
export function registerWaiter(frame: u32, me: u32): u32 {
  const b = descB(frame);
  const slot = slotAt(me);
  beginIntent(slot, frame);
  store<u32>(slot + S_WAITING_ON, frame + 1);
  atomic.add<u32>(b + B_WAITERS, 1);
  endIntent(slot);
  return atomic.load<u32>(b + B_WAKE);
}

export function unregisterWaiter(frame: u32, me: u32): void {
  const slot = slotAt(me);
  beginIntent(slot, frame);
  atomic.sub<u32>(descB(frame) + B_WAITERS, 1);
  store<u32>(slot + S_WAITING_ON, 0);
  endIntent(slot);
}

export function parkOnFrame(frame: u32, me: u32, wake: u32, parkMs: i32): void {
  count(slotAt(me), S_PARKS, 1);
  park(descB(frame) + B_WAKE, wake, parkMs);
}

/** How long a call may park: not at all while the thread holds a latch (D1). */
function parkLimit(slot: usize, parkMs: i32): i32 {
  return load<u32>(slot + S_LATCHES) == 0 ? parkMs : 0;
}

export function latchesHeld(slot: usize, by: i32): void {
  store<u32>(slot + S_LATCHES, load<u32>(slot + S_LATCHES) + by);
}

// --- optimistic ------------------------------------------------------------------------------

/** The version if nobody holds the frame exclusively, else -1. */
export function optimistic(frame: u32): f64 {
  const word = atomic.load<u64>(descA(frame) + A_WORD);
  if ((word & (LATCH_X | LATCH_E | LATCH_G)) != 0) return -1;
  return <f64>(word >> VERSION_SHIFT);
}

/** Whether what was read since `version` was read is untouched. */
export function validate(frame: u32, version: f64): bool {
  fence();
  const word = atomic.load<u64>(descA(frame) + A_WORD);
  // A pending writer has not written yet: its bit and its name do not count.
  return (word & ~(LATCH_P | OWNER_MASK)) == (<u64>version) << VERSION_SHIFT;
}

/** Optimistic to exclusive: OK, or BUSY when anything has happened since; never waits. */
export function upgrade(frame: u32, version: f64, me: u32): i32 {
  const a = descA(frame);
  const slot = slotAt(me);
  if (atomic.load<u32>(H_STATUS) != 0) return STOPPED;
  if (load<u32>(holdAt(me, frame) + HOLD_SHARED) != 0) return HELD;
  const free = (<u64>version) << VERSION_SHIFT;
  const mine = free | ownerBits(me) | LATCH_X;
  const seen = atomic.cmpxchg<u64>(a + A_WORD, free, mine);
  if (seen != free) {
    if ((seen & LATCH_G) != 0) return GONE;
    return (seen & LATCH_X) != 0 && isOwner(seen, me) ? HELD : BUSY;
  }
  if (stoppedMeanwhile(frame)) return STOPPED;
  if (sharedCount(frame) != 0) {
    atomic.store<u64>(a + A_WORD, free);
    wakeAfterLatch(frame);
    return BUSY;
  }
  fence();
  latchesHeld(slot, 1);
  return OK;
}

// --- shared ----------------------------------------------------------------------------------

function sharedCount(frame: u32): u32 {
  return <u32>(atomic.load<u64>(descB(frame) + B_HOLDS) >> SHARED_SHIFT);
}

function addShared(frame: u32, me: u32): void {
  const slot = slotAt(me);
  const hold = holdAt(me, frame);
  beginIntent(slot, frame);
  store<u32>(hold + HOLD_SHARED, load<u32>(hold + HOLD_SHARED) + 1);
  atomic.add<u64>(descB(frame) + B_HOLDS, SHARED_ONE);
  endIntent(slot);
}

function dropShared(frame: u32, me: u32): void {
  const slot = slotAt(me);
  const hold = holdAt(me, frame);
  beginIntent(slot, frame);
  store<u32>(hold + HOLD_SHARED, load<u32>(hold + HOLD_SHARED) - 1);
  const left = atomic.sub<u64>(descB(frame) + B_HOLDS, SHARED_ONE) - SHARED_ONE;
  endIntent(slot);
  if (left >> SHARED_SHIFT == 0) wakeFrame(frame);
  if (left == 0) wakeFrameWaiters();
}

function tryShared(frame: u32, me: u32): i32 {
  const a = descA(frame);
  if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0) {
    addShared(frame, me);
    if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0) return OK;
    dropShared(frame, me);
  }
  const word = atomic.load<u64>(a + A_WORD);
  if ((word & LATCH_G) != 0) return GONE;
  if ((word & LATCH_X) != 0 && isOwner(word, me)) return HELD;
  return BUSY;
}

/**
 * Takes a shared latch. OK, HELD (this thread has it exclusively), GONE, STOPPED, BUSY (it was only
 * tried: `parkMs` is 0 or the thread holds a latch), SLICE (waited, call again).
 */
export function acquireShared(frame: u32, me: u32, parkMs: i32): i32 {
  const slot = slotAt(me);
  if (atomic.load<u32>(H_STATUS) != 0) return STOPPED;
  if (load<u32>(holdAt(me, frame) + HOLD_SHARED) != 0) {
    // A second shared latch of one thread must pass a pending writer, who waits for the first.
    addShared(frame, me);
    latchesHeld(slot, 1);
    return OK;
  }
  let result = tryShared(frame, me);
  if (result == BUSY) result = waitShared(frame, me, parkLimit(slot, parkMs));
  if (result == OK) latchesHeld(slot, 1);
  return result;
}

function waitShared(frame: u32, me: u32, parkMs: i32): i32 {
  for (let spin: u32 = 0; spin < SPIN_MAX; spin++) {
    if ((atomic.load<u64>(descA(frame) + A_WORD) & LATCH_FLAGS) == 0) {
      const result = tryShared(frame, me);
      if (result != BUSY) return result;
    }
  }
  if (parkMs == 0) return BUSY;
  const wake = registerWaiter(frame, me);
  let result = tryShared(frame, me);
  if (result == BUSY) {
    parkOnFrame(frame, me, wake, parkMs);
    result = tryShared(frame, me);
  }
  unregisterWaiter(frame, me);
  return result == BUSY ? SLICE : result;
}

/** Gives a shared latch back: OK or NOT_HELD. */
export function releaseShared(frame: u32, me: u32): i32 {
  if (load<u32>(holdAt(me, frame) + HOLD_SHARED) == 0) return NOT_HELD;
  dropShared(frame, me);
  latchesHeld(slotAt(me), -1);
  return OK;
}

// --- exclusive -------------------------------------------------------------------------------

/** One attempt on a free word: OK, or BUSY with the claim P set when only readers are in the way. */
function tryClaim(frame: u32, me: u32): i32 {
  const a = descA(frame);
  const word = atomic.load<u64>(a + A_WORD);
  if ((word & LATCH_FLAGS) != 0) {
    if ((word & LATCH_G) != 0) return GONE;
    if (!isOwner(word, me)) return BUSY;
    if ((word & LATCH_P) == 0) return HELD;
    return drained(frame, me);
  }
  const claim = versionOf(word) | ownerBits(me) | LATCH_P;
  if (atomic.cmpxchg<u64>(a + A_WORD, word, claim) != word) return BUSY;
  return drained(frame, me);
}

/** Turns this thread's claim into X once no reader is left: P keeps new ones out meanwhile. */
function drained(frame: u32, me: u32): i32 {
  if (sharedCount(frame) != 0) return BUSY;
  const a = descA(frame);
  const word = atomic.load<u64>(a + A_WORD);
  atomic.store<u64>(a + A_WORD, versionOf(word) | ownerBits(me) | LATCH_X);
  return OK;
}

/** Fast path: straight from free to X. */
function tryExclusive(frame: u32, me: u32): bool {
  const a = descA(frame);
  const word = atomic.load<u64>(a + A_WORD);
  if ((word & LATCH_FLAGS) != 0 || sharedCount(frame) != 0) return false;
  const free = versionOf(word);
  if (atomic.cmpxchg<u64>(a + A_WORD, word, free | ownerBits(me) | LATCH_X) != word) return false;
  if (sharedCount(frame) == 0) return true;
  // A reader came in between: stay pending instead of giving up the place.
  atomic.store<u64>(a + A_WORD, free | ownerBits(me) | LATCH_P);
  return false;
}

/** Takes back a claim that was not fulfilled. */
function dropClaim(frame: u32, me: u32): void {
  const a = descA(frame);
  const word = atomic.load<u64>(a + A_WORD);
  if ((word & LATCH_P) != 0 && isOwner(word, me)) {
    atomic.store<u64>(a + A_WORD, versionOf(word));
    wakeAfterLatch(frame);
  }
}

/**
 * Gives the latch back if the pool was stopped before it was taken. Dekker's once more: who closes
 * stores the status and then reads the words, to write what nobody holds any more.
 */
function stoppedMeanwhile(frame: u32): bool {
  if (atomic.load<u32>(H_STATUS) == 0) return false;
  const a = descA(frame);
  atomic.store<u64>(a + A_WORD, versionOf(atomic.load<u64>(a + A_WORD)));
  wakeAfterLatch(frame);
  return true;
}

/**
 * Takes the exclusive latch. OK, HELD (this thread has it in any mode), GONE, STOPPED, BUSY (only
 * tried), SLICE (waited; the pending bit stays and the next call goes on; who gives up instead
 * must call `abandonExclusive`).
 */
export function acquireExclusive(frame: u32, me: u32, parkMs: i32): i32 {
  const slot = slotAt(me);
  if (atomic.load<u32>(H_STATUS) != 0) {
    dropClaim(frame, me);
    return STOPPED;
  }
  if (load<u32>(holdAt(me, frame) + HOLD_SHARED) != 0) return HELD;
  const result = tryExclusive(frame, me) ? OK : waitExclusive(frame, me, parkLimit(slot, parkMs));
  if (result == OK) {
    if (stoppedMeanwhile(frame)) return STOPPED;
    fence();
    latchesHeld(slot, 1);
  }
  return result;
}

function waitExclusive(frame: u32, me: u32, parkMs: i32): i32 {
  let result = tryClaim(frame, me);
  for (let spin: u32 = 0; spin < SPIN_MAX && result == BUSY; spin++) {
    result = tryClaim(frame, me);
  }
  if (result != BUSY) return result;
  if (parkMs == 0) {
    dropClaim(frame, me);
    return BUSY;
  }
  const wake = registerWaiter(frame, me);
  result = tryClaim(frame, me);
  if (result == BUSY) {
    parkOnFrame(frame, me, wake, parkMs);
    result = tryClaim(frame, me);
  }
  unregisterWaiter(frame, me);
  return result == BUSY ? SLICE : result;
}

/** Takes back what a SLICE left pending. */
export function abandonExclusive(frame: u32, me: u32): void {
  dropClaim(frame, me);
}

/** Gives the exclusive latch back and moves the version: OK or NOT_HELD. */
export function releaseExclusive(frame: u32, me: u32): i32 {
  const a = descA(frame);
  const word = atomic.load<u64>(a + A_WORD);
  if ((word & LATCH_X) == 0 || !isOwner(word, me)) return NOT_HELD;
  atomic.store<u64>(a + A_WORD, nextVersion(word));
  latchesHeld(slotAt(me), -1);
  wakeAfterLatch(frame);
  return OK;
}

/** Slot + 1 of the thread that owns the frame's latch word, 0 if none. */
export function latchOwner(frame: u32): u32 {
  return <u32>((atomic.load<u64>(descA(frame) + A_WORD) & OWNER_MASK) >> OWNER_SHIFT);
}
