/** Whole reads and writes over short ones, own files, directories. */
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import {
  DirectorySync,
  makeDirectories,
  OPEN_CREATE,
  OPEN_NEW,
  OPEN_READ,
  openOwn,
  readFully,
  readOwn,
  writeFully,
  writeFullyAsync,
} from '../../../src/fs/files.ts';
import { faultyFileSystem, patched } from '../../../src/harness/faulty-file-system.ts';
import { errorFrom, rejectionOf, temporaryDirectory } from '../store/support.ts';

const BYTES = Uint8Array.from({ length: 1000 }, (_, index) => index % 251);

function newFile() {
  const path = join(temporaryDirectory(), 'file');
  const fs = faultyFileSystem(nodeFileSystem);
  return { fs, path, fd: openOwn(fs, path, OPEN_NEW) };
}

/** Every second call of these fails with the errno. */
function everySecond(errno: string, ...operations: string[]) {
  let count = 0;
  return ({ operation }: { operation: string }) =>
    operations.includes(operation) && ++count % 2 === 1 ? errno : undefined;
}

describe('whole reads and writes', () => {
  it.each([1, 7, 999])('are made of calls that move %i bytes at most', async (bytesMax) => {
    const { fs, path, fd } = newFile();
    fs.bytesMax = bytesMax;
    writeFully(fs, { fd, path, position: 3 }, BYTES);
    await writeFullyAsync(fs, { fd, path, position: 1003 }, BYTES);
    const target = new Uint8Array(2000);
    expect(readFully(fs, { fd, path, position: 3 }, target)).toBe(2000);
    expect(Buffer.from(target)).toEqual(Buffer.concat([BYTES, BYTES]));
  });

  it.each(['EINTR', 'EAGAIN'])('go on after %s', async (errno) => {
    const { fs, path, fd } = newFile();
    fs.bytesMax = 100;
    fs.plan = everySecond(errno, 'read', 'write', 'writeAsync');
    writeFully(fs, { fd, path, position: 0 }, BYTES);
    await writeFullyAsync(fs, { fd, path, position: 0 }, BYTES);
    const target = new Uint8Array(1000);
    expect(readFully(fs, { fd, path, position: 0 }, target)).toBe(1000);
    expect(target).toEqual(BYTES);
  });

  it('give up when nothing moves any more', async () => {
    const { fs, path, fd } = newFile();
    const stuck = patched(fs, { write: () => 0, writeAsync: async () => 0 });
    const place = { fd, path, position: 0 };
    expect(errorFrom(() => writeFully(stuck, place, BYTES))['code']).toBe('STORE_IO');
    expect((await rejectionOf(writeFullyAsync(stuck, place, BYTES)))['code']).toBe('STORE_IO');
    fs.plan = () => 'EINTR';
    expect(errorFrom(() => readFully(fs, place, new Uint8Array(1)))['code']).toBe('STORE_IO');
  });

  it('end early at the end of the file only', () => {
    const { fs, path, fd } = newFile();
    writeFully(fs, { fd, path, position: 0 }, BYTES);
    expect(readFully(fs, { fd, path, position: 990 }, new Uint8Array(100))).toBe(10);
  });

  it.each([
    ['ENOSPC', 'Free space'],
    ['EACCES', 'permission'],
    ['EMFILE', 'ulimit -n'],
    ['EIO', 'system log'],
    ['EROFS', 'read-only'],
    ['ESOMETHING', 'See the cause'],
  ])('report %s with what to do', (errno, advice) => {
    const { fs, path, fd } = newFile();
    fs.bytesMax = 600;
    fs.plan = (_, count) => (count === fs.calls.length && fs.calls.length >= 4 ? errno : undefined);
    const error = errorFrom(() =>
      writeFully(fs, { fd, path, position: 50, details: { slot: 9 } }, BYTES),
    );
    expect(error).toMatchObject({
      code: 'STORE_IO',
      outcome: 'not_applied',
      details: { operation: 'write', path, errno, offset: 650, slot: 9 },
      cause: { code: errno },
    });
    expect(error.message).toContain(advice);
  });
});

describe('own files', () => {
  it('are made for their owner alone', () => {
    const { path } = newFile();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('are not followed through a symbolic link', () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'target'), 'secret');
    symlinkSync(join(directory, 'target'), join(directory, 'link'));
    const error = errorFrom(() => openOwn(nodeFileSystem, join(directory, 'link'), OPEN_CREATE));
    expect(error['details']).toMatchObject({ operation: 'open', errno: 'ELOOP' });
    expect(readFileSync(join(directory, 'target'), 'utf8')).toBe('secret');
  });

  it('are no directories', () => {
    const directory = temporaryDirectory();
    const error = errorFrom(() => openOwn(nodeFileSystem, directory, OPEN_READ));
    expect(error['code']).toBe('STORE_IO');
  });

  it('are read as a whole or in part', () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'file'), BYTES);
    expect(readOwn(nodeFileSystem, join(directory, 'file'))).toEqual(BYTES);
    expect(readOwn(nodeFileSystem, join(directory, 'file'), 10)).toEqual(BYTES.subarray(0, 10));
  });

  it('leave no descriptor open when they turn out to be something else', () => {
    const opened = new Set<number>();
    const fs = patched(nodeFileSystem, {
      open: (...args) => {
        const fd = nodeFileSystem.open(...args);
        opened.add(fd);
        return fd;
      },
      close: (fd) => {
        opened.delete(fd);
        nodeFileSystem.close(fd);
      },
    });
    expect(() => openOwn(fs, temporaryDirectory(), OPEN_READ)).toThrow();
    expect(opened.size).toBe(0);
  });
});

describe('directories', () => {
  it('are made with their missing parents, for their owner alone, and their names synced', () => {
    const root = temporaryDirectory();
    const path = join(root, 'a', 'b', 'c');
    const fs = faultyFileSystem(nodeFileSystem);
    const directorySync = new DirectorySync(fs);
    makeDirectories(fs, path, directorySync);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(statSync(join(root, 'a')).mode & 0o777).toBe(0o700);
    for (const parent of [root, join(root, 'a'), join(root, 'a', 'b')]) {
      expect(directorySync.isSupported(parent)).toBe(true);
    }
    const before = fs.calls.length;
    makeDirectories(fs, path, directorySync);
    expect(fs.calls.slice(before).map(({ operation }) => operation)).toEqual(['stat']);
  });

  it('may be made by somebody else in between', () => {
    const path = join(temporaryDirectory(), 'a');
    const fs = patched(nodeFileSystem, {
      makeDirectory: (made, mode) => {
        mkdirSync(made);
        nodeFileSystem.makeDirectory(made, mode);
      },
    });
    makeDirectories(fs, path, new DirectorySync(fs));
    expect(statSync(path).isDirectory()).toBe(true);
  });

  it('are refused where a file has the name or a part of it', () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    const directorySync = new DirectorySync(nodeFileSystem);
    for (const path of [file, join(file, 'below')]) {
      const error = errorFrom(() => makeDirectories(nodeFileSystem, path, directorySync));
      expect(error['code']).toBe('STORE_IO');
      expect(error.message).toContain('directory');
    }
  });

  it.each([
    ['open', 'EISDIR'],
    ['open', 'EPERM'],
    ['open', 'EACCES'],
    ['syncAll', 'EINVAL'],
  ])('whose %s says %s cannot be synced, which is remembered', (operation, errno) => {
    const directory = temporaryDirectory();
    const fs = faultyFileSystem(nodeFileSystem, (call) =>
      call.operation === operation ? errno : undefined,
    );
    const directorySync = new DirectorySync(fs);
    expect(directorySync.isSupported(directory)).toBe(undefined);
    directorySync.sync(directory);
    expect(directorySync.isSupported(directory)).toBe(false);
    const calls = fs.calls.length;
    directorySync.sync(directory);
    expect(fs.calls.length).toBe(calls);
  });

  it('that cannot be synced for another reason, or no longer, are an error', () => {
    const directory = temporaryDirectory();
    const fs = faultyFileSystem(nodeFileSystem, () => 'EIO');
    const directorySync = new DirectorySync(fs);
    expect(errorFrom(() => directorySync.sync(directory))['code']).toBe('STORE_IO');
    fs.plan = () => undefined;
    directorySync.sync(directory);
    fs.plan = ({ operation }) => (operation === 'syncAll' ? 'EINVAL' : undefined);
    expect(errorFrom(() => directorySync.sync(directory))['code']).toBe('STORE_IO');
  });
});
