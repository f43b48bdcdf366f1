/** Stores of trees on a disk in memory, everything inline. */
import { onTestFinished } from 'vitest';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { Weirpool, type WeirpoolOptions } from '../../../src/tree/weirpool.ts';

export const DIRECTORY = '/sim';
const RING_BYTES = 64 * 1024;

/** Small nodes, so that few keys make a tall tree. */
export const SMALL = {
  blobBytes: 4096,
  frames: 64,
  threads: 'inline',
  log: { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 2 ** 20, intervalMs: 0 },
  checkpoint: { intervalMs: 0, ageMs: 0 },
} as const satisfies WeirpoolOptions;

export function newDisk(): SimFileSystem {
  return new SimFileSystem(DIRECTORY);
}

export async function openTrees(
  disk: SimFileSystem = newDisk(),
  options: WeirpoolOptions = {},
): Promise<Weirpool> {
  const db = await Weirpool.open(DIRECTORY, { ...SMALL, fileSystem: disk, ...options });
  onTestFinished(() => db.close().catch(() => undefined));
  return db;
}

/** What `kill -9` leaves of the disk. */
export function killed(disk: SimFileSystem): SimFileSystem {
  return disk.afterCrash(() => 1);
}
