/**
 * Using a store in every way that there is, for as long as it goes.
 *
 * Invariants:  each way ends with a result or with an error of ours, and gives no more entries than
 *              the files have room for: what gives more goes round in a circle.
 * Threads:     the main thread, everything inline.
 */
import type { FileSystem } from '../../../src/fs/file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { noteProgress, underStepClock } from '../../../src/harness/step-clock.ts';
import { restoreStore } from '../../../src/recovery/restore.ts';
import { verifyStore } from '../../../src/recovery/verify.ts';
import { salvageStore } from '../../../src/tree/salvage.ts';
import type { Tree } from '../../../src/tree/tree.ts';
import { checkTrees } from '../../../src/tree/verify-trees.ts';
import { Weirpool, type WeirpoolOptions } from '../../../src/tree/weirpool.ts';
import { kernels } from '../../unit/wal/support.ts';
import { countedFiles } from './budget.ts';
import { type Bounds, type Context, must, Violation } from './family.ts';
import { type Content, DIRECTORY, diskOf, fileName, type Image, SMALL } from './images.ts';

/** More than any of these stores holds. */
export const MANY = 3000;
const TREES_MAX = 100;

/** File calls of one way to use a store of a few hundred blobs. */
const CALLS_MAX = 4000;
/** Two pools of a few MiB of frames: control memory, frames, room for 128 threads in each. */
const RESERVED_MAX = 512 * 1024 * 1024;
const BYTES_BASE = 4 * 1024 * 1024;
const BYTES_FACTOR = 8;

export function boundsFor(image: Image): Bounds {
  const bytes = [...image.values()].reduce((sum, { length }) => sum + length, 0);
  const bytesMax = BYTES_BASE + BYTES_FACTOR * bytes;
  return { bytesMax, reservedMax: RESERVED_MAX, callsMax: CALLS_MAX };
}

const latin = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

function entriesOf(tree: Tree): Map<string, string> {
  const entries = tree.range({ limit: MANY }).toArray();
  must(entries.length < MANY, `${entries.length} entries`);
  return new Map(entries.map(([key, value]) => [latin(key), latin(value)]));
}

/** What is in the store: whole, or as far as it can be read; undefined: not even the names. */
export interface Found {
  readonly content: Map<string, Map<string, string>>;
  readonly whole: boolean;
}

export class User {
  readonly #context: Context;
  readonly #image: Image;
  readonly #bounds: Bounds;
  readonly kind: string;

  constructor(context: Context, image: Image, kind: string) {
    this.#context = context;
    this.#image = image;
    this.#bounds = boundsFor(image);
    this.kind = kind;
  }

  #run<T>(name: string, action: () => T | Promise<T>): Promise<T | undefined> {
    noteProgress();
    return this.#context.run(`${this.kind} ${name}`, this.#bounds, action);
  }

  #try<T>(name: string, action: () => T): T | undefined {
    noteProgress();
    return this.#context.runSync(`${this.kind} ${name}`, this.#bounds, action);
  }

  files(disk: SimFileSystem): FileSystem {
    return countedFiles(this.#context.budget, disk);
  }

  /** Opens, has `use` use it, closes: under a clock that no wait outlasts. */
  opened(
    options: WeirpoolOptions,
    use: (db: Weirpool, disk: SimFileSystem) => Promise<void> | void,
  ): Promise<void> {
    return underStepClock(() => this.#opened(options, use));
  }

  async #opened(
    options: WeirpoolOptions,
    use: (db: Weirpool, disk: SimFileSystem) => Promise<void> | void,
  ): Promise<void> {
    const disk = diskOf(this.#image);
    const { blobBytes: _own, ...rest } = SMALL;
    const given = options.readOnly === true ? { frames: 256, threads: 'inline' as const } : rest;
    const db = await this.#run('open', () =>
      Weirpool.open(DIRECTORY, { ...given, fileSystem: this.files(disk), ...options }),
    );
    if (db === undefined) return;
    let isClosed = false;
    try {
      await use(db, disk);
    } finally {
      isClosed = (await this.#run('close', () => db.close().then(() => true))) === true;
    }
    if (isClosed && options.readOnly !== true) await this.#again(disk);
  }

  /** What could be opened and closed, can be opened again: an opening must not lock a store up. */
  async #again(disk: SimFileSystem): Promise<void> {
    const given = { readOnly: true, frames: 256, threads: 'inline' as const };
    const options = { ...given, fileSystem: this.files(disk) };
    const db = await this.#run('again', () => Weirpool.open(DIRECTORY, options));
    const why = String((this.#context.last as Error)?.message);
    must(db !== undefined, `a store that was closed cannot be opened again: ${why}`);
    await db.close();
  }

  /** Everything that can be read. */
  read(db: Weirpool, keys: ReadonlyMap<string, ReadonlySet<string>>): Found {
    const content = new Map<string, Map<string, string>>();
    const names = this.#try('trees', () => db.trees());
    if (names === undefined) return { content, whole: false };
    must(names.length < TREES_MAX, `${names.length} trees`);
    let whole = true;
    for (const name of names) {
      const all = this.#try('range', () => entriesOf(db.tree(name)));
      if (all === undefined) whole = false;
      content.set(name, all ?? this.#one(db, name, keys));
    }
    return { content, whole };
  }

  /** Key by key, where a scan is refused. */
  #one(db: Weirpool, name: string, ever: ReadonlyMap<string, unknown>): Map<string, string> {
    const entries = new Map<string, string>();
    for (const full of ever.keys()) {
      if (!full.startsWith(`${name} `)) continue;
      const key = full.slice(name.length + 1);
      const value = this.#try('get', () => db.tree(name, { key: 'utf8' }).get(key));
      if (value !== undefined) entries.set(key, latin(value));
    }
    return entries;
  }

  /** The ways to read a tree that are not `range`. */
  look(db: Weirpool, name: string, key: string): void {
    const tree = this.#try('tree', () => db.tree(name, { key: 'utf8' }));
    if (tree === undefined) return;
    this.#try('get', () => tree.get(key));
    this.#try('has', () => tree.has(key));
    this.#try('read', () => tree.read(key, (_, start, end) => end - start));
    this.#try('count', () => tree.count());
    this.#try('list', () => {
      const items = [...tree.list('', { limit: MANY })];
      must(items.length < MANY, `${items.length} items`);
    });
    this.#try('reverse', () => {
      const entries = tree.range({ limit: MANY, reverse: true }).toArray();
      must(entries.length < MANY, `${entries.length} entries downwards`);
    });
    this.#try('snapshot', () => {
      const snapshot = db.snapshot();
      try {
        must(tree.range({ limit: MANY, snapshot }).toArray().length < MANY, 'an endless snapshot');
        tree.get(key, { snapshot });
      } finally {
        snapshot.close();
      }
    });
  }

  /** One change; what it leaves is read again. */
  change(db: Weirpool, name: string, key: string, way: number): void {
    const tree = this.#try('tree', () => db.tree(name, { key: 'utf8' }));
    if (tree === undefined) return;
    const ways: readonly (() => unknown)[] = [
      () => tree.put(key, Buffer.alloc(50)),
      () => tree.put(key, Buffer.alloc(6000)),
      () => tree.delete(key),
      () => tree.compareAndSwap(key, undefined, Buffer.alloc(1)),
      () => tree.clear({ gte: key }),
      () => db.dropTree(name),
      () => {
        const value = Buffer.alloc(20);
        const keys = Array.from({ length: 60 }, (_, n) => fileName(n * 3));
        tree.batch(keys.map((one) => ({ type: 'put' as const, key: one, value })));
      },
      () => {
        const keys = Array.from({ length: 130 }, (_, n) => fileName(n));
        tree.batch(keys.map((one) => ({ type: 'del' as const, key: one })));
      },
    ];
    this.#try('change', ways[way % ways.length] as () => unknown);
  }

  async checkpoint(db: Weirpool): Promise<void> {
    await this.#run('checkpoint', () => db.checkpoint());
  }

  /** A copy, made of the open store. */
  async backup(db: Weirpool, disk: SimFileSystem): Promise<void> {
    await this.#run('backup', () => db.backup(`${DIRECTORY}/copy`));
    void disk;
  }

  async verify(): Promise<number | undefined> {
    const fileSystem = this.files(diskOf(this.#image));
    const parts = { kernels, fileSystem, content: checkTrees };
    const report = await this.#run('verify', () => verifyStore(DIRECTORY, parts));
    if (report === undefined) throw new Violation('verify throws what it should report');
    for (const { message } of report.findings) must(message.endsWith('.'), message);
    return report.findings.length;
  }

  /** The files as a backup, made into a store. */
  async restore(): Promise<SimFileSystem | undefined> {
    const disk = diskOf(this.#image);
    const fileSystem = this.files(disk);
    const parts = { kernels, fileSystem, content: checkTrees };
    const done = await this.#run('restore', () =>
      restoreStore(DIRECTORY, `${DIRECTORY}/restored`, {
        kernels,
        fileSystem,
        verify: () => verifyStore(DIRECTORY, parts),
      }),
    );
    return done === undefined ? undefined : disk;
  }

  /** What can be saved, read again: what was put under a name of its own, and the rest. */
  async salvage(): Promise<Content | undefined> {
    const fileSystem = this.files(diskOf(this.#image));
    const disk = new SimFileSystem(DIRECTORY);
    const inline = { threads: 'inline', checkpoint: { intervalMs: 0, ageMs: 0 } } as const;
    const target = { ...inline, fileSystem: this.files(disk) };
    const parts = { kernels, fileSystem, target };
    const report = await this.#run('salvage', () =>
      salvageStore(DIRECTORY, DIRECTORY, { frames: 64 }, parts),
    );
    if (report === undefined) return undefined;
    const db = await Weirpool.open(DIRECTORY, {
      ...inline,
      frames: 1024,
      log: { ringBytes: 2 ** 18 },
      fileSystem: disk,
    });
    try {
      return new Map(db.trees().map((name) => [name, entriesOf(db.tree(name))]));
    } finally {
      await db.close();
    }
  }
}
