/**
 * The working set of hit-path and contention: 64 blobs of 512 KiB in 64 frames, all cached; and
 * the operations on them.
 *
 * Words 0 to 1023 of a blob (its first 4 KiB) are read and never change: word w of blob b holds
 * `wordOf(b, w)`. Words 1024 to 3071 are written. A generator of three shifts draws blob and
 * offset at once; each batch starts it at the same place, so the sum of what it reads is known.
 */
import { BufferPool, type Frame } from '../../src/index.ts';
import { assertSum } from './numbers.ts';

export const BLOBS = 64;
export const WORDS = 1024;
/** First u32 and first f64 of the part that is written. */
export const WRITTEN_U32: number = WORDS;
export const WRITTEN_F64: number = WORDS;
/** The two words that a writer keeps equal; a reader that sees them differ has read torn bytes. */
export const TWIN_FIRST: number = WORDS;
export const TWIN_LAST: number = WORDS * 2 - 1;

export function wordOf(id: number, word: number): number {
  return (Math.imul(id, 40_503) ^ Math.imul(word, 30_011)) & 0xffff;
}

/** The next state; never 0 for a state that is not 0. */
export function draw(state: number): number {
  let x = state;
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  return x;
}

export function firstState(seed: number): number {
  return Math.imul(seed + 1, 0x9e3779b1) | 1;
}

/** Blob ids are handed out from 1 upwards. */
export function idOf(state: number): number {
  return 1 + (state & (BLOBS - 1));
}

export function offsetOf(state: number): number {
  return (state >>> 6) & (WORDS - 1);
}

/** What `operations` reads from `seed` on give together; `only` is the blob, or 0 for any. */
export function expectedSum(seed: number, operations: number, only = 0): number {
  let state = firstState(seed);
  let sum = 0;
  for (let i = 0; i < operations; i++) {
    state = draw(state);
    sum = (sum + wordOf(only || idOf(state), offsetOf(state))) | 0;
  }
  return sum;
}

/** The reading callback: one function for all optimistic reads of a program. */
export function readWord(frame: Frame, offset: number): number {
  return frame.u32[offset] as number;
}

/** A pool whose 64 blobs fit and are cached. */
export async function openCachedPool(): Promise<BufferPool> {
  const pool = await BufferPool.open('bench', { frames: BLOBS, store: 'memory' });
  const bytes = new Uint8Array(pool.blobBytes);
  const words = new Uint32Array(bytes.buffer);
  for (let blob = 0; blob < BLOBS; blob++) {
    const id = pool.allocate();
    for (let word = 0; word < WORDS; word++) words[word] = wordOf(id, word);
    pool.writeBlob(id, bytes);
    pool.pin(id).release();
  }
  assertSum('cached blobs', pool.cachedCount(), BLOBS);
  return pool;
}

/** Sum over all blobs of one word, read under shared latches. */
export function sumOverBlobs(pool: BufferPool, word: number): number {
  let sum = 0;
  for (let id = 1; id <= BLOBS; id++) {
    const guard = pool.read(id);
    sum += guard.u32[word] as number;
    guard.release();
  }
  return sum;
}
