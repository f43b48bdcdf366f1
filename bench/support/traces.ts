/**
 * Seeded traces of blob accesses, for pools of any number of frames.
 *
 * A trace names blobs by numbers from 0 to `blobs` - 1. Its first fifth is for warming up.
 */
import type { Random } from '../../test/support/seed.ts';

export interface Trace {
  readonly blobs: number;
  readonly accesses: Int32Array;
  /** Accesses at the beginning that are not counted. */
  readonly warmup: number;
}

export type MakeTrace = (frames: number, length: number, random: Random) => Trace;

function trace(blobs: number, length: number, next: (at: number) => number): Trace {
  const accesses = new Int32Array(length);
  for (let at = 0; at < length; at++) accesses[at] = next(at);
  return { blobs, accesses, warmup: Math.floor(length / 5) };
}

/** Draws from 0 to `count` - 1 with probabilities 1 / rank ** alpha; ranks lie anywhere. */
function zipfDraw(count: number, alpha: number, random: Random): () => number {
  const bounds = new Float64Array(count);
  let total = 0;
  for (let rank = 0; rank < count; rank++) {
    total += 1 / (rank + 1) ** alpha;
    bounds[rank] = total;
  }
  const places = random.shuffled(Array.from({ length: count }, (_, place) => place));
  return () => {
    const point = random.float() * total;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((bounds[middle] as number) < point) low = middle + 1;
      else high = middle;
    }
    return places[low] as number;
  };
}

/** Zipf over 8 times as many blobs as there are frames. */
export function zipf(alpha: number): MakeTrace {
  return (frames, length, random) => trace(8 * frames, length, zipfDraw(8 * frames, alpha, random));
}

/**
 * Zipf 0.9 with bursts of scans: `share` of the accesses run through twice as many consecutive
 * blobs as there are frames, at a random place of a table of 64 times the frames.
 */
export function zipfWithScans(share: number): MakeTrace {
  return (frames, length, random) => {
    const table = 8 * frames;
    const draw = zipfDraw(table, 0.9, random);
    const scan = 2 * frames;
    const calm = Math.round((scan * (1 - share)) / share);
    let start = 0;
    return trace(table + 64 * frames, length, (at) => {
      const phase = at % (calm + scan);
      if (phase < calm) return draw();
      if (phase === calm) start = table + random.int(62 * frames);
      return start + phase - calm;
    });
  };
}

/** One round after the other over `factor` times as many blobs as there are frames. */
export function loop(factor: number): MakeTrace {
  return (frames, length) => {
    const blobs = Math.round(frames * factor);
    return trace(blobs, length, (at) => at % blobs);
  };
}

/** Zipf 0.9 whose popular blobs are others after each sixth of the trace. */
export const zipfShifting: MakeTrace = (frames, length, random) => {
  const every = Math.ceil(length / 6);
  let draw: () => number = () => 0;
  return trace(8 * frames, length, (at) => {
    if (at % every === 0) draw = zipfDraw(8 * frames, 0.9, random);
    return draw();
  });
};

const PHASES = 16;
const ROUNDS_OF_PHASE = 20;

/** A working set that just fits (0.9 of the frames), twenty rounds of it, then another one. */
export function phases(order: 'loop' | 'random'): MakeTrace {
  return (frames, length, random) => {
    const set = Math.floor(frames * 0.9);
    return trace(set * PHASES, length, (at) => {
      const phase = Math.floor(at / (set * ROUNDS_OF_PHASE)) % PHASES;
      return phase * set + (order === 'loop' ? at % set : random.int(set));
    });
  };
}

/** What LRU is made for: 80 % of the accesses repeat one of the last 0.8 x frames accesses. */
export const recent: MakeTrace = (frames, length, random) => {
  const accesses = new Int32Array(length);
  const blobs = 32 * frames;
  for (let at = 0; at < length; at++) {
    const again = at > frames && random.chance(0.8);
    accesses[at] = again
      ? (accesses[at - 1 - random.int(Math.floor(frames * 0.8))] as number)
      : random.int(blobs);
  }
  return { blobs, accesses, warmup: Math.floor(length / 5) };
};
