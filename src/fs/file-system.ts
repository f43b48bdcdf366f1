/**
 * Every file call that the project makes, one thin layer that tests replace.
 *
 * Owns:        nothing; descriptors belong to whoever opened them.
 * Threads:     any; each thread opens its own descriptors.
 *
 * The calls are the system's own: they may read or write less than was asked for, and they throw
 * Node's errors. `files.ts` stands above them, with whole reads and writes and precise errors, so
 * that a replacement can produce short I/O and any errno.
 */
import * as nodeFs from 'node:fs';

export interface FileStat {
  readonly kind: 'file' | 'directory' | 'other';
  readonly device: bigint;
  readonly inode: bigint;
  readonly bytes: number;
}

export interface FileSystem {
  /** Opens with the flags of `open(2)`; `mode` counts only when the file is made. */
  open(path: string, flags: number, mode: number): number;
  close(fd: number): void;
  /** Reads at most `bytes` bytes into `target` from its start on; 0 at the end of the file. */
  read(fd: number, target: Uint8Array, bytes: number, position: number): number;
  /** Writes at most `source.length` bytes. */
  write(fd: number, source: Uint8Array, position: number): number;
  /** The same on a thread of libuv; `source` may be shared memory and must stay as it is. */
  writeAsync(fd: number, source: Uint8Array, position: number): Promise<number>;
  truncate(fd: number, bytes: number): void;
  /** `fdatasync`: the bytes, and what is needed to find them again. */
  syncData(fd: number): void;
  /** `fsync`; also for directories. */
  syncAll(fd: number): void;
  statFd(fd: number): FileStat;
  /** Follows symbolic links. */
  stat(path: string): FileStat;
  makeDirectory(path: string, mode: number): void;
  /** Fails unless the directory is empty. */
  removeDirectory(path: string): void;
  list(directory: string): string[];
  /** A second name for a file; fails if the name is taken. */
  link(existing: string, name: string): void;
  rename(from: string, to: string): void;
  unlink(path: string): void;
}

function kindOf(stats: nodeFs.BigIntStats): FileStat['kind'] {
  if (stats.isFile()) return 'file';
  return stats.isDirectory() ? 'directory' : 'other';
}

function fileStat(stats: nodeFs.BigIntStats): FileStat {
  return {
    kind: kindOf(stats),
    device: stats.dev,
    inode: stats.ino,
    bytes: Number(stats.size),
  };
}

function writeAsync(fd: number, source: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    nodeFs.write(fd, source, 0, source.length, position, (error, written) => {
      if (error) reject(error);
      else resolve(written);
    });
  });
}

/** The real file system. */
export const nodeFileSystem: FileSystem = {
  open: (path, flags, mode) => nodeFs.openSync(path, flags, mode),
  close: (fd) => nodeFs.closeSync(fd),
  read: (fd, target, bytes, position) => nodeFs.readSync(fd, target, 0, bytes, position),
  write: (fd, source, position) => nodeFs.writeSync(fd, source, 0, source.length, position),
  writeAsync,
  truncate: (fd, bytes) => nodeFs.ftruncateSync(fd, bytes),
  syncData: (fd) => nodeFs.fdatasyncSync(fd),
  syncAll: (fd) => nodeFs.fsyncSync(fd),
  statFd: (fd) => fileStat(nodeFs.fstatSync(fd, { bigint: true })),
  stat: (path) => fileStat(nodeFs.statSync(path, { bigint: true })),
  makeDirectory: (path, mode) => nodeFs.mkdirSync(path, { mode }),
  removeDirectory: (path) => nodeFs.rmdirSync(path),
  list: (directory) => nodeFs.readdirSync(directory),
  link: (existing, name) => nodeFs.linkSync(existing, name),
  rename: (from, to) => nodeFs.renameSync(from, to),
  unlink: (path) => nodeFs.unlinkSync(path),
};
