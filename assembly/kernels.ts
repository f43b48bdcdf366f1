/**
 * Frame kernels: copy and checksum of bytes in one arena.
 *
 * Owns:        nothing; callers hold a latch that allows what they ask for.
 * Threads:     any; each thread has one instance for each arena.
 */
import { sumOf } from './checksum';

export {
  childAt,
  childBelow,
  childOf,
  childSlot,
  countOf,
  find,
  keyAt,
  leafGet,
  padKey,
  valueAt,
} from './node';
export {
  nodeCollect,
  nodeCompact,
  nodeCovers,
  nodeInit,
  nodeKeyMax,
  nodeMerge,
  nodeMiddle,
  nodePut,
  nodeRemove,
  nodeRemoveRange,
  nodeRoom,
  nodeSeparator,
  nodeSeparatorOf,
  nodeSplit,
} from './node-change';
export { runApply, runEnd, runNeed, runSort } from './node-run';

export function copy(to: usize, from: usize, bytes: usize): void {
  memory.copy(to, from, bytes);
}

export function fill(to: usize, value: u32, bytes: usize): void {
  memory.fill(to, <u8>value, bytes);
}

/** Checksum of `bytes` bytes at `from` (both multiples of 8), seeded. */
export function checksum(from: usize, bytes: usize, seed: f64): u64 {
  return sumOf(from, bytes, <u64>seed, usize.MAX_VALUE, 0);
}
