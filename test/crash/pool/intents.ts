/** What to do next: wishes are random, and become changes when the state allows them. */
import type { Random } from '../../support/seed.ts';
import {
  COUNT_BEGIN,
  COUNT_END,
  COUNT_UP,
  COUNTER,
  DROP,
  INDEX,
  INIT,
  type Intent,
  LEAF_ENTRIES_MAX,
  LEAVES_MAX,
  leafAt,
  MOVE,
  PUT,
  pairs,
  payloadOf,
  REMOVE,
  REROOT,
  SPLIT,
} from './little-index.ts';

const KEYS = 40;
const LOOSE_MAX = 5;

/** What a pool holds: blobs without their scratch, and the root of each owner. */
export interface State {
  readonly blobs: ReadonlyMap<number, Uint8Array>;
  readonly roots: ReadonlyMap<number, number>;
}

export interface Wish {
  readonly owner: number;
  readonly kind: 'put' | 'remove' | 'move' | 'reroot' | 'count' | 'uncount' | 'loose' | 'loosen';
  readonly key: number;
  readonly other: number;
  readonly amount: number;
  /** Size of the record, as a share of the largest; mostly next to nothing. */
  readonly size: number;
}

const KINDS: readonly Wish['kind'][] = [
  ...Array<'put'>(12).fill('put'),
  ...Array<'move'>(5).fill('move'),
  ...Array<'remove'>(5).fill('remove'),
  'reroot',
  'count',
  'count',
  'uncount',
  'loose',
  'loose',
  'loosen',
];

export function wishFrom(random: Random): Wish {
  const kind = random.pick(KINDS);
  return {
    kind,
    owner: kind === 'count' || kind === 'uncount' ? COUNTER : INDEX,
    key: 1 + random.int(KEYS),
    other: 1 + random.int(KEYS),
    amount: 1 + random.int(1000),
    size: random.pick([0, 0, 0, 0, 0, 0.02, 0.3, 0.6, 0.97, 1]),
  };
}

function record(words: readonly number[], bytes: number): Intent {
  return { payload: payloadOf(words, bytes), creates: 0, deletes: [] };
}

const EMPTY = new Uint8Array(0);

/** Leaves that the root names, and entries of one of them. */
function leavesOf({ blobs, roots }: State): [number, number][] {
  const root = blobs.get(roots.get(INDEX) ?? 0);
  return root === undefined ? [] : pairs(new Uint32Array(root.buffer));
}

function entriesOf({ blobs }: State, leaf: number): [number, number][] {
  const bytes = blobs.get(leaf);
  return bytes === undefined ? [] : pairs(new Uint32Array(bytes.buffer));
}

/** Blobs of no index: they come and go with records that have no payload. */
function looseOf(state: State): number[] {
  const named = new Set([...state.roots.values(), ...leavesOf(state).map(([, id]) => id)]);
  return [...state.blobs.keys()].filter((id) => !named.has(id));
}

/** The change that fulfils the wish, or undefined if there is nothing to do. */
export function planOf(wish: Wish, state: State, bytesMax: number): Intent | undefined {
  const { kind, key, other, amount } = wish;
  const bytes = Math.floor(wish.size * bytesMax);
  const root = state.roots.get(INDEX) ?? 0;
  const counter = state.roots.get(COUNTER) ?? 0;
  const leaves = leavesOf(state);
  const leafOf = (at: number): number => leaves[leafAt(leaves, at)]?.[1] ?? 0;
  const entries = entriesOf(state, leafOf(key));
  const has = (at: number): boolean => entriesOf(state, leafOf(at)).some(([there]) => there === at);
  if (kind === 'count') {
    if (counter === 0) return record([COUNT_BEGIN], bytes);
    return record([COUNT_UP, counter], bytes);
  }
  if (kind === 'uncount') return counter === 0 ? undefined : record([COUNT_END, counter], bytes);
  if (root === 0) return record([INIT], bytes);
  const loose = looseOf(state);
  switch (kind) {
    case 'put': {
      const fits = entries.length < LEAF_ENTRIES_MAX || has(key);
      if (fits) return record([PUT, root, key, amount], bytes);
      return leaves.length < LEAVES_MAX ? record([SPLIT, root, key, amount], bytes) : undefined;
    }
    case 'remove': {
      const first = entries[0]?.[0];
      if (entries.length <= 1 && leaves.length > 1) return record([DROP, root, key], bytes);
      return first === undefined ? undefined : record([REMOVE, root, first], bytes);
    }
    case 'move': {
      const [from] = entries[0] ?? [];
      const [to] = entriesOf(state, leafOf(other)).at(-1) ?? [];
      if (from === undefined || to === undefined) return undefined;
      return record([MOVE, root, from, to, amount], bytes);
    }
    case 'reroot':
      return record([REROOT, root], bytes);
    case 'loose':
      return loose.length < LOOSE_MAX ? { payload: EMPTY, creates: 2, deletes: [] } : undefined;
    case 'loosen':
      return loose.length > 0
        ? { payload: EMPTY, creates: 0, deletes: loose.slice(0, 1 + (amount % 2)) }
        : undefined;
  }
}
