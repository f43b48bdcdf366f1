/**
 * A node of a B+tree in a frame: looking things up.
 *
 * Owns:        nothing; node-change.ts writes. The layout is layout.ts's, N_*.
 * Invariants:  every offset that is read out of a node is held against the node's size before it is
 *              used, and every loop is bounded by it: the bytes may be torn or crafted;
 *              slots are in the order of their keys, compared as bytes.
 * Threads:     any; optimistic readers validate afterwards what they were told.
 *
 * A slot is a head (8 bytes of the key, big-endian) and the offset of an entry: key length, value
 * word, key, value. Path-shaped keys agree in long stretches, so the head is not taken from one
 * place: it is made of the bytes at up to eight positions, ascending, which are the first at which
 * the keys of this node differ. At every other position before the last of them (before
 * TEMPLATE_BYTES, if there are fewer than eight) all keys have the bytes of the template; a key that
 * has ended counts as zeros there. So two heads that differ order their keys, and a search key that
 * leaves the template at some position lies below or above all keys that agree with it before.
 */
import {
  E_KEY,
  E_KEY_BYTES,
  E_VALUE,
  HINTS,
  N_COUNT,
  N_HINT_COUNT,
  N_HINTS,
  N_MAGIC,
  N_MASK,
  N_POSITION_COUNT,
  N_POSITIONS,
  N_SLOT_BYTES,
  N_SLOTS,
  N_TEMPLATE,
  NODE_CORRUPT,
  NODE_MAGIC,
  POSITIONS_MAX,
  REFERENCE_BYTES,
  TEMPLATE_BYTES,
  VALUE_LENGTH_MASK,
  VALUE_OVERFLOW_MASK,
} from './layout';

/** Entries of the node, or -1 if that cannot be. */
export function countOf(n: usize, size: u32): i32 {
  if (load<u32>(n, N_MAGIC) != NODE_MAGIC) return -1;
  const count = load<u32>(n, N_COUNT);
  return count <= (size - N_SLOTS) / N_SLOT_BYTES ? <i32>count : -1;
}

export function slotAddress(n: usize, slot: u32): usize {
  return n + N_SLOTS + slot * N_SLOT_BYTES;
}

/** Address of the slot's entry, 0 if it does not lie in the node. */
export function entryAt(n: usize, size: u32, slot: u32): usize {
  const offset = load<u32>(slotAddress(n, slot), 8);
  if (offset < N_SLOTS || offset > size - E_KEY) return 0;
  const keyBytes = <u32>load<u16>(n + offset, E_KEY_BYTES);
  const valueBytes = load<u32>(n + offset, E_VALUE) & VALUE_LENGTH_MASK;
  if (valueBytes > size || offset + E_KEY + keyBytes + valueBytes > size) return 0;
  return n + offset;
}

/** Order of two strings of bytes: below, at or above 0. */
export function compareBytes(a: usize, aBytes: u32, b: usize, bBytes: u32): i32 {
  const common = min(aBytes, bBytes);
  let at: u32 = 0;
  for (; at + 8 <= common; at += 8) {
    const x = load<u64>(a + at);
    const y = load<u64>(b + at);
    if (x != y) return bswap<u64>(x) < bswap<u64>(y) ? -1 : 1;
  }
  for (; at < common; at++) {
    const d = <i32>load<u8>(a + at) - <i32>load<u8>(b + at);
    if (d != 0) return d;
  }
  return <i32>aBytes - <i32>bBytes;
}

/** Longest copy that is made here: beyond it a call of `memory.copy` costs less. */
const SHORT_COPY_MAX: u32 = 256;

/** Copies bytes between areas that do not overlap. */
export function copyBytes(to: usize, from: usize, bytes: u32): void {
  if (bytes > SHORT_COPY_MAX) {
    memory.copy(to, from, bytes);
  } else if (bytes >= 16) {
    for (let at: u32 = 0; at + 16 <= bytes; at += 16) v128.store(to + at, v128.load(from + at));
    // The last block overlaps the one before.
    v128.store(to + bytes - 16, v128.load(from + bytes - 16));
  } else {
    for (let at: u32 = 0; at < bytes; at++) store<u8>(to + at, load<u8>(from + at));
  }
}

/** Copies the first TEMPLATE_BYTES bytes of a key, zeros behind its end: what heads are made of. */
export function padKey(key: usize, bytes: u32, pad: usize): void {
  for (let at: u32 = 0; at < TEMPLATE_BYTES; at += 16) v128.store(pad + at, v128.splat<u8>(0));
  copyBytes(pad, key, min(bytes, TEMPLATE_BYTES));
}

export function positionsOf(n: usize): u32 {
  return min(<u32>load<u16>(n, N_POSITION_COUNT), POSITIONS_MAX);
}

export function positionAt(n: usize, index: u32): u32 {
  return <u32>load<u16>(n + (index << 1), N_POSITIONS) & (TEMPLATE_BYTES - 1);
}

/** Where the template ends: behind the last of eight positions, or not before TEMPLATE_BYTES. */
export function templateEnd(n: usize): u32 {
  const full = positionsOf(n) == POSITIONS_MAX;
  return full ? positionAt(n, POSITIONS_MAX - 1) + 1 : TEMPLATE_BYTES;
}

/** The head that the node gives a padded key, from its bytes at the node's positions. */
export function headOf(n: usize, pad: usize): u64 {
  const count = positionsOf(n);
  let head: u64 = 0;
  for (let index: u32 = 0; index < count; index++) {
    head |= (<u64>load<u8>(pad + positionAt(n, index))) << (56 - (index << 3));
  }
  return head;
}

/** First position at which the padded key leaves the template, TEMPLATE_BYTES if it does not. */
export function deviation(n: usize, pad: usize): u32 {
  const end = templateEnd(n);
  for (let at: u32 = 0; at < end; at += 16) {
    const differing = v128.and(
      v128.xor(v128.load(pad + at), v128.load(n + at, N_TEMPLATE)),
      v128.load(n + at, N_MASK),
    );
    if (!v128.any_true(differing)) continue;
    // The lowest byte that is not 0, as a bit of the mask of bytes that are not equal to 0.
    const bits = i8x16.bitmask(i8x16.ne(differing, i8x16.splat(0)));
    return at + ctz(bits);
  }
  return TEMPLATE_BYTES;
}

/**
 * First of `length` slots (or hints) from `at` on whose head is at least `head`. Seven heads are
 * looked at in each step, not one: their loads do not wait for each other, and the search waits for
 * memory more than for anything else.
 */
export function boundAmong(at: usize, length: u32, head: u64): u32 {
  let low: u32 = 0;
  while (length > 8) {
    const step = length >> 3;
    const stride = step * N_SLOT_BYTES;
    const from = at + low * N_SLOT_BYTES;
    const below =
      <u32>(load<u64>(from + stride) < head) +
      <u32>(load<u64>(from + 2 * stride) < head) +
      <u32>(load<u64>(from + 3 * stride) < head) +
      <u32>(load<u64>(from + 4 * stride) < head) +
      <u32>(load<u64>(from + 5 * stride) < head) +
      <u32>(load<u64>(from + 6 * stride) < head) +
      <u32>(load<u64>(from + 7 * stride) < head);
    low += below * step;
    length = below == 7 ? length - 7 * step : step;
  }
  // The one behind is the bound when all of these lie below.
  const end = low + length;
  while (low < end && load<u64>(at + low * N_SLOT_BYTES) < head) low++;
  return low;
}

/**
 * First slot whose head is at least `head`. The hints lie in the node's first lines; without them
 * each step of the search would wait for another page of the slots.
 */
function boundOfHead(n: usize, count: u32, head: u64): u32 {
  let low: u32 = 0;
  let high = count;
  if (load<u8>(n, N_HINT_COUNT) != 0) {
    const hint = boundAmong(n + N_HINTS, HINTS, head);
    if (hint < HINTS) high = min(load<u32>(n + hint * N_SLOT_BYTES, N_HINTS + 8), count);
    if (hint > 0) low = min(load<u32>(n + hint * N_SLOT_BYTES, N_HINTS + 8 - N_SLOT_BYTES), high);
  }
  return low + boundAmong(slotAddress(n, low), high - low, head);
}

/** First slot whose head is above `head`. */
function endOfHead(n: usize, count: u32, head: u64): u32 {
  return head == u64.MAX_VALUE ? count : boundOfHead(n, count, head + 1);
}

/** Where a key that leaves the template at `position` belongs: between all and nothing. */
function boundOutside(n: usize, count: u32, pad: usize, position: u32): u32 {
  const positions = positionsOf(n);
  let before: u32 = 0;
  while (before < positions && positionAt(n, before) < position) before++;
  // What lies before the deviation decides; what lies behind it does not.
  const rest = before == 8 ? 0 : ~(<u64>0) >> (before << 3);
  const head = headOf(n, pad) & ~rest;
  const below = load<u8>(pad + position) < load<u8>(n + position, N_TEMPLATE);
  return below ? boundOfHead(n, count, head) : endOfHead(n, count, head | rest);
}

/**
 * Looks a key up: position << 1 | 1 if it is there, else position << 1 where it belongs;
 * NODE_CORRUPT.
 */
export function find(n: usize, size: u32, key: usize, bytes: u32, pad: usize): i32 {
  const count = countOf(n, size);
  if (count < 0) return NODE_CORRUPT;
  const position = deviation(n, pad);
  if (position < TEMPLATE_BYTES) return <i32>(boundOutside(n, count, pad, position) << 1);
  return findAmongEqual(n, size, count, key, bytes, headOf(n, pad));
}

/** Only among equal heads the keys themselves are looked at; mostly there is one. */
function findAmongEqual(n: usize, size: u32, count: u32, key: usize, bytes: u32, head: u64): i32 {
  let low = boundOfHead(n, count, head);
  let high = low;
  if (low < count && load<u64>(slotAddress(n, low)) == head) {
    const next = low + 1;
    const alone = next == count || load<u64>(slotAddress(n, next)) != head;
    high = alone ? next : endOfHead(n, count, head);
  }
  while (low < high) {
    const middle = (low + high) >> 1;
    const entry = entryAt(n, size, middle);
    if (entry == 0) return NODE_CORRUPT;
    const order = compareEntry(entry, key, bytes);
    if (order == 0) return <i32>((middle << 1) | 1);
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return <i32>(low << 1);
}

function compareEntry(entry: usize, key: usize, bytes: u32): i32 {
  return compareBytes(entry + E_KEY, <u32>load<u16>(entry, E_KEY_BYTES), key, bytes);
}

/** Looks up in a leaf: 1 and the value's offset and word in `out`; 0, NODE_CORRUPT. */
export function leafGet(n: usize, size: u32, key: usize, bytes: u32, pad: usize, out: usize): i32 {
  const found = find(n, size, key, bytes, pad);
  if (found < 0) return NODE_CORRUPT;
  if ((found & 1) == 0) return 0;
  return valueIn(n, size, <u32>found >> 1, out);
}

/** Offset and word of the slot's value into `out`: 1, NODE_CORRUPT. */
export function valueAt(n: usize, size: u32, slot: u32, out: usize): i32 {
  return isSlot(n, size, slot) ? valueIn(n, size, slot, out) : NODE_CORRUPT;
}

/** Whether there is such a slot; the number may come from anywhere. */
export function isSlot(n: usize, size: u32, slot: u32): bool {
  const count = countOf(n, size);
  return count > 0 && slot < <u32>count;
}

function valueIn(n: usize, size: u32, slot: u32, out: usize): i32 {
  const entry = entryAt(n, size, slot);
  if (entry == 0) return NODE_CORRUPT;
  const offset = <u32>(entry - n) + E_KEY + <u32>load<u16>(entry, E_KEY_BYTES);
  const word = load<u32>(entry, E_VALUE);
  // Once more: torn bytes may have changed since the entry was checked.
  if (offset + (word & VALUE_LENGTH_MASK) > size) return NODE_CORRUPT;
  if (word > VALUE_LENGTH_MASK && word != (VALUE_OVERFLOW_MASK | REFERENCE_BYTES)) {
    return NODE_CORRUPT;
  }
  store<u32>(out, offset);
  store<u32>(out, word, 4);
  return 1;
}

/** Offset and length of the slot's key into `out`: 1, NODE_CORRUPT. */
export function keyAt(n: usize, size: u32, slot: u32, out: usize): i32 {
  if (!isSlot(n, size, slot)) return NODE_CORRUPT;
  const entry = entryAt(n, size, slot);
  if (entry == 0) return NODE_CORRUPT;
  const offset = <u32>(entry - n) + E_KEY;
  const bytes = <u32>load<u16>(entry, E_KEY_BYTES);
  if (offset + bytes > size) return NODE_CORRUPT;
  store<u32>(out, offset);
  store<u32>(out, bytes, 4);
  return 1;
}

/** Slot of the child of an inner node that a key belongs to; NODE_CORRUPT. */
export function childSlot(n: usize, size: u32, key: usize, bytes: u32, pad: usize): i32 {
  const found = find(n, size, key, bytes, pad);
  if (found < 0) return NODE_CORRUPT;
  const slot = (found >> 1) + (found & 1) - 1;
  return max(slot, 0);
}

/** The same, the child's id; 0 if the node is corrupt. */
export function childOf(n: usize, size: u32, key: usize, bytes: u32, pad: usize): f64 {
  const slot = childSlot(n, size, key, bytes, pad);
  return slot < 0 ? 0 : childAt(n, size, slot);
}

/** Child whose keys lie below the search key: its id; 0 if the node is corrupt. */
export function childBelow(n: usize, size: u32, key: usize, bytes: u32, pad: usize): f64 {
  const found = find(n, size, key, bytes, pad);
  return found < 0 ? 0 : childAt(n, size, max((found >> 1) - 1, 0));
}

/** Id of the child in a slot of an inner node; 0 if the node is corrupt. */
export function childAt(n: usize, size: u32, slot: u32): f64 {
  if (!isSlot(n, size, slot)) return 0;
  const entry = entryAt(n, size, slot);
  if (entry == 0 || load<u32>(entry, E_VALUE) != 8) return 0;
  const id = load<u64>(entry + E_KEY + <u32>load<u16>(entry, E_KEY_BYTES));
  return id < (<u64>1) << 53 ? <f64>id : 0;
}
