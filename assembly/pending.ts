/**
 * What commits have changed beside the frames and a round has still to commit: deletes and roots.
 *
 * Owns:        the table of pending deletes and the table of roots.
 * Invariants:  I3  each entry carries the seq of its record, so a round with the cut S takes what
 *                  is at or below S, and what came later stays for the next one;
 *              a deleted blob is in the table before it leaves the page table and until the mapping
 *              has forgotten it: nobody loads its old image meanwhile.
 * Threads:     changes under LOCK_PENDING; roots are read without it, their entries never move.
 */
import {
  DELETE_ENTRIES,
  DELETE_ENTRY,
  DELETES,
  FULL,
  H_CHECKPOINT_SEQ,
  H_DELETES,
  H_ROOTS,
  LOCK_PENDING,
  MISS,
  OK,
  ROOT_ENTRIES,
  ROOT_ENTRY,
  ROOTS,
  ROOTS_MAX,
  SLICE,
} from './layout';
import { lockGive, lockTake } from './locks';

function spread(key: u64, mask: u32): u32 {
  return <u32>((key * 0x9e37_79b9_7f4a_7c15) >> 32) & mask;
}

// --- deletes -------------------------------------------------------------------------------------

const DELETE_MASK: u32 = DELETE_ENTRIES - 1;

function deleteAt(index: u32): usize {
  return DELETES + index * DELETE_ENTRY;
}

function findDelete(id: u64): u32 {
  let index = spread(id, DELETE_MASK);
  for (let step: u32 = 0; step < DELETE_ENTRIES; step++) {
    const there = load<u64>(deleteAt(index));
    if (there == id || there == 0) break;
    index = (index + 1) & DELETE_MASK;
  }
  return index;
}

/** The blob was deleted by the record with that seq: OK, SLICE. Room was seen to before. */
export function deleteAdd(idNumber: f64, seq: f64, me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;
  const entry = deleteAt(findDelete(<u64>idNumber));
  // The seq first: the checkpointer looks without the lock, and must not see an older one.
  atomic.store<u64>(entry + 8, <u64>seq);
  atomic.store<u64>(entry, <u64>idNumber);
  atomic.add<u32>(H_DELETES, 1);
  lockGive(LOCK_PENDING);
  return OK;
}

/** Whether the blob is deleted and the store does not know yet: OK (it is), MISS, SLICE. */
export function deletePending(idNumber: f64, me: u32, parkMs: i32): i32 {
  if (atomic.load<u32>(H_DELETES) == 0) return MISS;
  if (lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;
  const there = load<u64>(deleteAt(findDelete(<u64>idNumber)));
  lockGive(LOCK_PENDING);
  return there != 0 ? OK : MISS;
}

/** Id at an index of the table whose record is at or below `seq`, else 0. For the checkpointer. */
export function deleteIdAt(index: u32, seq: f64): f64 {
  const entry = deleteAt(index);
  const id = atomic.load<u64>(entry);
  return id != 0 && atomic.load<u64>(entry + 8) <= <u64>seq ? <f64>id : 0;
}

/** The mapping has forgotten the blob: OK (also if it is not there), SLICE. */
export function deleteRemove(idNumber: f64, me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;
  let gap = findDelete(<u64>idNumber);
  if (load<u64>(deleteAt(gap)) != 0) {
    let index = gap;
    for (;;) {
      index = (index + 1) & DELETE_MASK;
      const from = deleteAt(index);
      const id = load<u64>(from);
      if (id == 0) break;
      // An entry may fill the gap unless its home lies cyclically behind the gap.
      const home = spread(id, DELETE_MASK);
      if (((index - home) & DELETE_MASK) < ((index - gap) & DELETE_MASK)) continue;
      store<u64>(deleteAt(gap), id);
      store<u64>(deleteAt(gap), load<u64>(from, 8), 8);
      gap = index;
    }
    store<u64>(deleteAt(gap), 0);
    atomic.sub<u32>(H_DELETES, 1);
  }
  lockGive(LOCK_PENDING);
  return OK;
}

// --- roots ---------------------------------------------------------------------------------------

const ROOT_MASK: u32 = ROOT_ENTRIES - 1;

function rootEntry(index: u32): usize {
  return ROOTS + index * ROOT_ENTRY;
}

/** Root blob of the owner, 0 if it has none. */
export function rootOf(owner: f64): f64 {
  const key = <u64>owner + 1;
  let index = spread(key, ROOT_MASK);
  for (let step: u32 = 0; step < ROOT_ENTRIES; step++) {
    const entry = rootEntry(index);
    const there = atomic.load<u64>(entry);
    if (there == 0) return 0;
    if (there == key) {
      const root = atomic.load<u64>(entry + 8);
      // An entry without a root may be given to another owner.
      return atomic.load<u64>(entry) == key ? <f64>root : 0;
    }
    index = (index + 1) & ROOT_MASK;
  }
  return 0;
}

/** An entry without a root that no round needs any more. */
function isUnused(entry: usize): bool {
  const done = atomic.load<u64>(entry + 16) <= atomic.load<u64>(H_CHECKPOINT_SEQ);
  return done && atomic.load<u64>(entry + 8) == 0;
}

/** Whether the owner has an entry. */
export function rootKnown(owner: f64): bool {
  const index = placeOf(<u64>owner + 1);
  return index >= 0 && atomic.load<u64>(rootEntry(<u32>index)) == <u64>owner + 1;
}

/** Whether the owner has an entry or could get one beside so many other new ones: OK, FULL. */
export function rootRoom(owner: f64, others: u32): i32 {
  if (atomic.load<u32>(H_ROOTS) + others < ROOTS_MAX || rootKnown(owner)) return OK;
  let used: u32 = others;
  for (let index: u32 = 0; index < ROOT_ENTRIES; index++) {
    const entry = rootEntry(index);
    if (atomic.load<u64>(entry) != 0 && !isUnused(entry)) used++;
  }
  return used < ROOTS_MAX ? OK : FULL;
}

/** The owner's entry, else an unused one on the way there, else an empty one. */
function placeOf(key: u64): i32 {
  let index = spread(key, ROOT_MASK);
  let unused: i32 = -1;
  for (let step: u32 = 0; step < ROOT_ENTRIES; step++) {
    const entry = rootEntry(index);
    const there = atomic.load<u64>(entry);
    if (there == key) return <i32>index;
    if (there == 0) return unused >= 0 ? unused : <i32>index;
    if (unused < 0 && isUnused(entry)) unused = <i32>index;
    index = (index + 1) & ROOT_MASK;
  }
  return unused;
}

/**
 * Sets an owner's root (0: none) by the record with that seq: OK, FULL, SLICE. Ops inside the gate
 * come here in any order: the root of a later record stays.
 */
export function rootSet(owner: f64, root: f64, seq: f64, me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;
  const key = <u64>owner + 1;
  const index = placeOf(key);
  if (index >= 0) putRoot(rootEntry(<u32>index), key, <u64>root, <u64>seq);
  lockGive(LOCK_PENDING);
  return index >= 0 ? OK : FULL;
}

function putRoot(entry: usize, key: u64, root: u64, seq: u64): void {
  const there = atomic.load<u64>(entry);
  if (there == key && atomic.load<u64>(entry + 16) > seq) return;
  if (there == 0) atomic.add<u32>(H_ROOTS, 1);
  atomic.store<u64>(entry + 16, seq);
  atomic.store<u64>(entry, key);
  atomic.store<u64>(entry + 8, root);
}

/**
 * Changes an owner's root from one value to another, by no record: OK, MISS (it is not `from`),
 * SLICE. Of several threads that ask for the same, one gets OK.
 */
export function rootSwap(owner: f64, from: f64, to: f64, me: u32, parkMs: i32): i32 {
  if (lockTake(LOCK_PENDING, me, parkMs) != OK) return SLICE;
  const key = <u64>owner + 1;
  let result = MISS;
  let index = spread(key, ROOT_MASK);
  for (let step: u32 = 0; step < ROOT_ENTRIES; step++) {
    const entry = rootEntry(index);
    const there = atomic.load<u64>(entry);
    if (there == 0) break;
    if (there == key) {
      if (atomic.load<u64>(entry + 8) == <u64>from) {
        atomic.store<u64>(entry + 8, <u64>to);
        result = OK;
      }
      break;
    }
    index = (index + 1) & ROOT_MASK;
  }
  lockGive(LOCK_PENDING);
  return result;
}

/** Owner at an index of the table whose root was changed above `seq`, else -1. */
export function rootChangedAt(index: u32, seq: f64): f64 {
  const entry = rootEntry(index);
  const key = atomic.load<u64>(entry);
  return key != 0 && atomic.load<u64>(entry + 16) > <u64>seq ? <f64>(key - 1) : -1;
}
