/**
 * Dirty bookkeeping of a frame.
 *
 * Owns:        B_DIRTY, and later the flushing seq.
 * Invariants:  I1  a frame whose bytes are newer than its committed image is marked; the mark is set
 *                  under the exclusive latch, before the latch or the pin is given back.
 * Threads:     the holder of the exclusive latch marks and clears; any thread reads.
 */
import { descB } from './descriptors';
import { B_DIRTY } from './layout';

/** Sets the dirty seq to the minimum; the caller holds the exclusive latch, and keeps it. */
export function markDirty(frame: u32, seqNumber: f64): void {
  const dirty = descB(frame) + B_DIRTY;
  const seq = <u64>seqNumber;
  let seen = atomic.load<u64>(dirty);
  while (seen == 0 || seen > seq) {
    const was = atomic.cmpxchg<u64>(dirty, seen, seq);
    if (was == seen) return;
    seen = was;
  }
}

/** The frame equals its committed image: takes the mark off, under the exclusive latch. */
export function clearDirty(frame: u32): void {
  atomic.store<u64>(descB(frame) + B_DIRTY, 0);
}

export function dirtySeq(frame: u32): f64 {
  return <f64>atomic.load<u64>(descB(frame) + B_DIRTY);
}
