/**
 * Frames: the state machine FREE -> LOADING -> VALID -> EVICTING -> FREE, the one eviction rule,
 * replacement, dirty bookkeeping.
 *
 * Owns:        A_STATE, E and G of the latch word, the replacement lists, dirty and flushing seq.
 * Invariants:  I1  a frame that is dirty, flushing, captured, pinned or latched is not evicted:
 *                  `mayEvict` is asked after E was set, at the moment of removal;
 *              I4  see page-table.ts;
 *              I5  giving a frame back moves its version.
 * Threads:     any. A frame between two states is owned by one thread (X, E and its name in the
 *              word); the lists change under the replacement lock. Functions that take a lock
 *              return SLICE instead of waiting longer than `parkMs`; each takes one lock and can
 *              be called again.
 */
import {
  beginIntent,
  count,
  descA,
  descB,
  endIntent,
  isOwner,
  nextVersion,
  ownerBits,
  slotAt,
  versionOf,
} from './descriptors';
import { forgetDirty, markDirty } from './dirty';
import {
  latchesHeld,
  parkOnFrame,
  registerWaiter,
  unregisterWaiter,
  wakeFrame,
  wakeFrameWaiters,
} from './latch';
import {
  A_ID,
  A_RECENCY,
  A_STATE,
  A_WORD,
  B_CAPTURED,
  B_DIRTY,
  B_FAIL_CODE,
  B_FAIL_VERSION,
  B_FLUSHING,
  B_HOLDS,
  B_NEXT,
  BUSY,
  FRAME_EVICTING,
  FRAME_FREE,
  FRAME_VALID,
  FRAMES_MAX,
  H_FRAME_WAITERS,
  H_FRAME_WAKE,
  H_FREE_COUNT,
  H_FREE_HEAD,
  H_SMALL_TARGET,
  LATCH_E,
  LATCH_FLAGS,
  LATCH_G,
  LATCH_X,
  LOCK_REPLACEMENT,
  NONE,
  NOT_HELD,
  OK,
  PIN_MASK,
  QUEUE_MAIN,
  QUEUE_SMALL,
  RECENCY_MAX,
  S_EVICTIONS,
  S_LOAD_FAILURES,
  S_LOADS,
  S_PARKS,
  S_WAITING_FRAME,
  SLICE,
  SPIN_MAX,
  VERSION_SHIFT,
} from './layout';
import { lockGive, lockTake } from './locks';
import { addPin } from './page-table';
import { park } from './park';
import { ghostAdd, ghostTake, queueCount, queuePush, queueRemove, queueTail } from './replacement';

/** Frames of the small queue that a sweep lets go round before it looks at the main queue. */
const SKIPS_MAX: u32 = 16;

// --- the eviction rule -----------------------------------------------------------------------

/** The one rule: CLEAN, unpinned, not latched, not captured. Asked while E is set by this thread. */
function mayEvict(frame: u32): bool {
  const b = descB(frame);
  return (
    atomic.load<u64>(b + B_HOLDS) == 0 &&
    atomic.load<u64>(b + B_DIRTY) == 0 &&
    atomic.load<u64>(b + B_FLUSHING) == 0 &&
    atomic.load<u64>(b + B_CAPTURED) == 0
  );
}

/**
 * Makes the frame this thread's own if the rule lets it go and, unless `id` is 0, it still has that
 * blob. If not, everything is as before.
 */
function takeVictim(frame: u32, me: u32, id: u64): bool {
  const a = descA(frame);
  const word = atomic.load<u64>(a + A_WORD);
  // A deleted blob that was pinned carries G alone; everything else must be free of flags.
  if ((word & (LATCH_FLAGS ^ LATCH_G)) != 0 || !mayEvict(frame)) return false;
  const taken = versionOf(word) | ownerBits(me) | LATCH_X | LATCH_E;
  if (atomic.cmpxchg<u64>(a + A_WORD, word, taken) != word) return false;
  if (mayEvict(frame) && (id == 0 || atomic.load<u64>(a + A_ID) == id)) {
    atomic.store<u32>(a + A_STATE, FRAME_EVICTING);
    return true;
  }
  atomic.store<u64>(a + A_WORD, word);
  wakeFrame(frame);
  return false;
}

// --- choosing a victim -----------------------------------------------------------------------

/** Chooses a victim and takes it out of its queue: the frame (then `unmap` it), NONE, SLICE. */
export function sweep(me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_REPLACEMENT, me, parkMs) != OK) return SLICE;
  let frame = victimFromSmall(me, load<u32>(H_SMALL_TARGET), SKIPS_MAX, RECENCY_MAX);
  if (frame < 0) frame = victimFromMain(me);
  if (frame < 0) frame = victimFromSmall(me, 0, FRAMES_MAX, RECENCY_MAX + 1);
  lockGive(LOCK_REPLACEMENT);
  if (frame >= 0) count(slotAt(me), S_EVICTIONS, 1);
  return frame;
}

/**
 * Oldest frame of the small queue that the rule lets go, while the queue holds `target` frames or
 * more. Frames with `promoteAt` hits move to the main queue; those that the rule keeps go round,
 * `skipsMax` of them at most.
 */
function victimFromSmall(me: u32, target: u32, skipsMax: u32, promoteAt: u32): i32 {
  let skips: u32 = 0;
  for (let left = queueCount(QUEUE_SMALL); left > 0; left--) {
    if (queueCount(QUEUE_SMALL) < target || skips >= skipsMax) break;
    const frame = queueTail(QUEUE_SMALL);
    const a = descA(frame);
    queueRemove(frame);
    if (load<u32>(a + A_RECENCY) >= promoteAt) {
      store<u32>(a + A_RECENCY, 0);
      queuePush(QUEUE_MAIN, frame);
    } else if (takeVictim(frame, me, 0)) {
      ghostAdd(atomic.load<u64>(a + A_ID));
      return <i32>frame;
    } else {
      queuePush(QUEUE_SMALL, frame);
      skips++;
    }
  }
  return NONE;
}

/** CLOCK by rotation: three laps see every frame at recency 0 at least once. */
function victimFromMain(me: u32): i32 {
  for (let left = queueCount(QUEUE_MAIN) * (RECENCY_MAX + 1); left > 0; left--) {
    const frame = queueTail(QUEUE_MAIN);
    const a = descA(frame);
    const recency = load<u32>(a + A_RECENCY);
    queueRemove(frame);
    if (recency == 0 && takeVictim(frame, me, 0)) return <i32>frame;
    if (recency > 0) store<u32>(a + A_RECENCY, recency - 1);
    queuePush(QUEUE_MAIN, frame);
  }
  return NONE;
}

/** The same for one given frame, if it still holds the blob: OK, BUSY when the rule keeps it. */
export function evictFrame(frame: u32, idNumber: f64, me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_REPLACEMENT, me, parkMs) != OK) return SLICE;
  const taken = takeVictim(frame, me, <u64>idNumber);
  if (taken) queueRemove(frame);
  lockGive(LOCK_REPLACEMENT);
  if (!taken) return BUSY;
  count(slotAt(me), S_EVICTIONS, 1);
  return OK;
}

// --- free frames -----------------------------------------------------------------------------

/** A free frame, now owned by this thread; NONE, SLICE. */
export function takeFree(me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_REPLACEMENT, me, parkMs) != OK) return SLICE;
  const ref = load<u32>(H_FREE_HEAD);
  if (ref != 0) {
    const a = descA(ref - 1);
    store<u32>(H_FREE_HEAD, load<u32>(descB(ref - 1) + B_NEXT));
    store<u32>(H_FREE_COUNT, load<u32>(H_FREE_COUNT) - 1);
    store<u32>(descB(ref - 1) + B_NEXT, 0);
    atomic.store<u64>(a + A_WORD, atomic.load<u64>(a + A_WORD) | ownerBits(me));
  }
  lockGive(LOCK_REPLACEMENT);
  return ref == 0 ? NONE : <i32>(ref - 1);
}

/** Gives a frame that this thread owns and that is in no table and no list back: OK, SLICE. */
export function giveFree(frame: u32, me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_REPLACEMENT, me, parkMs) != OK) return SLICE;
  const a = descA(frame);
  const b = descB(frame);
  store<u32>(b + B_NEXT, load<u32>(H_FREE_HEAD));
  store<u32>(H_FREE_HEAD, frame + 1);
  store<u32>(H_FREE_COUNT, load<u32>(H_FREE_COUNT) + 1);
  atomic.store<u32>(a + A_STATE, FRAME_FREE);
  atomic.store<u64>(a + A_WORD, nextVersion(atomic.load<u64>(a + A_WORD)) | LATCH_X | LATCH_E);
  lockGive(LOCK_REPLACEMENT);
  wakeFrame(frame);
  wakeFrameWaiters();
  return OK;
}

/** Puts all frames on the free list; before any other thread is there. */
export function initFrames(frames: u32): void {
  for (let frame: u32 = frames; frame > 0; frame--) {
    const a = descA(frame - 1);
    store<u64>(a + A_WORD, LATCH_X | LATCH_E);
    store<u32>(descB(frame - 1) + B_NEXT, load<u32>(H_FREE_HEAD));
    store<u32>(H_FREE_HEAD, frame);
  }
  store<u32>(H_FREE_COUNT, frames);
}

/** Parks until a frame may have become free, for at most `parkMs`; `seen` is H_FRAME_WAKE. */
export function waitForFrame(me: u32, seen: u32, parkMs: i32): void {
  count(slotAt(me), S_PARKS, 1);
  park(H_FRAME_WAKE, seen, parkMs);
}

/** Registers as a waiter for any frame; returns the wake word to pass to `waitForFrame`. */
export function enterFrameQueue(me: u32): u32 {
  const slot = slotAt(me);
  beginIntent(slot, 0);
  store<u32>(slot + S_WAITING_FRAME, 1);
  atomic.add<u32>(H_FRAME_WAITERS, 1);
  endIntent(slot);
  return atomic.load<u32>(H_FRAME_WAKE);
}

export function leaveFrameQueue(me: u32): void {
  const slot = slotAt(me);
  beginIntent(slot, 0);
  atomic.sub<u32>(H_FRAME_WAITERS, 1);
  store<u32>(slot + S_WAITING_FRAME, 0);
  endIntent(slot);
}

// --- loading ---------------------------------------------------------------------------------

/** LOADING -> VALID with a pin of this thread: the bytes are there. OK, SLICE. */
export function finishLoad(frame: u32, me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_REPLACEMENT, me, parkMs) != OK) return SLICE;
  queuePush(ghostTake(atomic.load<u64>(descA(frame) + A_ID)) ? QUEUE_MAIN : QUEUE_SMALL, frame);
  lockGive(LOCK_REPLACEMENT);
  const a = descA(frame);
  addPin(frame, me);
  atomic.store<u32>(a + A_STATE, FRAME_VALID);
  atomic.store<u64>(a + A_WORD, nextVersion(atomic.load<u64>(a + A_WORD)));
  count(slotAt(me), S_LOADS, 1);
  wakeFrame(frame);
  return OK;
}

/**
 * A created blob is there: its frame, which `publishCreated` has put into the page table, becomes
 * VALID and dirty. Whoever met it there before has waited for the version to move. OK, SLICE.
 */
export function finishCreated(frame: u32, me: u32, seq: f64, parkMs: i32): i32 {
  if (lockTake(LOCK_REPLACEMENT, me, parkMs) != OK) return SLICE;
  queuePush(QUEUE_SMALL, frame);
  lockGive(LOCK_REPLACEMENT);
  markDirty(frame, seq);
  const a = descA(frame);
  atomic.store<u32>(a + A_STATE, FRAME_VALID);
  atomic.store<u64>(a + A_WORD, nextVersion(atomic.load<u64>(a + A_WORD)));
  wakeFrame(frame);
  return OK;
}

/** Leaves the reason for those who wait for this load; then `unmap` and `giveFree` the frame. */
export function noteLoadFailure(frame: u32, me: u32, code: u32): void {
  const b = descB(frame);
  const word = atomic.load<u64>(descA(frame) + A_WORD);
  // No version while the code changes: nobody takes this reason for that of an earlier load.
  atomic.store<u64>(b + B_FAIL_VERSION, 0);
  atomic.store<u32>(b + B_FAIL_CODE, code);
  atomic.store<u64>(b + B_FAIL_VERSION, (word >> VERSION_SHIFT) + 1);
  count(slotAt(me), S_LOAD_FAILURES, 1);
}

/** Version under which the frame is changing to or from the blob, -1 if it is not. */
export function movingVersion(frame: u32, idNumber: f64): f64 {
  const a = descA(frame);
  const word = atomic.load<u64>(a + A_WORD);
  if ((word & LATCH_E) == 0 || atomic.load<u64>(a + A_ID) != <u64>idNumber) return -1;
  return <f64>(word >> VERSION_SHIFT);
}

/** Waits until the frame has left `version` or E: OK, BUSY (`parkMs` 0), SLICE. */
export function waitMoved(frame: u32, version: f64, me: u32, parkMs: i32): i32 {
  for (let spin: u32 = 0; spin < SPIN_MAX; spin++) {
    if (moved(frame, version)) return OK;
  }
  if (parkMs == 0) return BUSY;
  const wake = registerWaiter(frame, me);
  if (!moved(frame, version)) parkOnFrame(frame, me, wake, parkMs);
  unregisterWaiter(frame, me);
  return moved(frame, version) ? OK : SLICE;
}

function moved(frame: u32, version: f64): bool {
  const word = atomic.load<u64>(descA(frame) + A_WORD);
  return (word & LATCH_E) == 0 || word >> VERSION_SHIFT != <u64>version;
}

/** Reason code of the load that failed under `version`, 0 if it did not (or is forgotten). */
export function loadFailure(frame: u32, version: f64): u32 {
  const b = descB(frame);
  const failed = <u64>version + 1;
  if (atomic.load<u64>(b + B_FAIL_VERSION) != failed) return 0;
  const code = atomic.load<u32>(b + B_FAIL_CODE);
  // Read again: another load may have failed in this frame meanwhile.
  return atomic.load<u64>(b + B_FAIL_VERSION) == failed ? code : 0;
}

// --- deleting --------------------------------------------------------------------------------

/**
 * Drops the blob of a frame that this thread holds exclusively and that was taken out of the page
 * table: OK when the frame is now this thread's to give back, BUSY when pins keep it (they read
 * GONE, the sweep collects it later), SLICE.
 */
export function dropBlob(frame: u32, me: u32, parkMs: i32): i32 {
  const a = descA(frame);
  const b = descB(frame);
  const word = atomic.load<u64>(a + A_WORD);
  if (!isOwner(word, me)) return NOT_HELD;
  if (lockTake(LOCK_REPLACEMENT, me, parkMs) != OK) return SLICE;
  forgetDirty(frame);
  // E, then the holds: a pin that comes later sees E and takes itself back.
  atomic.store<u64>(a + A_WORD, word | LATCH_E);
  const pinned = (atomic.load<u64>(b + B_HOLDS) & PIN_MASK) > 0;
  if (pinned) {
    atomic.store<u64>(a + A_WORD, nextVersion(word) | LATCH_G);
  } else {
    queueRemove(frame);
    // A reaper must not take the frame for one that still has its blob: it would be in no list.
    atomic.store<u32>(a + A_STATE, FRAME_EVICTING);
  }
  lockGive(LOCK_REPLACEMENT);
  latchesHeld(slotAt(me), -1);
  wakeFrame(frame);
  return pinned ? BUSY : OK;
}

// --- for statistics and checks: changes nothing -------------------------------------------

/** Lets the frame's recency fade by one: what it was before. For the background sweep. */
export function ageFrame(frame: u32): u32 {
  const recency = load<u32>(descA(frame) + A_RECENCY);
  if (recency > 0) store<u32>(descA(frame) + A_RECENCY, recency - 1);
  return recency;
}

export function recencyOf(frame: u32): u32 {
  return load<u32>(descA(frame) + A_RECENCY);
}

export function latchFlags(frame: u32): u32 {
  return <u32>(atomic.load<u64>(descA(frame) + A_WORD) & LATCH_FLAGS);
}

export function holdsOf(frame: u32): f64 {
  return <f64>atomic.load<u64>(descB(frame) + B_HOLDS);
}

export function stateOf(frame: u32): u32 {
  return atomic.load<u32>(descA(frame) + A_STATE);
}

/** LATCH_X is set on free frames too; only a VALID one counts as latched by somebody. */
export function isLatched(frame: u32): bool {
  const word = atomic.load<u64>(descA(frame) + A_WORD);
  if ((word & LATCH_X) != 0 && (word & LATCH_E) == 0) return true;
  return atomic.load<u64>(descB(frame) + B_HOLDS) > PIN_MASK;
}
