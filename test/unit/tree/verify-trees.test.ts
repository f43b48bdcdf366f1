/** Checking trees: nothing in healthy stores, and one code for each invariant that is broken. */
import { beforeAll, describe, expect, it } from 'vitest';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { type VerifyProgress, verifyStore } from '../../../src/recovery/verify.ts';
import { checkTrees } from '../../../src/tree/verify-trees.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { BROKEN_STORES, Broken, healthyStore } from './broken-stores.ts';
import { DIRECTORY, killed, newDisk, openTrees } from './support.ts';

const kernels = new wasm.Module(Buffer.from(KERNELS_WASM, 'base64'));

let healthy: SimFileSystem;

beforeAll(async () => {
  healthy = await healthyStore();
});

function verify(disk: SimFileSystem, options = {}) {
  return verifyStore(DIRECTORY, { kernels, fileSystem: disk, content: checkTrees, ...options });
}

describe('a healthy store', () => {
  it('has no findings, and its trees are counted', async () => {
    const { findings, trees, blobs } = await verify(healthy);
    expect(findings).toEqual([]);
    expect(trees).toMatchObject([
      { name: 'files', entries: 1200, overflowBlobs: 0 },
      { name: 'tags', entries: 43, overflowBlobs: 6 },
      { name: 'z', entries: 60, nodes: 1, height: 1 },
    ]);
    const [files, tags] = trees;
    expect(files?.height).toBeGreaterThan(2);
    const nodes = (files?.nodes ?? 0) + (tags?.nodes ?? 0);
    expect(nodes + 1 + 6 + 1).toBe(blobs);
  });

  it('has none at any checkpoint of a random life, also after a crash', async () => {
    const random = Random.fork(testSeed(), 1);
    let disk = newDisk();
    for (let life = 0; life < 4; life++) {
      const db = await openTrees(disk);
      for (let round = 0; round < 4; round++) {
        for (let n = 0; n < 150; n++) {
          const tree = db.tree(`tree ${random.int(3)}`, { key: 'utf8' });
          const key = `${random.int(20)}/${'k'.repeat(random.int(60))}${random.int(40)}`;
          if (random.chance(0.3)) tree.delete(key);
          else
            tree.put(key, Buffer.alloc(random.chance(0.05) ? random.int(12_000) : random.int(200)));
        }
        if (random.chance(0.3)) db.tree('tree 1', { key: 'utf8' }).clear({ gte: '1', lt: '3' });
        if (random.chance(0.2)) db.dropTree('tree 2');
        await db.checkpoint();
        const { findings, trees } = await verify(killed(disk));
        expect(findings).toEqual([]);
        const counted = trees.map(({ name, entries }) => [name, entries]);
        expect(counted).toEqual(db.trees().map((name) => [name, db.tree(name).count()]));
      }
      db.tree('tree 0', { key: 'utf8' }).put('in the log alone', Buffer.alloc(9));
      db.durableSync(undefined, 'written');
      disk = killed(disk);
      expect((await verify(disk)).findings).toEqual([]);
    }
  });
});

describe('a store that is broken at one place', () => {
  it('is there for more than twenty codes', () => {
    expect(new Set(BROKEN_STORES.map(([, code]) => code)).size).toBeGreaterThan(20);
  });

  it.each(BROKEN_STORES)('%s: %s', async (_name, code, harm) => {
    const disk = killed(healthy);
    const broken = new Broken(disk);
    harm(broken);
    broken.store.commit();
    const { findings } = await verify(disk);
    expect([...new Set(findings.map((finding) => finding.code))]).toEqual([code]);
    for (const { message } of findings) expect(message).toMatch(/\.$/);
  });
});

describe('progress', () => {
  it('is told from 0 to the end of each phase, and an abort ends it', async () => {
    const disk = healthy;
    const seen: VerifyProgress[] = [];
    const onProgress = (progress: VerifyProgress): void => void seen.push(progress);
    const { blobs } = await verify(disk, { onProgress });
    expect(seen[0]).toEqual({ phase: 'blobs', done: 0, total: blobs });
    expect(seen.map(({ phase }) => phase)).toEqual([
      'blobs',
      'blobs',
      'trees',
      'trees',
      'log',
      'log',
    ]);
    expect(seen[3]).toEqual({ phase: 'trees', done: blobs, total: blobs });
    const stop = new AbortController();
    const reason = new Error('enough');
    const abort = ({ phase }: VerifyProgress): void => {
      if (phase === 'trees') stop.abort(reason);
    };
    await expect(verify(disk, { onProgress: abort, signal: stop.signal })).rejects.toBe(reason);
  });
});
