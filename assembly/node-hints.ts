/**
 * Hints of a node: where in its slots a head lies, roughly.
 *
 * Owns:        the hints, N_HINTS, and N_HINT_COUNT.
 * Invariants:  hints are in the order of their heads; before a hint's slot no head is above the
 *              hint's, from that slot on none is below it. So the bound of a head lies between the
 *              slots of the two hints around it, wherever the hints came from.
 * Threads:     as node-change.ts.
 */
import { HINTS, N_HINT_COUNT, N_HINTS, N_SLOT_BYTES } from './layout';
import { slotAddress } from './node';

/** Insertions after which hints are made anew, where the slots are now. */
const INSERTIONS: u32 = HINTS * 8;

export function hintAddress(n: usize, hint: u32): usize {
  return n + N_HINTS + hint * N_SLOT_BYTES;
}

/** Spreads the hints over all slots; a node with few of them has none. */
export function makeHints(n: usize, count: u32): void {
  const use = count >= HINTS;
  store<u8>(n, use ? HINTS : 0, N_HINT_COUNT);
  if (!use) return;
  for (let hint: u32 = 0; hint < HINTS; hint++) {
    const slot = ((hint + 1) * count) / (HINTS + 1);
    const at = hintAddress(n, hint);
    store<u64>(at, load<u64>(slotAddress(n, slot)));
    store<u32>(at, slot, 8);
  }
}

/** A slot has come in; there are `count` now. */
export function hintsInserted(n: usize, slot: u32, count: u32): void {
  if (count % INSERTIONS == 0 || count == HINTS) {
    makeHints(n, count);
    return;
  }
  if (load<u8>(n, N_HINT_COUNT) == 0) return;
  const head = load<u64>(slotAddress(n, slot));
  for (let hint: i32 = HINTS - 1; hint >= 0; hint--) {
    const at = hintAddress(n, hint);
    const there = load<u32>(at, 8);
    if (there < slot) return;
    if (there > slot || head < load<u64>(at)) store<u32>(at, there + 1, 8);
  }
}

/** The slots from `from` up to `end` are gone. */
export function hintsRemoved(n: usize, from: u32, end: u32): void {
  if (load<u8>(n, N_HINT_COUNT) == 0) return;
  for (let hint: i32 = HINTS - 1; hint >= 0; hint--) {
    const at = hintAddress(n, hint);
    const there = load<u32>(at, 8);
    if (there <= from) return;
    store<u32>(at, there >= end ? there - (end - from) : from, 8);
  }
}
