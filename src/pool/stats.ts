/**
 * Counts over frames and thread slots.
 *
 * Owns:        nothing; reads leave counters and recency alone.
 * Threads:     any; the numbers are a look in passing, not a cut.
 */
import {
  FRAME_EVICTING,
  FRAME_LOADING,
  FRAME_VALID,
  S_EVICTIONS,
  S_FALLBACKS,
  S_HITS,
  S_LOAD_FAILURES,
  S_LOADS,
  S_MISSES,
  S_PARKS,
  S_RESTARTS,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
} from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import type { StoreStats } from '../store/contract.ts';
import type { LogStats } from './log-stats.ts';

export interface FrameCounts {
  readonly free: number;
  readonly cached: number;
  readonly loading: number;
  readonly pinned: number;
  readonly latched: number;
  /** Frames that the next round (without a log: the close) writes. */
  readonly dirty: number;
  /** Frames that a running round is writing. */
  readonly flushing: number;
}

export interface ThreadCounts {
  /** Look-ups that found their blob in a frame. */
  readonly hits: number;
  readonly misses: number;
  /** Optimistic reads that had to start again, and restarts that an index has noted. */
  readonly restarts: number;
  /** Optimistic reads that ended under a shared latch. */
  readonly fallbacks: number;
  readonly evictions: number;
  readonly loads: number;
  readonly loadFailures: number;
  readonly parks: number;
}

export interface PoolStats extends FrameCounts, ThreadCounts {
  readonly frames: number;
  readonly blobBytes: number;
  readonly threads: number;
  /** Bytes of shared memory that the pool can touch: frames and control structures. */
  readonly memoryBytes: number;
  readonly store: StoreStats;
  /** Undefined on a pool without a log. */
  readonly log: LogStats | undefined;
}

const PIN_MODULUS = 2 ** 32;

export function countFrames(memory: ThreadMemory): FrameCounts {
  const { control } = memory;
  const counts = { free: 0, cached: 0, loading: 0, pinned: 0, latched: 0, dirty: 0, flushing: 0 };
  for (let frame = 0; frame < memory.shared.frames; frame++) {
    const state = control.stateOf(frame);
    if (state === FRAME_LOADING) counts.loading++;
    else if (state === FRAME_VALID) {
      if (control.blobOf(frame) !== 0) counts.cached++;
      if (control.holdsOf(frame) % PIN_MODULUS > 0) counts.pinned++;
      if (control.isLatched(frame) !== 0) counts.latched++;
      if (control.dirtySeq(frame) !== 0) counts.dirty++;
      if (control.flushingSeq(frame) !== 0) counts.flushing++;
    } else if (state !== FRAME_EVICTING) counts.free++;
  }
  return counts;
}

/** Sums a counter of all slots, also of threads that have left. */
export function sumOfSlots(memory: ThreadMemory, field: number): number {
  let total = 0;
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    total += memory.loadU64(SLOTS + slot * SLOT_BYTES + field);
  }
  return total;
}

export function countThreads(memory: ThreadMemory): ThreadCounts {
  const sum = (field: number): number => sumOfSlots(memory, field);
  return {
    hits: sum(S_HITS),
    misses: sum(S_MISSES),
    restarts: sum(S_RESTARTS),
    fallbacks: sum(S_FALLBACKS),
    evictions: sum(S_EVICTIONS),
    loads: sum(S_LOADS),
    loadFailures: sum(S_LOAD_FAILURES),
    parks: sum(S_PARKS),
  };
}

export function attachedThreads(memory: ThreadMemory): number {
  let attached = 0;
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    if (memory.control.attachedState(slot) !== 0) attached++;
  }
  return attached;
}
