/** The ordered tree under the harness: short, long and overflowing values, batches, two trees. */
import {
  type Changes,
  differences,
  type Facts,
  type MapSubject,
  type Part,
  type Random,
} from '../../../src/harness/index.ts';
import {
  type Snapshot,
  type StoreOperation,
  type Tree,
  Weirpool,
  type WeirpoolOptions,
} from '../../../src/index.ts';
import { treeMap } from './tree-map.ts';
import { checkScratch, useScratch } from './tree-scratch.ts';

const RING_BYTES = 32 * 1024;
/** Small nodes and a short log: few changes split, merge, fill the log and start rounds. */
const OPTIONS: WeirpoolOptions = {
  blobBytes: 4096,
  frames: 80,
  blobsMax: 1024,
  frameWaitMs: 2000,
  log: { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 3 * RING_BYTES },
  checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 16 },
};

/** Threads share the frames: each of them must have enough for its largest batch. */
const FRAMES_OF_THREADS = 320;

const TREES = ['first', 'second'] as const;
const KEYS = 60;
/** A batch with all its splits, and the long values that it replaces, has to fit half of the frames. */
const BATCH_MAX = 8;
/** The largest record takes half of the ring. */
const LONG_VALUE_MAX = 8000;

/** A value that is made of its number and length alone. */
type Value = readonly [number: number, bytes: number];

type Entry = readonly [tree: number, key: string, value: Value | null];

export interface TreeOperation {
  readonly kind: 'put' | 'swap' | 'batch';
  readonly entries: readonly Entry[];
}

function textOf([number, bytes]: Value): string {
  const head = `${number}:${bytes}:`;
  return head + String.fromCharCode(97 + (number % 26)).repeat(Math.max(0, bytes - head.length));
}

/** The fact of a value: its number and length if every byte is as it was made, else what it is. */
function factOf(text: string): string {
  const [number = '', bytes = ''] = text.split(':', 2);
  const is = textOf([Number(number), Number(bytes)]) === text;
  return is ? `${number}:${bytes}` : `torn, ${text.length} bytes: ${text.slice(0, 40)}`;
}

function nameOf(tree: number, key: string): string {
  return `${TREES[tree]}/${key}`;
}

function treeOf(store: Weirpool, name: string): Tree<string, string> {
  return store.tree(name, { key: 'utf8', value: 'utf8' });
}

function treesOf(store: Weirpool): Tree<string, string>[] {
  return TREES.map((name) => treeOf(store, name));
}

/** A key of the thread; keys of all threads are mixed within the leaves. */
function keyFrom(random: Random, { thread }: Part): string {
  const n = random.int(KEYS);
  const tail = n % 7 === 0 ? `/${'x'.repeat(40 + n)}` : '';
  return `key-${String(n * 7919).padStart(7, '0')}-${thread}${tail}`;
}

function valueFrom(random: Random, mayBeLong: boolean): Value {
  const bytes = random.pick([8, 20, 60, 60, 200, 500]);
  const isLong = mayBeLong && random.chance(0.05);
  return [random.int(100_000), isLong ? random.int(LONG_VALUE_MAX) : bytes];
}

function entryFrom(random: Random, part: Part, mayBeLong: boolean): Entry {
  const value = random.chance(0.3) ? null : valueFrom(random, mayBeLong);
  return [random.int(TREES.length), keyFrom(random, part), value];
}

interface Kept {
  readonly snapshot: Snapshot;
  readonly facts: Facts;
}

const SNAPSHOTS_MAX = 2;
/** Open snapshots of a store, each with what was there. */
const snapshots = new WeakMap<Weirpool, Kept[]>();

function factsOf(store: Weirpool, snapshot?: Snapshot): Facts {
  const facts = new Map<string, string>();
  TREES.forEach((name, at) => {
    if (!store.hasTree(name)) return; // asking for it would make it
    const tree = treeOf(store, name);
    for (const [key, text] of tree.range({ snapshot })) facts.set(nameOf(at, key), factOf(text));
  });
  return facts;
}

function deleted(tree: Tree<string, string>, key: string): number | undefined {
  const { seq, existed } = tree.delete(key);
  return existed ? seq : undefined;
}

export const treeSubject: MapSubject<Weirpool, TreeOperation> = {
  name: 'tree',

  open(directory, options) {
    const frames = options.threads === 'workers' ? { frames: FRAMES_OF_THREADS } : {};
    return Weirpool.open(directory, { ...OPTIONS, ...frames, ...options });
  },

  attach: (handle) => Weirpool.attach(handle),
  map: treeMap,

  draw(random, _facts, part): TreeOperation {
    const kind = random.pick(['put', 'put', 'put', 'swap', 'batch'] as const);
    const count = kind === 'batch' ? 1 + random.int(BATCH_MAX) : 1;
    const entry = (): Entry => entryFrom(random, part, kind !== 'batch');
    return { kind, entries: Array.from({ length: count }, entry) };
  },

  expect(facts: Facts, { kind, entries }): Changes {
    const changes = new Map<string, string | undefined>();
    for (const [tree, key, value] of entries) {
      const name = nameOf(tree, key);
      const swaps = kind !== 'swap' || facts.has(name);
      if (swaps) changes.set(name, value === null ? undefined : factOf(textOf(value)));
    }
    return changes;
  },

  apply(store, { kind, entries }) {
    const trees = treesOf(store);
    const operations = entries.map(([at, key, value]): StoreOperation => {
      const tree = trees[at] as Tree<string, string>;
      if (value === null) return { tree, operation: { type: 'del', key } };
      return { tree, operation: { type: 'put', key, value: textOf(value) } };
    });
    if (kind === 'batch') return store.batch(operations);
    const [at, key, value] = entries[0] as Entry;
    const tree = trees[at] as Tree<string, string>;
    const text = value === null ? undefined : textOf(value);
    if (kind === 'put') return text === undefined ? deleted(tree, key) : tree.put(key, text);
    const current = tree.get(key);
    return current === undefined ? undefined : tree.compareAndSwap(key, current, text);
  },

  facts: (store) => factsOf(store),

  check: checkScratch,

  exercise(store, random, facts): readonly string[] {
    if (random.chance(0.6)) return useScratch(store, random);
    const kept = snapshots.get(store) ?? [];
    snapshots.set(store, kept);
    const wrong = kept.flatMap(({ snapshot, facts: then }) => {
      const difference = differences(factsOf(store, snapshot), then);
      return difference === '' ? [] : [`a snapshot has changed: ${difference}`];
    });
    if (kept.length > 0 && random.chance(0.5)) kept.shift()?.snapshot.close();
    if (kept.length < SNAPSHOTS_MAX) kept.push({ snapshot: store.snapshot(), facts });
    return wrong;
  },
};
