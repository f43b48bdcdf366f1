/** The file store: bad directories, new manifests, what platforms lack, descriptors. */
import {
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import {
  type FilePlan,
  faultyFileSystem,
  patched,
} from '../../../src/harness/faulty-file-system.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { FileBackend, storedBlobBytes } from '../../../src/store/file-backend.ts';
import { BLOCK_BYTES, FIRST_RECORD } from '../../../src/store/manifest.ts';
import { change, failing, flipByte, manifests, mapping, newStore, open } from './file-support.ts';
import {
  BLOB_BYTES,
  checksummer,
  errorFrom,
  newContext,
  newShared,
  rejectionOf,
  temporaryDirectory,
} from './support.ts';

describe('opening a directory', () => {
  it('makes files for their owner alone, and nothing else', async () => {
    const directory = join(temporaryDirectory(), 'made', 'here');
    const { backend } = await open(directory);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    const names = readdirSync(directory);
    expect(names.toSorted()).toEqual([
      'blobs.dat',
      expect.stringMatching(/^lock-[0-9a-f]{16}$/),
      'manifest-1',
    ]);
    for (const name of names) expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    await backend.close();
  });

  it('refuses a path that is a file', async () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, 'mine');
    const error = await rejectionOf(open(file));
    expect(error).toMatchObject({ code: 'STORE_IO', details: { path: file, errno: 'ENOTDIR' } });
    expect(readFileSync(file, 'utf8')).toBe('mine');
  });

  it.each(['EACCES', 'EROFS', 'ENOSPC', 'EMFILE'])(
    'says what to do when the first file cannot be made (%s)',
    async (errno) => {
      const directory = temporaryDirectory();
      const plan: FilePlan = ({ operation, path }) =>
        operation === 'open' && path?.endsWith('.tmp') ? errno : undefined;
      const fileSystem = faultyFileSystem(nodeFileSystem, plan);
      const error = await rejectionOf(open(directory, { fileSystem }));
      expect(error).toMatchObject({ code: 'STORE_IO', details: { operation: 'open', errno } });
      expect(readdirSync(directory)).toEqual([]);
    },
  );

  it('refuses another blob size and names both', async () => {
    const directory = await newStore();
    const error = await rejectionOf(open(directory, {}, newContext(8192)));
    expect(error).toMatchObject({
      code: 'BLOB_SIZE_MISMATCH',
      details: { found: BLOB_BYTES, wanted: 8192 },
    });
    expect(error.message).toMatch(/4096.*8192/s);
    expect(storedBlobBytes(directory, checksummer)).toBe(BLOB_BYTES);
    expect(storedBlobBytes(temporaryDirectory(), checksummer)).toBe(undefined);
    expect(storedBlobBytes(join(directory, 'missing'), checksummer)).toBe(undefined);
  });

  it.each(['blobs.dat', 'manifest-1'])('refuses %s behind a symbolic link', async (name) => {
    const directory = await newStore();
    const elsewhere = join(temporaryDirectory(), 'elsewhere');
    renameSync(join(directory, name), elsewhere);
    const before = readFileSync(elsewhere);
    symlinkSync(elsewhere, join(directory, name));
    const error = await rejectionOf(open(directory));
    expect(error).toMatchObject({ code: 'STORE_IO', details: { errno: 'ELOOP' } });
    expect(error.message).toContain('symbolic link');
    expect(readFileSync(elsewhere)).toEqual(before);
  });

  it('refuses a directory where the data file belongs', async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'blobs.dat'));
    expect((await rejectionOf(open(directory)))['code']).toMatch(/STORE_IO|MANIFEST_CORRUPT/);
  });

  it('refuses blobs whose manifest is lost', async () => {
    const directory = await newStore();
    renameSync(join(directory, 'manifest-1'), join(temporaryDirectory(), 'manifest-1'));
    const error = await rejectionOf(open(directory));
    expect(error).toMatchObject({
      code: 'MANIFEST_CORRUPT',
      details: { dataBytes: 3 * BLOB_BYTES },
    });
  });

  it.each([0, BLOB_BYTES, 3 * BLOB_BYTES - 1])(
    'refuses a data file that was cut to %i bytes',
    async (bytes) => {
      const directory = await newStore();
      truncateSync(join(directory, 'blobs.dat'), bytes);
      const error = await rejectionOf(open(directory));
      expect(error).toMatchObject({
        code: 'MANIFEST_CORRUPT',
        details: { id: 2, slot: 2, dataBytes: bytes, needed: 3 * BLOB_BYTES },
      });
      expect(manifests(directory)).toEqual(['manifest-1']);
    },
  );

  it('refuses a missing data file when there are blobs', async () => {
    const directory = await newStore();
    renameSync(join(directory, 'blobs.dat'), join(temporaryDirectory(), 'x'));
    expect((await rejectionOf(open(directory)))['code']).toBe('MANIFEST_CORRUPT');
    expect(existsSync(join(directory, 'blobs.dat'))).toBe(false);
  });

  it('refuses a manifest that was damaged after a clean close, and leaves everything as it is', async () => {
    const directory = await newStore();
    const path = join(directory, 'manifest-1');
    const size = statSync(path).size;
    flipByte(path, size - 1);
    const error = await rejectionOf(open(directory));
    expect(error).toMatchObject({
      code: 'MANIFEST_CORRUPT',
      details: { path, offset: size - BLOCK_BYTES },
    });
    flipByte(path, size - 1);
    const { backend, image } = await open(directory);
    expect(image.commitNumber).toBe(2);
    await backend.close();
  });

  it('never falls back to an older manifest when the newest is damaged', async () => {
    const directory = await newStore();
    const old = readFileSync(join(directory, 'manifest-1'));
    const { backend } = await open(directory);
    backend.commit(change({ deleted: [1] }));
    await backend.close();
    writeFileSync(join(directory, 'manifest-1'), old);
    flipByte(join(directory, 'manifest-2'), 100);
    const error = await rejectionOf(open(directory));
    expect(error).toMatchObject({
      code: 'MANIFEST_CORRUPT',
      details: { path: join(directory, 'manifest-2'), offset: 0 },
    });
  });

  it('drops older manifests and temporary files, and nothing that is not its own', async () => {
    const directory = await newStore();
    const strangers = ['manifest-x', 'manifest-0', 'notes.txt', 'manifest-1.tmp'];
    for (const name of [...strangers, 'manifest-9.abc123.tmp']) {
      writeFileSync(join(directory, name), 'x');
    }
    const { backend } = await open(directory);
    const names = readdirSync(directory).filter((name) => !name.startsWith('lock-'));
    expect(names.toSorted()).toEqual(['blobs.dat', 'manifest-2', ...strangers].toSorted());
    await backend.close();
  });

  it('begins a new manifest each time, so that a torn tail never comes back', async () => {
    const directory = await newStore();
    const { backend } = await open(directory);
    backend.commit(change({ deleted: [1] }));
    const before = readFileSync(join(directory, 'manifest-2'));
    backend.commit(change({ deleted: [2] }));
    const whole = readFileSync(join(directory, 'manifest-2'));
    const tail = whole.subarray(before.length);
    await backend.close();
    // As if the machine had died within the last commit: half of its record, no close block.
    writeFileSync(join(directory, 'manifest-2'), Buffer.concat([before, tail.subarray(0, 30)]));
    const second = await open(directory);
    expect(second.image.blobs.map(({ id }) => id)).toEqual([2]);
    const end = statSync(join(directory, 'manifest-3')).size;
    await second.backend.close();
    // The lost record at the place where the new file's first one would be.
    const current = readFileSync(join(directory, 'manifest-3')).subarray(0, end);
    current.fill(0, BLOCK_BYTES, FIRST_RECORD);
    writeFileSync(join(directory, 'manifest-3'), Buffer.concat([current, tail]));
    const third = await open(directory);
    expect(third.image.blobs.map(({ id }) => id)).toEqual([2]);
    await third.backend.close();
  });

  it('may be tried again after it failed', async () => {
    const directory = await newStore();
    const fileSystem = faultyFileSystem(nodeFileSystem, ({ operation }) =>
      operation === 'syncAll' ? 'EIO' : undefined,
    );
    expect((await rejectionOf(open(directory, { fileSystem })))['code']).toBe('STORE_IO');
    const { backend, image } = await open(directory);
    expect(image.commitNumber).toBe(2);
    await backend.close();
  });

  it('is done once for each object', async () => {
    const { backend } = await open(temporaryDirectory());
    expect(await rejectionOf(backend.open())).toBeInstanceOf(TypeError);
    await backend.close();
    const unopened = new FileBackend(temporaryDirectory(), newContext());
    expect(errorFrom(() => unopened.handle())['code']).toBe('POOL_CLOSED');
    await unopened.close();
  });
});

describe('new manifests', () => {
  it('begin when the log has outgrown its snapshot, with the commit in them', async () => {
    const directory = temporaryDirectory();
    const { backend } = await open(directory, { manifestLogBytes: 4 * BLOCK_BYTES });
    const seen = new Set<string>();
    for (let id = 1; id <= 20; id++) {
      backend.writeSlot(id, new Uint8Array(BLOB_BYTES));
      backend.commit(mapping(id));
      expect(manifests(directory)).toHaveLength(1);
      seen.add(manifests(directory)[0] as string);
    }
    expect(seen.size).toBe(5);
    await backend.close();
    const { backend: again, image } = await open(directory);
    expect(image.blobs).toHaveLength(20);
    expect(image.commitNumber).toBe(20);
    await again.close();
  });

  it('are found by threads that had the old one open', async () => {
    const directory = temporaryDirectory();
    const options = { manifestLogBytes: BLOCK_BYTES };
    const { backend, context } = await open(directory, options);
    const other = FileBackend.attach(
      backend.handle(),
      newContext(BLOB_BYTES, context.shared),
      options,
    );
    for (let id = 1; id <= 30; id++) {
      const committer = id % 3 === 0 ? backend : other;
      committer.writeSlot(id, new Uint8Array(BLOB_BYTES));
      committer.commit(mapping(id));
    }
    await other.close();
    await backend.close();
    const { backend: again, image } = await open(directory);
    expect(image.blobs).toHaveLength(30);
    await again.close();
  });

  it.each(['link', 'syncAll', 'open'])(
    'that cannot be made (%s fails) leave the old one in use while nothing is decided',
    async (operation) => {
      const directory = await newStore();
      const { backend, fs } = await failing(directory, { manifestLogBytes: BLOCK_BYTES });
      let hits = 0;
      fs.plan = (call) => {
        const newFile = operation !== 'open' || (call.path?.endsWith('.tmp') ?? false);
        return call.operation === operation && newFile && ++hits === 1 ? 'ENOSPC' : undefined;
      };
      for (let id = 3; id < 16; id++) backend.commit(change({ nextBlobId: id }));
      expect(hits).toBeGreaterThan(1);
      await backend.close();
      const { backend: again, image } = await open(directory);
      expect(image).toMatchObject({ nextBlobId: 15, commitNumber: 15 });
      expect(manifests(directory)).toHaveLength(1);
      await again.close();
    },
  );

  it('whose name could not be synced have an unknown outcome', async () => {
    const directory = await newStore();
    const { backend, fs } = await failing(directory, { manifestLogBytes: BLOCK_BYTES });
    let syncs = 0;
    fs.plan = ({ operation }) => (operation === 'syncAll' && ++syncs === 2 ? 'EIO' : undefined);
    let error: Record<string, unknown> | undefined;
    for (let id = 3; id < 16 && error === undefined; id++) {
      try {
        backend.commit(change({ nextBlobId: id }));
      } catch (caught) {
        error = caught as Record<string, unknown>;
      }
    }
    expect(error).toMatchObject({ code: 'STORE_IO', outcome: 'unknown' });
    expect(errorFrom(() => backend.commit(change()))['code']).toBe('STORE_IO');
    await backend.close();
  });

  it('refuse to be made from one that was damaged meanwhile', async () => {
    const directory = await newStore();
    const { backend } = await open(directory, { manifestLogBytes: BLOCK_BYTES });
    flipByte(join(directory, 'manifest-2'), FIRST_RECORD + 100);
    let error: Record<string, unknown> | undefined;
    for (let id = 3; id < 16 && error === undefined; id++) {
      try {
        backend.commit(change({ nextBlobId: id }));
      } catch (caught) {
        error = caught as Record<string, unknown>;
      }
    }
    expect(error).toMatchObject({ code: 'MANIFEST_CORRUPT', outcome: 'not_applied' });
    await backend.close();
  });
});

describe('where the platform', () => {
  it('cannot sync directories, the store works and says so', async () => {
    const directory = temporaryDirectory();
    const plan: FilePlan = ({ operation, path }) =>
      operation === 'open' && path === directory ? 'EISDIR' : undefined;
    const { backend } = await open(directory, {
      fileSystem: faultyFileSystem(nodeFileSystem, plan),
    });
    expect(backend.syncsDirectory).toBe(false);
    backend.commit(change({ nextBlobId: 5 }));
    await backend.close();
    const { backend: again, image } = await open(directory);
    expect(again.syncsDirectory).toBe(true);
    expect(image.nextBlobId).toBe(5);
    await again.close();
  });

  it.each(['EPERM', 'ENOTSUP'])('cannot link files (%s), manifests are renamed', async (errno) => {
    const directory = temporaryDirectory();
    const plan: FilePlan = ({ operation }) => (operation === 'link' ? errno : undefined);
    const fileSystem = faultyFileSystem(nodeFileSystem, plan);
    for (let round = 1; round < 4; round++) {
      const { backend, image } = await open(directory, { fileSystem });
      expect(image.epoch).toBe(round);
      expect(manifests(directory)).toEqual([`manifest-${round}`]);
      backend.commit(change({ nextBlobId: round }));
      await backend.close();
    }
  });

  const batch = [1, 2, 3].map((slot) => ({
    slot,
    source: new Uint8Array(new SharedArrayBuffer(BLOB_BYTES)).fill(slot),
  }));

  async function batchReadsBack(backend: FileBackend): Promise<void> {
    const results = await backend.writeSlots(batch);
    expect(results.every(({ error }) => error === undefined)).toBe(true);
    const target = new Uint8Array(BLOB_BYTES);
    for (const { slot } of batch) {
      backend.readSlot(slot, target);
      expect(target.every((byte) => byte === slot)).toBe(true);
    }
  }

  it('refuses to open files for direct writes, batches go through the cache', async () => {
    const fileSystem = patched(nodeFileSystem, {
      open: (path, flags, mode) => {
        if ((flags & constants.O_DIRECT) !== 0) {
          throw Object.assign(new Error('EINVAL'), { code: 'EINVAL' });
        }
        return nodeFileSystem.open(path, flags, mode);
      },
    });
    const { backend } = await open(temporaryDirectory(), { fileSystem, directWrites: true });
    expect(backend.writesDirectly).toBe(false);
    await batchReadsBack(backend);
    await backend.close();
  });

  it('refuses direct writes of these bytes, batches go through the cache from then on', async () => {
    let refused = 0;
    const direct = new Set<number>();
    const fileSystem = patched(nodeFileSystem, {
      open: (path, flags, mode) => {
        const fd = nodeFileSystem.open(path, flags & ~constants.O_DIRECT, mode);
        if ((flags & constants.O_DIRECT) !== 0) direct.add(fd);
        return fd;
      },
      writeAsync: async (fd, source, position) => {
        if (direct.has(fd)) {
          refused++;
          throw Object.assign(new Error('EINVAL'), { code: 'EINVAL' });
        }
        return nodeFileSystem.writeAsync(fd, source, position);
      },
    });
    const { backend } = await open(temporaryDirectory(), { fileSystem, directWrites: true });
    expect(backend.writesDirectly).toBe(true);
    await batchReadsBack(backend);
    expect(refused).toBeGreaterThan(0);
    expect(backend.writesDirectly).toBe(false);
    const before = refused;
    await batchReadsBack(backend);
    expect(refused).toBe(before);
    await backend.close();
  });

  it('takes direct writes of aligned memory, they and buffered ones see each other', async () => {
    const direct = new Set<number>();
    let written = 0;
    const fileSystem = patched(nodeFileSystem, {
      open: (path, flags, mode) => {
        const fd = nodeFileSystem.open(path, flags, mode);
        if ((flags & constants.O_DIRECT) !== 0) direct.add(fd);
        return fd;
      },
      writeAsync: async (fd, source, position) => {
        const bytes = await nodeFileSystem.writeAsync(fd, source, position);
        if (direct.has(fd)) written += bytes;
        return bytes;
      },
    });
    const { backend } = await open(temporaryDirectory(), { fileSystem, directWrites: true });
    const { buffer } = new wasm.Memory({ initial: 1, maximum: 1, shared: true });
    const writes = Array.from({ length: 16 }, (_, slot) => ({
      slot,
      source: new Uint8Array(buffer, slot * BLOB_BYTES, BLOB_BYTES).fill(slot + 1),
    }));
    const results = await backend.writeSlots(writes);
    expect(results.every(({ error }) => error === undefined)).toBe(true);
    // A file system without direct writes has refused them by now.
    expect(written).toBe(backend.writesDirectly ? 16 * BLOB_BYTES : 0);
    backend.sync();
    const target = new Uint8Array(BLOB_BYTES);
    for (const { slot } of writes) {
      backend.readSlot(slot, target);
      expect(target.every((byte) => byte === slot + 1)).toBe(true);
      // Buffered writes over direct ones, and the other way round, are seen by reads at once.
      backend.writeSlot(slot, target.fill(99));
      await backend.writeSlots([writes[slot] as (typeof writes)[0]]);
      backend.readSlot(slot, target);
      expect(target.every((byte) => byte === slot + 1)).toBe(true);
    }
    await backend.close();
  });

  it('has direct writes, they are used for large blobs unless switched off', async () => {
    const large = newContext(512 * 1024, newShared());
    const { backend } = await open(temporaryDirectory(), {}, large);
    const direct = backend.writesDirectly;
    await backend.close();
    const off = await open(temporaryDirectory(), { directWrites: false }, newContext(512 * 1024));
    expect(off.backend.writesDirectly).toBe(false);
    await off.backend.close();
    const small = await open(temporaryDirectory());
    expect(small.backend.writesDirectly).toBe(false);
    await small.backend.close();
    // tmpfs of older kernels has none; everywhere else this is what `auto` means.
    expect(typeof direct).toBe('boolean');
  });
});

describe('descriptors', () => {
  it('are all closed again, whatever call failed', async () => {
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
    const directory = await newStore();
    for (let n = 1; ; n++) {
      const fileSystem = faultyFileSystem(counting, (_, count) =>
        count === n ? 'EIO' : undefined,
      );
      const backend = new FileBackend(directory, newContext(), { fileSystem });
      await backend.open().catch(() => undefined);
      const end = fileSystem.calls.length;
      await backend.close().catch(() => undefined);
      // The failing call may be the close itself, which the system then has not seen.
      const lost = fileSystem.calls[n - 1]?.operation === 'close' ? 1 : 0;
      expect(opened.size).toBeLessThanOrEqual(lost);
      for (const fd of opened) nodeFileSystem.close(fd);
      opened.clear();
      if (n > end) break;
    }
  });
});
