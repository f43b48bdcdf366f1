/**
 * Replacement: which frame goes first. S3-FIFO with a small queue of a fifth of the frames.
 *
 * New blobs enter the small queue; what was hit twice before its turn comes moves to the main
 * queue, which is a CLOCK by rotation; what leaves the small queue is remembered in the ghost
 * table for a while, and enters the main queue when it comes back meanwhile. One pass over many
 * blobs therefore displaces little. Hits only raise the frame's recency counter. The policy knows
 * nothing of pins, latches or dirty frames: the one rule in frames.ts is asked for each candidate.
 *
 * Owns:        the queues, the ghost table, A_QUEUE; the order of the frames.
 * Threads:     under the replacement lock. Hits change the recency meanwhile; a lost one is harmless.
 * Source:      Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023,
 *              doi 10.1145/3600006.3613147; sizes and caps chosen by measurement, see
 *              bench/README.md.
 */
import { descA, descB } from './descriptors';
import {
  A_QUEUE,
  B_NEXT,
  B_PREV,
  GHOST_WAYS,
  GHOSTS,
  H_GHOST_BUCKETS,
  H_QUEUES,
  Q_COUNT,
  Q_HEAD,
  Q_TAIL,
  QUEUE_BYTES,
} from './layout';

function queueAt(queue: u32): usize {
  return H_QUEUES + (queue - 1) * QUEUE_BYTES;
}

export function queueCount(queue: u32): u32 {
  return load<u32>(queueAt(queue) + Q_COUNT);
}

/** The oldest frame of a queue that is not empty. */
export function queueTail(queue: u32): u32 {
  return load<u32>(queueAt(queue) + Q_TAIL) - 1;
}

/** Puts a frame that is in no queue at the young end. */
export function queuePush(queue: u32, frame: u32): void {
  const q = queueAt(queue);
  const b = descB(frame);
  const head = load<u32>(q + Q_HEAD);
  store<u32>(b + B_PREV, 0);
  store<u32>(b + B_NEXT, head);
  if (head != 0) store<u32>(descB(head - 1) + B_PREV, frame + 1);
  else store<u32>(q + Q_TAIL, frame + 1);
  store<u32>(q + Q_HEAD, frame + 1);
  store<u32>(q + Q_COUNT, load<u32>(q + Q_COUNT) + 1);
  store<u32>(descA(frame) + A_QUEUE, queue);
}

/** Takes a frame out of the queue it is in, from any place. */
export function queueRemove(frame: u32): void {
  const q = queueAt(load<u32>(descA(frame) + A_QUEUE));
  const b = descB(frame);
  const prev = load<u32>(b + B_PREV);
  const next = load<u32>(b + B_NEXT);
  if (prev != 0) store<u32>(descB(prev - 1) + B_NEXT, next);
  else store<u32>(q + Q_HEAD, next);
  if (next != 0) store<u32>(descB(next - 1) + B_PREV, prev);
  else store<u32>(q + Q_TAIL, prev);
  store<u32>(b + B_PREV, 0);
  store<u32>(b + B_NEXT, 0);
  store<u32>(q + Q_COUNT, load<u32>(q + Q_COUNT) - 1);
  store<u32>(descA(frame) + A_QUEUE, 0);
}

// --- ghosts ----------------------------------------------------------------------------------

function ghostBucket(id: u64): usize {
  let h = id ^ (id >> 33);
  h *= 0xff51_afd7_ed55_8ccd;
  h ^= h >> 33;
  return GHOSTS + <u32>(h % load<u32>(H_GHOST_BUCKETS)) * GHOST_WAYS * 8;
}

/** Remembers an evicted id; the oldest of its bucket is forgotten. */
export function ghostAdd(id: u64): void {
  if (id == 0) return;
  const bucket = ghostBucket(id);
  for (let at: u32 = GHOST_WAYS - 1; at > 0; at--) {
    store<u64>(bucket + at * 8, load<u64>(bucket + at * 8 - 8));
  }
  store<u64>(bucket, id);
}

/** Whether the id was evicted lately; forgets it. */
export function ghostTake(id: u64): bool {
  const bucket = ghostBucket(id);
  for (let way: u32 = 0; way < GHOST_WAYS; way++) {
    if (load<u64>(bucket + way * 8) != id) continue;
    for (let at = way; at < GHOST_WAYS - 1; at++) {
      store<u64>(bucket + at * 8, load<u64>(bucket + at * 8 + 8));
    }
    store<u64>(bucket + (GHOST_WAYS - 1) * 8, 0);
    return true;
  }
  return false;
}
