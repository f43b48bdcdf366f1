/**
 * Entries of a range in place: where key and value lie, without a view or a copy of either.
 *
 * A view of bytes costs more than looking at ten of them, and most entries of a range are looked at
 * and compared before, or instead of, being given to anybody.
 *
 * Owns:        nothing; a slot is used again for the next entry.
 * Threads:     private to a thread.
 */
import type { ByteEntry, ByteRange, SyncByteStore } from './byte-store.ts';

/** One entry, until the next one is put into the slot. */
export class Slot {
  key: Uint8Array = NO_BYTES;
  keyAt = 0;
  keyEnd = 0;
  value: Uint8Array = NO_BYTES;
  valueAt = 0;
  valueEnd = 0;

  set(key: Uint8Array, value: Uint8Array): void {
    this.key = key;
    this.keyAt = 0;
    this.keyEnd = key.length;
    this.value = value;
    this.valueAt = 0;
    this.valueEnd = value.length;
  }

  /** The key, its last bytes left out. */
  keyBut(bytes = 0): Uint8Array {
    return view(this.key, this.keyAt, this.keyEnd - bytes);
  }

  /** The value, its first bytes left out. */
  valueFrom(bytes = 0): Uint8Array {
    return view(this.value, this.valueAt + bytes, this.valueEnd);
  }
}

const NO_BYTES = new Uint8Array(0);
const ON_HEAP_BYTES = 64;

/** As `subarray`, or a copy where that costs less. */
export function view(bytes: Uint8Array, from: number, end: number): Uint8Array {
  if (from === 0 && end === bytes.length) return bytes;
  // Small arrays have their bytes on the heap, until somebody asks for their buffer: 300 ns.
  if (bytes.length <= ON_HEAP_BYTES) return bytes.slice(from, end);
  return new Uint8Array(bytes.buffer, bytes.byteOffset + from, end - from);
}

/** Entries of an inner store that answers at once. */
export interface Source {
  /** Puts the next one into the slot: false if there is none. */
  fill(slot: Slot): boolean;
  end(): void;
}

/** An inner store that can give a range in place: trees. */
export interface InPlace {
  rangeInPlace(range: ByteRange): Source;
}

/** A range of any inner store that answers at once. */
export function sourceOf(
  inner: SyncByteStore | (SyncByteStore & InPlace),
  range: ByteRange,
): Source {
  return 'rangeInPlace' in inner ? inner.rangeInPlace(range) : new EntrySource(inner.range(range));
}

class EntrySource implements Source {
  readonly #iterator: Iterator<ByteEntry>;

  constructor(entries: Iterable<ByteEntry>) {
    this.#iterator = entries[Symbol.iterator]();
  }

  fill(slot: Slot): boolean {
    const { done, value } = this.#iterator.next();
    if (done === true) return false;
    slot.set(value[0], value[1]);
    return true;
  }

  end(): void {
    this.#iterator.return?.();
  }
}
