/**
 * Addresses of frame descriptors, thread slots and holds; intent and counters of a thread slot.
 *
 * Owns:        nothing; address arithmetic that every other kernel shares.
 * Threads:     any. What lies in a thread slot is written by its owner alone, with plain stores:
 *              others look at it only after the owner is known to be dead.
 */
import {
  DESC_A,
  DESC_B,
  DESC_SHIFT,
  HOLD_SHIFT,
  HOLDS,
  HOLDS_STRIDE,
  OWNER_MASK,
  OWNER_SHIFT,
  S_INTENT,
  SLOT_BYTES,
  SLOTS,
  VERSION_SHIFT,
} from './layout';

export function descA(frame: u32): usize {
  return DESC_A + (frame << DESC_SHIFT);
}

export function descB(frame: u32): usize {
  return DESC_B + (frame << DESC_SHIFT);
}

export function slotAt(me: u32): usize {
  return SLOTS + me * SLOT_BYTES;
}

export function holdAt(me: u32, frame: u32): usize {
  return HOLDS + me * HOLDS_STRIDE + (frame << HOLD_SHIFT);
}

/** The owner field of a latch word for thread slot `me`. */
export function ownerBits(me: u32): u64 {
  return (<u64>(me + 1)) << OWNER_SHIFT;
}

export function isOwner(word: u64, me: u32): bool {
  return (word & OWNER_MASK) == ownerBits(me);
}

/** The word with its version, no owner and no flags. */
export function versionOf(word: u64): u64 {
  return (word >> VERSION_SHIFT) << VERSION_SHIFT;
}

export function nextVersion(word: u64): u64 {
  return ((word >> VERSION_SHIFT) + 1) << VERSION_SHIFT;
}

/**
 * Brackets a change of a hold or waiter count: a thread that dies inside leaves the intent behind,
 * and the reaper then knows that it cannot know. Straight-line wasm is not interrupted in practice;
 * the intent costs two plain stores and does not rely on that.
 */
export function beginIntent(slot: usize, frame: u32): void {
  store<u32>(slot + S_INTENT, frame + 1);
}

export function endIntent(slot: usize): void {
  store<u32>(slot + S_INTENT, 0);
}

/** Adds to a counter of the thread's own slot. */
export function count(slot: usize, counter: u32, by: u64): void {
  store<u64>(slot + counter, load<u64>(slot + counter) + by);
}
