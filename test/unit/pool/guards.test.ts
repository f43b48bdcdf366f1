/** Guards: what they give, how they end, what they refuse. */
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { STATUS_POISONED } from '../../../src/generated/layout.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import {
  attachOther,
  BLOB_BYTES,
  blobValue,
  closeAfterTest,
  dirty,
  errorOf,
  FRAMES,
  filled,
  openSmall,
  rejectionOf,
  setStatus,
  writeBlobs,
} from './support.ts';

/** A pool with blobs, attached a second time in the same thread: another thread for the pool. */
async function openTwice(blobs = 2) {
  const pool = await openSmall();
  const ids = writeBlobs(pool, blobs);
  const other = await attachOther(pool);
  closeAfterTest(other);
  return { pool, other, ids, id: ids[0] as number };
}

describe('the bytes of a guard', () => {
  it('are the same objects each time, over the same memory', async () => {
    const { pool, id } = await openTwice();
    using guard = pool.read(id);
    for (const view of ['bytes', 'view', 'u32', 'f64'] as const) {
      expect(guard[view]).toBe(guard[view]);
      expect(guard[view].buffer).toBe(guard.bytes.buffer);
      expect([guard[view].byteOffset, guard[view].byteLength]).toEqual([
        guard.bytes.byteOffset,
        BLOB_BYTES,
      ]);
    }
    expect([guard.u32.length, guard.f64.length]).toEqual([BLOB_BYTES / 4, BLOB_BYTES / 8]);
    using again = pool.read(id);
    expect(again.bytes).toBe(guard.bytes);
    expect([guard.id, again.id]).toEqual([id, id]);
  });

  it('are shared: what one thread writes another reads', async () => {
    const { pool, other, id } = await openTwice();
    dirty(pool, id, 123);
    expect(blobValue(other, id)).toBe(123);
  });
});

describe('G1 the end of a guard', () => {
  it('releases once; later releases do nothing, whatever has been taken meanwhile', async () => {
    const { pool, id } = await openTwice();
    const makers = [() => pool.pin(id), () => pool.read(id), () => pool.write(id)];
    for (const make of makers) {
      const guard = make();
      guard.release();
      const keeper = pool.pin(id);
      guard.release();
      guard[Symbol.dispose]();
      expect(pool.stats().pinned).toBe(1);
      keeper.release();
    }
    expect([pool.stats().pinned, pool.stats().latched]).toEqual([0, 0]);
  });

  it('is followed by GUARD_RELEASED for every use', async () => {
    const { pool, id } = await openTwice();
    const pin = pool.pin(id);
    const look = pin.optimistic();
    const shared = pool.read(id);
    shared.release();
    const exclusive = pool.write(id);
    exclusive.release();
    pin.release();
    const uses = [
      () => shared.bytes,
      () => shared.view,
      () => exclusive.u32,
      () => exclusive.f64,
      () => pin.read(),
      () => pin.write(),
      () => pin.tryRead(),
      () => pin.tryWrite(),
      () => pin.optimistic(),
      () => look.bytes,
      () => look.upgrade(),
    ];
    for (const use of uses) expect(errorOf(use).code).toBe('GUARD_RELEASED');
    expect(pool.stats().pinned).toBe(0);
  });

  it('comes with `using`, latch before pin', async () => {
    const { pool, id } = await openTwice();
    {
      using pin = pool.pin(id);
      using guard = pin.write();
      guard.bytes.fill(5);
      expect([pool.stats().pinned, pool.stats().latched]).toEqual([1, 1]);
    }
    expect([pool.stats().pinned, pool.stats().latched]).toEqual([0, 0]);
    expect(blobValue(pool, id)).toBe(5);
  });

  it('comes with closing: an attached thread gives everything back', async () => {
    const { pool, other, id } = await openTwice();
    const pin = other.pin(id);
    const guard = other.read(id);
    expect((await rejectionOf(other.close())).code).toBe('LATCH_HELD');
    expect(guard.bytes[0]).toBe(id);
    guard.release();
    await other.close();
    expect([pool.stats().pinned, pool.stats().threads]).toEqual([0, 1]);
    expect(errorOf(() => pin.read()).code).toBe('POOL_CLOSED');
    pin.release();
    expect([pool.evict(id), pool.stats().pinned]).toEqual([true, 0]);
  });

  it('closing the opener with pins open: guards refuse, release does nothing', async () => {
    const { pool, id } = await openTwice();
    const pin = pool.pin(id);
    await pool.close();
    expect(errorOf(() => pin.optimistic()).code).toBe('POOL_CLOSED');
    pin.release();
    pin.release();
  });
});

describe('posted to another thread', () => {
  it('G1 a guard arrives without methods and without the right to anything', async () => {
    const { pool, id } = await openTwice();
    const guard = pool.read(id);
    const { port1, port2 } = new MessageChannel();
    let received: Record<string, unknown> = {};
    try {
      port1.postMessage(guard);
      received = receiveMessageOnPort(port2)?.message as Record<string, unknown>;
    } catch (error) {
      expect((error as Error).name).toBe('DataCloneError');
    } finally {
      port1.close();
    }
    expect([received['release'], received['bytes'], received['view']]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(pool.stats().latched).toBe(1);
    guard.release();
    expect(pool.stats().latched).toBe(0);
  });
});

describe('modes against each other', () => {
  it('LATCH_HELD for what this thread holds in a conflicting mode; it never waits for itself', async () => {
    const { pool, id } = await openTwice();
    const pin = pool.pin(id);
    const shared = pin.read();
    const again = pool.read(id);
    for (const use of [() => pool.write(id), () => pin.write(), () => pin.tryWrite()]) {
      expect(errorOf(use).code).toBe('LATCH_HELD');
    }
    expect(errorOf(() => pin.optimistic().upgrade()).code).toBe('LATCH_HELD');
    again.release();
    shared.release();
    const exclusive = pool.write(id);
    for (const use of [() => pool.read(id), () => pool.write(id), () => pin.read()]) {
      expect(errorOf(use).code).toBe('LATCH_HELD');
    }
    for (const use of [
      () => pin.tryRead(),
      () => pin.tryWrite(),
      () => pool.readInto(id, filled(0)),
    ]) {
      expect(errorOf(use).code).toBe('LATCH_HELD');
    }
    expect(errorOf(() => pool.copyCached(id, filled(0))).code).toBe('LATCH_HELD');
    expect(pool.stats().pinned).toBe(1);
    exclusive.release();
    pin.release();
    expect([pool.stats().pinned, pool.stats().latched]).toEqual([0, 0]);
  });

  it('tryRead and tryWrite give undefined where another thread is in the way', async () => {
    const { pool, other, id } = await openTwice();
    using pin = pool.pin(id);
    const shared = other.read(id);
    expect(pin.tryWrite()).toBeUndefined();
    expect(pin.optimistic().upgrade()).toBeUndefined();
    pin.tryRead()?.release();
    shared.release();
    const exclusive = other.write(id);
    expect([pin.tryWrite(), pin.tryRead(), pin.optimistic().upgrade()]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(pin.optimistic().version).toBe(-1);
    exclusive.release();
    const mine = pin.tryWrite();
    mine?.bytes.fill(3);
    mine?.release();
    expect(blobValue(other, id)).toBe(3);
  });

  it('I5 an optimistic look is valid until somebody has written, and upgrades only then', async () => {
    const { pool, other, id } = await openTwice();
    using pin = pool.pin(id);
    const look = pin.optimistic();
    expect([look.bytes[0], look.validate()]).toEqual([id, true]);
    other.read(id).release();
    expect(look.validate()).toBe(true);
    const guard = look.upgrade();
    expect(look.validate()).toBe(false);
    guard?.bytes.fill(44);
    guard?.release();
    expect([look.validate(), look.upgrade()]).toEqual([false, undefined]);
    expect([blobValue(other, id), pool.stats().dirty]).toEqual([44, 1]);
    const second = pin.optimistic();
    dirty(other, id, 45);
    expect([second.validate(), second.upgrade()]).toEqual([false, undefined]);
  });
});

describe('D1 who holds a latch never waits', () => {
  it('OP_RESTART for a latch that another thread has', async () => {
    const { pool, other, ids, id } = await openTwice();
    const second = ids[1] as number;
    const mine = pool.read(second);
    const theirs = other.write(id);
    for (const use of [() => pool.read(id), () => pool.write(id)]) {
      expect(errorOf(use).code).toBe('OP_RESTART');
    }
    expect([pool.stats().pinned, pool.stats().parks]).toEqual([2, 0]);
    theirs.release();
    pool.write(id).release();
    mine.release();
  });

  it('OP_RESTART for a frame when none is free', async () => {
    const { pool, ids } = await openTwice(FRAMES + 1);
    const pins = ids.slice(0, FRAMES).map((id) => pool.pin(id));
    const latch = pins[0]?.read();
    expect(errorOf(() => pool.pin(ids.at(-1) as number)).code).toBe('OP_RESTART');
    latch?.release();
    expect(errorOf(() => pool.pin(ids.at(-1) as number)).code).toBe('POOL_EXHAUSTED');
    for (const pin of pins) pin.release();
  });
});

describe('POOL_EXHAUSTED', () => {
  it('counts what keeps the frames', async () => {
    const { pool, ids } = await openTwice(FRAMES + 1);
    const pins = [pool.pin(ids[0] as number), pool.pin(ids[1] as number)];
    dirty(pool, ids[2] as number, 1);
    const guard = pool.write(ids[3] as number);
    guard.release();
    const { code, details } = errorOf(() => pool.pin(ids[4] as number));
    expect([code, details]).toEqual([
      'POOL_EXHAUSTED',
      { frames: FRAMES, pinned: 2, dirty: 2, latched: 0, loading: 0 },
    ]);
    for (const pin of pins) pin.release();
    expect(blobValue(pool, ids[4] as number)).toBe(ids[4]);
  });
});

describe('a poisoned pool', () => {
  it('refuses every way in with POISONED, and can be closed', async () => {
    const { pool, id } = await openTwice();
    const pin = pool.pin(id);
    setStatus(pool, STATUS_POISONED);
    const uses: (() => unknown)[] = [
      () => pool.pin(id),
      () => pool.pinSilent(id),
      () => pool.read(id),
      () => pool.write(id),
      () => pool.optimistic(id, () => 0),
      () => pool.tryOptimistic(id, () => 0),
      () => pool.copyCached(id, filled(0)),
      () => pool.readInto(id, filled(0)),
      () => pool.writeBlob(id, filled(0)),
      () => pool.deleteBlob(id),
      () => pool.allocate(),
      () => pool.has(id),
      () => pool.list(),
      () => pool.cachedCount(),
      () => pool.evict(id),
      () => pool.verify(),
      () => pin.read(),
      () => pin.tryRead(),
      () => pin.write(),
      () => pin.tryWrite(),
    ];
    for (const use of uses) expect(errorOf(use).code).toBe('POISONED');
    expect((await rejectionOf(pool.prefetch([id]))).code).toBe('POISONED');
    expect((await rejectionOf(BufferPool.attach(pool.handle))).code).toBe('POISONED');
    await pool.close();
  });
});
