/**
 * A level database and its snapshots against maps: random writes, snapshots and iterators that stay open,
 * read in every way at random moments. In one thread; several are in test/concurrency.
 */
import { expect, it } from 'vitest';
import { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import { historyName } from '../../src/level/database.ts';
import { WeirLevel } from '../../src/level/index.ts';
import { Random, testSeed } from '../support/seed.ts';

const HISTORIES = 12;
const STEPS = 400;
/** With zero bytes, prefixes of each other, and what is above all others. */
const KEYS = [
  '',
  '00',
  '0000',
  '00ff',
  '0001',
  '61',
  '6100',
  '610061',
  '61ff',
  '6162',
  'ff',
  'ffff',
];

type Level = WeirLevel<Uint8Array, Uint8Array>;
type Facts = ReadonlyMap<string, string>;

interface Range {
  gt?: Buffer;
  gte?: Buffer;
  lt?: Buffer;
  lte?: Buffer;
  reverse?: boolean;
  limit?: number;
}

interface Watched {
  readonly snapshot: ReturnType<Level['snapshot']>;
  readonly facts: Facts;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

function drawKey(random: Random): string {
  const key = KEYS[random.int(KEYS.length)] as string;
  return random.chance(0.5) ? key : key + KEYS[random.int(KEYS.length)];
}

function drawRange(random: Random): Range {
  const range: Range = {};
  const low = bytes(drawKey(random));
  const high = bytes(drawKey(random));
  if (random.chance(0.4)) range[random.chance(0.5) ? 'gt' : 'gte'] = low;
  if (random.chance(0.4)) range[random.chance(0.5) ? 'lt' : 'lte'] = high;
  if (random.chance(0.5)) range.reverse = true;
  if (random.chance(0.3)) range.limit = random.int(10);
  return range;
}

/** Order of hexadecimal texts is that of their bytes. */
function expected(facts: Facts, { gt, gte, lt, lte, reverse, limit }: Range, seek?: string) {
  const isIn = (key: string): boolean =>
    (gte === undefined || key >= hex(gte)) &&
    (gt === undefined || key > hex(gt)) &&
    (lte === undefined || key <= hex(lte)) &&
    (lt === undefined || key < hex(lt));
  let keys = [...facts.keys()].filter(isIn).sort();
  if (seek !== undefined) {
    if (!isIn(seek)) keys = [];
    keys = keys.filter((key) => (reverse === true ? key <= seek : key >= seek));
  }
  if (reverse === true) keys.reverse();
  return keys.slice(0, limit ?? keys.length).map((key) => [key, facts.get(key)]);
}

class Play {
  readonly #db: Level;
  readonly #random: Random;
  readonly #facts = new Map<string, string>();
  readonly #watched: Watched[] = [];
  readonly #iterators: { iterator: ReturnType<Level['iterator']>; left: unknown[][] }[] = [];
  #count = 0;

  constructor(db: Level, random: Random) {
    this.#db = db;
    this.#random = random;
  }

  async step(): Promise<void> {
    const random = this.#random;
    const kind = random.int(10);
    if (kind < 4) await this.#write();
    else if (kind === 4) await this.#clear();
    else if (kind === 5 && this.#watched.length < 40) this.#watch();
    else if (kind === 6) await this.#readOn();
    else if (kind === 7 && random.chance(0.4)) await this.#endOne();
    else await this.#check(random.pick([...this.#watched, undefined]));
  }

  #value(): string {
    const random = this.#random;
    const value = String(this.#count++);
    return Buffer.from(random.chance(0.03) ? value.repeat(1500) : value).toString('hex');
  }

  async #write(): Promise<void> {
    const random = this.#random;
    const count = random.chance(0.5) ? 1 : random.int(12);
    const operations = Array.from({ length: count }, () => {
      const key = drawKey(random);
      if (random.chance(0.3)) return { type: 'del', key: bytes(key) } as const;
      return { type: 'put', key: bytes(key), value: bytes(this.#value()) } as const;
    });
    const [first] = operations;
    if (count !== 1 || first === undefined) await this.#db.batch(operations);
    else if (first.type === 'put') await this.#db.put(first.key, first.value);
    else await this.#db.del(first.key);
    for (const operation of operations) {
      const key = hex(operation.key);
      if (operation.type === 'put') this.#facts.set(key, hex(operation.value));
      else this.#facts.delete(key);
    }
  }

  async #clear(): Promise<void> {
    const range = drawRange(this.#random);
    const watched = this.#random.chance(0.3)
      ? this.#watched[this.#place(this.#watched)]
      : undefined;
    await this.#db.clear(watched === undefined ? range : { ...range, snapshot: watched.snapshot });
    for (const [key] of expected(watched?.facts ?? this.#facts, range)) {
      this.#facts.delete(key as string);
    }
  }

  #watch(): void {
    const facts = new Map(this.#facts);
    if (this.#random.chance(0.5)) this.#watched.push({ snapshot: this.#db.snapshot(), facts });
    else {
      const range = drawRange(this.#random);
      this.#iterators.push({ iterator: this.#db.iterator(range), left: expected(facts, range) });
    }
  }

  /** A few entries of an iterator that was made some time ago. */
  async #readOn(): Promise<void> {
    const one = this.#iterators[this.#place(this.#iterators)];
    if (one === undefined) return;
    const size = 1 + this.#random.int(5);
    const entries = await one.iterator.nextv(size);
    expect(entries.map((entry) => (entry as Uint8Array[]).map(hex))).toEqual(
      one.left.splice(0, size),
    );
  }

  async #endOne(): Promise<void> {
    if (this.#random.chance(0.5))
      await this.#watched.splice(this.#place(this.#watched), 1)[0]?.snapshot.close();
    else await this.#iterators.splice(this.#place(this.#iterators), 1)[0]?.iterator.close();
  }

  #place(list: readonly unknown[]): number {
    return this.#random.int(Math.max(1, list.length));
  }

  async #check(watched: Watched | undefined): Promise<void> {
    const random = this.#random;
    const snapshot = watched?.snapshot;
    const facts = watched?.facts ?? this.#facts;
    const key = drawKey(random);
    const found = this.#db.getSync(bytes(key), { snapshot });
    expect(found && hex(found)).toEqual(facts.get(key));
    expect(await this.#db.has(bytes(key), { snapshot })).toBe(facts.has(key));
    const range = drawRange(random);
    const iterator = this.#db.iterator({ ...range, snapshot });
    const seek = random.chance(0.4) ? drawKey(random) : undefined;
    if (seek !== undefined) iterator.seek(bytes(seek));
    const entries = await iterator.all();
    expect(entries.map((entry) => (entry as Uint8Array[]).map(hex))).toEqual(
      expected(facts, range, seek),
    );
    const keys = await this.#db.keys({ ...range, snapshot }).all();
    expect(keys.map(hex)).toEqual(expected(facts, range).map(([at]) => at));
    const values = await this.#db.values({ ...range, snapshot }).all();
    expect(values.map(hex)).toEqual(expected(facts, range).map(([, value]) => value));
  }

  async end(): Promise<void> {
    for (const one of this.#watched) await this.#check(one);
    await Promise.all(this.#watched.map(({ snapshot }) => snapshot.close()));
    for (const { iterator, left } of this.#iterators) {
      const entries = await iterator.all();
      expect(entries.map((entry) => (entry as Uint8Array[]).map(hex))).toEqual(left);
    }
    await this.#check(undefined);
    expect(this.#db.store.tree(historyName('level')).count()).toBe(0);
  }
}

it.each(Array.from({ length: HISTORIES }, (_, n) => n))(
  'H1 H3 a database and all its open snapshots are what they are in maps (%d)',
  async (n) => {
    const random = Random.fork(testSeed(), 900 + n);
    const disk = new SimFileSystem('/sim');
    const log = { ringBytes: 65_536, segmentBytes: 65_536 };
    const db: Level = new WeirLevel('/sim', {
      keyEncoding: 'view',
      valueEncoding: 'view',
      store: { blobBytes: 4096, frames: 96, threads: 'inline', fileSystem: disk, log },
    });
    await db.open();
    const play = new Play(db, random);
    for (let step = 0; step < STEPS; step++) await play.step();
    await play.end();
    await db.close();
  },
);
