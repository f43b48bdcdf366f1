/** The store in memory: capacity, opening again, commits that are cut short. */
import { describe, expect, it } from 'vitest';
import { createMemoryStore, MemoryBackend } from '../../../src/store/memory-backend.ts';
import { change, mapping } from './file-support.ts';
import { BLOB_BYTES, errorFrom, newContext, rejectionOf } from './support.ts';

describe('the store in memory', () => {
  it('keeps what was committed for a later opening, without being closed', async () => {
    const first = new MemoryBackend(newContext());
    await first.open();
    first.writeSlot(4, new Uint8Array(BLOB_BYTES).fill(6));
    first.commit(mapping(1, 4));
    const second = new MemoryBackend(newContext(), first.data);
    const image = await second.open();
    expect(image).toMatchObject({ epoch: 2, commitNumber: 1, nextBlobId: 2 });
    expect(image.blobs).toEqual([{ id: 1, slot: 4, checksum: 1n }]);
    const target = new Uint8Array(BLOB_BYTES);
    second.readSlot(4, target);
    expect(target[0]).toBe(6);
  });

  it('fences off whoever had it open before', async () => {
    const first = new MemoryBackend(newContext());
    await first.open();
    const second = new MemoryBackend(newContext(), first.data);
    await second.open();
    const error = errorFrom(() => first.commit(mapping(1)));
    expect(error).toMatchObject({ code: 'FENCED', outcome: 'not_applied' });
    second.commit(mapping(2));
    const third = new MemoryBackend(newContext(), first.data);
    expect((await third.open()).blobs.map(({ id }) => id)).toEqual([2]);
  });

  it('refuses slots beyond its capacity, and says what to do', async () => {
    const data = createMemoryStore(BLOB_BYTES, { capacityBytes: 3 * BLOB_BYTES - 1 });
    const backend = new MemoryBackend(newContext(), data);
    await backend.open();
    const bytes = new Uint8Array(BLOB_BYTES);
    backend.writeSlot(2, bytes);
    const error = errorFrom(() => backend.writeSlot(3, bytes));
    expect(error).toMatchObject({ code: 'STORE_FULL', details: { slot: 3, slotCount: 3 } });
    expect(error.message).toContain('capacityBytes');
    const [written, refused] = await backend.writeSlots([
      { slot: 0, source: bytes },
      { slot: 9, source: bytes },
    ]);
    expect(written).toEqual({ slot: 0, error: undefined });
    expect(refused).toMatchObject({ slot: 9, error: { code: 'STORE_FULL' } });
  });

  it('reaches slots in every chunk', async () => {
    const blobBytes = 4 * 1024 * 1024;
    const data = createMemoryStore(blobBytes, { capacityBytes: 40 * blobBytes });
    expect(data.chunks.length).toBe(3);
    const backend = new MemoryBackend(newContext(blobBytes), data);
    await backend.open();
    const bytes = new Uint8Array(blobBytes);
    for (const slot of [0, 15, 16, 39]) {
      bytes.fill(slot + 1);
      backend.writeSlot(slot, bytes);
    }
    for (const slot of [0, 15, 16, 39]) {
      backend.readSlot(slot, bytes);
      expect(bytes[0]).toBe(slot + 1);
      expect(bytes[blobBytes - 1]).toBe(slot + 1);
    }
  });

  it('begins a new log area when one is full, and loses nothing', async () => {
    const data = createMemoryStore(BLOB_BYTES, { capacityBytes: 4 * BLOB_BYTES });
    const backend = new MemoryBackend(newContext(), data);
    await backend.open();
    // 4 MiB of log take some 1,000 records.
    for (let id = 1; id <= 2500; id++) backend.commit(mapping(id % 3 === 0 ? 3 : 1, id % 4));
    const again = new MemoryBackend(newContext(), data);
    const image = await again.open();
    expect(image.commitNumber).toBe(2500);
    expect(image.blobs).toEqual([
      { id: 1, slot: 2500 % 4, checksum: 1n },
      { id: 3, slot: 2499 % 4, checksum: 3n },
    ]);
  });

  it('refuses a record that no log area could hold', async () => {
    const data = createMemoryStore(BLOB_BYTES, { capacityBytes: BLOB_BYTES });
    const backend = new MemoryBackend(newContext(), data);
    await backend.open();
    const mapped = Array.from({ length: 200_000 }, (_, index) => ({
      id: index + 1,
      slot: index,
      checksum: 0n,
    }));
    const error = errorFrom(() => backend.commit(change({ mapped })));
    expect(error).toMatchObject({ code: 'STORE_FULL', outcome: 'not_applied' });
    backend.commit(mapping(1));
  });

  it('is as it was when a thread dies before the head is moved', async () => {
    const backend = new MemoryBackend(newContext());
    await backend.open();
    backend.commit(mapping(1));
    const head = Atomics.load(backend.data.head, 0);
    backend.commit(mapping(2));
    Atomics.store(backend.data.head, 0, head);
    const again = new MemoryBackend(newContext(), backend.data);
    expect((await again.open()).blobs.map(({ id }) => id)).toEqual([1]);
  });

  it('refuses another blob size, and capacities that are none', async () => {
    const data = createMemoryStore(BLOB_BYTES);
    const error = await rejectionOf(new MemoryBackend(newContext(8192), data).open());
    expect(error).toMatchObject({ code: 'BLOB_SIZE_MISMATCH' });
    for (const capacityBytes of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      const refusal = errorFrom(() => createMemoryStore(BLOB_BYTES, { capacityBytes }));
      expect(refusal).toBeInstanceOf(RangeError);
    }
  });
});
