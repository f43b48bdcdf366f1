/**
 * A blob in a mini-transaction.
 *
 * Owns:        nothing: pin and latch are the mini-transaction's, which gives them back.
 * Invariants:  G1  there is no release here, so that no guard of an op can go before its commit.
 * Threads:     the thread of its mini-transaction.
 */
import { WeirpoolError } from '../errors.ts';
import type { Frame } from '../memory/frame.ts';
import type { BlobId } from '../store/contract.ts';

/** How the mini-transaction has the blob. */
export type OpMode = 'read' | 'write' | 'create' | 'delete';

/** Whether an op still has its blobs. */
export interface OpLife {
  readonly ended: boolean;
}

export function endedError(): WeirpoolError {
  return new WeirpoolError(
    'TX_ENDED',
    'The mini-transaction has ended. Begin a new one with pool.change.',
  );
}

export class OpBlob {
  /** The blob. */
  readonly id: BlobId;
  /** @internal */
  readonly frame: Frame;
  /** @internal */
  mode: OpMode;
  /** @internal What the frame held at the seal, to be put back by an abort. */
  undo: Uint8Array | undefined;
  /** @internal Checksum when the blob was acquired, in the debug mode. */
  sum: bigint | undefined;
  readonly #life: OpLife;

  /** @internal */
  constructor(life: OpLife, frame: Frame, id: BlobId, mode: OpMode) {
    this.#life = life;
    this.frame = frame;
    this.id = id;
    this.mode = mode;
    this.undo = undefined;
    this.sum = undefined;
  }

  #live(): Frame {
    if (this.#life.ended || this.mode === 'delete') throw endedError();
    return this.frame;
  }

  /**
   * The blob's bytes, in place. They may be read until the commit, and written (unless the blob was
   * acquired with `read`) between seal and commit.
   *
   * @throws {WeirpoolError} `TX_ENDED`.
   */
  get bytes(): Uint8Array {
    return this.#live().bytes;
  }

  /** The same bytes as a `DataView`. */
  get view(): DataView {
    return this.#live().view;
  }

  /** The same bytes as 32-bit words. */
  get u32(): Uint32Array {
    return this.#live().u32;
  }

  /** The same bytes as doubles. */
  get f64(): Float64Array {
    return this.#live().f64;
  }

  /** @internal Number of the blob's frame, for kernels that work in place. */
  get frameIndex(): number {
    return this.#live().index;
  }
}
