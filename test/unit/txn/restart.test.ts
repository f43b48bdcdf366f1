/**
 * What a mini-transaction does when it cannot have something: it gives everything back, waits for
 * that one thing, and begins again. The pool of one thread has no one to wait for, so slots of the
 * control memory stand for other threads, and the callbacks play their part.
 */
import { describe, expect, it } from 'vitest';
import { DELETES_MAX, H_DELETES, OK } from '../../../src/generated/layout.ts';
import type { Op } from '../../../src/txn/op.ts';
import { errorOf, look } from '../pool/support.ts';
import {
  change,
  contentOf,
  create,
  FakeClock,
  openLogged,
  openParts,
  otherThread,
  PAYLOAD_MAX,
  RING_BYTES,
  set,
  valueIn,
} from './support.ts';

const EMPTY = new Uint8Array(0);

function wantedBy(action: () => unknown): unknown {
  const { code, details } = errorOf(action);
  return code === 'OP_RESTART' ? details['wanted'] : code;
}

describe('D1 a change that finds a latch taken', () => {
  it('gives everything back, waits for the latch, and runs again', async () => {
    const { core, log, memory } = await openParts();
    const [a = 0, b = 0] = change(log.transactions, { create: [1, 2] }).ids;
    const other = otherThread(memory);
    const frame = memory.control.pinExclusive(b, other, 0);
    expect(frame).toBeGreaterThanOrEqual(0);
    let runs = 0;
    const seq = log.transactions.change((op) => {
      runs++;
      const first = op.write(a);
      if (runs === 1) {
        const { error } = errorOf(() => op.write(b));
        expect([op.ended, core.thread.latchesHeld]).toEqual([true, 0]);
        expect(errorOf(() => first.bytes).code).toBe('TX_ENDED');
        memory.control.unpinExclusive(frame, other);
        throw error;
      }
      const second = op.write(b);
      op.seal(0);
      second.bytes.fill(7);
      return op.commit(EMPTY);
    });
    expect([runs, seq > 0]).toEqual([2, true]);
    expect(valueIn(memory.frame(frame).bytes)).toBe(7);
  });

  it('waits before the next begin, when it was begun by hand', async () => {
    const { log, memory } = await openParts();
    const [first = 0, id = 0] = change(log.transactions, { create: [1, 2] }).ids;
    const other = otherThread(memory);
    const frame = memory.control.pinShared(id, other);
    const made = log.transactions.begin();
    made.read(first);
    const { code, details } = errorOf(() => made.write(id));
    expect([code, details]).toEqual(['OP_RESTART', { wanted: 'latch', id }]);
    expect([made.ended, made.restart?.want.kind]).toEqual([true, 'latch']);
    memory.control.unpinShared(frame, other);
    const op = log.transactions.begin();
    op.write(id);
    op.commit(EMPTY);
  });
});

describe('a change that finds no frame', () => {
  it('gets as many as it was short of before it runs again', async () => {
    const { pool } = await openLogged({ options: { frames: 8 } });
    const { ids } = change(pool, { create: [1, 2, 3, 4] });
    change(pool, { create: [5, 6, 7, 8] });
    // Everything is dirty: only rounds free frames.
    const later = change(pool, { create: [9, 10, 11, 12] });
    expect(later.ids.length).toBe(4);
    change(pool, { set: ids.map((id) => [id, 20] as const) });
    expect(contentOf(pool).map(([, value]) => value)).toEqual([
      20, 20, 20, 20, 5, 6, 7, 8, 9, 10, 11, 12,
    ]);
    expect(pool.stats()).toMatchObject({ latched: 0, pinned: 0 });
  });

  it.each([
    ['lets the error through', (action: () => void) => action()],
    ['swallows it', (action: () => void) => void errorOf(action)],
  ])('and %s ends with POOL_EXHAUSTED after frameWaitMs', async (_, passOn) => {
    const { pool } = await openLogged({ options: { frames: 4, frameWaitMs: 30 } });
    const ids = change(pool, { create: [1, 2] }).ids.concat(change(pool, { create: [3] }).ids);
    const pins = ids.map((id) => pool.pin(id));
    let runs = 0;
    new FakeClock(1);
    const attempt = () =>
      pool.change((op) => {
        runs++;
        op.create();
        passOn(() => op.create());
      });
    expect([errorOf(attempt).code, runs]).toEqual(['POOL_EXHAUSTED', 2]);
    for (const pin of pins) pin.release();
    expect(change(pool, { create: [4, 5] }).ids.length).toBe(2);
    expect(pool.stats()).toMatchObject({ latched: 0, pinned: 0 });
  });

  it('gets them from a round, also while one is free', async () => {
    const { pool } = await openLogged({ options: { frames: 4 } });
    change(pool, { create: [1, 2] });
    create(pool, 3);
    expect(pool.stats()).toMatchObject({ free: 1, dirty: 3 });
    expect(change(pool, { create: [4, 5] }).ids.length).toBe(2);
    expect(pool.stats()).toMatchObject({ free: 0, dirty: 2 });
  });

  it('at all within frameWaitMs gets POOL_EXHAUSTED', async () => {
    const { pool } = await openLogged({ options: { frames: 4, frameWaitMs: 30 } });
    const ids = [...change(pool, { create: [1, 2] }).ids, ...change(pool, { create: [3, 4] }).ids];
    const pins = ids.map((id) => pool.pin(id));
    new FakeClock(1);
    expect(errorOf(() => create(pool, 5)).code).toBe('POOL_EXHAUSTED');
    for (const pin of pins) pin.release();
    expect(create(pool, 5)).toBeGreaterThan(0);
  });
});

describe('a change that finds no room in the ring', () => {
  it('waits for the journal, and the credit is the one that its seal uses', async () => {
    const { log, memory } = await openParts();
    const other = otherThread(memory);
    expect(memory.control.creditTake(RING_BYTES - 1000, other)).toBe(OK);
    let runs = 0;
    log.transactions.change((op) => {
      runs++;
      if (runs === 2) expect(log.ring.tryCredit(RING_BYTES)).toBe(false);
      try {
        op.seal(PAYLOAD_MAX);
      } finally {
        if (runs === 1) memory.control.creditGive(other);
      }
      op.commit(new Uint8Array(PAYLOAD_MAX));
    });
    expect(runs).toBe(2);
    expect(wantedBy(() => log.transactions.begin().seal(PAYLOAD_MAX))).toBe('credit');
    // What waiting has got and the next change does not need goes back.
    const small = log.transactions.begin();
    small.seal(8);
    small.commit(new Uint8Array(8));
    log.durability.durableSync(undefined, 'written');
    const op = log.transactions.begin();
    op.seal(PAYLOAD_MAX);
    op.commit(EMPTY);
    log.durability.durableSync(undefined, 'written');
    expect(log.ring.tryCredit(RING_BYTES)).toBe(true);
    log.ring.giveCredit();
  });

  it('gives up with STORE_IO when the log cannot be written, and goes on when it can', async () => {
    const { pool, fs } = await openLogged({ options: { frameWaitMs: 30 } });
    const payload = new Uint8Array(PAYLOAD_MAX);
    new FakeClock(1);
    fs.plan = ({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined);
    pool.change((op) => op.commit(payload));
    const stalled = errorOf(() => pool.change((op) => op.commit(payload)));
    expect([stalled.code, (stalled.error as { outcome?: string }).outcome]).toEqual([
      'STORE_IO',
      'not_applied',
    ]);
    expect(stalled.error.message).toContain('ENOSPC');
    fs.plan = () => undefined;
    expect(pool.change((op) => op.commit(payload))).toBeGreaterThan(PAYLOAD_MAX);
  });
});

describe('a change that finds no id, no staging frame, no room for deletes', () => {
  it('waits for a lease of ids', async () => {
    const { pool } = await openLogged();
    expect(wantedBy(() => pool.begin().create())).toBe('ids');
    const op = pool.begin();
    expect(op.create().id).toBe(1);
    op.commit(EMPTY);
  });

  it('D1 leaves the gate again when a captured frame cannot be preserved', async () => {
    const { core, log, memory, newRound } = await openParts();
    const id = create(log.transactions, 1);
    const { control } = memory;
    const frame = core.residency.frameOf(id);
    const round = newRound();
    const capture = round.capture();
    const taken: number[] = [];
    for (let at = control.stagingTake(); at >= 0; at = control.stagingTake()) taken.push(at);
    expect(taken.length).toBeGreaterThan(0);
    let runs = 0;
    log.transactions.change((op) => {
      runs++;
      const blob = op.write(id);
      try {
        op.seal(0);
      } finally {
        if (runs === 1) {
          expect([control.gateInside(), core.thread.latchesHeld]).toEqual([0, 0]);
          for (const staging of taken) control.stagingGive(staging);
        }
      }
      blob.bytes.fill(2);
      op.commit(EMPTY);
    });
    expect(runs).toBe(2);
    expect([control.capturedBy(frame), control.stagingNext(0)]).toEqual([0, expect.any(Number)]);
    round.restore(capture);
  });

  it('waits for a round while too many deletes are pending', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    const memory = look(pool);
    memory.store(H_DELETES, DELETES_MAX);
    const op = pool.begin();
    expect(wantedBy(() => op.delete(id))).toBe('round');
    memory.store(H_DELETES, 0);
    expect(pool.dirtyFrames()).toBe(1);
    pool.change((next) => {
      expect(pool.dirtyFrames()).toBe(0); // the round has run
      expect(next.delete(id)).toBe(true);
      next.commit(EMPTY);
    });
    expect(pool.pendingDeletes()).toEqual([id]);
  });

  it('waits for a round while the log is above its bound', async () => {
    const log = { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, intervalMs: 0 };
    const options = { log: { ...log, bytesMax: 2 * RING_BYTES } };
    const { pool } = await openLogged({ options });
    const id = create(pool, 1);
    // By hand, so that no round runs between two of them.
    for (let n = 0; n < 4; n++) {
      const op = pool.begin();
      op.commit(new Uint8Array(PAYLOAD_MAX));
      pool.durableSync(undefined, 'written');
    }
    expect(pool.dirtyFrames()).toBe(1);
    pool.begin().abort();
    expect(pool.dirtyFrames()).toBe(0);
    set(pool, id, 2);
  });
});

describe('a callback that swallows OP_RESTART', () => {
  it('for ever ends with it after frameWaitMs', async () => {
    const { log, memory } = await openParts({ options: { frameWaitMs: 30 } });
    const [a = 0, b = 0] = change(log.transactions, { create: [1, 2] }).ids;
    const other = otherThread(memory);
    let runs = 0;
    new FakeClock(1);
    const attempt = () =>
      log.transactions.change((op) => {
        runs++;
        op.write(a);
        // Taken when it is tried for, free again when it is waited for.
        const frame = memory.control.pinExclusive(b, other, 0);
        expect(wantedBy(() => op.write(b))).toBe('latch');
        memory.control.unpinExclusive(frame, other);
      });
    expect(wantedBy(attempt)).toBe('latch');
    expect(runs).toBeGreaterThan(1);
    expect(set(log.transactions, b, 3)).toBeGreaterThan(0);
  });

  it('runs again all the same', async () => {
    const { pool } = await openLogged();
    let runs = 0;
    const result = pool.change((op: Op) => {
      runs++;
      try {
        op.create();
      } catch {
        return 'swallowed';
      }
      op.commit(EMPTY);
      return 'done';
    });
    expect([result, runs, pool.list()]).toEqual(['done', 2, [1]]);
  });

  it('and throws its own error ends with that one', async () => {
    const { pool } = await openLogged();
    const own = new Error('no');
    const attempt = () =>
      pool.change((op) => {
        expect(wantedBy(() => op.create())).toBe('ids');
        throw own;
      });
    expect(errorOf(attempt).error).toBe(own);
    expect(create(pool, 1)).toBe(1);
  });
});

describe('the share of frames', () => {
  it('bounds one change, before anything waits for frames that it can never have', async () => {
    const { pool } = await openLogged({ options: { frames: 8 } });
    const { ids } = change(pool, { create: [1, 2, 3, 4] });
    const refused = errorOf(() => change(pool, { create: [1, 2, 3, 4, 5] }));
    expect([refused.code, refused.details]).toEqual(['OP_TOO_LARGE', { frames: 5, share: 4 }]);
    const op = pool.begin();
    for (const id of ids) op.read(id);
    expect(errorOf(() => op.write(99)).code).toBe('OP_TOO_LARGE');
    expect(errorOf(() => op.read(99)).code).toBe('OP_TOO_LARGE');
    expect(op.read(ids[0] as number).id).toBe(ids[0]);
    expect(op.ended).toBe(false);
    op.abort();
    expect(pool.list()).toEqual(ids);
  });

  it('is one blob at least, and shrinks with the threads', async () => {
    const { log, memory } = await openParts({ options: { frames: 8 } });
    for (let n = 0; n < 3; n++) otherThread(memory);
    expect(log.transactions.frameShare()).toBe(1);
    expect(errorOf(() => change(log.transactions, { create: [1, 2] })).code).toBe('OP_TOO_LARGE');
    expect(create(log.transactions, 1)).toBe(2);
  });
});
