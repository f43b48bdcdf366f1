/**
 * Which leaves of which trees a damaged store still has, found without inner nodes.
 *
 * Owns:        bounds of each leaf that can be read, and what stands in the way of the others.
 * Invariants:  each leaf knows its tree and its bounds, so the leaves of a tree that can be read and
 *              the ranges between them are all of its keys; what inner nodes still say only tells
 *              which blob is missing in such a range;
 *              memory is bounded by the number of blobs.
 * Threads:     private to the caller.
 */
import { Buffer } from 'node:buffer';
import type { VerifyCode } from '../recovery/finding.ts';
import type { Pace } from '../recovery/pace.ts';
import type { BlobId } from '../store/contract.ts';
import { readCatalogEntry } from './catalog.ts';
import { childOf, NodeImage } from './node-image.ts';
import { isOverflow, partOf } from './overflow.ts';
import type { SalvagePhase } from './salvage.ts';
import type { SalvageSource } from './salvage-source.ts';
import { TREE_OWNER } from './store.ts';
import { checkNode, referenceOf } from './verify-node.ts';

/** Keys from `from` up to `to`, exclusive; undefined: to the end. */
export interface KeyRange {
  readonly from: Buffer;
  readonly to: Buffer | undefined;
}

/** Keys that may be missing, and why. */
export interface LostKeys extends KeyRange {
  readonly code: VerifyCode;
  /** Blob that could not be read, where it is known. */
  readonly id: BlobId | undefined;
}

export interface LeafPlace extends KeyRange {
  readonly id: BlobId;
  readonly entries: number;
  /** What is wrong with it although it can be read. */
  readonly fault: VerifyCode | undefined;
}

/** Faults after which the bounds, or where entries lie, are not known: such a node is not used. */
const UNUSABLE: ReadonlySet<VerifyCode> = new Set(['NODE_COUNT', 'NODE_BOUND', 'NODE_EMPTY']);
/** Faults with which no entry is lost. */
const HARMLESS: ReadonlySet<VerifyCode> = new Set([
  'NODE_HEAP',
  'NODE_HEAD',
  'NODE_HINT',
  'NODE_TEMPLATE',
]);

const BEGINNING = Buffer.alloc(0);

/** Order of two ends; undefined is the end of all keys. */
export function compareEnds(a: Buffer | undefined, b: Buffer | undefined): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  return Buffer.compare(a, b);
}

export class SalvageIndex {
  readonly catalog: BlobId | undefined;
  /** By the ids of their roots; the catalog's too. */
  readonly leaves: Map<BlobId, LeafPlace[]> = new Map();
  /** Blobs that cannot be used, and why. */
  readonly bad: Map<BlobId, VerifyCode> = new Map();
  /** Longest value that lies in blobs of its own, in bytes. */
  valueBytesMax = 0;
  /** Inner nodes right above leaves, by tree. */
  readonly #above = new Map<BlobId, BlobId[]>();
  readonly #source: SalvageSource;

  constructor(source: SalvageSource) {
    this.#source = source;
    this.catalog = source.state.roots.get(TREE_OWNER);
  }

  /** Looks at every blob once. */
  async read(pace: Pace<SalvagePhase>): Promise<void> {
    const { blobs, blobBytes } = this.#source;
    pace.begin('blobs', blobs.length);
    for (const [index, { id }] of blobs.entries()) {
      const bytes = this.#source.read(id);
      if (typeof bytes === 'string') this.bad.set(id, bytes);
      else this.#add(id, bytes);
      await pace.step(index + 1, blobBytes);
    }
    pace.end(blobs.length);
    for (const places of this.leaves.values())
      places.sort((a, b) => Buffer.compare(a.from, b.from));
  }

  #add(id: BlobId, bytes: Uint8Array): void {
    const part = partOf(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length);
    const image = NodeImage.of(bytes);
    if (image === undefined || (part !== undefined && part.bytes > 0)) return;
    const faults = checkNode(image).map(({ code }) => code);
    const { tree, level, low, high, count = 0 } = image;
    const unusable = faults.find((code) => UNUSABLE.has(code));
    if (unusable !== undefined || Number.isNaN(tree) || low === null || high === null) {
      this.bad.set(id, unusable ?? 'NODE_TREE');
      return;
    }
    if (level > 0) {
      if (level === 1) push(this.#above, tree, id);
      return;
    }
    const fault = faults.find((code) => !HARMLESS.has(code));
    const range = {
      from: low === undefined ? BEGINNING : Buffer.from(low.key),
      to: high && Buffer.from(high.key),
    };
    push(this.leaves, tree, { id, ...range, entries: count, fault });
    this.#measure(image, count);
  }

  #measure(image: NodeImage, count: number): void {
    for (let slot = 0; slot < count; slot++) {
      const entry = image.entryAt(slot);
      if (entry === undefined || !isOverflow(entry.word)) continue;
      const bytes = referenceOf(entry, image.bytes.length)?.bytes ?? 0;
      this.valueBytesMax = Math.max(this.valueBytesMax, bytes);
    }
  }

  // --- what is missing -----------------------------------------------------------------------------------

  /** The ranges of a tree's keys that no leaf covers, with what is known of the reason. */
  gapsOf(tree: BlobId): LostKeys[] {
    const gaps: KeyRange[] = [];
    let at: Buffer | undefined = BEGINNING;
    for (const { from, to } of this.leaves.get(tree) ?? []) {
      if (at === undefined) break;
      if (Buffer.compare(from, at) > 0) gaps.push({ from: at, to: from });
      if (compareEnds(to, at) > 0) at = to;
    }
    if (at !== undefined) gaps.push({ from: at, to: undefined });
    if (gaps.length === 0) return [];
    const reasons = this.#reasonsOf(tree);
    return gaps.flatMap((gap) => this.#explain(tree, gap, reasons));
  }

  /** What inner nodes say about children that cannot be used, in the order of their keys. */
  #reasonsOf(tree: BlobId): LostKeys[] {
    const reasons: LostKeys[] = [];
    for (const id of this.#above.get(tree) ?? []) {
      const bytes = this.#source.read(id);
      const image = typeof bytes === 'string' ? undefined : NodeImage.of(bytes);
      if (image !== undefined) this.#addReasons(image, reasons);
    }
    return reasons.sort((a, b) => Buffer.compare(a.from, b.from));
  }

  #addReasons(image: NodeImage, reasons: LostKeys[]): void {
    const { low, high, count = 0 } = image;
    for (let slot = 0; slot < count; slot++) {
      const entry = image.entryAt(slot);
      const id = entry && childOf(entry);
      if (entry === undefined || id === undefined) continue;
      const code = this.#source.state.blobs.has(id) ? this.bad.get(id) : 'CHILD_MISSING';
      if (code === undefined) continue;
      const next = slot + 1 < count ? image.entryAt(slot + 1)?.key : high?.key;
      const from = slot === 0 ? (low?.key ?? BEGINNING) : entry.key;
      reasons.push({ from: Buffer.from(from), to: next && Buffer.from(next), code, id });
    }
  }

  /** Cuts a gap up by what is known of its parts. */
  #explain(tree: BlobId, gap: KeyRange, reasons: readonly LostKeys[]): LostKeys[] {
    const parts: LostKeys[] = [];
    let at: Buffer | undefined = gap.from;
    for (const { from, to, code, id } of reasons) {
      if (at === undefined || compareEnds(at, gap.to) >= 0) break;
      if (compareEnds(from, gap.to) >= 0) break;
      if (compareEnds(to, at) <= 0) continue;
      if (Buffer.compare(from, at) > 0) parts.push(this.#unknown(tree, { from: at, to: from }));
      const begin: Buffer = Buffer.compare(from, at) > 0 ? from : at;
      const end: Buffer | undefined = compareEnds(to, gap.to) < 0 ? to : gap.to;
      parts.push({ from: begin, to: end, code, id });
      at = end;
    }
    if (at !== undefined && compareEnds(at, gap.to) < 0) {
      parts.push(this.#unknown(tree, { from: at, to: gap.to }));
    }
    return parts;
  }

  /** No inner node says which blob was there: it may be any of those that cannot be read. */
  #unknown(tree: BlobId, range: KeyRange): LostKeys {
    const root = this.leaves.has(tree) ? undefined : this.bad.get(tree);
    if (root !== undefined) return { ...range, code: root, id: tree };
    const [only, ...others] = this.bad;
    if (only === undefined) return { ...range, code: 'CHILD_MISSING', id: undefined };
    return { ...range, code: only[1], id: others.length === 0 ? only[0] : undefined };
  }

  // --- names ---------------------------------------------------------------------------------------------

  /** Trees that the catalog names, and whether all of it could be read. */
  readCatalog(): { readonly trees: CatalogTree[]; readonly lost: readonly LostKeys[] } {
    const { catalog } = this;
    if (catalog === undefined) return { trees: [], lost: [] };
    const trees: CatalogTree[] = [];
    const lost = this.gapsOf(catalog);
    for (const { id } of this.leaves.get(catalog) ?? []) {
      const bytes = this.#source.read(id);
      const image = typeof bytes === 'string' ? undefined : NodeImage.of(bytes);
      for (let slot = 0; slot < (image?.count ?? 0); slot++) {
        const entry = image?.entryAt(slot);
        const named = entry && readCatalogEntry(entry.value);
        if (entry === undefined || named === undefined) {
          lost.push({ from: BEGINNING, to: undefined, code: 'CATALOG_INVALID', id });
        } else {
          trees.push({ name: Buffer.from(entry.key), ...named });
        }
      }
    }
    return { trees, lost };
  }
}

export interface CatalogTree {
  readonly name: Buffer;
  readonly root: BlobId;
  readonly dropping: boolean;
}

function push<T>(map: Map<BlobId, T[]>, key: BlobId, item: T): void {
  const there = map.get(key);
  if (there === undefined) map.set(key, [item]);
  else there.push(item);
}
