/**
 * A file system in memory that knows what power loss takes away.
 *
 * Model: a write or truncation is durable once its file was synced, a name once its directory was;
 * what was not synced is there after a crash or not, each 4 KiB block and each name by itself, in
 * any combination. A rename is one step. Synced content never changes. Nothing else is promised:
 * real file systems keep more.
 */
import { dirname } from 'node:path';
import type { FileStat, FileSystem } from '../../../src/fs/file-system.ts';
import { systemError } from './faulty-file-system.ts';

const O_CREAT = 0o100;
const O_EXCL = 0o200;
const BLOCK = 4096;

interface Piece {
  readonly position: number;
  /** Undefined for a truncation to `position`. */
  readonly bytes: Uint8Array | undefined;
}

class Inode {
  content = new Uint8Array(0);
  durable = new Uint8Array(0);
  /** What happened since the last sync. */
  pending: Piece[] = [];
  readonly number: bigint;
  constructor(number: bigint) {
    this.number = number;
  }

  apply(piece: Piece): void {
    this.content = applied(this.content, piece);
    this.pending.push(piece);
  }

  sync(): void {
    this.durable = this.content.slice();
    this.pending = [];
  }
}

function applied(content: Uint8Array, { position, bytes }: Piece): Uint8Array<ArrayBuffer> {
  if (bytes === undefined) {
    const cut = new Uint8Array(position);
    cut.set(content.subarray(0, position));
    return cut;
  }
  const grown = new Uint8Array(Math.max(content.length, position + bytes.length));
  grown.set(content);
  grown.set(bytes, position);
  return grown;
}

/** One change of a directory's names: added and removed together. */
interface NameChange {
  readonly add: readonly [string, Inode] | undefined;
  readonly remove: string | undefined;
}

class Directory {
  readonly number: bigint;
  names = new Map<string, Inode>();
  durable = new Map<string, Inode>();
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
}

function applyNames(names: Map<string, Inode>, { add, remove }: NameChange): void {
  if (remove !== undefined) names.delete(remove);
  if (add !== undefined) names.set(add[0], add[1]);
}

const DEVICES_PER_PROCESS = 2n ** 32n;
let devices = BigInt(process.pid) * DEVICES_PER_PROCESS;

export class SimFileSystem implements FileSystem {
  /** Its own: a directory's lock goes by device and inode, beyond this process. */
  readonly #device = devices++;
  readonly #directories = new Map<string, Directory>();
  readonly #open = new Map<number, Inode | Directory>();
  #numbers = 1n;
  #fds = 100;

  constructor(root = '/sim') {
    this.#directories.set(root, new Directory(this.#numbers++));
  }

  /** What is there after power was lost; `random` decides about all that was not synced. */
  afterCrash(random: (end: number) => number): SimFileSystem {
    const after = new SimFileSystem();
    const kept = new Map<Inode, Inode>();
    const keep = (inode: Inode): Inode => {
      const known = kept.get(inode);
      if (known !== undefined) return known;
      const copy = new Inode(inode.number);
      copy.content = survivor(inode, random);
      copy.sync();
      kept.set(inode, copy);
      return copy;
    };
    for (const [path, directory] of this.#directories) {
      const copy = new Directory(directory.number);
      const names = new Map(directory.durable);
      for (const change of directory.pending) if (random(2) === 0) applyNames(names, change);
      for (const [name, inode] of names) copy.names.set(name, keep(inode));
      copy.sync();
      after.#directories.set(path, copy);
    }
    after.#numbers = this.#numbers;
    return after;
  }

  #directory(path: string): Directory {
    const found = this.#directories.get(path);
    if (found === undefined) throw systemError('ENOENT');
    return found;
  }

  #split(path: string): readonly [Directory, string] {
    return [this.#directory(dirname(path)), path.slice(dirname(path).length + 1)];
  }

  #inode(fd: number): Inode {
    const inode = this.#open.get(fd);
    if (inode === undefined) throw systemError('EBADF');
    if (inode instanceof Directory) throw systemError('EISDIR');
    return inode;
  }

  open(path: string, flags: number): number {
    const fd = this.#fds++;
    const directory = this.#directories.get(path);
    if (directory !== undefined) {
      this.#open.set(fd, directory);
      return fd;
    }
    const [parent, name] = this.#split(path);
    let inode = parent.names.get(name);
    if (inode !== undefined && (flags & O_EXCL) !== 0) throw systemError('EEXIST');
    if (inode === undefined) {
      if ((flags & O_CREAT) === 0) throw systemError('ENOENT');
      inode = new Inode(this.#numbers++);
      parent.apply({ add: [name, inode], remove: undefined });
    }
    this.#open.set(fd, inode);
    return fd;
  }

  close(fd: number): void {
    if (!this.#open.delete(fd)) throw systemError('EBADF');
  }

  read(fd: number, target: Uint8Array, bytes: number, position: number): number {
    const piece = this.#inode(fd).content.subarray(position, position + bytes);
    target.set(piece);
    return piece.length;
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

  statFd(fd: number): FileStat {
    const { number, content } = this.#inode(fd);
    return { kind: 'file', device: this.#device, inode: number, bytes: content.length };
  }

  stat(path: string): FileStat {
    const directory = this.#directories.get(path);
    if (directory !== undefined) {
      return { kind: 'directory', device: this.#device, inode: directory.number, bytes: 0 };
    }
    const [parent, name] = this.#split(path);
    const inode = parent.names.get(name);
    if (inode === undefined) throw systemError('ENOENT');
    return { kind: 'file', device: this.#device, inode: inode.number, bytes: inode.content.length };
  }

  makeDirectory(): void {
    throw systemError('ENOTSUP');
  }

  list(path: string): string[] {
    return [...this.#directory(path).names.keys()];
  }

  link(existing: string, path: string): void {
    const [from, name] = this.#split(existing);
    const [to, newName] = this.#split(path);
    const inode = from.names.get(name);
    if (inode === undefined) throw systemError('ENOENT');
    if (to.names.has(newName)) throw systemError('EEXIST');
    to.apply({ add: [newName, inode], remove: undefined });
  }

  rename(existing: string, path: string): void {
    const [from, name] = this.#split(existing);
    const [, newName] = this.#split(path);
    const inode = from.names.get(name);
    if (inode === undefined) throw systemError('ENOENT');
    from.apply({ add: [newName, inode], remove: name });
  }

  unlink(path: string): void {
    const [parent, name] = this.#split(path);
    if (!parent.names.has(name)) throw systemError('ENOENT');
    parent.apply({ add: undefined, remove: name });
  }
}

/** The durable content with some of what came after it: each block by itself. */
function survivor(inode: Inode, random: (end: number) => number): Uint8Array<ArrayBuffer> {
  let content = inode.durable.slice();
  for (const { position, bytes } of inode.pending) {
    if (bytes === undefined) {
      if (random(2) === 0) content = applied(content, { position, bytes });
      continue;
    }
    for (let at = 0; at < bytes.length; at += BLOCK) {
      const block = bytes.subarray(at, at + BLOCK);
      const fate = random(3);
      if (fate === 0) continue;
      // The size may have reached the disk without the bytes.
      const landed = fate === 1 ? block : new Uint8Array(0);
      content = applied(content, { position: position + at, bytes: landed });
    }
  }
  return content;
}
