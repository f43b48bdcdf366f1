/**
 * Nodes, long values, the catalog and the roots of a store, changed behind its back and with right
 * checksums: kernels and everything above them, through all ways to use a tree.
 *
 * The kernels alone, between guards, are fuzzed by test/unit/assembly/crafted-node.test.ts.
 */
import fc from 'fast-check';
import {
  E_KEY,
  E_KEY_BYTES,
  E_VALUE,
  N_COUNT,
  N_GARBAGE,
  N_HEAP,
  N_HIGH,
  N_HIGH_BYTES,
  N_HINT_COUNT,
  N_HINTS,
  N_LAST,
  N_LEVEL,
  N_LOW,
  N_LOW_BYTES,
  N_MASK,
  N_POSITION_COUNT,
  N_POSITIONS,
  N_RUN,
  N_SLOT_BYTES,
  N_SLOTS,
  N_TEMPLATE,
  N_TREE,
} from '../../../src/generated/layout.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import type { BlobId } from '../../../src/store/contract.ts';
import { NodeImage } from '../../../src/tree/node-image.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';
import { StoreEditor } from '../../unit/tree/store-editor.ts';
import { BOUNDARIES, fieldMutations, type Mutation, mutated, mutations } from '../support/bytes.ts';
import type { Context, Family, Prepared } from '../support/family.ts';
import { DIRECTORY, diskOf, fileName, type Image, imageOf, SMALL } from '../support/images.ts';
import type { Fields } from '../support/reseal.ts';
import { User } from '../support/use.ts';

const FILES = 700;
/** Slots of a node whose fields are known: more than most of these nodes have. */
const SLOTS_MAX = 40;

/** Three levels, long values, a leaf of short keys; all in the checkpoint. */
async function tall(): Promise<Image> {
  const disk = new SimFileSystem(DIRECTORY);
  const db = await Weirpool.open(DIRECTORY, { ...SMALL, frames: 256, fileSystem: disk });
  const files = db.tree('files', { key: 'utf8' });
  for (let n = 0; n < FILES; n++) files.put(fileName(n), Buffer.alloc(60, n));
  const tags = db.tree('tags', { key: 'utf8' });
  for (let n = 0; n < 20; n++) tags.put(`tag ${n}`, Buffer.alloc(n, n));
  for (const bytes of [9000, 5000, 4080]) tags.put(`long ${bytes}`, Buffer.alloc(bytes, 9));
  const short = db.tree('z', { key: 'utf8' });
  for (let n = 0; n < 60; n++) short.put(String(n), Buffer.alloc(0));
  await db.close();
  return imageOf(disk);
}

const HEADER: Fields = [
  [N_LEVEL, 1],
  [N_RUN, 2],
  [N_COUNT, 4],
  [N_HEAP, 4],
  [N_GARBAGE, 4],
  [N_LOW, 4],
  [N_HIGH, 4],
  [N_LOW_BYTES, 2],
  [N_HIGH_BYTES, 2],
  [N_LAST, 4],
  [N_POSITION_COUNT, 2],
  [N_POSITIONS, 2],
  [N_POSITIONS + 2, 2],
  [N_HINT_COUNT, 1],
  [N_HINTS, 8],
  [N_TREE, 8],
  [N_MASK, 1],
  [N_TEMPLATE, 1],
];

/** Of an overflow blob: next, bytes, magic. */
const PART: Fields = [
  [0, 8],
  [8, 4],
  [12, 4],
];

/** The header twice: most of what goes wrong begins there. */
function fieldsOf(bytes: Uint8Array): Fields {
  const image = NodeImage.of(bytes);
  if (image === undefined) return PART;
  const fields: Fields = [...HEADER, ...HEADER];
  for (let slot = 0; slot < Math.min(image.count ?? 0, SLOTS_MAX); slot++) {
    const at = N_SLOTS + slot * N_SLOT_BYTES;
    fields.push([at, 8], [at + 8, 4]);
    const entry = image.entryAt(slot);
    if (entry === undefined) continue;
    const { offset } = entry.extent;
    fields.push([offset + E_KEY_BYTES, 2], [offset + E_VALUE, 4], [offset + E_KEY, 1]);
    const valueAt = offset + E_KEY + entry.key.length;
    if (entry.value.length >= 8) fields.push([valueAt, 8]);
    if (entry.value.length >= 9) fields.push([valueAt + 8, 1]);
    if (entry.value.length >= 12) fields.push([valueAt + 8, 4]);
  }
  return fields;
}

interface BlobHarm {
  /** `rare`: long values, the catalog, inner nodes, of which there are few. */
  readonly among: 'all' | 'rare';
  readonly blob: number;
  readonly list: readonly Mutation[];
  /** The bytes of another blob instead. */
  readonly from: number | undefined;
}

interface Case {
  readonly blobs: readonly BlobHarm[];
  readonly root: { readonly owner: number; readonly id: bigint } | undefined;
  readonly unmap: number | undefined;
  readonly way: 'use' | 'use' | 'read only' | 'verify' | 'salvage' | 'backup';
  readonly tree: 'files' | 'tags' | 'z';
  readonly key: number;
  readonly changes: readonly number[];
}

function seldom<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  const never = { weight: 15, arbitrary: fc.constant(undefined) };
  return fc.oneof(never, { weight: 1, arbitrary });
}

const cases: fc.Arbitrary<Case> = fc.record({
  blobs: fc.array(
    fc.record({
      among: fc.constantFrom('all', 'rare'),
      blob: fc.nat(0xffff),
      list: fc.oneof({ weight: 4, arbitrary: fieldMutations }, { weight: 1, arbitrary: mutations }),
      from: seldom(fc.nat(0xffff)),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  root: seldom(
    fc.record({
      owner: fc.constantFrom(1, 1, 2, 0, 2 ** 52 + 3),
      id: fc.oneof(fc.constantFrom(...BOUNDARIES), fc.bigInt(1n, 90n)),
    }),
  ),
  unmap: seldom(fc.nat(0xffff)),
  way: fc.constantFrom('use', 'use', 'use', 'read only', 'verify', 'salvage', 'backup'),
  tree: fc.constantFrom('files', 'files', 'tags', 'tags', 'z'),
  key: fc.nat(FILES),
  changes: fc.array(fc.nat(7), { minLength: 1, maxLength: 3 }),
});

interface Base {
  readonly image: Image;
  readonly ids: readonly BlobId[];
  readonly rare: readonly BlobId[];
  readonly fields: ReadonlyMap<BlobId, Fields>;
}

function baseOf(image: Image): Base {
  const store = new StoreEditor(diskOf(image), DIRECTORY);
  const { ids } = store;
  const fields = new Map(ids.map((id) => [id, fieldsOf(store.read(id))]));
  const catalog = store.state.roots.get(1);
  const rare = ids.filter((id) => {
    const node = NodeImage.of(store.read(id));
    return id === catalog || node === undefined || node.level > 0;
  });
  return { image, ids, rare, fields };
}

function harmed({ image, ids, rare, fields }: Base, given: Case): Image {
  const disk = diskOf(image);
  const store = new StoreEditor(disk, DIRECTORY);
  for (const { among, blob, list, from } of given.blobs) {
    const some = among === 'rare' ? rare : ids;
    const id = some[blob % some.length] as BlobId;
    const bytes = store.read(from === undefined ? id : (ids[from % ids.length] as BlobId));
    const changed = mutated(bytes, list, { fields: fields.get(id) ?? [] });
    const whole = new Uint8Array(store.blobBytes);
    whole.set(changed.subarray(0, whole.length));
    store.write(id, whole);
  }
  if (given.root !== undefined) {
    const { owner, id } = given.root;
    store.state.roots.set(owner, Number(BigInt.asUintN(53, id)));
  }
  if (given.unmap !== undefined) store.unmap(ids[given.unmap % ids.length] as BlobId);
  store.commit();
  return imageOf(disk);
}

function keyOf({ tree, key }: Case): string {
  if (tree === 'files') return fileName(key);
  if (tree === 'z') return String(key % 60);
  return ['long 9000', 'long 5000', 'long 4080', `tag ${key % 20}`][key % 4] as string;
}

async function useIn(user: User, given: Case): Promise<void> {
  const { way, tree, changes } = given;
  if (way === 'verify') await user.verify();
  else if (way === 'salvage') await user.salvage();
  else {
    const options = { readOnly: way === 'read only', frames: 256 };
    await user.opened(options, async (db, disk) => {
      user.read(db, new Map());
      if (way === 'backup') await user.backup(db, disk);
      if (way !== 'use') return;
      user.look(db, tree, keyOf(given));
      for (const change of changes) user.change(db, tree, keyOf(given), change);
      await user.checkpoint(db);
      user.look(db, tree, keyOf(given));
    });
  }
}

export const nodes: Family<Case> = {
  name: 'nodes',
  async prepare(context: Context): Promise<Prepared<Case>> {
    const base = baseOf(await tall());
    const check = async (given: Case): Promise<void> => {
      await useIn(new User(context, harmed(base, given), 'nodes'), given);
    };
    const outcomes = ['range NODE_CORRUPT', 'change ok', 'verify ok', 'salvage ok', 'snapshot ok'];
    return { cases, check, wanted: outcomes.map((outcome) => `nodes ${outcome}`) };
  },
};
