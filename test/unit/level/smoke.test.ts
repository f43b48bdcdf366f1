/** Libraries for abstract-level databases, unchanged, on `WeirLevel`. */
import { Readable, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EntryStream, KeyStream } from 'level-read-stream';
import { Quadstore } from 'quadstore';
import { DataFactory } from 'rdf-data-factory';
import { expect, it, onTestFinished } from 'vitest';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { WeirLevel } from '../../../src/level/index.ts';

const LOG = { ringBytes: 262_144, segmentBytes: 262_144 };

function make(disk = new SimFileSystem('/sim')): WeirLevel {
  const store = {
    blobBytes: 4096,
    frames: 1024,
    threads: 'inline',
    fileSystem: disk,
    log: LOG,
  } as const;
  const db: WeirLevel = new WeirLevel('/sim', { store });
  onTestFinished(() => db.close());
  return db;
}

it('sublevels share one database, in one batch and apart, through hooks and events', async () => {
  const db = make();
  const users = db.sublevel<string, { name: string }>('users', { valueEncoding: 'json' });
  const byName = db.sublevel('by-name');
  users.hooks.prewrite.add((op, batch) => {
    if (op.type === 'put') {
      batch.add({ type: 'put', sublevel: byName, key: op.value.name, value: op.key } as never);
    }
  });
  const written: unknown[] = [];
  db.on('write', (operations: unknown[]) => written.push(operations.length));
  await users.batch([
    { type: 'put', key: '1', value: { name: 'ada' } },
    { type: 'put', key: '2', value: { name: 'bob' } },
  ]);
  const snapshot = db.snapshot();
  await users.put('3', { name: 'cy' });
  await byName.sublevel('deep').put('x', 'y');
  expect(await byName.iterator().all()).toEqual([
    ['!deep!x', 'y'],
    ['ada', '1'],
    ['bob', '2'],
    ['cy', '3'],
  ]);
  expect(await byName.keys({ snapshot }).all()).toEqual(['ada', 'bob']);
  expect(await users.get('3', { snapshot })).toBeUndefined();
  expect(written).toEqual([4, 2, 1]);
  await users.clear();
  expect(await db.keys().all()).toEqual([
    '!by-name!!deep!x',
    '!by-name!ada',
    '!by-name!bob',
    '!by-name!cy',
  ]);
});

interface Item {
  readonly key: string;
  readonly value: string;
}

/** Writes what has come since the last time with one batch. */
function sink(db: { batch(operations: never[]): Promise<void> }): Writable {
  const write = (items: readonly Item[]): Promise<void> =>
    db.batch(items.map((item) => ({ type: 'put', ...item })) as never[]);
  return new Writable({
    objectMode: true,
    writev(chunks, done) {
      write(chunks.map(({ chunk }) => chunk as Item)).then(() => done(), done);
    },
  });
}

it('streams: written in batches, read by level-read-stream and by an iterator, through pipelines', async () => {
  const db = make();
  const [from, to] = [db.sublevel('from'), db.sublevel('to')];
  const entries = Array.from({ length: 3000 }, (_, n) => ({
    key: `${10_000 + n}`,
    value: `v${n}`,
  }));
  await pipeline(Readable.from(entries), sink(from));
  const upper = new Transform({
    objectMode: true,
    transform({ key, value }: Item, _encoding, done) {
      done(null, { key, value: value.toUpperCase() });
    },
  });
  await pipeline(new EntryStream(from, { gte: '11000' }), upper, sink(to));
  const keys: unknown[] = [];
  for await (const key of new KeyStream(to)) keys.push(key);
  expect(keys).toEqual(entries.slice(1000).map(({ key }) => key));
  const values: string[] = [];
  await pipeline(Readable.from(to.values({ limit: 5, reverse: true })), async (source) => {
    for await (const value of source) values.push(value as string);
  });
  expect(values).toEqual(['V2999', 'V2998', 'V2997', 'V2996', 'V2995']);
});

it('quadstore keeps its quads in it, finds them, and finds them again', async () => {
  const disk = new SimFileSystem('/sim');
  const dataFactory = new DataFactory();
  const node = (name: string) => dataFactory.namedNode(`ex://${name}`);
  const open = async () => {
    // Its types are those of a copy of abstract-level of its own.
    const store = new Quadstore({
      backend: make(disk) as never,
      dataFactory: dataFactory as never,
    });
    await store.open();
    return store;
  };
  const store = await open();
  const quads = Array.from({ length: 200 }, (_, n) =>
    dataFactory.quad(node(`s${n % 20}`), node(`p${n % 3}`), dataFactory.literal(String(n))),
  );
  await store.multiPut(quads as never);
  await store.del(quads[0] as never);
  const found = async (from: Quadstore): Promise<string[]> => {
    const { items } = await from.get({ subject: node('s0') as never });
    return items.map(({ object }) => object.value).sort();
  };
  const expected = quads
    .slice(1)
    .filter((_, n) => (n + 1) % 20 === 0)
    .map(({ object }) => object.value);
  expect(await found(store)).toEqual(expected.sort());
  await store.close();
  const again = await open();
  expect(await found(again)).toEqual(expected.sort());
  const predicate = await again.get({ predicate: node('p1') as never });
  expect(predicate.items.length).toBe(67);
  await again.close();
});
