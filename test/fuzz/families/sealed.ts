/**
 * Whole directories whose manifest, log, or tree records were mutated and got right checksums: what no
 * medium does, and a crafted store may. Whatever such a store says, each way to use it ends with a
 * result or an error of ours, and asks for no more than its files justify.
 */
import fc from 'fast-check';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { Checksummer } from '../../../src/memory/checksum.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';
import { kernels, sums } from '../../unit/wal/support.ts';
import { fieldMutations, type Mutation, mutated, mutations } from '../support/bytes.ts';
import type { Context, Family, Prepared } from '../support/family.ts';
import { DIRECTORY, fileName, type Image, imageOf, lived, SMALL } from '../support/images.ts';
import {
  type Fields,
  fieldsOfManifest,
  fieldsOfRecords,
  fieldsOfSegment,
  resealManifest,
  resealSegment,
} from '../support/reseal.ts';
import { User } from '../support/use.ts';

const WAYS = ['open', 'open', 'read only', 'verify', 'restore', 'salvage', 'backup'] as const;

interface Case {
  readonly base: number;
  readonly manifest: readonly Mutation[];
  readonly log: readonly Mutation[];
  /** Which of the log's files. */
  readonly file: number;
  readonly way: (typeof WAYS)[number];
  readonly change: number;
}

interface Base {
  readonly image: Image;
  readonly manifest: string;
  readonly manifestFields: Fields;
  readonly segments: readonly string[];
  readonly fields: ReadonlyMap<string, Fields>;
}

type FieldsOf = (bytes: Uint8Array) => Fields;

function baseOf(image: Image, fieldsOf: FieldsOf): Base {
  const names = [...image.keys()].sort();
  const manifest = names.filter((name) => name.startsWith('manifest-')).at(-1) as string;
  const segments = names.filter((name) => /^wal-[0-9]+$/.test(name));
  const fields = new Map(
    segments.map((name) => [name, fieldsOf(image.get(name) as Uint8Array)] as const),
  );
  const manifestFields = fieldsOfManifest(image.get(manifest) as Uint8Array);
  return { image, manifest, manifestFields, segments, fields };
}

/** A store of which everything is in the log alone: every kind of record. */
async function logged(): Promise<Image> {
  const disk = new SimFileSystem(DIRECTORY);
  const db = await Weirpool.open(DIRECTORY, { ...SMALL, frames: 512, fileSystem: disk });
  const files = db.tree('files', { key: 'utf8' });
  const keys = Array.from({ length: 130 }, (_, n) => fileName(n));
  for (const key of keys.slice(0, 50)) files.put(key, Buffer.alloc(40, 7));
  const value = Buffer.alloc(60, 1);
  files.batch(keys.slice(20).map((key) => ({ type: 'put' as const, key, value })));
  db.tree('tags', { key: 'utf8' }).put('long', Buffer.alloc(9000, 5));
  db.tree('tags', { key: 'utf8' }).put('long', Buffer.alloc(5000, 6));
  db.tree('tags', { key: 'utf8' }).put('tag', Buffer.alloc(10, 6));
  files.batch(keys.slice(30, 100).map((key) => ({ type: 'del' as const, key })));
  for (const key of keys.slice(0, 25)) files.delete(key);
  files.clear({ gte: fileName(2) });
  db.tree('gone').put(Buffer.from('a'), Buffer.from('b'));
  db.dropTree('gone');
  await db.durable(undefined, 'synced');
  const image = imageOf(disk.afterKill());
  await db.close();
  return image;
}

function harmed({ image, manifest, manifestFields, segments, fields }: Base, given: Case): Image {
  const copy: Image = new Map(image);
  if (given.manifest.length > 0) {
    const bytes = copy.get(manifest) as Uint8Array;
    const changed = mutated(bytes, given.manifest, { fields: manifestFields });
    resealManifest(checksummer, changed);
    copy.set(manifest, changed);
  }
  if (given.log.length > 0) {
    const name = segments[given.file % segments.length] as string;
    const bytes = copy.get(name) as Uint8Array;
    const changed = mutated(bytes, given.log, { fields: fields.get(name) ?? [] });
    resealSegment(sums, changed);
    copy.set(name, changed);
  }
  return copy;
}

const checksummer = new Checksummer(kernels, 64 * 1024);

async function useIn(user: User, { way, change }: Case): Promise<void> {
  if (way === 'verify') await user.verify();
  else if (way === 'restore') await user.restore();
  else if (way === 'salvage') await user.salvage();
  else {
    await user.opened({ readOnly: way === 'read only', frames: 256 }, async (db, disk) => {
      user.read(db, new Map());
      if (way === 'backup') await user.backup(db, disk);
      if (way !== 'open') return;
      const name = change % 2 === 0 ? 'files' : 'tags';
      user.look(db, name, fileName(change * 17));
      user.change(db, name, fileName(change * 13), change);
      await user.checkpoint(db);
    });
  }
}

function familyOf(
  name: string,
  cases: fc.Arbitrary<Case>,
  basesOf: () => Promise<Base[]>,
): Family<Case> {
  return {
    name,
    async prepare(context: Context): Promise<Prepared<Case>> {
      const all = await basesOf();
      const check = async (given: Case): Promise<void> => {
        const base = all[given.base % all.length] as Base;
        await useIn(new User(context, harmed(base, given), name), given);
      };
      const outcomes = ['open ok', 'verify ok', 'salvage ok', 'change ok', 'close ok'];
      return { cases, check, wanted: outcomes.map((outcome) => `${name} ${outcome}`) };
    },
  };
}

const none = fc.constant<readonly Mutation[]>([]);
const common = {
  base: fc.nat(1),
  file: fc.nat(3),
  way: fc.constantFrom(...WAYS),
  change: fc.nat(7),
};

/** Headers, counts, places: what the library writes around what is stored. */
export const sealed: Family<Case> = familyOf(
  'sealed',
  fc.oneof(
    fc.record({ ...common, manifest: fieldMutations, log: none }),
    fc.record({ ...common, manifest: mutations, log: none }),
    fc.record({ ...common, manifest: none, log: fieldMutations }),
    fc.record({ ...common, manifest: fieldMutations, log: mutations }),
  ),
  async () => {
    const bases = [await lived('closed'), await lived('killed')];
    return bases.map(({ image }) => baseOf(image, fieldsOfSegment));
  },
);

/** What records of trees say: operations, keys, plans, ids. */
export const records: Family<Case> = familyOf(
  'records',
  fc.record({ ...common, manifest: none, log: fieldMutations }),
  async () => [baseOf(await logged(), fieldsOfRecords)],
);
