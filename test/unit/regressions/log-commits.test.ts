/** What once went wrong with commits and how they are acknowledged. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  H_CHECKPOINTER,
  H_JOURNAL,
  H_LOG_BOUND,
  H_LOG_TAIL,
  H_LOG_TAKEN,
} from '../../../src/generated/layout.ts';
import { errorOf, look, temporaryDirectory } from '../pool/support.ts';
import {
  BRIEF,
  createRegister,
  failingLog,
  newDisk,
  openLogged,
  record,
  registerValue,
  setRegister,
} from './log-support.ts';

describe('a change of structure alone', () => {
  it('W2D can be asked to be durable: with everything before it', async () => {
    const pool = await openLogged(newDisk());
    const id = createRegister(pool, 1);
    const before = pool.change((op) => {
      op.write(id);
      return op.commit(record(id, 1));
    });
    const seq = pool.change(
      (op) => {
        const blob = op.write(id);
        op.seal();
        blob.u32[1] = 5;
        return op.commit();
      },
      { durability: 'synced' },
    );
    expect(seq).toBeGreaterThanOrEqual(before);
    await pool.durable(seq, 'synced');
    pool.durableSync(seq, 'synced');
    expect(pool.dirtyBlobs()).toEqual([{ id, seq: expect.any(Number) as number }]);
    expect(registerValue(pool, id)).toBe(1);
  });
});

describe('the share of an op', () => {
  it('D1 does not count journal and checkpointer, also while they are starting', async () => {
    const pool = await openLogged(undefined, { threads: 'workers' }, temporaryDirectory());
    const createTwo = (): void => {
      pool.change((op) => {
        op.create();
        op.create();
        op.commit(record(0, 0));
      });
    };
    createTwo();
    const memory = look(pool);
    const isIn = (): boolean => memory.load(H_JOURNAL) !== 0 && memory.load(H_CHECKPOINTER) !== 0;
    await expect.poll(isIn, { timeout: 5000 }).toBe(true);
    const places = [H_JOURNAL, H_CHECKPOINTER].map((word) => [word, memory.load(word)] as const);
    // Attached, and not yet where others know them.
    for (const [word] of places) memory.store(word, 0);
    try {
      createTwo();
    } finally {
      for (const [word, place] of places) memory.store(word, place);
    }
  });
});

describe('a begin that waits in vain', () => {
  it('G1 keeps neither credit nor frames', async () => {
    const log = failingLog(newDisk());
    const pool = await openLogged(log.fileSystem, BRIEF);
    const id = createRegister(pool, 1);
    await pool.checkpoint();
    const memory = look(pool);
    const taken = (): number => memory.loadU64(H_LOG_TAKEN) - memory.loadU64(H_LOG_TAIL);
    const sealed = (): void => {
      const op = pool.begin();
      op.write(id);
      op.seal(100);
    };
    const ring = memory.shared.ringBytes;
    memory.storeU64(H_LOG_TAKEN, memory.loadU64(H_LOG_TAKEN) + ring);
    expect(errorOf(sealed).details['wanted']).toBe('credit');
    memory.storeU64(H_LOG_TAKEN, memory.loadU64(H_LOG_TAKEN) - ring);
    // There is credit now; but the backlog is too large, and no round succeeds.
    setRegister(pool, id, 2);
    expect(taken()).toBe(0);
    memory.storeU64(H_LOG_TAKEN, memory.loadU64(H_LOG_TAKEN) + ring);
    expect(errorOf(sealed).details['wanted']).toBe('credit');
    memory.storeU64(H_LOG_TAKEN, memory.loadU64(H_LOG_TAKEN) - ring);
    memory.f64[H_LOG_BOUND / 8] = 0;
    log.failing = 'ENOSPC';
    expect(errorOf(() => pool.begin()).code).toBe('STORE_IO');
    expect(taken()).toBe(0);
    log.failing = undefined;
  });
});

describe('a change that has waited longer than it may', () => {
  it('D1 tries once more with what it has waited for', async () => {
    const pool = await openLogged(newDisk(), BRIEF);
    // The first id needs a lease, and the machine is slow: each look at the clock is 60 ms later.
    let now = performance.now();
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 60));
    onTestFinished(() => clock.mockRestore());
    const id = createRegister(pool, 3);
    expect(registerValue(pool, id)).toBe(3);
  });
});
