/**
 * Races of a write-behind cache, staged: the calls of the store take effect when the play says so.
 *
 * Arguments: the mode (memory or durable), the play.
 */
import { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { Weirpool } from '../../src/index.ts';
import { WriteBehind } from '../../src/write-behind/index.ts';
import { check, checkEqual } from '../support/checks.ts';
import { type Cache, failureOf, StagedStore, turn } from '../write-behind/stores.ts';

const RING_BYTES = 64 * 1024;
const DIRECTORY = '/sim';

interface Stage {
  readonly cache: Cache;
  readonly store: StagedStore;
}

type Play = (stage: Stage) => Promise<void>;

/** The next call of the store takes effect, which is this one. */
async function land(store: StagedStore, text: string): Promise<void> {
  await turn();
  const [call] = store.waiting;
  check(call?.text === text, `the store was asked [${store.texts.join(', ')}], not first ${text}`);
  await call?.land();
}

/** Runs a call whose calls of the store all take effect at once. */
async function at<T>(store: StagedStore, call: Promise<T>): Promise<T> {
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  call.then(end, end);
  for (await turn(); !ended; await turn()) await store.waiting[0]?.land();
  return call;
}

function asked(store: StagedStore, texts: readonly string[], message: string): void {
  checkEqual(store.texts.join(', '), texts.join(', '), message);
}

/** While a=2 is being written over a=1, a is taken for clean, evicted and read again (capacity 2). */
async function readInWrite({ cache, store }: Stage): Promise<{ flush: Promise<number> }> {
  await cache.put('a', 1);
  await at(store, cache.flush());
  await cache.put('a', 2);
  const flush = cache.flush();
  await turn();
  checkEqual(cache.markClean('a'), true, 'a was dirty');
  await cache.put('b', 1);
  await cache.put('c', 1);
  checkEqual(cache.contains('a'), false, 'a is cached after its eviction');
  const deleted = cache.delete('b');
  await turn();
  await store.waiting[1]?.land();
  await deleted;
  const get = cache.get('a');
  await turn();
  asked(store, ['write a=2', 'read a'], 'calls');
  await store.waiting[1]?.land();
  checkEqual(await get, 1, 'what is read before the write has landed');
  return { flush };
}

const plays: Readonly<Record<string, Play>> = {
  /** What is read while the key is being written is not kept beyond that. */
  async 'read-in-write'(stage) {
    const { cache, store } = stage;
    const { flush } = await readInWrite(stage);
    await land(store, 'write a=2');
    checkEqual(await at(store, cache.get('a')), 2, 'a at the end');
    await at(store, flush);
  },

  /** The same if the write fails, but for what the store was told. */
  async 'read-in-failure'(stage) {
    const { cache, store } = stage;
    const { flush } = await readInWrite(stage);
    store.content.set('a', 2);
    const failed = failureOf(() => flush);
    await store.waiting[0]?.fail(new Error('no answer'));
    await failed;
    checkEqual(await at(store, cache.get('a')), 2, 'a at the end');
  },

  /** A put while the entry is being written. */
  async 'put-in-flush'({ cache, store }) {
    await cache.put('a', 1);
    const flush = cache.flush();
    await turn();
    await cache.put('a', 2);
    await land(store, 'write a=1');
    checkEqual(await flush, 1, 'entries that were flushed');
    checkEqual(cache.isDirty('a'), true, 'a is dirty');
    const again = cache.flush();
    await land(store, 'write a=2');
    checkEqual(await again, 1, 'entries that were flushed again');
    checkEqual(cache.isDirty('a'), false, 'a is dirty at the end');
  },

  /** A put while the entry is being written, which fails. */
  async 'put-in-failure'({ cache, store }) {
    await cache.put('a', 1);
    const flush = failureOf(() => cache.flush());
    await turn();
    await cache.put('a', 2);
    await store.waiting[0]?.fail(new Error('down'));
    await flush;
    checkEqual(cache.isDirty('a'), true, 'a is dirty');
    await at(store, cache.flush());
    checkEqual(store.content.get('a'), 2, 'a in the store');
  },

  /** A put while the key is being read. */
  async 'put-in-read'({ cache, store }) {
    store.content.set('a', 1);
    const get = cache.get('a');
    await turn();
    store.waiting[0]?.look();
    await cache.put('a', 2);
    await land(store, 'read a');
    checkEqual(await get, 2, 'what the get gives');
    checkEqual(cache.peek('a'), 2, 'what is cached');
    checkEqual(cache.isDirty('a'), true, 'a is dirty');
  },

  /** A delete while the key is being read, which ends last. */
  async 'delete-in-read'({ cache, store }) {
    store.content.set('a', 1);
    const get = cache.get('a');
    await turn();
    const [read] = store.waiting;
    read?.look();
    const deleted = cache.delete('a');
    await turn();
    await store.waiting[1]?.land();
    checkEqual(await deleted, false, 'a was cached');
    await read?.land();
    checkEqual(await at(store, get), undefined, 'what the get gives');
    checkEqual(cache.contains('a'), false, 'a is cached');
  },

  /** A read from before a delete that ends while the delete is under way. */
  async 'read-in-delete'({ cache, store }) {
    store.content.set('a', 1);
    const deleted = cache.delete('a');
    await turn();
    const [remove] = store.waiting;
    const get = cache.get('a');
    await turn();
    await store.waiting[1]?.land();
    await get;
    await remove?.land();
    await deleted;
    checkEqual(cache.contains('a'), false, 'a is cached');
    checkEqual(await at(store, cache.get('a')), undefined, 'what the next get gives');
  },

  /** A read from during a delete that ends after it. */
  async 'read-past-delete'({ cache, store }) {
    store.content.set('a', 1);
    const deleted = cache.delete('a');
    await turn();
    const [remove] = store.waiting;
    const get = cache.get('a');
    await turn();
    const read = store.waiting[1];
    read?.look();
    await remove?.land();
    await deleted;
    await read?.land();
    await at(store, get);
    checkEqual(cache.contains('a'), false, 'a is cached');
    checkEqual(await at(store, cache.get('a')), undefined, 'what the next get gives');
  },

  /** Several gets of one key. */
  async 'one-read'({ cache, store }) {
    store.content.set('a', 1);
    const gets = [cache.get('a'), cache.get('a'), cache.get('a')];
    await turn();
    asked(store, ['read a'], 'reads');
    await land(store, 'read a');
    for (const get of gets) checkEqual(await get, 1, 'what a get gives');
    const absent = [cache.get('b'), cache.get('b')];
    await land(store, 'read b');
    for (const get of absent) checkEqual(await get, undefined, 'what a get of nothing gives');
    asked(store, [], 'reads at the end');
  },

  /** A get joins no read from before a put that it must see. */
  async 'late-get'({ cache, store }) {
    store.content.set('a', 1);
    const early = cache.get('a');
    await turn();
    const [read] = store.waiting;
    read?.look();
    const deleted = cache.delete('a');
    await turn();
    await store.waiting[1]?.land();
    await deleted;
    const late = cache.get('a');
    await turn();
    asked(store, ['read a', 'read a'], 'reads');
    await store.waiting[1]?.land();
    checkEqual(await late, undefined, 'what the late get gives');
    await read?.land();
    await at(store, early);
  },

  /** A delete while the entry is being written. */
  async 'delete-in-flush'({ cache, store }) {
    await cache.put('a', 1);
    const flush = cache.flush();
    await turn();
    const deleted = cache.delete('a');
    await turn();
    asked(store, ['write a=1'], 'calls while the entry is being written');
    await land(store, 'write a=1');
    await land(store, 'delete a');
    checkEqual(await deleted, true, 'a was cached');
    checkEqual(await flush, 1, 'entries that were flushed');
    checkEqual(store.content.has('a'), false, 'a is in the store');
    checkEqual(cache.contains('a'), false, 'a is cached');
  },

  /** A put, and a flush, while the key is being deleted. */
  async 'put-in-delete'({ cache, store }) {
    await cache.put('a', 1);
    const deleted = cache.delete('a');
    await turn();
    await cache.put('a', 2);
    const flush = cache.flush();
    await turn();
    asked(store, ['delete a'], 'calls while the key is being deleted');
    await land(store, 'delete a');
    checkEqual(await deleted, true, 'a was cached');
    checkEqual(cache.peek('a'), 2, 'what is cached');
    await land(store, 'write a=2');
    checkEqual(await flush, 1, 'entries that were flushed');
    checkEqual(store.content.get('a'), 2, 'a in the store');
  },

  /** A put after a delete that waits for a write of the same key. */
  async 'put-behind-delete'({ cache, store }) {
    await cache.put('a', 1);
    const flush = cache.flush();
    await turn();
    const deleted = cache.delete('a');
    await cache.put('a', 2);
    await land(store, 'write a=1');
    await land(store, 'delete a');
    checkEqual(await deleted, true, 'a was cached');
    await flush;
    checkEqual(cache.peek('a'), 2, 'what is cached');
    await at(store, cache.flush());
    checkEqual(store.content.get('a'), 2, 'a in the store');
  },

  /** Two flushes at once. */
  async 'two-flushes'({ cache, store }) {
    await cache.put('a', 1);
    await cache.put('b', 2);
    const flushes = [cache.flush(), cache.flush()];
    await turn();
    asked(store, ['write a=1'], 'calls');
    await land(store, 'write a=1');
    await land(store, 'write b=2');
    const [first = 0, second = 0] = await Promise.all(flushes);
    checkEqual(first + second, 2, 'entries that both have flushed');
    checkEqual(store.overlapped, false, 'a key was written twice at a time');
  },

  /** The victim is changed while it is being written (capacity 2). */
  async 'put-in-eviction'({ cache, store }) {
    await cache.put('a', 1);
    await cache.put('b', 2);
    const put = cache.put('c', 3);
    await turn();
    checkEqual(cache.contains('c'), false, 'c is cached before there is room');
    await cache.put('a', 5);
    await land(store, 'write a=1');
    await land(store, 'write a=5');
    await put;
    checkEqual(cache.contains('a'), false, 'a is cached');
    checkEqual(store.content.get('a'), 5, 'a in the store');
    checkEqual(cache.size, 2, 'entries');
  },

  /** The second put of a key overtakes the first, which waits for room (capacity 2). */
  async 'puts-in-order'({ cache, store }) {
    await cache.put('a', 1);
    await cache.put('b', 2);
    const first = cache.put('c', 3);
    await turn();
    const deleted = cache.delete('b');
    await turn();
    await store.waiting[1]?.land();
    await deleted;
    const second = cache.put('c', 4);
    await at(store, Promise.all([first, second]));
    checkEqual(cache.peek('c'), 4, 'c at the end');
  },

  /** A delete of a key whose put waits for room (capacity 2). */
  async 'delete-behind-put'({ cache, store }) {
    await cache.put('a', 1);
    await cache.put('b', 2);
    const put = cache.put('c', 3);
    const deleted = cache.delete('c');
    await at(store, Promise.all([put, deleted]));
    checkEqual(cache.contains('c'), false, 'c is cached');
    checkEqual(await deleted, true, 'c was cached');
  },

  /** A put behind a delete that queues for its turn behind an earlier put of the key (capacity 2). */
  async 'put-behind-queued-delete'({ cache, store }) {
    await cache.put('x', 0);
    await cache.put('y', 0);
    const first = cache.put('k', 1);
    const other = cache.put('j', 1);
    const deleted = cache.delete('k');
    await turn();
    await land(store, 'write x=0');
    checkEqual(cache.peek('k'), 1, 'k once there is room for it');
    const last = cache.put('k', 2);
    await at(store, Promise.all([first, other, deleted, last]));
    checkEqual(await deleted, true, 'k was cached');
    checkEqual(await at(store, cache.get('k')), 2, 'k at the end');
  },

  /** Closing waits for what is under way. */
  async 'close-in-calls'({ cache, store }) {
    store.content.set('r', 1);
    await cache.put('a', 1);
    await cache.put('b', 2);
    const get = cache.get('r');
    const put = cache.put('c', 3);
    await turn();
    const closed = cache.close();
    await at(store, closed);
    checkEqual(await get, 1, 'what the get gives');
    await put;
    checkEqual(store.content.get('c'), 3, 'c in the store');
    asked(store, [], 'calls after the close');
  },
};

const [mode, name = ''] = process.argv.slice(2);
const play = plays[name];
check(play !== undefined, `there is no play ${name}`);
const store = new StagedStore();
const log = { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 2 ** 20 };
if (mode === 'memory') {
  await play({ cache: WriteBehind.memory(store, { capacity: 2 }), store });
} else {
  const fileSystem = new SimFileSystem(DIRECTORY);
  const options = { blobBytes: 4096, frames: 64, threads: 'inline', log, fileSystem } as const;
  const db = await Weirpool.open(DIRECTORY, options);
  const cache = await WriteBehind.open<string, number>(db, store, { capacity: 2 });
  await play({ cache, store });
  await cache.close({ flush: false });
  await db.close();
}
