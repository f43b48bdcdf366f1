/** What a level database does beyond abstract-level's own suite; stores on a disk in memory. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { WeirpoolError } from '../../../src/errors.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { Database, historyName } from '../../../src/level/database.ts';
import { WeirLevel, type WeirLevelOptions } from '../../../src/level/index.ts';
import { Versions } from '../../../src/level/versions.ts';
import type { LogStats } from '../../../src/pool/log-stats.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';

const DIRECTORY = '/sim';
const LOG = { ringBytes: 65_536, segmentBytes: 65_536, bytesMax: 2 ** 20, intervalMs: 0 };
const STORE = { blobBytes: 4096, frames: 128, threads: 'inline', log: LOG } as const;

type Options = WeirLevelOptions<string, string>;

function make(disk = new SimFileSystem(DIRECTORY), options: Options = {}): WeirLevel {
  const { store, ...others } = options;
  const db: WeirLevel = new WeirLevel(DIRECTORY, {
    store: { ...STORE, fileSystem: disk, ...store },
    ...others,
  });
  onTestFinished(() => db.close());
  return db;
}

async function open(disk?: SimFileSystem, options?: Options): Promise<WeirLevel> {
  const db = make(disk, options);
  await db.open();
  return db;
}

async function openStore(disk: SimFileSystem, options = {}): Promise<Weirpool> {
  const store = await Weirpool.open(DIRECTORY, { ...STORE, fileSystem: disk, ...options });
  onTestFinished(() => store.close());
  return store;
}

function historyOf(db: WeirLevel, tree = 'level') {
  return db.store.tree(historyName(tree));
}

/** Code of the error, and of what caused it. */
async function codesOf(promise: Promise<unknown>): Promise<unknown[]> {
  const error = await promise.then(
    () => undefined,
    (reason: Error) => reason as Error & { code?: string; cause?: { code?: string } },
  );
  return [error?.code, error?.cause?.code];
}

describe('opening', () => {
  it('says that everything is supported', () => {
    const { supports } = make();
    expect(supports).toMatchObject({
      implicitSnapshots: true,
      explicitSnapshots: true,
      seek: true,
      getSync: true,
      has: true,
      permanence: true,
      createIfMissing: true,
      errorIfExists: true,
      deferredOpen: true,
      signals: { iterators: true },
      encodings: { utf8: true, buffer: true, view: true },
    });
  });

  it('says by a code what is there, and what is not', async () => {
    const disk = new SimFileSystem(DIRECTORY);
    const missing = ['LEVEL_DATABASE_NOT_OPEN', 'LEVEL_DATABASE_MISSING'];
    const closed = make(disk, { createIfMissing: false });
    expect(await codesOf(closed.open())).toEqual(missing);
    expect(disk.list(DIRECTORY)).toEqual([]);
    await (await open(disk)).close();
    const exists = ['LEVEL_DATABASE_NOT_OPEN', 'LEVEL_DATABASE_EXISTS'];
    expect(await codesOf(make(disk, { errorIfExists: true }).open())).toEqual(exists);
    // The store is there, but not that database; and it is not made.
    const other = make(disk, { createIfMissing: false, tree: 'other' });
    expect(await codesOf(other.open())).toEqual(missing);
    const db = await open(disk, { errorIfExists: true, tree: 'other' });
    expect(db.status).toBe('open');
  });

  it('leaves a store that it was given open, with a database in each of two trees', async () => {
    const store = await openStore(new SimFileSystem(DIRECTORY));
    const [a, b] = ['a', 'b'].map((tree) => new WeirLevel<string, string>(store, { tree }));
    await a?.put('key', 'of a');
    const snapshot = a?.snapshot();
    await b?.put('key', 'of b');
    expect(await a?.get('key')).toBe('of a');
    expect(await codesOf(b?.get('key', { snapshot }) as Promise<unknown>)).toEqual([
      undefined,
      undefined,
    ]);
    await expect(b?.get('key', { snapshot })).rejects.toThrow(TypeError);
    await a?.close();
    expect(await b?.get('key')).toBe('of b');
    await b?.close();
    expect(store.tree('a').count()).toBe(1);
  });

  it('shares snapshots between two databases of one tree in one thread', async () => {
    const store = await openStore(new SimFileSystem(DIRECTORY));
    const a = new WeirLevel<string, string>(store);
    const b = new WeirLevel<string, string>(store);
    await a.put('key', 'before');
    const snapshot = a.snapshot();
    await b.put('key', 'after');
    expect(await b.get('key', { snapshot })).toBe('before');
    await b.close();
    expect(await a.get('key', { snapshot })).toBe('before');
    await a.close();
    // The next one begins with an empty history, and goes on with the same words.
    const c = new WeirLevel<string, string>(store);
    await c.open();
    expect(historyOf(c).count()).toBe(0);
    await c.close();
  });

  it.each([
    ['no source', undefined],
    ['an object that is no handle', { store: {} }],
    ['a number', 7],
  ])('refuses %s', (_, source) => {
    expect(() => new WeirLevel(source as never)).toThrow(TypeError);
  });

  it('refuses options of the wrong kind', async () => {
    expect(() => new WeirLevel('x', { durability: 'often' as never })).toThrow(TypeError);
    const store = await openStore(new SimFileSystem(DIRECTORY));
    expect(() => new WeirLevel('x', { attached: store })).toThrow(TypeError);
  });

  it('refuses a handle for another tree, or for a store that is not its', async () => {
    const db = await open();
    const { handle, store } = db;
    expect(() => new WeirLevel(handle, { tree: 'other' })).toThrow(TypeError);
    // As a message brings it: the same memory, another object.
    const sent = { ...handle, words: structuredClone(handle.words) };
    const again = new WeirLevel(sent, { tree: 'level', attached: store });
    await again.open();
    await again.close();
    for (const tree of ['level', 'other']) {
      const elsewhere = await open(new SimFileSystem(DIRECTORY), { tree });
      const mixed = new WeirLevel(handle, { attached: elsewhere.store });
      const error = await mixed.open().catch((reason: Error) => reason);
      expect((error as Error).cause).toBeInstanceOf(TypeError);
    }
  });

  it('has a handle and a store only while it is open', async () => {
    const db = await open();
    expect(db.handle).toMatchObject({ tree: 'level', durability: 'written' });
    await db.close();
    const closed = expect.objectContaining({ code: 'LEVEL_DATABASE_NOT_OPEN' });
    expect(() => db.handle).toThrow(closed);
    expect(() => db.store).toThrow(closed);
  });

  it('opens a store for reading only, with snapshots and iterators, and refuses writes', async () => {
    const disk = new SimFileSystem(DIRECTORY);
    const db = await open(disk);
    await db.put('key', 'value');
    await db.close();
    const reader = await open(disk, { store: { readOnly: true } });
    const snapshot = reader.snapshot();
    expect(await reader.get('key', { snapshot })).toBe('value');
    expect(await reader.iterator({ snapshot }).all()).toEqual([['key', 'value']]);
    expect(await reader.keys().all()).toEqual(['key']);
    expect(await codesOf(reader.put('key', 'other'))).toEqual(['READ_ONLY', undefined]);
    expect(await codesOf(reader.clear())).toEqual(['READ_ONLY', undefined]);
  });
});

describe('limits', () => {
  it('are the same whether a snapshot is open or not', async () => {
    const db = await open();
    const { keyBytesMax, valueBytesMax } = db.store.tree('level').limits;
    const key = 'k'.repeat(keyBytesMax - 10);
    const zeros = '\0'.repeat((keyBytesMax - 10) / 2);
    const value = Buffer.alloc(valueBytesMax - 1, 1).toString('latin1');
    for (const snapshot of [undefined, db.snapshot()]) {
      for (const longest of [key, zeros]) {
        await db.put(longest, value);
        await db.put(longest, 'short');
        await expect(db.put(`${longest}.`, 'x')).rejects.toThrow(RangeError);
      }
      await expect(db.put('key', `${value}.`)).rejects.toThrow(RangeError);
      await expect(db.batch([{ type: 'put', key: `${key}.`, value: 'x' }])).rejects.toThrow(
        RangeError,
      );
      await snapshot?.close();
    }
  });

  it('let keys that nobody could put be asked for and deleted, with a snapshot open', async () => {
    const db = await open();
    const { keyBytesMax } = db.store.tree('level').limits;
    const longest = 'k'.repeat(keyBytesMax - 10);
    const most = 'z'.repeat(keyBytesMax - 12);
    for (const key of [longest, 'm', most]) await db.put(key, 'a');
    const snapshot = db.snapshot();
    const operations = [longest, 'm', most].map(
      (key) => ({ type: 'put', key, value: 'b' }) as const,
    );
    await db.batch(operations);
    // Beyond the longest by one byte, by all of what is added to it, and by what zero bytes count.
    const keys = ['.', '\0', '..........'].map((more) => longest + more);
    keys.push('\0'.repeat(keyBytesMax - 1), `${most}${'\0'.repeat(11)}`);
    for (const key of keys) {
      await db.del(key);
      await db.batch([
        { type: 'put', key: 'n', value: 'b' },
        { type: 'del', key },
      ]);
      expect(await db.get(key, { snapshot })).toBe(undefined);
      expect(await db.has(key, { snapshot })).toBe(false);
      const all = [longest, 'm', most];
      expect(await db.keys({ gte: key, snapshot }).all()).toEqual(all.filter((a) => a > key));
      expect(await db.keys({ gt: key, snapshot }).all()).toEqual(all.filter((a) => a > key));
      expect(await db.keys({ lt: key, snapshot }).all()).toEqual(all.filter((a) => a < key));
      expect(await db.values({ lte: key, reverse: true, snapshot }).all()).toEqual(
        all.filter((a) => a < key).map(() => 'a'),
      );
    }
  });

  it('let a batch replace as much as it may write, with a snapshot open', async () => {
    const db = await open();
    const value = 'v'.repeat(900);
    const operations = Array.from(
      { length: 20 },
      (_, n) => ({ type: 'put', key: `${n}`, value }) as const,
    );
    await db.batch(operations);
    const before = await db.iterator().all();
    const snapshot = db.snapshot();
    await db.batch(operations.map(({ key }) => ({ type: 'put', key, value: 'w'.repeat(900) })));
    await db.clear();
    expect(await db.iterator({ snapshot }).all()).toEqual(before);
  });
});

describe('acknowledging', () => {
  it('gives a write to the operating system by default, syncs it when told, or does neither', async () => {
    const db = await open();
    const log = () => db.store.stats().log as LogStats;
    await db.put('key', 'a');
    expect(log().writtenSeq).toBe(log().appendedSeq);
    expect(log().durableSeq).toBeLessThan(log().appendedSeq);
    const options = { sync: true };
    await db.put('key', 'b', options);
    expect(log().durableSeq).toBe(log().appendedSeq);
    await db.del('key', options);
    expect(log().durableSeq).toBe(log().appendedSeq);
    await db.batch([{ type: 'put', key: 'key', value: 'c' }], options);
    expect(log().durableSeq).toBe(log().appendedSeq);
    await db.batch().put('key', 'd').write(options);
    expect(log().durableSeq).toBe(log().appendedSeq);
    await db.clear(options);
    expect(log().durableSeq).toBe(log().appendedSeq);
  });

  it.each(['none', 'written', 'synced'] as const)(
    'is %s for the whole database',
    async (durability) => {
      const db = await open(undefined, { durability });
      const before = db.store.stats().log?.writtenSeq;
      await db.put('key', 'a');
      const { writtenSeq, durableSeq, appendedSeq } = db.store.stats().log as LogStats;
      expect([writtenSeq === appendedSeq, durableSeq === appendedSeq]).toEqual(
        { none: [false, false], written: [true, false], synced: [true, true] }[durability],
      );
      if (durability === 'none') expect(writtenSeq).toBe(before);
    },
  );
});

describe('snapshots', () => {
  it('cost nothing in the history while none is open, and leave nothing when they are closed', async () => {
    const db = await open();
    for (let n = 0; n < 100; n++) await db.put(`${n}`, 'a');
    expect(historyOf(db).count()).toBe(0);
    const snapshots = [db.snapshot()];
    for (let n = 0; n < 100; n++) await db.put('hot', String(n));
    expect(historyOf(db).count()).toBe(1);
    snapshots.push(db.snapshot());
    await db.put('hot', 'last');
    expect(historyOf(db).count()).toBe(2);
    for (const snapshot of snapshots) await snapshot.close();
    expect(historyOf(db).count()).toBe(0);
  });

  it('H3 that overlap without end keep no more than what is open', async () => {
    const db = await open(undefined, { durability: 'none' });
    const old = db.snapshot();
    let last = db.snapshot();
    let most = 0;
    for (let n = 0; n < 12_000; n++) {
      await db.put(`${n % 10}`, String(n));
      const next = db.snapshot();
      await last.close();
      last = next;
      if (n % 100 === 0) await new Promise((done) => setImmediate(done));
      if (n % 500 === 0) most = Math.max(most, historyOf(db).count());
    }
    // Ten keys for the old one; the rest is what was saved since the last sweep.
    expect(most).toBeGreaterThan(1000);
    expect(most).toBeLessThan(2 * 4096);
    expect(await db.iterator({ snapshot: old }).all()).toEqual([]);
    await old.close();
    await last.close();
    expect(historyOf(db).count()).toBe(0);
  });

  it('begin their epochs anew before the numbers run out', async () => {
    const db = await open();
    const words = new Int32Array(db.handle.words);
    words[1] = 2 ** 30; // the epoch
    await db.put('key', 'a');
    const snapshot = db.snapshot();
    expect(words[1]).toBe(1);
    await db.put('key', 'b');
    expect(await db.get('key', { snapshot })).toBe('a');
    words[1] = 2 ** 30 + 5; // while one is open they go on
    const other = db.snapshot();
    expect(words[1]).toBe(2 ** 30 + 5);
    await db.put('key', 'c');
    expect(await db.get('key', { snapshot })).toBe('a');
    expect(await db.get('key', { snapshot: other })).toBe('b');
    await snapshot.close();
    await other.close();
    await db.snapshot().close();
    expect(words[1]).toBe(1);
  });

  it('that a crash has left open leave nothing behind', async () => {
    const disk = new SimFileSystem(DIRECTORY);
    const db = await open(disk);
    await db.put('key', 'a');
    db.snapshot();
    await db.put('key', 'b', { sync: true });
    expect(historyOf(db).count()).toBe(1);
    const again = await open(disk.afterCrash(() => 1));
    expect(historyOf(again).count()).toBe(0);
    expect(await again.get('key')).toBe('b');
    const snapshot = again.snapshot();
    expect(await again.get('key', { snapshot })).toBe('b');
  });

  it('are one for many iterators while nothing is written', async () => {
    const db = await open();
    await db.put('key', 'a');
    const words = new Int32Array(db.handle.words);
    const iterators = [db.iterator(), db.iterator(), db.keys()];
    const epoch = words[1];
    await db.put('key', 'b');
    iterators.push(db.iterator());
    expect(words[1]).toBe((epoch as number) + 1);
    for (const iterator of iterators) await iterator.close();
    expect(historyOf(db).count()).toBe(0);
  });
});

it('a store that has stopped is closed at once, with all that is open', async () => {
  const disk = new SimFileSystem(DIRECTORY);
  const db = await open(disk);
  await db.put('key', 'a');
  const iterator = db.iterator();
  const snapshot = db.snapshot();
  await db.put('key', 'b');
  db.store.pool.core.thread.poison(new WeirpoolError('WORKER_DIED', 'test'));
  expect((await codesOf(db.put('key', 'c')))[0]).toBe('POISONED');
  await snapshot.close();
  await db.close();
  expect(db.status).toBe('closed');
  await iterator.close();
  const again = await open(disk);
  expect(await again.get('key')).toBe('b');
  expect(historyOf(again).count()).toBe(0);
});

describe('what could not be made', () => {
  it('keeps no database from being closed', async () => {
    const store = await openStore(new SimFileSystem(DIRECTORY));
    const db = new WeirLevel<string, string>(store);
    const other = new WeirLevel<string, string>(store, { tree: 'other' });
    await db.open();
    await other.open();
    const snapshot = other.snapshot();
    expect(() => db.iterator({ snapshot })).toThrow(TypeError);
    expect(() => db.keys({ snapshot })).toThrow(TypeError);
    expect(() => db.values({ snapshot })).toThrow(TypeError);
    const open = vi.spyOn(Versions.prototype, 'open').mockImplementation(() => {
      throw new WeirpoolError('POISONED', 'test');
    });
    expect(() => db.snapshot()).toThrow(WeirpoolError);
    expect(() => db.iterator()).toThrow(WeirpoolError);
    open.mockRestore();
    await db.close();
    expect(db.status).toBe('closed');
    await other.close();
  });

  it('keeps no epoch open', async () => {
    const db = await open();
    await db.put('key', 'a');
    const cursor = vi.spyOn(Database.prototype, 'scan').mockImplementation(() => {
      throw new WeirpoolError('POISONED', 'test');
    });
    expect(() => db.iterator()).toThrow(WeirpoolError);
    cursor.mockRestore();
    await db.put('key', 'b');
    expect(historyOf(db).count()).toBe(0);
  });
});

describe('iterators', () => {
  async function filled(count: number): Promise<WeirLevel> {
    const db = await open(undefined, { durability: 'none' });
    for (let from = 0; from < count; from += 200) {
      const batch = db.batch();
      for (let n = from; n < from + 200; n++) batch.put(String(n).padStart(6, '0'), 'v');
      await batch.write();
    }
    return db;
  }

  it('give way in a long `all`, and end it when the signal is aborted', async () => {
    const db = await filled(20_000);
    const aborted = new AbortController();
    const reading = db.keys({ signal: aborted.signal }).all();
    setImmediate(() => {
      aborted.abort(new Error('enough'));
    });
    const error = await reading.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'AbortError', code: 'LEVEL_ABORTED' });
    expect((await db.keys().all()).length).toBe(20_000);
  });

  it('see one moment while everything is deleted and written anew', async () => {
    const db = await filled(3000);
    const iterator = db.iterator();
    const backwards = db.keys({ reverse: true });
    const seen = await iterator.nextv(100);
    await db.clear();
    for (let n = 0; n < 500; n++) await db.put(`1${n}`, 'new');
    for (let part = seen; part.length > 0; ) {
      part = await iterator.nextv(333);
      seen.push(...part);
    }
    expect(seen.map(([key]) => Number(key))).toEqual(Array.from({ length: 3000 }, (_, n) => n));
    expect(new Set(seen.map(([, value]) => value))).toEqual(new Set(['v']));
    expect((await backwards.all()).reverse()).toEqual(seen.map(([key]) => key));
    expect((await db.keys().all()).length).toBe(500);
    await iterator.close();
    expect(historyOf(db).count()).toBe(0);
  });

  it('clear a part, as it is or as a snapshot has it', async () => {
    const db = await filled(1000);
    await db.clear({ gte: '000100', lt: '000200' });
    await db.clear({ limit: 50 });
    await db.clear({ limit: 50, reverse: true });
    expect((await db.keys().all()).length).toBe(800);
    const snapshot = db.snapshot();
    await db.put('000060', 'again');
    await db.put('x', 'new');
    await db.clear({ snapshot });
    expect(await db.keys().all()).toEqual(['x']);
    expect((await db.keys({ snapshot }).all()).length).toBe(800);
  });
});

it('errors of the store come through as they are', async () => {
  const db = await open();
  const value = 'v'.repeat(900);
  const operations = Array.from(
    { length: 60 },
    (_, n) => ({ type: 'put', key: `${n}`, value }) as const,
  );
  const error = await db.batch(operations).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(WeirpoolError);
  expect((error as WeirpoolError).code).toBe('RECORD_TOO_LARGE');
  expect(await db.keys().all()).toEqual([]);
});
