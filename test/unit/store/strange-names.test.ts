/** Names of files with numbers that no counting comes to: they are not the store's. */
import { expect, it } from 'vitest';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { verifyStore } from '../../../src/recovery/verify.ts';
import { newestGeneration } from '../../../src/store/manifest-files.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';
import { listLogFiles } from '../../../src/wal/segment-files.ts';
import { accessTo, DIRECTORY } from '../wal/support.ts';

const kernels = new wasm.Module(Buffer.from(KERNELS_WASM, 'base64'));
const BEYOND = ['9007199254740993', '9999999999999999'];

it.each(BEYOND)('a number of %s in a name makes no file of the store', async (number) => {
  const disk = new SimFileSystem(DIRECTORY);
  const options = { blobBytes: 4096, frames: 64, threads: 'inline', fileSystem: disk } as const;
  const log = { ringBytes: 64 * 1024 };
  const db = await Weirpool.open(DIRECTORY, { ...options, log });
  db.tree('t', { key: 'utf8', value: 'utf8' }).put('a', 'b');
  await db.close();
  for (const name of ['manifest', 'wal']) {
    disk.close(disk.open(`${DIRECTORY}/${name}-${number}`, 0o102));
  }
  expect(newestGeneration(accessTo(disk))).toBe(1);
  expect(listLogFiles(accessTo(disk)).segments).toEqual([1]);
  // Counting down from such a number comes nowhere.
  expect((await verifyStore(DIRECTORY, { kernels, fileSystem: disk })).findings).toEqual([]);
  const again = await Weirpool.open(DIRECTORY, { ...options, log });
  expect(again.tree('t', { key: 'utf8', value: 'utf8' }).get('a')).toBe('b');
  await again.close();
});
