/**
 * The commit gate: mini-transactions change frames inside it, a round captures while it is closed.
 *
 * Owns:        H_GATE and the flag in each thread's slot.
 * Invariants:  I3  a capture sees no change half done: who enters stores its flag and then reads the
 *                  pending word, who closes stores the word and then reads the flags; all of them
 *                  are sequentially consistent, so at least one sees the other;
 *              D1  nobody waits inside the gate.
 * Threads:     any enters; one at a time closes (rounds exclude each other).
 */
import { count, slotAt } from './descriptors';
import {
  BUSY,
  H_GATE,
  H_GATE_WAKE,
  H_LOG_BASE,
  H_LOG_BOUND,
  H_LOG_TAIL,
  H_STATUS,
  HELD,
  OK,
  S_GATE,
  S_LATCHES,
  S_OP_RESTARTS,
  S_STATE,
  SLOT_FREE,
  SLOT_STATE_MASK,
  SLOTS_MAX,
  STOPPED,
} from './layout';

function wakeCloser(): void {
  atomic.add<u32>(H_GATE_WAKE, 1);
  atomic.notify(H_GATE_WAKE, -1);
}

/** Enters: OK, or BUSY when the gate is closed (wait until H_GATE is 0), STOPPED. */
export function gateEnter(me: u32): i32 {
  const flag = slotAt(me) + S_GATE;
  atomic.store<u32>(flag, 1);
  if (atomic.load<u32>(H_GATE) == 0) {
    if (atomic.load<u32>(H_STATUS) == 0) return OK;
    gateLeave(me);
    return STOPPED;
  }
  atomic.store<u32>(flag, 0);
  wakeCloser();
  return BUSY;
}

export function gateLeave(me: u32): void {
  atomic.store<u32>(slotAt(me) + S_GATE, 0);
  if (atomic.load<u32>(H_GATE) != 0) wakeCloser();
}

export function gateClose(): void {
  atomic.store<u32>(H_GATE, 1);
}

export function gateOpen(): void {
  atomic.store<u32>(H_GATE, 0);
  atomic.notify(H_GATE, -1);
}

/** Slot + 1 of a thread that is inside, 0 if nobody is. Final once the gate is closed. */
export function gateInside(): u32 {
  for (let thread: u32 = 0; thread < SLOTS_MAX; thread++) {
    const slot = slotAt(thread);
    if ((atomic.load<u32>(slot + S_STATE) & SLOT_STATE_MASK) == SLOT_FREE) continue;
    if (atomic.load<u32>(slot + S_GATE) != 0) return thread + 1;
  }
  return 0;
}

/** Bytes of records that are not in the store yet. */
export function backlog(): f64 {
  // The base first: it never passes the tail that is read after it.
  const base = atomic.load<u64>(H_LOG_BASE);
  return <f64>(atomic.load<u64>(H_LOG_TAIL) - base);
}

/** Whether a mini-transaction may begin: OK; HELD with a latch; BUSY: wait for a round; STOPPED. */
export function opBegin(me: u32): i32 {
  if (atomic.load<u32>(H_STATUS) != 0) return STOPPED;
  if (load<u32>(slotAt(me) + S_LATCHES) != 0) return HELD;
  return backlog() < load<f64>(H_LOG_BOUND) ? OK : BUSY;
}

export function noteOpRestart(me: u32): void {
  count(slotAt(me), S_OP_RESTARTS, 1);
}
