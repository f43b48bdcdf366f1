/**
 * Crashes of a durable cache: random histories, and at random moments, also just when the store has
 * been changed, what a crash would leave of the disk then. Each image is opened with the store as it
 * was: nothing that was safe is lost, and the cache is never behind its store.
 *
 * Argument: `kill` (what was handed to the system stays) or `power` (what was synced stays).
 */
import { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { Weirpool } from '../../src/index.ts';
import { WriteBehind } from '../../src/write-behind/index.ts';
import { check, checkEqual } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';
import { type Cache, PlainStore } from '../write-behind/stores.ts';

const DIRECTORY = '/sim';
const RING_BYTES = 64 * 1024;
const HISTORIES = Number(process.env['HISTORIES'] ?? 10);
const STEPS = 60;
const CAPACITY = 6;
const KEYS = Array.from({ length: 9 }, (_, n) => `key/${n}`);
/** One of so many moments is looked at. */
const LOOK = 5;

type Value = number | undefined;

/** What a crash leaves, and what may be found then. */
interface Image {
  readonly disk: SimFileSystem;
  readonly store: ReadonlyMap<string, number>;
  readonly possible: ReadonlyMap<string, readonly Value[]>;
  readonly moment: string;
}

const power = process.argv[2] === 'power';
const durability = power ? 'synced' : 'written';

function openDb(fileSystem: SimFileSystem): Promise<Weirpool> {
  const log = { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 2 ** 20, intervalMs: 0 };
  const checkpoint = { intervalMs: 0, ageMs: 0 };
  const options = { blobBytes: 4096, frames: 64, threads: 'inline', log, checkpoint } as const;
  return Weirpool.open(DIRECTORY, { ...options, fileSystem });
}

function openCache(db: Weirpool, store: PlainStore): Promise<Cache> {
  return WriteBehind.open<string, number>(db, store, { capacity: CAPACITY, durability });
}

class History {
  readonly #random: Random;
  readonly #disk = new SimFileSystem(DIRECTORY);
  readonly #store = new PlainStore();
  /** Values that a key may have after a crash, the last one what it has now. */
  readonly #possible = new Map<string, Value[]>(KEYS.map((key) => [key, [undefined]]));
  readonly images: Image[] = [];
  #cache: Cache | undefined;
  #next = 1;
  #step = '';

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  async run(): Promise<void> {
    const db = await openDb(this.#disk);
    const cache = await openCache(db, this.#store);
    this.#cache = cache;
    // What the cache wants of the store has happened when this is called; it may be the last thing.
    const { write, delete: remove } = this.#store;
    this.#store.write = (key, value) => {
      // Of the other keys, what was put while this flush is at it is not.
      this.#safe(key);
      write.call(this.#store, key, value);
      this.#look(`write ${key}=${value}`);
      this.#reenter();
    };
    this.#store.delete = (key) => {
      this.#safe();
      this.#change(key, undefined);
      remove.call(this.#store, key);
      this.#look(`delete ${key}`);
      this.#reenter();
    };
    for (let n = 0; n < STEPS; n++) {
      this.#act(cache);
      this.#look('a step');
    }
    await cache.close({ flush: false });
    await db.close();
  }

  #act(cache: Cache): void {
    const random = this.#random;
    const key = KEYS[random.int(KEYS.length)] as string;
    const kind = random.int(12);
    this.#step = `${kind} ${key}`;
    if (kind < 5) this.#put(cache, key);
    else if (kind < 7) cache.getSync(key);
    else if (kind < 9) cache.deleteSync(key);
    else if (kind < 10) cache.flushSync();
    else if (kind < 11) cache.flushIfNeededSync(3);
    else {
      cache.durableSync();
      this.#safe();
    }
  }

  #put(cache: Cache, key: string): void {
    const value = this.#next++;
    cache.putSync(key, value);
    this.#change(key, value);
  }

  /** The store itself puts something that is cached, while the cache waits for it. */
  #reenter(): void {
    const cache = this.#cache as Cache;
    const key = KEYS[this.#random.int(KEYS.length)] as string;
    if (this.#random.int(3) === 0 && cache.contains(key)) this.#put(cache, key);
  }

  #change(key: string, value: Value): void {
    this.#possible.get(key)?.push(value);
  }

  /** What was done so far, to all keys or to one, is no longer lost. */
  #safe(only?: string): void {
    for (const [key, values] of this.#possible) {
      if (only === undefined || key === only) values.splice(0, values.length - 1);
    }
  }

  #look(moment: string): void {
    if (this.#random.int(LOOK) !== 0) return;
    const disk = power
      ? this.#disk.afterCrash((end) => this.#random.int(end))
      : this.#disk.afterKill();
    this.images.push({
      disk,
      store: new Map(this.#store.content),
      possible: new Map([...this.#possible].map(([key, values]) => [key, [...values]])),
      moment: `${this.#step}, ${moment}`,
    });
  }
}

async function checkImage({ disk, store: content, possible, moment }: Image): Promise<void> {
  const store = new PlainStore();
  for (const [key, value] of content) store.content.set(key, value);
  const db = await openDb(disk);
  const cache = await openCache(db, store);
  const found = new Map<string, Value>();
  let cached = 0;
  let dirty = 0;
  for (const key of KEYS) {
    const there = cache.peek(key);
    const stored = store.content.get(key);
    if (there !== undefined) cached++;
    if (cache.isDirty(key)) dirty++;
    else if (there !== undefined) checkEqual(there, stored, `${moment}: clean ${key}`);
    const value = there ?? stored;
    found.set(key, value);
    const values = possible.get(key) ?? [];
    check(values.includes(value), `${moment}: ${key} is ${value}, not one of [${values.join()}]`);
  }
  checkEqual(cache.size, cached, `${moment}: entries`);
  checkEqual(cache.dirtyCount, dirty, `${moment}: dirty entries`);
  checkEqual(cache.dirtyKeys().length, dirty, `${moment}: dirty keys`);
  checkEqual(cache.flushSync(), dirty, `${moment}: entries flushed`);
  for (const [key, value] of found) {
    checkEqual(store.content.get(key), value, `${moment}: ${key} in the store at last`);
    checkEqual(cache.getSync(key), value, `${moment}: ${key} at last`);
  }
  await cache.close();
  await db.close();
}

const seeds = new Random(testSeed());
let images = 0;
for (let n = 0; n < HISTORIES; n++) {
  const history = new History(seeds.int(2 ** 31));
  await history.run();
  for (const image of history.images) await checkImage(image);
  images += history.images.length;
}
check(images > HISTORIES, 'hardly a moment was looked at');
console.log(`${images} images of ${HISTORIES} histories`);
