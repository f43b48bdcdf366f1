/** Waiting for the log: what is acknowledged when, by which watermark, and what ends a wait. */
import { describe, expect, it, vi } from 'vitest';
import {
  H_LOG_DURABLE,
  H_LOG_FAILING,
  H_LOG_TAIL,
  H_LOG_WRITTEN,
  H_WANT_DURABLE,
} from '../../../src/generated/layout.ts';
import type { FileCall, FilePlan } from '../../../src/harness/faulty-file-system.ts';
import type { ThreadMemory } from '../../../src/memory/pool-memory.ts';
import type { LogServices } from '../../../src/memory/services.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import type { DurabilityLevel } from '../../../src/wal/durability.ts';
import {
  attachOther,
  closeAfterTest,
  errorOf,
  look,
  rejectionOf,
  temporaryDirectory,
} from '../pool/support.ts';
import {
  abandoned,
  change,
  contentOf,
  create,
  FakeClock,
  LOGGED,
  openLogged,
  openParts,
  otherThread,
  PlanOwner,
  powerLost,
  set,
} from '../txn/support.ts';

const KIND = 1;

interface Watermarks {
  readonly written: number;
  readonly durable: number;
}

function watermarks(memory: ThreadMemory): Watermarks {
  return { written: memory.loadU64(H_LOG_WRITTEN), durable: memory.loadU64(H_LOG_DURABLE) };
}

/** No bytes get onto the disk. */
const full: FilePlan = ({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined);
const works: FilePlan = () => undefined;

function isLogSync({ operation }: FileCall): boolean {
  return operation === 'syncData';
}

describe('W2D the watermarks', () => {
  it('move as far as is asked for, and no further', async () => {
    const { log, memory } = await openParts();
    const id = create(log.transactions, 1);
    const start = watermarks(memory);
    expect(start.written).toBe(start.durable);
    const seq = set(log.transactions, id, 2);
    log.durability.durableSync(seq, 'none');
    expect(watermarks(memory)).toEqual(start);
    log.durability.durableSync(seq, 'written');
    expect(watermarks(memory)).toEqual({ written: seq, durable: start.durable });
    log.durability.durableSync(seq, 'synced');
    expect(watermarks(memory)).toEqual({ written: seq, durable: seq });
    // What was asked for before a record is there already.
    log.durability.durableSync(0, 'synced');
    await log.durability.durable(seq, 'synced');
  });

  it.each([
    ['none', 1, 1],
    ['written', 2, 1],
    ['synced', 2, 2],
  ] as const)(
    'a change with durability %s is there after the process ends: %d, after power loss: %d',
    async (durability, afterEnd, afterLoss) => {
      const { pool, disk } = await openLogged();
      const id = create(pool, 1);
      await pool.checkpoint();
      change(pool, { set: [[id, 2]] }, { durability });
      const images = [abandoned(disk), powerLost(disk)];
      await pool.close();
      const values: number[] = [];
      for (const image of images) {
        const { pool: again } = await openLogged({ disk: image });
        values.push(...contentOf(again).map(([, value]) => value));
        await again.close();
      }
      expect(values).toEqual([afterEnd, afterLoss]);
    },
  );

  it.each(['none', 'written', 'synced'] as const)(
    'a wait without a level uses that of the pool: %s',
    async (durability) => {
      const { log, memory } = await openParts({ options: { durability } });
      const start = watermarks(memory);
      const { seq } = change(log.transactions, { create: [1] });
      log.durability.durableSync();
      await log.durability.durable(seq);
      expect(watermarks(memory)).toEqual({
        written: durability === 'none' ? start.written : seq,
        durable: durability === 'synced' ? seq : start.durable,
      });
    },
  );

  it('one sync serves every record before it', async () => {
    const { pool, fs } = await openLogged();
    create(pool, 1);
    pool.durableSync(undefined, 'synced');
    const before = fs.calls.filter(isLogSync).length;
    const seqs = [1, 2, 3, 4, 5].map((n) => pool.change((op) => op.commit(new Uint8Array(n))));
    await Promise.all(seqs.map((seq) => pool.durable(seq, 'synced')));
    expect(fs.calls.filter(isLogSync).length).toBe(before + 1);
  });

  it('race 22 an acknowledgement follows physical order: not before what lies in front', async () => {
    const { log, memory } = await openParts();
    create(log.transactions, 1);
    log.durability.durableSync();
    const other = otherThread(memory);
    // Another thread has reserved its place, and was scheduled away before it published.
    const position = memory.loadU64(H_LOG_TAIL);
    memory.control.recordBegin(0, KIND, 0, 0, 0, other);
    const { seq } = change(log.transactions, { root: [1, 1] });
    let acknowledged = false;
    const promise = log.durability.durable(seq, 'written').then(() => {
      acknowledged = true;
    });
    const services = log.transactions.thread.services as LogServices;
    for (let step = 0; step < 3; step++) services.journal();
    await Promise.resolve();
    expect([acknowledged, watermarks(memory).written]).toEqual([false, position]);
    memory.control.recordPublish(other);
    await promise;
    expect(watermarks(memory).written).toBe(seq);
  });
});

describe('a wait without a seq', () => {
  it("is for this thread's last record", async () => {
    const { log, memory } = await openParts();
    expect(log.durability.lastSeq).toBe(0);
    log.durability.durableSync();
    const { seq } = change(log.transactions, { create: [1] });
    expect(log.durability.lastSeq).toBe(seq);
    log.durability.durableSync();
    expect(memory.loadU64(H_LOG_WRITTEN)).toBe(seq);
  });

  it('does not ask for what other threads have appended since', async () => {
    const options = { ...LOGGED, threads: 'workers', owners: { 0: new PlanOwner() } } as const;
    const pool = await BufferPool.open(temporaryDirectory(), options);
    closeAfterTest(pool);
    const other = await attachOther(pool);
    closeAfterTest(other);
    const { seq } = change(pool, { create: [1] });
    const later = change(other, { create: [2] }).seq;
    await pool.durable(undefined, 'synced');
    expect(look(pool).loadU64(H_WANT_DURABLE)).toBe(seq);
    await other.durable(undefined, 'synced');
    expect(look(pool).loadU64(H_LOG_DURABLE)).toBe(later);
    await other.close();
    await pool.close();
  });
});

describe('a seq that is none', () => {
  it('is refused, whatever the level', async () => {
    const { pool } = await openLogged();
    const { seq } = change(pool, { create: [1] });
    const bad: readonly (readonly [unknown, string])[] = [
      [Number.NaN, 'RangeError'],
      [-1, 'RangeError'],
      [0.5, 'RangeError'],
      [seq + 2, 'RangeError'],
      [Number.POSITIVE_INFINITY, 'RangeError'],
      [2 ** 53, 'RangeError'],
      [String(seq), 'TypeError'],
      [BigInt(seq), 'TypeError'],
      [null, 'TypeError'],
    ];
    for (const [value, name] of bad) {
      for (const level of ['none', 'written', 'synced'] as const) {
        expect(errorOf(() => pool.durableSync(value as number, level)).code).toBe(name);
        expect((await rejectionOf(pool.durable(value as number, level))).code).toBe(name);
      }
    }
    for (const level of ['fsync', null, 1] as unknown as DurabilityLevel[]) {
      expect(errorOf(() => pool.durableSync(seq, level)).code).toBe('TypeError');
      expect((await rejectionOf(pool.durable(seq, level))).code).toBe('TypeError');
    }
  });
});

describe('D1 a thread that holds a latch', () => {
  it('does not block for the disk', async () => {
    const { pool } = await openLogged();
    const id = create(pool, 1);
    using guard = pool.read(id);
    expect(errorOf(() => pool.durableSync(undefined, 'written')).code).toBe('LATCH_HELD');
    pool.durableSync(undefined, 'none');
    await pool.durable(undefined, 'synced');
    expect(guard.bytes[0]).toBe(1);
  });
});

describe('promises that wait', () => {
  it('share one wait, and are kept while writes fail', async () => {
    const { pool, fs } = await openLogged();
    const id = create(pool, 1);
    fs.plan = full;
    const seqs = [2, 3, 4, 5].map((value) => set(pool, id, value));
    const timers = vi.spyOn(globalThis, 'setInterval');
    const promises = seqs.flatMap((seq) => [pool.durable(seq), pool.durable(seq, 'synced')]);
    expect(timers).toHaveBeenCalledTimes(1);
    timers.mockRestore();
    expect(look(pool).load(H_LOG_FAILING)).toBe(1);
    fs.plan = works;
    await Promise.all(promises);
    expect(look(pool).load(H_LOG_FAILING)).toBe(0);
    expect(look(pool).loadU64(H_LOG_DURABLE)).toBe(seqs.at(-1));
  });

  it('are rejected when the pool is poisoned', async () => {
    const { pool, fs } = await openLogged();
    create(pool, 1);
    fs.plan = full;
    const pending = [pool.durable(undefined, 'written'), pool.durable(undefined, 'synced')];
    const poison = () =>
      pool.change((op) => {
        op.seal();
        throw new Error('half way');
      });
    expect(errorOf(poison).code).toBe('Error');
    for (const promise of pending) expect((await rejectionOf(promise)).code).toBe('POISONED');
    expect((await rejectionOf(pool.durable())).code).toBe('POISONED');
  });

  it('are rejected when the pool closes and the log cannot be written', async () => {
    const { pool, fs } = await openLogged({ options: { frameWaitMs: 200 } });
    create(pool, 1);
    new FakeClock(10);
    fs.plan = full;
    const pending = rejectionOf(pool.durable(undefined, 'written'));
    expect((await rejectionOf(pool.close())).code).toBe('STORE_IO');
    expect(['POOL_CLOSED', 'STORE_IO']).toContain((await pending).code);
    expect((await rejectionOf(pool.durable())).code).toBe('POOL_CLOSED');
    expect(errorOf(() => pool.durableSync()).code).toBe('POOL_CLOSED');
  });

  it('are resolved by the last steps of a close', async () => {
    const { pool, fs } = await openLogged();
    create(pool, 1);
    fs.plan = full;
    const pending = pool.durable(undefined, 'written');
    fs.plan = works;
    const closing = pool.close();
    await Promise.all([pending, closing]);
  });

  it('give up with an unknown outcome when writes fail for too long', async () => {
    const { pool, fs, disk } = await openLogged({ options: { frameWaitMs: 200 } });
    const id = create(pool, 1);
    pool.durableSync(undefined, 'synced');
    const seq = set(pool, id, 2);
    new FakeClock(10);
    fs.plan = full;
    for (const error of [
      errorOf(() => pool.durableSync(seq, 'written')),
      await rejectionOf(pool.durable(seq, 'written')),
    ]) {
      expect([error.code, (error.error as { outcome?: string }).outcome]).toEqual([
        'STORE_IO',
        'unknown',
      ]);
      expect(error.error.message).toContain('ENOSPC');
    }
    fs.plan = works;
    pool.durableSync(seq, 'synced');
    const image = powerLost(disk);
    await pool.close();
    const { pool: again } = await openLogged({ disk: image });
    expect(contentOf(again)).toEqual([[id, 2]]);
  });
});

describe('a failed sync', () => {
  it('W2D poisons, acknowledges nothing, and is never tried again', async () => {
    const { pool, fs, disk } = await openLogged();
    const id = create(pool, 1);
    pool.durableSync(undefined, 'synced');
    const durable = look(pool).loadU64(H_LOG_DURABLE);
    set(pool, id, 2);
    fs.plan = ({ operation }) => (operation === 'syncData' ? 'EIO' : undefined);
    const promise = pool.durable(undefined, 'synced');
    expect((await rejectionOf(promise)).code).toBe('POISONED');
    fs.plan = works;
    const syncs = fs.calls.filter(isLogSync).length;
    expect(errorOf(() => pool.durableSync(undefined, 'synced')).code).toBe('POISONED');
    expect(errorOf(() => set(pool, id, 3)).error.message).toContain('fdatasync');
    expect(look(pool).loadU64(H_LOG_DURABLE)).toBe(durable);
    expect((await rejectionOf(pool.close())).code).toBe('POISONED');
    expect(fs.calls.filter(isLogSync).length).toBe(syncs);
    const { pool: again } = await openLogged({ disk });
    expect(contentOf(again).map(([, value]) => [1, 2].includes(value))).toEqual([true]);
  });
});

describe('the background interval', () => {
  it('writes and syncs what nobody waits for, at least so often', async () => {
    const log = { ...LOGGED.log, intervalMs: 200 };
    const { core, log: parts, memory } = await openParts({ options: { log } });
    const services = core.thread.services as LogServices;
    create(parts.transactions, 1);
    const clock = new FakeClock(0);
    services.journal();
    const first = memory.loadU64(H_LOG_TAIL);
    expect(watermarks(memory)).toEqual({ written: first, durable: first });
    const seq = change(parts.transactions, { create: [2] }).seq;
    services.journal();
    expect(watermarks(memory)).toEqual({ written: seq, durable: first });
    clock.nowMs += 199;
    services.journal();
    expect(watermarks(memory).durable).toBe(first);
    clock.nowMs += 1;
    services.journal();
    expect(watermarks(memory)).toEqual({ written: seq, durable: seq });
  });

  it('of 0 leaves the sync to those who ask', async () => {
    const { core, log, memory } = await openParts();
    const clock = new FakeClock(0);
    const { durable } = watermarks(memory);
    const { seq } = change(log.transactions, { create: [1] });
    clock.nowMs += 1e9;
    (core.thread.services as LogServices).journal();
    expect(watermarks(memory)).toEqual({ written: seq, durable });
  });
});
