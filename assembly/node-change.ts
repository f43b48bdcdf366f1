/**
 * A node of a B+tree in a frame: changing it.
 *
 * Owns:        the node's bytes, while the caller holds its latch exclusively (or its memory alone).
 * Invariants:  heads order slots as keys do, before and after every call (see node.ts);
 *              entries lie between N_HEAP and the node's end, none overlaps another;
 *              offsets are checked also here: a crafted node must not make a kernel write elsewhere.
 * Threads:     one at a time for each node.
 */
import {
  E_KEY,
  E_KEY_BYTES,
  E_VALUE,
  HINTS,
  KEY_BYTES_MAX,
  N_COUNT,
  N_GARBAGE,
  N_HEAP,
  N_HIGH,
  N_HIGH_BYTES,
  N_LAST,
  N_LEVEL,
  N_LOW,
  N_LOW_BYTES,
  N_MAGIC,
  N_MASK,
  N_POSITION_COUNT,
  N_POSITIONS,
  N_RUN,
  N_SLOT_BYTES,
  N_SLOTS,
  N_TEMPLATE,
  N_TREE,
  NODE_CORRUPT,
  NODE_FULL,
  NODE_MAGIC,
  POSITIONS_MAX,
  REFERENCE_BYTES,
  TEMPLATE_BYTES,
  VALUE_LENGTH_MASK,
} from './layout';
import {
  compareBytes,
  copyBytes,
  countOf,
  deviation,
  entryAt,
  find,
  headOf,
  isSlot,
  padKey,
  positionAt,
  positionsOf,
  slotAddress,
  templateEnd,
} from './node';
import { hintAddress, hintsInserted, hintsRemoved, makeHints } from './node-hints';

const RUN_MAX: u32 = 0xffff;

/** Bytes of an entry, without its slot. */
function entryBytes(entry: usize): u32 {
  return (
    E_KEY + <u32>load<u16>(entry, E_KEY_BYTES) + (load<u32>(entry, E_VALUE) & VALUE_LENGTH_MASK)
  );
}

/** Makes an empty node without bounds. */
export function nodeInit(n: usize, size: u32, level: u32, tree: f64): void {
  memory.fill(n, 0, N_SLOTS);
  store<u32>(n, NODE_MAGIC, N_MAGIC);
  store<u8>(n, level, N_LEVEL);
  store<u32>(n, size, N_HEAP);
  store<u64>(n, <u64>tree, N_TREE);
}

/** Bytes that entries and slots may take, with what a rebuild would free; NODE_CORRUPT. */
export function nodeRoom(n: usize, size: u32): i32 {
  const free = gapOf(n, size);
  if (free < 0) return NODE_CORRUPT;
  const garbage = load<u32>(n, N_GARBAGE);
  return garbage <= size ? free + <i32>garbage : NODE_CORRUPT;
}

/** Bytes between slots and entries. */
export function gapOf(n: usize, size: u32): i32 {
  const count = countOf(n, size);
  const heap = load<u32>(n, N_HEAP);
  if (count < 0 || heap > size) return -1;
  return <i32>heap - <i32>(N_SLOTS + <u32>count * N_SLOT_BYTES);
}

// --- heads -----------------------------------------------------------------------------------------

/** From here on keys may differ at `position`: every head gets the byte that all keys have there. */
function addPosition(n: usize, count: u32, position: u32): void {
  const positions = positionsOf(n);
  let index: u32 = 0;
  while (index < positions && positionAt(n, index) < position) index++;
  const last = min(positions, POSITIONS_MAX - 1);
  for (let i = last; i > index; i--) {
    store<u16>(n + (i << 1), load<u16>(n + ((i - 1) << 1), N_POSITIONS), N_POSITIONS);
  }
  store<u16>(n + (index << 1), <u16>position, N_POSITIONS);
  store<u16>(n, <u16>min(positions + 1, POSITIONS_MAX), N_POSITION_COUNT);
  coverTemplate(n);
  const shift = index << 3;
  const kept = index == 0 ? 0 : ~(~(<u64>0) >> shift);
  const byte = (<u64>load<u8>(n + position, N_TEMPLATE)) << (56 - shift);
  for (let slot: u32 = 0; slot < count; slot++) {
    const at = slotAddress(n, slot);
    const head = load<u64>(at);
    store<u64>(at, (head & kept) | byte | ((head & ~kept) >> 8));
  }
  for (let hint: u32 = 0; hint < HINTS; hint++) {
    const at = hintAddress(n, hint);
    const head = load<u64>(at);
    store<u64>(at, (head & kept) | byte | ((head & ~kept) >> 8));
  }
}

/** The mask: 0xff wherever all keys must have the template's byte. */
function coverTemplate(n: usize): void {
  const positions = positionsOf(n);
  const end = templateEnd(n);
  memory.fill(n + N_MASK, 0xff, end);
  memory.fill(n + N_MASK + end, 0, TEMPLATE_BYTES - end);
  for (let i: u32 = 0; i < positions; i++) store<u8>(n + positionAt(n, i), 0, N_MASK);
}

/** The first key of a node is its template. */
function startTemplate(n: usize, pad: usize): void {
  memory.copy(n + N_TEMPLATE, pad, TEMPLATE_BYTES);
  store<u16>(n, 0, N_POSITION_COUNT);
  coverTemplate(n);
}

/** Makes room in the heads, so many as there are, for a key that is about to come in. */
function admit(n: usize, heads: u32, pad: usize): void {
  for (let step: u32 = 0; step < TEMPLATE_BYTES; step++) {
    const position = deviation(n, pad);
    if (position == TEMPLATE_BYTES) return;
    addPosition(n, heads, position);
  }
}

// --- entries ---------------------------------------------------------------------------------------

/**
 * Puts an entry: the offset of its value, which is copied from `value` unless that is 0. NODE_FULL
 * when there is no room in one piece; NODE_CORRUPT. A value of the same length is replaced in place.
 */
export function nodePut(
  n: usize,
  size: u32,
  key: usize,
  bytes: u32,
  pad: usize,
  value: usize,
  word: u32,
): i32 {
  const found = find(n, size, key, bytes, pad);
  if (found < 0) return NODE_CORRUPT;
  const slot = <u32>found >> 1;
  if ((found & 1) == 0) return insertAt(n, size, slot, key, bytes, pad, value, word);
  return replaceAt(n, size, slot, value, word);
}

export function replaceAt(n: usize, size: u32, slot: u32, value: usize, word: u32): i32 {
  const old = entryAt(n, size, slot);
  if (old == 0) return NODE_CORRUPT;
  const keyBytes = <u32>load<u16>(old, E_KEY_BYTES);
  const valueBytes = word & VALUE_LENGTH_MASK;
  let entry = old;
  if (valueBytes != (load<u32>(old, E_VALUE) & VALUE_LENGTH_MASK)) {
    const need = E_KEY + keyBytes + valueBytes;
    if (gapOf(n, size) < <i32>need) return NODE_FULL;
    entry = takeHeap(n, need);
    store<u16>(entry, <u16>keyBytes, E_KEY_BYTES);
    copyBytes(entry + E_KEY, old + E_KEY, keyBytes);
    store<u32>(slotAddress(n, slot), <u32>(entry - n), 8);
    store<u32>(n, load<u32>(n, N_GARBAGE) + entryBytes(old), N_GARBAGE);
  }
  store<u32>(entry, word, E_VALUE);
  const target = entry + E_KEY + keyBytes;
  if (value != 0) copyBytes(target, value, valueBytes);
  return <i32>(target - n);
}

function takeHeap(n: usize, bytes: u32): usize {
  const heap = load<u32>(n, N_HEAP) - bytes;
  store<u32>(n, heap, N_HEAP);
  return n + heap;
}

export function insertAt(
  n: usize,
  size: u32,
  slot: u32,
  key: usize,
  bytes: u32,
  pad: usize,
  value: usize,
  word: u32,
): i32 {
  const valueBytes = word & VALUE_LENGTH_MASK;
  const need = E_KEY + bytes + valueBytes;
  if (gapOf(n, size) < <i32>(need + N_SLOT_BYTES)) return NODE_FULL;
  const count = load<u32>(n, N_COUNT);
  admitKey(n, count, pad, count == 0);
  const entry = makeEntry(n, key, bytes, word, value);
  const at = slotAddress(n, slot);
  memory.copy(at + N_SLOT_BYTES, at, (count - slot) * N_SLOT_BYTES);
  store<u64>(at, headOf(n, pad));
  store<u32>(at, <u32>(entry - n), 8);
  store<u32>(n, count + 1, N_COUNT);
  hintsInserted(n, slot, count + 1);
  noteInsertion(n, slot);
  return <i32>(entry - n + E_KEY + bytes);
}

/** Makes room in the heads, so many as there are, for a key; the first one is the template. */
export function admitKey(n: usize, heads: u32, pad: usize, first: bool): void {
  if (first) startTemplate(n, pad);
  else admit(n, heads, pad);
}

/** Writes an entry, for which there is room; without its slot. The value unless `value` is 0. */
export function makeEntry(n: usize, key: usize, bytes: u32, word: u32, value: usize): usize {
  const valueBytes = word & VALUE_LENGTH_MASK;
  const entry = takeHeap(n, E_KEY + bytes + valueBytes);
  store<u16>(entry, <u16>bytes, E_KEY_BYTES);
  store<u32>(entry, word, E_VALUE);
  copyBytes(entry + E_KEY, key, bytes);
  if (value != 0) copyBytes(entry + E_KEY + bytes, value, valueBytes);
  return entry;
}

/** Insertions that follow each other tell a split where the next ones will go. */
export function noteInsertion(n: usize, slot: u32): void {
  const run = load<u32>(n, N_LAST) + 1 == slot ? min(<u32>load<u16>(n, N_RUN) + 1, RUN_MAX) : 0;
  store<u16>(n, <u16>run, N_RUN);
  store<u32>(n, slot, N_LAST);
}

/** Takes the slot's entry out: OK (0), NODE_CORRUPT. */
export function nodeRemove(n: usize, size: u32, slot: u32): i32 {
  if (!isSlot(n, size, slot)) return NODE_CORRUPT;
  const count = load<u32>(n, N_COUNT);
  const entry = entryAt(n, size, slot);
  if (entry == 0) return NODE_CORRUPT;
  const at = slotAddress(n, slot);
  store<u32>(n, load<u32>(n, N_GARBAGE) + entryBytes(entry), N_GARBAGE);
  memory.copy(at, at + N_SLOT_BYTES, (count - slot - 1) * N_SLOT_BYTES);
  store<u32>(n, count - 1, N_COUNT);
  hintsRemoved(n, slot, slot + 1);
  return 0;
}

// --- rebuilding ------------------------------------------------------------------------------------

/** Makes an empty node of the same level and tree at `to`. */
export function nodeBegin(to: usize, n: usize, size: u32): void {
  nodeInit(to, size, load<u8>(n, N_LEVEL), <f64>load<u64>(n, N_TREE));
}

/** Lower bound of the keys that belong to the node: copied into it; false if it does not fit. */
export function nodeSetLow(n: usize, size: u32, from: usize, bytes: u32): bool {
  if (gapOf(n, size) < <i32>bytes) return false;
  const at = takeHeap(n, bytes);
  memory.copy(at, from, bytes);
  store<u32>(n, <u32>(at - n), N_LOW);
  store<u16>(n, <u16>bytes, N_LOW_BYTES);
  return true;
}

/** The same for the upper bound, exclusive; without one the node reaches to the end. */
export function nodeSetHigh(n: usize, size: u32, from: usize, bytes: u32): bool {
  if (gapOf(n, size) < <i32>bytes) return false;
  const at = takeHeap(n, bytes);
  memory.copy(at, from, bytes);
  store<u32>(n, <u32>(at - n), N_HIGH);
  store<u16>(n, <u16>bytes, N_HIGH_BYTES);
  return true;
}

/**
 * Appends the entries of slots `from` to `end` of another node: OK (0), NODE_CORRUPT (also when they
 * do not fit). Heads are made by `nodeFinish`.
 */
export function nodeAppend(to: usize, n: usize, size: u32, from: u32, end: u32): i32 {
  const there = countOf(n, size);
  if (there < 0 || end > <u32>there) return NODE_CORRUPT;
  let count = load<u32>(to, N_COUNT);
  for (let slot = from; slot < end; slot++) {
    const entry = entryAt(n, size, slot);
    if (entry == 0) return NODE_CORRUPT;
    const bytes = entryBytes(entry);
    if (gapOf(to, size) < <i32>(bytes + N_SLOT_BYTES)) return NODE_CORRUPT;
    const target = takeHeap(to, bytes);
    copyBytes(target, entry, bytes);
    store<u32>(slotAddress(to, count), <u32>(target - to), 8);
    store<u32>(to, ++count, N_COUNT);
  }
  return 0;
}

/** Chooses template and positions anew and makes all heads. `pad` is room for a padded key. */
export function nodeFinish(n: usize, size: u32, pad: usize): i32 {
  const count = load<u32>(n, N_COUNT);
  for (let slot: u32 = 0; slot < count; slot++) {
    if (!padSlot(n, size, slot, pad)) return NODE_CORRUPT;
    if (slot == 0) startTemplate(n, pad);
    else admit(n, 0, pad);
  }
  for (let slot: u32 = 0; slot < count; slot++) {
    padSlot(n, size, slot, pad);
    store<u64>(slotAddress(n, slot), headOf(n, pad));
  }
  makeHints(n, count);
  return 0;
}

function padSlot(n: usize, size: u32, slot: u32, pad: usize): bool {
  const entry = entryAt(n, size, slot);
  if (entry == 0) return false;
  padKey(entry + E_KEY, <u32>load<u16>(entry, E_KEY_BYTES), pad);
  return true;
}

/** The slot that halves the node by bytes, at least 1 and below the count; NODE_CORRUPT. */
export function nodeMiddle(n: usize, size: u32): i32 {
  const count = countOf(n, size);
  if (count < 2) return NODE_CORRUPT;
  let total: u32 = 0;
  for (let slot: u32 = 0; slot < <u32>count; slot++) {
    const entry = entryAt(n, size, slot);
    if (entry == 0) return NODE_CORRUPT;
    total += entryBytes(entry) + N_SLOT_BYTES;
  }
  let left: u32 = 0;
  let slot: u32 = 0;
  while (slot < <u32>count) {
    const bytes = entryBytes(n + load<u32>(slotAddress(n, slot), 8)) + N_SLOT_BYTES;
    // The entry in the middle goes where it leaves the halves more alike.
    if (left + (bytes >> 1) > total >> 1) break;
    left += bytes;
    slot++;
  }
  return <i32>max(<u32>1, min(slot, <u32>count - 1));
}

/** Longest key of the node; NODE_CORRUPT. */
export function nodeKeyMax(n: usize, size: u32): i32 {
  const count = countOf(n, size);
  if (count < 0) return NODE_CORRUPT;
  let longest: u32 = 0;
  for (let slot: u32 = 0; slot < <u32>count; slot++) {
    const entry = entryAt(n, size, slot);
    if (entry == 0) return NODE_CORRUPT;
    longest = max(longest, <u32>load<u16>(entry, E_KEY_BYTES));
  }
  return <i32>longest;
}

/**
 * The shortest key that is above the entry before `slot` and not above the slot's own, copied to
 * `out` (its own key for an inner node): its length; NODE_CORRUPT.
 */
export function nodeSeparator(n: usize, size: u32, slot: u32, out: usize): i32 {
  if (slot == 0 || !isSlot(n, size, slot)) return NODE_CORRUPT;
  const before = entryAt(n, size, slot - 1);
  const entry = entryAt(n, size, slot);
  if (before == 0 || entry == 0) return NODE_CORRUPT;
  let bytes = <u32>load<u16>(entry, E_KEY_BYTES);
  if (load<u8>(n, N_LEVEL) == 0) {
    const common = min(bytes, <u32>load<u16>(before, E_KEY_BYTES));
    let same: u32 = 0;
    while (same < common && load<u8>(before + E_KEY + same) == load<u8>(entry + E_KEY + same))
      same++;
    bytes = min(same + 1, bytes);
  }
  // There is room for a key where it goes, and for no more.
  if (bytes > min(KEY_BYTES_MAX, size >> 3)) return NODE_CORRUPT;
  memory.copy(out, entry + E_KEY, bytes);
  return <i32>bytes;
}

/** Whether a key belongs to the node: 1; 0 above it, -1 below it; NODE_CORRUPT. */
export function nodeCovers(n: usize, size: u32, key: usize, bytes: u32): i32 {
  if (countOf(n, size) < 0) return NODE_CORRUPT;
  const low = load<u32>(n, N_LOW);
  const lowBytes = <u32>load<u16>(n, N_LOW_BYTES);
  const high = load<u32>(n, N_HIGH);
  const highBytes = <u32>load<u16>(n, N_HIGH_BYTES);
  if (low > size || low + lowBytes > size || high > size || high + highBytes > size)
    return NODE_CORRUPT;
  if (low != 0 && compareBytes(key, bytes, n + low, lowBytes) < 0) return -1;
  return high == 0 || compareBytes(key, bytes, n + high, highBytes) < 0 ? 1 : 0;
}

/** The shortest part of a key, from its beginning, that is above the entry before `slot`. */
export function nodeSeparatorOf(
  n: usize,
  size: u32,
  slot: u32,
  key: usize,
  bytes: u32,
  out: usize,
): i32 {
  if (slot == 0 || !isSlot(n, size, slot - 1)) return NODE_CORRUPT;
  const before = entryAt(n, size, slot - 1);
  if (before == 0) return NODE_CORRUPT;
  let separator = bytes;
  if (load<u8>(n, N_LEVEL) == 0) {
    const common = min(bytes, <u32>load<u16>(before, E_KEY_BYTES));
    let same: u32 = 0;
    while (same < common && load<u8>(before + E_KEY + same) == load<u8>(key + same)) same++;
    separator = min(same + 1, bytes);
  }
  memory.copy(out, key, separator);
  return <i32>separator;
}

/**
 * Builds the part of a node from slot `from` to `end` at `to`, with the bounds given: OK (0),
 * NODE_CORRUPT. A bound at address 0 is none. `pad` is room for a padded key.
 */
export function nodePart(
  to: usize,
  n: usize,
  size: u32,
  from: u32,
  end: u32,
  low: usize,
  lowBytes: u32,
  high: usize,
  highBytes: u32,
  pad: usize,
): i32 {
  nodeBegin(to, n, size);
  if (low != 0 && !nodeSetLow(to, size, low, lowBytes)) return NODE_CORRUPT;
  if (high != 0 && !nodeSetHigh(to, size, high, highBytes)) return NODE_CORRUPT;
  if (nodeAppend(to, n, size, from, end) != 0) return NODE_CORRUPT;
  return nodeFinish(to, size, pad);
}

/** Address of the node's lower bound, 0 without one; the bounds were checked by `nodeCovers`. */
export function lowOf(n: usize): usize {
  const low = load<u32>(n, N_LOW);
  return low == 0 ? 0 : n + low;
}

export function highOf(n: usize): usize {
  const high = load<u32>(n, N_HIGH);
  return high == 0 ? 0 : n + high;
}

/** Rebuilds the whole node by way of `to`: OK (0), NODE_CORRUPT. */
export function nodeCompact(n: usize, size: u32, to: usize, pad: usize): i32 {
  if (nodeCovers(n, size, pad, 0) == NODE_CORRUPT) return NODE_CORRUPT;
  const lowBytes = load<u16>(n, N_LOW_BYTES);
  const highBytes = load<u16>(n, N_HIGH_BYTES);
  const count = load<u32>(n, N_COUNT);
  if (nodePart(to, n, size, 0, count, lowOf(n), lowBytes, highOf(n), highBytes, pad) != 0) {
    return NODE_CORRUPT;
  }
  store<u16>(to, load<u16>(n, N_RUN), N_RUN);
  store<u32>(to, load<u32>(n, N_LAST), N_LAST);
  memory.copy(n, to, size);
  return 0;
}

/**
 * Splits a node at a slot: the upper part is built at `right`, the lower one replaces the node by way
 * of `left`. `separator` is the lower bound of the upper part: OK (0), NODE_CORRUPT.
 */
export function nodeSplit(
  n: usize,
  size: u32,
  slot: u32,
  separator: usize,
  bytes: u32,
  left: usize,
  right: usize,
  pad: usize,
): i32 {
  if (nodeCovers(n, size, separator, bytes) == NODE_CORRUPT) return NODE_CORRUPT;
  const count = load<u32>(n, N_COUNT);
  const high = highOf(n);
  const highBytes = load<u16>(n, N_HIGH_BYTES);
  const lowBytes = load<u16>(n, N_LOW_BYTES);
  if (nodePart(right, n, size, slot, count, separator, bytes, high, highBytes, pad) != 0) {
    return NODE_CORRUPT;
  }
  if (nodePart(left, n, size, 0, slot, lowOf(n), lowBytes, separator, bytes, pad) != 0) {
    return NODE_CORRUPT;
  }
  // Who inserts in order goes on at the beginning of the upper part.
  store<u16>(right, load<u16>(n, N_RUN), N_RUN);
  store<u32>(right, load<u32>(n, N_LAST) - slot, N_LAST);
  memory.copy(n, left, size);
  return 0;
}

/**
 * Appends the entries of the node at `right` to those of the node before it, by way of `to`, and
 * takes over its upper bound: OK (0), NODE_CORRUPT (also when they do not fit).
 */
export function nodeMerge(n: usize, size: u32, right: usize, to: usize, pad: usize): i32 {
  if (nodeCovers(n, size, pad, 0) == NODE_CORRUPT) return NODE_CORRUPT;
  if (nodeCovers(right, size, pad, 0) == NODE_CORRUPT) return NODE_CORRUPT;
  nodeBegin(to, n, size);
  const low = lowOf(n);
  const high = highOf(right);
  if (low != 0 && !nodeSetLow(to, size, low, load<u16>(n, N_LOW_BYTES))) return NODE_CORRUPT;
  if (high != 0 && !nodeSetHigh(to, size, high, load<u16>(right, N_HIGH_BYTES))) {
    return NODE_CORRUPT;
  }
  if (nodeAppend(to, n, size, 0, load<u32>(n, N_COUNT)) != 0) return NODE_CORRUPT;
  if (nodeAppend(to, right, size, 0, load<u32>(right, N_COUNT)) != 0) return NODE_CORRUPT;
  if (nodeFinish(to, size, pad) != 0) return NODE_CORRUPT;
  memory.copy(n, to, size);
  return 0;
}

/** Takes the slots from `from` up to `end` out at once: OK (0), NODE_CORRUPT. */
export function nodeRemoveRange(n: usize, size: u32, from: u32, end: u32): i32 {
  const count = countOf(n, size);
  if (count < 0 || end > <u32>count || from > end) return NODE_CORRUPT;
  let garbage: u32 = 0;
  for (let slot = from; slot < end; slot++) {
    const entry = entryAt(n, size, slot);
    if (entry == 0) return NODE_CORRUPT;
    garbage += entryBytes(entry);
  }
  const at = slotAddress(n, from);
  memory.copy(at, slotAddress(n, end), (<u32>count - end) * N_SLOT_BYTES);
  store<u32>(n, load<u32>(n, N_GARBAGE) + garbage, N_GARBAGE);
  store<u32>(n, <u32>count - (end - from), N_COUNT);
  hintsRemoved(n, from, end);
  return 0;
}

/** Collecting for scans, see cursor.ts: COLLECT_KEYS, COLLECT_VALUES. */
const COLLECT_KEYS: u32 = 1;
const COLLECT_VALUES: u32 = 2;

/**
 * Copies entries from slot `from` on (`end` exclusive) to `to`: u32 key bytes, u32 value word, key,
 * value for each, without what `what` leaves out; `step` is 1, or -1 for the order from `from` down
 * to `end`. Stops before `bytesMax` is exceeded. Next slot and bytes go to `out`: OK (0),
 * NODE_CORRUPT.
 */
export function nodeCollect(
  n: usize,
  size: u32,
  from: i32,
  end: i32,
  step: i32,
  what: u32,
  to: usize,
  bytesMax: u32,
  out: usize,
): i32 {
  const count = countOf(n, size);
  if (count < 0) return NODE_CORRUPT;
  let done: u32 = 0;
  let slot = from;
  while (slot != end && slot >= 0 && slot < count) {
    const entry = entryAt(n, size, slot);
    if (entry == 0) return NODE_CORRUPT;
    const keyBytes = <u32>load<u16>(entry, E_KEY_BYTES);
    const word = load<u32>(entry, E_VALUE);
    const valueBytes = word & VALUE_LENGTH_MASK;
    if (word > VALUE_LENGTH_MASK && valueBytes != REFERENCE_BYTES) return NODE_CORRUPT;
    const keys = (what & COLLECT_KEYS) != 0 ? keyBytes : 0;
    const values = (what & COLLECT_VALUES) != 0 ? valueBytes : 0;
    if (done + 8 + keys + values > bytesMax) break;
    const at = to + done;
    store<u32>(at, keys);
    store<u32>(at, word, 4);
    copyBytes(at + 8, entry + E_KEY, keys);
    copyBytes(at + 8 + keys, entry + E_KEY + keyBytes, values);
    done += 8 + keys + values;
    slot += step;
  }
  store<i32>(out, slot);
  store<u32>(out, done, 4);
  return 0;
}
