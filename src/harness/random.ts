/**
 * Seeded random numbers: the same seed, the same run.
 *
 * Owns:        its state; one generator for each thread or numbered run (`fork`).
 */

/** Seeds are integers from 0 up to, but not including, this. */
export const SEED_END: number = 2 ** 32;

/** A generator of pseudo-random numbers: xoshiro128**, seeded through splitmix32. */
export class Random {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    let mixed = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      let z = mixed;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      this.#state[i] = z ^ (z >>> 15);
    }
  }

  /** 0 to 2^32 - 1. */
  uint32(): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.#state;
    const five = Math.imul(b, 5);
    const result = Math.imul((five << 7) | (five >>> 25), 9) >>> 0;
    const last = d ^ b;
    this.#state.set([a ^ last, b ^ c ^ a, c ^ a ^ (b << 9), (last << 11) | (last >>> 21)]);
    return result;
  }

  /** 0 up to, but not including, 1. */
  float(): number {
    return this.uint32() / SEED_END;
  }

  /** An integer from 0 up to, but not including, `end`; up to 2^32. */
  int(end: number): number {
    return Math.floor(this.float() * end);
  }

  chance(probability: number): boolean {
    return this.float() < probability;
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError('nothing to pick from');
    return items[this.int(items.length)] as T;
  }

  /** A shuffled copy. */
  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [result[i], result[j]] = [result[j] as T, result[i] as T];
    }
    return result;
  }

  fill(bytes: Uint8Array): Uint8Array {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.uint32();
    return bytes;
  }

  /** A generator of its own for worker or step `n`; does not depend on what was drawn before. */
  static fork(seed: number, n: number): Random {
    return new Random(Math.imul(seed ^ 0x5bd1e995, n * 2 + 1));
  }
}
