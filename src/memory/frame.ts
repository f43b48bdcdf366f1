/**
 * The views of one frame's bytes, made once for each frame and thread and then used again, so that
 * a hit allocates nothing.
 *
 * Owns:        nothing: the views show shared memory, whoever uses them needs a latch or validates.
 */
export class Frame {
  /** Position of the frame in the pool, 0-based. */
  readonly index: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;

  constructor(index: number, buffer: SharedArrayBuffer, offset: number, blobBytes: number) {
    this.index = index;
    this.bytes = new Uint8Array(buffer, offset, blobBytes);
    this.view = new DataView(buffer, offset, blobBytes);
    this.u32 = new Uint32Array(buffer, offset, blobBytes / Uint32Array.BYTES_PER_ELEMENT);
    this.f64 = new Float64Array(buffer, offset, blobBytes / Float64Array.BYTES_PER_ELEMENT);
  }
}
