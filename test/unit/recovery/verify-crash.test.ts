/** A store that lost power at any file call, and never a byte that was synced, has no damage. */
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../src/fs/file-system.ts';
import { failAt, faultyFileSystem, patched } from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { verifyStore } from '../../../src/recovery/verify.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { simOptions } from '../store/workload.ts';
import { DIRECTORY, kernels } from '../wal/support.ts';
import { randomBlob, TestStore } from './support.ts';

const CRASH_STATES = 3;

/** Three openings with blobs, records, checkpoints and trims; the last one ends without a close. */
async function work(fs: FileSystem, random: Random): Promise<void> {
  let nextId = 1;
  for (let opening = 0; opening < 3; opening++) {
    const store = await TestStore.open(DIRECTORY, simOptions(opening, fs));
    if (opening === 0) store.write([]);
    for (let round = 0; round < 2; round++) {
      const blobs = [];
      for (let n = 0; n < 3; n++) {
        store.append({ created: [nextId] });
        blobs.push({ id: nextId, slot: nextId, bytes: randomBlob(random) });
        nextId++;
      }
      const checkpointSeq = store.log.sync();
      store.append({ created: [nextId + 100] });
      store.write(blobs, { checkpointSeq });
      store.log.trim(checkpointSeq);
    }
    if (opening < 2) await store.close(opening === 0);
  }
}

async function callsOfWork(): Promise<number> {
  const fs = faultyFileSystem(new SimFileSystem());
  await work(fs, Random.fork(testSeed(), 0));
  return fs.calls.length;
}

/** What is found after power losses at the n-th call, and right after it. */
async function check(n: number, wrap: (disk: SimFileSystem) => FileSystem) {
  const random = Random.fork(testSeed(), n);
  const disk = new SimFileSystem();
  await work(faultyFileSystem(wrap(disk), failAt(n, 'EIO', true)), random).catch(() => undefined);
  const findings: string[] = [];
  let blobs = 0;
  for (let state = 0; state <= CRASH_STATES; state++) {
    const after = state < CRASH_STATES ? disk.afterCrash((end) => random.int(end)) : disk;
    const report = await verifyStore(DIRECTORY, { kernels, fileSystem: after });
    blobs += report.blobs;
    for (const { code, message } of report.findings) {
      const noStoreYet = code === 'STORE_IO' && report.generation === 0;
      if (!noStoreYet) findings.push(`call ${n}, power loss ${state}: ${code} ${message}`);
    }
  }
  return { findings, blobs };
}

describe('a power loss at any file call', () => {
  it('leaves nothing to be found', async () => {
    const calls = await callsOfWork();
    expect(calls).toBeGreaterThan(300);
    for (let n = 1; n <= calls; n++) {
      const { findings, blobs } = await check(n, (disk) => disk);
      expect(findings).toEqual([]);
      if (n === calls) expect(blobs).toBe(18 * (CRASH_STATES + 1));
    }
  });

  it('is found if fdatasync was left out', async () => {
    const calls = await callsOfWork();
    const naive = (disk: SimFileSystem) => patched(disk, { syncData: () => undefined });
    const findings: string[] = [];
    // How much of one power loss is damage is a matter of luck: several of them leave no doubt.
    for (let n = calls - 4; n <= calls; n++) findings.push(...(await check(n, naive)).findings);
    expect(findings.length).toBeGreaterThan(10);
  });
});
