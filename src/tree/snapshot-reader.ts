/**
 * Trees of one committed cut, read from its store slots past the pool.
 *
 * Owns:        a private wasm memory of a few frames, one for each thread, in which the nodes lie that
 *              the thread's snapshots have looked at last; scratch areas behind them.
 * Invariants:  a frame never changes while it is looked at: a slot that a cut names is written by
 *              nobody (I6), every read is verified, and only this thread reads into a frame.
 * Threads:     one object for each thread. Scans of several snapshots may take turns.
 *
 * The pool's own frames are left alone: a scan of the whole store would push out what others need,
 * and what lies there may be newer than the cut.
 */
import { Buffer } from 'node:buffer';
import { WeirpoolError } from '../errors.ts';
import type { KernelExports } from '../generated/layout.ts';
import { Frame } from '../memory/frame.ts';
import { scratchBytesOf } from '../memory/pool-memory.ts';
import { instantiateKernels } from '../memory/wasm.ts';
import { type WasmMemory, type WasmModule, wasm } from '../memory/webassembly.ts';
import type { BlobId } from '../store/contract.ts';
import type { Cut } from '../store/cuts.ts';
import { type MappedStore, notFound } from '../store/mapped-store.ts';
import type { ScanSource } from './cursor.ts';
import { type Look, nodeCorrupt, type Way } from './descent.ts';
import { NodeAccess, type NodeMemory } from './node-access.ts';
import { isOverflow, type Reference, readChain, readReference } from './overflow.ts';
import type { Key } from './store.ts';

const PAGE_BYTES = 65536;
/** A tall tree's way down several times, and not much memory. */
const FRAMES_BYTES = 8 * 1024 * 1024;
const FRAMES_MIN = 6;
const FRAMES_MAX = 16;

/** Frames of one thread that no other one sees. */
class PrivateFrames implements NodeMemory {
  readonly shared: NodeMemory['shared'];
  readonly count: number;
  readonly #kernels: KernelExports;
  readonly #frames: readonly Frame[];

  constructor(module: WasmModule, blobBytes: number) {
    const fitting = Math.floor(FRAMES_BYTES / blobBytes);
    this.count = Math.max(FRAMES_MIN, Math.min(FRAMES_MAX, fitting));
    const bytes = this.count * blobBytes + scratchBytesOf(blobBytes);
    const pages = Math.ceil(bytes / PAGE_BYTES);
    const memory: WasmMemory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    this.shared = { blobBytes, arenas: [memory], framesPerArena: this.count };
    this.#kernels = instantiateKernels(module, memory);
    this.#frames = Array.from(
      { length: this.count },
      (_, index) => new Frame(index, memory.buffer, this.offsetOf(index), blobBytes),
    );
  }

  kernelsOf(): KernelExports {
    return this.#kernels;
  }

  arenaOf(): number {
    return 0;
  }

  offsetOf(index: number): number {
    return index * this.shared.blobBytes;
  }

  scratchOf(): number {
    return this.offsetOf(this.count);
  }

  frame(index: number): Frame {
    return this.#frames[index] as Frame;
  }

  checksum(index: number, seed: number): bigint {
    const { blobBytes } = this.shared;
    return BigInt.asUintN(64, this.#kernels.checksum(this.offsetOf(index), blobBytes, seed));
  }
}

/** What a frame holds, and when it was last asked for. */
interface Held {
  cut: Cut | undefined;
  id: BlobId;
  usedAt: number;
}

/** Reads blobs of cuts into private frames. */
export class CutReader {
  readonly nodes: NodeAccess;
  readonly #frames: PrivateFrames;
  readonly #store: MappedStore;
  readonly #held: readonly Held[];
  /** Blobs of long values pass through a frame of their own, or they would push out the nodes. */
  readonly #passing: number;
  #uses = 0;

  constructor(store: MappedStore, kernels: WasmModule) {
    this.#store = store;
    this.#frames = new PrivateFrames(kernels, store.blobBytes);
    this.nodes = new NodeAccess(this.#frames, 0);
    this.#passing = this.#frames.count - 1;
    this.#held = Array.from({ length: this.#passing }, () => ({
      cut: undefined,
      id: 0,
      usedAt: 0,
    }));
  }

  /**
   * A frame with the blob as the cut has it, until the next call.
   *
   * @throws {WeirpoolError} `BLOB_NOT_FOUND`, `BLOB_CORRUPT`, `STORE_IO`, `POISONED`, `POOL_CLOSED`.
   */
  frameOf(cut: Cut, id: BlobId): number {
    this.#store.assertRunning();
    let oldest = 0;
    for (let frame = 0; frame < this.#held.length; frame++) {
      const held = this.#held[frame] as Held;
      if (held.id === id && held.cut === cut) {
        held.usedAt = ++this.#uses;
        return frame;
      }
      if (held.usedAt < (this.#held[oldest] as Held).usedAt) oldest = frame;
    }
    const held = this.#held[oldest] as Held;
    // Nothing until it is there whole.
    held.cut = undefined;
    this.#read(cut, id, oldest);
    held.cut = cut;
    held.id = id;
    held.usedAt = ++this.#uses;
    return oldest;
  }

  /** A blob that is looked at once. Errors as `frameOf`. */
  pass(cut: Cut, id: BlobId): Frame {
    this.#read(cut, id, this.#passing);
    return this.#frames.frame(this.#passing);
  }

  #read(cut: Cut, id: BlobId, frame: number): void {
    const blob = cut.mapping.lookup(id);
    if (blob === undefined) throw notFound(id);
    this.#store.readKept(blob, this.#frames.frame(frame).bytes, () =>
      this.#frames.checksum(frame, id),
    );
  }

  /** Forgets what it has of a cut that is no longer read. */
  forget(cut: Cut): void {
    for (const held of this.#held) if (held.cut === cut) held.cut = undefined;
  }
}

/** Finds nodes in a cut, in which nothing moves: no version, no second attempt. */
class CutDescent {
  readonly version = 0;
  /** The node that was found. */
  id: BlobId = 0;
  readonly #reader: CutReader;
  readonly #cutOf: () => Cut;

  constructor(reader: CutReader, cutOf: () => Cut) {
    this.#reader = reader;
    this.#cutOf = cutOf;
  }

  /** The node at `level` that the search key belongs to: its frame. */
  tryTo(tree: BlobId, level: number, way: Way = 'at'): number {
    const { nodes } = this.#reader;
    let frame = this.#node(tree, tree);
    let height = nodes.levelOf(frame);
    while (height > level) {
      const child = way === 'at' ? nodes.childOf(frame) : nodes.childBefore(frame, way === 'last');
      if (child === 0) throw nodeCorrupt(this.id, tree);
      frame = this.#node(child, tree);
      height--;
      if (nodes.levelOf(frame) !== height) throw nodeCorrupt(child, tree);
    }
    if (height < level) throw nodeCorrupt(this.id, tree);
    return frame;
  }

  with<T>(tree: BlobId, level: number, look: Look<T>, way: Way = 'at'): T {
    const frame = this.tryTo(tree, level, way);
    return look(frame, this.id);
  }

  #node(id: BlobId, tree: BlobId): number {
    const frame = this.#reader.frameOf(this.#cutOf(), id);
    this.id = id;
    if (!this.#reader.nodes.isNode(frame, tree)) throw nodeCorrupt(id, tree);
    return frame;
  }
}

/** Counts nothing: what holds still is read at once. */
const STILL = { control: { validate: (): number => 1 }, noteRestart: (): void => undefined };

/** Trees of one cut, as TreeStore has those of now. */
export class CutSource implements ScanSource {
  readonly core: ScanSource['core'] = STILL;
  readonly nodes: NodeAccess;
  readonly descent: CutDescent;
  /** The snapshot: it must not be collected while something reads through this. */
  owner: object | undefined;
  readonly #reader: CutReader;
  #cut: Cut | undefined;

  constructor(reader: CutReader, cut: Cut) {
    this.nodes = reader.nodes;
    this.descent = new CutDescent(reader, () => this.#openCut());
    this.#reader = reader;
    this.#cut = cut;
  }

  #openCut(): Cut {
    if (this.#cut === undefined) throw snapshotClosed();
    return this.#cut;
  }

  /** Nothing is read any more: `SNAPSHOT_CLOSED` from here on, also in the middle of a scan. */
  end(): void {
    this.#cut = undefined;
  }

  /** A copy of the value, undefined if there is none. */
  get(tree: BlobId, key: Key): Buffer | undefined {
    const { nodes } = this;
    nodes.setKey(key);
    const frame = this.descent.tryTo(tree, 0);
    const found = nodes.leafGet(frame);
    if (found < 0) throw nodeCorrupt(this.descent.id, tree);
    if (found === 0) return undefined;
    const { valueOffset: from, valueWord } = nodes;
    const bytes = nodes.bytesOf(frame);
    if (isOverflow(valueWord)) return this.overflow(tree, readReference(bytes, from));
    return Buffer.from(bytes.subarray(from, from + valueWord));
  }

  has(tree: BlobId, key: Key): boolean {
    const { nodes } = this;
    nodes.setKey(key);
    const found = nodes.find(this.descent.tryTo(tree, 0));
    if (found < 0) throw nodeCorrupt(this.descent.id, tree);
    return (found & 1) === 1;
  }

  overflow(tree: BlobId, reference: Reference): Buffer {
    const { blobBytes } = this.nodes;
    return readChain(tree, reference, blobBytes, (id, take) =>
      take(this.#reader.pass(this.#openCut(), id)),
    );
  }
}

export function snapshotClosed(): WeirpoolError {
  return new WeirpoolError(
    'SNAPSHOT_CLOSED',
    'The snapshot is closed. A consistent scan is iterated once: take a snapshot to read several ' +
      'times, and close it behind the last reading.',
  );
}
