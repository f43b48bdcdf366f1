/**
 * Races between users of a caching store and its asynchronous inner store, staged call by call, and
 * for each the naive ways to write the store that get it wrong.
 */
import { expect } from 'vitest';
import {
  errorOf,
  flushedTexts,
  now,
  type Patch,
  pairs,
  StagedStore,
  type StreamsModule,
  settle,
  text,
} from './support.ts';

export interface Race {
  readonly name: string;
  readonly run: (streams: StreamsModule) => Promise<void>;
  /** By what is naive about it. */
  readonly naive: Readonly<Record<string, Patch>>;
}

const WRITER = 'src/streams/writer.ts';
const STORE = 'src/streams/caching-store.ts';
const CACHE = 'src/streams/named-cache.ts';

const LAND_ANY: Patch = {
  file: CACHE,
  find: 'if (node.version !== version) return;\n',
  replace: '',
};
/** As Kafka does it, where writing does not wait. */
const CLEAN_WHEN_TAKEN: Patch = {
  file: WRITER,
  find: 'yield* this.#begin(turn, ids, this.#running(ids));',
  replace:
    'for (const entry of taken) this.#cache.land(entry); yield* this.#begin(turn, ids, this.#running(ids));',
};
export const NO_TURNS: Patch = {
  file: WRITER,
  find: 'if (before !== undefined) yield before;\n    return turn;',
  replace: 'return turn;',
};
const KEEP_STALE: Patch = {
  file: STORE,
  find: 'const isFresh = !mark.isStale && ',
  replace: 'const isFresh = ',
};
const DECIDE_STALE: Patch = {
  file: STORE,
  find: 'if (!mark.isStale && !this.#writer.isChanging(id)) return decide(value);',
  replace: 'return decide(value);',
};
const PAST_AT_ONCE: Patch = {
  file: WRITER,
  find: 'if (isBusy) yield busy.ended;',
  replace: '',
};
const FLUSH_AT_ONCE: Patch = {
  file: WRITER,
  find: 'if (earlier.length > 0) yield Promise.all(earlier);',
  replace: '',
};
const READ_AT_ONCE: Patch = {
  file: STORE,
  find: 'return this.run(this.#currentBelow(key, node?.value, doom));',
  replace: 'return this.#inner.get(key) as Answer<S, Uint8Array | undefined>;',
};
const ROOM_LATER: Patch = {
  file: STORE,
  find: 'this.#isMakingRoom = false;\n    }',
  replace: 'void Promise.resolve().then(() => { this.#isMakingRoom = false; });\n    }',
};
const FORGET_LANDED: Patch = {
  file: WRITER,
  find: 'if (landed.length > 0) this.#onLanded(landed);',
  replace: 'if (failures.length === 0) this.#onLanded(landed);',
};
const VICTIM_ANYWAY: Patch = {
  file: WRITER,
  find: 'if (victim?.isDirty === false) return landed;',
  replace: '',
};

export const RACES: readonly Race[] = [
  {
    name: 'a change that arrives while its key is being flushed stays dirty and is flushed by the next one',
    naive: { 'landing whatever was put meanwhile': LAND_ANY },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.put('k', 'old');
      const first = store.flush();
      await settle();
      await store.put('k', 'new');
      await inner.at('put k=old').land();
      expect(flushedTexts(await first)).toEqual(['k=old']);
      expect(store.stats().dirty).toBe(1);
      expect(text(await store.get('k'))).toBe('new');
      const second = store.flush();
      await inner.landAll();
      expect(flushedTexts(await second)).toEqual(['k=new']);
      expect(inner.content()).toEqual(['k=new']);
    },
  },
  {
    name: 'a key that is deleted while it is being flushed is not there afterwards',
    naive: { 'landing whatever was put meanwhile': LAND_ANY },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.put('k', 'v');
      const flushing = store.flush();
      await settle();
      await now(store.delete('k'));
      await inner.landAll();
      await flushing;
      expect(await now(store.get('k'))).toBeUndefined();
      const again = store.flush();
      await inner.landAll();
      expect(flushedTexts(await again)).toEqual(['k-']);
      expect(inner.content()).toEqual([]);
    },
  },
  {
    name: 'two flushes at once write each entry once, and the second has what came meanwhile',
    naive: { 'flushing at once': NO_TURNS },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.putAll([
        ['a', '1'],
        ['b', '1'],
      ]);
      const first = store.flush();
      const second = store.flush();
      await settle();
      await store.put('c', '2');
      await inner.landAll();
      expect(flushedTexts(await first)).toEqual(['a=1', 'b=1']);
      expect(flushedTexts(await second)).toEqual(['c=2']);
      expect(inner.calls).toEqual(['put a=1', 'put b=1', 'put c=2']);
    },
  },
  {
    name: 'an entry that is being flushed is neither evicted nor hidden before its write has landed',
    naive: { 'clean as soon as it is taken': CLEAN_WHEN_TAKEN },
    async run({ KeyValueStore, ENTRY_OVERHEAD_BYTES }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner, cacheBytes: 2 * (ENTRY_OVERHEAD_BYTES + 2) });
      await store.put('a', '1');
      const flushing = store.flush();
      await settle();
      // Three more than there is room for: only what is not on its way may go.
      const puts = ['b', 'c', 'd'].map((key) => store.put(key, '1'));
      const hit = store.get('a');
      expect(await inner.pending()).toEqual(['put a=1']);
      expect(text(await now(hit))).toBe('1');
      expect(store.stats().dirty).toBe(4);
      await inner.at('put a=1').land();
      await inner.landAll();
      await Promise.all([flushing, ...puts]);
      expect(inner.content()).toEqual(['a=1', 'b=1', 'c=1', 'd=1']);
      expect(store.stats().entries).toBe(2);
    },
  },
  {
    name: 'a tombstone that is being flushed hides the inner value until it is gone',
    naive: { 'clean as soon as it is taken': CLEAN_WHEN_TAKEN },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      inner.inner.put(Buffer.from('k'), Buffer.from('v'));
      const store = new KeyValueStore({ inner });
      await store.put('k', undefined);
      const flushing = store.flush();
      await settle();
      const range = store.range().toArray();
      expect(await inner.pending()).toEqual(['delete k', 'range']);
      expect(await now(store.get('k'))).toBeUndefined();
      await inner.at('range').land();
      expect(pairs(await range)).toEqual([]);
      await inner.landAll();
      await flushing;
      expect(store.stats().entries).toBe(0);
      expect(inner.content()).toEqual([]);
    },
  },
  {
    name: 'a failure leaves what failed and the rest dirty, and what is clean is not written again',
    naive: {
      'clean as soon as it is taken': CLEAN_WHEN_TAKEN,
      'telling nobody what landed before': FORGET_LANDED,
    },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      const told: string[][] = [];
      store.setFlushListener((flushed) => told.push(flushedTexts(flushed)));
      for (const key of ['a', 'b', 'c']) await store.put(key, '1');
      const flushing = store.flush();
      const failed = errorOf(flushing);
      await settle();
      await inner.at('put a=1').land();
      await inner.at('put b=1').fail();
      expect(await failed).toMatchObject({
        code: 'FLUSH_FAILED',
        details: { flushed: 1, dirty: 2 },
        cause: { message: 'no put b=1' },
      });
      expect(told).toEqual([['a=1']]);
      expect(text(await store.get('b'))).toBe('1');
      const again = store.flush();
      await inner.landAll();
      expect(flushedTexts(await again)).toEqual(['b=1', 'c=1']);
      expect(inner.calls).toEqual(['put a=1', 'put b=1', 'put b=1', 'put c=1']);
    },
  },
  {
    name: 'a batch that fails leaves all of it dirty',
    naive: { 'clean as soon as it is taken': CLEAN_WHEN_TAKEN },
    async run({ KeyValueStore }) {
      const inner = new StagedStore({ withBatch: true });
      const store = new KeyValueStore({ inner });
      for (const key of ['b', 'a']) await store.put(key, '1');
      const failed = errorOf(store.flush());
      await settle();
      await inner.at('batch b=1 a=1').fail();
      expect(await failed).toMatchObject({ code: 'FLUSH_FAILED' });
      expect(store.stats().dirty).toBe(2);
      const again = store.flush();
      await inner.landAll();
      expect(flushedTexts(await again)).toEqual(['b=1', 'a=1']);
    },
  },
  {
    name: 'an old value that was read is not kept over a change that was flushed and evicted meanwhile',
    naive: { 'keeping what was read': KEEP_STALE },
    async run({ KeyValueStore, ENTRY_OVERHEAD_BYTES }) {
      const inner = new StagedStore();
      inner.inner.put(Buffer.from('k'), Buffer.from('old'));
      const store = new KeyValueStore({ inner, cacheBytes: ENTRY_OVERHEAD_BYTES + 4 });
      const read = store.get('k');
      await settle();
      inner.at('get k').act();
      const put = store.put('k', 'new');
      const other = store.put('other-key', 'x'); // No room for both: everything goes.
      await settle();
      for (const what of ['put k=new', 'put other-key=x']) await inner.at(what).land();
      await Promise.all([put, other]);
      await inner.at('get k').land();
      await read;
      const again = store.get('k');
      await inner.landAll();
      expect(text(await again)).toBe('new');
    },
  },
  {
    name: 'of two that put if absent one wins, and the other is told',
    naive: { 'deciding on what was read': DECIDE_STALE },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      const first = store.putIfAbsent('k', '1');
      const second = store.putIfAbsent('k', '2');
      await inner.landAll();
      expect([text(await first), text(await second)]).toEqual([undefined, '1']);
      expect(text(await store.get('k'))).toBe('1');
    },
  },
  {
    name: 'a write past the cache waits for the flush that is writing its key, and for no other',
    naive: { 'writing at once': PAST_AT_ONCE },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.put('k', 'cached');
      const flushing = store.flush();
      await settle();
      const same = store.putInner('k', 'restored');
      const other = store.deleteInner('other');
      expect(await inner.pending()).toEqual(['put k=cached', 'delete other']);
      await inner.landAll();
      await Promise.all([flushing, same, other]);
      expect(inner.content()).toEqual(['k=restored']);
    },
  },
  {
    name: 'a flush waits for writes past the cache of its keys, and comes last',
    naive: { 'flushing at once': FLUSH_AT_ONCE },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner });
      await store.put('k', 'cached');
      const restoring = [store.putInner('k', 'one'), store.putInner('k', 'two')];
      const flushing = store.flush();
      expect(await inner.pending()).toEqual(['put k=one']);
      await inner.landAll();
      await Promise.all([...restoring, flushing]);
      expect(inner.calls).toEqual(['put k=one', 'put k=two', 'put k=cached']);
      expect(inner.content()).toEqual(['k=cached']);
    },
  },
  {
    name: 'a delete gives the value of its moment, and its tombstone comes after that look',
    naive: { 'looking without a turn': READ_AT_ONCE },
    async run({ KeyValueStore }) {
      const inner = new StagedStore();
      inner.inner.put(Buffer.from('k'), Buffer.from('v'));
      const store = new KeyValueStore({ inner });
      const deleting = store.delete('k');
      const flushing = store.flush();
      await settle();
      // The store below may answer in any order.
      for (const staged of [...inner.waiting].reverse()) await staged.land();
      await inner.landAll();
      expect(text(await deleting)).toBe('v');
      await flushing;
      expect(inner.content()).toEqual([]);
    },
  },
  {
    name: 'a put in the very moment in which room has been made makes room for itself',
    naive: { 'noticing the end later': ROOM_LATER },
    async run({ KeyValueStore, ENTRY_OVERHEAD_BYTES }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner, cacheBytes: ENTRY_OVERHEAD_BYTES });
      let late: Promise<void> | undefined;
      // Called as the last thing of the flush for the only entry, just before the end of making room.
      store.setFlushListener(() => {
        late ??= Promise.resolve().then(() => store.put('late', 'x'));
      });
      const put = store.put('a', '1');
      await inner.landAll();
      await put;
      await inner.landAll();
      await late;
      expect(store.stats().bytes).toBeLessThanOrEqual(ENTRY_OVERHEAD_BYTES);
      expect(inner.content()).toEqual(['a=1', 'late=x']);
    },
  },
  {
    name: 'an eviction that waited for a flush does not flush what is clean since',
    naive: { 'flushing anyway': VICTIM_ANYWAY },
    async run({ KeyValueStore, ENTRY_OVERHEAD_BYTES }) {
      const inner = new StagedStore();
      const store = new KeyValueStore({ inner, cacheBytes: 2 * ENTRY_OVERHEAD_BYTES + 4 });
      await store.put('a', '1');
      await store.put('b', '1');
      const flushing = store.flush();
      await settle();
      const put = store.put('c', '1');
      await inner.landAll();
      await Promise.all([flushing, put]);
      expect(inner.calls).toEqual(['put a=1', 'put b=1']);
      expect(store.stats()).toMatchObject({ entries: 2, dirty: 1, evictions: 1 });
    },
  },
];
