/**
 * Mapping: BlobId -> (store slot, checksum), one for all threads; and the bitmap of store slots.
 *
 * Owns:        the mapping region, its seqlock, the slot bitmap.
 * Invariants:  I6  a slot that the committed mapping names is not handed out for writing, nor one
 *                  that some thread is reading (S_READING, announced and then checked again).
 * Threads:     readers take no lock: they read the seqlock, the entry, the seqlock. Changes happen
 *              under the commit lock, between `mapBegin` and `mapEnd`, and appear all at once.
 */
import { slotAt } from './descriptors';
import {
  BUSY,
  FULL,
  H_MAP_BASE,
  H_MAP_COUNT,
  H_MAP_MASK,
  H_MAP_VERSION,
  H_SLOT_HINT,
  H_SLOTS_USED,
  H_STORE_SLOTS,
  M_CHECKSUM,
  M_ID,
  M_SLOT,
  MAP_ENTRY,
  MISS,
  NONE,
  OK,
  S_OUT,
  S_READING,
  S_STATE,
  SLOT_BITS,
  SLOT_FREE,
  SLOT_STATE_MASK,
  SLOTS_MAX,
  SPIN_MAX,
} from './layout';

function entryAt(index: u32): usize {
  return <usize>load<u32>(H_MAP_BASE) + <usize>index * MAP_ENTRY;
}

function home(id: u64): u32 {
  return <u32>((id * 0x9e37_79b9_7f4a_7c15) >> 32) & load<u32>(H_MAP_MASK);
}

/** Index of the id's entry, or of the empty one that ends its probe; bounded by the capacity. */
function probe(id: u64): u32 {
  const mask = load<u32>(H_MAP_MASK);
  let index = home(id);
  for (let step: u32 = 0; step <= mask; step++) {
    const there = atomic.load<u64>(entryAt(index) + M_ID);
    if (there == id || there == 0) return index;
    index = (index + 1) & mask;
  }
  return index;
}

/**
 * Looks the id up: OK with the slot (f64) at S_OUT and the checksum (u64) at S_OUT + 8, MISS, or
 * BUSY while a commit is being published.
 */
export function mapGet(idNumber: f64, me: u32): i32 {
  const id = <u64>idNumber;
  const out = slotAt(me) + S_OUT;
  for (let spin: u32 = 0; spin < SPIN_MAX; spin++) {
    const version = atomic.load<u32>(H_MAP_VERSION);
    if ((version & 1) != 0) continue;
    const entry = entryAt(probe(id));
    const there = atomic.load<u64>(entry + M_ID);
    const slot = atomic.load<u64>(entry + M_SLOT);
    const checksum = atomic.load<u64>(entry + M_CHECKSUM);
    if (atomic.load<u32>(H_MAP_VERSION) != version) continue;
    if (id == 0 || there != id || <f64>id != idNumber) return MISS;
    store<f64>(out, <f64>slot);
    store<u64>(out + 8, checksum);
    return OK;
  }
  return BUSY;
}

export function mapBegin(): void {
  atomic.add<u32>(H_MAP_VERSION, 1);
}

export function mapEnd(): void {
  atomic.add<u32>(H_MAP_VERSION, 1);
}

/** Sets an entry: OK, or FULL when the table would be more than seven eighths full. */
export function mapPut(idNumber: f64, slot: f64, checksum: u64): i32 {
  const id = <u64>idNumber;
  const entry = entryAt(probe(id));
  if (atomic.load<u64>(entry + M_ID) != id) {
    const used = load<u32>(H_MAP_COUNT);
    const capacity = load<u32>(H_MAP_MASK) + 1;
    if (used >= capacity - (capacity >> 3)) return FULL;
    store<u32>(H_MAP_COUNT, used + 1);
  }
  atomic.store<u64>(entry + M_SLOT, <u64>slot);
  atomic.store<u64>(entry + M_CHECKSUM, checksum);
  atomic.store<u64>(entry + M_ID, id);
  return OK;
}

/** Removes an entry and closes the gap behind it: OK, or MISS. */
export function mapRemove(idNumber: f64): i32 {
  const mask = load<u32>(H_MAP_MASK);
  let gap = probe(<u64>idNumber);
  if (idNumber == 0 || atomic.load<u64>(entryAt(gap) + M_ID) != <u64>idNumber) return MISS;
  let index = gap;
  for (let step: u32 = 0; step <= mask; step++) {
    index = (index + 1) & mask;
    const from = entryAt(index);
    const id = atomic.load<u64>(from + M_ID);
    if (id == 0) break;
    // An entry may fill the gap unless its home lies cyclically behind the gap.
    if (((index - home(id)) & mask) < ((index - gap) & mask)) continue;
    const to = entryAt(gap);
    atomic.store<u64>(to + M_ID, id);
    atomic.store<u64>(to + M_SLOT, atomic.load<u64>(from + M_SLOT));
    atomic.store<u64>(to + M_CHECKSUM, atomic.load<u64>(from + M_CHECKSUM));
    gap = index;
  }
  atomic.store<u64>(entryAt(gap) + M_ID, 0);
  store<u32>(H_MAP_COUNT, load<u32>(H_MAP_COUNT) - 1);
  return OK;
}

/**
 * The first entry from an index on: its index, with id and slot (f64) and checksum (u64) at S_OUT;
 * NONE behind the last one. A copy checks the seqlock around its walk.
 */
export function mapNext(from: u32, me: u32): i32 {
  const mask = load<u32>(H_MAP_MASK);
  const out = slotAt(me) + S_OUT;
  for (let index = from; index <= mask; index++) {
    const entry = entryAt(index);
    const id = atomic.load<u64>(entry + M_ID);
    if (id == 0) continue;
    store<f64>(out, <f64>id);
    store<f64>(out + 8, <f64>atomic.load<u64>(entry + M_SLOT));
    store<u64>(out + 16, atomic.load<u64>(entry + M_CHECKSUM));
    return <i32>index;
  }
  return NONE;
}

/** Id at an index of the table, 0 if empty; a listing checks the seqlock around its walk. */
export function mapIdAt(index: u32): f64 {
  return <f64>atomic.load<u64>(entryAt(index) + M_ID);
}

// --- store slots -----------------------------------------------------------------------------

function isRead(slot: u32): bool {
  for (let thread: u32 = 0; thread < SLOTS_MAX; thread++) {
    const at = slotAt(thread);
    if ((atomic.load<u32>(at + S_STATE) & SLOT_STATE_MASK) == SLOT_FREE) continue;
    if (atomic.load<u64>(at + S_READING) == <u64>slot + 1) return true;
  }
  return false;
}

/** Announces that this thread reads the slot; it must look the id up again before it relies on it. */
export function readBegin(slot: f64, me: u32): void {
  atomic.store<u64>(slotAt(me) + S_READING, <u64>slot + 1);
}

export function readEnd(me: u32): void {
  atomic.store<u64>(slotAt(me) + S_READING, 0);
}

/** Marks a slot as used while the store is opened: OK, BUSY if it is used already, FULL. */
export function slotMark(slot: u32): i32 {
  if (slot >= load<u32>(H_STORE_SLOTS)) return FULL;
  const word = SLOT_BITS + ((slot >> 5) << 2);
  const bit: u32 = 1 << (slot & 31);
  if ((atomic.or<u32>(word, bit) & bit) != 0) return BUSY;
  atomic.add<u32>(H_SLOTS_USED, 1);
  return OK;
}

/** A free slot for writing, lowest first; under the commit lock. NONE when the bitmap is full. */
export function slotTake(): f64 {
  const slots = load<u32>(H_STORE_SLOTS);
  let skipped = slots;
  for (let slot = load<u32>(H_SLOT_HINT); slot < slots; slot++) {
    const word = atomic.load<u32>(SLOT_BITS + ((slot >> 5) << 2));
    if (word == 0xffff_ffff) {
      slot |= 31;
      continue;
    }
    if ((word & (1 << (slot & 31))) != 0) continue;
    // The slot first, then the readers: who announced itself later finds the mapping changed.
    if (isRead(slot)) {
      if (slot < skipped) skipped = slot;
      continue;
    }
    if (slotMark(slot) == OK) {
      // What was passed over because it was being read is free later: the hint stays before it.
      store<u32>(H_SLOT_HINT, skipped < slot ? skipped : slot + 1);
      return <f64>slot;
    }
  }
  // Slots behind the hint may have been skipped because they were being read.
  if (load<u32>(H_SLOT_HINT) != 0) {
    store<u32>(H_SLOT_HINT, 0);
    return slotTake();
  }
  return NONE;
}

export function slotFree(slot: u32): i32 {
  const word = SLOT_BITS + ((slot >> 5) << 2);
  const bit: u32 = 1 << (slot & 31);
  if ((atomic.and<u32>(word, ~bit) & bit) == 0) return MISS;
  atomic.sub<u32>(H_SLOTS_USED, 1);
  if (slot < load<u32>(H_SLOT_HINT)) store<u32>(H_SLOT_HINT, slot);
  return OK;
}

export function slotUsed(slot: u32): bool {
  const word = atomic.load<u32>(SLOT_BITS + ((slot >> 5) << 2));
  return (word & (1 << (slot & 31))) != 0;
}

/** Whether the seqlock stands still, for listings: the version, or BUSY while it is odd. */
export function mapVersion(): i32 {
  const version = atomic.load<u32>(H_MAP_VERSION);
  return (version & 1) != 0 ? BUSY : <i32>(version & 0x7fff_ffff);
}
