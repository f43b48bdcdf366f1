/**
 * What must hold between the nodes of a store's trees, and whether it does.
 *
 * Owns:        what is known of each blob after it was seen once: a few numbers and two bounds.
 * Invariants:  each blob is looked at by itself when it comes by; then the trees are walked from the
 *              catalog down, where inner nodes, the catalog and nodes with long values are read
 *              once more. A blob is reached once, so cycles end, and memory and work are bounded by
 *              the number of blobs; a node gives at most one finding of each code.
 * Threads:     private to the caller.
 *
 * What hangs below a damaged place cannot be told from what nothing names: blobs that were not
 * reached are reported only where every reference could be followed.
 *
 * Blobs do not say whose they are. A store has trees if owner TREE_OWNER has a root that is a node,
 * or if some other blob is one: owners of other indexes may have that number in stores without trees.
 * Where other owners have roots, their blobs are not reached from here, and only what says itself
 * that it is part of a tree is.
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import type { FindingCode, VerifyFinding } from '../recovery/finding.ts';
import type {
  CommittedStore,
  ContentCheck,
  ContentReport,
  TreeSummary,
} from '../recovery/verify.ts';
import { type BlobId, BULK_OWNER } from '../store/contract.ts';
import { readCatalogEntry } from './catalog.ts';
import { type Bound, childOf, NodeImage } from './node-image.ts';
import { isOverflow, type Part, partBytesMax, partOf, type Reference } from './overflow.ts';
import { TREE_OWNER } from './store.ts';
import { checkNode, referenceOf } from './verify-node.ts';

/** Longest bound that is kept as it is. */
const DIGEST_FROM = 48;

/** A key, short enough to keep one for each node: itself, or its digest. */
function digestOf(key: Uint8Array): string {
  const bytes = Buffer.from(key);
  if (bytes.length < DIGEST_FROM) return `=${bytes.toString('latin1')}`;
  return `#${createHash('sha256').update(bytes).digest('base64')}`;
}

/** Undefined: none. Null: unknown, and nothing is compared. */
type Digest = string | undefined | null;

function digestOfBound(bound: Bound): Digest {
  return bound && digestOf(bound.key);
}

function boundsOf({ low, high }: NodeImage): { readonly low: Digest; readonly high: Digest } {
  return { low: digestOfBound(low), high: digestOfBound(high) };
}

interface NodeFacts {
  readonly tree: BlobId;
  readonly level: number;
  readonly low: Digest;
  readonly high: Digest;
  readonly entries: number;
  /** Whether it names other blobs. */
  readonly names: boolean;
}

/** What a reference says about the blob that it names. */
interface Expected {
  readonly tree: BlobId;
  /** Undefined for a root. */
  readonly level: number | undefined;
  readonly low: Digest;
  readonly high: Digest;
}

interface Totals {
  entries: number;
  nodes: number;
  overflowBlobs: number;
}

class TreesCheck implements ContentCheck {
  readonly #store: CommittedStore;
  readonly #catalog: BlobId | undefined;
  readonly #findings: VerifyFinding[] = [];
  /** Codes that the blob under way has given already. */
  readonly #given = new Map<BlobId, Set<FindingCode>>();
  readonly #nodes = new Map<BlobId, NodeFacts>();
  readonly #parts = new Map<BlobId, Part>();
  readonly #unreadable = new Set<BlobId>();
  readonly #reached = new Set<BlobId>();
  /** Nodes that were reached and name others, to be read again. */
  readonly #open: { readonly id: BlobId; readonly tree: BlobId }[] = [];
  readonly #names = new Map<BlobId, string>();
  readonly #totals = new Map<BlobId, Totals>();
  /** Whether every reference could be followed. */
  #whole = true;

  constructor(store: CommittedStore) {
    this.#store = store;
    this.#catalog = store.state.roots.get(TREE_OWNER);
  }

  // --- each blob by itself ---------------------------------------------------------------------------

  unreadable(id: BlobId): void {
    this.#unreadable.add(id);
    this.#whole = false;
  }

  blob(id: BlobId, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const part = partOf(view, bytes.length);
    if (part !== undefined && part.bytes > 0) {
      this.#parts.set(id, part);
      return;
    }
    const image = NodeImage.of(bytes);
    if (image === undefined) return;
    const { tree, level, count } = image;
    const faults = checkNode(image);
    for (const { code, text } of faults) this.#report(code, id, tree, text);
    const names = level > 0 || tree === this.#catalog || hasOverflow(image);
    const known = !faults.some(({ code }) => code === 'NODE_BOUND');
    const bounds = known ? boundsOf(image) : { low: null, high: null };
    this.#nodes.set(id, { tree, level, ...bounds, entries: count ?? 0, names });
  }

  #report(code: FindingCode, id: BlobId, tree: BlobId, text: string): void {
    const given = this.#given.get(id);
    if (given?.has(code)) return;
    if (given === undefined) this.#given.set(id, new Set([code]));
    else given.add(code);
    if (!HARMLESS.has(code)) this.#whole = false;
    const { path, state } = this.#store;
    const slot = state.blobs.get(id)?.slot;
    const place = { path, id, ...(slot === undefined ? {} : { slot }) };
    const message = `Blob ${id} in ${path}: ${text}. Save what can be read with \`salvage\`, or restore the store from a backup.`;
    this.#findings.push({ code, ...place, ...(Number.isNaN(tree) ? {} : { tree }), message });
  }

  // --- from the catalog down ---------------------------------------------------------------------------

  async finish(
    read: (id: BlobId) => Uint8Array | undefined,
    step: (done: number) => Promise<void>,
  ): Promise<ContentReport> {
    const catalog = this.#catalog;
    if (catalog === undefined || !this.#hasTrees(catalog)) return { findings: [], trees: [] };
    // A root that the mapping does not have is reported already.
    if (this.#store.state.blobs.has(catalog)) this.#reachRoot(catalog);
    else this.#whole = false;
    for (let node = this.#open.pop(); node !== undefined; node = this.#open.pop()) {
      const bytes = read(node.id);
      const image = bytes && NodeImage.of(bytes);
      if (image === undefined) this.#whole = false;
      else this.#follow(node.id, node.tree, image);
      await step(this.#reached.size);
    }
    if (this.#whole) this.#reportOrphans();
    return { findings: this.#findings, trees: this.#summaries() };
  }

  #hasTrees(catalog: BlobId): boolean {
    if (this.#nodes.has(catalog) || this.#nodes.size > 0) return true;
    return this.#unreadable.has(catalog);
  }

  #totalsOf(tree: BlobId): Totals {
    let totals = this.#totals.get(tree);
    if (totals === undefined) {
      totals = { entries: 0, nodes: 0, overflowBlobs: 0 };
      this.#totals.set(tree, totals);
    }
    return totals;
  }

  #reachRoot(id: BlobId): void {
    this.#reach(id, { tree: id, level: undefined, low: undefined, high: undefined });
  }

  /** A reference leads to a node that is mapped. */
  #reach(id: BlobId, expected: Expected): void {
    const { tree } = expected;
    if (this.#reached.has(id)) {
      this.#report('BLOB_SHARED', id, tree, 'two places name it');
      return;
    }
    this.#reached.add(id);
    if (this.#unreadable.has(id)) return;
    const facts = this.#nodes.get(id);
    if (facts === undefined) {
      this.#report('NODE_KIND', id, tree, `it belongs to tree ${tree}, and is no node`);
      return;
    }
    this.#compare(id, facts, expected);
    const totals = this.#totalsOf(tree);
    totals.nodes++;
    if (facts.level === 0) totals.entries += facts.entries;
    if (facts.names) this.#open.push({ id, tree });
  }

  #compare(id: BlobId, facts: NodeFacts, { tree, level, low, high }: Expected): void {
    if (facts.tree !== tree) {
      this.#report(
        'NODE_TREE',
        id,
        tree,
        `tree ${tree} leads to it, and it says tree ${facts.tree}`,
      );
    }
    if (level !== undefined && facts.level !== level) {
      const text = `it is of level ${facts.level}, below a node of level ${level + 1}`;
      this.#report('NODE_LEVEL', id, tree, text);
    }
    const differ = (a: Digest, b: Digest): boolean => a !== null && b !== null && a !== b;
    if (!differ(facts.low, low) && !differ(facts.high, high)) return;
    const text =
      level === undefined
        ? 'it is a root with bounds'
        : 'its bounds are not those that the node above it says';
    this.#report('NODE_LINK', id, tree, text);
  }

  #follow(id: BlobId, tree: BlobId, image: NodeImage): void {
    const { level, count } = image;
    if (count === undefined) return;
    if (level > 0) this.#followChildren(id, tree, image, count);
    else if (tree === this.#catalog) this.#followCatalog(id, image, count);
    else this.#followValues(id, tree, image, count);
  }

  #followChildren(id: BlobId, tree: BlobId, image: NodeImage, count: number): void {
    const { level } = image;
    const entries = Array.from({ length: count }, (_, slot) => image.entryAt(slot));
    const lows = entries.map((entry, slot): Digest => {
      if (slot === 0) return digestOfBound(image.low);
      return entry === undefined ? null : digestOf(entry.key);
    });
    lows.push(digestOfBound(image.high));
    for (const [slot, entry] of entries.entries()) {
      const child = entry && childOf(entry);
      if (child === undefined) continue; // reported with the node
      if (this.#store.state.blobs.has(child)) {
        const bounds = { low: lows[slot], high: lows[slot + 1] };
        this.#reach(child, { tree, level: level - 1, ...bounds });
      } else {
        this.#report(
          'CHILD_MISSING',
          id,
          tree,
          `slot ${slot} names blob ${child}, which is not there`,
        );
      }
    }
  }

  #followCatalog(id: BlobId, image: NodeImage, count: number): void {
    const tree = this.#catalog as BlobId;
    for (let slot = 0; slot < count; slot++) {
      const entry = image.entryAt(slot);
      if (entry === undefined) continue;
      const named = readCatalogEntry(entry.value);
      const key = Buffer.from(entry.key);
      const name = key.toString('utf8');
      if (
        named === undefined ||
        isOverflow(entry.word) ||
        Buffer.compare(Buffer.from(name), key) !== 0
      ) {
        this.#report(
          'CATALOG_INVALID',
          id,
          tree,
          `the entry in slot ${slot} of the catalog names no tree`,
        );
        continue;
      }
      const { root, dropping } = named;
      if (!this.#store.state.blobs.has(root)) {
        const text = `the tree in slot ${slot} of the catalog has blob ${root} as its root, which is not there`;
        this.#report('TREE_ROOT_MISSING', id, tree, text);
        continue;
      }
      if (!dropping) this.#names.set(root, name);
      this.#reachRoot(root);
    }
  }

  #followValues(id: BlobId, tree: BlobId, image: NodeImage, count: number): void {
    for (let slot = 0; slot < count; slot++) {
      const entry = image.entryAt(slot);
      const reference = entry && referenceOf(entry, image.bytes.length);
      if (reference !== undefined) this.#followValue(id, tree, { slot, ...reference });
    }
  }

  #followValue(
    leaf: BlobId,
    tree: BlobId,
    { slot, first, bytes }: Reference & { readonly slot: number },
  ): void {
    const full = partBytesMax(this.#store.blobBytes);
    const totals = this.#totalsOf(tree);
    let id = first;
    let left = bytes;
    while (left > 0 && id !== 0) {
      if (!this.#store.state.blobs.has(id)) {
        const text = `the value in slot ${slot} goes on in blob ${id}, which is not there`;
        this.#report('OVERFLOW_MISSING', leaf, tree, text);
        return;
      }
      if (this.#reached.has(id)) {
        this.#report('BLOB_SHARED', id, tree, 'two places name it');
        return;
      }
      this.#reached.add(id);
      if (this.#unreadable.has(id)) return;
      const part = this.#parts.get(id);
      if (part === undefined) {
        this.#report(
          'OVERFLOW_KIND',
          id,
          tree,
          `blob ${leaf} names it, and it is no part of a value`,
        );
        return;
      }
      totals.overflowBlobs++;
      if (part.bytes !== Math.min(left, full)) {
        const text = `it has ${part.bytes} of the last ${left} bytes of a value`;
        this.#report('OVERFLOW_LENGTH', id, tree, text);
        return;
      }
      left -= part.bytes;
      id = part.next;
    }
    if (left === 0 && id === 0) return;
    const text = `the value in slot ${slot} has ${bytes} bytes, and its blobs ${left > 0 ? 'have fewer' : 'go on'}`;
    this.#report('OVERFLOW_LENGTH', leaf, tree, text);
  }

  // --- what is left ------------------------------------------------------------------------------------

  #reportOrphans(): void {
    const { blobs, roots } = this.#store.state;
    const owners = [...roots.keys()];
    const alone = owners.every((owner) => owner === TREE_OWNER || owner >= BULK_OWNER);
    const ranges = [...roots].filter(([owner]) => owner >= BULK_OWNER);
    for (const id of blobs.keys()) {
      if (this.#reached.has(id)) continue;
      if (ranges.some(([owner, last]) => owner - BULK_OWNER <= id && id <= last)) continue;
      const facts = this.#nodes.get(id);
      if (!alone && facts === undefined && !this.#parts.has(id)) continue;
      this.#report('BLOB_ORPHAN', id, facts?.tree ?? Number.NaN, 'nothing names it');
    }
  }

  #summaries(): TreeSummary[] {
    const none: Totals = { entries: 0, nodes: 0, overflowBlobs: 0 };
    return [...this.#names]
      .map(([root, name]) => {
        const height = (this.#nodes.get(root)?.level ?? -1) + 1;
        return { name, root, ...(this.#totals.get(root) ?? none), height };
      })
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }
}

/** Codes after which every reference could be followed all the same. */
const HARMLESS: ReadonlySet<FindingCode> = new Set([
  'BLOB_ORPHAN',
  'NODE_HEAD',
  'NODE_HEAP',
  'NODE_HINT',
  'NODE_LENGTH',
  'NODE_ORDER',
  'NODE_RANGE',
  'NODE_TEMPLATE',
]);

function hasOverflow(image: NodeImage): boolean {
  const count = image.count ?? 0;
  for (let slot = 0; slot < count; slot++) {
    if (isOverflow(image.entryAt(slot)?.word ?? 0)) return true;
  }
  return false;
}

/** For `verifyStore`. */
export function checkTrees(store: CommittedStore): ContentCheck {
  return new TreesCheck(store);
}
