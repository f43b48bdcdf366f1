/**
 * Crafted stores in use: every way to read or change a tree ends, with a result or with an error of
 * ours, whatever the nodes say, and whatever their bytes are.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { WeirpoolError } from '../../../src/errors.ts';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { verifyStore } from '../../../src/recovery/verify.ts';
import { NodeImage } from '../../../src/tree/node-image.ts';
import type { Tree } from '../../../src/tree/tree.ts';
import { checkTrees } from '../../../src/tree/verify-trees.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { BROKEN_STORES, Broken, fileName, healthyStore } from './broken-stores.ts';
import { DIRECTORY, killed, openTrees } from './support.ts';

const kernels = new wasm.Module(Buffer.from(KERNELS_WASM, 'base64'));
/** More than there are of anything in these stores: what gives more goes round in a circle. */
const MANY = 20_000;

type Use = (tree: Tree<string, Uint8Array>, key: string) => unknown;

const told = (entries: number): string => `${entries} entries`;

const READS: readonly Use[] = [
  (tree, key) => tree.get(key),
  (tree, key) => tree.has(key),
  (tree, key) => tree.read(key, (_, start, end) => end - start),
  (tree) => told(tree.range({ limit: MANY }).toArray().length),
  (tree) => told(tree.range({ limit: MANY, reverse: true }).toArray().length),
  (tree) => tree.count(),
  (tree) => told([...tree.list('', { limit: MANY })].length),
];

/** One after the other, each in a store of its own: one that stops half-way ends that store. */
const USES: readonly (readonly Use[])[] = [
  READS,
  [(tree, key) => tree.put(key, Buffer.alloc(50))],
  [(tree, key) => tree.put(key, Buffer.alloc(6000))],
  [(tree, key) => tree.compareAndSwap(key, undefined, Buffer.alloc(1))],
  [(tree, key) => tree.delete(key)],
  [(tree, key) => tree.clear({ gte: key })],
];

const KEYS = ['', 'tag 7', 'tag with much to say 0', fileName(601), fileName(9), 'zz', '\uffff'];

/** What `call` gives, or the code of its error. */
function outcomeOf(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    if (error instanceof WeirpoolError) return error.code;
    throw error;
  }
}

/** Uses all trees in every way. */
async function use(disk: SimFileSystem): Promise<void> {
  for (const uses of USES) {
    const db = await openTrees(killed(disk), { frames: 128 });
    for (const name of ['files', 'tags', 'z']) {
      for (const [call, key] of uses.flatMap((one) => KEYS.map((of) => [one, of] as const))) {
        const result = outcomeOf(() => call(db.tree(name, { key: 'utf8' }), key));
        expect(result).not.toBe(told(MANY));
      }
    }
    await db.close().catch((error: unknown) => expect(error).toBeInstanceOf(WeirpoolError));
  }
}

let healthy: SimFileSystem;

beforeAll(async () => {
  healthy = await healthyStore();
});

describe('a crafted store', () => {
  /** One for each code. */
  const one = [...new Map(BROKEN_STORES.map((broken) => [broken[1], broken])).values()];

  it.each(one)('can be used as far as it goes: %s', async (_name, _code, harm) => {
    const disk = killed(healthy);
    const broken = new Broken(disk);
    harm(broken);
    broken.store.commit();
    await use(disk);
  });

  it('of random bytes is checked to its end, and can be used as far as it goes', async () => {
    const random = Random.fork(testSeed(), 5);
    for (let round = 0; round < 60; round++) {
      const disk = killed(healthy);
      const { store } = new Broken(disk);
      const nodes = store.ids.filter((id) => NodeImage.of(store.read(id)) !== undefined);
      store.edit(random.pick(nodes), (bytes) => {
        // The header and the slots are what everything goes by.
        const end = random.pick([64, 1200, bytes.length]);
        for (let n = 0; n <= random.int(6); n++) bytes[4 + random.int(end - 4)] = random.int(256);
        if (random.chance(0.2)) bytes.fill(random.int(256), 4 + random.int(bytes.length - 4));
      });
      store.commit();
      const parts = { kernels, fileSystem: disk, content: checkTrees };
      const { findings } = await verifyStore(DIRECTORY, parts);
      expect(findings.every(({ message }) => message.endsWith('.'))).toBe(true);
      if (round < 6) await use(disk);
    }
  });
});
