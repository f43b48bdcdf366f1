/**
 * Trees against sorted maps: random histories of every operation, with rounds, reopenings, ends of
 * the process and losses of power, in nodes so small that few keys split and merge them, and in pools
 * that hold only a part of them; shrunk when they fail.
 *
 * The oracle keeps every state since the last one that is known to be safe. After the end of the
 * process, or of power, one of these is there, whole: batches over two trees included.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import type { Tree } from '../../src/tree/tree.ts';
import { Weirpool, type WeirpoolOptions } from '../../src/tree/weirpool.ts';
import { Random, testSeed } from '../support/seed.ts';
import { DIRECTORY, newDisk, SMALL } from '../unit/tree/support.ts';

const LONG = process.env['LONG'] === '1';
const RUNS = LONG ? 500 : 20;
/** Also for shrinking. */
const TIME_MS_MAX = LONG ? 240_000 : 30_000;
const NAMES = ['one', 'two'] as const;

const KINDS = [
  ...Array<'put'>(8).fill('put'),
  ...Array<'batch'>(8).fill('batch'),
  'delete',
  'delete',
  'putIfAbsent',
  'swap',
  'clear',
  'drop',
  'range',
  'range',
  'list',
  'first',
  'safe',
  'round',
  'reopen',
  'kill',
  'powerLoss',
] as const;

interface Step {
  readonly kind: (typeof KINDS)[number];
  /** Chooses everything that the step does. */
  readonly seed: number;
}

type Content = ReadonlyMap<string, string>;
/** By the name of the tree. */
type State = ReadonlyMap<string, Content>;

/** Text whose order is that of its bytes. */
function sorted(content: Content): [string, string][] {
  return [...content].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Mostly path-shaped, some of one repeated byte: prefixes of each other, as long as they may be. */
function someKey(random: Random): string {
  const kind = random.int(10);
  if (kind === 0) return String.fromCharCode(random.int(2) * 126 + 1).repeat(random.int(513));
  if (kind === 1) return String(random.int(40));
  return `bucket-${random.int(4)}/dir-${random.int(4)}/file-${String(random.int(30)).padStart(6, '0')}`;
}

/** Mostly short, some that overflow a node of 4,096 bytes, some around the longest that do not. */
function someValue(random: Random): string {
  const kind = random.int(30);
  const letter = String.fromCharCode(97 + random.int(26));
  if (kind === 0) return letter.repeat(random.int(12_000));
  if (kind < 4) return letter.repeat(500 + random.int(200));
  return letter.repeat(random.int(120));
}

class Run {
  readonly #options: WeirpoolOptions;
  #disk: SimFileSystem;
  #db: Weirpool | undefined;
  /** The last one is that of now, the first one is safe. */
  #states: State[] = [new Map()];

  constructor(frames: number) {
    this.#disk = newDisk();
    this.#options = { ...SMALL, frames };
  }

  get #now(): State {
    return this.#states.at(-1) as State;
  }

  async open(disk: SimFileSystem = this.#disk): Promise<void> {
    this.#disk = disk;
    this.#db = await Weirpool.open(DIRECTORY, { ...this.#options, fileSystem: disk });
  }

  get #opened(): Weirpool {
    return this.#db as Weirpool;
  }

  #tree(name: string): Tree<string, string> {
    return this.#opened.tree(name, { key: 'utf8', value: 'utf8' });
  }

  #contentOf(name: string): Content {
    return this.#now.get(name) ?? new Map();
  }

  /** The state with some trees changed; their content is the caller's to change. */
  #changed(names: readonly string[], change: (contents: Map<string, string>[]) => void): void {
    const contents = names.map((name) => new Map(this.#contentOf(name)));
    change(contents);
    const next = new Map(this.#now);
    names.forEach((name, index) => {
      next.set(name, contents[index] as Content);
    });
    this.#states.push(next);
  }

  #safe(): void {
    this.#opened.durableSync(undefined, 'synced');
    this.#states = [this.#now];
  }

  // --- steps ---------------------------------------------------------------------------------------

  async run({ kind, seed }: Step): Promise<void> {
    const random = new Random(seed);
    const name = random.pick(NAMES);
    switch (kind as string) {
      case 'put':
        return this.#put(name, random);
      case 'batch':
        return this.#batch(random);
      case 'delete':
        return this.#delete(name, random);
      case 'putIfAbsent':
        return this.#putIfAbsent(name, random);
      case 'swap':
        return this.#swap(name, random);
      case 'clear':
        return this.#clear(name, random);
      case 'drop':
        return this.#drop(name, random);
      case 'range':
        return this.#range(name, random);
      case 'list':
        return this.#list(name, random);
      case 'first':
        return this.#first(name, random);
      case 'safe':
        return this.#safe();
      case 'round':
        await this.#opened.checkpoint();
        this.#states = [this.#now];
        return;
      default:
        return this.#end(kind, random);
    }
  }

  #put(name: string, random: Random): void {
    const [key, value] = [someKey(random), someValue(random)];
    this.#tree(name).put(key, value);
    this.#changed([name], ([content]) => content?.set(key, value));
    expect(this.#tree(name).get(key)).toBe(value);
  }

  /** Over both trees, with keys that come more than once. */
  #batch(random: Random): void {
    const count = random.int(60);
    const operations = Array.from({ length: count }, () => {
      const key = someKey(random);
      const isPut = random.int(5) > 0;
      return { name: random.pick(NAMES), key, value: isPut ? someValue(random) : undefined };
    });
    const change = operations.map(({ name, key, value }) => ({
      tree: this.#tree(name),
      operation:
        value === undefined
          ? ({ type: 'del', key } as const)
          : ({ type: 'put', key, value } as const),
    }));
    try {
      this.#opened.batch(change);
    } catch (error) {
      // Too many frames, or a record too large, for a pool as small as this: then nothing was done.
      expect((error as { code: string }).code).toMatch(/^(OP_TOO_LARGE|RECORD_TOO_LARGE)$/);
      return;
    }
    this.#changed(NAMES, (contents) => {
      for (const { name, key, value } of operations) {
        const content = contents[NAMES.indexOf(name)] as Map<string, string>;
        if (value === undefined) content.delete(key);
        else content.set(key, value);
      }
    });
  }

  #someKeyOf(name: string, random: Random): string {
    const keys = [...this.#contentOf(name).keys()];
    return keys.length > 0 && random.int(4) > 0 ? random.pick(keys) : someKey(random);
  }

  #delete(name: string, random: Random): void {
    const key = this.#someKeyOf(name, random);
    const { existed } = this.#tree(name).delete(key);
    expect(existed).toBe(this.#contentOf(name).has(key));
    this.#changed([name], ([content]) => content?.delete(key));
    expect(this.#tree(name).has(key)).toBe(false);
  }

  #putIfAbsent(name: string, random: Random): void {
    const [key, value] = [this.#someKeyOf(name, random), someValue(random)];
    const isThere = this.#contentOf(name).has(key);
    expect(this.#tree(name).putIfAbsent(key, value) === undefined).toBe(isThere);
    if (!isThere) this.#changed([name], ([content]) => content?.set(key, value));
  }

  #swap(name: string, random: Random): void {
    const key = this.#someKeyOf(name, random);
    const current = this.#contentOf(name).get(key);
    const expected = random.int(3) === 0 ? 'something else' : current;
    const value = random.int(3) === 0 ? undefined : someValue(random);
    const isDone = this.#tree(name).compareAndSwap(key, expected, value) !== undefined;
    const isNothing = value === undefined && current === undefined;
    expect(isDone).toBe(expected === current && !isNothing);
    if (!isDone) return;
    this.#changed([name], ([content]) => {
      if (value === undefined) content?.delete(key);
      else content?.set(key, value);
    });
  }

  /** Not atomic as a whole, so it is made safe before it and after it. */
  #clear(name: string, random: Random): void {
    this.#safe();
    const [gte = '', lt = ''] = [someKey(random), someKey(random)].sort((a, b) => (a < b ? -1 : 1));
    const inside = [...this.#contentOf(name).keys()].filter((key) => key >= gte && key < lt);
    expect(this.#tree(name).clear({ gte, lt })).toBe(inside.length);
    this.#changed([name], ([content]) => {
      for (const key of inside) content?.delete(key);
    });
    this.#safe();
  }

  #drop(name: string, random: Random): void {
    if (random.int(3) > 0) return;
    this.#safe();
    this.#opened.dropTree(name);
    expect(this.#opened.hasTree(name)).toBe(false);
    this.#changed([name], ([content]) => content?.clear());
    this.#safe();
  }

  #range(name: string, random: Random): void {
    const [low, high] = [someKey(random), someKey(random)];
    const reverse = random.chance(0.5);
    const limit = random.chance(0.3) ? random.int(20) : undefined;
    const isOpen = random.chance(0.2);
    const lowExclusive = random.chance(0.5);
    const highInclusive = random.chance(0.5);
    const bounds = isOpen
      ? {}
      : {
          ...(lowExclusive ? { gt: low } : { gte: low }),
          ...(highInclusive ? { lte: high } : { lt: high }),
        };
    const inside = sorted(this.#contentOf(name)).filter(
      ([key]) =>
        isOpen ||
        ((lowExclusive ? key > low : key >= low) && (highInclusive ? key <= high : key < high)),
    );
    expect(this.#tree(name).count(bounds)).toBe(inside.length);
    if (reverse) inside.reverse();
    const options = { ...bounds, reverse, ...(limit === undefined ? {} : { limit }) };
    expect(this.#tree(name).range(options).toArray()).toEqual(inside.slice(0, limit));
  }

  #list(name: string, random: Random): void {
    const prefix = random.pick(['', 'bucket-1/', `bucket-${random.int(4)}/dir-${random.int(4)}/`]);
    const expected: string[] = [];
    for (const [key] of sorted(this.#contentOf(name))) {
      if (!key.startsWith(prefix)) continue;
      const at = key.indexOf('/', prefix.length);
      const item = at < 0 ? key : key.slice(0, at + 1);
      if (expected.at(-1) !== item) expected.push(item);
    }
    const items = [...this.#tree(name).list(prefix)];
    expect(items.map((item) => (item.type === 'entry' ? item.key : item.prefix))).toEqual(expected);
  }

  #first(name: string, random: Random): void {
    const gte = someKey(random);
    const inside = sorted(this.#contentOf(name)).filter(([key]) => key >= gte);
    expect(this.#tree(name).first({ gte })).toEqual(inside[0]);
    expect(this.#tree(name).last({ gte })).toEqual(inside.at(-1));
  }

  /** Closes, kills, or cuts the power, and looks at what is there then. */
  async #end(kind: Step['kind'], random: Random): Promise<void> {
    const image =
      kind === 'reopen'
        ? undefined
        : this.#disk.afterCrash(kind === 'kill' ? () => 1 : (end) => random.int(end));
    await this.close();
    await this.open(image);
    const found = new Map(NAMES.map((name) => [name, this.#read(name)]));
    const possible = kind === 'reopen' ? [this.#now] : this.#states;
    const state = possible.findLast((candidate) =>
      NAMES.every((name) => isSame(candidate.get(name) ?? new Map(), found.get(name) as Content)),
    );
    if (state === undefined) expect(found).toEqual(this.#now);
    this.#states = [state as State];
  }

  #read(name: string): Content {
    return new Map(this.#tree(name).range());
  }

  check(): void {
    for (const name of NAMES) {
      const content = sorted(this.#contentOf(name));
      const tree = this.#tree(name);
      expect(tree.range().toArray()).toEqual(content);
      expect(tree.keys({ reverse: true }).toArray()).toEqual(content.map(([key]) => key).reverse());
      for (const [key, value] of content) expect(tree.get(key)).toBe(value);
    }
  }

  async close(): Promise<void> {
    await this.#db?.close();
    this.#db = undefined;
  }
}

function isSame(a: Content, b: Content): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}

const step = fc.record({
  kind: fc.constantFrom(...KINDS),
  seed: fc.nat({ max: 2 ** 31 }),
});

it.for([
  ['that holds all of them', 256],
  ['that holds a part of them', 40],
] as const)('trees in a pool %s are sorted maps, whatever ends the process', async ([, frames]) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 20, maxLength: 120, size: 'max' }),
      async (steps) => {
        const run = new Run(frames);
        await run.open();
        try {
          for (const next of steps) await run.run(next);
          run.check();
        } finally {
          await run.close();
        }
      },
    ),
    { seed: testSeed(), numRuns: RUNS, interruptAfterTimeLimit: TIME_MS_MAX, endOnFailure: false },
  );
});
