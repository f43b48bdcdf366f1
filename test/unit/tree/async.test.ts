/** Trees without blocking: what is waited for, what an abort ends, and that nothing is left behind. */
import { Buffer } from 'node:buffer';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Weirpool } from '../../../src/tree/weirpool.ts';
import { newDisk, openTrees, SMALL } from './support.ts';

const TEXT = { key: 'utf8', value: 'utf8' } as const;

/** With a loader thread, a journal and a checkpointer of its own. */
async function openThreaded(frames = 64): Promise<Weirpool> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-async-'));
  const { threads: _inline, log, ...small } = SMALL;
  const db = await Weirpool.open(directory, { ...small, frames, log: { ...log, intervalMs: 200 } });
  onTestFinished(async () => {
    await db.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return db;
}

describe('putAsync', () => {
  it('puts, as safe as it was asked for, and gives the seq', async () => {
    const db = await openThreaded();
    const tree = db.tree('t', TEXT);
    const seq = await tree.putAsync('a', 'one', { durability: 'synced' });
    expect(tree.get('a')).toBe('one');
    expect(db.stats().log?.durableSeq).toBeGreaterThanOrEqual(seq);
    expect(await tree.getAsync('a')).toBe('one');
    expect(await tree.getAsync('b')).toBeUndefined();
  });

  it('waits, while other things run, for a log that is far behind', async () => {
    const db = await openThreaded();
    const tree = db.tree('t', { key: 'utf8' });
    const value = Buffer.alloc(600, 1);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const count = 4000;
    // More than the bound of the log: rounds have to run in between.
    await Promise.all(
      Array.from({ length: count }, (_, n) => tree.putAsync(String(n % 300), value)),
    );
    clearInterval(timer);
    expect(tree.count()).toBe(300);
    expect(turns).toBeGreaterThan(0);
    expect(db.stats().log?.rounds.succeeded).toBeGreaterThan(0);
  });

  it('is refused as put is, and by a signal that is aborted already', async () => {
    const tree = (await openTrees()).tree('t', TEXT);
    await expect(tree.putAsync('x'.repeat(600), 'v')).rejects.toThrow(RangeError);
    await expect(tree.putAsync('x', 'v'.repeat(100_000))).rejects.toThrow(RangeError);
    const reason = new Error('not any more');
    const signal = AbortSignal.abort(reason);
    await expect(tree.putAsync('a', 'v', { signal })).rejects.toBe(reason);
    await expect(tree.getAsync('a', { signal })).rejects.toBe(reason);
    expect(tree.has('a')).toBe(false);
  });
});

describe('getAsync', () => {
  it('loads what is not in the pool, long values too', async () => {
    const db = await openThreaded(48);
    const tree = db.tree('t', TEXT);
    const long = 'long '.repeat(2000);
    tree.put('long', long);
    for (let n = 0; n < 400; n++) tree.put(`key/${n}`, String(n).repeat(100));
    await db.checkpoint();
    const values = await Promise.all(
      Array.from({ length: 400 }, (_, n) => tree.getAsync(`key/${n}`)),
    );
    expect(values).toEqual(Array.from({ length: 400 }, (_, n) => String(n).repeat(100)));
    expect(await tree.getAsync('long')).toBe(long);
    expect(db.stats().misses).toBeGreaterThan(0);
  });

  it('ends with its signal while a blob is being loaded, and leaves nothing held', async () => {
    const disk = newDisk();
    const db = await openTrees(disk);
    const tree = db.tree('t', TEXT);
    for (let n = 0; n < 200; n++) tree.put(`key/${n}`, String(n).repeat(50));
    await db.close();
    const again = await openTrees(disk);
    const controller = new AbortController();
    const reading = again.tree('t', TEXT).getAsync('key/7', { signal: controller.signal });
    controller.abort();
    await expect(reading).rejects.toThrow('aborted');
    expect(again.tree('t', TEXT).get('key/7')).toBe('7'.repeat(50));
    expect(again.stats()).toMatchObject({ pinned: 0, latched: 0 });
  });
});
