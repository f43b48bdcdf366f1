/**
 * What mutations begin with: golden images, and files of stores that were made here.
 *
 * Threads:     the main thread.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { SimFileSystem as Disk } from '../../../src/harness/sim-file-system.ts';
import { Weirpool, type WeirpoolOptions } from '../../../src/tree/weirpool.ts';
import { DIRECTORY, type Image, imageOf } from '../../unit/wal/support.ts';

export { DIRECTORY, diskOf, type Image, imageOf } from '../../unit/wal/support.ts';

const RING_BYTES = 64 * 1024;

/** Small nodes, so that few keys make a tall tree; everything inline. */
export const SMALL = {
  blobBytes: 4096,
  frames: 96,
  threads: 'inline',
  log: { ringBytes: RING_BYTES, segmentBytes: 96 * 1024, bytesMax: 2 ** 20, intervalMs: 0 },
  checkpoint: { intervalMs: 0, ageMs: 0 },
} as const satisfies WeirpoolOptions;

/**
 * An image that is checked in; `bytes` is its size, zeros are left out of it. Programs are bundles, and
 * run where the tests do: in the project's root.
 */
export function golden(name: string, bytes: number): Uint8Array {
  const image = new Uint8Array(bytes);
  const text = readFileSync(join('test/golden', `${name}.hex`), 'utf8');
  for (const line of text.trim().split('\n')) {
    const [offset = '', hex = ''] = line.split(' ');
    image.set(Buffer.from(hex, 'hex'), Number.parseInt(offset, 16));
  }
  return image;
}

/** One tree after the other, as one text each. */
export type Content = ReadonlyMap<string, ReadonlyMap<string, string>>;

export function textOf(content: Content): string {
  const trees = [...content].sort(([a], [b]) => (a < b ? -1 : 1));
  const sorted = trees.map(([name, entries]) => [
    name,
    [...entries].sort(([a], [b]) => (a < b ? -1 : 1)),
  ]);
  return JSON.stringify(sorted);
}

/** A store that has lived: its files, and every state that it was in between two of its records. */
export interface Lived {
  readonly image: Image;
  /** Files as they were earlier, by name. */
  readonly older: Image;
  readonly states: ReadonlySet<string>;
  /** By tree and key, every value that it ever had. */
  readonly ever: ReadonlyMap<string, ReadonlySet<string>>;
  readonly now: Content;
}

export function fileName(n: number): string {
  return `bucket-0${n % 4}/directory-with-a-longer-name-0${n % 7}/file-${String(n).padStart(6, '0')}`;
}

/** Changes of a store, and what is known of it. */
class Life {
  readonly now = new Map<string, Map<string, string>>();
  readonly states = new Set<string>([textOf(new Map())]);
  readonly ever = new Map<string, Set<string>>();
  readonly #db: Weirpool;

  constructor(db: Weirpool) {
    this.#db = db;
  }

  #tree(name: string): Map<string, string> {
    const entries = this.now.get(name);
    if (entries !== undefined) return entries;
    const made = new Map<string, string>();
    this.now.set(name, made);
    this.#db.tree(name);
    this.#note();
    return made;
  }

  #note(): void {
    this.states.add(textOf(this.now));
  }

  put(tree: string, key: string, value: string): void {
    const entries = this.#tree(tree);
    this.#db.tree(tree, { key: 'utf8', value: 'utf8' }).put(key, value);
    entries.set(key, value);
    const name = `${tree} ${key}`;
    this.ever.set(name, (this.ever.get(name) ?? new Set()).add(value));
    this.#note();
  }

  remove(tree: string, key: string): void {
    this.#db.tree(tree, { key: 'utf8' }).delete(key);
    this.now.get(tree)?.delete(key);
    this.#note();
  }

  drop(tree: string): void {
    this.#db.dropTree(tree);
    this.now.delete(tree);
    this.#note();
  }
}

function fill(life: Life): void {
  for (let n = 0; n < 130; n++) life.put('files', fileName(n), `${n} ${'v'.repeat(n % 90)}`);
  for (let n = 0; n < 12; n++) life.put('tags', `tag ${n}`, 't'.repeat(n));
  for (const n of [5000, 9000]) life.put('tags', `long ${n}`, String(n).repeat(n / 4));
  life.put('gone', 'a', 'b');
}

/** Two checkpoints in one manifest, a few changes in the log alone; closed, or killed. */
export async function lived(ending: 'closed' | 'killed'): Promise<Lived> {
  const disk = new Disk(DIRECTORY);
  const db = await Weirpool.open(DIRECTORY, { ...SMALL, fileSystem: disk });
  const life = new Life(db);
  fill(life);
  await db.checkpoint();
  const older = imageOf(disk.afterKill());
  for (let n = 0; n < 130; n += 3) life.remove('files', fileName(n));
  life.put('tags', 'long 5000', 'short now');
  life.put('tags', 'long 12000', 'L'.repeat(12_000));
  life.drop('gone');
  await db.checkpoint();
  for (let n = 0; n < 20; n++) life.put('files', fileName(200 + n), `late ${n}`);
  life.put('tags', 'long 9000', 'l'.repeat(6000));
  life.remove('tags', 'tag 3');
  await db.durable(undefined, 'synced');
  const image = ending === 'killed' ? imageOf(disk.afterKill()) : await closed(db, disk);
  if (ending === 'killed') await db.close();
  const { states, ever, now } = life;
  return { image, older, states, ever, now };
}

async function closed(db: Weirpool, disk: SimFileSystem): Promise<Image> {
  await db.close();
  return imageOf(disk);
}
