/** Indexing one directory while it changes: between its names and its entries, and between two looks. */
import { Buffer } from 'node:buffer';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ContentHasher } from '../../../src/cli/indexing/content.ts';
import {
  emptyTally,
  type IndexerParts,
  indexDirectory,
  type Problem,
} from '../../../src/cli/indexing/directory.ts';
import type { Tree } from '../../../src/index.ts';
import { temporaryDirectory } from '../../support/variant.ts';
import { openTrees } from '../tree/support.ts';

interface Harness {
  readonly root: string;
  readonly tree: Tree;
  readonly found: string[];
  readonly problems: Problem[];
  keys(): string[];
  index(directory: string, more?: Partial<IndexerParts>): ReturnType<typeof emptyTally>;
}

async function harness(): Promise<Harness> {
  const root = temporaryDirectory('directory');
  const tree = (await openTrees()).tree('t');
  const found: string[] = [];
  const problems: Problem[] = [];
  return {
    root,
    tree,
    found,
    problems,
    keys: () => (tree.keys().toArray() as Buffer[]).map((key) => key.toString()),
    index(directory, more = {}) {
      const tally = emptyTally();
      indexDirectory(
        {
          tree,
          root,
          keyBytesMax: 512,
          store: { dev: 0, ino: 0 },
          hasher: undefined,
          tally,
          found: (directories) => found.push(...directories),
          report: (problem) => problems.push(problem),
          stepped: () => undefined,
          isStopped: () => false,
          ...more,
        },
        directory,
      );
      return tally;
    },
  };
}

/** The tree, which does something when it is first written to. */
function withFirstPut(tree: Tree, then: () => void): Tree {
  let isFirst = true;
  return new Proxy(tree, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        if (name === 'put' && isFirst) {
          isFirst = false;
          then();
        }
        return value.apply(target, args) as unknown;
      };
    },
  });
}

it('what vanishes between its name and the look at it is not there', async () => {
  const { root, tree, index, keys, problems, found } = await harness();
  for (const name of ['a', 'b', 'c']) writeFileSync(join(root, name), name);
  mkdirSync(join(root, 'd'));
  const tally = index('', {
    tree: withFirstPut(tree, () => {
      rmSync(join(root, 'b'));
      rmSync(join(root, 'd'), { recursive: true });
    }),
  });
  expect(keys()).toEqual(['a', 'c']);
  expect({ tally, problems, found }).toMatchObject({
    tally: { added: 2 },
    problems: [],
    found: [],
  });
});

it('a directory that has vanished, or is none any more, goes with all that was below it', async () => {
  const { root, index, keys, problems, found } = await harness();
  mkdirSync(join(root, 'd/e'), { recursive: true });
  mkdirSync(join(root, 'd-'));
  writeFileSync(join(root, 'd/e/f'), '');
  index('');
  index('d');
  index('d/e');
  expect(found).toEqual(['d', 'd-', 'd/e']);
  rmSync(join(root, 'd'), { recursive: true });
  expect(index('d')).toMatchObject({ removed: 3 });
  expect(keys()).toEqual(['d-']);
  writeFileSync(join(root, 'd'), '');
  expect(index('d')).toMatchObject({ removed: 0 });
  expect(problems).toEqual([]);
});

it('what lies below an entry is skipped, kept while it is a directory, and dropped when it is none', async () => {
  const { root, tree, index, keys } = await harness();
  for (const name of ['a', 'a-b', 'b']) mkdirSync(join(root, name));
  for (const key of ['a-b/1', 'a/1', 'a/2/3', 'b/1', 'c/1', 'c/2/3', 'a0', 'b.txt']) {
    tree.put(Buffer.from(key), Buffer.from('old'));
  }
  symlinkSync('a', join(root, 'c'));
  expect(index('')).toMatchObject({ added: 4, removed: 4, unchanged: 0 });
  expect(keys()).toEqual(['a', 'a-b', 'a-b/1', 'a/1', 'a/2/3', 'b', 'b/1', 'c']);
  expect(index('')).toMatchObject({ added: 0, changed: 0, removed: 0, unchanged: 4 });
});

it('what cannot be looked at is told, and keeps what the tree says about it', async () => {
  const { root, tree, index, keys, problems } = await harness();
  const long = 'n'.repeat(200);
  mkdirSync(join(root, long));
  writeFileSync(join(root, long, 'short'), '');
  writeFileSync(join(root, long, long), '');
  tree.put(Buffer.from(`${long}/old`), Buffer.from('gone'));
  const tally = index(long, { keyBytesMax: 300 });
  expect(tally).toMatchObject({ added: 1, removed: 1 });
  expect(keys()).toEqual([`${long}/short`]);
  expect(problems).toEqual([{ path: join(root, long, long), code: 'KEY_TOO_LONG' }]);
});

it('a file that has become something else is neither followed nor waited for', async () => {
  const { root, tree, index, problems } = await harness();
  for (const name of ['a', 'b']) writeFileSync(join(root, name), name);
  const hasher = new ContentHasher('sha256');
  const swap = new Proxy(hasher, {
    get(target, name) {
      if (name === 'prefix') return target.prefix;
      return (path: Buffer, goesOn: () => boolean) => {
        rmSync(path);
        symlinkSync('/dev/zero', path);
        return target.hash(path, goesOn);
      };
    },
  });
  index('', { hasher: swap });
  expect(problems.map(({ code }) => code)).toEqual(['ELOOP', 'ELOOP']);
  expect(String(tree.get(Buffer.from('a')))).toMatch(/^\{"type":"file","size":1,.*"mode":\d+\}$/);
});

it('of a hash that was stopped in the middle nothing is recorded', async () => {
  const { root, index, keys } = await harness();
  writeFileSync(join(root, 'a'), 'a');
  const hasher = new ContentHasher('sha256');
  let looks = 0;
  // The first look is before the file, the second inside it.
  index('', { hasher, isStopped: () => ++looks > 1 });
  expect(keys()).toEqual([]);
});
