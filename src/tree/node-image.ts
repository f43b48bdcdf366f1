/**
 * A node as bytes outside of frames: reading it without trusting it.
 *
 * Owns:        nothing; it keeps views of the bytes that it was given, no copies.
 * Invariants:  every offset is held against the node's size before it is used: nothing throws and
 *              nothing is read beyond the node, whatever its bytes are.
 * Threads:     private to the caller, and the bytes hold still.
 *
 * For those who read a store without opening it. Threads of a pool go by node-access.ts, whose
 * kernels look at frames.
 */
import {
  E_KEY,
  E_KEY_BYTES,
  E_VALUE,
  N_COUNT,
  N_GARBAGE,
  N_HEAP,
  N_HIGH,
  N_HIGH_BYTES,
  N_LEVEL,
  N_LOW,
  N_LOW_BYTES,
  N_MAGIC,
  N_SLOT_BYTES,
  N_SLOTS,
  N_TREE,
  NODE_MAGIC,
  VALUE_LENGTH_MASK,
} from '../generated/layout.ts';

/** A stretch of a node's bytes. */
export interface Extent {
  readonly offset: number;
  readonly bytes: number;
}

export interface NodeEntry {
  readonly extent: Extent;
  readonly key: Uint8Array;
  /** Length, and the mark of an overflowing value. */
  readonly word: number;
  readonly value: Uint8Array;
}

/** A bound: undefined if the node has none, null if it does not lie in the node. */
export type Bound = { readonly extent: Extent; readonly key: Uint8Array } | undefined | null;

export class NodeImage {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  private constructor(bytes: Uint8Array, view: DataView) {
    this.bytes = bytes;
    this.view = view;
  }

  /** Undefined: the bytes are no node. */
  static of(bytes: Uint8Array): NodeImage | undefined {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return view.getUint32(N_MAGIC, true) === NODE_MAGIC ? new NodeImage(bytes, view) : undefined;
  }

  get level(): number {
    return this.view.getUint8(N_LEVEL);
  }

  /** Id of the root of its tree; NaN if it is none. */
  get tree(): number {
    return idAt(this.view, N_TREE);
  }

  get heap(): number {
    return this.view.getUint32(N_HEAP, true);
  }

  get garbage(): number {
    return this.view.getUint32(N_GARBAGE, true);
  }

  /** Entries; undefined if slots for so many would reach beyond the lowest entry or the node. */
  get count(): number | undefined {
    const count = this.view.getUint32(N_COUNT, true);
    const { heap } = this;
    const fits = heap <= this.bytes.length && N_SLOTS + count * N_SLOT_BYTES <= heap;
    return fits ? count : undefined;
  }

  get low(): Bound {
    return this.#bound(N_LOW, N_LOW_BYTES);
  }

  /** Exclusive. */
  get high(): Bound {
    return this.#bound(N_HIGH, N_HIGH_BYTES);
  }

  #bound(offsetAt: number, lengthAt: number): Bound {
    const offset = this.view.getUint32(offsetAt, true);
    if (offset === 0) return undefined;
    const bytes = this.view.getUint16(lengthAt, true);
    if (offset < this.heap || offset + bytes > this.bytes.length) return null;
    return { extent: { offset, bytes }, key: this.bytes.subarray(offset, offset + bytes) };
  }

  /** The head in a slot below `count`. */
  headAt(slot: number): bigint {
    return this.view.getBigUint64(N_SLOTS + slot * N_SLOT_BYTES, true);
  }

  /** The entry of a slot below `count`; undefined if it does not lie in the node's heap. */
  entryAt(slot: number): NodeEntry | undefined {
    const { view, bytes, heap } = this;
    const offset = view.getUint32(N_SLOTS + slot * N_SLOT_BYTES + 8, true);
    if (offset < heap || offset + E_KEY > bytes.length) return undefined;
    const keyBytes = view.getUint16(offset + E_KEY_BYTES, true);
    const word = view.getUint32(offset + E_VALUE, true);
    const valueAt = offset + E_KEY + keyBytes;
    const end = valueAt + (word & VALUE_LENGTH_MASK);
    if (end > bytes.length) return undefined;
    return {
      extent: { offset, bytes: end - offset },
      key: bytes.subarray(offset + E_KEY, valueAt),
      word,
      value: bytes.subarray(valueAt, end),
    };
  }
}

/** A blob id from 64 bits; NaN if it is none. */
export function idAt(view: DataView, at: number): number {
  const id = Number(view.getBigUint64(at, true));
  return Number.isSafeInteger(id) && id > 0 ? id : Number.NaN;
}

/** Id of the child that an entry of an inner node names; undefined if it names none. */
export function childOf({ word, value }: NodeEntry): number | undefined {
  if (word !== 8) return undefined;
  const id = idAt(new DataView(value.buffer, value.byteOffset, value.length), 0);
  return Number.isNaN(id) ? undefined : id;
}
