/** The file store opened for reading only: what it reads, whom it lives beside, that it writes nothing. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { failAt, faultyFileSystem, patched } from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { attachBackend, createBackend } from '../../../src/store/attach-backend.ts';
import { abstractSockets, type LockSockets } from '../../../src/store/directory-lock.ts';
import { FileBackend, type FileBackendOptions } from '../../../src/store/file-backend.ts';
import { testSeed } from '../../support/seed.ts';
import { contentOf, readOnlyFileSystem } from '../fs/untouched.ts';
import { bundled } from './bundle.ts';
import { change, flipByte, mapping, newStore, open } from './file-support.ts';
import {
  BLOB_BYTES,
  comparable,
  errorFrom,
  newContext,
  randomFrom,
  rejectionOf,
  temporaryDirectory,
} from './support.ts';
import { History, runWorkload, simOptions } from './workload.ts';

const READ_ONLY: FileBackendOptions = { readOnly: true };

/** Slots 1 and 2 hold what `newStore` has written. */
function expectBlobs(backend: Pick<FileBackend, 'readSlot'>): void {
  const target = new Uint8Array(new SharedArrayBuffer(BLOB_BYTES));
  for (const slot of [1, 2]) {
    backend.readSlot(slot, target);
    expect(target.every((byte) => byte === slot)).toBe(true);
  }
}

async function writer(directory: string, mode: string): Promise<ChildProcess> {
  const program = bundled(new URL('./lock-holder.ts', import.meta.url));
  const child = spawn(process.execPath, [program, directory, mode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  expect(line.toString()).toBe('open\n');
  return child;
}

describe('opening for reading only', () => {
  it('gives what is committed, with the id and the epoch as they are stored', async () => {
    const directory = await newStore();
    const { backend: writing, image: written } = await open(directory);
    writing.commit(change({ nextBlobId: 9, checkpointSeq: 4, roots: new Map([[3, 1]]) }));
    await writing.close();
    for (let round = 0; round < 3; round++) {
      const { backend, image } = await open(directory, READ_ONLY);
      expect(image).toEqual({
        storeId: written.storeId,
        blobs: [1, 2].map((id) => ({ id, slot: id, checksum: BigInt(id) })),
        roots: new Map([[3, 1]]),
        nextBlobId: 9,
        commitNumber: 3,
        epoch: 2,
        checkpointSeq: 4,
      });
      expectBlobs(backend);
      expect(backend.usage()).toEqual({
        dataBytes: 3 * BLOB_BYTES,
        manifestBytes: statSync(join(directory, 'manifest-2')).size,
      });
      expect(backend.writesDirectly).toBe(false);
      await backend.close();
    }
  });

  it('makes no call that changes anything, from opening to closing, also attached', async () => {
    const directory = await newStore();
    chmodSync(join(directory, 'blobs.dat'), 0o444);
    chmodSync(join(directory, 'manifest-1'), 0o444);
    chmodSync(directory, 0o555);
    const before = contentOf(directory);
    const { fileSystem, counts } = readOnlyFileSystem();
    const options = { ...READ_ONLY, directWrites: true, fileSystem };
    const { backend, context } = await open(directory, options);
    expectBlobs(backend);
    const other = FileBackend.attach(
      structuredClone(backend.handle()),
      newContext(BLOB_BYTES, context.shared),
      { fileSystem },
    );
    expectBlobs(other);
    const { commit, sync, writeSlot } = errorsOf(other);
    for (const error of [commit, sync, writeSlot])
      expect(error).toMatchObject(refusalIn(directory));
    await other.close();
    await backend.close();
    await backend.close();
    expect(counts.refused).toBe(0);
    expect(counts.calls).toBeGreaterThan(15);
    expect(contentOf(directory)).toEqual(before);
    chmodSync(directory, 0o755);
  });

  it('is counted by a file system that would see a write', async () => {
    const { fileSystem, counts } = readOnlyFileSystem();
    const error = await rejectionOf(open(await newStore(), { fileSystem }));
    expect(error).toMatchObject({ code: 'STORE_IO', details: { errno: 'EROFS' } });
    expect(counts.refused).toBeGreaterThan(0);
  });

  it('refuses to write, sync and commit, and the store stays as it was', async () => {
    const directory = await newStore();
    const before = contentOf(directory);
    const { backend } = await open(directory, READ_ONLY);
    for (const [operation, error] of Object.entries(errorsOf(backend))) {
      expect(error).toMatchObject(refusalIn(directory, operation));
    }
    const batch = backend.writeSlots([{ slot: 1, source: new Uint8Array(BLOB_BYTES) }]);
    expect(await rejectionOf(batch)).toMatchObject(refusalIn(directory, 'writeSlots'));
    expectBlobs(backend);
    await backend.close();
    expect(errorFrom(() => backend.sync())['code']).toBe('POOL_CLOSED');
    expect(contentOf(directory)).toEqual(before);
  });

  it('works through the backends of descriptions and handles', async () => {
    const directory = await newStore();
    const { fileSystem, counts } = readOnlyFileSystem();
    const context = newContext();
    const spec = { kind: 'file', directory, readOnly: true, fileSystem } as const;
    const backend = await createBackend(spec, context);
    expect((await backend.open()).blobs).toHaveLength(2);
    expect(counts.calls).toBeGreaterThan(5);
    const before = contentOf(directory);
    const handle = structuredClone(backend.handle());
    const other = await attachBackend(handle, newContext(BLOB_BYTES, context.shared));
    expectBlobs(other);
    expect(errorFrom(() => other.commit(change()))).toMatchObject(refusalIn(directory));
    await other.close();
    await backend.close();
    expect(contentOf(directory)).toEqual(before);
    expect(counts.refused).toBe(0);
  });

  it('works on a simulated file system', async () => {
    const disk = new SimFileSystem();
    const { backend } = await open('/sim', simOptions(1, disk));
    backend.writeSlot(0, new Uint8Array(BLOB_BYTES).fill(7));
    backend.sync();
    backend.commit(mapping(1, 0));
    await backend.close();
    const { fileSystem, counts } = readOnlyFileSystem(disk);
    const reading = await open('/sim', { ...simOptions(2, fileSystem), readOnly: true });
    expect(reading.image).toMatchObject({ storeId: 77n, epoch: 1, commitNumber: 1 });
    const target = new Uint8Array(BLOB_BYTES);
    reading.backend.readSlot(0, target);
    expect(target[0]).toBe(7);
    await reading.backend.close();
    expect(counts.refused).toBe(0);
  });

  function errorsOf(backend: FileBackend) {
    return {
      writeSlot: errorFrom(() => backend.writeSlot(1, new Uint8Array(BLOB_BYTES))),
      sync: errorFrom(() => backend.sync()),
      commit: errorFrom(() => backend.commit(change({ deleted: [1] }))),
    };
  }

  function refusalIn(path: string, operation: unknown = expect.any(String)) {
    return { code: 'READ_ONLY', outcome: 'not_applied', details: { operation, path } };
  }
});

describe('a reader', () => {
  it('may be one of several, and gives way to a writer', async () => {
    const directory = await newStore();
    const opened = await Promise.all([1, 2, 3].map(() => open(directory, READ_ONLY)));
    const [first, second, third] = opened;
    expect(comparable(second?.image as never)).toEqual(comparable(first?.image as never));
    for (const { backend } of opened) expectBlobs(backend);
    await third?.backend.close();
    const { backend: writing, image } = await open(directory);
    expect(image.epoch).toBe(2);
    await writing.close();
    for (const { backend } of [first, second] as typeof opened) {
      expectBlobs(backend);
      await backend.close();
    }
  });

  it.each([
    ['sockets', READ_ONLY],
    ['files', { ...READ_ONLY, lock: { sockets: simOptions(1, nodeFileSystem).lock?.sockets } }],
  ] as const)('is refused beside a living writer, not after its kill (%s)', async (mode, given) => {
    const directory = await newStore();
    const child = await writer(directory, mode);
    const options = given as FileBackendOptions;
    const before = contentOf(directory);
    const refusal = await rejectionOf(open(directory, options));
    expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: child.pid } });
    expect(contentOf(directory)).toEqual(before);
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    const { fileSystem, counts } = readOnlyFileSystem();
    const { backend, image } = await open(directory, { ...options, fileSystem });
    expect(image).toMatchObject({ epoch: 2, nextBlobId: 5, commitNumber: 3 });
    expectBlobs(backend);
    await backend.close();
    expect(counts.refused).toBe(0);
    expect(contentOf(directory)).toEqual(before);
  });

  it('is refused beside a writer of the same process, not once that has closed', async () => {
    const directory = await newStore();
    const { backend: writing } = await open(directory);
    const refusal = await rejectionOf(open(directory, READ_ONLY));
    expect(refusal).toMatchObject({ code: 'STORE_LOCKED', details: { pid: process.pid } });
    await writing.close();
    const { backend } = await open(directory, READ_ONLY);
    expectBlobs(backend);
    await backend.close();
  });

  it.each([
    ['taken', 'STORE_LOCKED'],
    ['free', 'STORE_IO'],
  ] as const)(
    'that finds the files gone is told of the writer that came (%s)',
    async (later, code) => {
      const directory = await newStore();
      let asked = 0;
      const sockets: LockSockets = {
        ...abstractSockets,
        ask: async () => (++asked === 1 ? 'free' : later),
      };
      const fileSystem = faultyFileSystem(nodeFileSystem, ({ operation, path }) =>
        operation === 'open' && path?.endsWith('manifest-1') ? 'ENOENT' : undefined,
      );
      const refusal = await rejectionOf(
        open(directory, { ...READ_ONLY, lock: { sockets }, fileSystem }),
      );
      expect(refusal['code']).toBe(code);
      expect(asked).toBe(2);
    },
  );
});

describe('what is there', () => {
  it('R1 after a power loss is for a reader what it is for a writer', async () => {
    let compared = 0;
    for (let n = 1; n < 200; n += 3) {
      const disk = new SimFileSystem();
      const history = new History();
      const failing = faultyFileSystem(disk, failAt(n, 'EIO', true));
      await runWorkload(failing, history, { died: () => failing.calls.length >= n, close: true });
      const after = disk.afterCrash(randomFrom(testSeed(), n));
      const { fileSystem, counts } = readOnlyFileSystem(after);
      const reading = open('/sim', { ...simOptions(100, fileSystem), readOnly: true });
      const seen = await reading.then((opened) => opened.image).catch((error: Error) => error);
      expect(counts.refused).toBe(0);
      const { backend, image } = await open('/sim', simOptions(101, after));
      await backend.close();
      if (seen instanceof Error) {
        expect(seen).toMatchObject({ code: 'STORE_IO', details: { errno: 'ENOENT' } });
        expect(image).toMatchObject({ commitNumber: 0, epoch: 1 });
      } else {
        compared++;
        expect(seen).toEqual({ ...image, epoch: image.epoch - 1 });
      }
    }
    expect(compared).toBeGreaterThan(20);
  });

  it('may end in a torn record, which is ignored and stays', async () => {
    const directory = await newStore();
    const { backend: writing } = await open(directory);
    writing.commit(change({ nextBlobId: 7 }));
    const path = join(directory, 'manifest-2');
    const whole = readFileSync(path);
    writing.commit(change({ deleted: [1, 2] }));
    const tail = readFileSync(path).subarray(whole.length);
    await writing.close(false);
    writeFileSync(path, Buffer.concat([whole, tail.subarray(0, 30)]));
    const before = contentOf(directory);
    for (let round = 0; round < 2; round++) {
      const { backend, image } = await open(directory, READ_ONLY);
      expect(image).toMatchObject({ commitNumber: 3, nextBlobId: 7, epoch: 2 });
      expectBlobs(backend);
      expect(backend.usage().manifestBytes).toBe(whole.length);
      await backend.close();
    }
    expect(contentOf(directory)).toEqual(before);
  });

  it('keeps what crashes have left', async () => {
    const directory = await newStore();
    const leftovers = ['lock-0123456789abcdef', 'lock-0123456789abcdef.tmp', 'manifest-9.ab.tmp'];
    for (const name of leftovers) writeFileSync(join(directory, name), '');
    const before = contentOf(directory);
    const { backend } = await open(directory, READ_ONLY);
    await backend.close();
    expect(contentOf(directory)).toEqual(before);
  });

  it('must be a store: a directory that is missing or has none is not made one', async () => {
    const parent = temporaryDirectory();
    const empty = join(parent, 'empty');
    mkdirSync(empty);
    for (const directory of [join(parent, 'a', 'b'), empty]) {
      const error = await rejectionOf(open(directory, READ_ONLY));
      expect(error).toMatchObject({
        code: 'STORE_IO',
        outcome: 'not_applied',
        details: { operation: 'open', path: directory, errno: 'ENOENT' },
      });
      expect(error.message).toContain(`no store in ${directory}`);
    }
    expect(readdirSync(parent)).toEqual(['empty']);
    expect(readdirSync(empty)).toEqual([]);
  });

  it('must be a directory', async () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, 'mine');
    for (const path of [file, join(file, 'below')]) {
      const error = await rejectionOf(open(path, READ_ONLY));
      expect(error).toMatchObject({ code: 'STORE_IO', details: { errno: 'ENOTDIR' } });
    }
  });

  it('need not have a data file, or bytes in it, without blobs', async () => {
    const directory = temporaryDirectory();
    const { backend: writing } = await open(directory);
    await writing.close();
    for (const missing of [false, true]) {
      if (missing) rmSync(join(directory, 'blobs.dat'));
      const { backend, image, context } = await open(directory, READ_ONLY);
      expect(image.blobs).toEqual([]);
      const handle = structuredClone(backend.handle());
      const other = FileBackend.attach(handle, newContext(BLOB_BYTES, context.shared));
      for (const each of [backend, other]) {
        expect(each.usage().dataBytes).toBe(0);
        expect(each.writesDirectly).toBe(false);
        expect(errorFrom(() => each.readSlot(2, new Uint8Array(BLOB_BYTES)))).toMatchObject({
          code: 'STORE_IO',
          details: { operation: 'read', slot: 2, offset: 2 * BLOB_BYTES },
        });
        expect(errorFrom(() => each.readSlot(2, new Uint8Array(9)))).toBeInstanceOf(RangeError);
        expect(errorFrom(() => each.sync())['code']).toBe('READ_ONLY');
        await each.close();
      }
      expect(existsSync(join(directory, 'blobs.dat'))).toBe(!missing);
    }
  });

  it('is refused when it is damaged, as it is for writing', async () => {
    const directory = await newStore();
    const mismatch = await rejectionOf(open(directory, READ_ONLY, newContext(8192)));
    expect(mismatch).toMatchObject({ code: 'BLOB_SIZE_MISMATCH' });
    const manifest = join(directory, 'manifest-1');
    const last = statSync(manifest).size - 1;
    flipByte(manifest, last);
    expect(await rejectionOf(open(directory, READ_ONLY))).toMatchObject({
      code: 'MANIFEST_CORRUPT',
    });
    flipByte(manifest, last);
    truncateSync(join(directory, 'blobs.dat'), 3 * BLOB_BYTES - 1);
    const cut = await rejectionOf(open(directory, READ_ONLY));
    expect(cut).toMatchObject({ code: 'MANIFEST_CORRUPT', details: { id: 2, slot: 2 } });
    rmSync(manifest);
    const lost = await rejectionOf(open(directory, READ_ONLY));
    expect(lost).toMatchObject({ code: 'MANIFEST_CORRUPT' });
    expect(readdirSync(directory)).toEqual(['blobs.dat']);
  });

  it('leaves no descriptor open, whatever call failed', async () => {
    const directory = await newStore();
    const opened = new Set<number>();
    const counting = patched(nodeFileSystem, {
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
    for (let n = 1; ; n++) {
      const fileSystem = faultyFileSystem(counting, (_, count) =>
        count === n ? 'EIO' : undefined,
      );
      const backend = new FileBackend(directory, newContext(), { ...READ_ONLY, fileSystem });
      await backend.open().catch(() => undefined);
      await backend.close();
      const lost = fileSystem.calls[n - 1]?.operation === 'close' ? 1 : 0;
      expect(opened.size).toBeLessThanOrEqual(lost);
      for (const fd of opened) nodeFileSystem.close(fd);
      opened.clear();
      if (n > fileSystem.calls.length) break;
    }
  });
});
