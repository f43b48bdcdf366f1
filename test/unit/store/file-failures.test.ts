/** The file store when calls fail or another writer comes: the fence, failed writes and syncs. */
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { patched } from '../../../src/harness/faulty-file-system.ts';
import { FileBackend, type FileBackendOptions } from '../../../src/store/file-backend.ts';
import { BLOCK_BYTES, FIRST_RECORD } from '../../../src/store/manifest.ts';
import { change, failing, mapping, newStore, open } from './file-support.ts';
import { BLOB_BYTES, errorFrom, newContext, rejectionOf, temporaryDirectory } from './support.ts';

describe('the fence', () => {
  /** As another container would take the directory: its processes and sockets are not seen. */
  const elsewhere: FileBackendOptions = {
    lock: {
      sockets: { listen: async () => ({ close: async () => undefined }), ask: async () => 'free' },
      processes: {
        self: () => ({ pid: 1, startTime: 1, host: 'container', scope: 'container' }),
        stateOf: () => 'unknown',
      },
    },
  };

  it('refuses a commit after the store was taken over, before anything is written', async () => {
    const directory = await newStore();
    const { backend } = await open(directory);
    const foreign = await open(directory, elsewhere);
    const error = errorFrom(() => backend.commit(mapping(3)));
    expect(error).toMatchObject({ code: 'FENCED', outcome: 'not_applied' });
    expect(error.message).toContain('took the store over');
    foreign.backend.commit(change({ deleted: [1] }));
    expect(errorFrom(() => backend.commit(mapping(3)))['code']).toBe('STORE_IO');
    await backend.close();
    await foreign.backend.close();
    const { backend: again, image } = await open(directory);
    expect(image.blobs.map(({ id }) => id)).toEqual([2]);
    await again.close();
  });

  it('leaves the outcome open when the store is taken over during a commit', async () => {
    const directory = await newStore();
    let lockFile = '';
    const fileSystem = patched(nodeFileSystem, {
      syncData: (fd) => {
        nodeFileSystem.syncData(fd);
        if (lockFile !== '') nodeFileSystem.unlink(lockFile);
      },
    });
    const { backend } = await open(directory, { fileSystem });
    lockFile = backend.handle().lockFile;
    const error = errorFrom(() => backend.commit(change({ deleted: [1] })));
    lockFile = '';
    expect(error).toMatchObject({ code: 'FENCED', outcome: 'unknown' });
    const foreign = await open(directory, elsewhere);
    await foreign.backend.close();
    await backend.close();
  });

  it('leaves the outcome open when it cannot be looked at after the sync', async () => {
    const directory = await newStore();
    const { backend, fs } = await failing(directory);
    let stats = 0;
    fs.plan = ({ operation }) => (operation === 'stat' && ++stats === 2 ? 'EIO' : undefined);
    const error = errorFrom(() => backend.commit(change({ deleted: [1] })));
    expect(error).toMatchObject({ code: 'STORE_IO', outcome: 'unknown' });
    await backend.close();
  });

  it('never writes over the manifest that another writer made', async () => {
    const directory = await newStore();
    const { backend } = await open(directory, { manifestLogBytes: 4096 });
    const foreign = join(directory, 'manifest-3');
    writeFileSync(foreign, 'theirs');
    let error: Record<string, unknown> | undefined;
    for (let id = 3; id < 20 && error === undefined; id++) {
      try {
        backend.commit(change({ nextBlobId: id }));
      } catch (caught) {
        error = caught as Record<string, unknown>;
      }
    }
    expect(error).toMatchObject({ code: 'FENCED', outcome: 'not_applied' });
    expect(readFileSync(foreign, 'utf8')).toBe('theirs');
    await backend.close();
  });

  it('refuses a thread whose directory was replaced', async () => {
    const directory = await newStore();
    const { backend, context } = await open(directory);
    const handle = backend.handle();
    renameSync(directory, `${directory}.moved`);
    mkdirSync(directory);
    writeFileSync(join(directory, 'blobs.dat'), new Uint8Array(3 * BLOB_BYTES));
    const error = errorFrom(() =>
      FileBackend.attach(handle, newContext(BLOB_BYTES, context.shared)),
    );
    expect(error).toMatchObject({ code: 'STORE_IO' });
    expect(error.message).toContain('replaced');
    expect(errorFrom(() => backend.commit(mapping(3)))['code']).toBe('FENCED');
    await backend.close();
    renameSync(`${directory}.moved`, `${directory}/moved`);
  });
});

describe('a failed call', () => {
  it('W2D of sync stops the store in every thread, and is never tried again', async () => {
    const directory = await newStore();
    const { backend, fs, fail, context } = await failing(directory);
    const other = FileBackend.attach(backend.handle(), newContext(BLOB_BYTES, context.shared));
    fail('syncData');
    backend.writeSlot(3, new Uint8Array(BLOB_BYTES));
    expect(errorFrom(() => backend.sync())).toMatchObject({
      code: 'STORE_IO',
      outcome: 'unknown',
      details: { operation: 'fdatasync', errno: 'EIO' },
    });
    const calls = fs.calls.length;
    expect(errorFrom(() => backend.sync())).toMatchObject({ code: 'STORE_IO', outcome: 'unknown' });
    expect(fs.calls.length).toBe(calls);
    expect(errorFrom(() => backend.commit(mapping(3)))['code']).toBe('STORE_IO');
    expect(errorFrom(() => other.sync())['code']).toBe('STORE_IO');
    expect(errorFrom(() => other.commit(mapping(3)))['code']).toBe('STORE_IO');
    await other.close();
    await backend.close();
    const { backend: again, image } = await open(directory);
    expect(image.commitNumber).toBe(2);
    await again.close();
  });

  it('of the manifest sync has an unknown outcome, and the file is not closed cleanly', async () => {
    const directory = await newStore();
    const { backend, fail } = await failing(directory);
    fail('syncData');
    const error = errorFrom(() => backend.commit(change({ deleted: [1] })));
    expect(error).toMatchObject({ code: 'STORE_IO', outcome: 'unknown' });
    await backend.close();
    const manifest = readFileSync(join(directory, 'manifest-2'));
    expect(manifest.subarray(BLOCK_BYTES, FIRST_RECORD).every((byte) => byte === 0)).toBe(true);
  });

  it('of an append is not applied, and the next commit goes to the same place', async () => {
    const directory = await newStore();
    const { backend, fail, fs } = await failing(directory);
    fs.bytesMax = 1000;
    const before = backend.usage().manifestBytes;
    let writes = 0;
    fs.plan = ({ operation }) => (operation === 'write' && ++writes === 3 ? 'ENOSPC' : undefined);
    const error = errorFrom(() => backend.commit(change({ deleted: [1] })));
    expect(error).toMatchObject({
      code: 'STORE_IO',
      outcome: 'not_applied',
      details: { errno: 'ENOSPC', offset: before + 2000 },
    });
    expect(backend.usage().manifestBytes).toBe(before);
    expect(statSync(join(directory, 'manifest-2')).size).toBe(before);
    fail('none');
    backend.commit(change({ deleted: [2] }));
    await backend.close();
    const { backend: again, image } = await open(directory);
    expect(image.blobs.map(({ id }) => id)).toEqual([1]);
    expect(image.commitNumber).toBe(3);
    await again.close();
  });

  it('of an append that cannot be cut off has an unknown outcome', async () => {
    const directory = await newStore();
    const { backend, fs } = await failing(directory);
    fs.bytesMax = 1000;
    let writes = 0;
    fs.plan = ({ operation }) => {
      if (operation === 'truncate') return 'EIO';
      return operation === 'write' && ++writes === 3 ? 'EIO' : undefined;
    };
    const error = errorFrom(() => backend.commit(change({ deleted: [1] })));
    expect(error).toMatchObject({ code: 'STORE_IO', outcome: 'unknown' });
    expect(errorFrom(() => backend.commit(mapping(3)))['code']).toBe('STORE_IO');
    await backend.close();
  });

  it('of slots is reported for each of them, after all have settled', async () => {
    const { backend, fs } = await failing(temporaryDirectory(), { directWrites: false });
    fs.bytesMax = 1500;
    let writes = 0;
    fs.plan = ({ operation }) =>
      operation === 'writeAsync' && ++writes % 7 === 0 ? 'EIO' : undefined;
    const sources = Array.from({ length: 30 }, (_, slot) => ({
      slot,
      source: new Uint8Array(BLOB_BYTES).fill(slot + 1),
    }));
    const results = await backend.writeSlots(sources);
    const { length } = fs.calls;
    await new Promise(setImmediate);
    expect(fs.calls).toHaveLength(length);
    expect(results.map(({ slot }) => slot)).toEqual(sources.map(({ slot }) => slot));
    const failed = results.filter(({ error }) => error !== undefined);
    expect(failed.length).toBeGreaterThan(3);
    for (const { slot, error } of failed) {
      expect(error).toMatchObject({ code: 'STORE_IO', details: { slot, operation: 'write' } });
    }
    const target = new Uint8Array(BLOB_BYTES);
    for (const { slot, error } of results) {
      if (error !== undefined) continue;
      backend.readSlot(slot, target);
      expect(target.every((byte) => byte === slot + 1)).toBe(true);
    }
    await backend.close();
  });

  it('to read says slot and offset, and a slot beyond the end is no blob of zeros', async () => {
    const { backend, fail } = await failing(temporaryDirectory());
    const target = new Uint8Array(BLOB_BYTES);
    backend.writeSlot(2, target);
    fail('read');
    expect(errorFrom(() => backend.readSlot(2, target))['details']).toMatchObject({
      operation: 'read',
      slot: 2,
      offset: 2 * BLOB_BYTES,
      errno: 'EIO',
    });
    const beyond = errorFrom(() => backend.readSlot(3, target));
    expect(beyond).toMatchObject({
      code: 'STORE_IO',
      details: { slot: 3, offset: 3 * BLOB_BYTES, errno: 'EOF' },
    });
    await backend.close();
  });

  it('in closing is reported, after everything was given back', async () => {
    const directory = await newStore();
    const { backend, fail } = await failing(directory);
    fail('write');
    expect((await rejectionOf(backend.close()))['code']).toBe('STORE_IO');
    const { backend: again, image } = await open(directory);
    expect(image.commitNumber).toBe(2);
    await again.close();
  });
});
