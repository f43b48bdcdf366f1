/**
 * Checksums of bytes that lie outside the arenas.
 *
 * Owns:        a private wasm memory of one scratch area; bytes are copied in and summed there.
 * Threads:     one for each thread.
 */
import type { KernelExports } from '../generated/layout.ts';
import { instantiateKernels } from './wasm.ts';
import { type WasmModule, wasm } from './webassembly.ts';

const PAGE_BYTES = 65536;
const WORD_BYTES = 8;

export class Checksummer {
  readonly #kernels: KernelExports;
  readonly #scratch: Uint8Array;

  /** @param bytesMax  The largest piece that will be summed. */
  constructor(module: WasmModule, bytesMax: number) {
    const pages = Math.ceil(bytesMax / PAGE_BYTES);
    const memory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    this.#kernels = instantiateKernels(module, memory);
    this.#scratch = new Uint8Array(memory.buffer);
  }

  get bytesMax(): number {
    return this.#scratch.length;
  }

  /** Scratch area of `bytes` bytes; its content lasts until the next call of this object. */
  scratch(bytes: number): Uint8Array {
    return this.#scratch.subarray(0, bytes);
  }

  /** 64-bit checksum of `bytes`, seeded with a safe integer; zero-padded to whole words. */
  of(bytes: Uint8Array, seed: number): bigint {
    if (bytes.length > this.#scratch.length) {
      throw new RangeError(`${bytes.length} bytes exceed the ${this.#scratch.length} set aside`);
    }
    this.#scratch.set(bytes);
    const padded = Math.ceil(bytes.length / WORD_BYTES) * WORD_BYTES;
    if (padded > bytes.length) this.#scratch.fill(0, bytes.length, padded);
    return this.ofScratch(padded, seed);
  }

  /** The same for what was put into `scratch` (a multiple of 8 bytes). */
  ofScratch(bytes: number, seed: number): bigint {
    return BigInt.asUintN(64, this.#kernels.checksum(0, bytes, seed));
  }
}
