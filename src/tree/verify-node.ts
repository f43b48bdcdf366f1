/**
 * What must hold within one node, and whether it does.
 *
 * Owns:        the rules that a node keeps by itself; verify-trees.ts has those between nodes.
 * Invariants:  at most one fault of each code for a node, so that crafted bytes give few;
 *              work is bounded by the node's size, and nothing is thrown.
 * Threads:     private to the caller.
 */
import { Buffer } from 'node:buffer';
import {
  HINTS,
  N_HINT_COUNT,
  N_HINTS,
  N_MASK,
  N_POSITION_COUNT,
  N_POSITIONS,
  N_SLOT_BYTES,
  N_TEMPLATE,
  POSITIONS_MAX,
  TEMPLATE_BYTES,
} from '../generated/layout.ts';
import type { FindingCode } from '../recovery/finding.ts';
import { inlineBytesMax } from './change.ts';
import { keyBytesMax } from './node-access.ts';
import { childOf, type Extent, type NodeEntry, type NodeImage } from './node-image.ts';
import { isOverflow, REFERENCE_WORD, type Reference, readReference } from './overflow.ts';

export interface NodeFault {
  readonly code: FindingCode;
  /** A sentence without its end. */
  readonly text: string;
}

const ID_END = 2 ** 53;
const NO_BOUNDS = { low: undefined, high: undefined };

class NodeCheck {
  readonly faults: NodeFault[] = [];
  readonly #image: NodeImage;
  readonly #codes = new Set<FindingCode>();

  constructor(image: NodeImage) {
    this.#image = image;
  }

  #report(code: FindingCode, text: string): void {
    if (this.#codes.has(code)) return;
    this.#codes.add(code);
    this.faults.push({ code, text });
  }

  run(): void {
    const { count, heap, level, bytes } = this.#image;
    if (count === undefined) {
      const text = `its slots reach beyond its lowest entry at ${heap} of ${bytes.length} bytes`;
      this.#report('NODE_COUNT', text);
      return;
    }
    if (count === 0 && level > 0) this.#report('NODE_EMPTY', 'it is an inner node without a child');
    const extents = this.#checkBounds();
    const entries = this.#entries(count);
    for (const [slot, entry] of entries.entries()) {
      if (entry === undefined) continue;
      extents.push(entry.extent);
      this.#checkEntry(slot, entry);
    }
    this.#checkOrder(entries);
    if (this.#codes.has('NODE_ENTRY') || this.#codes.has('NODE_BOUND')) return;
    this.#checkHeap(extents);
    if (count === 0) return;
    this.#checkHeads(entries as readonly NodeEntry[]);
    this.#checkHints(count);
  }

  #checkBounds(): Extent[] {
    const { low, high } = this.#image;
    for (const [name, bound] of Object.entries({ lower: low, upper: high })) {
      if (bound === null) this.#report('NODE_BOUND', `its ${name} bound lies outside of it`);
    }
    if (low && high && Buffer.compare(low.key, high.key) >= 0) {
      this.#report('NODE_BOUND', 'its lower bound is not below its upper one');
    }
    return [low, high].flatMap((bound) => (bound ? [bound.extent] : []));
  }

  #entries(count: number): (NodeEntry | undefined)[] {
    return Array.from({ length: count }, (_, slot) => {
      const entry = this.#image.entryAt(slot);
      if (entry === undefined) this.#report('NODE_ENTRY', `slot ${slot} names no entry in it`);
      return entry;
    });
  }

  #checkEntry(slot: number, entry: NodeEntry): void {
    const { key, word, value } = entry;
    const { level, bytes } = this.#image;
    const keyMax = keyBytesMax(bytes.length);
    if (key.length > keyMax) {
      this.#report('NODE_LENGTH', `slot ${slot} has a key of ${key.length} bytes above ${keyMax}`);
    }
    if (level > 0) {
      if (childOf(entry) !== undefined) return;
      this.#report('NODE_VALUE', `slot ${slot} of the inner node names no child`);
      return;
    }
    if (isOverflow(word)) {
      if (referenceOf(entry, bytes.length) !== undefined) return;
      this.#report('NODE_VALUE', `slot ${slot} names no value in blobs of its own`);
    } else if (key.length + value.length > inlineMaxOf(bytes.length)) {
      const text = `slot ${slot} has a value of ${value.length} bytes, which belongs elsewhere`;
      this.#report('NODE_LENGTH', text);
    }
  }

  #checkOrder(entries: readonly (NodeEntry | undefined)[]): void {
    const { level } = this.#image;
    const known = !this.#codes.has('NODE_BOUND');
    const { low, high } = known ? this.#image : NO_BOUNDS;
    let before: Uint8Array | undefined;
    for (const [slot, entry] of entries.entries()) {
      if (entry === undefined) continue;
      const { key } = entry;
      if (before !== undefined && Buffer.compare(before, key) >= 0) {
        this.#report('NODE_ORDER', `the key of slot ${slot} is not above the one before`);
      }
      before = key;
      const below = low && Buffer.compare(key, low.key) < 0;
      const above = high && Buffer.compare(key, high.key) >= 0;
      if (below || above) {
        this.#report('NODE_RANGE', `the key of slot ${slot} lies outside of its bounds`);
      }
    }
    const first = entries[0];
    if (level === 0 || first === undefined || !known) return;
    if (Buffer.compare(first.key, low?.key ?? Buffer.alloc(0)) !== 0) {
      this.#report('NODE_RANGE', 'its first separator is not its lower bound');
    }
  }

  /** Entries and bounds lie apart, and with the garbage they are all that there is. */
  #checkHeap(extents: Extent[]): void {
    const { heap, garbage, bytes } = this.#image;
    extents.sort((a, b) => a.offset - b.offset);
    let end = heap;
    let live = 0;
    for (const extent of extents) {
      if (extent.offset < end && extent.bytes > 0) {
        this.#report(
          'NODE_OVERLAP',
          `what lies at byte ${extent.offset} reaches into another entry`,
        );
        return;
      }
      end = Math.max(end, extent.offset + extent.bytes);
      live += extent.bytes;
    }
    if (live + garbage === bytes.length - heap) return;
    const text =
      `${bytes.length - heap} bytes are taken, of which ${live} are in use and ${garbage} are ` +
      'said to be garbage';
    this.#report('NODE_HEAP', text);
  }

  /** Positions, template and mask as `coverTemplate` makes them, heads as `headOf`: see node.ts. */
  #checkHeads(entries: readonly NodeEntry[]): void {
    const positions = this.#positions();
    if (positions === undefined) {
      this.#report('NODE_TEMPLATE', 'the positions of its heads do not ascend');
      return;
    }
    const { bytes } = this.#image;
    const template = bytes.subarray(N_TEMPLATE, N_TEMPLATE + TEMPLATE_BYTES);
    const end =
      positions.length < POSITIONS_MAX
        ? TEMPLATE_BYTES
        : (positions[POSITIONS_MAX - 1] as number) + 1;
    const fixed = Array.from({ length: end }, (_, at) => at).filter(
      (at) => !positions.includes(at),
    );
    const mask = new Uint8Array(TEMPLATE_BYTES);
    for (const at of fixed) mask[at] = 0xff;
    if (Buffer.compare(mask, bytes.subarray(N_MASK, N_MASK + TEMPLATE_BYTES)) !== 0) {
      this.#report('NODE_TEMPLATE', 'its mask does not follow from the positions of its heads');
    }
    for (const [slot, { key }] of entries.entries()) {
      if (fixed.some((at) => (key[at] ?? 0) !== template[at])) {
        this.#report('NODE_TEMPLATE', `the key of slot ${slot} leaves the template`);
      }
      if (headOf(key, positions) !== this.#image.headAt(slot)) {
        this.#report('NODE_HEAD', `the head of slot ${slot} is not that of its key`);
      }
    }
  }

  /** Before a hint's slot no head is above the hint's, from there on none is below it; see node-hints.ts. */
  #checkHints(count: number): void {
    const { view } = this.#image;
    const hints = view.getUint8(N_HINT_COUNT);
    if (hints === 0) return;
    if (hints !== HINTS) this.#report('NODE_HINT', `it says that ${hints} hints are in use`);
    let before = 0n;
    for (let hint = 0; hint < HINTS; hint++) {
      const at = N_HINTS + hint * N_SLOT_BYTES;
      const head = view.getBigUint64(at, true);
      const slot = view.getUint32(at + 8, true);
      const fits =
        head >= before &&
        slot <= count &&
        (slot === 0 || this.#image.headAt(slot - 1) <= head) &&
        (slot === count || this.#image.headAt(slot) >= head);
      if (!fits) this.#report('NODE_HINT', `hint ${hint} leads to slot ${slot}, which is wrong`);
      before = head;
    }
  }

  /** Undefined unless they ascend. */
  #positions(): number[] | undefined {
    const { view } = this.#image;
    const count = view.getUint16(N_POSITION_COUNT, true);
    if (count > POSITIONS_MAX) return undefined;
    const positions = Array.from({ length: count }, (_, index) =>
      view.getUint16(N_POSITIONS + index * 2, true),
    );
    const ascend = positions.every((at, index) => at > (positions[index - 1] ?? -1));
    return ascend && (positions.at(-1) ?? 0) < TEMPLATE_BYTES ? positions : undefined;
  }
}

function inlineMaxOf(blobBytes: number): number {
  return inlineBytesMax({ blobBytes, keyBytesMax: keyBytesMax(blobBytes) });
}

/** The long value that an entry of a leaf names; undefined if it names none. */
export function referenceOf(
  { key, word, value }: NodeEntry,
  blobBytes: number,
): Reference | undefined {
  if (word !== REFERENCE_WORD) return undefined;
  const reference = readReference(value, 0);
  const { first, bytes } = reference;
  const isLong = key.length + bytes > inlineMaxOf(blobBytes);
  return first > 0 && first < ID_END && isLong ? reference : undefined;
}

function headOf(key: Uint8Array, positions: readonly number[]): bigint {
  let high = 0;
  let low = 0;
  for (const [index, at] of positions.entries()) {
    const byte = key[at] ?? 0;
    if (index < 4) high += byte * 2 ** (24 - index * 8);
    else low += byte * 2 ** (56 - index * 8);
  }
  return BigInt(high) * 2n ** 32n + BigInt(low);
}

/** What is wrong with a node taken by itself: one fault of each code at most. */
export function checkNode(image: NodeImage): readonly NodeFault[] {
  const check = new NodeCheck(image);
  check.run();
  return check.faults;
}
