/** What a pool tells those who listen: rounds, evictions, a poison. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, expect, it, onTestFinished } from 'vitest';
import { WeirpoolError } from '../../../src/errors.ts';
import { nodeFileSystem } from '../../../src/fs/file-system.ts';
import { faultyFileSystem } from '../../../src/harness/faulty-file-system.ts';
import { poison } from '../../../src/memory/poison.ts';
import type { BufferPool } from '../../../src/pool/pool.ts';
import { expectPasses } from '../../support/scenario.ts';
import { change, LOGGED, openLogged } from './logged.ts';
import {
  attachOther,
  closeAfterTest,
  look,
  openFaulty,
  openSmall,
  temporaryDirectory,
  writeBlobs,
} from './support.ts';

/** What is published to the channel until the test is over. */
function heardOn<T>(channel: string): T[] {
  const heard: T[] = [];
  const listen = (message: unknown): void => {
    heard.push(message as T);
  };
  subscribe(channel, listen);
  onTestFinished(() => {
    unsubscribe(channel, listen);
  });
  return heard;
}

function roundsHeard() {
  return {
    start: heardOn('weirpool:round:start'),
    end: heardOn('weirpool:round:end'),
    error: heardOn('weirpool:round:error'),
  };
}

/** As a broken invariant, or a dead worker, does it. */
function poisoned(pool: BufferPool): void {
  poison(look(pool), 'INVARIANT_BROKEN', 'Broken by a test.');
}

async function turns(): Promise<void> {
  for (let n = 0; n < 5; n++) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe.each(['inline', 'workers'] as const)('rounds (%s)', (threads) => {
  it('are told in the opener: number, cut, blobs, bytes, duration', async () => {
    const heard = roundsHeard();
    const pool = await openLogged(temporaryDirectory(), { threads });
    const [one = 0] = change(pool, [{ create: 1 }, { create: 2 }]);
    const first = await pool.checkpoint();
    change(pool, [{ delete: one }]);
    await pool.close();
    expect(heard.error).toEqual([]);
    expect(heard.start).toEqual([1, 2].map((attempt) => ({ kind: 'start', attempt })));
    expect(heard.end).toEqual([
      {
        kind: 'end',
        attempt: 1,
        seq: first.seq,
        frames: 2,
        deletes: 0,
        bytes: 2 * LOGGED.blobBytes,
        ms: expect.any(Number),
      },
      expect.objectContaining({ kind: 'end', attempt: 2, frames: 0, deletes: 1, bytes: 0 }),
    ]);
  });
});

it('a round that fails is told with its error, and the next one again', async () => {
  const heard = roundsHeard();
  const fs = faultyFileSystem(nodeFileSystem);
  const pool = await openLogged(temporaryDirectory(), { fileSystem: fs });
  change(pool, [{ create: 1 }]);
  pool.durableSync(undefined, 'synced');
  fs.plan = ({ operation }) => (operation === 'write' ? 'EIO' : undefined);
  await expect(pool.checkpoint()).rejects.toMatchObject({ code: 'STORE_IO' });
  fs.plan = () => undefined;
  expect(heard.error).toEqual([
    {
      kind: 'error',
      attempt: 1,
      error: { code: 'STORE_IO', message: expect.stringContaining('EIO') },
    },
  ]);
  expect(heard.end).toEqual([]);
  await pool.checkpoint();
  expect(heard.start).toHaveLength(2);
  expect(heard.end).toMatchObject([{ attempt: 2, frames: 1 }]);
});

describe('evictions', () => {
  it('are told one by one, by misses and by evict', async () => {
    const heard = heardOn<{ id: number }>('weirpool:evict');
    const pool = await openSmall();
    const ids = writeBlobs(pool, 6);
    for (const id of ids) pool.pin(id).release();
    expect(heard).toEqual([]); // a listener may use the pool: not in the middle of it
    await turns();
    expect(heard).toHaveLength(2);
    const [cached = 0] = ids.filter((id) => heard.every((event) => event.id !== id));
    expect(pool.evict(cached)).toBe(true);
    await turns();
    expect(heard.map(({ id }) => id)).toHaveLength(new Set(heard.map(({ id }) => id)).size);
    expect(heard.at(-1)).toEqual({ id: cached });
    expect(pool.evict(cached)).toBe(false);
    await turns();
    expect(heard).toHaveLength(3);
  });

  it('do not count a deleted blob whose frame was kept by a pin', async () => {
    const heard = heardOn<{ id: number }>('weirpool:evict');
    const pool = await openSmall();
    const ids = writeBlobs(pool, 6);
    const pin = pool.pin(ids[0] as number);
    pool.deleteBlob(ids[0] as number);
    pin.release();
    for (const id of ids.slice(1)) pool.pin(id).release();
    await turns();
    for (const { id } of heard) expect(id).toBeGreaterThan(0);
    expect(heard).toHaveLength(1);
  });
});

describe('a poison', () => {
  it('is told once, before and after it, with its cause', async () => {
    const heard = heardOn<{ error: WeirpoolError }>('weirpool:poison');
    const pool = await openSmall();
    const calls: WeirpoolError[] = [];
    pool.onPoison((error) => calls.push(error));
    poisoned(pool);
    expect(calls).toEqual([]);
    pool.onPoison((error) => calls.push(error));
    await turns();
    expect(calls).toHaveLength(2);
    pool.onPoison((error) => calls.push(error));
    await turns();
    expect(calls).toHaveLength(3);
    for (const error of calls) {
      expect(error).toMatchObject({ code: 'POISONED', details: { cause: 'INVARIANT_BROKEN' } });
    }
    expect(heard).toHaveLength(1);
    expect(heard[0]?.error).toBeInstanceOf(WeirpoolError);
  });

  it('is not told to those who do not listen any more', async () => {
    const pool = await openSmall();
    let calls = 0;
    const listener = (): void => {
      calls++;
    };
    pool.onPoison(listener)();
    const offs = [pool.onPoison(listener), pool.onPoison(listener)];
    offs[0]?.();
    offs[0]?.();
    poisoned(pool);
    pool.onPoison(listener)();
    await turns();
    expect(calls).toBe(1);
    pool.onPoison(listener)();
    await turns();
    expect(calls).toBe(1);
    expect(() => pool.onPoison(undefined as unknown as () => void)).toThrow(TypeError);
  });

  it('is told to all, also when one of them throws', async () => {
    const pool = await openSmall();
    const uncaught: unknown[] = [];
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const catching = (error: unknown): void => {
      uncaught.push(error);
    };
    process.on('uncaughtException', catching);
    onTestFinished(() => {
      process.off('uncaughtException', catching);
      for (const other of others) process.on('uncaughtException', other);
    });
    let calls = 0;
    pool.onPoison(() => {
      throw new Error('a listener');
    });
    pool.onPoison(() => calls++);
    poisoned(pool);
    await turns();
    expect(calls).toBe(1);
    expect(uncaught).toEqual([new Error('a listener')]);
  });

  it('is told in an attached thread, and not after a close', async () => {
    const pool = await openSmall();
    const other = await attachOther(pool);
    closeAfterTest(other);
    const third = await attachOther(pool);
    const calls: string[] = [];
    pool.onPoison(() => calls.push('opener'));
    other.onPoison(() => calls.push('attached'));
    third.onPoison(() => calls.push('gone'));
    await third.close();
    await turns();
    poisoned(pool);
    await turns();
    expect(calls.sort()).toEqual(['attached', 'opener']);
  });

  it('comes from a failed sync of the store, and a clean close tells none', async () => {
    const heard = heardOn<{ error: WeirpoolError }>('weirpool:poison');
    const clean = await openSmall();
    await clean.close();
    const { pool, backend } = await openFaulty();
    const id = pool.allocate();
    backend.plan({ operation: 'sync' });
    expect(() => pool.writeBlob(id, new Uint8Array(pool.blobBytes))).toThrow();
    await turns();
    expect(heard).toMatchObject([{ error: { code: 'POISONED', details: { cause: 'STORE_IO' } } }]);
  });

  it('is told in every thread when a worker dies in the middle of a change', async () => {
    await expectPasses('poison-told', { timeoutMs: 30_000 });
  });
});
