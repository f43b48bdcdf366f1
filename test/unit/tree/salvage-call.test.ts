/** `salvage(from, to)` as users call it: on real directories, and what it refuses. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { salvage } from '../../../src/tree/salvage.ts';
import { verify } from '../../../src/tree/verify.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';
import { contentOf } from '../fs/untouched.ts';
import { rejectionOf, temporaryDirectory } from '../pool/support.ts';

const OPTIONS = { blobBytes: 4096, frames: 128, log: { ringBytes: 64 * 1024 } } as const;

async function newStore(): Promise<string> {
  const directory = join(temporaryDirectory(), 'store');
  const db = await Weirpool.open(directory, OPTIONS);
  const tree = db.tree('words', { key: 'utf8', value: 'utf8' });
  for (let n = 0; n < 500; n++) tree.put(`word ${n}`, 'w'.repeat(n % 70));
  await db.close();
  return directory;
}

it('a damaged store becomes a healthy one, and stays as it is', async () => {
  const from = await newStore();
  const data = join(from, 'blobs.dat');
  const bytes = readFileSync(data);
  bytes[3 * 4096 + 1000] = (bytes[3 * 4096 + 1000] as number) ^ 1;
  writeFileSync(data, bytes);
  const [finding] = (await verify(from)).findings;
  expect(finding).toMatchObject({ code: 'BLOB_CORRUPT' });
  const before = contentOf(from);
  const to = join(temporaryDirectory(), 'new', 'store');
  const { trees, lost } = await salvage(from, to);
  expect(contentOf(from)).toEqual(before);
  expect(lost.map(({ id }) => id)).toEqual([finding?.id]);
  const report = await verify(to);
  expect(report.findings).toEqual([]);
  expect(report.trees).toMatchObject([{ name: 'words', entries: trees[0]?.entries }]);
  expect(trees[0]?.entries).toBeLessThan(500);
});

it('a target that is not empty, or lies in the store, is refused, and so is a store in use', async () => {
  const from = await newStore();
  const full = temporaryDirectory();
  writeFileSync(join(full, 'mine'), '');
  expect(await rejectionOf(salvage(from, full))).toMatchObject({ code: 'DIRECTORY_NOT_EMPTY' });
  await expect(salvage(from, from)).rejects.toBeInstanceOf(RangeError);
  await expect(salvage(from, join(from, 'new'))).rejects.toBeInstanceOf(RangeError);
  await expect(salvage('', full)).rejects.toBeInstanceOf(TypeError);
  await expect(salvage(from, temporaryDirectory(), { frames: 0 })).rejects.toBeInstanceOf(
    RangeError,
  );
  const db = await Weirpool.open(from, OPTIONS);
  const refused = await rejectionOf(salvage(from, temporaryDirectory()));
  expect(refused).toMatchObject({ code: 'STORE_LOCKED' });
  await db.close();
});
