/**
 * Many entries of one change put into nodes, a run of neighbours at a time.
 *
 * Owns:        the order of the entries and what was found of each, in the caller's scratch area.
 * Invariants:  the last of several entries with the same key counts, the others are skipped;
 *              `runNeed` counts what the entries take in whatever order they are done, skipped ones
 *              included, so that room never depends on that order;
 *              slots found by `runNeed` hold until `runApply`: the caller keeps the latch.
 * Threads:     one at a time for each node; the record and the order are the thread's own.
 *
 * Entries lie in a log record, see src/tree/record.ts. The order is of their offsets in it.
 */
import {
  E_KEY,
  E_VALUE,
  N_COUNT,
  N_HIGH_BYTES,
  N_SLOT_BYTES,
  NODE_CORRUPT,
  NODE_FULL,
  OPERATION_DELETE,
  RE_KEY,
  RE_KEY_BYTES,
  RE_OPERATION,
  RE_VALUE_BYTES,
  RUN_GENERAL,
  VALUE_OVERFLOW_MASK,
} from './layout';
import { compareBytes, countOf, entryAt, find, headOf, padKey, slotAddress } from './node';
import {
  admitKey,
  gapOf,
  highOf,
  insertAt,
  makeEntry,
  nodeCovers,
  nodeRemove,
  nodeRoom,
  noteInsertion,
  replaceAt,
} from './node-change';
import { makeHints } from './node-hints';

/** Instead of a slot: a later entry has the same key, or it deletes what is not there. */
const SKIPPED: u32 = 0xffff_ffff;

function keyBytesOf(entry: usize): u32 {
  return <u32>load<u16>(entry, RE_KEY_BYTES);
}

function valueAddress(entry: usize): usize {
  return entry + RE_KEY + keyBytesOf(entry);
}

function isDelete(entry: usize): bool {
  return load<u8>(entry, RE_OPERATION) == OPERATION_DELETE;
}

/** Bytes that a put takes in a node. */
function putBytes(entry: usize): u32 {
  return N_SLOT_BYTES + E_KEY + keyBytesOf(entry) + load<u32>(entry, RE_VALUE_BYTES);
}

/** Order of two entries: by tree, whose ids are positive doubles, then by key. */
function compareEntries(a: usize, b: usize): i32 {
  const treeA = load<u64>(a);
  const treeB = load<u64>(b);
  if (treeA != treeB) return treeA < treeB ? -1 : 1;
  return compareBytes(a + RE_KEY, keyBytesOf(a), b + RE_KEY, keyBytesOf(b));
}

function entryOf(record: usize, order: usize, index: u32): usize {
  return record + load<u32>(order + (index << 2));
}

/**
 * Lists the record's entries, the first of which lies at `first`, in the order of their keys, equal
 * ones in the record's. `spare` is room for as many offsets as `order`.
 */
export function runSort(record: usize, first: u32, count: u32, order: usize, spare: usize): void {
  let at = first;
  let ascending = true;
  for (let index: u32 = 0; index < count; index++) {
    const entry = record + at;
    store<u32>(order + (index << 2), at);
    if (ascending && index > 0) {
      ascending = compareEntries(entryOf(record, order, index - 1), entry) <= 0;
    }
    at += RE_KEY + keyBytesOf(entry) + load<u32>(entry, RE_VALUE_BYTES);
  }
  if (ascending) return;
  let from = order;
  let to = spare;
  for (let width: u32 = 1; width < count; width <<= 1) {
    for (let low: u32 = 0; low < count; low += width << 1) {
      merge(record, from, to, low, min(low + width, count), min(low + (width << 1), count));
    }
    const other = from;
    from = to;
    to = other;
  }
  if (from != order) memory.copy(order, from, count << 2);
}

/** Merges two neighbouring parts, each in order; of equal entries the left ones come first. */
function merge(record: usize, from: usize, to: usize, low: u32, middle: u32, high: u32): void {
  let left = low;
  let right = middle;
  for (let index = low; index < high; index++) {
    const takeLeft =
      left < middle &&
      (right >= high ||
        compareEntries(entryOf(record, from, left), entryOf(record, from, right)) <= 0);
    store<u32>(to + (index << 2), load<u32>(from + ((takeLeft ? left : right) << 2)));
    if (takeLeft) left++;
    else right++;
  }
}

/** End of the run of entries from `from` on that belong to the node; NODE_CORRUPT. */
export function runEnd(
  n: usize,
  size: u32,
  record: usize,
  order: usize,
  from: u32,
  count: u32,
): i32 {
  const first = entryOf(record, order, from);
  if (nodeCovers(n, size, first + RE_KEY, keyBytesOf(first)) == NODE_CORRUPT) return NODE_CORRUPT;
  const high = highOf(n);
  const highBytes = <u32>load<u16>(n, N_HIGH_BYTES);
  let end = from + 1;
  while (end < count) {
    const entry = entryOf(record, order, end);
    if (load<u64>(entry) != load<u64>(first)) break;
    if (high != 0 && compareBytes(entry + RE_KEY, keyBytesOf(entry), high, highBytes) >= 0) break;
    end++;
  }
  return <i32>end;
}

/**
 * Finds the entries of a run in their node, and what they take: bytes, and the first entry that
 * exceeds the node's room (`end` if none does), go to `out`. 0; RUN_GENERAL when values in blobs of
 * their own are there; NODE_CORRUPT.
 */
export function runNeed(
  n: usize,
  size: u32,
  record: usize,
  order: usize,
  found: usize,
  from: u32,
  end: u32,
  pad: usize,
  out: usize,
): i32 {
  const room = nodeRoom(n, size);
  if (room < 0) return NODE_CORRUPT;
  let need: u32 = 0;
  let exceeding = end;
  let again = false;
  let before: i32 = 0;
  for (let index = from; index < end; index++) {
    const entry = entryOf(record, order, index);
    const keyBytes = keyBytesOf(entry);
    const follows =
      index + 1 < end && compareEntries(entry, entryOf(record, order, index + 1)) == 0;
    padKey(entry + RE_KEY, keyBytes, pad);
    const at = find(n, size, entry + RE_KEY, keyBytes, pad);
    // Keys that ascend have places that do, or the node's own keys do not.
    if (at < before) return NODE_CORRUPT;
    before = at;
    const absent = (at & 1) == 0 && isDelete(entry);
    store<u32>(found + (index << 2), follows || absent ? SKIPPED : <u32>at);
    let inPlace = false;
    if ((at & 1) != 0) {
      const there = entryAt(n, size, <u32>at >> 1);
      if (there == 0) return NODE_CORRUPT;
      const word = load<u32>(there, E_VALUE);
      if ((word & VALUE_OVERFLOW_MASK) != 0) return RUN_GENERAL;
      // Between others with the same key it is not sure which value it will find.
      inPlace = !again && !follows && word == load<u32>(entry, RE_VALUE_BYTES);
    }
    if (!inPlace && !isDelete(entry)) need += putBytes(entry);
    if (exceeding == end && need > <u32>room) exceeding = index;
    again = follows;
  }
  store<u32>(out, need);
  store<u32>(out, exceeding, 4);
  return 0;
}

/** Does the entries of a run, for which there is room in one piece: 0; NODE_FULL, NODE_CORRUPT. */
export function runApply(
  n: usize,
  size: u32,
  record: usize,
  order: usize,
  found: usize,
  from: u32,
  end: u32,
  need: u32,
  pad: usize,
): i32 {
  if (gapOf(n, size) < <i32>need) return NODE_FULL;
  let insertions: u32 = 0;
  let deletions: u32 = 0;
  for (let index = from; index < end; index++) {
    const at = load<u32>(found + (index << 2));
    if (at == SKIPPED) continue;
    const entry = entryOf(record, order, index);
    if (isDelete(entry)) deletions++;
    else if ((at & 1) == 0) insertions++;
    else {
      const done = replaceAt(
        n,
        size,
        at >> 1,
        valueAddress(entry),
        load<u32>(entry, RE_VALUE_BYTES),
      );
      if (done < 0) return done;
    }
  }
  if (deletions > 0 || insertions < 2) {
    return applyBackwards(n, size, record, order, found, from, end, pad);
  }
  return insertAll(n, size, record, order, found, from, end, insertions, pad);
}

/** From the last entry to the first one, so that the slots of those to come stay where they are. */
function applyBackwards(
  n: usize,
  size: u32,
  record: usize,
  order: usize,
  found: usize,
  from: u32,
  end: u32,
  pad: usize,
): i32 {
  for (let index = end; index-- > from; ) {
    const at = load<u32>(found + (index << 2));
    if (at == SKIPPED) continue;
    const entry = entryOf(record, order, index);
    if (isDelete(entry)) {
      if (nodeRemove(n, size, at >> 1) != 0) return NODE_CORRUPT;
      continue;
    }
    if ((at & 1) != 0) continue;
    const keyBytes = keyBytesOf(entry);
    const valueBytes = load<u32>(entry, RE_VALUE_BYTES);
    padKey(entry + RE_KEY, keyBytes, pad);
    const value = valueAddress(entry);
    const done = insertAt(n, size, at >> 1, entry + RE_KEY, keyBytes, pad, value, valueBytes);
    if (done < 0) return done;
  }
  return 0;
}

/** Each slot moves once, however many come in before it. */
function insertAll(
  n: usize,
  size: u32,
  record: usize,
  order: usize,
  found: usize,
  from: u32,
  end: u32,
  insertions: u32,
  pad: usize,
): i32 {
  const count = countOf(n, size);
  if (count < 0) return NODE_CORRUPT;
  let first = <u32>count == 0;
  for (let index = from; index < end; index++) {
    const at = load<u32>(found + (index << 2));
    if (at == SKIPPED || (at & 1) != 0) continue;
    const entry = entryOf(record, order, index);
    padKey(entry + RE_KEY, keyBytesOf(entry), pad);
    admitKey(n, <u32>count, pad, first);
    first = false;
  }
  let top = <u32>count;
  let shift = insertions;
  for (let index = end; index-- > from; ) {
    const at = load<u32>(found + (index << 2));
    if (at == SKIPPED || (at & 1) != 0) continue;
    const slot = at >> 1;
    const moved = slotAddress(n, slot);
    memory.copy(moved + shift * N_SLOT_BYTES, moved, (top - slot) * N_SLOT_BYTES);
    top = slot;
    shift--;
    const entry = entryOf(record, order, index);
    const keyBytes = keyBytesOf(entry);
    const valueBytes = load<u32>(entry, RE_VALUE_BYTES);
    padKey(entry + RE_KEY, keyBytes, pad);
    const made = makeEntry(n, entry + RE_KEY, keyBytes, valueBytes, valueAddress(entry));
    const target = slotAddress(n, slot + shift);
    store<u64>(target, headOf(n, pad));
    store<u32>(target, <u32>(made - n), 8);
  }
  store<u32>(n, <u32>count + insertions, N_COUNT);
  noteRun(n, found, from, end);
  makeHints(n, <u32>count + insertions);
  return 0;
}

function noteRun(n: usize, found: usize, from: u32, end: u32): void {
  let before: u32 = 0;
  for (let index = from; index < end; index++) {
    const at = load<u32>(found + (index << 2));
    if (at != SKIPPED && (at & 1) == 0) noteInsertion(n, (at >> 1) + before++);
  }
}
