/**
 * What changes of a durable cache depend on: the entry as its leaf has it.
 *
 * Owns:        nothing.
 * Invariants:  B6   as stated in words.ts: counts move in `sealed`.
 * Threads:     private to a thread.
 */
import type { BlobId } from '../store/contract.ts';
import type { Guard } from '../tree/change.ts';
import { type Header, HeaderBytes } from './record.ts';

/** Of the look under way; each thread has its own. */
const LOOK = new HeaderBytes();

/** A put over an entry that is dirty already: a change of the entry alone. */
export class HitGuard implements Guard {
  readonly tree: BlobId;
  key = '' as Uint8Array | string;
  /** What is put: room for the header, then the value. */
  value: Uint8Array = new Uint8Array(0);
  now = 0;
  /** What was there when the change was not made. */
  seen: Header | undefined;
  readonly #header = new HeaderBytes();

  constructor(tree: BlobId) {
    this.tree = tree;
  }

  holds(bytes: Uint8Array | undefined, at: number): boolean {
    this.seen = undefined;
    if (bytes === undefined) return false;
    const header = this.#header;
    header.load(bytes, at);
    if (!header.isDirty) {
      this.seen = header.header;
      return false;
    }
    header.touch(this.now);
    header.save(this.value);
    return true;
  }

  sealed(): void {
    // No count moves.
  }
}

export interface Expected {
  readonly tree: BlobId;
  readonly key: Uint8Array | string;
  /** Undefined: no such entry. */
  readonly header: Header | undefined;
  /** Asked in addition. */
  readonly also?: () => boolean;
  readonly sealed: () => void;
}

/** A change of an entry that is still as it was read. */
export class ExpectGuard implements Guard {
  readonly tree: BlobId;
  readonly key: Uint8Array | string;
  readonly #expected: Expected;

  constructor(expected: Expected) {
    this.tree = expected.tree;
    this.key = expected.key;
    this.#expected = expected;
  }

  holds(bytes: Uint8Array | undefined, at: number): boolean {
    const { header, also } = this.#expected;
    if (also !== undefined && !also()) return false;
    if (bytes === undefined || header === undefined)
      return bytes === undefined && header === undefined;
    LOOK.load(bytes, at);
    const { inserted, version, dirtied } = LOOK.header;
    return inserted === header.inserted && version === header.version && dirtied === header.dirtied;
  }

  sealed(): void {
    this.#expected.sealed();
  }
}
