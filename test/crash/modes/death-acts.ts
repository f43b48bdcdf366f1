/** What a thread is in the middle of when it dies, and what others do meanwhile. */
import type { BufferPool, Tree, Weirpool } from '../../../src/index.ts';

export type Texts = Tree<string, string>;

export interface TreeSide {
  readonly db: Weirpool;
  readonly trees: readonly [Texts, Texts];
}

export interface PoolSide {
  readonly pool: BufferPool;
  readonly ids: readonly number[];
}

interface Common<S> {
  readonly name: string;
  /** The main thread, just before: what it gives is called when the victim is dead, or waits. */
  readonly meanwhile?: (side: S) => (() => void) | undefined;
  readonly perform: (side: S) => void;
}

/** On a store with a log: it changes all keys of `changes` to its value, or none. */
export interface TreeAct extends Common<TreeSide> {
  readonly kind: 'tree';
  /** Undefined for a key that it deletes. */
  readonly changes: ReadonlyMap<string, string | undefined>;
}

/** On a pool without a log: it fills blob 0 with its value, or leaves it. */
export interface PoolAct extends Common<PoolSide> {
  readonly kind: 'pool';
  readonly changes: boolean;
}

export type Act = TreeAct | PoolAct;

export const KEYS = 40;
export const BLOBS = 5;
export const POOL_FRAMES = 4;
/** What a blob is filled with at first, and by the victim. */
export const OLD = 1;
export const NEW = 2;

export function keyOf(n: number): string {
  return `key/${String(n).padStart(3, '0')}`;
}

/** In both trees the same. */
export function oldValue(n: number): string {
  return `${n}:${'o'.repeat(250)}`;
}

const SAME = `same length ${'n'.repeat(241)}`.slice(0, oldValue(7).length);
const LONGER = `longer ${'n'.repeat(800)}`;
const OVERFLOWING = `overflowing ${'n'.repeat(6000)}`;

function tree(
  name: string,
  changes: Readonly<Record<string, string | undefined>>,
  perform: TreeAct['perform'],
  meanwhile?: TreeAct['meanwhile'],
): TreeAct {
  const act = { kind: 'tree', name, changes: new Map(Object.entries(changes)), perform } as const;
  return meanwhile === undefined ? act : { ...act, meanwhile };
}

function puts(from: number, count: number, value: string): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [keyOf(from + n), value]));
}

const MANY = puts(0, 12, LONGER);

function untilCaptured({ db }: TreeSide): void {
  const { control, shared } = db.pool.core.memory;
  const isCaptured = (): boolean => {
    for (let frame = 0; frame < shared.frames; frame++) {
      if (control.capturedBy(frame) !== 0) return true;
    }
    return false;
  };
  for (const end = performance.now() + 500; performance.now() < end && !isCaptured(); );
}

const TREE_ACTS: readonly TreeAct[] = [
  tree('commit', { [keyOf(7)]: SAME }, ({ trees }) => void trees[0].put(keyOf(7), SAME)),
  tree('commit that splits', { [keyOf(7)]: LONGER }, ({ trees }) => {
    trees[0].put(keyOf(7), LONGER);
  }),
  tree('commit of a long value', { [keyOf(7)]: OVERFLOWING }, ({ trees }) => {
    trees[0].put(keyOf(7), OVERFLOWING);
  }),
  tree('commit of a delete', { [keyOf(7)]: undefined }, ({ trees }) => {
    trees[0].delete(keyOf(7));
  }),
  tree('swap', { [keyOf(7)]: SAME }, ({ trees }) => {
    trees[0].compareAndSwap(keyOf(7), oldValue(7), SAME);
  }),
  tree('batch', MANY, ({ trees }) => {
    trees[0].batch(Object.entries(MANY).map(([key, value]) => ({ type: 'put', key, value })));
  }),
  tree(
    'commit of a captured blob',
    { [keyOf(7)]: SAME },
    (side) => {
      untilCaptured(side);
      side.trees[0].put(keyOf(7), SAME);
    },
    ({ db, trees }) => {
      for (let n = 0; n < KEYS; n++) trees[1].put(keyOf(n), oldValue(n));
      trees[0].put(keyOf(8), oldValue(8));
      void db.checkpoint().catch(() => undefined);
      return undefined;
    },
  ),
  tree('commit that waits for its sync', { [keyOf(7)]: SAME }, ({ trees }) => {
    trees[0].put(keyOf(7), SAME, { durability: 'synced' });
  }),
  tree('snapshot', {}, ({ db, trees }) => {
    const snapshot = db.snapshot();
    trees[0].get(keyOf(3), { snapshot });
    snapshot.close();
  }),
  tree(
    'look-up of what is not cached',
    {},
    ({ trees }) => void trees[0].get(keyOf(3)),
    (side) => {
      for (const id of side.db.pool.list()) side.db.pool.evict(id);
      return undefined;
    },
  ),
  tree('shared latches of all nodes', {}, ({ db }) => {
    for (const id of db.pool.list()) db.pool.read(id).release();
  }),
];

const first = ({ ids }: PoolSide): number => ids[0] as number;

/** In two halves, with a step between them: who looks there sees a torn blob. */
function fill({ core }: BufferPool, bytes: Uint8Array): void {
  bytes.fill(NEW, 0, bytes.length / 2);
  Atomics.or(core.memory.i32, 0, 0);
  bytes.fill(NEW, bytes.length / 2);
}

function pool(
  name: string,
  changes: boolean,
  perform: PoolAct['perform'],
  meanwhile?: PoolAct['meanwhile'],
): PoolAct {
  const act = { kind: 'pool', name, changes, perform } as const;
  return meanwhile === undefined ? act : { ...act, meanwhile };
}

function write(side: PoolSide): void {
  const guard = side.pool.write(first(side));
  fill(side.pool, guard.bytes);
  guard.release();
}

const POOL_ACTS: readonly PoolAct[] = [
  pool('pin', false, (side) => side.pool.pin(first(side)).release()),
  pool('shared latch', false, (side) => side.pool.read(first(side)).release()),
  pool('exclusive latch', true, write),
  pool('upgrade', true, (side) => {
    const pin = side.pool.pin(first(side));
    const guard = pin.optimistic().upgrade();
    if (guard !== undefined) {
      fill(side.pool, guard.bytes);
      guard.release();
    }
    pin.release();
  }),
  pool(
    'shared latch, parked behind a writer',
    false,
    (side) => {
      side.pool.read(first(side)).release();
    },
    (side) => {
      const guard = side.pool.write(first(side));
      return () => guard.release();
    },
  ),
  pool('exclusive latch, parked behind a reader', true, write, (side) => {
    const guard = side.pool.read(first(side));
    return () => guard.release();
  }),
  pool('miss, with an eviction', false, ({ pool: buffer, ids }) => {
    for (const id of ids) buffer.read(id).release();
  }),
  pool(
    'miss, parked for a frame',
    false,
    ({ pool: buffer, ids }) => {
      buffer.read(ids.at(-1) as number).release();
    },
    ({ pool: buffer, ids }) => {
      const pins = ids.slice(0, POOL_FRAMES).map((id) => buffer.pin(id));
      return () => {
        for (const pin of pins) pin.release();
      };
    },
  ),
  pool('store of a blob', true, (side) => {
    const bytes = new Uint8Array(side.pool.blobBytes);
    fill(side.pool, bytes);
    side.pool.writeBlob(first(side), bytes);
  }),
];

export const ACTS: readonly Act[] = [...POOL_ACTS, ...TREE_ACTS];
