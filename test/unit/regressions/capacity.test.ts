/** Stores that are small, full, or opened with another capacity than the time before. */
import { describe, expect, it } from 'vitest';
import { WeirpoolError } from '../../../src/errors.ts';
import type { BackendContext, BlobId, StoreBackend } from '../../../src/store/contract.ts';
import { createMemoryStore, MemoryBackend } from '../../../src/store/memory-backend.ts';
import { Random, testSeed } from '../../support/seed.ts';
import {
  BLOB_BYTES,
  blobValue,
  dirty,
  errorOf,
  filled,
  openFaulty,
  openSmall,
  temporaryDirectory,
  writeBlobs,
} from '../pool/support.ts';

/** Blobs that a mapping made for `blobsMax` can name: seven eighths of its entries. */
function roomOf(blobsMax: number): number {
  const capacity = 2 ** Math.ceil(Math.log2(blobsMax * 2));
  return capacity - Math.floor(capacity / 8);
}

describe('a small blobsMax', () => {
  it.each([1, 2, 3, 4, 5, 8, 16, 17, 31, 32, 33, 64])(
    'I6 of %i: what was written, overwritten and deleted is what is there',
    async (blobsMax) => {
      const random = Random.fork(testSeed(), blobsMax);
      const pool = await openSmall('small', { store: 'memory', blobsMax, threads: 'inline' });
      const expected = new Map<BlobId, number>();
      for (let step = 0; step < 10 * blobsMax + 50; step++) {
        const known = [...expected.keys()];
        const value = 1 + random.int(255);
        if (known.length < blobsMax && random.chance(0.5)) {
          const id = pool.allocate();
          pool.writeBlob(id, filled(value));
          expected.set(id, value);
        } else if (known.length > 0) {
          const id = random.pick(known);
          if (random.chance(0.5)) pool.evict(id);
          if (random.chance(0.3)) {
            expect(pool.deleteBlob(id)).toBe(true);
            expected.delete(id);
            expect([pool.has(id), pool.has(id + 1000)]).toEqual([false, false]);
          } else {
            pool.writeBlob(id, filled(value));
            expected.set(id, value);
          }
        }
        expect(pool.list()).toEqual([...expected.keys()]);
      }
      for (const id of expected.keys()) pool.evict(id);
      for (const [id, value] of expected) expect(blobValue(pool, id)).toBe(value);
      expect(pool.verify()).toEqual([]);
      expect(pool.stats().store.slotsUsed).toBe(expected.size);
      await pool.close();
    },
  );
});

describe('another blobsMax than before', () => {
  it('I6 a store whose last slots alone are in use opens with a smaller one', async () => {
    const directory = temporaryDirectory();
    const large = await openSmall(directory, { blobsMax: 400, threads: 'inline' });
    const ids = writeBlobs(large, 330);
    const kept = ids.slice(-5);
    for (const id of ids.slice(0, -5)) large.deleteBlob(id);
    await large.close();
    // 5 blobs need 16 mapping entries, and slots up to 330.
    for (const blobsMax of [5, 1, undefined, 400]) {
      const options = blobsMax === undefined ? {} : { blobsMax };
      const pool = await openSmall(directory, { ...options, threads: 'inline' });
      expect(pool.list()).toEqual(kept);
      for (const id of kept) expect(blobValue(pool, id)).toBe(id & 255);
      const [first] = kept as [number];
      pool.writeBlob(first, filled(first));
      await pool.close();
    }
  });

  it('I6 a slot beyond those of the default capacity is found again with the default', async () => {
    const id = 7;
    const slot = 1_000_000;
    let reads = 0;
    const pool = await openSmall('far', {
      threads: 'inline',
      store({ checksummer }): StoreBackend {
        checksummer.scratch(BLOB_BYTES).fill(id);
        const checksum = checksummer.ofScratch(BLOB_BYTES, id);
        return {
          open: async () => ({
            storeId: 1n,
            blobs: [{ id, slot, checksum }],
            nextBlobId: id + 1,
            commitNumber: 1,
            checkpointSeq: 0,
            epoch: 1,
            roots: new Map(),
          }),
          handle: () => ({ kind: 'module' }),
          readSlot(from, target) {
            reads++;
            expect(from).toBe(slot);
            target.fill(id);
          },
          writeSlot: () => undefined,
          writeSlots: async () => [],
          sync: () => undefined,
          commit: () => undefined,
          usage: () => ({ dataBytes: 0, manifestBytes: 0 }),
          close: async () => undefined,
        };
      },
    });
    expect([pool.list(), blobValue(pool, id), reads]).toEqual([[id], id, 1]);
    const other = pool.allocate();
    pool.writeBlob(other, filled(other));
    expect(pool.list()).toEqual([id, other]);
    await pool.close();
  });
});

describe('a mapping that is full', () => {
  it('STORE_FULL is for new blobs alone: those that are there are overwritten', async () => {
    const { pool } = await openFaulty({ blobsMax: 4, frames: 16 });
    const ids = writeBlobs(pool, roomOf(4));
    const late = pool.allocate();
    expect(errorOf(() => pool.writeBlob(late, filled(1))).code).toBe('STORE_FULL');
    for (const id of ids) pool.writeBlob(id, filled(id + 100));
    expect(ids.map((id) => blobValue(pool, id))).toEqual(ids.map((id) => id + 100));
    expect([pool.list(), pool.has(late)]).toEqual([ids, false]);
    expect(pool.deleteBlob(ids[0] as number)).toBe(true);
    pool.writeBlob(late, filled(late));
    expect(blobValue(pool, late)).toBe(late);
    await pool.close();
  });

  it('I1 close writes what is dirty in it', async () => {
    const directory = temporaryDirectory();
    const options = { blobsMax: 4, frames: 16, threads: 'inline' } as const;
    const pool = await openSmall(directory, options);
    const ids = writeBlobs(pool, roomOf(4));
    expect(errorOf(() => pool.writeBlob(pool.allocate(), filled(1))).code).toBe('STORE_FULL');
    for (const id of ids) dirty(pool, id, id + 100);
    await pool.close();
    const again = await openSmall(directory, options);
    expect(ids.map((id) => blobValue(again, id))).toEqual(ids.map((id) => id + 100));
    await again.close();
  });
});

describe('a lease of ids that fails', () => {
  it('I4 no id beyond it can be written, so none is there when it is handed out', async () => {
    const data = createMemoryStore(BLOB_BYTES, { capacityBytes: 64 * BLOB_BYTES });
    let failing = true;
    const store = (context: BackendContext): StoreBackend => {
      const backend = new MemoryBackend(context, data);
      const commit = backend.commit.bind(backend);
      backend.commit = (change) => {
        if (failing) throw new WeirpoolError('STORE_IO', 'No space.', { outcome: 'not_applied' });
        commit(change);
      };
      return backend;
    };
    const first = await openSmall('leases', { store, threads: 'inline' });
    expect(errorOf(() => first.allocate()).code).toBe('STORE_IO');
    failing = false;
    expect(errorOf(() => first.writeBlob(1, filled(1))).code).toBe('RangeError');
    await first.close();
    const second = await openSmall('leases', { store, threads: 'inline' });
    expect([second.list(), second.allocate(), second.has(1)]).toEqual([[], 1, false]);
    await second.close();
  });

  it('I4 the pool goes on after it, with ids that a later lease covers', async () => {
    const { pool, backend } = await openFaulty();
    backend.plan({ operation: 'commit' });
    expect(errorOf(() => pool.allocate()).code).toBe('STORE_IO');
    for (const id of [1, 2, 1024]) {
      expect(errorOf(() => pool.writeBlob(id, filled(1))).code).toBe('RangeError');
    }
    expect(pool.list()).toEqual([]);
    const id = pool.allocate();
    pool.writeBlob(id, filled(id));
    expect([pool.list(), blobValue(pool, id)]).toEqual([[id], id]);
    await pool.close();
  });
});
