/**
 * Question:    what does a level database cost beside the ones that one would take otherwise?
 * Workload:    100,000 path-shaped keys, values of 100 bytes, strings in and out, all options at their
 *              defaults; one script for all databases. `-none`: writes that are acknowledged before the
 *              system has them, as those of a database in memory are.
 * Working set: all of it cached.
 * Warm-up:     one round, which does not count.
 * Baseline:    the better one of classic-level and memory-level, in turns; for writes that the system has
 *              before they are acknowledged classic-level, for `-none` memory-level. For two workers
 *              classic-level in one thread, since a process opens it once. Two workers that read or write
 *              nothing else: each has a loop of its own.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { type MessagePort, parentPort, Worker, workerData } from 'node:worker_threads';
import type { AbstractLevel } from 'abstract-level';
import { MemoryLevel } from 'memory-level';
import { WeirLevel, type WeirLevelHandle } from '../../src/level/index.ts';
import { Barrier } from '../../test/support/checks.ts';
import { Random } from '../../test/support/seed.ts';
import { withDirectory } from '../support/logged.ts';
import { median, medianRatio, quantity } from '../support/numbers.ts';
import type { Report, SuiteOptions } from '../support/report.ts';
import { arePeersInstalled, INSTALL, requirePeer } from '../tree/peers.ts';

export const LEVEL_WORKER = 'level';

type Level = AbstractLevel<never, string, string>;
type Work = (db: Level, draw: Draw) => Promise<number>;

const KEYS = 100_000;
const BATCH = 1000;
const UNDER_WAY = 100;
const ROUNDS = 7;
/** Keys that are drawn before the clock runs; they come again. */
const DRAWN = 65_536;
const VALUE = 'v'.repeat(100);
/** Operations between two looks at the clock. */
const STEP = 500;

function keyAt(n: number): string {
  return `share/doc/package-${n % 997}/section-${n % 13}/file-${String(n).padStart(6, '0')}.txt`;
}

const keys = Array.from({ length: KEYS }, (_, n) => keyAt(n));

/**
 * Keys in the order in which they are asked for, each a string of its own: an application has just made or
 * read the key that it asks for, while strings drawn from a long list must be fetched from memory first,
 * which takes a microsecond for each and says nothing about a database.
 */
class Draw {
  readonly #keys: readonly string[];
  #next = 0;

  constructor(random: Random) {
    const one = (): string => Buffer.from(keyAt(random.int(KEYS))).toString('latin1');
    this.#keys = Array.from({ length: DRAWN }, one);
  }

  key(): string {
    this.#next = (this.#next + 1) % DRAWN;
    return this.#keys[this.#next] as string;
  }
}

function check(found: unknown, what: string): void {
  if (found !== true) throw new Error(`${what}: not what was put`);
}

// --- scripts: each does some operations, and says how many ------------------------------------------------

const get: Work = async (db, draw) => {
  for (let n = 0; n < STEP; n++) check((await db.get(draw.key())) === VALUE, 'get');
  return STEP;
};

const getSync: Work = async (db, draw) => {
  for (let n = 0; n < STEP; n++) check(db.getSync(draw.key()) === VALUE, 'getSync');
  return STEP;
};

const getMany: Work = async (db, draw) => {
  const wanted = Array.from({ length: STEP }, () => draw.key());
  const values = await db.getMany(wanted);
  check(values.at(-1) === VALUE && values.length === STEP, 'getMany');
  return STEP;
};

const put: Work = async (db, draw) => {
  for (let n = 0; n < STEP; n++) await db.put(draw.key(), VALUE);
  return STEP;
};

const putUnderWay: Work = async (db, draw) => {
  for (let n = 0; n < STEP; n += UNDER_WAY) {
    await Promise.all(Array.from({ length: UNDER_WAY }, () => db.put(draw.key(), VALUE)));
  }
  return STEP;
};

const batch: Work = async (db, draw) => {
  const operations = Array.from(
    { length: BATCH },
    () => ({ type: 'put', key: draw.key(), value: VALUE }) as const,
  );
  await db.batch(operations);
  return BATCH;
};

const iterate: Work = async (db) => {
  const iterator = db.iterator();
  let count = 0;
  for (let part = await iterator.nextv(BATCH); part.length > 0; ) {
    count += part.length;
    part = await iterator.nextv(BATCH);
  }
  await iterator.close();
  check(count === KEYS, 'iterate');
  return count;
};

const forAwait: Work = async (db) => {
  let count = 0;
  for await (const [key] of db.iterator({ limit: 20_000 })) count += key.length > 0 ? 1 : 0;
  check(count === 20_000, 'for await');
  return count;
};

const range: Work = async (db, draw) => {
  for (let n = 0; n < 100; n++) {
    const found = await db.iterator({ gte: draw.key(), limit: 10 }).all();
    check(found.length > 0, 'range');
  }
  return 100;
};

const mixed: Work = async (db, draw) => {
  for (let n = 0; n < STEP; n++) {
    if (n % 10 === 0) await db.put(draw.key(), VALUE);
    else check((await db.get(draw.key())) === VALUE, 'get');
  }
  return STEP;
};

const WORKS = { get, getSync, getMany, put, putUnderWay, batch, iterate, forAwait, range, mixed };
type WorkName = keyof typeof WORKS;

interface Case {
  readonly name: string;
  readonly work: WorkName;
  readonly own: 'weir' | 'weir-none';
  readonly peers: readonly ('classic' | 'memory')[];
}

const BOTH = ['classic', 'memory'] as const;

const CASES: readonly Case[] = [
  { name: 'get', work: 'get', own: 'weir', peers: BOTH },
  { name: 'get-sync', work: 'getSync', own: 'weir', peers: BOTH },
  { name: 'get-many-500', work: 'getMany', own: 'weir', peers: BOTH },
  { name: 'put', work: 'put', own: 'weir', peers: ['classic'] },
  { name: 'put-none', work: 'put', own: 'weir-none', peers: BOTH },
  { name: 'put-100-under-way', work: 'putUnderWay', own: 'weir', peers: ['classic'] },
  { name: 'put-100-none', work: 'putUnderWay', own: 'weir-none', peers: BOTH },
  { name: 'batch-1000', work: 'batch', own: 'weir', peers: BOTH },
  { name: 'batch-1000-none', work: 'batch', own: 'weir-none', peers: BOTH },
  { name: 'iterate-nextv', work: 'iterate', own: 'weir', peers: BOTH },
  { name: 'iterate-for-await', work: 'forAwait', own: 'weir', peers: BOTH },
  { name: 'range-10', work: 'range', own: 'weir', peers: BOTH },
];

/** Against classic-level in one thread. */
const CREW_CASES: readonly Case[] = [
  { name: 'get-2', work: 'get', own: 'weir', peers: ['classic'] },
  { name: 'get-sync-2', work: 'getSync', own: 'weir', peers: ['classic'] },
  { name: 'put-100-under-way-2', work: 'putUnderWay', own: 'weir', peers: ['classic'] },
  { name: 'batch-1000-2', work: 'batch', own: 'weir', peers: ['classic'] },
  { name: 'put-100-none-2', work: 'putUnderWay', own: 'weir-none', peers: ['classic'] },
  { name: 'batch-1000-none-2', work: 'batch', own: 'weir-none', peers: ['classic'] },
  { name: 'iterate-nextv-2', work: 'iterate', own: 'weir', peers: ['classic'] },
  { name: 'mixed-90-10-2', work: 'mixed', own: 'weir', peers: ['classic'] },
];

/** Works for some time: operations each second. */
async function rateOf(db: Level, name: WorkName, ms: number, draw: Draw): Promise<number> {
  const work = WORKS[name];
  const from = performance.now();
  let done = 0;
  let now = from;
  do {
    done += await work(db, draw);
    now = performance.now();
  } while (now - from < ms);
  return (done * 1000) / (now - from);
}

// --- two workers -----------------------------------------------------------------------------------------

interface CrewData {
  readonly part: typeof LEVEL_WORKER;
  readonly handle: WeirLevelHandle;
  readonly barrier: SharedArrayBuffer;
  readonly seed: number;
}

interface Order {
  readonly work: WorkName;
  readonly ms: number;
}

const CREW = 2;

export async function serveLevel(): Promise<void> {
  const { handle, barrier, seed } = workerData as CrewData;
  const port = parentPort as MessagePort;
  const db = new WeirLevel<string, string>(handle);
  await db.open();
  const start = new Barrier(barrier, CREW);
  const draw = new Draw(new Random(seed));
  port.on('message', (order: Order | undefined) => {
    if (order === undefined) void db.close().then(() => port.close());
    else {
      start.meet();
      void rateOf(db as unknown as Level, order.work, order.ms, draw).then((rate) =>
        port.postMessage(rate),
      );
    }
  });
}

class Crew {
  readonly #workers: readonly Worker[];

  constructor(self: string, handle: WeirLevelHandle, seed: number) {
    const barrier = Barrier.shared();
    this.#workers = Array.from({ length: CREW }, (_, n) => {
      const data: CrewData = { part: LEVEL_WORKER, handle, barrier, seed: seed + n };
      return new Worker(new URL(self), { workerData: data });
    });
  }

  /** The sum of their rates. */
  async rateOf(order: Order): Promise<number> {
    const rates = this.#workers.map(async (worker) => {
      const answer = once(worker, 'message');
      worker.postMessage(order);
      return ((await answer) as [number])[0];
    });
    return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#workers.map((worker) => {
        const ended = once(worker, 'exit');
        worker.postMessage(undefined);
        return ended;
      }),
    );
  }
}

// --- the suite -------------------------------------------------------------------------------------------

type Databases = ReadonlyMap<string, Level>;
type Rate = (name: string, work: WorkName, ms: number) => Promise<number>;

interface ClassicLevel {
  readonly ClassicLevel: new (directory: string) => unknown;
}

async function openAll(directory: string): Promise<Databases> {
  const all: [string, unknown][] = [
    ['weir', new WeirLevel<string, string>(join(directory, 'weir'))],
    ['weir-none', new WeirLevel<string, string>(join(directory, 'none'), { durability: 'none' })],
    ['memory', new MemoryLevel<string, string>()],
  ];
  if (arePeersInstalled()) {
    const { ClassicLevel } = requirePeer<ClassicLevel>('classic-level');
    all.push(['classic', new ClassicLevel(join(directory, 'classic'))]);
  }
  const databases = new Map(all as [string, Level][]);
  for (const db of databases.values()) {
    for (let from = 0; from < KEYS; from += BATCH) {
      const part = keys.slice(from, from + BATCH);
      await db.batch(part.map((key) => ({ type: 'put', key, value: VALUE }) as const));
    }
  }
  return databases;
}

/** One round: everybody for a while, nobody always first. */
async function turns(
  rate: Rate,
  names: readonly string[],
  work: WorkName,
  ms: number,
  round: number,
): Promise<Map<string, number>> {
  const rates = new Map<string, number>();
  for (let turn = 0; turn < names.length; turn++) {
    const name = names[(turn + round) % names.length] as string;
    rates.set(name, await rate(name, work, ms));
  }
  return rates;
}

async function measure(
  report: Report,
  { seconds }: SuiteOptions,
  { name, work, own, peers }: Case,
  rate: Rate,
  threads: number,
): Promise<void> {
  const names = [own, ...peers];
  const ms = (seconds * 1000) / ROUNDS / names.length;
  await turns(rate, names, work, ms / 2, 0);
  const figures = new Map<string, number[]>(names.map((one) => [one, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [one, value] of await turns(rate, names, work, ms, round)) {
      figures.get(one)?.push(value);
    }
  }
  const of = (one: string): number[] => figures.get(one) ?? [];
  const better = [...peers].sort((a, b) => median(of(b)) - median(of(a)))[0];
  const against = better && { name: better, ratio: medianRatio(of(own), of(better)) };
  report.rate(`level-${name}`, threads, quantity(of(own)), against);
  for (const peer of peers) report.rate(`level-${name}:${peer}`, 1, quantity(of(peer)));
}

export async function runLevel(report: Report, options: SuiteOptions, self: string): Promise<void> {
  const hasPeers = arePeersInstalled();
  if (!hasPeers) console.error(`classic-level is not compared. It is installed by: ${INSTALL}`);
  await withDirectory('level', async (directory) => {
    const databases = await openAll(directory);
    const draw = new Draw(new Random(options.seed));
    const alone: Rate = (name, work, ms) => rateOf(databases.get(name) as Level, work, ms, draw);
    const known = (one: Case): Case => ({
      ...one,
      peers: one.peers.filter((peer) => databases.has(peer)),
    });
    for (const one of CASES) await measure(report, options, known(one), alone, 1);
    const crews = new Map(
      ['weir', 'weir-none'].map((name) => {
        const { handle } = databases.get(name) as unknown as WeirLevel;
        return [name, new Crew(self, handle, options.seed)];
      }),
    );
    const together: Rate = (name, work, ms) =>
      crews.get(name)?.rateOf({ work, ms }) ?? alone(name, work, ms);
    for (const one of CREW_CASES) await measure(report, options, known(one), together, CREW);
    for (const crew of crews.values()) await crew.end();
    await measureSnapshots(report, databases, options);
    for (const db of databases.values()) await db.close();
  });
}

/** What a snapshot costs: taking one, and being there while others write. */
async function measureSnapshots(
  report: Report,
  databases: Databases,
  { seconds, seed }: SuiteOptions,
): Promise<void> {
  const db = databases.get('weir-none') as Level;
  const draw = new Draw(new Random(seed));
  const ms = (seconds * 1000) / ROUNDS / 3;
  const [takes, before, beside] = [[], [], []] as [number[], number[], number[]];
  for (let round = 0; round < ROUNDS; round++) {
    takes.push(await timeOfIterators(db, ms));
    before.push(await rateOf(db, 'put', ms, draw));
    const snapshot = db.snapshot();
    beside.push(await rateOf(db, 'put', ms, draw));
    await snapshot.close();
  }
  report.time('level-iterator-made-and-closed', quantity(takes));
  report.rate('level-put-none-snapshot-open', 1, quantity(beside), {
    name: 'put-none',
    ratio: medianRatio(beside, before),
  });
}

/** ns for an iterator that is made and closed. */
async function timeOfIterators(db: Level, ms: number): Promise<number> {
  const from = performance.now();
  let made = 0;
  while (performance.now() - from < ms) {
    for (let n = 0; n < STEP; n++, made++) await db.iterator().close();
  }
  return ((performance.now() - from) * 1e6) / made;
}
