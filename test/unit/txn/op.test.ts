/** What a mini-transaction does to blobs, one thread, nothing in its way. */
import { describe, expect, it } from 'vitest';
import type { Op } from '../../../src/txn/op.ts';
import type { OpBlob } from '../../../src/txn/op-blob.ts';
import { errorOf } from '../pool/support.ts';
import {
  BLOB_BYTES,
  change,
  contentOf,
  create,
  openLogged,
  PAYLOAD_MAX,
  remove,
  set,
  valueAt,
} from './support.ts';

const EMPTY = new Uint8Array(0);

describe('a change', () => {
  it('returns what its callback returns, and every thread sees the bytes', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 7);
    expect(pool.change((op) => op.read(id).u32[0])).toBe(0x07070707);
    expect(set(pool, id, 9)).toBeGreaterThan(0);
    expect(valueAt(pool, id)).toBe(9);
    expect(pool.optimistic(id, ({ bytes }) => bytes[3])).toBe(9);
  });

  it('I1 marks what it has written dirty with its seq, and nothing else', async () => {
    const { pool } = await openLogged();
    const { seq, ids } = change(pool, { create: [1, 2, 3] });
    const [a = 0, b = 0, c = 0] = ids;
    expect(pool.dirtyBlobs()).toEqual(ids.map((id) => ({ id, seq })));
    await pool.checkpoint();
    expect([pool.dirtyBlobs(), pool.dirtyFrames()]).toEqual([[], 0]);
    const later = pool.change((op) => {
      op.read(a);
      const blob = op.write(b);
      op.seal(0);
      blob.bytes.fill(4);
      return op.commit(EMPTY);
    });
    expect(later).toBeGreaterThan(seq);
    expect(pool.dirtyBlobs()).toEqual([{ id: b, seq: later }]);
    expect(contentOf(pool)).toEqual([
      [a, 1],
      [b, 4],
      [c, 3],
    ]);
  });

  it('that returns without a commit changes nothing', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    await pool.checkpoint();
    const before = pool.stats();
    expect(
      pool.change((op) => {
        op.write(id);
        op.create();
        op.delete(id);
        return 'done';
      }),
    ).toBe('done');
    expect(pool.list()).toEqual([id]);
    expect([pool.dirtyBlobs(), pool.pendingDeletes()]).toEqual([[], []]);
    expect(pool.stats()).toMatchObject({ latched: 0, pinned: 0, free: before.free });
  });

  it('seals by itself when it commits without', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const seq = pool.change((op) => {
      op.write(id);
      return op.commit(new Uint8Array(PAYLOAD_MAX));
    });
    expect(pool.dirtyBlobs()[0]?.seq).toBeLessThan(seq);
  });

  it('without a record is dirty from the end of the log + 1, and may wait for the end', async () => {
    const { pool, disk } = await openLogged();
    const id = create(pool, 1);
    const tail = set(pool, id, 2);
    await pool.checkpoint();
    const seq = pool.change(
      (op) => {
        const blob = op.write(id);
        op.seal();
        blob.bytes.fill(3);
        return op.commit();
      },
      { durability: 'synced' },
    );
    expect(seq).toBe(tail);
    expect(pool.dirtyBlobs()).toEqual([{ id, seq: tail + 1 }]);
    pool.durableSync(seq, 'synced');
    await pool.durable(seq, 'synced');
    expect(set(pool, id, 4)).toBeGreaterThan(seq);
    await pool.checkpoint();
    await pool.close();
    const { pool: again } = await openLogged({ disk });
    expect(valueAt(again, id)).toBe(4);
  });

  it('W2D without a record may not create, delete or set roots', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const needsRecord: readonly ((op: Op) => unknown)[] = [
      (op) => op.create(),
      (op) => op.delete(id),
      (op) => op.setRoot(3, id),
    ];
    for (const acquire of needsRecord) {
      const op = pool.begin({ undo: true });
      acquire(op);
      expect(errorOf(() => op.commit()).code).toBe('TypeError');
      op.abort();
    }
    expect([pool.list(), pool.root(3)]).toEqual([[id], undefined]);
  });
});

describe('creating and deleting', () => {
  it('gives zeroed blobs with increasing ids, seen by others from the commit on', async () => {
    const { pool } = await openLogged({ options: { frames: 4 } });
    const first = create(pool, 0xff);
    await pool.checkpoint();
    // Frames are used again: what they held before must not show.
    for (let n = 0; n < 6; n++) {
      const id = pool.change((op) => {
        const blob = op.create();
        expect(blob.bytes.every((byte) => byte === 0)).toBe(true);
        expect(pool.has(blob.id)).toBe(false);
        op.seal(0);
        blob.bytes.fill(0xee);
        expect(pool.list()).not.toContain(blob.id);
        op.commit(EMPTY);
        return blob.id;
      });
      expect(pool.has(id)).toBe(true);
      expect(pool.list().at(-1)).toBe(id);
      expect(id).toBeGreaterThan(first);
      await pool.checkpoint();
    }
  });

  it('deletes from the commit on, also for a pin that is left', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    using pin = pool.pin(id);
    pool.change((op) => {
      expect(op.delete(id)).toBe(true);
      expect(op.delete(id)).toBe(false);
      expect(errorOf(() => op.write(id)).code).toBe('BLOB_GONE');
      expect(errorOf(() => op.read(id)).code).toBe('BLOB_GONE');
      expect(pool.has(id)).toBe(true);
      op.commit(EMPTY);
    });
    expect(errorOf(() => pin.read()).code).toBe('BLOB_GONE');
    expect(errorOf(() => pool.read(id)).code).toBe('BLOB_NOT_FOUND');
    expect([pool.has(id), pool.list(), pool.pendingDeletes()]).toEqual([false, [], [id]]);
  });

  it('of a blob that is not there does nothing', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    remove(pool, id);
    const deleted = pool.change((op) => {
      const results = [op.delete(id), op.delete(9999)];
      op.commit(EMPTY);
      return results;
    });
    expect(deleted).toEqual([false, false]);
    expect(pool.pendingDeletes()).toEqual([id]);
  });

  it('of an own creation leaves nothing behind but a used id', async () => {
    const { pool } = await openLogged({ options: { frames: 4 } });
    create(pool, 1);
    const free = pool.stats().free;
    const id = pool.change((op) => {
      const blob = op.create();
      expect(op.delete(blob.id)).toBe(true);
      expect(errorOf(() => blob.bytes).code).toBe('TX_ENDED');
      expect(op.delete(blob.id)).toBe(false);
      op.commit(EMPTY);
      return blob.id;
    });
    expect([pool.has(id), pool.pendingDeletes(), pool.stats().free]).toEqual([false, [], free]);
    expect(create(pool, 2)).toBe(id + 1);
  });

  it('of a blob that was written in the same change deletes it', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    pool.change((op) => {
      const blob = op.write(id);
      expect(op.delete(id)).toBe(true);
      expect(errorOf(() => blob.bytes).code).toBe('TX_ENDED');
      op.commit(EMPTY);
    });
    expect([pool.list(), pool.dirtyBlobs()]).toEqual([[], []]);
  });

  it('refuses ids that are none before anything happens', async () => {
    const { pool } = await openLogged();
    const op = pool.begin();
    for (const id of ['1', undefined, null, {}] as unknown as number[]) {
      for (const way of ['write', 'read', 'delete'] as const) {
        expect(errorOf(() => op[way](id)).code).toBe('TypeError');
      }
    }
    for (const id of [0, -1, 1.5, Number.NaN, 2 ** 53]) {
      for (const way of ['write', 'read', 'delete'] as const) {
        expect(errorOf(() => op[way](id)).code).toBe('RangeError');
      }
    }
    op.abort();
  });
});

describe('acquiring', () => {
  it('gives the same blob again, and refuses to write what it reads', async () => {
    const { pool } = await openLogged();
    const [a = 0, b = 0] = change(pool, { create: [1, 2] }).ids;
    pool.change((op) => {
      const written = op.write(a);
      expect([op.write(a), op.read(a)]).toEqual([written, written]);
      const seen = op.read(b);
      expect(op.read(b)).toBe(seen);
      expect(errorOf(() => op.write(b)).code).toBe('LATCH_HELD');
      expect(errorOf(() => op.delete(b)).code).toBe('LATCH_HELD');
      const made = op.create();
      expect([op.write(made.id), op.read(made.id)]).toEqual([made, made]);
    });
  });

  it('D1 this thread is refused what its own change holds, instead of waiting for itself', async () => {
    const { pool } = await openLogged();
    const [a = 0, b = 0] = change(pool, { create: [1, 2] }).ids;
    pool.change((op) => {
      op.write(a);
      op.read(b);
      expect(errorOf(() => pool.read(a)).code).toBe('LATCH_HELD');
      using second = pool.read(b);
      expect(second.bytes[0]).toBe(2);
    });
    expect(pool.stats()).toMatchObject({ latched: 0, pinned: 0 });
  });

  it('G1 guards of an op have no release of their own, and end with it', async () => {
    const { pool } = await openLogged();
    const [a = 0, b = 0] = change(pool, { create: [1, 2] }).ids;
    const op = pool.begin();
    const blobs: OpBlob[] = [op.write(a), op.read(b), op.create()];
    for (const blob of blobs) {
      expect(Object.keys(blob)).not.toContain('release');
      expect(['release', 'dispose', 'close'].filter((name) => name in blob)).toEqual([]);
      expect(Symbol.dispose in blob).toBe(false);
    }
    expect(pool.stats().latched).toBe(2);
    op.seal(0);
    expect(pool.stats().latched).toBe(2);
    op.commit(EMPTY);
    expect(pool.stats()).toMatchObject({ latched: 0, pinned: 0 });
    for (const blob of blobs) {
      for (const view of ['bytes', 'view', 'u32', 'f64'] as const) {
        expect(errorOf(() => blob[view]).code).toBe('TX_ENDED');
      }
    }
  });

  it('gives all four views of the same bytes', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 0);
    pool.change((op) => {
      const { bytes, view, u32, f64 } = op.write(id);
      op.seal(0);
      view.setFloat64(8, 1.5, true);
      expect([f64[1], u32[3], bytes.length]).toEqual([1.5, 0x3ff80000, BLOB_BYTES]);
      op.commit(EMPTY);
    });
  });

  it('many blobs in one change appear together', async () => {
    const { pool, disk } = await openLogged();
    const { ids } = change(pool, { create: [1, 2, 3, 4, 5, 6, 7, 8] });
    const set = ids.slice(0, 6).map((id) => [id, 20 + id] as const);
    const { seq } = change(pool, { set, delete: ids.slice(6) });
    expect(pool.dirtyBlobs().length).toBe(6);
    expect(contentOf(pool)).toEqual(set);
    pool.durableSync(seq, 'synced');
    await pool.close();
    const { pool: again } = await openLogged({ disk });
    expect(contentOf(again)).toEqual(set);
  });
});

describe('roots', () => {
  it('are set with the commit, by owner, and taken away by 0', async () => {
    const { pool, disk } = await openLogged();
    const id = change(pool, { create: [1], root: [5, -1] }).ids[0] as number;
    expect([pool.root(5), pool.root(0), pool.root(6)]).toEqual([id, undefined, undefined]);
    pool.change((op) => {
      op.setRoot(5, 0);
      expect(pool.root(5)).toBe(id);
    });
    expect(pool.root(5)).toBe(id);
    change(pool, { root: [6, id] });
    await pool.checkpoint();
    change(pool, { root: [5, 0] });
    expect([pool.root(5), pool.root(6)]).toEqual([undefined, id]);
    await pool.close();
    const { pool: again } = await openLogged({ disk });
    expect([again.root(5), again.root(6)]).toEqual([undefined, id]);
  });

  it('refuse what is no owner or no blob id', async () => {
    const { pool } = await openLogged();
    const op = pool.begin();
    expect(errorOf(() => op.setRoot('1' as unknown as number, 1)).code).toBe('TypeError');
    expect(errorOf(() => op.setRoot(1, '1' as unknown as number)).code).toBe('TypeError');
    for (const owner of [-1, 0.5, Number.NaN, 2 ** 52]) {
      expect(errorOf(() => op.setRoot(owner, 1)).code).toBe('RangeError');
      expect(errorOf(() => pool.root(owner)).code).toBe('RangeError');
    }
    for (const id of [-1, 0.5, Number.NaN]) {
      expect(errorOf(() => op.setRoot(1, id)).code).toBe('RangeError');
    }
    op.abort();
  });

  it('of too many owners are refused, also within one change, and none is lost', async () => {
    const { pool, disk } = await openLogged();
    const id = create(pool, 1);
    for (let from = 0; from < 1000; from += 100) {
      pool.change((op) => {
        for (let owner = from; owner < from + 100; owner++) op.setRoot(owner, id);
        op.commit(EMPTY);
      });
    }
    pool.change((op) => {
      let set = 0;
      const refused = errorOf(() => {
        for (; set < 100; set++) op.setRoot(5000 + set, id);
      });
      expect(refused.code).toBe('STORE_FULL');
      op.commit(EMPTY);
      expect(set).toBe(24);
    });
    for (let n = 0; n < 24; n++) expect(pool.root(5000 + n)).toBe(id);
    expect(pool.root(5024)).toBeUndefined();
    expect(errorOf(() => pool.change((op) => op.setRoot(6000, id))).code).toBe('STORE_FULL');
    change(pool, { root: [5000, 0] });
    change(pool, { root: [5001, id] });
    await pool.close();
    const { pool: again } = await openLogged({ disk });
    change(again, { root: [6000, id] });
    expect([again.root(5000), again.root(6000)]).toEqual([undefined, id]);
  });
});
