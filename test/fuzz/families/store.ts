/**
 * Whole directories with the checksums as they are: any file, any names. Whatever is read was put; where
 * all of it can be read, it is a state that the store was in.
 */
import fc from 'fast-check';
import { type Mutation, mutated, mutations } from '../support/bytes.ts';
import { type Context, type Family, must, type Prepared } from '../support/family.ts';
import {
  type Content,
  fileName,
  type Image,
  type Lived,
  lived,
  textOf,
} from '../support/images.ts';
import { User } from '../support/use.ts';

const WAYS = ['open', 'open', 'read only', 'verify', 'restore', 'salvage', 'backup'] as const;

interface Case {
  readonly base: number;
  readonly harms: readonly { readonly file: number; readonly list: readonly Mutation[] }[];
  readonly names: 'as they are' | 'one missing' | 'one older' | 'two swapped' | 'strangers';
  readonly way: (typeof WAYS)[number];
  readonly change: number;
}

const cases: fc.Arbitrary<Case> = fc.record({
  base: fc.nat(1),
  harms: fc.array(fc.record({ file: fc.nat(9), list: mutations }), { minLength: 0, maxLength: 2 }),
  names: fc.constantFrom(
    ...([
      'as they are',
      'as they are',
      'one missing',
      'one older',
      'two swapped',
      'strangers',
    ] as const),
  ),
  way: fc.constantFrom(...WAYS),
  change: fc.nat(7),
});

const STRANGERS = [
  'manifest-0',
  'manifest-9007199254740993',
  'wal-9999999999999999',
  'wal-00',
  'lock-0123456789abcdef',
  'manifest-1.abc.tmp',
  'blobs.dat.old',
];

function harmed({ image, older }: Lived, { harms, names }: Case): Image {
  const copy: Image = new Map(image);
  const files = [...image.keys()].sort();
  const nameOf = (n: number): string => files[n % files.length] as string;
  for (const { file, list } of harms) {
    const name = nameOf(file);
    const bytes = copy.get(name) as Uint8Array;
    copy.set(name, mutated(bytes, list, { older: older.get(name) }));
  }
  const n = harms[0]?.file ?? 0;
  const [one, other] = [nameOf(n), nameOf(n + 1)];
  if (names === 'one missing') copy.delete(one);
  else if (names === 'one older') {
    const before = older.get(one);
    if (before !== undefined) copy.set(one, before);
  } else if (names === 'two swapped') {
    const bytes = copy.get(one) as Uint8Array;
    copy.set(one, copy.get(other) as Uint8Array);
    copy.set(other, bytes);
  } else if (names === 'strangers') {
    copy.set(STRANGERS[n % STRANGERS.length] as string, copy.get(one) as Uint8Array);
  }
  return copy;
}

/** Nothing that was not put; a state of the store, if it is all there. */
export function assertPut(base: Lived, content: Content, whole: boolean): void {
  for (const [tree, entries] of content) {
    for (const [key, value] of entries) {
      const known = base.ever.get(`${tree} ${key}`)?.has(value) === true;
      must(known, `${JSON.stringify(key)} in ${tree} never had ${value.slice(0, 40)}`);
    }
  }
  must(!whole || base.states.has(textOf(content)), 'the store was never in that state');
}

/** Trees whose names are lost have others; their keys are their own all the same. */
function assertSaved(base: Lived, content: Content): void {
  const values = new Map<string, Set<string>>();
  for (const [name, set] of base.ever) {
    const key = name.slice(name.indexOf(' ') + 1);
    values.set(key, new Set([...(values.get(key) ?? []), ...set]));
  }
  for (const [tree, entries] of content) {
    if (!tree.startsWith('recovered-')) assertPut(base, new Map([[tree, entries]]), false);
    for (const [key, value] of entries) must(values.get(key)?.has(value), `salvaged ${key}`);
  }
}

async function useIn(user: User, base: Lived, given: Case): Promise<void> {
  const { way, change } = given;
  if (way === 'verify') await user.verify();
  else if (way === 'restore') await user.restore();
  else if (way === 'salvage') {
    const content = await user.salvage();
    if (content !== undefined) assertSaved(base, content);
  } else {
    await user.opened({ readOnly: way === 'read only' }, async (db, disk) => {
      const { content, whole } = user.read(db, base.ever);
      assertPut(base, content, whole);
      if (way === 'backup') await user.backup(db, disk);
      if (way !== 'open') return;
      user.look(db, 'files', fileName(change * 17));
      user.change(db, change % 2 === 0 ? 'files' : 'tags', fileName(change * 13), change);
      await user.checkpoint(db);
    });
  }
}

export const store: Family<Case> = {
  name: 'store',
  async prepare(context: Context): Promise<Prepared<Case>> {
    const all = [await lived('closed'), await lived('killed')];
    const check = async (given: Case): Promise<void> => {
      const base = all[given.base] as Lived;
      const user = new User(context, harmed(base, given), 'raw');
      await useIn(user, base, given);
    };
    const wanted = [
      'raw open ok',
      'raw range ok',
      'raw verify ok',
      'raw salvage ok',
      'raw range BLOB_CORRUPT',
    ];
    return { cases, check, wanted };
  },
};
