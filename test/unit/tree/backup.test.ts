/** Backups and restoring: one cut, whole or not there, whatever fails in between. */
import { Buffer } from 'node:buffer';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { FileSystem } from '../../../src/fs/file-system.ts';
import { faultyFileSystem } from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { modules } from '../../../src/pool/modules.ts';
import type { CopyOptions, CopyReport } from '../../../src/recovery/copy-store.ts';
import { restoreStore } from '../../../src/recovery/restore.ts';
import { type VerifyReport, verifyStore } from '../../../src/recovery/verify.ts';
import { Weirpool, type WeirpoolOptions } from '../../../src/tree/weirpool.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { SMALL } from './support.ts';

const STORE = '/disk/store';
const BACKUP = '/disk/backups/one';
const TEXT = { key: 'utf8', value: 'utf8' } as const;
/** Calls that change nothing on a disk. */
const LOOKS = ['read', 'stat', 'statFd', 'list', 'close'];

type State = [string, string][];

function newDisk(): SimFileSystem {
  return new SimFileSystem('/disk');
}

async function openAt(
  directory: string,
  fileSystem: FileSystem,
  options: WeirpoolOptions = {},
): Promise<Weirpool> {
  const db = await Weirpool.open(directory, { ...SMALL, fileSystem, ...options });
  onTestFinished(() => db.close().catch(() => undefined));
  return db;
}

function stateOf(db: Weirpool): State {
  return db.trees().flatMap((name) => db.tree(name, TEXT).range().toArray());
}

/** Two trees, long values, some of it deleted again. */
async function filled(fs: FileSystem, options: WeirpoolOptions = {}): Promise<Weirpool> {
  const db = await openAt(STORE, fs, options);
  const [one, other] = [db.tree('one', TEXT), db.tree('other', TEXT)];
  for (let n = 0; n < 250; n++) one.put(`key/${n}`, `value ${n} ${'x'.repeat(n % 90)}`);
  await db.checkpoint();
  for (let n = 0; n < 250; n += 3) one.delete(`key/${n}`);
  other.put('long', 'y'.repeat(9000));
  return db;
}

function check(directory: string, fileSystem: FileSystem): Promise<VerifyReport> {
  return verifyStore(directory, { kernels: modules().kernels, fileSystem });
}

function restored(
  from: string,
  to: string,
  fileSystem: FileSystem,
  options: CopyOptions = {},
): Promise<CopyReport> {
  const verify = () => check(from, fileSystem);
  return restoreStore(from, to, { kernels: modules().kernels, fileSystem, verify, ...options });
}

/** What the store at `directory` has; it is checked, opened and closed again. */
async function contentOf(directory: string, fs: FileSystem): Promise<State> {
  expect((await check(directory, fs)).findings).toEqual([]);
  const db = await openAt(directory, fs);
  const state = stateOf(db);
  await db.close();
  return state;
}

function names(fs: FileSystem, directory = '/disk/backups'): string[] {
  return isThere(fs, directory) ? fs.list(directory) : [];
}

function isThere(fs: FileSystem, path: string): boolean {
  try {
    fs.stat(path);
    return true;
  } catch {
    return false;
  }
}

function kept(db: Weirpool): number {
  const { slotsKept, snapshots } = db.stats().store;
  return slotsKept + snapshots;
}

describe('a backup', () => {
  it('has everything that was put before the call, is checked, opened, and goes on', async () => {
    const disk = newDisk();
    const db = await filled(disk);
    const state = stateOf(db);
    const last = db.tree('one', TEXT).put('last', 'one');
    const report = await db.backup(BACKUP);
    const { blobs } = db.stats().store;
    expect(report).toEqual({ blobs, bytes: blobs * 4096, seq: report.seq });
    expect(report.seq).toBeGreaterThanOrEqual(last);
    expect(disk.stat(`${BACKUP}/blobs.dat`).bytes).toBe(report.bytes);
    expect(names(disk)).toEqual(['one']);
    expect(await contentOf(BACKUP, disk)).toEqual(
      [...state.slice(0, -1), ['last', 'one'], state.at(-1)].sort(),
    );
    const copy = await openAt(BACKUP, disk);
    const next = copy.tree('one', TEXT).put('next', 'put');
    expect(next).toBeGreaterThan(report.seq);
    expect(copy.pool.allocate()).toBeGreaterThan(Math.max(...db.pool.list()));
    await copy.close();
    expect(stateOf(db)).toHaveLength(state.length + 1);
    expect(kept(db)).toBe(0);
  });

  it('is opened for reading only, too, and one of an empty store', async () => {
    const disk = newDisk();
    const empty = await openAt(STORE, disk);
    // Nothing but the catalog.
    expect(await empty.backup(BACKUP)).toMatchObject({ blobs: 1 });
    const looking = await openAt(BACKUP, disk, { readOnly: true });
    expect(looking.trees()).toEqual([]);
    await looking.close();
    expect(await contentOf(BACKUP, disk)).toEqual([]);
    await empty.close();
    const db = await filled(disk);
    await db.backup('/disk/other');
    const reader = await openAt('/disk/other', disk, { readOnly: true });
    expect(stateOf(reader)).toEqual(stateOf(db));
    await expect(reader.backup('/disk/third')).rejects.toThrow(
      expect.objectContaining({ code: 'READ_ONLY' }),
    );
  });

  it('I6 is of one cut, while writers and rounds go on', async () => {
    const disk = newDisk();
    const db = await filled(disk);
    const state = stateOf(db);
    const tree = db.tree('one', TEXT);
    let step = 0;
    const seen: number[] = [];
    const { blobs } = await db.backup(BACKUP, {
      onProgress: ({ blobs: done, blobsTotal, bytes }) => {
        seen.push(done);
        expect(bytes).toBe(done * 4096);
        expect(done).toBeLessThanOrEqual(blobsTotal);
        for (let n = 0; n < 40; n++) tree.put(`key/${(step * 37 + n) % 250}`, `late ${step}`);
        db.tree('other', TEXT).delete('long');
        db.snapshot().close(); // a round
        step++;
      },
    });
    expect(seen.at(-1)).toBe(blobs);
    expect(seen.length).toBeGreaterThan(1);
    expect(stateOf(db)).not.toEqual(state);
    expect(await contentOf(BACKUP, disk)).toEqual(state);
    expect(db.stats().store.snapshots).toBe(0);
  });

  it('goes into an empty directory, and into nothing else', async () => {
    const disk = newDisk();
    const db = await filled(disk);
    const before = db.stats().log?.rounds.attempted;
    const refused = expect.objectContaining({ code: 'DIRECTORY_NOT_EMPTY' });
    await expect(db.backup(STORE)).rejects.toThrow(refused);
    await expect(db.backup(`${STORE}/blobs.dat`)).rejects.toThrow(refused);
    await expect(db.backup('')).rejects.toThrow(TypeError);
    await expect(restored(STORE, STORE, disk)).rejects.toThrow(refused);
    expect(db.stats().log?.rounds.attempted).toBe(before);
    disk.makeDirectory('/disk/backups');
    disk.makeDirectory(BACKUP);
    await db.backup(BACKUP);
    await expect(db.backup(BACKUP)).rejects.toThrow(refused);
    expect(await contentOf(BACKUP, disk)).toEqual(stateOf(db));
  });

  it('ends when it is aborted, and leaves nothing', async () => {
    const disk = newDisk();
    const db = await filled(disk);
    const reason = new Error('enough');
    const early = AbortSignal.abort(reason);
    await expect(db.backup(BACKUP, { signal: early })).rejects.toBe(reason);
    const abort = new AbortController();
    const onProgress = (): void => abort.abort(reason);
    await expect(db.backup(BACKUP, { signal: abort.signal, onProgress })).rejects.toBe(reason);
    const thrower = (): never => {
      throw reason;
    };
    await expect(db.backup(BACKUP, { onProgress: thrower })).rejects.toBe(reason);
    expect(names(disk)).toEqual([]);
    expect(kept(db)).toBe(0);
  });

  it('carries the roots of other owners, and no bulk load that nothing has adopted', async () => {
    const disk = newDisk();
    const owners = { 7: { replay: (): void => undefined } };
    const db = await filled(disk, { owners });
    const id = db.pool.change(
      (op) => {
        const blob = op.create();
        op.setRoot(7, blob.id);
        op.seal(8);
        blob.bytes.fill(1);
        op.commit(new Uint8Array(8));
        return blob.id;
      },
      { owner: 7 },
    );
    const load = db.pool.bulkLoad(3);
    for (let n = 0; n < 3; n++) await load.add((target) => target.fill(9));
    await load.commit();
    const report = await db.backup(BACKUP);
    expect(report.blobs).toBe(db.stats().store.blobs - 3);
    expect((await check(BACKUP, disk)).findings).toEqual([]);
    const copy = await openAt(BACKUP, disk, { owners });
    expect(copy.pool.root(7)).toBe(id);
    expect(stateOf(copy)).toEqual(stateOf(db));
  });
});

describe('a backup that fails', () => {
  it('W2D leaves nothing that opens, wherever power is lost', async () => {
    const disk = newDisk();
    const random = new Random(testSeed());
    const images: SimFileSystem[] = [];
    let armed = false;
    const fs = faultyFileSystem(disk, ({ operation, file }) => {
      if (armed && !LOOKS.includes(operation) && file?.startsWith(STORE) !== true) {
        images.push(
          disk.afterCrash((end) => random.int(end)),
          disk.afterCrash(() => 1),
        );
      }
      return undefined;
    });
    const db = await filled(fs);
    await db.checkpoint();
    const state = stateOf(db);
    armed = true;
    await db.backup(BACKUP);
    armed = false;
    images.push(
      disk.afterCrash(() => 1),
      disk.afterCrash(() => 0),
    );
    let whole = 0;
    for (const image of images) {
      for (const name of names(image).filter((one) => one !== 'one')) {
        // What it is called says that it is none; and what passes for a store is a whole one.
        expect(name).toMatch(/^one\.[0-9a-f]+\.partial$/);
        const partial = `/disk/backups/${name}`;
        const { findings } = await check(partial, image);
        if (findings.length === 0) expect(await contentOf(partial, image)).toEqual(state);
      }
      if (!isThere(image, BACKUP)) continue;
      expect(await contentOf(BACKUP, image)).toEqual(state);
      whole++;
    }
    expect(images.length).toBeGreaterThan(30);
    expect(whole).toBeGreaterThanOrEqual(2);
    expect(whole).toBeLessThan(images.length);
  });

  it('at any call is told, and removes what it has made', async () => {
    const disk = newDisk();
    const fs = faultyFileSystem(disk);
    const db = await filled(fs);
    const state = stateOf(db);
    await db.checkpoint();
    const failAt = async (n: number): Promise<boolean> => {
      let count = 0;
      fs.plan = ({ operation, file }) => {
        if (operation === 'close' || file?.startsWith(STORE) === true) return undefined;
        return ++count === n ? 'EIO' : undefined;
      };
      try {
        await db.backup(BACKUP);
      } catch (error) {
        expect(error).toMatchObject({ code: 'STORE_IO' });
        const { outcome } = error as { outcome: string };
        if (outcome === 'not_applied') expect(isThere(disk, BACKUP)).toBe(false);
      }
      fs.plan = () => undefined;
      if (isThere(disk, BACKUP)) {
        expect(await contentOf(BACKUP, fs)).toEqual(state);
        for (const name of disk.list(BACKUP)) disk.unlink(`${BACKUP}/${name}`);
        disk.removeDirectory(BACKUP);
      }
      expect(names(disk)).toEqual([]);
      expect(db.stats().store.snapshots).toBe(0);
      return count >= n;
    };
    let n = 1;
    while (await failAt(n)) n++;
    expect(n).toBeGreaterThan(30);
    expect(stateOf(db)).toEqual(state);
  });

  it('on a full disk may be tried again', async () => {
    const disk = newDisk();
    const fs = faultyFileSystem(disk);
    const db = await filled(fs);
    fs.plan = ({ operation, file }) =>
      operation.startsWith('write') && file?.includes('.partial/') === true ? 'ENOSPC' : undefined;
    await expect(db.backup(BACKUP)).rejects.toThrow(/ENOSPC/);
    expect(names(disk)).toEqual([]);
    fs.plan = () => undefined;
    await db.backup(BACKUP);
    expect(await contentOf(BACKUP, disk)).toEqual(stateOf(db));
  });

  it('because a blob of the store is damaged copies no bad bytes', async () => {
    const disk = newDisk();
    const db = await filled(disk);
    await db.checkpoint();
    const id = db.pool.list().at(-1) as number;
    const { slot = 0 } = db.pool.core.store.lookup(id) ?? {};
    const fd = disk.open(`${STORE}/blobs.dat`, 2);
    disk.write(fd, Buffer.from('damage'), slot * 4096 + 100);
    disk.close(fd);
    const damaged = expect.objectContaining({
      code: 'BLOB_CORRUPT',
      details: expect.objectContaining({ id }),
    });
    await expect(db.backup(BACKUP)).rejects.toThrow(damaged);
    expect(names(disk)).toEqual([]);
    expect(kept(db)).toBe(0);
  });
});

describe('restoring', () => {
  it('makes the store again, whole, from what the backup has', async () => {
    const disk = newDisk();
    const db = await filled(disk);
    const report = await db.backup(BACKUP);
    const seen: number[] = [];
    const onProgress: CopyOptions['onProgress'] = ({ blobs }) => seen.push(blobs);
    expect(await restored(BACKUP, '/disk/again', disk, { onProgress })).toEqual(report);
    expect(seen.at(-1)).toBe(report.blobs);
    expect(await contentOf('/disk/again', disk)).toEqual(stateOf(db));
    expect(await contentOf(BACKUP, disk)).toEqual(stateOf(db));
    const reason = new Error('enough');
    const late = new AbortController();
    const stop = restored(BACKUP, '/disk/third', disk, {
      signal: late.signal,
      onProgress: () => late.abort(reason),
    });
    await expect(stop).rejects.toBe(reason);
    expect(names(disk, '/disk').sort()).toEqual(['again', 'backups', 'store']);
  });

  it('is refused from what is damaged, or has records in its log', async () => {
    const disk = newDisk();
    const db = await filled(disk);
    await db.backup(BACKUP);
    const unfit = expect.objectContaining({ code: 'BACKUP_UNFIT' });
    const written = disk.afterKill();
    const copy = await openAt(BACKUP, written);
    copy.tree('one', TEXT).put('a', 'late');
    copy.durableSync();
    const killed = written.afterKill();
    await expect(restored(BACKUP, '/disk/again', killed)).rejects.toThrow(unfit);
    await copy.close();
    await restored(BACKUP, '/disk/again', written);
    expect(await contentOf('/disk/again', written)).toContainEqual(['a', 'late']);
    const damaged = disk.afterKill();
    const fd = damaged.open(`${BACKUP}/blobs.dat`, 2);
    damaged.write(fd, Buffer.from('damage'), 200);
    damaged.close(fd);
    await expect(restored(BACKUP, '/disk/again', damaged)).rejects.toThrow(unfit);
    await expect(restored('/disk/nowhere', '/disk/again', damaged)).rejects.toThrow(unfit);
    expect(names(damaged, '/disk').sort()).toEqual(['backups', 'store']);
  });
});
