/** Stores in real directories, and ways to harm them. */
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { type FilePlan, faultyFileSystem } from '../../../src/harness/faulty-file-system.ts';
import type { StoreChange } from '../../../src/store/contract.ts';
import { FileBackend, type FileBackendOptions } from '../../../src/store/file-backend.ts';
import { BLOB_BYTES, newContext, temporaryDirectory } from './support.ts';

export function change(parts: Partial<StoreChange> = {}): StoreChange {
  return { mapped: [], deleted: [], nextBlobId: 1, ...parts };
}

export function mapping(id: number, slot = id): StoreChange {
  return change({ mapped: [{ id, slot, checksum: BigInt(id) }], nextBlobId: id + 1 });
}

export async function open(
  directory: string,
  options: FileBackendOptions = {},
  context = newContext(),
) {
  const backend = new FileBackend(directory, context, options);
  return { backend, image: await backend.open(), context };
}

/** A store with blobs 1 and 2, closed. */
export async function newStore(): Promise<string> {
  const directory = temporaryDirectory();
  const { backend } = await open(directory);
  for (const id of [1, 2]) {
    backend.writeSlot(id, new Uint8Array(BLOB_BYTES).fill(id));
    backend.sync();
    backend.commit(mapping(id));
  }
  await backend.close();
  return directory;
}

export function manifests(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.startsWith('manifest-'));
}

export function flipByte(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] as number) ^ 1;
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, at, 1, at);
  closeSync(fd);
}

/** Fails the next calls of an operation, once told to. */
export function failing(directory: string, options: FileBackendOptions = {}) {
  const fs = faultyFileSystem(nodeFileSystem);
  const fail = (operation: string, errno = 'EIO', times = 1): void => {
    let left = times;
    const plan: FilePlan = (call) =>
      call.operation === operation && left-- > 0 ? errno : undefined;
    fs.plan = plan;
  };
  const opened = open(directory, { ...options, fileSystem: fs });
  return opened.then((rest) => ({ ...rest, fs, fail }));
}
