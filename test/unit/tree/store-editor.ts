/**
 * Changing a closed store behind its back, with valid checksums: what no medium does, and what
 * crafted stores and mistakes of the library do. For one invariant at a time.
 */
import { join } from 'node:path';
import type { FileSystem } from '../../../src/fs/file-system.ts';
import {
  DirectorySync,
  OPEN_CREATE,
  OPEN_WRITE,
  readOwn,
  writeFully,
} from '../../../src/fs/files.ts';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import { Checksummer } from '../../../src/memory/checksum.ts';
import { instantiateKernels } from '../../../src/memory/wasm.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import type { BlobId } from '../../../src/store/contract.ts';
import { DATA_FILE } from '../../../src/store/file-backend.ts';
import {
  BLOCK_BYTES,
  encodeHeader,
  encodeRecord,
  FIRST_RECORD,
  KIND_SNAPSHOT,
} from '../../../src/store/manifest.ts';
import { manifestPath, newestGeneration } from '../../../src/store/manifest-files.ts';
import { type ManifestContent, readManifest } from '../../../src/store/manifest-reader.ts';
import { childOf, NodeImage } from '../../../src/tree/node-image.ts';

const kernelsModule = new wasm.Module(Buffer.from(KERNELS_WASM, 'base64'));
const checksummer = new Checksummer(kernelsModule, 4 * 1024 * 1024);

// --- nodes in memory of their own, for kernels ------------------------------------------------------

const PAGE = 64 * 1024;
const memory = new wasm.Memory({ initial: 8, maximum: 8, shared: true });
const kernels = instantiateKernels(kernelsModule, memory);
const u8 = new Uint8Array(memory.buffer);
const AT = { node: 0, other: PAGE, key: 2 * PAGE, value: 3 * PAGE, pad: 4 * PAGE } as const;

/** Runs kernels on a node of 64 KiB at most: what `edit` leaves at address 0 is copied back. */
export function withKernels(
  bytes: Uint8Array,
  edit: (k: typeof kernels, at: typeof AT, memory: Uint8Array) => number,
): void {
  u8.set(bytes, AT.node);
  const result = edit(kernels, AT, u8);
  if (result < 0) throw new Error(`the kernel says ${result}`);
  bytes.set(u8.subarray(AT.node, AT.node + bytes.length));
}

/** Puts a key that may have no business in the node. */
export function putInto(node: Uint8Array, key: Uint8Array | string, value: Uint8Array): void {
  withKernels(node, (k, at, area) => {
    const bytes = Buffer.from(key);
    area.set(bytes, at.key);
    area.set(value, at.value);
    k.padKey(at.key, bytes.length, at.pad);
    return k.nodePut(at.node, node.length, at.key, bytes.length, at.pad, at.value, value.length);
  });
}

// --- the store ----------------------------------------------------------------------------------------

export class StoreEditor {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #content: ManifestContent;
  readonly #generation: number;

  constructor(fs: FileSystem, directory: string) {
    this.#fs = fs;
    this.#directory = directory;
    const access = { fs, directory, directorySync: new DirectorySync(fs) };
    this.#generation = newestGeneration(access);
    const path = manifestPath(directory, this.#generation);
    const file = { path, generation: this.#generation, bytes: readOwn(fs, path) };
    this.#content = readManifest(checksummer, file);
  }

  get state() {
    return this.#content.state;
  }

  get blobBytes(): number {
    return this.#content.header.blobBytes;
  }

  get ids(): BlobId[] {
    return [...this.state.blobs.keys()].sort((a, b) => a - b);
  }

  slotOf(id: BlobId): number {
    const mapping = this.state.blobs.get(id);
    if (mapping === undefined) throw new Error(`no blob ${id}`);
    return mapping.slot;
  }

  /** A copy of the blob's bytes. */
  read(id: BlobId): Uint8Array {
    const bytes = new Uint8Array(this.blobBytes);
    const fd = this.#fs.open(join(this.#directory, DATA_FILE), OPEN_WRITE, 0o600);
    this.#fs.read(fd, bytes, bytes.length, this.slotOf(id) * this.blobBytes);
    this.#fs.close(fd);
    return bytes;
  }

  node(id: BlobId): NodeImage {
    const image = NodeImage.of(this.read(id));
    if (image === undefined) throw new Error(`blob ${id} is no node`);
    return image;
  }

  /** Ids of a tree's nodes at a level, in the order of their keys. */
  nodesAt(root: BlobId, level: number): BlobId[] {
    const image = this.node(root);
    if (image.level === level) return [root];
    return this.childrenOf(root).flatMap((child) => this.nodesAt(child, level));
  }

  childrenOf(id: BlobId): BlobId[] {
    const image = this.node(id);
    return Array.from({ length: image.count ?? 0 }, (_, slot) => {
      const entry = image.entryAt(slot);
      return (entry && childOf(entry)) ?? 0;
    });
  }

  /** Puts other bytes into a blob, and their checksum into the mapping. */
  write(id: BlobId, bytes: Uint8Array): void {
    const slot = this.slotOf(id);
    this.#writeSlot(slot, bytes);
    this.state.blobs.set(id, { id, slot, checksum: checksummer.of(bytes, id) });
  }

  edit(id: BlobId, change: (bytes: Uint8Array, view: DataView) => void): void {
    const bytes = this.read(id);
    change(bytes, new DataView(bytes.buffer));
    this.write(id, bytes);
  }

  /** A blob more, with an id of its own. */
  add(bytes: Uint8Array): BlobId {
    const id = this.state.nextBlobId++;
    const slot = Math.max(...[...this.state.blobs.values()].map((blob) => blob.slot)) + 1;
    this.state.blobs.set(id, { id, slot, checksum: 0n });
    this.write(id, bytes);
    return id;
  }

  unmap(id: BlobId): void {
    this.state.blobs.delete(id);
  }

  #writeSlot(slot: number, bytes: Uint8Array): void {
    this.#writeFile(join(this.#directory, DATA_FILE), slot * this.blobBytes, [bytes]);
  }

  #writeFile(path: string, from: number, parts: readonly Uint8Array[]): void {
    const fd = this.#fs.open(path, OPEN_CREATE, 0o600);
    let position = from;
    for (const part of parts) {
      writeFully(this.#fs, { fd, path, position }, part);
      position += part.length;
    }
    this.#fs.close(fd);
  }

  /** Makes what was changed the committed state: a manifest of the next generation. */
  commit(): void {
    const { header, state } = this.#content;
    const generation = this.#generation + 1;
    const next = { ...header, generation };
    const seal = { checksummer, storeId: header.storeId, generation };
    const change = {
      mapped: [...state.blobs.values()].sort((a, b) => a.id - b.id),
      deleted: [],
      roots: state.roots,
      nextBlobId: state.nextBlobId,
      checkpointSeq: state.checkpointSeq,
      commitNumber: state.commitNumber,
      epoch: header.epoch,
    };
    this.#writeFile(manifestPath(this.#directory, generation), 0, [
      encodeHeader(checksummer, next),
      new Uint8Array(BLOCK_BYTES),
      encodeRecord(seal, KIND_SNAPSHOT, change, FIRST_RECORD),
    ]);
  }
}
