/**
 * Races with `clear` of a caching store over an asynchronous inner store, staged call by call, and for
 * each the naive ways to write the store that get it wrong.
 */
import { expect } from 'vitest';
import { NO_TURNS, type Race } from './races.ts';
import {
  errorOf,
  flushedTexts,
  now,
  type Patch,
  pairs,
  StagedStore,
  settle,
  text,
} from './support.ts';

const WRITER = 'src/streams/writer.ts';
const STORE = 'src/streams/caching-store.ts';
const CACHE = 'src/streams/named-cache.ts';

const KEEP_CHANGING: Patch = {
  file: STORE,
  find: '!mark.isStale && !this.#writer.isChanging(id) && !this.#isClosed',
  replace: '!mark.isStale && !this.#isClosed',
};
const CLEAR_ALL: Patch = {
  file: WRITER,
  find: 'this.#cache.clear(version);',
  replace: 'this.#cache.clear();',
};
/** What `clear` drops, with puts that came after it and without. */
const DIRTY_WHEN_REMOVED: Patch = {
  file: CACHE,
  find: 'node.isDirty = false;\n    this.#unlink(node);',
  replace: 'this.#unlink(node);',
};
const DIRTY_WHEN_EMPTIED: Patch = {
  file: CACHE,
  find: 'for (const node of this.#dirty) node.isDirty = false;',
  replace: '',
};
const TAKE_ALL: Patch = {
  file: WRITER,
  find: 'takeDirty(victim, this.#clears[0]?.version)',
  replace: 'takeDirty(victim)',
};
const ROOM_ONCE: Patch = {
  file: STORE,
  find: 'if (length === 0 && victim.isDirty && !this.#isAsync) return;',
  replace: 'if (length === 0 && victim.isDirty) return;',
};
const CLEAR_FROM_ITS_TURN: Patch = {
  file: WRITER,
  find: 'this.#clears.push(clear);\n    const turn = yield* this.#turn();',
  replace: 'const turn = yield* this.#turn();\n    this.#clears.push(clear);',
};
const AHEAD_OF_CLEAR: Patch = {
  file: WRITER,
  find: 'if (behind !== undefined) yield behind.ended;',
  replace: '',
};
const CLEAR_WAITS_FOR_ALL: Patch = {
  file: WRITER,
  find: 'yield* this.#begin(turn, undefined, earlier);',
  replace:
    'yield* this.#begin(turn, undefined, Array.from(this.#direct.values(), (one) => one.ended));',
};
const FLUSH_WAITS_FOR_ALL: Patch = {
  file: WRITER,
  find: 'this.#clears.includes(direct.behind)',
  replace: 'direct.behind === null',
};
const SKIPS_BEHIND_CLEAR: Patch = {
  file: WRITER,
  find: 'direct = direct.before;',
  replace: 'direct = undefined;',
};
const LOOKS_BELOW: Patch = {
  file: STORE,
  find: 'return doom?.hasFailed === true ? cached : value;',
  replace: 'return doom === undefined && cached !== undefined ? cached : value;',
};
const DECIDE_DOOMED: Patch = {
  file: WRITER,
  find: 'version <= clear.version ? clear : undefined;',
  replace: 'version < 0 ? clear : undefined;',
};

export const CLEARING_RACES: readonly Race[] = [
  {
    name: 'clearing waits for the flush that is under way, and keeps what is put after it was called',
    naive: { 'clearing at once': NO_TURNS, 'dropping everything': CLEAR_ALL },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.put('before', '1');
      const flushing = store.flush();
      await settle();
      const clearing = store.clear();
      await store.put('after', '2');
      expect(await inner.pending()).toEqual(['put before=1']);
      await inner.landAll();
      await Promise.all([flushing, clearing]);
      expect(inner.content()).toEqual([]);
      const range = store.scanAll().toArray();
      await inner.landAll();
      expect(pairs(await range)).toEqual(['after=2']);
    },
  },
  {
    name: 'what is read while the inner store is being cleared is not kept',
    naive: { 'keeping what is changing': KEEP_CHANGING },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      inner.inner.put(Buffer.from('k'), Buffer.from('v'));
      const store = new KeyValueStore({ inner });
      const clearing = store.clear();
      const read = store.get('k');
      await settle();
      await inner.at('get k').land();
      await now(read);
      await inner.landAll();
      await clearing;
      const again = store.get('k');
      await inner.landAll();
      expect(await again).toBeUndefined();
    },
  },
  {
    name: 'an eviction that waited for clearing does not bring back its victim',
    naive: { 'a victim that is dirty for ever': DIRTY_WHEN_REMOVED },
    async run({ KeyValueStore, ENTRY_OVERHEAD_BYTES }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner, cacheBytes: ENTRY_OVERHEAD_BYTES + 2 });
      await store.put('a', '1');
      const clearing = store.clear();
      const put = store.put('b', '2');
      expect(await inner.pending()).toEqual(['clear']);
      await inner.landAll();
      await Promise.all([clearing, put]);
      expect(inner.calls).toEqual(['clear']);
      expect(inner.content()).toEqual([]);
      expect(store.stats()).toMatchObject({ entries: 1, dirty: 1 });
    },
  },
  {
    name: 'an eviction that waited for a clear that dropped everything does not bring back its victim',
    naive: { 'a victim that is dirty for ever': DIRTY_WHEN_EMPTIED },
    async run({ KeyValueStore, ENTRY_OVERHEAD_BYTES }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner, cacheBytes: ENTRY_OVERHEAD_BYTES - 1 });
      const puts = [store.put('a', '1')];
      await settle();
      puts.push(store.put('b', '2')); // Next to be evicted, once a has been written.
      const clearing = store.clear();
      await inner.landAll();
      await Promise.all([...puts, clearing]);
      expect(inner.calls).toEqual(['put a=1', 'clear']);
      expect(inner.content()).toEqual([]);
      expect(store.stats()).toMatchObject({ entries: 0, dirty: 0 });
    },
  },
  {
    name: 'a flush that was called before clearing does not take what was put after it',
    naive: { 'taking whatever is dirty': TAKE_ALL },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.put('a', '1');
      const flushes = [store.flush()];
      await settle();
      flushes.push(store.flush());
      await store.put('b', '1');
      const clearing = store.clear();
      await store.put('k', 'new');
      await inner.landAll();
      expect((await Promise.all(flushes)).map(flushedTexts)).toEqual([['a=1'], ['b=1']]);
      await clearing;
      expect(store.stats()).toMatchObject({ entries: 1, dirty: 1 });
      const closing = store.close();
      await inner.landAll();
      await closing;
      expect(inner.content()).toEqual(['k=new']);
    },
  },
  {
    name: 'an eviction whose victim was put again after clearing makes room behind it',
    naive: { 'giving up': ROOM_ONCE, 'taking whatever is dirty': TAKE_ALL },
    async run({ KeyValueStore, ENTRY_OVERHEAD_BYTES }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner, cacheBytes: ENTRY_OVERHEAD_BYTES + 2 });
      await store.put('a', '1');
      const flushing = store.flush();
      await settle();
      const puts = [store.put('b', '1')]; // Queues an eviction of a.
      const clearing = store.clear();
      puts.push(store.put('a', '2'), store.put('b', '2'));
      await inner.landAll();
      await Promise.all([flushing, ...puts, clearing]);
      expect(inner.calls).toEqual(['put a=1', 'clear', 'put a=2', 'put b=2']);
      expect(inner.content()).toEqual(['a=2', 'b=2']);
      expect(store.stats()).toMatchObject({ entries: 1, dirty: 0 });
    },
  },
  {
    name: 'what is read while clearing waits for its turn is not kept',
    naive: { 'clearing that begins with its turn': CLEAR_FROM_ITS_TURN },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      inner.inner.put(Buffer.from('k'), Buffer.from('v'));
      const store = new KeyValueStore({ inner });
      await store.put('x', '1');
      const flushing = store.flush();
      await settle();
      const clearing = store.clear();
      const read = store.get('k');
      await inner.at('get k').land();
      await now(read);
      await inner.landAll();
      await Promise.all([flushing, clearing]);
      const again = store.get('k');
      await inner.landAll();
      expect(await again).toBeUndefined();
    },
  },
  {
    name: 'what is written past the cache after clearing was called stays, whatever clearing waits for',
    naive: {
      'looking at the running flush alone': AHEAD_OF_CLEAR,
      'a clear that waits for what comes behind it': CLEAR_WAITS_FOR_ALL,
      'a flush that waits for what comes behind a clear': FLUSH_WAITS_FOR_ALL,
    },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.put('k', '1');
      const flushes = [store.flush()];
      await settle();
      const early = store.putInner('l', '0');
      await store.put('k', '2');
      flushes.push(store.flush());
      const clearing = store.clear();
      const late = [store.putInner('k', '3'), store.putInner('l', '1')];
      await settle();
      expect(await inner.pending()).toEqual(['put k=1', 'put l=0']);
      await inner.landAll();
      await Promise.all([...flushes, early, clearing, ...late]);
      expect(inner.calls.slice(0, 4)).toEqual(['put k=1', 'put l=0', 'put k=2', 'clear']);
      expect(inner.content()).toEqual(['k=3', 'l=1']);
    },
  },
  {
    name: 'a flush waits for what was written past the cache before a clear, not for what came after it',
    naive: {
      'a flush that waits for nothing of the key': SKIPS_BEHIND_CLEAR,
      'a flush that waits for what comes behind a clear': FLUSH_WAITS_FOR_ALL,
    },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.put('a', '1');
      const flushes = [store.flush()];
      await settle();
      await store.put('k', '2');
      flushes.push(store.flush());
      const early = store.putInner('k', '0');
      const clearing = store.clear();
      const late = store.putInner('k', '3');
      await settle();
      await inner.at('put a=1').land();
      expect(await inner.pending()).toEqual(['put k=0']);
      await inner.landAll();
      await Promise.all([...flushes, early, clearing, late]);
      expect(inner.calls).toEqual(['put a=1', 'put k=0', 'put k=2', 'clear', 'put k=3']);
    },
  },
  {
    name: 'after clearing was called nothing that it drops is there for deleting or putting if absent',
    naive: { 'deciding on what the cache still has': DECIDE_DOOMED },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      for (const key of ['k', 'l', 'm']) await store.put(key, '1');
      const clearing = store.clear();
      await store.put('m', '2');
      const absent = store.putIfAbsent('k', '2');
      const deleted = store.delete('l');
      const kept = store.delete('m');
      await inner.landAll();
      expect([await absent, await deleted, text(await kept)]).toEqual([undefined, undefined, '2']);
      await clearing;
      expect(text(await store.get('k'))).toBe('2');
    },
  },
  {
    name: 'putting if absent after clearing was called decides on what clearing leaves',
    naive: { 'clearing that begins with its turn': CLEAR_FROM_ITS_TURN },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      inner.inner.put(Buffer.from('k'), Buffer.from('v'));
      const store = new KeyValueStore({ inner });
      await store.put('x', '1');
      const flushing = store.flush();
      await settle();
      const clearing = store.clear();
      const putting = store.putIfAbsent('k', 'new');
      await inner.at('get k').land();
      await inner.landAll();
      await Promise.all([flushing, clearing]);
      await inner.landAll();
      expect(await putting).toBeUndefined();
      expect(text(await store.get('k'))).toBe('new');
      expect(inner.content()).toEqual([]);
    },
  },
  {
    name: 'deleting behind a clear that fails gives what the cache goes on having',
    naive: { 'looking below alone': LOOKS_BELOW },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      inner.inner.put(Buffer.from('k'), Buffer.from('inner'));
      await store.put('k', 'cached');
      const clearing = errorOf(store.clear());
      const deleted = store.delete('k');
      await settle();
      await inner.at('clear').fail();
      await inner.landAll();
      expect(text(await deleted)).toBe('cached');
      expect(await clearing).toBeInstanceOf(Error);
    },
  },
];
