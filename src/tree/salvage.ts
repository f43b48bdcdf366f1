/**
 * Saving what can still be read of a damaged store into a new one.
 *
 * Owns:        the order: index, leaves, log; the new store until it is closed.
 * Invariants:  the damaged store is only read;
 *              what is put into the new store was read with a valid checksum, under its own key;
 *              every key that was committed and is not there, or is there with an older value, lies in
 *              a range that the report names as lost.
 * Threads:     the caller's, which it keeps busy; other work of the thread has its turns.
 *
 * Leaves are found by a sweep through all blobs, not from the root: each knows its tree and its
 * bounds, so no inner node is needed. The ranges that no leaf covers are what is lost. On top of that
 * the log's records are done again as plain changes, as far as the log can be read.
 */
import { Buffer } from 'node:buffer';
import { resolve, sep } from 'node:path';
import { type FileSystem, nodeFileSystem } from '../fs/file-system.ts';
import type { WasmModule } from '../memory/webassembly.ts';
import { integerBetween } from '../pool/integer-between.ts';
import { modules } from '../pool/modules.ts';
import { assertVacant } from '../recovery/copy-store.ts';
import { findingOf, type VerifyCode, type VerifyFinding } from '../recovery/finding.ts';
import { Pace, type PaceOptions, type Progress } from '../recovery/pace.ts';
import type { BlobId } from '../store/contract.ts';
import { RING_BYTES_MAX } from '../wal/format.ts';
import { keyBytesMax } from './node-access.ts';
import { type NodeEntry, NodeImage } from './node-image.ts';
import { isOverflow, overflowBlobs, partBytes, partBytesMax, partOf } from './overflow.ts';
import { compareEnds, type LeafPlace, type LostKeys, SalvageIndex } from './salvage-index.ts';
import { SalvageSource } from './salvage-source.ts';
import { SalvageTarget } from './salvage-target.ts';
import type { Tree } from './tree.ts';
import { assertNotOpen } from './verify.ts';
import { referenceOf } from './verify-node.ts';
import { Weirpool, type WeirpoolOptions } from './weirpool.ts';

/** Counted are blobs, entries of leaves, records of the log. */
export type SalvagePhase = 'blobs' | 'entries' | 'log';
export type SalvageProgress = Progress<SalvagePhase>;

export interface SalvageOptions extends PaceOptions<SalvagePhase> {
  /** Frames of the new store while it is filled. Default 256; more if its largest value takes them. */
  readonly frames?: number;
}

export interface SalvagedTree {
  /** In the new store: its own, or `recovered-<root>` if that is lost. */
  readonly name: string;
  /** Id that its root had. */
  readonly root: BlobId;
  /** In the new store. */
  readonly entries: number;
}

/** Keys that may be missing in the new store, or there with an older value. */
export interface LostRange {
  /**
   * Name of the tree in the new store. Undefined: names of trees are lost, those from `from` up to `to`;
   * what could be read of such trees has other names, and some may be missing as a whole.
   */
  readonly tree: string | undefined;
  /** Undefined: from the first key on. */
  readonly from: Buffer | undefined;
  /** Exclusive; undefined: to the last key. */
  readonly to: Buffer | undefined;
  /** As `verify` gives it. */
  readonly code: VerifyCode;
  /** Blob that could not be read, where it is known. */
  readonly id: BlobId | undefined;
}

export interface SalvageReport {
  /** In the order of their names. */
  readonly trees: readonly SalvagedTree[];
  /** Nothing: all that was committed is there. */
  readonly lost: readonly LostRange[];
  /** What was found on the way beside lost keys: damage of the manifest, the log, names, inner nodes. */
  readonly findings: readonly VerifyFinding[];
  /** Records of the log that were done again. */
  readonly logRecords: number;
  /** Records of other owners, which know themselves what they mean: not done again. */
  readonly otherRecords: number;
}

/** Where to and with what; for tests. */
export interface SalvageParts {
  readonly kernels: WasmModule;
  readonly fileSystem?: FileSystem;
  readonly target?: WeirpoolOptions;
}

const FRAMES_DEFAULT = 256;
const FRAMES_MAX = 65_536;
const RING_BYTES_MIN = 256 * 1024;
/** What a record has beside its longest value, generously. */
const RECORD_OVERHEAD_BYTES = 16 * 1024;
const NODES_OF_PUT = 16;
/** Longest value that any store can hold. */
const VALUE_BYTES_LIMIT = RING_BYTES_MAX / 2;

class Salvage {
  readonly #source: SalvageSource;
  readonly #index: SalvageIndex;
  readonly #pace: Pace<SalvagePhase>;
  /** By the root of the tree; undefined: names of trees. */
  readonly #lost: { readonly root: BlobId | undefined; readonly keys: LostKeys }[] = [];
  /** First blobs of long values that were taken: each belongs to one entry. */
  readonly #taken = new Set<BlobId>();
  #entries = 0;

  constructor(source: SalvageSource, options: PaceOptions<SalvagePhase>) {
    this.#source = source;
    this.#index = new SalvageIndex(source);
    this.#pace = new Pace(options);
  }

  async run(to: string, frames: number, target: WeirpoolOptions): Promise<SalvageReport> {
    await this.#index.read(this.#pace);
    const db = await Weirpool.open(to, { ...this.#optionsOf(frames), ...target });
    try {
      const report = await this.#fill(db);
      await db.close();
      return report;
    } catch (error) {
      await db.close().catch(() => undefined);
      throw error;
    }
  }

  /** A store that takes the longest value and the largest record of the old one. */
  #optionsOf(frames: number): WeirpoolOptions {
    const { blobBytes } = this.#source;
    const longest = Math.min(this.#index.valueBytesMax, VALUE_BYTES_LIMIT);
    const payload = Math.max(longest, this.#payloadMax()) + RECORD_OVERHEAD_BYTES;
    const wanted = 2 ** Math.ceil(Math.log2(2 * payload));
    const ringBytes = Math.min(Math.max(wanted, RING_BYTES_MIN), RING_BYTES_MAX);
    const needed = 2 * (overflowBlobs(ringBytes / 2, blobBytes) + NODES_OF_PUT);
    const blobsMax = Math.max(2 ** 16, 4 * this.#source.state.blobs.size);
    return { blobBytes, frames: Math.max(frames, needed), blobsMax, log: { ringBytes } };
  }

  #payloadMax(): number {
    const { findings } = this.#source;
    const before = findings.length;
    let longest = 0;
    for (const { payload } of this.#source.records()) longest = Math.max(longest, payload.length);
    // They are found again when the records are done.
    findings.length = before;
    return longest;
  }

  async #fill(db: Weirpool): Promise<SalvageReport> {
    const target = new SalvageTarget(db, this.#index.catalog);
    const { trees, lost } = this.#index.readCatalog();
    for (const keys of lost) this.#lost.push({ root: undefined, keys });
    for (const { name, root } of target.add(trees)) {
      const keys = { from: name, to: after(name), code: 'BLOB_SHARED', id: root } as const;
      this.#lost.push({ root: undefined, keys });
    }
    const roots = new Set([...this.#index.leaves.keys(), ...target.trees.keys()]);
    const copied = [...roots].filter((root) => target.tree(root) !== undefined);
    this.#pace.begin('entries', this.#entriesOf(copied));
    for (const root of copied) await this.#copyTree(root, target.tree(root) as Tree);
    this.#pace.end(this.#entries);
    const { done, other } = await this.#replay(target);
    for (const root of target.unknown) {
      for (const keys of this.#index.gapsOf(root)) this.#lost.push({ root, keys });
    }
    this.#findOthers();
    return this.#report(target, done, other);
  }

  #entriesOf(roots: readonly BlobId[]): number {
    const leaves = roots.flatMap((root) => this.#index.leaves.get(root) ?? []);
    return leaves.reduce((sum, { entries }) => sum + entries, 0);
  }

  #find(code: VerifyCode, id: BlobId, what: string): void {
    const path = this.#source.directory;
    const message = `Blob ${id} in ${path} could not be used (${code}): ${what}.`;
    this.#source.findings.push({ code, path, id, message });
  }

  /** Blobs that could not be used, and are not told with lost keys. */
  #findOthers(): void {
    const told = new Set(this.#lost.map(({ keys }) => keys.id));
    const what = 'what it held was either found elsewhere or is part of a lost range';
    for (const [id, code] of this.#index.bad) if (!told.has(id)) this.#find(code, id, what);
  }

  // --- leaves --------------------------------------------------------------------------------------------

  async #copyTree(root: BlobId, tree: Tree): Promise<void> {
    for (const keys of this.#index.gapsOf(root)) this.#lost.push({ root, keys });
    let covered: Buffer | undefined = Buffer.alloc(0);
    for (const leaf of this.#index.leaves.get(root) ?? []) {
      const { from, to, id } = leaf;
      const overlaps = compareEnds(from, covered) < 0;
      if (overlaps) {
        // No telling which of the two is right: the first one goes first.
        const end = compareEnds(to, covered) < 0 ? to : covered;
        this.#lost.push({ root, keys: { from, to: end, code: 'NODE_LINK', id } });
      }
      await this.#copyLeaf(root, tree, leaf, overlaps);
      if (compareEnds(to, covered) > 0) covered = to;
    }
  }

  async #copyLeaf(root: BlobId, tree: Tree, leaf: LeafPlace, overlaps: boolean): Promise<void> {
    const { id, from, to, fault } = leaf;
    const scratch = this.#source.read(id);
    if (typeof scratch === 'string') {
      this.#lost.push({ root, keys: { from, to, code: scratch, id } });
      return;
    }
    if (fault !== undefined) this.#lost.push({ root, keys: { from, to, code: fault, id } });
    // Long values are read into the same scratch area.
    const image = NodeImage.of(Uint8Array.from(scratch));
    for (let slot = 0; slot < (image?.count ?? 0); slot++) {
      const entry = image?.entryAt(slot);
      if (entry !== undefined) this.#copyEntry(root, tree, leaf, entry, overlaps);
      this.#entries++;
    }
    await this.#pace.step(this.#entries, this.#source.blobBytes);
  }

  #copyEntry(
    root: BlobId,
    tree: Tree,
    { id, from, to }: LeafPlace,
    entry: NodeEntry,
    overlaps: boolean,
  ): void {
    const key = Buffer.from(entry.key);
    if (Buffer.compare(key, from) < 0 || compareEnds(key, to) >= 0) return;
    if (key.length > keyBytesMax(this.#source.blobBytes) || (overlaps && tree.has(key))) return;
    const value = isOverflow(entry.word) ? this.#longValue(entry) : entry.value;
    if (value instanceof Uint8Array) {
      tree.put(key, value);
      return;
    }
    const keys = { from: key, to: after(key), code: value.code, id: value.id ?? id };
    this.#lost.push({ root, keys });
  }

  /** The value, or why it cannot be had. */
  #longValue(entry: NodeEntry): Uint8Array | Pick<LostKeys, 'code' | 'id'> {
    const { blobBytes } = this.#source;
    const reference = referenceOf(entry, blobBytes);
    if (reference === undefined || reference.bytes > VALUE_BYTES_LIMIT) {
      return { code: 'NODE_VALUE', id: undefined };
    }
    const parts: Buffer[] = [];
    let left = reference.bytes;
    for (let id = reference.first; left > 0; ) {
      if (this.#taken.has(id)) return { code: 'BLOB_SHARED', id };
      this.#taken.add(id);
      const bytes = this.#source.read(id);
      if (typeof bytes === 'string') {
        return { code: bytes === 'CHILD_MISSING' ? 'OVERFLOW_MISSING' : bytes, id };
      }
      const part = partOf(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), blobBytes);
      if (part === undefined) return { code: 'OVERFLOW_KIND', id };
      if (part.bytes !== Math.min(left, partBytesMax(blobBytes)))
        return { code: 'OVERFLOW_LENGTH', id };
      parts.push(Buffer.from(partBytes(bytes, part)));
      left -= part.bytes;
      id = part.next;
    }
    return Buffer.concat(parts);
  }

  // --- the log -------------------------------------------------------------------------------------------

  async #replay(target: SalvageTarget): Promise<{ readonly done: number; readonly other: number }> {
    const { findings, directory } = this.#source;
    const before = findings.length;
    let done = 0;
    let other = 0;
    this.#pace.begin('log', 0);
    for (const record of this.#source.records()) {
      try {
        if (target.apply(record)) done++;
        else other++;
      } catch (error) {
        const finding = findingOf(error, directory);
        if (finding.code !== 'REPLAY_FAILED') throw error;
        findings.push({ ...finding, seq: record.seq });
        break;
      }
      await this.#pace.step(done + other, record.payload.length);
    }
    this.#pace.end(done + other);
    const damage = findings[before];
    if (damage !== undefined) this.#loseAll(target, damage.code);
    return { done, other };
  }

  /** What stood behind the damage may have changed any key. */
  #loseAll(target: SalvageTarget, code: VerifyCode): void {
    // Trees that were made behind it are not even known.
    for (const root of [undefined, ...target.trees.keys()]) {
      this.#lost.push({
        root,
        keys: { from: Buffer.alloc(0), to: undefined, code, id: undefined },
      });
    }
  }

  // --- report --------------------------------------------------------------------------------------------

  #report(target: SalvageTarget, logRecords: number, otherRecords: number): SalvageReport {
    const { trees } = target;
    const salvaged = [...trees].map(([root, tree]) => ({
      name: tree.name,
      root,
      entries: tree.count(),
    }));
    salvaged.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
    const lost = this.#lost.flatMap(({ root, keys }): LostRange[] => {
      const from = keys.from.length === 0 ? undefined : keys.from;
      if (root === undefined) return [{ ...keys, tree: undefined, from }];
      const tree = trees.get(root)?.name;
      return tree === undefined ? [] : [{ ...keys, tree, from }];
    });
    return { trees: salvaged, lost, findings: this.#source.findings, logRecords, otherRecords };
  }
}

/** The next possible key. */
function after(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.from([0])]);
}

/** `salvage` without the checks of the directories; `to` is where the new store goes. */
export async function salvageStore(
  from: string,
  to: string,
  options: SalvageOptions,
  { kernels, fileSystem: fs = nodeFileSystem, target = {} }: SalvageParts,
): Promise<SalvageReport> {
  const { frames = FRAMES_DEFAULT } = options;
  integerBetween('frames', frames, 1, FRAMES_MAX);
  const source = new SalvageSource({ directory: resolve(from), fs, kernels });
  try {
    return await new Salvage(source, options).run(to, frames, target);
  } finally {
    await source.close();
  }
}

function assertTarget(from: string, to: string): void {
  if (typeof to !== 'string' || to === '')
    throw new TypeError('to must be a path that is not empty');
  const target = resolve(to);
  if (`${target}${sep}`.startsWith(`${resolve(from)}${sep}`)) {
    throw new RangeError(`${target} lies in the damaged store, which must stay as it is`);
  }
  assertVacant(nodeFileSystem, target);
}

/**
 * Copies all that can still be read of the trees of a damaged store into a new one, and says what
 * could not be read. The damaged store is not changed; nobody may have it open meanwhile.
 *
 * The state is that of the last checkpoint that the manifest still has, with the log's records done
 * again up to the first damage in the log. Only trees are copied: indexes of other owners are not.
 *
 * @param to  A directory that is empty or not there yet. After an error it may hold a part, and can be
 *            removed.
 * @throws {WeirpoolError} `STORE_LOCKED`: somebody has the damaged store open for writing.
 *         `DIRECTORY_NOT_EMPTY`: `to`. `MANIFEST_CORRUPT`: nothing says which bytes are whose.
 *         `FORMAT_UNSUPPORTED`. `STORE_IO` and others from writing the new store. {RangeError} `to` lies
 *         in `from`. The reason of `options.signal`.
 */
export async function salvage(
  from: string,
  to: string,
  options: SalvageOptions = {},
): Promise<SalvageReport> {
  await assertNotOpen(from);
  assertTarget(from, to);
  return salvageStore(from, to, options, { kernels: modules().kernels });
}
