/** What callers may not do, refused in every state of the cache. */
import { describe, expect, it } from 'vitest';
import { BufferPool } from '../../../src/pool/pool.ts';
import {
  attachOther,
  blobValue,
  closeAfterTest,
  counters,
  errorOf,
  filled,
  openSmall,
  rejectionOf,
  writeBlobs,
} from '../pool/support.ts';

const WAYS_IN: Readonly<Record<string, (pool: BufferPool, id: number) => unknown>> = {
  pin: (pool, id) => pool.pin(id),
  pinSilent: (pool, id) => pool.pinSilent(id),
  read: (pool, id) => pool.read(id),
  write: (pool, id) => pool.write(id),
  optimistic: (pool, id) => pool.optimistic(id, ({ u32 }) => u32[0]),
  tryOptimistic: (pool, id) => pool.tryOptimistic(id, ({ u32 }) => u32[0]),
  readInto: (pool, id) => pool.readInto(id, filled(0)),
  copyCached: (pool, id) => pool.copyCached(id, filled(0)),
  has: (pool, id) => pool.has(id),
  evict: (pool, id) => pool.evict(id),
  writeBlob: (pool, id) => pool.writeBlob(id, filled(9)),
  deleteBlob: (pool, id) => pool.deleteBlob(id),
};

/** What WebAssembly would turn into the number of the blob. */
function lookalikes(id: number): unknown[] {
  return [
    `${id}`,
    ` ${id} `,
    [id],
    { registerValue: () => id },
    new Number(id),
    BigInt(id),
    new Date(id),
  ];
}

describe('an id that is no number', () => {
  it.each(Object.keys(WAYS_IN))(
    'is refused by %s, whether the blob that it looks like is cached or not',
    async (name) => {
      const pool = await openSmall();
      const [id] = writeBlobs(pool, 1) as [number];
      expect(id).toBe(1);
      const way = WAYS_IN[name] as (pool: BufferPool, id: unknown) => unknown;
      for (const cached of [false, true]) {
        if (cached) pool.pin(id).release();
        const before = counters(pool);
        // `true` is 1, which is the blob.
        for (const bad of [...lookalikes(id), true]) {
          expect(errorOf(() => way(pool, bad)).code).toBe('TypeError');
        }
        expect([counters(pool), pool.cachedCount()]).toEqual([before, cached ? 1 : 0]);
        const { pinned, latched, dirty } = pool.stats();
        expect([pinned, latched, dirty]).toEqual([0, 0, 0]);
      }
      expect([blobValue(pool, id), pool.list()]).toEqual([1, [1]]);
    },
  );

  it('is refused by prefetch, and nothing of the list is loaded', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    for (const bad of [...lookalikes(id), true]) {
      const ids = [id, bad] as number[];
      expect((await rejectionOf(pool.prefetch(ids))).code).toBe('TypeError');
    }
    expect([pool.cachedCount(), pool.stats().loads]).toEqual([0, 0]);
  });
});

describe('a thread', () => {
  it('D1 has one place in a pool: the opener and who has attached are refused another', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    for (let attempt = 0; attempt < 200; attempt++) {
      // More often than there are slots: a refused attempt keeps none.
      const { code } = await rejectionOf(BufferPool.attach(pool.handle));
      expect(code).toBe('ALREADY_ATTACHED');
    }
    const other = await attachOther(pool);
    closeAfterTest(other);
    expect((await rejectionOf(BufferPool.attach(pool.handle))).code).toBe('ALREADY_ATTACHED');
    expect([pool.stats().threads, blobValue(other, id)]).toEqual([2, id]);
    await other.close();
    const again = await BufferPool.attach(pool.handle);
    closeAfterTest(again);
    expect([pool.stats().threads, blobValue(again, id)]).toEqual([2, id]);
    await again.close();
  });

  it('D1 is refused every id while it holds a latch, not only the one that needs a commit', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const { commits } = pool.stats().store;
    for (const take of [() => pool.read(id), () => pool.write(id)]) {
      const guard = take();
      const { code } = errorOf(() => pool.allocate());
      expect(code).toBe('LATCH_HELD');
      guard.release();
    }
    const pin = pool.pin(id);
    expect(pool.allocate()).toBe(id + 1);
    pin.release();
    expect([pool.allocate(), pool.stats().store.commits]).toEqual([id + 2, commits]);
  });
});

describe('a deleted blob', () => {
  it('I5 is BLOB_GONE for an optimistic look that would be upgraded', async () => {
    const pool = await openSmall();
    const [id] = writeBlobs(pool, 1) as [number];
    const pin = pool.pin(id);
    const look = pin.optimistic();
    const copy = look.bytes.slice();
    expect([look.validate(), copy[0]]).toEqual([true, id]);
    expect(pool.deleteBlob(id)).toBe(true);
    expect(look.validate()).toBe(false);
    const { code, details } = errorOf(() => look.upgrade());
    expect([code, details]).toEqual(['BLOB_GONE', { id }]);
    expect(pool.stats().latched).toBe(0);
    pin.release();
    expect(pool.stats().pinned).toBe(0);
  });
});
