/** How a mini-transaction may end: commit, abort, exceptions before and after the seal. */
import { describe, expect, it } from 'vitest';
import type { Op } from '../../../src/txn/op.ts';
import { errorOf } from '../pool/support.ts';
import {
  abandoned,
  BLOB_BYTES,
  change,
  contentOf,
  create,
  openLogged,
  PAYLOAD_MAX,
  set,
  valueAt,
} from './support.ts';

const EMPTY = new Uint8Array(0);

describe('one mini-transaction at a time', () => {
  it('refuses a second one in the same thread, and leaves the first alone', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const op = pool.begin();
    op.write(id);
    expect(errorOf(() => pool.begin()).code).toBe('TX_NESTED');
    expect(errorOf(() => change(pool, { create: [2] })).code).toBe('TX_NESTED');
    op.seal(0);
    expect(errorOf(() => pool.begin()).code).toBe('TX_NESTED');
    expect(op.commit(EMPTY)).toBeGreaterThan(0);
    expect(errorOf(() => pool.change(() => pool.change(() => 1))).code).toBe('TX_NESTED');
    pool.begin().abort();
  });

  it('D1 refuses to begin while this thread holds a latch, not while it holds a pin', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const guard = pool.read(id);
    expect(errorOf(() => pool.begin()).code).toBe('LATCH_HELD');
    expect(errorOf(() => set(pool, id, 2)).code).toBe('LATCH_HELD');
    guard.release();
    using pin = pool.pin(id);
    set(pool, id, 3);
    expect(pin.optimistic().bytes[0]).toBe(3);
  });

  it('has ended for every later call', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const ends: readonly ((op: Op) => void)[] = [(op) => op.abort(), (op) => op.commit(EMPTY)];
    for (const end of ends) {
      const op = pool.begin();
      end(op);
      expect([op.ended, op.sealed]).toEqual([true, false]);
      const calls = [
        () => op.write(id),
        () => op.read(id),
        () => op.create(),
        () => op.delete(id),
        () => op.setRoot(1, id),
        () => op.seal(),
        () => op.commit(EMPTY),
      ];
      for (const call of calls) expect(errorOf(call).code).toBe('TX_ENDED');
      op.abort();
      op[Symbol.dispose]();
    }
    expect(valueAt(pool, id)).toBe(1);
  });

  it('takes nothing any more once it is sealed', async () => {
    const { pool } = await openLogged();
    const [a = 0, b = 0] = change(pool, { create: [1, 2] }).ids;
    const op = pool.begin();
    op.write(a);
    op.seal(0);
    expect(op.sealed).toBe(true);
    const calls = [
      () => op.write(b),
      () => op.write(a),
      () => op.read(b),
      () => op.create(),
      () => op.delete(b),
      () => op.setRoot(1, a),
      () => op.seal(),
    ];
    for (const call of calls) expect(errorOf(call).code).toBe('TX_ENDED');
    op.commit(EMPTY);
  });

  it('D1 refuses to wait for a round, or to close, inside the gate or with a change begun', async () => {
    const { pool } = await openLogged();
    create(pool, 1);
    const op = pool.begin();
    op.create();
    await expect(pool.close()).rejects.toMatchObject({ code: 'TX_NESTED' });
    op.seal(0);
    await expect(pool.checkpoint()).rejects.toMatchObject({ code: 'TX_NESTED' });
    await expect(pool.flushIfNeeded(1)).rejects.toMatchObject({ code: 'TX_NESTED' });
    await expect(pool.close()).rejects.toMatchObject({ code: 'TX_NESTED' });
    op.commit(EMPTY);
    expect((await pool.checkpoint()).frames).toBe(2);
    await pool.close();
  });

  it('gives up what it has when the pool has closed', async () => {
    const { pool } = await openLogged();
    await pool.close();
    expect(errorOf(() => pool.begin()).code).toBe('POOL_CLOSED');
    expect(errorOf(() => pool.change(() => 1)).code).toBe('POOL_CLOSED');
    expect(errorOf(() => pool.root(1)).code).toBe('POOL_CLOSED');
  });
});

describe('the size of a record', () => {
  it.each([0, 1, 7, 8, 4095, PAYLOAD_MAX])('may be %d bytes', async (bytes) => {
    const { pool, disk } = await openLogged();
    const payload = Uint8Array.from({ length: bytes }, (_, at) => at);
    const seqs: number[] = [];
    // Several, so that records wrap in the ring and go on in another segment.
    for (let n = 0; n < 5; n++) seqs.push(pool.change((op) => op.commit(payload)));
    expect([...seqs].sort((a, b) => a - b)).toEqual(seqs);
    pool.durableSync(undefined, 'synced');
    const crashed = abandoned(disk);
    await pool.close();
    const seen: unknown[] = [];
    const owners = { 0: { replay: (record: unknown) => void seen.push(record) } };
    await openLogged({ disk: crashed, options: { owners } });
    expect(seen).toEqual(
      seqs.map((seq) => expect.objectContaining({ seq, owner: 0, created: [], deleted: [] })),
    );
    for (const { payload: found } of seen as { payload: Uint8Array }[]) {
      expect(Buffer.compare(found, payload)).toBe(0);
    }
  });

  it('above half of the ring is refused at the seal, by the name of the option', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const op = pool.begin();
    const blob = op.write(id);
    const refused = errorOf(() => op.seal(PAYLOAD_MAX + 1));
    expect(refused.code).toBe('RECORD_TOO_LARGE');
    expect(refused.error.message).toContain('log.ringBytes');
    expect(refused.details).toMatchObject({ bytes: PAYLOAD_MAX + 1, bytesMax: PAYLOAD_MAX });
    expect([op.ended, op.sealed]).toEqual([false, false]);
    op.seal(PAYLOAD_MAX);
    blob.bytes.fill(2);
    op.commit(new Uint8Array(PAYLOAD_MAX));
    expect(valueAt(pool, id)).toBe(2);
    const large = new Uint8Array(PAYLOAD_MAX + 1);
    const attempt = (other: Op): void => {
      other.write(id);
      other.create();
      other.commit(large);
    };
    expect(errorOf(() => pool.change(attempt)).code).toBe('RECORD_TOO_LARGE');
    expect(errorOf(() => pool.change((o) => o.seal(2 ** 40))).code).toBe('RECORD_TOO_LARGE');
    expect([pool.list(), valueAt(pool, id)]).toEqual([[id], 2]);
  });

  it('above what the seal has announced is refused, and the change goes on', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const op = pool.begin();
    const blob = op.write(id);
    op.seal(10);
    blob.bytes.fill(2);
    expect(errorOf(() => op.commit(new Uint8Array(11))).details).toEqual({
      bytes: 11,
      bytesMax: 10,
    });
    expect(errorOf(() => op.commit('record' as unknown as Uint8Array)).code).toBe('TypeError');
    expect(op.sealed).toBe(true);
    op.commit(new Uint8Array(9));
    expect(valueAt(pool, id)).toBe(2);
  });

  it('that is no count is refused', async () => {
    const { pool } = await openLogged();
    const op = pool.begin();
    for (const bytes of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, '8' as unknown as number]) {
      expect(errorOf(() => op.seal(bytes)).code).toBe('RangeError');
    }
    op.abort();
  });
});

describe('an exception', () => {
  it('before the seal aborts without harm, and comes through', async () => {
    const { pool, disk } = await openLogged();
    const [a = 0, b = 0] = change(pool, { create: [1, 2], root: [1, -1] }).ids;
    await pool.checkpoint();
    const before = pool.stats();
    const failure = new Error('changed my mind');
    const attempt = () =>
      pool.change((op) => {
        op.write(a);
        op.read(b);
        op.create();
        op.delete(b === 0 ? a : op.create().id);
        op.setRoot(1, 0);
        throw failure;
      });
    expect(errorOf(attempt).error).toBe(failure);
    expect(pool.stats()).toMatchObject({ latched: 0, pinned: 0, free: before.free, dirty: 0 });
    expect([contentOf(pool), pool.root(1)]).toEqual([
      [
        [a, 1],
        [b, 2],
      ],
      a,
    ]);
    expect(pool.pendingDeletes()).toEqual([]);
    await pool.close();
    const { pool: again } = await openLogged({ disk });
    expect(again.list()).toEqual([a, b]);
  });

  it('after the seal poisons, and reopening has the change not', async () => {
    const { pool, disk } = await openLogged();
    const id = create(pool, 1);
    pool.durableSync(undefined, 'synced');
    const failure = new Error('half way');
    const attempt = () =>
      pool.change((op) => {
        const blob = op.write(id);
        op.seal(0);
        blob.bytes.fill(2, 0, 100);
        throw failure;
      });
    expect(errorOf(attempt).error).toBe(failure);
    const stopped = errorOf(() => pool.read(id));
    expect(stopped.code).toBe('POISONED');
    expect(stopped.error.message).toContain('half way');
    for (const call of [() => pool.begin(), () => set(pool, id, 3), () => pool.durableSync()]) {
      expect(errorOf(call).code).toBe('POISONED');
    }
    await expect(pool.checkpoint()).rejects.toMatchObject({ code: 'POISONED' });
    await pool.close();
    const { pool: again } = await openLogged({ disk });
    expect(contentOf(again)).toEqual([[id, 1]]);
  });

  it('after the seal with undo puts every frame back', async () => {
    const { pool } = await openLogged();
    const [a = 0, b = 0, c = 0] = change(pool, { create: [1, 2, 3] }).ids;
    await pool.checkpoint();
    const before = pool.stats();
    for (let n = 0; n < 3; n++) {
      const attempt = () =>
        pool.change(
          (op) => {
            const blobs = [op.write(a), op.write(b)];
            op.delete(c);
            const made = op.create();
            op.setRoot(9, a);
            op.seal(100);
            for (const { bytes } of [...blobs, made]) bytes.fill(0x77);
            throw new Error('half way');
          },
          { undo: true },
        );
      expect(errorOf(attempt).error.message).toBe('half way');
      expect(contentOf(pool)).toEqual([
        [a, 1],
        [b, 2],
        [c, 3],
      ]);
    }
    expect(pool.stats()).toMatchObject({ latched: 0, pinned: 0, dirty: 0, free: before.free });
    expect([pool.root(9), pool.dirtyBlobs(), pool.pendingDeletes()]).toEqual([undefined, [], []]);
    set(pool, a, 5);
    expect(valueAt(pool, a)).toBe(5);
  });

  it('after the commit comes through, and the change stays', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const attempt = () =>
      pool.change((op) => {
        const blob = op.write(id);
        op.seal(0);
        blob.bytes.fill(2);
        op.commit(EMPTY);
        throw new Error('too late');
      });
    expect(errorOf(attempt).error.message).toBe('too late');
    expect(valueAt(pool, id)).toBe(2);
    set(pool, id, 3);
  });
});

describe('abort', () => {
  it('by hand or by using gives everything back before the seal', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    {
      using op = pool.begin();
      op.write(id);
      op.create();
    }
    const op = pool.begin({ undo: true });
    const blob = op.write(id);
    op.seal(5);
    blob.bytes.fill(9);
    op.abort();
    expect([valueAt(pool, id), pool.list()]).toEqual([1, [id]]);
    expect(pool.stats()).toMatchObject({ latched: 0, pinned: 0 });
  });

  it('after the seal without undo poisons, and says what to do', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const op = pool.begin();
    op.write(id);
    op.seal(0);
    const broken = errorOf(() => op.abort());
    expect([broken.code, (broken.error as { outcome?: string }).outcome]).toEqual([
      'INVARIANT_BROKEN',
      'unknown',
    ]);
    expect(broken.error.message).toContain('undo');
    expect(errorOf(() => pool.read(id)).code).toBe('POISONED');
  });

  it('gives credit back: a ring full of aborted changes takes the next one', async () => {
    const { pool } = await openLogged();
    for (let n = 0; n < 20; n++) {
      using op = pool.begin({ undo: true });
      op.seal(PAYLOAD_MAX);
    }
    const seq = pool.change((op) => op.commit(new Uint8Array(PAYLOAD_MAX)));
    expect(seq).toBeLessThan(2 * PAYLOAD_MAX);
  });
});

describe('a callback', () => {
  it('that returns a promise is refused, and nothing is changed', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const later = async (op: Op): Promise<void> => {
      op.write(id);
      await Promise.resolve();
    };
    expect(errorOf(() => pool.change(later)).code).toBe('TypeError');
    // biome-ignore lint/suspicious/noThenProperty: what a promise of somebody else looks like
    expect(errorOf(() => pool.change(() => ({ then: () => 1 }))).code).toBe('TypeError');
    expect([valueAt(pool, id), pool.stats().latched]).toEqual([1, 0]);
    expect(set(pool, id, 2)).toBeGreaterThan(0);
  });

  it('that is none is refused', async () => {
    const { pool } = await openLogged();
    expect(errorOf(() => pool.change(undefined as unknown as () => 1)).code).toBe('TypeError');
    expect(pool.begin().ended).toBe(false);
  });

  it('that leaves a sealed change open is refused: without undo that poisons', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const forgets = (op: Op): void => {
      const blob = op.write(id);
      op.seal(0);
      blob.bytes.fill(2);
    };
    expect(errorOf(() => pool.change(forgets, { undo: true })).code).toBe('TypeError');
    expect(valueAt(pool, id)).toBe(1);
    expect(errorOf(() => pool.change(forgets)).code).toBe('TypeError');
    expect(errorOf(() => pool.read(id)).code).toBe('POISONED');
  });
});

describe('the debug mode', () => {
  it.each(['write', 'read', 'delete'] as const)(
    'W2D proves that bytes of a blob acquired to %s are untouched before the seal',
    async (mode) => {
      const { pool, disk } = await openLogged({ options: { debug: true } });
      const id = create(pool, 1);
      pool.durableSync(undefined, 'synced');
      pool.change((op) => {
        op[mode](id);
        op.commit(EMPTY);
      });
      const other = create(pool, 1);
      using pin = pool.pin(other);
      const attempt = () =>
        pool.change((op) => {
          op[mode](other);
          pin.optimistic().bytes[BLOB_BYTES - 1] = 9;
          op.seal(0);
          return op.commit(EMPTY);
        });
      const broken = errorOf(attempt);
      expect([broken.code, broken.details]).toEqual(['INVARIANT_BROKEN', { id: other }]);
      expect(errorOf(() => pool.read(id)).code).toBe('POISONED');
      await pool.close();
      const { pool: again } = await openLogged({ disk });
      expect(valueAt(again, other)).toBe(1);
    },
  );

  it('lets a new blob be written at once, and finds nothing wrong with honest changes', async () => {
    const { pool } = await openLogged({ options: { debug: true } });
    const id = pool.change((op) => {
      const blob = op.create();
      blob.bytes.fill(3);
      op.commit(EMPTY);
      return blob.id;
    });
    for (let value = 4; value < 10; value++) set(pool, id, value);
    expect(valueAt(pool, id)).toBe(9);
  });
});
