/**
 * Scanning a tree: batches of entries in the order of their keys.
 *
 * Owns:        the place in the scan, as a key: no latch, no pin is held between two batches.
 * Invariants:  a batch is of one node at one moment; the next one goes on behind the last key given,
 *              so changing the tree meanwhile makes the scan neither skip a key that was there all the
 *              time nor give one twice.
 * Threads:     one at a time.
 */
import { Buffer } from 'node:buffer';
import type { WeirpoolError } from '../errors.ts';
import type { ControlExports } from '../generated/layout.ts';
import type { BlobId } from '../store/contract.ts';
import { ATTEMPTS_MAX, type Descent, nodeCorrupt, type Way } from './descent.ts';
import type { NodeAccess } from './node-access.ts';
import { isOverflow, REFERENCE_BYTES, type Reference, readReference } from './overflow.ts';

export const COLLECT_KEYS = 1;
export const COLLECT_VALUES = 2;

/** Part of the keys: from `low` up to `high`; absent: from the beginning, to the end. */
export interface Bounds {
  readonly low: Uint8Array | undefined;
  readonly lowExclusive: boolean;
  readonly high: Uint8Array | undefined;
  readonly highInclusive: boolean;
}

/** One entry of a batch, in its bytes: from `keyAt` the key, from `valueAt` the value. */
export interface Batch {
  readonly bytes: Buffer;
  readonly count: number;
  /** Three numbers for each entry: keyAt, valueAt, end. */
  readonly places: Uint32Array;
}

/** Where a scan reads: the trees as they are (TreeStore), or as a snapshot has them. */
export interface ScanSource {
  readonly core: {
    readonly control: Pick<ControlExports, 'validate'>;
    noteRestart(): void;
  };
  readonly nodes: NodeAccess;
  readonly descent: Pick<Descent, 'tryTo' | 'with' | 'id' | 'version'>;
  /** A copy of a long value. */
  overflow(tree: BlobId, reference: Reference): Buffer;
  get(tree: BlobId, key: Uint8Array): Buffer | undefined;
}

const EMPTY_KEY = Buffer.alloc(0);
/** Entries of a batch: enough to pay for finding the node, little enough to be read in vain. */
const BATCH_ENTRIES = 1024;

interface Found {
  /** The node. */
  readonly id: BlobId;
  readonly bytes: Buffer | undefined;
  /** The last key that was collected. */
  readonly last: Buffer | undefined;
  /** Where the scan goes on when the node is done: its bound in that direction. */
  readonly bound: Buffer | undefined;
  readonly done: boolean;
}

export class Cursor {
  readonly #store: ScanSource;
  readonly #tree: BlobId;
  readonly #what: number;
  readonly #reverse: boolean;
  #bounds: Bounds;
  #ended = false;

  constructor(
    store: ScanSource,
    tree: BlobId,
    bounds: Bounds,
    options: { readonly what: number; readonly reverse: boolean },
  ) {
    this.#store = store;
    this.#tree = tree;
    this.#bounds = bounds;
    this.#what = options.what;
    this.#reverse = options.reverse;
    this.#ended = isEmpty(bounds);
  }

  /** The next entries, at most `entriesMax`; undefined at the end. */
  next(entriesMax: number = BATCH_ENTRIES): Batch | undefined {
    while (!this.#ended) {
      const most = Math.min(entriesMax, BATCH_ENTRIES);
      const found = this.#look(most);
      this.#goOn(found);
      if (found.bytes !== undefined) {
        const batch = this.#parse(found.bytes, most);
        if (batch.count > 0) return batch;
      }
    }
    return undefined;
  }

  #goOn({ id, last, bound, done }: Found): void {
    const place = !done && last !== undefined ? last : bound;
    if (place === undefined) {
      this.#ended = true;
      return;
    }
    const from = this.#bounds;
    this.#bounds = this.#reverse
      ? { ...from, high: place, highInclusive: false }
      : { ...from, low: place, lowExclusive: place === last };
    if (!this.#isBeyond(from)) throw nodeCorrupt(id, this.#tree);
    this.#ended = isEmpty(this.#bounds);
  }

  /** Whether the scan has moved: keys out of order, or bounds on the wrong side, would keep it for ever. */
  #isBeyond({ low, lowExclusive, high, highInclusive }: Bounds): boolean {
    const now = this.#bounds;
    const [before, after] = this.#reverse ? [now.high, high] : [low, now.low];
    if (before === undefined || after === undefined) return true;
    const order = Buffer.compare(before, after);
    const isNewlyExclusive = this.#reverse ? highInclusive : !lowExclusive && now.lowExclusive;
    return order < 0 || (order === 0 && isNewlyExclusive);
  }

  get #way(): Way {
    if (!this.#reverse) return 'at';
    if (this.#bounds.high === undefined) return 'last';
    return this.#bounds.highInclusive ? 'at' : 'below';
  }

  #look(entriesMax: number): Found {
    const { descent, core } = this.#store;
    const way = this.#way;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      this.#setKey();
      const frame = descent.tryTo(this.#tree, 0, way);
      if (frame < 0) break;
      const { version, id } = descent;
      const found = this.#collect(frame, id, entriesMax);
      if (core.control.validate(frame, version) !== 0) {
        if (found === undefined) throw nodeCorrupt(id, this.#tree);
        return found;
      }
      core.noteRestart();
    }
    this.#setKey();
    const look = (frame: number, id: BlobId): Found => {
      const found = this.#collect(frame, id, entriesMax);
      if (found === undefined) throw nodeCorrupt(id, this.#tree);
      return found;
    };
    return descent.with(this.#tree, 0, look, way);
  }

  #setKey(): void {
    const { low, high } = this.#bounds;
    this.#store.nodes.setKey((this.#reverse ? high : low) ?? EMPTY_KEY);
  }

  /** Copies what the node has of the range; undefined: corrupt. */
  #collect(frame: number, id: BlobId, entriesMax: number): Found | undefined {
    const { nodes } = this.#store;
    const range = this.#slots(frame);
    if (range === undefined) return undefined;
    const { from, end } = range;
    const step = this.#reverse ? -1 : 1;
    const available = (end - from) * step;
    const bound = this.#reverse ? nodes.lowOf(frame) : nodes.highOf(frame);
    const ends = range.ends;
    if (available <= 0)
      return { id, bytes: undefined, last: undefined, bound: ends ? undefined : bound, done: true };
    const until = from + Math.min(available, entriesMax) * step;
    const view = nodes.collect(frame, from, until, step, this.#what);
    if (view === undefined) return undefined;
    const bytes = Buffer.allocUnsafeSlow(view.length);
    bytes.set(view);
    const done = nodes.next === end;
    const last = done ? undefined : nodes.keyOf(frame, nodes.next - step);
    if (!done && last === undefined) return undefined;
    return { id, bytes, last, bound: ends ? undefined : bound, done };
  }

  /** Slots of the node that lie in the range, in the direction of the scan; whether it ends here. */
  #slots(
    frame: number,
  ): { readonly from: number; readonly end: number; readonly ends: boolean } | undefined {
    const { nodes } = this.#store;
    const { low, lowExclusive, high, highInclusive } = this.#bounds;
    const count = nodes.countOf(frame);
    let first = 0;
    let after = count;
    let lowHere = false;
    let highHere = false;
    if (low !== undefined) {
      nodes.setKey(low);
      const at = nodes.find(frame);
      if (at < 0) return undefined;
      first = (at >> 1) + (lowExclusive ? at & 1 : 0);
      lowHere = nodes.covers(frame) >= 0;
    }
    if (high !== undefined) {
      nodes.setKey(high);
      const at = nodes.find(frame);
      if (at < 0) return undefined;
      after = (at >> 1) + (highInclusive ? at & 1 : 0);
      highHere = nodes.covers(frame) === 1 || nodes.covers(frame) === -1;
    }
    if (this.#reverse) return { from: after - 1, end: first - 1, ends: lowHere };
    return { from: first, end: after, ends: highHere };
  }

  #parse(bytes: Buffer, entriesMax: number): Batch {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const places = new Uint32Array(entriesMax * 3);
    let count = 0;
    let parts: Buffer[] | undefined;
    let resolved = bytes;
    for (let at = 0; at < bytes.length; ) {
      const keyBytes = view.getUint32(at, true);
      const word = view.getUint32(at + 4, true);
      const keyAt = at + 8;
      const valueAt = keyAt + keyBytes;
      const values = (this.#what & COLLECT_VALUES) !== 0;
      let end = values ? valueAt + (isOverflow(word) ? REFERENCE_BYTES : word) : valueAt;
      at = end;
      const place = count * 3;
      places[place] = keyAt;
      places[place + 1] = valueAt;
      if (values && isOverflow(word)) {
        const value = this.#overflowValue(bytes, keyAt, valueAt);
        if (value === undefined) continue; // deleted since
        parts ??= [bytes];
        const from = parts.reduce((sum, { length }) => sum + length, 0);
        parts.push(value);
        places[place + 1] = from;
        end = from + value.length;
      }
      places[place + 2] = end;
      count++;
    }
    if (parts !== undefined) resolved = Buffer.concat(parts);
    return { bytes: resolved, count, places };
  }

  #overflowValue(bytes: Buffer, keyAt: number, valueAt: number): Buffer | undefined {
    const { core } = this.#store;
    const reference = readReference(bytes, valueAt);
    try {
      return this.#store.overflow(this.#tree, reference);
    } catch (error) {
      const { code } = error as WeirpoolError;
      if (code !== 'BLOB_NOT_FOUND' && code !== 'BLOB_GONE' && code !== 'NODE_CORRUPT') throw error;
      core.noteRestart();
    }
    // The entry was changed since the batch was read: what is there now counts.
    return this.#store.get(this.#tree, bytes.subarray(keyAt, valueAt));
  }
}

/** Whether no key can lie between the bounds. */
export function isEmpty({ low, lowExclusive, high, highInclusive }: Bounds): boolean {
  if (low === undefined || high === undefined) return false;
  const order = Buffer.compare(low, high);
  return order > 0 || (order === 0 && (lowExclusive || !highInclusive));
}

/** The first key above all that begin with `prefix`; undefined if there is none. */
export function prefixEnd(prefix: Uint8Array): Buffer | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const end = Buffer.from(prefix.subarray(0, length));
  end[length - 1] = (end[length - 1] as number) + 1;
  return end;
}
