/**
 * A file system in memory that knows what power loss takes away.
 *
 * Model: a write or truncation is durable once its file was synced, a name once its directory was.
 * What was not synced is there after a crash or not, each piece of a write and each name by itself,
 * in any combination: a piece is a sector, a block of 4 KiB, or half a write; it may be missing, or
 * zeros because only the size has reached the disk. A directory is a name like any other. A rename
 * is one step. Synced content never changes. What was written before a sync that failed never
 * becomes durable. Nothing else is promised: real file systems keep more.
 */
import { constants } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { FileStat, FileSystem } from '../fs/file-system.ts';
import { systemError } from './faulty-file-system.ts';

const { O_CREAT, O_EXCL, O_TRUNC } = constants;
const BLOCK = 4096;
const ZEROS = new Uint8Array(BLOCK);

interface Piece {
  readonly position: number;
  /** Undefined for a truncation to `position`. */
  readonly bytes: Uint8Array | undefined;
}

/** Bytes of a file in blocks that are never changed once they are there, so that copies are cheap. */
class Content {
  bytes = 0;
  #blocks: Uint8Array[] = [];

  clone(): Content {
    const copy = new Content();
    copy.bytes = this.bytes;
    copy.#blocks = this.#blocks.slice();
    return copy;
  }

  apply({ position, bytes }: Piece): void {
    if (bytes === undefined) this.#truncate(position);
    else this.#write(position, bytes);
  }

  /** At least so long; what comes to it is zeros. */
  grow(bytes: number): void {
    if (bytes <= this.bytes) return;
    this.bytes = bytes;
    while (this.#blocks.length * BLOCK < bytes) this.#blocks.push(ZEROS);
  }

  #truncate(bytes: number): void {
    if (bytes >= this.bytes) {
      this.grow(bytes);
      return;
    }
    this.#blocks.length = Math.ceil(bytes / BLOCK);
    this.bytes = bytes;
    const rest = bytes % BLOCK;
    const last = this.#blocks.pop();
    if (last === undefined) return;
    this.#blocks.push(rest === 0 ? last : patchedBlock(ZEROS, 0, last.subarray(0, rest)));
  }

  /** `source` belongs to the content from now on. */
  #write(position: number, source: Uint8Array): void {
    this.grow(position + source.length);
    let done = 0;
    while (done < source.length) {
      const index = Math.floor((position + done) / BLOCK);
      const from = (position + done) % BLOCK;
      const piece = source.subarray(done, done + BLOCK - from);
      const whole = piece.length === BLOCK;
      this.#blocks[index] = whole
        ? piece
        : patchedBlock(this.#blocks[index] as Uint8Array, from, piece);
      done += piece.length;
    }
  }

  read(target: Uint8Array, position: number, bytes: number): number {
    const count = Math.max(0, Math.min(bytes, this.bytes - position));
    let done = 0;
    while (done < count) {
      const block = this.#blocks[Math.floor((position + done) / BLOCK)] as Uint8Array;
      const from = (position + done) % BLOCK;
      const piece = block.subarray(from, from + count - done);
      target.set(piece, done);
      done += piece.length;
    }
    return count;
  }
}

function patchedBlock(block: Uint8Array, from: number, piece: Uint8Array): Uint8Array {
  const copy = block.slice();
  copy.set(piece, from);
  return copy;
}

class Inode {
  content = new Content();
  durable = new Content();
  /** What happened since the last sync. */
  pending: Piece[] = [];
  readonly number: bigint;
  constructor(number: bigint) {
    this.number = number;
  }

  apply(piece: Piece): void {
    this.content.apply(piece);
    this.pending.push(piece);
  }

  sync(): void {
    for (const piece of this.pending) this.durable.apply(piece);
    this.pending = [];
  }

  /** All that is there is safe. */
  settle(): void {
    this.durable = this.content.clone();
    this.pending = [];
  }

  /** The same file, with what was not synced. */
  fork(): Inode {
    const copy = new Inode(this.number);
    copy.content = this.content.clone();
    copy.durable = this.durable.clone();
    copy.pending = this.pending.slice();
    return copy;
  }
}

/** What has a name. */
type Entry = Inode | Directory;

/** One change of a directory's names: added and removed together. */
interface NameChange {
  readonly add: readonly [string, Entry] | undefined;
  readonly remove: string | undefined;
}

class Directory {
  readonly number: bigint;
  names = new Map<string, Entry>();
  durable = new Map<string, Entry>();
  pending: NameChange[] = [];
  constructor(number: bigint) {
    this.number = number;
  }

  apply(change: NameChange): void {
    applyNames(this.names, change);
    this.pending.push(change);
  }

  sync(): void {
    this.durable = new Map(this.names);
    this.pending = [];
  }

  /** The same names, with what was not synced. */
  fork(keep: (entry: Entry) => Entry): Directory {
    const copy = new Directory(this.number);
    const kept = ([name, entry]: readonly [string, Entry]) => [name, keep(entry)] as const;
    copy.names = new Map([...this.names].map(kept));
    copy.durable = new Map([...this.durable].map(kept));
    copy.pending = this.pending.map(({ add, remove }) => ({ add: add && kept(add), remove }));
    return copy;
  }
}

function applyNames(names: Map<string, Entry>, { add, remove }: NameChange): void {
  if (remove !== undefined) names.delete(remove);
  if (add !== undefined) names.set(add[0], add[1]);
}

const DEVICES_PER_PROCESS = 2n ** 32n;
let devices = BigInt(process.pid) * DEVICES_PER_PROCESS;

export class SimFileSystem implements FileSystem {
  /** Its own: a directory's lock goes by device and inode, beyond this process. */
  readonly #device = devices++;
  /** Directories that are there from the beginning, and for ever. */
  readonly #roots = new Map<string, Directory>();
  readonly #open = new Map<number, Entry>();
  #numbers = 1n;
  #fds = 100;

  constructor(root = '/sim') {
    this.#roots.set(root, new Directory(this.#numbers++));
  }

  /** What is there after power was lost; `random` decides about all that was not synced. */
  afterCrash(random: (end: number) => number, granule: Granule = 'block'): SimFileSystem {
    const namesOf = ({ durable, pending }: Directory): Map<string, Entry> => {
      const names = new Map(durable);
      for (const change of pending) if (random(2) === 0) applyNames(names, change);
      return names;
    };
    return this.#copy(
      (directory, keep) => {
        const copy = new Directory(directory.number);
        for (const [name, entry] of namesOf(directory)) copy.names.set(name, keep(entry));
        copy.sync();
        return copy;
      },
      (inode) => {
        const copy = new Inode(inode.number);
        copy.content = survivor(inode, random, granule);
        copy.settle();
        return copy;
      },
    );
  }

  /**
   * What is there after the process has died: everything that was written, and what was not synced
   * is still not safe.
   */
  afterKill(): SimFileSystem {
    return this.#copy(
      (directory, keep) => directory.fork(keep),
      (inode) => inode.fork(),
    );
  }

  /** @param copyInode  Called once for each file that has a name, or may have one again. */
  #copy(
    copyDirectory: (directory: Directory, keep: (entry: Entry) => Entry) => Directory,
    copyInode: (inode: Inode) => Inode,
  ): SimFileSystem {
    const after = new SimFileSystem();
    const kept = new Map<Entry, Entry>();
    const copyOf = (entry: Entry): Entry =>
      entry instanceof Directory ? copyDirectory(entry, keep) : copyInode(entry);
    const keep = (entry: Entry): Entry => {
      const copy = kept.get(entry) ?? copyOf(entry);
      kept.set(entry, copy);
      return copy;
    };
    for (const [path, directory] of this.#roots) {
      after.#roots.set(path, copyDirectory(directory, keep));
    }
    after.#numbers = this.#numbers;
    return after;
  }

  /** Descriptors that were not closed. */
  get openCount(): number {
    return this.#open.size;
  }

  #find(path: string): Entry | undefined {
    const root = this.#roots.get(path);
    if (root !== undefined || dirname(path) === path) return root;
    const parent = this.#find(dirname(path));
    return parent instanceof Directory ? parent.names.get(basename(path)) : undefined;
  }

  #directory(path: string): Directory {
    const found = this.#find(path);
    if (found === undefined) throw systemError('ENOENT');
    if (found instanceof Inode) throw systemError('ENOTDIR');
    return found;
  }

  #split(path: string): readonly [Directory, string] {
    return [this.#directory(dirname(path)), basename(path)];
  }

  #inode(fd: number): Inode {
    const inode = this.#open.get(fd);
    if (inode === undefined) throw systemError('EBADF');
    if (inode instanceof Directory) throw systemError('EISDIR');
    return inode;
  }

  open(path: string, flags: number): number {
    const found = this.#find(path);
    if (found instanceof Directory) return this.#newDescriptor(found);
    const [parent, name] = this.#split(path);
    let inode = found;
    if (inode !== undefined && (flags & O_EXCL) !== 0) throw systemError('EEXIST');
    if (inode === undefined) {
      if ((flags & O_CREAT) === 0) throw systemError('ENOENT');
      inode = new Inode(this.#numbers++);
      parent.apply({ add: [name, inode], remove: undefined });
    }
    if ((flags & O_TRUNC) !== 0) inode.apply({ position: 0, bytes: undefined });
    return this.#newDescriptor(inode);
  }

  /** In order, and only for what was opened: the same calls give the same numbers. */
  #newDescriptor(target: Entry): number {
    const fd = this.#fds++;
    this.#open.set(fd, target);
    return fd;
  }

  close(fd: number): void {
    if (!this.#open.delete(fd)) throw systemError('EBADF');
  }

  read(fd: number, target: Uint8Array, bytes: number, position: number): number {
    return this.#inode(fd).content.read(target, position, bytes);
  }

  write(fd: number, source: Uint8Array, position: number): number {
    this.#inode(fd).apply({ position, bytes: source.slice() });
    return source.length;
  }

  async writeAsync(fd: number, source: Uint8Array, position: number): Promise<number> {
    await Promise.resolve();
    return this.write(fd, source, position);
  }

  truncate(fd: number, bytes: number): void {
    this.#inode(fd).apply({ position: bytes, bytes: undefined });
  }

  syncData(fd: number): void {
    this.#inode(fd).sync();
  }

  syncAll(fd: number): void {
    const target = this.#open.get(fd);
    if (target === undefined) throw systemError('EBADF');
    target.sync();
  }

  /**
   * A sync that fails: what was written before can be read, counts as clean, and is gone after a
   * power loss, whatever is synced later. Nothing happens to the names of a directory.
   */
  failSync(fd: number): void {
    const target = this.#open.get(fd);
    if (target instanceof Inode) target.pending = [];
  }

  statFd(fd: number): FileStat {
    const { number, content } = this.#inode(fd);
    return { kind: 'file', device: this.#device, inode: number, bytes: content.bytes };
  }

  stat(path: string): FileStat {
    const found = this.#find(path);
    if (found === undefined) throw systemError('ENOENT');
    const { number: inode } = found;
    if (found instanceof Directory) {
      return { kind: 'directory', device: this.#device, inode, bytes: 0 };
    }
    return { kind: 'file', device: this.#device, inode, bytes: found.content.bytes };
  }

  makeDirectory(path: string): void {
    if (this.#find(path) !== undefined) throw systemError('EEXIST');
    const [parent, name] = this.#split(path);
    parent.apply({ add: [name, new Directory(this.#numbers++)], remove: undefined });
  }

  removeDirectory(path: string): void {
    if (this.#directory(path).names.size > 0) throw systemError('ENOTEMPTY');
    const [parent, name] = this.#split(path);
    parent.apply({ add: undefined, remove: name });
  }

  list(path: string): string[] {
    return [...this.#directory(path).names.keys()];
  }

  link(existing: string, path: string): void {
    const [from, name] = this.#split(existing);
    const [to, newName] = this.#split(path);
    const inode = from.names.get(name);
    if (inode === undefined) throw systemError('ENOENT');
    if (inode instanceof Directory) throw systemError('EPERM');
    if (to.names.has(newName)) throw systemError('EEXIST');
    to.apply({ add: [newName, inode], remove: undefined });
  }

  rename(existing: string, path: string): void {
    const [from, name] = this.#split(existing);
    const [to, newName] = this.#split(path);
    const entry = from.names.get(name);
    const over = to.names.get(newName);
    if (entry === undefined) throw systemError('ENOENT');
    if (from !== to) throw systemError('EXDEV');
    if (entry instanceof Directory && over instanceof Inode) throw systemError('ENOTDIR');
    if (entry instanceof Inode && over instanceof Directory) throw systemError('EISDIR');
    if (over instanceof Directory && over.names.size > 0) throw systemError('ENOTEMPTY');
    from.apply({ add: [newName, entry], remove: name });
  }

  unlink(path: string): void {
    const [parent, name] = this.#split(path);
    const entry = parent.names.get(name);
    if (entry === undefined) throw systemError('ENOENT');
    if (entry instanceof Directory) throw systemError('EISDIR');
    parent.apply({ add: undefined, remove: name });
  }
}

/** Sizes of the pieces in which a write may be torn: sector, block, half of what it writes. */
export const GRANULES = ['sector', 'block', 'half'] as const;
export type Granule = (typeof GRANULES)[number];

const SECTOR = 512;

function pieceBytes(granule: Granule, { length }: Uint8Array): number {
  if (granule === 'block') return BLOCK;
  return granule === 'sector' ? SECTOR : Math.max(SECTOR, Math.ceil(length / 2 / SECTOR) * SECTOR);
}

/** The durable content with some of what came after it: each piece by itself. */
function survivor(inode: Inode, random: (end: number) => number, granule: Granule): Content {
  const content = inode.durable.clone();
  for (const piece of inode.pending) {
    const { position, bytes } = piece;
    if (bytes === undefined) {
      if (random(2) === 0) content.apply(piece);
      continue;
    }
    const step = pieceBytes(granule, bytes);
    for (let at = 0; at < bytes.length; at += step) {
      const block = bytes.subarray(at, at + step);
      const fate = random(3);
      if (fate === 0) continue;
      if (fate === 1) content.apply({ position: position + at, bytes: block });
      // The size may have reached the disk without the bytes.
      else content.grow(position + at + (random(2) === 0 ? 0 : block.length));
    }
  }
  return content;
}
