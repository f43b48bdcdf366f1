/**
 * Dirty bookkeeping of a frame: dirty seq, flushing seq, captured mark.
 *
 * Owns:        B_DIRTY, B_FLUSHING, B_CAPTURED, B_DIRTY_AT and the list of what a round captured.
 * Invariants:  I1  a frame whose bytes are newer than its committed image has a dirty or a flushing
 *                  seq; the mark is set under the exclusive latch, before the latch or the pin is
 *                  given back, and a capture sets one word before it clears the other;
 *              I3  a capture runs while the gate is closed: it takes everything in one instant;
 *              a captured frame keeps the bytes of the capture until somebody has copied them:
 *              exactly one thread wins HELD -> COPYING.
 * Threads:     the holder of the exclusive latch marks and clears; the checkpointer captures,
 *              retires and restores; any thread reads.
 */
import { descA, descB } from './descriptors';
import {
  A_ID,
  B_CAPTURED,
  B_DIRTY,
  B_DIRTY_AT,
  B_FLUSHING,
  BUSY,
  CAPTURE_COPYING,
  CAPTURE_ENTRY,
  CAPTURE_HELD,
  CAPTURE_MASK,
  CAPTURE_SHIFT,
  CAPTURES,
  H_DIRTY_COUNT,
  H_FRAMES,
  MISS,
  OK,
  SPIN_MAX,
} from './layout';

// --- marking -----------------------------------------------------------------------------------

/** Sets the dirty seq to the minimum; the caller holds the exclusive latch. Whether it was clean. */
export function markDirty(frame: u32, seqNumber: f64): bool {
  const dirty = descB(frame) + B_DIRTY;
  const seq = <u64>seqNumber;
  let seen = atomic.load<u64>(dirty);
  while (seen == 0 || seen > seq) {
    const was = atomic.cmpxchg<u64>(dirty, seen, seq);
    if (was == seen) {
      if (seen == 0) atomic.add<u32>(H_DIRTY_COUNT, 1);
      return seen == 0;
    }
    seen = was;
  }
  return false;
}

/** Notes when the frame became dirty, in ms since the pool was opened; wraps. */
export function stampDirty(frame: u32, at: u32): void {
  store<u32>(descB(frame) + B_DIRTY_AT, at);
}

/** The frame equals its committed image: takes the mark off, under the exclusive latch. */
export function clearDirty(frame: u32): void {
  if (atomic.xchg<u64>(descB(frame) + B_DIRTY, 0) != 0) atomic.sub<u32>(H_DIRTY_COUNT, 1);
}

/** The blob is no more: neither this round nor the next one writes the frame. */
export function forgetDirty(frame: u32): void {
  clearDirty(frame);
  atomic.store<u64>(descB(frame) + B_FLUSHING, 0);
  atomic.store<u64>(descB(frame) + B_CAPTURED, 0);
}

export function dirtySeq(frame: u32): f64 {
  return <f64>atomic.load<u64>(descB(frame) + B_DIRTY);
}

export function flushingSeq(frame: u32): f64 {
  return <f64>atomic.load<u64>(descB(frame) + B_FLUSHING);
}

export function dirtyAt(frame: u32): u32 {
  return load<u32>(descB(frame) + B_DIRTY_AT);
}

/** For how many ms the frame that is dirty longest has been so; -1 if all are clean. */
export function oldestDirtyMs(now: u32): f64 {
  const frames = load<u32>(H_FRAMES);
  let oldest: f64 = -1;
  for (let frame: u32 = 0; frame < frames; frame++) {
    if (atomic.load<u64>(descB(frame) + B_DIRTY) == 0) continue;
    // The clock wraps after 49 days, their difference does not.
    const age = <f64>(now - dirtyAt(frame));
    if (age > oldest) oldest = age;
  }
  return oldest;
}

/** Lowest dirty or flushing seq of all frames; 0 if all are clean. */
export function lowestUnflushed(): f64 {
  const frames = load<u32>(H_FRAMES);
  let lowest: u64 = 0;
  for (let frame: u32 = 0; frame < frames; frame++) {
    const seq = lowerOf(frame);
    if (seq != 0 && (lowest == 0 || seq < lowest)) lowest = seq;
  }
  return <f64>lowest;
}

/** Lowest seq whose change is in the frame and not in the store; 0 if it is clean. */
function lowerOf(frame: u32): u64 {
  const b = descB(frame);
  // Dirty first: a capture sets the other word before it clears this one.
  const dirty = atomic.load<u64>(b + B_DIRTY);
  const flushing = atomic.load<u64>(b + B_FLUSHING);
  if (dirty == 0 || (flushing != 0 && flushing < dirty)) return flushing;
  return dirty;
}

export function unflushedSeq(frame: u32): f64 {
  return <f64>lowerOf(frame);
}

// --- capturing -----------------------------------------------------------------------------------

function captureAt(index: u32): usize {
  return CAPTURES + index * CAPTURE_ENTRY;
}

/**
 * Takes the whole dirty set for the round; the gate is closed. The number of frames, which
 * `capture*` tell one by one.
 */
export function captureAll(round: f64): u32 {
  const frames = load<u32>(H_FRAMES);
  const mark = ((<u64>round) << CAPTURE_SHIFT) | CAPTURE_HELD;
  let taken: u32 = 0;
  for (let frame: u32 = 0; frame < frames; frame++) {
    const b = descB(frame);
    const seq = atomic.load<u64>(b + B_DIRTY);
    if (seq == 0) continue;
    // Never clean in between: an evictor reads these words at any time.
    atomic.store<u64>(b + B_FLUSHING, seq);
    atomic.store<u64>(b + B_CAPTURED, mark);
    atomic.store<u64>(b + B_DIRTY, 0);
    const entry = captureAt(taken++);
    store<u64>(entry, atomic.load<u64>(descA(frame) + A_ID));
    store<u64>(entry, seq, 8);
    store<u32>(entry, frame, 16);
    store<u32>(entry, load<u32>(b + B_DIRTY_AT), 20);
  }
  atomic.sub<u32>(H_DIRTY_COUNT, taken);
  return taken;
}

export function captureId(index: u32): f64 {
  return <f64>load<u64>(captureAt(index));
}

export function captureSeq(index: u32): f64 {
  return <f64>load<u64>(captureAt(index), 8);
}

export function captureFrame(index: u32): u32 {
  return load<u32>(captureAt(index), 16);
}

/**
 * The right to copy the bytes of a captured frame: OK; MISS when the round does not need them (any
 * more); BUSY while somebody else copies. With round 0, of whichever round.
 */
export function beginCopy(frame: u32, round: f64): i32 {
  const at = descB(frame) + B_CAPTURED;
  const mark = atomic.load<u64>(at);
  if (mark == 0) return MISS;
  if (round != 0 && mark >> CAPTURE_SHIFT != <u64>round) return MISS;
  if ((mark & CAPTURE_MASK) != CAPTURE_HELD) return BUSY;
  const copying = (mark & ~CAPTURE_MASK) | CAPTURE_COPYING;
  return atomic.cmpxchg<u64>(at, mark, copying) == mark ? OK : BUSY;
}

/** The bytes are copied: the frame may be written again. */
export function endCopy(frame: u32): void {
  atomic.store<u64>(descB(frame) + B_CAPTURED, 0);
}

/** Round whose bytes the frame still holds for nobody has copied them; 0 if none. */
export function capturedBy(frame: u32): f64 {
  return <f64>(atomic.load<u64>(descB(frame) + B_CAPTURED) >> CAPTURE_SHIFT);
}

/** Waits for the end of a copy, which takes microseconds: whether it has ended. */
export function spinWhileCopied(frame: u32): bool {
  const at = descB(frame) + B_CAPTURED;
  for (let spin: u32 = 0; spin < SPIN_MAX * 8; spin++) {
    if ((atomic.load<u64>(at) & CAPTURE_MASK) != CAPTURE_COPYING) return true;
  }
  return false;
}

// --- the end of a round ----------------------------------------------------------------------------

/**
 * The captured image is committed: clears the flushing seq by compare-and-swap. A frame that was
 * changed again stays dirty, one that was dropped or has another blob is left alone. Whether it was
 * retired.
 */
export function retire(index: u32): bool {
  const seq = load<u64>(captureAt(index), 8);
  return atomic.cmpxchg<u64>(descB(captureFrame(index)) + B_FLUSHING, seq, 0) == seq;
}

/**
 * The round has failed: puts the entry back, merged with what came later by minimum; the gate is
 * closed. Whether the frame still had the blob.
 */
export function restore(index: u32): bool {
  const entry = captureAt(index);
  const frame = captureFrame(index);
  const b = descB(frame);
  const seq = load<u64>(entry, 8);
  if (atomic.load<u64>(b + B_FLUSHING) != seq) return false;
  markDirty(frame, <f64>seq);
  store<u32>(b + B_DIRTY_AT, load<u32>(entry, 20));
  atomic.store<u64>(b + B_CAPTURED, 0);
  atomic.store<u64>(b + B_FLUSHING, 0);
  return true;
}
