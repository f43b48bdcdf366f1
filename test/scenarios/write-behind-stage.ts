/**
 * Changes of a durable cache, staged: something else happens between what a change has read and the
 * change itself, as another thread may do it.
 *
 * Argument: the play.
 */
import { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { Weirpool } from '../../src/index.ts';
import { codecOf } from '../../src/tree/codec.ts';
import type { TreeStore } from '../../src/tree/store.ts';
import { DurableEntries } from '../../src/write-behind/durable-entries.ts';
import type { Stamp } from '../../src/write-behind/entries.ts';
import { WriteBehind } from '../../src/write-behind/index.ts';
import { SharedWords } from '../../src/write-behind/words.ts';
import { check, checkEqual } from '../support/checks.ts';
import { type Cache, PlainStore, turn } from '../write-behind/stores.ts';

const RING_BYTES = 64 * 1024;
const DIRECTORY = '/sim';

interface Stage {
  readonly cache: Cache;
  readonly store: PlainStore;
  /** The same entries as another thread has them. */
  readonly other: DurableEntries<string, number>;
  /** Before the next change of several trees; it must come to that. */
  readonly before: (meanwhile: () => unknown) => void;
  /** After the next look at an entry; it must come to that. */
  readonly afterLook: (meanwhile: () => unknown) => void;
}

/**
 * A delete waits for a write of its key; meanwhile a=2 is put, and another thread, which gets the claim
 * first, writes that, and does something with it.
 */
async function putBehindDelete(
  { cache, store, other, afterLook }: Stage,
  then: (written: Stamp) => void,
): Promise<void> {
  cache.putSync('a', 1);
  const { write } = store;
  const lands: (() => void)[] = [];
  store.write = () => new Promise<void>((land) => lands.push(land)) as never;
  const flush = cache.flush();
  await turn();
  const deleted = cache.delete('a');
  await cache.put('a', 2);
  afterLook(() => {
    store.write = write;
    store.write('a', 2);
    const dirty = other.dirty('a');
    check(dirty !== undefined, 'a is dirty for the other thread');
    other.written('a', dirty);
    then(dirty);
  });
  checkEqual(cache.isDirty('a'), true, 'a is dirty');
  lands[0]?.();
  await flush;
  checkEqual(await deleted, true, 'a was cached');
}

const plays: Readonly<Record<string, (stage: Stage) => void | Promise<void>>> = {
  /** An entry is put between the look at it, once it is written, and its becoming clean. */
  clean({ cache, store, other, before }) {
    cache.putSync('a', 1);
    const { write } = store;
    store.write = (key, value) => {
      write.call(store, key, value);
      if (value === 1) before(() => other.put('a', 2, 0));
    };
    cache.flushSync();
    checkEqual(cache.peek('a'), 2, 'a');
    checkEqual(cache.isDirty('a'), true, 'a is dirty');
    cache.flushSync();
    checkEqual(store.content.get('a'), 2, 'a in the store');
  },

  /** An entry is put between the look at the oldest one and its eviction (capacity 2). */
  evict({ cache, store, other, before }) {
    cache.putSync('a', 1);
    cache.putSync('b', 1);
    cache.flushSync();
    before(() => other.put('a', 2, 0));
    cache.putSync('c', 3);
    checkEqual(cache.getSync('a'), 2, 'a');
    checkEqual(store.content.get('a'), 2, 'a in the store');
  },

  /** A key is deleted between a look at what was read and its being kept. */
  fill({ cache, store, before }) {
    store.content.set('a', 1);
    before(() => cache.deleteSync('a'));
    checkEqual(cache.getSync('a'), undefined, 'a');
    checkEqual(cache.contains('a'), false, 'a is cached');
  },

  /** A key is put between the look at it and its read, written and evicted before that ends. */
  'late-read'({ cache, store, other, afterLook }) {
    store.content.set('a', 1);
    afterLook(() => other.put('a', 2, 0));
    const { read } = store;
    store.read = (key) => {
      const old = read.call(store, key);
      const dirty = other.dirty('a');
      if (dirty === undefined) return old;
      store.write('a', dirty.value);
      other.written('a', dirty);
      other.evict({ key: 'a', dirty: false, ...dirty });
      return old;
    };
    checkEqual(cache.getSync('a'), 2, 'a');
    cache.flushSync();
    checkEqual(store.content.get('a'), 2, 'a in the store');
    checkEqual(cache.getSync('a'), 2, 'a at the end');
  },

  /** What was put after the call of a delete is written before that has its claim. */
  async 'late-delete'(stage) {
    const { cache, store } = stage;
    await putBehindDelete(stage, () => undefined);
    cache.putSync('b', 1);
    await cache.flush();
    checkEqual(cache.peek('a'), 2, 'a');
    checkEqual(store.content.get('a'), 2, 'a in the store');
  },

  /** The same, and is evicted as well: what was put after the call of the delete is not its to undo. */
  async 'late-delete-evicted'(stage) {
    const { cache, store, other } = stage;
    await putBehindDelete(stage, (written) => {
      other.evict({ key: 'a', dirty: false, ...written });
    });
    checkEqual(store.content.get('a'), 2, 'a in the store');
    checkEqual(await cache.get('a'), 2, 'a at the end');
  },

  /** The last room is taken between the look at it and the insertion (capacity 2). */
  full({ cache, other, before }) {
    cache.putSync('a', 1);
    before(() => other.put('b', 2, 0));
    cache.putSync('c', 3);
    checkEqual(cache.size, 2, 'entries');
    checkEqual(cache.contains('a'), false, 'a is cached');
    checkEqual(cache.dirtyKeys().join(), 'b,c', 'dirty keys');
  },

  /** Another put comes between the look at a clean entry and its becoming dirty again. */
  redirty({ cache, other, before }) {
    cache.putSync('a', 1);
    cache.flushSync();
    before(() => other.put('a', 2, 0));
    cache.putSync('a', 3);
    checkEqual(cache.peek('a'), 3, 'a');
    checkEqual(cache.dirtyCount, 1, 'dirty entries');
    checkEqual(cache.dirtyKeys().length, 1, 'dirty keys');
    checkEqual(cache.flushSync(), 1, 'entries flushed');
    checkEqual(cache.dirtyKeys().length, 0, 'dirty keys at the end');
  },

  /** An entry is put between the look at it and its deletion. */
  drop({ cache, store, other, before }) {
    cache.putSync('a', 1);
    const { delete: remove } = store;
    store.delete = (key) => {
      remove.call(store, key);
      before(() => other.put('a', 2, 0));
    };
    cache.deleteSync('a');
    checkEqual(cache.peek('a'), 2, 'a');
    checkEqual(cache.isDirty('a'), true, 'a is dirty');
  },
};

/** Runs `meanwhile` before the next call of `changeIf` with several entries. */
function interrupt(trees: TreeStore, meanwhile: () => unknown): () => boolean {
  const { changeIf } = trees;
  let done = false;
  Object.defineProperty(trees, 'changeIf', {
    configurable: true,
    value: (...args: Parameters<TreeStore['changeIf']>): number => {
      if (!done && args[0].length > 1) {
        done = true;
        meanwhile();
      }
      return changeIf.apply(trees, args);
    },
  });
  return () => done;
}

/** Runs `meanwhile` after the next call of `read`. */
function follow(trees: TreeStore, meanwhile: () => unknown): () => boolean {
  const { read } = trees;
  let done = false;
  Object.defineProperty(trees, 'read', {
    configurable: true,
    value: (...args: Parameters<TreeStore['read']>): unknown => {
      const found = read.apply(trees, args);
      if (!done) {
        done = true;
        meanwhile();
      }
      return found;
    },
  });
  return () => done;
}

const play = plays[process.argv[2] ?? ''];
check(play !== undefined, 'there is no such play');
const log = { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 2 ** 20 };
const fileSystem = new SimFileSystem(DIRECTORY);
const options = { blobBytes: 4096, frames: 64, threads: 'inline', log, fileSystem } as const;
const db = await Weirpool.open(DIRECTORY, options);
const store = new PlainStore();
const cache = await WriteBehind.open<string, number>(db, store, { capacity: 2 });
const trees = db.tree('any').place.store;
const happened: (() => boolean)[] = [];
const before = (meanwhile: () => unknown): void => {
  happened.push(interrupt(trees, meanwhile));
};
const afterLook = (meanwhile: () => unknown): void => {
  happened.push(follow(trees, meanwhile));
};
const other = new DurableEntries<string, number>({
  db,
  prefix: 'write-behind/cache',
  words: SharedWords.from(cache.handle.words),
  key: codecOf<string>('utf8', 'key'),
  value: codecOf<number>('json', 'value'),
  durability: 'written',
});
await play({ cache, store, other, before, afterLook });
check(happened.length > 0 && happened.every((did) => did()), 'the moment has not come');
await cache.close({ flush: false });
await db.close();
