/**
 * The checksum of blobs and of log records.
 *
 * Owns:        nothing.
 * Threads:     any.
 *
 * Checksum, 64 bits: eight lanes take one 64-bit word each in turn, lane = rotl(lane ^ word, 29) *
 * odd, and are then folded one after the other through a bijective mix. Each step is a bijection
 * of the lane for a given word and of the word for a given lane, so damage that is confined to one
 * word, or to the words of one lane with equal effect on no later step, always changes the result;
 * any other damage goes unseen with probability 2^-64.
 * Source: the lane structure follows the published xxHash64 and wyhash descriptions; constants are
 * the primes of xxHash64 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
 */

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

function round(lane: u64, word: u64): u64 {
  return rotl<u64>(lane ^ word, 29) * P1;
}

function mix(hash: u64, lane: u64): u64 {
  let h = (hash ^ lane) * P2;
  h ^= h >> 32;
  return h * P3;
}

/** One word of bytes that go on at `end - size` where they reach `end`. */
function wordAt(at: usize, end: usize, size: usize): u64 {
  return load<u64>(at >= end ? at - size : at);
}

/**
 * Checksum of `bytes` bytes at `from` (both multiples of 8), seeded. They may wrap at `end` to
 * `end - size`; for bytes in one piece `end` is the highest address and `size` 0.
 */
export function sumOf(from: usize, bytes: usize, s: u64, end: usize, size: usize): u64 {
  let a = s + P1;
  let b = s ^ P2;
  let c = s + P3;
  let d = s ^ P4;
  let e = s + P5;
  let f = s ^ P1;
  let g = s + P2;
  let h = s ^ P3;
  let at = from;
  // Counted down: the end of the last frame of a full arena is 2^32, which wraps to 0.
  for (let left = bytes >> 6; left > 0; left--) {
    if (at + 64 <= end) {
      a = round(a, load<u64>(at));
      b = round(b, load<u64>(at, 8));
      c = round(c, load<u64>(at, 16));
      d = round(d, load<u64>(at, 24));
      e = round(e, load<u64>(at, 32));
      f = round(f, load<u64>(at, 40));
      g = round(g, load<u64>(at, 48));
      h = round(h, load<u64>(at, 56));
      at += 64;
    } else {
      a = round(a, wordAt(at, end, size));
      b = round(b, wordAt(at + 8, end, size));
      c = round(c, wordAt(at + 16, end, size));
      d = round(d, wordAt(at + 24, end, size));
      e = round(e, wordAt(at + 32, end, size));
      f = round(f, wordAt(at + 40, end, size));
      g = round(g, wordAt(at + 48, end, size));
      h = round(h, wordAt(at + 56, end, size));
      at += 64;
      if (at >= end) at -= size;
    }
  }
  for (let left = (bytes & 63) >> 3; left > 0; left--, at += 8) {
    a = round(a, wordAt(at, end, size));
  }
  let sum = mix(mix(mix(mix(s ^ <u64>bytes, a), b), c), d);
  sum = mix(mix(mix(mix(sum, e), f), g), h);
  sum ^= sum >> 29;
  sum *= P4;
  return sum ^ (sum >> 32);
}
