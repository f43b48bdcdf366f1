/** What the log's tests share: small logs on a disk in memory, and ways to look at them. */
import type { FileSystem } from '../../../src/fs/file-system.ts';
import { DirectorySync } from '../../../src/fs/files.ts';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import { systemError } from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import type { DirectoryAccess } from '../../../src/store/manifest-files.ts';
import { encodeRecord, type LogRecord, LogSums } from '../../../src/wal/format.ts';
import { type LogEnd, LogReader, type LogSource } from '../../../src/wal/reader.ts';
import { LogWriter } from '../../../src/wal/segment-writer.ts';

export const STORE_ID = 0x0123_4567_89ab_cdefn;
export const DIRECTORY = '/sim';
export const SEGMENT_BYTES = 6 * 4096;
export const RECORD_BYTES_MAX = 16 * 1024;

export const kernels = new wasm.Module(Buffer.from(KERNELS_WASM, 'base64'));
export const sums: LogSums = new LogSums(kernels);

export function accessTo(fs: FileSystem, directory = DIRECTORY): DirectoryAccess {
  return { fs, directory, directorySync: new DirectorySync(fs) };
}

/** A payload that tells the record and the place in it. */
export function payloadOf(n: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => (n * 31 + at) & 0xff);
}

export function recordAt(position: number, epoch: number, n: number, payloadBytes: number) {
  return encodeRecord(
    sums,
    sums.seed(STORE_ID, epoch),
    {
      kind: 1,
      owner: n,
      created: n % 3 === 0 ? [n + 1] : [],
      deleted: n % 4 === 1 ? [n + 2, n + 3] : [],
      payload: payloadOf(n, payloadBytes),
    },
    position,
  );
}

export interface Scan {
  readonly records: LogRecord[];
  readonly end: LogEnd;
  readonly reader: LogReader;
}

export function scan(fs: FileSystem, source: Partial<LogSource> = {}): Scan {
  const access = accessTo(fs);
  const parts = { access, sums, storeId: STORE_ID, checkpointSeq: 0, ...source };
  const reader = new LogReader(parts);
  const records = [...reader.records()];
  return { records, end: reader.end, reader };
}

/** A writer after a scan, with what it wrote. */
export class TestLog {
  readonly writer: LogWriter;
  readonly epoch: number;
  readonly seqs: number[] = [];

  constructor(fs: FileSystem, epoch = 1, checkpointSeq = 0, segmentBytes = SEGMENT_BYTES) {
    const { end } = scan(fs, { checkpointSeq });
    const parts = { access: accessTo(fs), sums, storeId: STORE_ID, epoch, segmentBytes };
    const recordBytesMax = Math.min(RECORD_BYTES_MAX, segmentBytes - 8192);
    this.epoch = epoch;
    this.writer = LogWriter.open({ ...parts, recordBytesMax }, end, checkpointSeq);
  }

  /** Bytes of records that come next. */
  next(...payloads: number[]): Uint8Array {
    let position = this.writer.writtenSeq;
    const records = payloads.map((bytes) => {
      const record = recordAt(position, this.epoch, this.seqs.length + 1, bytes);
      position += record.length;
      this.seqs.push(position);
      return record;
    });
    return Buffer.concat(records);
  }

  append(...payloads: number[]): number {
    return this.writer.append([this.next(...payloads)], this.writer.writtenSeq);
  }
}

/** Files by name, to be harmed, and a file system that reads them. */
export type Image = Map<string, Uint8Array>;

export function imageOf(fs: FileSystem, directory = DIRECTORY): Image {
  const names = fs.list(directory);
  return new Map(
    names.map((name) => {
      const fd = fs.open(`${directory}/${name}`, 0, 0);
      const bytes = new Uint8Array(fs.statFd(fd).bytes);
      fs.read(fd, bytes, bytes.length, 0);
      fs.close(fd);
      return [name, bytes];
    }),
  );
}

export function diskOf(image: Image): SimFileSystem {
  const disk = new SimFileSystem();
  for (const [name, bytes] of image) {
    const fd = disk.open(`${DIRECTORY}/${name}`, 0o102);
    disk.write(fd, bytes, 0);
    disk.syncData(fd);
  }
  const directory = disk.open(DIRECTORY, 0);
  disk.syncAll(directory);
  return disk;
}

/** A read-only file system of the image, without copies. */
export function readerOf(image: Image): FileSystem {
  const names = [...image.keys()];
  const named = (path: string): number => {
    const at = names.indexOf(path.slice(DIRECTORY.length + 1));
    if (at < 0) throw systemError('ENOENT');
    return at;
  };
  const bytesOf = (fd: number) => image.get(names[fd] as string) as Uint8Array;
  const stat = (fd: number) =>
    ({ kind: 'file', device: 1n, inode: BigInt(fd), bytes: bytesOf(fd).length }) as const;
  const only: Partial<FileSystem> = {
    open: named,
    close: () => undefined,
    list: () => names,
    statFd: stat,
    stat: (path) => stat(named(path)),
    read: (fd, target, bytes, position) => {
      const piece = bytesOf(fd).subarray(position, position + bytes);
      target.set(piece);
      return piece.length;
    },
  };
  return only as FileSystem;
}

export function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return 'none';
}
