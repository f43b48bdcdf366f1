/** What reading alone must leave as it is: a directory's content, and a file system that refuses. */
import { constants, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FileSystem, nodeFileSystem } from '../../../src/fs/file-system.ts';
import type { FileOperation } from '../../../src/harness/faulty-file-system.ts';

const READING: readonly FileOperation[] = ['open', 'close', 'read', 'stat', 'statFd', 'list'];

/** A file system on which every call that could change something fails, and is counted. */
export function readOnlyFileSystem(inner: FileSystem = nodeFileSystem) {
  const counts = { calls: 0, refused: 0 };
  const refuse = (): never => {
    counts.refused++;
    throw Object.assign(new Error('EROFS: injected'), { code: 'EROFS' });
  };
  const operations = Object.keys(nodeFileSystem) as FileOperation[];
  const calls = operations.map((operation) => [
    operation,
    (...args: unknown[]) => {
      counts.calls++;
      const writes = constants.O_WRONLY | constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;
      const reads = operation !== 'open' || ((args[1] as number) & writes) === 0;
      if (!READING.includes(operation) || !reads) return refuse();
      return (inner[operation] as (...all: unknown[]) => unknown)(...args);
    },
  ]);
  return { fileSystem: Object.fromEntries(calls) as FileSystem, counts };
}

/** Everything in the directory: names, modes, times of change, bytes. */
export function contentOf(directory: string): unknown {
  return ['.', ...readdirSync(directory)].map((name) => {
    const { mode, mtimeMs, ctimeMs, size } = lstatSync(join(directory, name));
    const bytes = name === '.' ? '' : readFileSync(join(directory, name), 'latin1');
    return { name, mode, mtimeMs, ctimeMs, size, bytes };
  });
}
