/**
 * The one place that waits.
 *
 * Owns:        nothing.
 * Threads:     any.
 * Source:      found by measurement: V8 11.3 (Node 20) loses locals that a baseline-compiled
 *              function keeps in registers across `memory.atomic.wait32`. A caller's locals are
 *              safe, because a call spills them. So this function stands alone, does nothing after
 *              the wait, and calls itself, which keeps Binaryen from inlining it; `npm run check:wasm`
 *              refuses a module that waits anywhere else.
 */
const NS_PER_MS: i64 = 1_000_000;

/** Nobody parks longer than this. */
const PARK_MS_MAX: i32 = 3_600_000;

/** Parks while the u32 at `address` is `seen`, for at most `parkMs`. */
export function park(address: usize, seen: u32, parkMs: i32): void {
  if (parkMs > PARK_MS_MAX) {
    park(address, seen, PARK_MS_MAX);
    return;
  }
  atomic.wait<i32>(address, <i32>seen, <i64>parkMs * NS_PER_MS);
}
