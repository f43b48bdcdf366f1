/** Scans of crafted nodes: whose bounds and keys lead back, they come to an end. */
import { beforeAll, describe, expect, it } from 'vitest';
import {
  N_COUNT,
  N_HIGH,
  N_HIGH_BYTES,
  N_HINT_COUNT,
  N_LOW,
  N_LOW_BYTES,
  N_SLOT_BYTES,
  N_SLOTS,
} from '../../../src/generated/layout.ts';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { Broken, healthyStore } from './broken-stores.ts';
import { killed, openTrees } from './support.ts';

let healthy: SimFileSystem;

beforeAll(async () => {
  healthy = await healthyStore();
});

/** A leaf in the middle, changed; the tree that it belongs to. */
async function treeWith(change: (bytes: Uint8Array, view: DataView) => void) {
  const disk = killed(healthy);
  const { store, leaf } = new Broken(disk);
  store.edit(leaf, change);
  store.commit();
  const db = await openTrees(disk, { frames: 128 });
  return { db, tree: db.tree('files', { key: 'utf8' }) };
}

const copyBound =
  (from: readonly [number, number], to: readonly [number, number]) =>
  (_: Uint8Array, view: DataView): void => {
    view.setUint32(to[0], view.getUint32(from[0], true), true);
    view.setUint16(to[1], view.getUint16(from[1], true), true);
  };

const LOW = [N_LOW, N_LOW_BYTES] as const;
const HIGH = [N_HIGH, N_HIGH_BYTES] as const;

/** One key in all slots: the last one that was given is none to go on behind. */
function oneKey(bytes: Uint8Array, view: DataView): void {
  view.setUint8(N_HINT_COUNT, 0);
  const count = view.getUint32(N_COUNT, true);
  const first = bytes.slice(N_SLOTS, N_SLOTS + N_SLOT_BYTES);
  for (let slot = 1; slot < count; slot++) bytes.set(first, N_SLOTS + slot * N_SLOT_BYTES);
}

const ENTRIES_MAX = 5000;

describe('a leaf that leads back', () => {
  it.each<[string, boolean, (bytes: Uint8Array, view: DataView) => void]>([
    ['whose upper bound is the lower one', false, copyBound(LOW, HIGH)],
    ['whose lower bound is the upper one', true, copyBound(HIGH, LOW)],
  ])('%s ends a scan (reverse: %s)', async (_name, reverse, change) => {
    const { tree, db } = await treeWith(change);
    const scan = () => tree.range({ reverse, limit: ENTRIES_MAX }).toArray().length;
    expect(scan).toThrow(expect.objectContaining({ code: 'NODE_CORRUPT' }));
    const snapshot = db.snapshot();
    const cut = () => tree.range({ reverse, snapshot, limit: ENTRIES_MAX }).toArray().length;
    expect(cut).toThrow(expect.objectContaining({ code: 'NODE_CORRUPT' }));
    snapshot.close();
  });

  it.each([false, true])('with one key in all slots ends a scan (reverse: %s)', async (reverse) => {
    const { tree } = await treeWith(oneKey);
    let count = 0;
    const scan = () => {
      for (const _ of tree.range({ reverse })) if (++count > ENTRIES_MAX) break;
    };
    try {
      scan();
    } catch (error) {
      expect(error).toMatchObject({ code: 'NODE_CORRUPT' });
    }
    expect(count).toBeLessThan(ENTRIES_MAX);
  });
});

describe('a reference to a long value', () => {
  it.each([0n, 2n ** 53n, 2n ** 64n - 1n])('to blob %i is refused in every way', async (first) => {
    const disk = killed(healthy);
    const broken = new Broken(disk);
    const { leaf, at } = broken.long;
    broken.store.edit(leaf, (_, view) => view.setBigUint64(at, first, true));
    broken.store.commit();
    const db = await openTrees(disk, { frames: 128 });
    const tree = db.tree('tags', { key: 'utf8' });
    const key = 'tag with much to say 0';
    const refused = expect.objectContaining({ code: 'NODE_CORRUPT' });
    expect(() => tree.get(key)).toThrow(refused);
    expect(() => tree.range().toArray()).toThrow(refused);
    await expect(tree.getAsync(key)).rejects.toThrow(refused);
    expect(() => tree.delete(key)).toThrow(refused);
    await db.close().catch(() => undefined);
  });
});
