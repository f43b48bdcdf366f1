/** Batches into crafted leaves: whatever their headers say, splitting them for room comes to an end. */
import { beforeAll, expect, it } from 'vitest';
import { WeirpoolError } from '../../../src/errors.ts';
import {
  N_COUNT,
  N_GARBAGE,
  N_HEAP,
  N_HIGH,
  N_HIGH_BYTES,
  N_LAST,
  N_LEVEL,
  N_LOW,
  N_LOW_BYTES,
  N_POSITION_COUNT,
} from '../../../src/generated/layout.ts';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { Broken, fileName, healthyStore } from './broken-stores.ts';
import { killed, openTrees } from './support.ts';

let healthy: SimFileSystem;

beforeAll(async () => {
  healthy = await healthyStore();
});

const FIELDS = [
  ['N_LEVEL', N_LEVEL, 1],
  ['N_COUNT', N_COUNT, 4],
  ['N_HEAP', N_HEAP, 4],
  ['N_GARBAGE', N_GARBAGE, 4],
  ['N_LOW', N_LOW, 4],
  ['N_HIGH', N_HIGH, 4],
  ['N_LOW_BYTES', N_LOW_BYTES, 2],
  ['N_HIGH_BYTES', N_HIGH_BYTES, 2],
  ['N_LAST', N_LAST, 4],
  ['N_POSITION_COUNT', N_POSITION_COUNT, 2],
] as const;

it.each(FIELDS)('with zeros in %s', async (_name, at, bytes) => {
  const disk = killed(healthy);
  const broken = new Broken(disk);
  const { store } = broken;
  for (const id of store.nodesAt(broken.root(0), 0)) {
    store.edit(id, (node) => node.fill(0, at, at + bytes));
  }
  store.commit();
  const db = await openTrees(disk, { frames: 128, frameWaitMs: 50 });
  const tree = db.tree('files', { key: 'utf8' });
  for (let from = 0; from < 1200; from += 200) {
    const keys = Array.from({ length: 60 }, (_, n) => fileName(from + n * 3));
    try {
      tree.batch(keys.map((key) => ({ type: 'put' as const, key, value: Buffer.alloc(20) })));
    } catch (error) {
      expect(error).toBeInstanceOf(WeirpoolError);
    }
  }
  await db.close().catch(() => undefined);
});
