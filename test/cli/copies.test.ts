/** Copies of stores, and what can be saved of a damaged one. */
import { closeSync, existsSync, openSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { json, places, succeed, weirpool } from './program.ts';

const ENTRIES = 12_000;

/** A store of several blobs. */
async function filled(): Promise<{ readonly at: string; readonly store: string }> {
  const { at, store } = places();
  const lines = Array.from(
    { length: ENTRIES },
    (_, n) => `k${String(n).padStart(6, '0')}\t${'v'.repeat(200)}`,
  );
  const { code } = await weirpool(['load', store], { input: lines.join('\n') });
  expect(code).toBe(0);
  return { at, store };
}

/** Writes over the middle of each blob that `chosen` says, by its number in the file. */
function damage(store: string, chosen: (slot: number) => boolean): void {
  const path = join(store, 'blobs.dat');
  const blobBytes = 512 * 1024;
  const descriptor = openSync(path, 'r+');
  for (let slot = 0; slot < statSync(path).size / blobBytes; slot++) {
    if (!chosen(slot)) continue;
    writeSync(descriptor, Buffer.alloc(64, 0xa5), 0, 64, slot * blobBytes + blobBytes / 2);
  }
  closeSync(descriptor);
}

describe.concurrent('copies', () => {
  it('a backup is a store, and is restored to another one', async () => {
    const { at, store } = await filled();
    const [backup, restored] = [join(at, 'backup'), join(at, 'restored')];
    const [copied] = await json<{ blobs: number }>('backup', store, backup);
    expect(copied?.blobs).toBeGreaterThan(3);
    await succeed('del', store, '--prefix', 'k');
    expect(await succeed('verify', backup)).toContain('Nothing is damaged');
    expect(await json('restore', backup, restored)).toMatchObject([{ blobs: copied?.blobs }]);
    expect(await succeed('dump', restored)).toBe(await succeed('dump', backup));
    const again = await weirpool(['backup', store, backup]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('DIRECTORY_NOT_EMPTY');
    const missing = await weirpool(['restore', join(at, 'none'), join(at, 'new')]);
    expect(missing.code).toBe(1);
    expect(existsSync(join(at, 'new'))).toBe(false);
  });

  it('a damaged store is found so, is not copied, and gives what can be read to a new one', async () => {
    const { at, store } = await filled();
    damage(store, (slot) => slot === 2);
    const verify = await weirpool(['verify', store]);
    expect(verify.code).toBe(1);
    expect(verify.stdout).toContain('BLOB_CORRUPT');
    expect(verify.stderr).toContain('weirpool salvage');
    const backup = await weirpool(['backup', store, join(at, 'backup')]);
    expect(backup.code).toBe(1);
    expect(existsSync(join(at, 'backup'))).toBe(false);
    const saved = join(at, 'saved');
    const salvage = await weirpool(['salvage', store, saved, '--json']);
    expect(salvage.code).toBe(1);
    const report = JSON.parse(salvage.stdout) as {
      readonly lost: readonly { readonly from?: string; readonly to?: string }[];
      readonly trees: readonly { readonly entries: number }[];
    };
    expect(report.lost).toHaveLength(1);
    const [range] = report.lost;
    const all = Array.from({ length: ENTRIES }, (_, n) => `k${String(n).padStart(6, '0')}`);
    const { from = '', to = '~' } = range ?? {};
    const kept = all.filter((key) => key < from || key >= to);
    expect(kept.length).toBeLessThan(ENTRIES);
    const keys = await succeed('scan', saved, '--keys');
    expect(keys.trim().split('\n')).toEqual(kept);
    expect(await succeed('verify', saved)).toContain('Nothing is damaged');
  });
});
