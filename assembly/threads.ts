/**
 * Thread slots and the reaper: what a dead thread left behind is given back, or the pool stops.
 *
 * Owns:        the slots' states and, while reaping, everything in a dead thread's slot.
 * Invariants:  G1  what a thread held is given back exactly once: by itself or by its reaper;
 *              I1  an exclusive latch of a dead thread is never given back: nobody may see half a
 *                  change, the pool is poisoned instead.
 * Threads:     any thread may reap; the slot's state decides who does. The reaper must know that
 *              the thread is gone (exit event, vanished task): a time-out is never a sign.
 */
import {
  beginIntent,
  descA,
  descB,
  endIntent,
  holdAt,
  isOwner,
  slotAt,
  versionOf,
} from './descriptors';
import { wakeFrame, wakeFrameWaiters } from './latch';
import {
  A_ID,
  A_QUEUE,
  A_STATE,
  A_WORD,
  B_HOLDS,
  B_WAITERS,
  BUSY,
  FRAME_VALID,
  H_FRAME_WAITERS,
  HOLD_PINS,
  HOLD_SHARED,
  LATCH_E,
  LATCH_P,
  LATCH_X,
  LINE,
  LOCK_REPLACEMENT,
  LOCKS,
  LOCKS_END,
  NONE,
  OK,
  PIN_ONE,
  S_GATE,
  S_INTENT,
  S_LAST_SEQ,
  S_LATCHES,
  S_NODE_THREAD,
  S_PREFETCHED,
  S_READING,
  S_REAPER,
  S_REAPER_START,
  S_REAPER_TID,
  S_START_TIME,
  S_STATE,
  S_TID,
  S_WAITING_FRAME,
  S_WAITING_ON,
  S_WRITING,
  SHARED_ONE,
  SLICE,
  SLOT_ATTACHED,
  SLOT_CLAIMED,
  SLOT_FREE,
  SLOT_GENERATION,
  SLOT_REAPING,
  SLOT_STATE_MASK,
  SLOTS_MAX,
  UNDECIDED,
} from './layout';
import { lockGive, lockOwner, lockTake } from './locks';
import { queueRemove } from './replacement';
import { creditGive } from './ring';
import { endSnapshots } from './snapshots';

/**
 * Takes a free slot for the calling thread: its number, or NONE. Once the slot is claimed nothing
 * interrupts until it says whose it is, so that no claim is left behind by a death.
 */
export function attachSlot(nodeThread: u32, tid: u32, startTime: f64): i32 {
  for (let me: u32 = 0; me < SLOTS_MAX; me++) {
    const slot = slotAt(me);
    const seen = atomic.load<u32>(slot + S_STATE);
    if ((seen & SLOT_STATE_MASK) != SLOT_FREE) continue;
    if (atomic.cmpxchg<u32>(slot + S_STATE, seen, seen | SLOT_CLAIMED) != seen) continue;
    store<u32>(slot + S_NODE_THREAD, nodeThread);
    store<u32>(slot + S_TID, tid);
    store<u64>(slot + S_START_TIME, <u64>startTime);
    atomic.store<u32>(slot + S_STATE, seen | SLOT_ATTACHED);
    return me;
  }
  return NONE;
}

/** State word of the slot if a thread is attached there, else 0. */
export function attachedState(thread: u32): u32 {
  const seen = atomic.load<u32>(slotAt(thread) + S_STATE);
  return (seen & SLOT_STATE_MASK) == SLOT_ATTACHED ? seen : 0;
}

/** State word of the slot if it is being reaped, else 0. */
export function reapedState(thread: u32): u32 {
  const seen = atomic.load<u32>(slotAt(thread) + S_STATE);
  return (seen & SLOT_STATE_MASK) == SLOT_REAPING ? seen : 0;
}

/**
 * Takes the right to reap the thread that had the slot when its state word was `seen`, also from a
 * reaper that died at it: OK, or BUSY when that thread's slot was given up or somebody else is at
 * it. Each taking moves the generation, so that of two who see a dead reaper one goes on.
 */
export function beginReap(dead: u32, seen: u32, nodeThread: u32, tid: u32, startTime: f64): i32 {
  const slot = slotAt(dead);
  const next = (seen & ~SLOT_STATE_MASK) + SLOT_GENERATION;
  if (atomic.cmpxchg<u32>(slot + S_STATE, seen, next | SLOT_CLAIMED) != seen) return BUSY;
  store<u32>(slot + S_REAPER, nodeThread + 1);
  store<u32>(slot + S_REAPER_TID, tid);
  store<u64>(slot + S_REAPER_START, <u64>startTime);
  // Only now may others ask whether the reaper lives: until here they would see its predecessor.
  atomic.store<u32>(slot + S_STATE, next | SLOT_REAPING);
  return OK;
}

/**
 * What concerns no frame: locks, intent, queues. UNDECIDED when the thread died inside a lock or
 * in the middle of a count.
 */
export function reapSlot(dead: u32): i32 {
  const slot = slotAt(dead);
  if (load<u32>(slot + S_INTENT) != 0) return UNDECIDED;
  // Inside the gate it has changed frames, or a record of it may be unpublished.
  if (atomic.load<u32>(slot + S_GATE) != 0) return UNDECIDED;
  for (let lock: usize = LOCKS; lock < LOCKS_END; lock += LINE) {
    if (lockOwner(lock) == dead + 1) return UNDECIDED;
  }
  // The reaper may die too: its successor must not count twice what was counted half.
  beginIntent(slot, 0);
  const waitingOn = load<u32>(slot + S_WAITING_ON);
  if (waitingOn != 0) atomic.sub<u32>(descB(waitingOn - 1) + B_WAITERS, 1);
  if (load<u32>(slot + S_WAITING_FRAME) != 0) atomic.sub<u32>(H_FRAME_WAITERS, 1);
  store<u32>(slot + S_WAITING_ON, 0);
  store<u32>(slot + S_WAITING_FRAME, 0);
  atomic.store<u64>(slot + S_READING, 0);
  endIntent(slot);
  endSnapshots(dead);
  creditGive(dead);
  return OK;
}

/**
 * What concerns one frame: OK; BUSY when the frame was loading or evicting and is now the reaper's
 * to unmap and give back; SLICE; UNDECIDED for an exclusive latch on a blob's bytes.
 */
export function reapFrame(dead: u32, frame: u32, me: u32, parkMs: i32): i32 {
  const a = descA(frame);
  const word = atomic.load<u64>(a + A_WORD);
  if (isOwner(word, dead)) {
    if ((word & LATCH_X) != 0 && (word & LATCH_E) == 0) return UNDECIDED;
    if ((word & LATCH_P) != 0 || atomic.load<u32>(a + A_STATE) == FRAME_VALID) {
      // A claim, or an eviction that was not decided yet: the bytes are untouched.
      atomic.store<u64>(a + A_WORD, versionOf(word));
    } else {
      if (lockTake(LOCK_REPLACEMENT, me, parkMs) != OK) return SLICE;
      if (load<u32>(a + A_QUEUE) != 0) queueRemove(frame);
      lockGive(LOCK_REPLACEMENT);
      giveHolds(dead, frame);
      return BUSY;
    }
  }
  giveHolds(dead, frame);
  return OK;
}

function giveHolds(dead: u32, frame: u32): void {
  const hold = holdAt(dead, frame);
  const pins = load<u32>(hold + HOLD_PINS);
  const shared = load<u32>(hold + HOLD_SHARED);
  if (pins != 0 || shared != 0) {
    beginIntent(slotAt(dead), frame);
    store<u32>(hold + HOLD_PINS, 0);
    store<u32>(hold + HOLD_SHARED, 0);
    atomic.sub<u64>(descB(frame) + B_HOLDS, <u64>pins * PIN_ONE + <u64>shared * SHARED_ONE);
    endIntent(slotAt(dead));
  }
  wakeFrame(frame);
  wakeFrameWaiters();
}

/** The slot may be used again. Also the last step of a thread that detaches by itself. */
export function endReap(dead: u32): void {
  const slot = slotAt(dead);
  store<u32>(slot + S_LATCHES, 0);
  store<u32>(slot + S_TID, 0);
  store<u32>(slot + S_PREFETCHED, 0);
  store<u64>(slot + S_LAST_SEQ, 0);
  atomic.store<u32>(slot + S_GATE, 0);
  // With a thread the writes end that it has begun: both signs of its death come after them.
  atomic.store<u32>(slot + S_WRITING, 0);
  store<u32>(slot + S_REAPER, 0);
  const next = (atomic.load<u32>(slot + S_STATE) & ~SLOT_STATE_MASK) + SLOT_GENERATION;
  atomic.store<u32>(slot + S_STATE, next | SLOT_FREE);
}

/** Pins (low half) and shared latches (times 2^32) that the thread has on the frame. */
export function holdOf(me: u32, frame: u32): f64 {
  const hold = holdAt(me, frame);
  return <f64>load<u32>(hold + HOLD_PINS) + <f64>load<u32>(hold + HOLD_SHARED) * 4294967296.0;
}

/** Blob id of the frame for a thread that looks for what it still holds; 0 if none. */
export function heldBlob(me: u32, frame: u32): f64 {
  const a = descA(frame);
  if (holdOf(me, frame) == 0 && !isOwner(atomic.load<u64>(a + A_WORD), me)) return 0;
  return <f64>atomic.load<u64>(a + A_ID);
}
