/**
 * The ring of the log: producers in any thread, the journal worker as the one consumer.
 *
 * Owns:        the ring, the tail, the credit.
 * Invariants:  a record's place is reserved with one addition, its length word is stored last: a
 *              word that is 0 ends what is published, because consumed bytes are zero again before
 *              their room is given out as credit;
 *              tail <= taken <= consumed + the ring's size: who has credit never waits for room.
 * Threads:     reserving and publishing happen inside the commit gate.
 *
 * The bytes are those of a record in a file (docs/format.md); its position selects its place in
 * the ring, so that a record may wrap, at a multiple of 8 bytes.
 */
import { sumOf } from './checksum';
import { count, slotAt } from './descriptors';
import { gateEnter } from './gate';

import {
  BUSY,
  H_CREDIT_WAKE,
  H_JOURNAL_PARKED,
  H_JOURNAL_WAKE,
  H_LOG_CONSUMED,
  H_LOG_TAIL,
  H_LOG_TAKEN,
  H_LOG_TIGHT,
  H_RECORD_SEED,
  H_RING,
  H_RING_MASK,
  OK,
  R_CREATED,
  R_DELETED,
  R_HEADER_BYTES,
  R_KIND,
  R_LENGTH,
  R_OWNER,
  R_PAYLOAD,
  R_SUM,
  S_COMMITS,
  S_CREDIT,
  S_LAST_SEQ,
  S_RECORD,
  SLICE,
} from './layout';

function at(position: u64): usize {
  return <usize>load<u32>(H_RING) + <usize>(<u32>position & load<u32>(H_RING_MASK));
}

function ringSize(): usize {
  return <usize>load<u32>(H_RING_MASK) + 1;
}

function ringEnd(): usize {
  return <usize>load<u32>(H_RING) + ringSize();
}

// --- credit --------------------------------------------------------------------------------------

/** Takes credit for a record of at most `bytes` bytes: OK, or BUSY (no room, no disk); never waits. */
export function creditTake(bytes: u32, me: u32): i32 {
  if (atomic.load<u32>(H_LOG_TIGHT) != 0) return BUSY;
  const size = <u64>ringSize();
  let taken = atomic.load<u64>(H_LOG_TAKEN);
  for (;;) {
    if (taken + bytes > atomic.load<u64>(H_LOG_CONSUMED) + size) return BUSY;
    const was = atomic.cmpxchg<u64>(H_LOG_TAKEN, taken, taken + bytes);
    if (was == taken) break;
    taken = was;
  }
  store<u32>(slotAt(me) + S_CREDIT, bytes);
  return OK;
}

/** The same if the thread may have credit already, from waiting for it. */
function creditEnsure(bytes: u32, me: u32): i32 {
  const credit = load<u32>(slotAt(me) + S_CREDIT);
  if (credit >= bytes) return OK;
  if (credit > 0) creditGive(me);
  return creditTake(bytes, me);
}

/** Credit, then the gate: OK; BUSY without credit; SLICE with it when the gate is closed; STOPPED. */
export function opSeal(bytes: u32, me: u32): i32 {
  if (creditEnsure(bytes, me) != OK) return BUSY;
  const entered = gateEnter(me);
  return entered == BUSY ? SLICE : entered;
}

/** Gives credit back that was not used. */
export function creditGive(me: u32): void {
  const slot = slotAt(me);
  const bytes = load<u32>(slot + S_CREDIT);
  if (bytes == 0) return;
  store<u32>(slot + S_CREDIT, 0);
  atomic.sub<u64>(H_LOG_TAKEN, bytes);
  wakeCredit();
}

function wakeCredit(): void {
  atomic.add<u32>(H_CREDIT_WAKE, 1);
  atomic.notify(H_CREDIT_WAKE, -1);
}

// --- producing -----------------------------------------------------------------------------------

export function recordBytes(ids: u32, payloadBytes: u32): u32 {
  return (R_HEADER_BYTES + (ids << 3) + payloadBytes + 7) & ~7;
}

/**
 * Reserves the record's place and writes its header. Ids follow, then the payload: its distance from
 * the beginning of the ring.
 */
export function recordBegin(
  owner: f64,
  kind: u32,
  created: u32,
  deleted: u32,
  payloadBytes: u32,
  me: u32,
): u32 {
  const bytes = recordBytes(created + deleted, payloadBytes);
  const position = atomic.add<u64>(H_LOG_TAIL, bytes);
  store<u64>(at(position + R_OWNER), <u64>owner);
  const kindAt = at(position + R_KIND);
  store<u32>(kindAt, kind);
  store<u32>(kindAt, payloadBytes, R_PAYLOAD - R_KIND);
  const createdAt = at(position + R_CREATED);
  store<u32>(createdAt, created);
  store<u32>(createdAt, deleted, R_DELETED - R_CREATED);
  store<u64>(slotAt(me) + S_RECORD, position);
  const payload = <u32>position + R_HEADER_BYTES + ((created + deleted) << 3);
  return payload & load<u32>(H_RING_MASK);
}

/** The n-th id of the record, those of created blobs first. */
export function recordId(n: u32, id: f64, me: u32): void {
  const position = load<u64>(slotAt(me) + S_RECORD);
  store<u64>(at(position + R_HEADER_BYTES + (n << 3)), <u64>id);
}

/** Sums the record and publishes it; the rest of this thread's credit goes back. Its seq. */
export function recordPublish(me: u32): f64 {
  const slot = slotAt(me);
  const position = load<u64>(slot + S_RECORD);
  const ids = load<u32>(at(position + R_CREATED)) + load<u32>(at(position + R_CREATED) + 4);
  const bytes = recordBytes(ids, load<u32>(at(position + R_KIND) + 4));
  const seed = <u64>load<f64>(H_RECORD_SEED) ^ position;
  const sum = sumOf(at(position + R_OWNER), bytes - R_OWNER, seed, ringEnd(), ringSize());
  store<u64>(at(position + R_SUM), sum);
  const seq = position + bytes;
  const credit = load<u32>(slot + S_CREDIT);
  store<u32>(slot + S_CREDIT, 0);
  store<u64>(slot + S_LAST_SEQ, seq);
  atomic.store<u32>(at(position + R_LENGTH), bytes);
  if (credit > bytes) atomic.sub<u64>(H_LOG_TAKEN, credit - bytes);
  count(slot, S_COMMITS, 1);
  if (seq - atomic.load<u64>(H_LOG_CONSUMED) > <u64>load<u32>(H_RING_MASK) >> 2) journalWake();
  return <f64>seq;
}

// --- consuming -----------------------------------------------------------------------------------

/** Wakes the journal worker if it is parked. */
export function journalWake(): void {
  if (atomic.load<u32>(H_JOURNAL_PARKED) == 0) return;
  atomic.add<u32>(H_JOURNAL_WAKE, 1);
  atomic.notify(H_JOURNAL_WAKE, -1);
}

/** End of the whole records that are published from `from` on, at most about `bytesMax` bytes. */
export function ringPublished(from: f64, bytesMax: u32): f64 {
  const start = <u64>from;
  let position = start;
  const tail = atomic.load<u64>(H_LOG_TAIL);
  while (position < tail && position - start < bytesMax) {
    const bytes = atomic.load<u32>(at(position + R_LENGTH));
    if (bytes == 0 || (position - start + bytes > bytesMax && position > start)) break;
    position += bytes;
  }
  return <f64>position;
}

/** What was written up to `to` is not needed any more: zeroes it and gives the room back. */
export function ringConsume(to: f64): void {
  const from = atomic.load<u64>(H_LOG_CONSUMED);
  const bytes = <usize>(<u64>to - from);
  const first = at(from);
  const end = ringEnd();
  if (first + bytes <= end) {
    memory.fill(first, 0, bytes);
  } else {
    memory.fill(first, 0, end - first);
    memory.fill(<usize>load<u32>(H_RING), 0, bytes - (end - first));
  }
  atomic.store<u64>(H_LOG_CONSUMED, <u64>to);
  wakeCredit();
}
