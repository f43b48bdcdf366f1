/**
 * Salvage against what was put: whatever is damaged, each key is there as it was last put, or lies in
 * a range that is told as lost; and nothing is there that was not put.
 */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { OPEN_WRITE } from '../../../src/fs/files.ts';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { BLOCK_BYTES, FIRST_RECORD } from '../../../src/store/manifest.ts';
import {
  type LostRange,
  type SalvageProgress,
  type SalvageReport,
  salvageStore,
} from '../../../src/tree/salvage.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';
import { Random, testSeed } from '../../support/seed.ts';
import { BROKEN_STORES, Broken, fileName, healthyStore } from './broken-stores.ts';
import { StoreEditor } from './store-editor.ts';
import { DIRECTORY, killed, newDisk, openTrees, SMALL } from './support.ts';

const kernels = new wasm.Module(Buffer.from(KERNELS_WASM, 'base64'));

type Content = Map<string, Map<string, string>>;

/** What was put, and all values that a key ever had. */
interface History {
  readonly now: Content;
  readonly ever: Map<string, Set<string>>;
}

interface Lived {
  readonly disk: SimFileSystem;
  readonly history: History;
}

const INLINE = { threads: 'inline', checkpoint: { intervalMs: 0, ageMs: 0 } } as const;

async function salvage(disk: SimFileSystem, options = {}) {
  const target = newDisk();
  const given = { kernels, fileSystem: disk, target: { ...INLINE, fileSystem: target } };
  const report = await salvageStore(DIRECTORY, DIRECTORY, options, given);
  const db = await openTrees(target, { frames: 1024, log: { ringBytes: 2 ** 18 } });
  const content = contentOf(db);
  await db.close();
  return { report, content };
}

function contentOf(db: Weirpool): Content {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
  const entriesOf = (name: string) => db.tree(name).range().toArray();
  return new Map(
    db.trees().map((name) => {
      return [name, new Map(entriesOf(name).map(([key, value]) => [text(key), text(value)]))];
    }),
  );
}

/** Two checkpoints, the second in one commit of the manifest, and changes in the log alone. */
async function life(clean: boolean): Promise<Lived> {
  const disk = newDisk();
  const options = { ...SMALL, log: { ...SMALL.log, segmentBytes: 96 * 1024 }, frames: 128 };
  const db = await Weirpool.open(DIRECTORY, { ...options, fileSystem: disk });
  const history: History = { now: new Map(), ever: new Map() };
  const put = (tree: string, key: string, value: string): void => {
    db.tree(tree, { key: 'utf8', value: 'utf8' }).put(key, value);
    const entries = history.now.get(tree) ?? new Map<string, string>();
    history.now.set(tree, entries.set(key, value));
    const name = `${tree} ${key}`;
    history.ever.set(name, (history.ever.get(name) ?? new Set()).add(value));
  };
  const remove = (tree: string, key: string): void => {
    db.tree(tree, { key: 'utf8' }).delete(key);
    history.now.get(tree)?.delete(key);
  };
  for (let n = 0; n < 1200; n++) put('files', fileName(n), `${n} ${'v'.repeat(n % 90)}`);
  for (let n = 0; n < 40; n++) put('tags', `tag ${n}`, 't'.repeat(n));
  for (const n of [5000, 9000, 12_500]) put('tags', `long ${n}`, String(n).repeat(n / 4));
  for (let n = 0; n < 30; n++) put('gone', `key ${n}`, 'x');
  await db.checkpoint();
  for (let n = 0; n < 300; n += 2) put('files', fileName(n), `second ${n}`);
  for (let n = 1; n < 300; n += 30) remove('files', fileName(n));
  await db.checkpoint();
  for (let n = 0; n < 200; n += 5) {
    put('files', fileName(n), `third ${n}`);
    // A group of records of its own, which the next one knows to be durable.
    if (n % 20 === 0) db.durableSync(undefined, 'synced');
  }
  put('late', 'a tree in the log alone', 'yes');
  remove('tags', 'tag 3');
  db.tree('tags', { key: 'utf8' }).clear({ gte: 'tag 30', lt: 'tag 35' });
  for (let n = 30; n < 35; n++) history.now.get('tags')?.delete(`tag ${n}`);
  db.dropTree('gone');
  history.now.delete('gone');
  db.durableSync(undefined, 'synced');
  if (!clean) return { disk: killed(disk), history };
  await db.close();
  return { disk, history };
}

function covers({ from, to }: LostRange, key: string): boolean {
  const bytes = Buffer.from(key, 'latin1');
  const above = from === undefined || Buffer.compare(bytes, from) >= 0;
  return above && (to === undefined || Buffer.compare(bytes, to) < 0);
}

/** Whether a key is told as lost: in its tree, or with its tree as a whole. */
function isTold({ lost }: SalvageReport, content: Content, tree: string, key: string): boolean {
  return lost.some((range) => {
    if (range.tree === undefined) return !content.has(tree) && covers(range, tree);
    return range.tree === tree && covers(range, key);
  });
}

/** Holds what was salvaged against what was put; trees whose names are lost are told by their keys. */
function check({ history }: Lived, report: SalvageReport, content: Content): void {
  const isLost = (tree: string, key: string): boolean => isTold(report, content, tree, key);
  for (const [tree, entries] of content) {
    const told = report.trees.find(({ name }) => name === tree);
    expect(told?.entries).toBe(entries.size);
    for (const [key, value] of entries) {
      const names = history.now.has(tree) ? [tree] : [...history.now.keys(), 'gone'];
      const right = names.some((name) => history.now.get(name)?.get(key) === value);
      const older = names.some((name) => history.ever.get(`${name} ${key}`)?.has(value));
      expect(right || (older && isLost(tree, key)), `${tree} ${key}`).toBe(true);
    }
  }
  expect(missing(history.now, report, content)).toEqual([]);
}

/** Keys that are not there with their values, and not told as lost. */
function missing(expected: Content, report: SalvageReport, content: Content): string[] {
  const nameless = [...content.keys()].filter((name) => name.startsWith('recovered-'));
  return [...expected].flatMap(([tree, entries]) => {
    const names = content.has(tree) ? [tree] : [tree, ...nameless];
    const isKnown = (key: string, value: string): boolean =>
      names.some(
        (name) => content.get(name)?.get(key) === value || isTold(report, content, name, key),
      );
    const unknown = [...entries].filter(([key, value]) => !isKnown(key, value));
    return unknown.map(([key]) => `${tree} ${key}`);
  });
}

let crashed: Lived;
let closed: Lived;

beforeAll(async () => {
  crashed = await life(false);
  closed = await life(true);
});

function fork({ disk, history }: Lived): Lived {
  return { disk: killed(disk), history };
}

function flip(disk: SimFileSystem, name: string, offset: number): void {
  const fd = disk.open(join(DIRECTORY, name), OPEN_WRITE);
  const byte = new Uint8Array(1);
  disk.read(fd, byte, 1, offset);
  disk.write(fd, Uint8Array.of((byte[0] as number) ^ 4), offset);
  disk.close(fd);
}

function cut(disk: SimFileSystem, name: string, bytes: number): void {
  const fd = disk.open(join(DIRECTORY, name), OPEN_WRITE);
  disk.truncate(fd, bytes);
  disk.close(fd);
}

function names(disk: SimFileSystem, pattern: RegExp): string[] {
  return disk
    .list(DIRECTORY)
    .filter((name) => pattern.test(name))
    .sort();
}

function sizeOf(disk: SimFileSystem, name: string): number {
  return disk.stat(join(DIRECTORY, name)).bytes;
}

async function salvaged(lived: Lived): Promise<SalvageReport> {
  const { report, content } = await salvage(lived.disk);
  check(lived, report, content);
  return report;
}

describe('a healthy store', () => {
  it.each([
    ['after a crash', () => crashed],
    ['closed cleanly', () => closed],
  ])('is copied whole: %s', async (_name, lived) => {
    const { report, content } = await salvage(lived().disk);
    expect([report.lost, report.findings]).toEqual([[], []]);
    expect(content).toEqual(lived().history.now);
    check(lived(), report, content);
  });

  it('is only read, and progress is told; an abort ends it', async () => {
    const { disk } = fork(crashed);
    const before = new Map(disk.list(DIRECTORY).map((name) => [name, sizeOf(disk, name)]));
    const seen: SalvageProgress[] = [];
    await salvage(disk, { onProgress: (progress: SalvageProgress) => seen.push(progress) });
    expect(seen.map(({ phase }) => phase)).toEqual([
      'blobs',
      'blobs',
      'entries',
      'entries',
      'log',
      'log',
    ]);
    expect(seen[3]?.done).toBe(seen[3]?.total);
    expect(new Map(disk.list(DIRECTORY).map((name) => [name, sizeOf(disk, name)]))).toEqual(before);
    const stop = new AbortController();
    const reason = new Error('enough');
    const onProgress = ({ phase }: SalvageProgress): void => {
      if (phase === 'entries') stop.abort(reason);
    };
    await expect(salvage(disk, { onProgress, signal: stop.signal })).rejects.toBe(reason);
  });
});

describe('blobs that do not match their checksum', () => {
  it('cost the keys of a leaf, and only these', async () => {
    const lived = fork(closed);
    const broken = new Broken(lived.disk);
    const { leaf, store } = broken;
    flip(lived.disk, 'blobs.dat', store.slotOf(leaf) * store.blobBytes + 700);
    const { lost, findings } = await salvaged(lived);
    const { low, high } = store.node(leaf);
    const range = { from: Buffer.from(low?.key ?? []), to: Buffer.from(high?.key ?? []) };
    expect(lost).toEqual([{ tree: 'files', ...range, code: 'BLOB_CORRUPT', id: leaf }]);
    expect(findings).toEqual([]);
  });

  it('cost nothing where they are inner nodes, and names where they are the catalog', async () => {
    const lived = fork(closed);
    const { store, catalog, ...broken } = new Broken(lived.disk);
    const root = new Broken(lived.disk).root(0);
    const inner = store.nodesAt(root, 1);
    for (const id of [root, ...inner])
      flip(lived.disk, 'blobs.dat', store.slotOf(id) * store.blobBytes + 9);
    const report = await salvaged(lived);
    expect(report.lost).toEqual([]);
    expect(report.findings.map(({ code, id }) => [code, id])).toContainEqual([
      'BLOB_CORRUPT',
      root,
    ]);
    flip(lived.disk, 'blobs.dat', store.slotOf(catalog) * store.blobBytes + 9);
    const nameless = await salvaged(lived);
    expect(nameless.lost).toMatchObject([{ tree: undefined, code: 'BLOB_CORRUPT', id: catalog }]);
    expect(nameless.trees.map(({ name }) => name)).toContain(`recovered-${root}`);
    expect(broken).toEqual({});
  });

  it('cost one key where they are parts of its value', async () => {
    const lived = fork(closed);
    const store = new StoreEditor(lived.disk, DIRECTORY);
    const part = store.ids.find(
      (id) => new DataView(store.read(id).buffer).getUint32(12, true) === 0x314f5754,
    ) as number;
    flip(lived.disk, 'blobs.dat', store.slotOf(part) * store.blobBytes + 50);
    const { lost } = await salvaged(lived);
    expect(lost).toMatchObject([{ tree: 'tags', code: 'BLOB_CORRUPT', id: part }]);
    expect(Buffer.concat([lost[0]?.from as Buffer, Buffer.from([0])])).toEqual(lost[0]?.to);
  });

  it('cost no more than is told, wherever they are', async () => {
    const random = Random.fork(testSeed(), 3);
    for (let round = 0; round < 6; round++) {
      const lived = fork(random.pick([crashed, closed]));
      const bytes = sizeOf(lived.disk, 'blobs.dat');
      for (let n = 0; n <= random.int(12); n++) flip(lived.disk, 'blobs.dat', random.int(bytes));
      await salvaged(lived);
    }
  });
});

describe('a data file', () => {
  it.each([0.1, 0.5, 0.9])('that is cut to %f of its length gives what is left', async (share) => {
    const lived = fork(crashed);
    cut(lived.disk, 'blobs.dat', Math.floor(sizeOf(lived.disk, 'blobs.dat') * share));
    const { lost } = await salvaged(lived);
    expect(lost.some(({ code }) => code === 'SLOT_MISSING')).toBe(true);
  });

  it('that is missing leaves what the log has', async () => {
    const lived = fork(crashed);
    lived.disk.unlink(join(DIRECTORY, 'blobs.dat'));
    const { logRecords, trees, findings } = await salvaged(lived);
    expect(logRecords).toBeGreaterThan(40);
    expect(trees.find(({ name }) => name === 'late')?.entries).toBe(1);
    expect(findings[0]).toMatchObject({ code: 'STORE_IO' });
  });
});

describe('a manifest', () => {
  it('that is damaged in the middle gives the state before, and says so', async () => {
    for (const { disk, history } of [crashed, closed]) {
      const lived = fork({ disk, history });
      const [manifest = ''] = names(lived.disk, /^manifest-/);
      const records = sizeOf(lived.disk, manifest) / BLOCK_BYTES;
      expect(records).toBeGreaterThan(FIRST_RECORD / BLOCK_BYTES + 2);
      flip(lived.disk, manifest, FIRST_RECORD + 2 * BLOCK_BYTES + 80);
      const { findings } = await salvaged(lived);
      expect(findings[0]).toMatchObject({ code: 'MANIFEST_CORRUPT' });
    }
  });

  it.each(['lost', 'damaged in its snapshot'])(
    'that is %s leaves nothing to go by',
    async (how) => {
      const { disk } = fork(crashed);
      const [manifest = ''] = names(disk, /^manifest-/);
      if (how === 'lost') disk.unlink(join(DIRECTORY, manifest));
      else flip(disk, manifest, FIRST_RECORD + 20);
      await expect(salvage(disk)).rejects.toMatchObject({ code: 'MANIFEST_CORRUPT' });
    },
  );
});

describe('a log', () => {
  /** Where the blocks of the last segment begin that hold groups of records. */
  function groupsOf(disk: SimFileSystem): { readonly segment: string; readonly offsets: number[] } {
    const segment = names(disk, /^wal-[0-9]+$/).at(-1) as string;
    const fd = disk.open(join(DIRECTORY, segment), OPEN_WRITE);
    const bytes = Buffer.alloc(sizeOf(disk, segment));
    disk.read(fd, bytes, bytes.length, 0);
    disk.close(fd);
    const offsets = [];
    for (let at = 4096; at < bytes.length; at += 4096) {
      if (bytes.toString('latin1', at + 8, at + 12) === 'WGRP') offsets.push(at);
    }
    return { segment, offsets };
  }

  it('that is damaged is done again up to there', async () => {
    const { segment, offsets } = groupsOf(crashed.disk);
    expect(offsets.length).toBeGreaterThan(4);
    const done: number[] = [];
    for (const offset of offsets.slice(-4, -1)) {
      const lived = fork(crashed);
      flip(lived.disk, segment, offset + 100);
      const { findings, lost, logRecords } = await salvaged(lived);
      expect(findings).toMatchObject([{ code: 'WAL_CORRUPT' }]);
      expect(lost).toMatchObject(lost.map(() => ({ code: 'WAL_CORRUPT', from: undefined })));
      done.push(logRecords);
    }
    expect(done).toEqual([...done].sort((a, b) => a - b));
    expect(new Set(done).size).toBe(done.length);
  });

  it('of which the last group is damaged looks like one that ends before it', async () => {
    const { segment, offsets } = groupsOf(crashed.disk);
    const { disk, history } = fork(crashed);
    flip(disk, segment, (offsets.at(-1) as number) + 100);
    const { report, content } = await salvage(disk);
    expect([report.lost, report.findings]).toEqual([[], []]);
    for (const [key, value] of content.get('files') as Map<string, string>) {
      expect(history.ever.get(`files ${key}`)?.has(value), key).toBe(true);
    }
  });

  it('whose segments are gone gives the checkpoint, and says that anything may be older', async () => {
    const lived = fork(crashed);
    for (const name of names(lived.disk, /^wal-/)) lived.disk.unlink(join(DIRECTORY, name));
    const { lost, logRecords } = await salvaged(lived);
    expect(logRecords).toBe(0);
    const all = { from: undefined, to: undefined, code: 'WAL_CORRUPT', id: undefined };
    expect(lost).toContainEqual({ tree: 'files', ...all });
  });
});

describe('a crafted store', () => {
  let disk: SimFileSystem;
  let content: Content;

  beforeAll(async () => {
    disk = await healthyStore();
    const db = await Weirpool.open(DIRECTORY, {
      ...SMALL,
      fileSystem: killed(disk),
      readOnly: true,
    });
    content = contentOf(db);
    await db.close();
  });

  /** One for each code. */
  const one = [...new Map(BROKEN_STORES.map((broken) => [broken[1], broken])).values()];

  it.each(one)('gives what it can: %s', async (_name, code, harm) => {
    const copy = killed(disk);
    const broken = new Broken(copy);
    harm(broken);
    broken.store.commit();
    const { report, content: found } = await salvage(copy);
    // What was taken out of a leaf is no damage: nothing tells that it was there.
    const removed = code === 'BLOB_ORPHAN' ? 1 : 0;
    expect(missing(content, report, found).length).toBeLessThanOrEqual(removed);
  });
});
