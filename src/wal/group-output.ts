/**
 * The segment that takes records: its descriptors, and writing groups to it.
 *
 * Owns:        the descriptors; the memory in which a group is put together.
 * Invariants:  only whole blocks are written, so that what a failed write leaves is overwritten at
 *              the same offset.
 * Threads:     one at a time.
 *
 * Large groups go past the system's cache, where it lets them: copying them into it costs the
 * processor as much as all the rest of an append, and the sync after them takes longer. Small ones
 * go through it: a write past it is not there before the disk has it.
 */
import { errnoOf } from '../errors.ts';
import type { FileSystem } from '../fs/file-system.ts';
import { closeQuietly, DIRECT, OPEN_WRITE, openOwn, writeFully } from '../fs/files.ts';
import { wasm } from '../memory/webassembly.ts';
import { GROUP_HEADER_BYTES, groupBytes } from './format.ts';

/** A group is put together and written in pieces of that size. */
const PIECE_BYTES = 64 * 1024;
/** The same past the cache: a MiB of records with its header. Pages are aligned as that needs it. */
const DIRECT_PIECE_PAGES = 17;
const DIRECT_BYTES_MIN = 256 * 1024;

/** The views of some bytes of views that follow each other. */
export function viewsFrom(views: readonly Uint8Array[], from: number, bytes: number): Uint8Array[] {
  const result: Uint8Array[] = [];
  let skip = from;
  let left = bytes;
  for (const view of views) {
    const piece = view.subarray(Math.min(skip, view.length), Math.min(skip + left, view.length));
    skip = Math.max(0, skip - view.length);
    left -= piece.length;
    if (piece.length > 0) result.push(piece);
  }
  return result;
}

export class GroupOutput {
  readonly #fs: FileSystem;
  readonly #pieces = new Uint8Array(PIECE_BYTES);
  #directPieces: Uint8Array | undefined;
  #direct: boolean;
  #path = '';
  #fd: number | undefined;
  #directFd: number | undefined;

  constructor(fs: FileSystem, directWrites: boolean) {
    this.#fs = fs;
    this.#direct = directWrites && DIRECT !== undefined;
  }

  get isOpen(): boolean {
    return this.#fd !== undefined;
  }

  /** Goes on with another segment, whose descriptor is this object's from now on. */
  use(fd: number, path: string): void {
    this.close();
    this.#fd = fd;
    this.#path = path;
  }

  /**
   * Writes a group: its header, the records, zeros up to the next block. What it keeps are the records
   * of the write before, which was one of the same group, and within a block.
   *
   * @param putHeader  Puts the header at the beginning of what it is given.
   * @throws {WeirpoolError} `STORE_IO`: any part of it may have been written.
   */
  write(
    offset: number,
    putHeader: (block: Uint8Array) => void,
    views: readonly Uint8Array[],
    { kept, bytes }: { readonly kept: number; readonly bytes: number },
  ): void {
    const total = groupBytes(kept + bytes);
    const pieces = this.#piecesFor(total);
    putHeader(pieces);
    let at = GROUP_HEADER_BYTES + kept;
    let done = 0;
    for (let written = 0; written < total; at = 0) {
      const piece = pieces.subarray(0, Math.min(pieces.length, total - written));
      for (const view of viewsFrom(views, done, piece.length - at)) {
        piece.set(view, at);
        at += view.length;
        done += view.length;
      }
      this.#writePiece(piece.fill(0, at), offset + written);
      written += piece.length;
    }
  }

  #piecesFor(bytes: number): Uint8Array {
    if (!this.#direct || bytes < DIRECT_BYTES_MIN) return this.#pieces;
    if (this.#directPieces === undefined) {
      const pages = {
        initial: DIRECT_PIECE_PAGES,
        maximum: DIRECT_PIECE_PAGES,
        shared: true,
      } as const;
      this.#directPieces = new Uint8Array(new wasm.Memory(pages).buffer);
    }
    return this.#directPieces;
  }

  #writePiece(piece: Uint8Array, position: number): void {
    if (piece.length >= DIRECT_BYTES_MIN && this.#writeDirect(piece, position)) return;
    writeFully(this.#fs, { fd: this.#fd as number, path: this.#path, position }, piece);
  }

  /** False if the platform refuses such a write; none is tried any more. */
  #writeDirect(piece: Uint8Array, position: number): boolean {
    const fd = this.#directDescriptor();
    if (fd === undefined) return false;
    try {
      writeFully(this.#fs, { fd, path: this.#path, position }, piece);
      return true;
    } catch (error) {
      if (errnoOf((error as Error).cause) !== 'EINVAL') throw error;
      this.#direct = false;
      return false;
    }
  }

  #directDescriptor(): number | undefined {
    if (!this.#direct || this.#directFd !== undefined) return this.#directFd;
    try {
      this.#directFd = openOwn(this.#fs, this.#path, OPEN_WRITE | (DIRECT as number));
    } catch {
      this.#direct = false;
    }
    return this.#directFd;
  }

  /** Throws what the platform does; covers what both descriptors have written. */
  sync(): void {
    this.#fs.syncData(this.#fd as number);
  }

  close(): void {
    for (const fd of [this.#fd, this.#directFd]) if (fd !== undefined) closeQuietly(this.#fs, fd);
    this.#fd = undefined;
    this.#directFd = undefined;
  }
}
