/**
 * A manifest that has lost its last records, and looks as if they had never reached the disk: where the
 * log names ids that it has not leased, they would be handed out again.
 */
import { expect, it } from 'vitest';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { verifyStore } from '../../../src/recovery/verify.ts';
import { FIRST_RECORD } from '../../../src/store/manifest.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';
import { rejectionOf } from '../pool/support.ts';
import { DIRECTORY, diskOf, imageOf, kernels } from '../wal/support.ts';

const OPTIONS = {
  blobBytes: 4096,
  frames: 64,
  threads: 'inline',
  log: { ringBytes: 64 * 1024 },
} as const;

/** A store that was killed, its manifest cut behind the snapshot of its opening. */
async function behind(): Promise<SimFileSystem> {
  const disk = new SimFileSystem(DIRECTORY);
  const db = await Weirpool.open(DIRECTORY, { ...OPTIONS, fileSystem: disk });
  const tree = db.tree('t', { key: 'utf8', value: 'utf8' });
  for (let n = 0; n < 100; n++) tree.put(`key ${n}`, 'v'.repeat(100));
  await db.durable(undefined, 'synced');
  const image = imageOf(disk.afterKill());
  await db.close();
  const manifest = image.get('manifest-1') as Uint8Array;
  image.set('manifest-1', manifest.subarray(0, FIRST_RECORD + 4096));
  return diskOf(image);
}

it.each([false, true])('R1 is refused by an opening (for reading only: %s)', async (readOnly) => {
  const disk = await behind();
  // It opened, and the next long value was put into the blob that the catalog lies in.
  const opening = Weirpool.open(DIRECTORY, { ...OPTIONS, readOnly, fileSystem: disk });
  const { code, details } = await rejectionOf(opening);
  expect(code).toBe('MANIFEST_CORRUPT');
  expect(details).toMatchObject({ id: 1, nextBlobId: 1 });
});

it('is found by verify', async () => {
  const { findings } = await verifyStore(DIRECTORY, { kernels, fileSystem: await behind() });
  expect(findings[0]).toMatchObject({ code: 'ID_NOT_ALLOCATED', id: 1 });
});
