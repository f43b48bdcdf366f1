/** Checking a store in its directory: what a healthy one says, and what each kind of damage says. */
import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { faultyFileSystem } from '../../../src/harness/faulty-file-system.ts';
import { verifyStore } from '../../../src/recovery/verify.ts';
import { BULK_OWNER } from '../../../src/store/contract.ts';
import { BLOCK_BYTES, CLOSE_POSITION, FIRST_RECORD } from '../../../src/store/manifest.ts';
import { GROUP_HEADER_BYTES } from '../../../src/wal/format.ts';
import { temporaryDirectory } from '../store/support.ts';
import { kernels, STORE_ID } from '../wal/support.ts';
import {
  BLOB_BYTES,
  bytesAt,
  CHANGE_1,
  CHANGE_2,
  filesOf,
  flipBit,
  found,
  GROUP_1,
  GROUP_3,
  IN_RECORD,
  newStore,
  overwrite,
  randomBlob,
  SECTOR,
  TestStore,
  verify,
} from './support.ts';

describe('a healthy store', () => {
  it.each([true, false])('has no findings (closed cleanly: %s)', async (clean) => {
    const { directory, seqs } = await newStore({ clean });
    expect(await verify(directory)).toEqual({
      findings: [],
      blobs: 6,
      logRecords: 6,
      generation: 1,
      blobBytes: BLOB_BYTES,
      storeId: STORE_ID,
      checkpointSeq: seqs[1],
      nextBlobId: 1000,
      commitNumber: 2,
      trees: [],
    });
  });

  it('has none without a log, without blobs, and after openings and trims', async () => {
    const { directory, path } = await newStore();
    for (let n = 0; n < 4; n++) {
      const store = await TestStore.open(directory);
      for (let i = 0; i < 5; i++) store.append({ created: [100 + 10 * n + i] });
      store.log.sync();
      const checkpointSeq = store.seqs[3] as number;
      store.write([], { checkpointSeq, nextBlobId: 110 + 10 * n });
      store.log.trim(checkpointSeq);
      await store.close(n % 2 === 0);
      expect(await found(directory)).toEqual([]);
    }
    expect((await verify(directory)).logRecords).toBe(1);
    const empty = temporaryDirectory();
    const store = await TestStore.open(empty);
    await store.close();
    expect(await verify(empty)).toMatchObject({ findings: [], blobs: 0, logRecords: 0 });
    rmSync(join(empty, 'wal-1'));
    rmSync(join(empty, 'blobs.dat'));
    expect(await found(empty)).toEqual([]);
    writeFileSync(path('manifest-1.12.tmp'), 'left by a crash');
    writeFileSync(path('wal-12.tmp'), 'left by a crash');
    writeFileSync(path('wal-spare'), 'anything');
    writeFileSync(path('manifest-1'), 'an older generation');
    expect(await found(directory)).toEqual([]);
  });

  it('is left as it is: nothing is written, and no lock is taken', async () => {
    const { directory } = await newStore();
    const before = filesOf(directory);
    const fileSystem = faultyFileSystem(nodeFileSystem);
    await verifyStore(directory, { kernels, fileSystem });
    const reads = ['close', 'list', 'open', 'read', 'stat', 'statFd'];
    expect([...new Set(fileSystem.calls.map(({ operation }) => operation))].sort()).toEqual(reads);
    const opened = fileSystem.calls.filter(({ operation }) => operation === 'open').length;
    const closed = fileSystem.calls.filter(({ operation }) => operation === 'close').length;
    expect(closed).toBe(opened);
    expect(filesOf(directory)).toEqual(before);
  });
});

describe('no store', () => {
  it('is said where the directory is missing, a file, or empty', async () => {
    const directory = temporaryDirectory();
    expect(await found(directory)).toEqual([{ code: 'STORE_IO', path: '.' }]);
    expect(await found(join(directory, 'missing'))).toEqual([{ code: 'STORE_IO', path: '.' }]);
    writeFileSync(join(directory, 'file'), 'mine');
    expect(await found(join(directory, 'file'))).toEqual([{ code: 'STORE_IO', path: '.' }]);
    expect(await verify(directory)).toMatchObject({
      generation: 0,
      blobs: 0,
      nextBlobId: undefined,
    });
  });
});

describe('damage of the data file', () => {
  it('a flipped bit is found with id, slot and offset', async () => {
    const { directory, path, random } = await newStore();
    const slot = random.int(6);
    flipBit(path('blobs.dat'), slot * BLOB_BYTES + random.int(BLOB_BYTES), random.int(8));
    expect(await found(directory)).toEqual([
      { code: 'BLOB_CORRUPT', path: 'blobs.dat', offset: slot * BLOB_BYTES, id: slot + 1, slot },
    ]);
    expect((await verify(directory)).blobs).toBe(6);
  });

  it('a sector of zeros is found', async () => {
    const { directory, path } = await newStore();
    overwrite(path('blobs.dat'), 4 * BLOB_BYTES + SECTOR, new Uint8Array(SECTOR));
    expect(await found(directory)).toEqual([
      { code: 'BLOB_CORRUPT', path: 'blobs.dat', offset: 4 * BLOB_BYTES, id: 5, slot: 4 },
    ]);
  });

  it('an older sector of the same blob in the same slot is found', async () => {
    const { directory, path, blobs, random } = await newStore();
    const stale = bytesAt(path('blobs.dat'), 0, SECTOR);
    const store = await TestStore.open(directory);
    store.write([{ id: 1, slot: 8, bytes: randomBlob(random) }]);
    const changed = Uint8Array.from(blobs[0]?.bytes ?? []).fill(7, 0, 8);
    store.write([{ id: 1, slot: 0, bytes: changed }]);
    await store.close();
    expect(await found(directory)).toEqual([]);
    overwrite(path('blobs.dat'), 0, stale);
    const expected = { code: 'BLOB_CORRUPT', path: 'blobs.dat', offset: 0, id: 1, slot: 0 };
    expect(await found(directory)).toEqual([expected]);
  });

  it('the bytes of another blob are found: checksums are seeded with the id', async () => {
    const { directory, path, blobs } = await newStore();
    overwrite(path('blobs.dat'), BLOB_BYTES, blobs[0]?.bytes ?? new Uint8Array(0));
    const expected = {
      code: 'BLOB_CORRUPT',
      path: 'blobs.dat',
      offset: BLOB_BYTES,
      id: 2,
      slot: 1,
    };
    expect(await found(directory)).toEqual([expected]);
  });

  it('bytes of no blob mean nothing', async () => {
    const { directory, path } = await newStore();
    writeFileSync(path('blobs.dat'), new Uint8Array(500).fill(9), { flag: 'a' });
    expect(await found(directory)).toEqual([]);
  });

  it('a cut reports every blob behind it, and a lost file all of them', async () => {
    const { directory, path } = await newStore();
    truncateSync(path('blobs.dat'), 4 * BLOB_BYTES + 1);
    const missing = (slot: number) => {
      return { code: 'SLOT_MISSING', path: 'blobs.dat', id: slot + 1, slot };
    };
    expect(await found(directory)).toEqual([missing(4), missing(5)]);
    expect((await verify(directory)).blobs).toBe(4);
    rmSync(path('blobs.dat'));
    expect(await found(directory)).toEqual([0, 1, 2, 3, 4, 5].map(missing));
  });

  it('what cannot be read is reported, and the rest is read', async () => {
    const { directory, path } = await newStore();
    let reads = 0;
    const fileSystem = faultyFileSystem(nodeFileSystem);
    let data = -1;
    const { open, read } = fileSystem;
    const failing = {
      ...fileSystem,
      open: (...args: Parameters<typeof open>) => {
        const fd = open(...args);
        if (args[0] === path('blobs.dat')) data = fd;
        return fd;
      },
      read: (...args: Parameters<typeof read>) => {
        if (args[0] !== data || reads++ !== 2) return read(...args);
        throw Object.assign(new Error('injected'), { code: 'EIO' });
      },
    };
    const { findings, blobs } = await verifyStore(directory, { kernels, fileSystem: failing });
    const offset = 2 * BLOB_BYTES;
    const expected = { code: 'STORE_IO', path: path('blobs.dat'), id: 3, slot: 2, offset };
    expect(findings).toMatchObject([expected]);
    expect(findings).toHaveLength(1);
    expect(blobs).toBe(5);
    renameSync(path('blobs.dat'), path('elsewhere'));
    symlinkSync(path('elsewhere'), path('blobs.dat'));
    expect(await found(directory)).toEqual([{ code: 'STORE_IO', path: 'blobs.dat' }]);
  });
});

describe('damage of the manifest', () => {
  it.each([
    ['header', 0],
    ['snapshot', FIRST_RECORD],
    ['first change', CHANGE_1],
    ['last change', CHANGE_2],
  ])('a flipped bit in its %s is found, and the log is read all the same', async (_, offset) => {
    const { directory, path, random } = await newStore();
    flipBit(path('manifest-1'), offset + random.int(BLOCK_BYTES), random.int(8));
    expect(await found(directory)).toEqual([
      { code: 'MANIFEST_CORRUPT', path: 'manifest-1', offset },
    ]);
    const report = await verify(directory);
    expect(report).toMatchObject({ blobs: 0, logRecords: 8, checkpointSeq: undefined });
    expect(report.storeId).toBe(offset === 0 ? undefined : STORE_ID);
  });

  it('a sector of zeros is found', async () => {
    const { directory, path } = await newStore();
    overwrite(path('manifest-1'), CHANGE_1, new Uint8Array(SECTOR));
    expect(await found(directory)).toEqual([
      { code: 'MANIFEST_CORRUPT', path: 'manifest-1', offset: CHANGE_1 },
    ]);
  });

  it('an older block of an earlier generation is found', async () => {
    const { directory, path } = await newStore();
    const stale = bytesAt(path('manifest-1'), CHANGE_1, SECTOR);
    const store = await TestStore.open(directory);
    store.write([]);
    await store.close();
    expect(await found(directory)).toEqual([]);
    overwrite(path('manifest-2'), CHANGE_1, stale);
    expect(await found(directory)).toEqual([
      { code: 'MANIFEST_CORRUPT', path: 'manifest-2', offset: CHANGE_1 },
    ]);
  });

  it('one of an earlier opening as a whole is found by the epoch of the log', async () => {
    const { directory, path, seqs } = await newStore();
    const stale = readFileSync(path('manifest-1'));
    const store = await TestStore.open(directory);
    const seq = store.append();
    await store.close();
    rmSync(path('manifest-2'));
    writeFileSync(path('manifest-1'), stale);
    const expected = { code: 'WAL_CORRUPT', path: 'wal-4', offset: 0, seq };
    expect(await found(directory)).toEqual([expected]);
    expect(seq).toBeGreaterThan(seqs.at(-1) as number);
  });

  it('under the name of another generation is found', async () => {
    const { directory, path } = await newStore();
    renameSync(path('manifest-1'), path('manifest-7'));
    expect(await found(directory)).toEqual([
      { code: 'MANIFEST_CORRUPT', path: 'manifest-7', offset: 24 },
    ]);
  });

  it('a lost one is found by the blobs or the log that are left', async () => {
    const { directory, path } = await newStore();
    rmSync(path('manifest-1'));
    expect(await found(directory)).toEqual([{ code: 'MANIFEST_CORRUPT', path: '.' }]);
    rmSync(path('blobs.dat'));
    expect(await found(directory)).toEqual([{ code: 'MANIFEST_CORRUPT', path: '.' }]);
    expect((await verify(directory)).logRecords).toBe(8);
  });

  it('that is no file is reported as such', async () => {
    const { directory, path } = await newStore();
    mkdirSync(path('manifest-2'));
    expect(await found(directory)).toEqual([{ code: 'STORE_IO', path: 'manifest-2' }]);
  });

  it('a close block that is damaged, and a torn tail after a crash, are none', async () => {
    const { directory, path } = await newStore();
    flipBit(path('manifest-1'), CLOSE_POSITION + 9, 0);
    expect(await found(directory)).toEqual([]);
    writeFileSync(path('manifest-1'), new Uint8Array(5000).fill(3), { flag: 'a' });
    expect(await found(directory)).toEqual([]);
  });
});

describe('a mapping that contradicts itself', () => {
  async function committed(commit: (store: TestStore, blob: Uint8Array) => void) {
    const { directory, random } = await newStore();
    const store = await TestStore.open(directory);
    commit(store, randomBlob(random));
    await store.close();
    return found(directory);
  }

  it('I6 two blobs in one slot are found, with the one that has lost its bytes', async () => {
    const findings = await committed((store, bytes) => store.write([{ id: 30, slot: 2, bytes }]));
    expect(findings).toEqual([
      { code: 'SLOT_SHARED', path: 'manifest-2', id: 30, slot: 2 },
      { code: 'BLOB_CORRUPT', path: 'blobs.dat', offset: 2 * BLOB_BYTES, id: 3, slot: 2 },
    ]);
  });

  it('I6 every slot that is shared is found', async () => {
    const findings = await committed((store, bytes) => {
      store.write([
        { id: 30, slot: 2, bytes },
        { id: 31, slot: 4, bytes },
      ]);
      store.write([{ id: 32, slot: 4, bytes }]);
    });
    const shared = { code: 'SLOT_SHARED', path: 'manifest-2' };
    expect(findings.slice(0, 3)).toEqual([
      { ...shared, id: 30, slot: 2 },
      { ...shared, id: 31, slot: 4 },
      { ...shared, id: 32, slot: 4 },
    ]);
    expect(findings.slice(3)).toMatchObject([{ id: 3 }, { id: 5 }]);
    expect(findings).toHaveLength(5);
  });

  it('ids that would be handed out again are found', async () => {
    const findings = await committed((store, bytes) => {
      const nextBlobId = 1040;
      const roots = new Map([[BULK_OWNER + 1038, 1045]]);
      store.write([{ id: 1040, slot: 9, bytes }], { nextBlobId, roots });
    });
    const expected = { code: 'ID_NOT_ALLOCATED', path: 'manifest-2' };
    expect(findings).toEqual([
      { ...expected, id: 1040 },
      { ...expected, id: 1045 },
    ]);
  });

  it('a root without its blob is found, a bulk range is none', async () => {
    const findings = await committed((store) => {
      store.write([], {
        deleted: [4],
        roots: new Map([
          [2, 5],
          [3, 33],
        ]),
      });
    });
    const expected = { code: 'ROOT_MISSING', path: 'manifest-2' };
    expect(findings).toEqual([
      { ...expected, id: 4 },
      { ...expected, id: 33 },
    ]);
  });
});

describe('several damages', () => {
  it('are all reported', async () => {
    const { directory, path, seqs } = await newStore();
    flipBit(path('blobs.dat'), 3, 1);
    overwrite(path('blobs.dat'), 3 * BLOB_BYTES, new Uint8Array(SECTOR));
    truncateSync(path('blobs.dat'), 6 * BLOB_BYTES - 1);
    flipBit(path('wal-1'), GROUP_1 + IN_RECORD, 2);
    flipBit(path('wal-2'), GROUP_1 + IN_RECORD, 2);
    flipBit(path('wal-2'), GROUP_3 + 8, 2);
    const record = { code: 'WAL_CORRUPT', seq: 0 };
    expect(await found(directory)).toEqual([
      { code: 'SLOT_MISSING', path: 'blobs.dat', id: 6, slot: 5 },
      { code: 'BLOB_CORRUPT', path: 'blobs.dat', offset: 0, id: 1, slot: 0 },
      { code: 'BLOB_CORRUPT', path: 'blobs.dat', offset: 3 * BLOB_BYTES, id: 4, slot: 3 },
      { ...record, path: 'wal-1', offset: GROUP_1 + GROUP_HEADER_BYTES },
      { ...record, path: 'wal-2', offset: GROUP_1 + GROUP_HEADER_BYTES, seq: seqs[2] },
      { ...record, path: 'wal-2', offset: GROUP_3, seq: seqs[4] },
    ]);
    flipBit(path('manifest-1'), CHANGE_2 + 100, 0);
    const manifest = { code: 'MANIFEST_CORRUPT', path: 'manifest-1', offset: CHANGE_2 };
    const findings = await found(directory);
    expect(findings[0]).toEqual(manifest);
    expect(findings.slice(1)).toMatchObject([
      { path: 'wal-1' },
      { path: 'wal-2' },
      { path: 'wal-2' },
    ]);
  });

  it('of a header and of records in the segments around it are told apart', async () => {
    const { directory, path } = await newStore();
    flipBit(path('wal-1'), GROUP_1 + IN_RECORD, 2);
    flipBit(path('wal-2'), 30, 0);
    flipBit(path('wal-3'), GROUP_1 + IN_RECORD, 2);
    const findings = (await found(directory)) as { path: string; offset: number }[];
    const places = findings.map((finding) => `${finding.path} ${finding.offset}`);
    const record = GROUP_1 + GROUP_HEADER_BYTES;
    expect(places.sort()).toEqual([`wal-1 ${record}`, 'wal-2 0', `wal-3 ${record}`]);
  });
});

describe('any flipped bit of what is in use', () => {
  const codes: Readonly<Record<string, string>> = {
    blobs: 'BLOB_CORRUPT',
    manifest: 'MANIFEST_CORRUPT',
    wal: 'WAL_CORRUPT',
  };
  /** Bytes that count, by file: not the close block, nor what follows the last durable record. */
  const used: readonly (readonly [string, number, number])[] = [
    ['blobs.dat', 0, 6 * BLOB_BYTES],
    ['manifest-1', 0, CLOSE_POSITION],
    ['manifest-1', FIRST_RECORD, CHANGE_2 + BLOCK_BYTES],
    ['wal-1', 0, GROUP_3 + GROUP_HEADER_BYTES + 3000],
    ['wal-2', 0, GROUP_3 + GROUP_HEADER_BYTES + 3000],
    ['wal-3', 0, GROUP_1 + GROUP_HEADER_BYTES + 3000],
  ];
  it('gives exactly one finding, of its file', async () => {
    const { directory, path, random } = await newStore();
    for (let n = 0; n < 150; n++) {
      const [name, from, end] = random.pick(used);
      const offset = from + random.int(end - from);
      const bit = random.int(8);
      flipBit(path(name), offset, bit);
      const findings = await found(directory);
      const place = `${name} at ${offset}, bit ${bit}`;
      const code = codes[name.replace(/[^a-z].*/, '')];
      expect(findings, place).toMatchObject([{ code, path: name }]);
      expect(findings, place).toHaveLength(1);
      flipBit(path(name), offset, bit);
    }
    expect(await found(directory)).toEqual([]);
  });
});
