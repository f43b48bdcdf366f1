/**
 * Question:    what do hits and puts of a write-behind cache cost, in memory and durable, beside a bare
 *              Map and a bare tree?
 * Workload:    random key of 10,000 (path-shaped, 12 to 16 characters), values of 100 characters; `new`:
 *              keys that come once, at capacity, so that each evicts the oldest entry, which is clean.
 *              The store is empty methods: none of the other cases calls it.
 * Working set: all in memory; the log is written and rounds are made meanwhile, as always.
 * Warm-up:     as measure.ts has it, for each case.
 * Baseline:    `empty-loop`, the same loop over the same keys, is contained in every figure; a Map of
 *              the same keys; a tree's own get and put, not synced.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Tree, Weirpool } from '../../src/index.ts';
import { type BackingStore, WriteBehind } from '../../src/write-behind/index.ts';
import { type Measured, measureInTurns, ROUNDS } from '../support/measure.ts';
import { medianRatio, quantity } from '../support/numbers.ts';
import type { Report, SuiteOptions } from '../support/report.ts';

const KEYS = 10_000;
const VALUE = 'v'.repeat(100);
/** Operations of one batch; of those that make entries, fewer. */
const OPERATIONS = 20_000;
const NEW_OPERATIONS = 2_000;
/** Goes through all keys in an order that is none. */
const STRIDE = 7_919;

type Cache = WriteBehind<string, string>;

const store: BackingStore<string, string> = {
  read: () => undefined,
  write: () => undefined,
  delete: () => undefined,
};

const keys = Array.from({ length: KEYS }, (_, n) => `key/${n % 100}/${n}`);

function keyAt(n: number): string {
  return keys[(n * STRIDE) % KEYS] as string;
}

/** A case that calls `act` with one key after the other; it must be true so often. */
function caseOf(name: string, act: (key: string) => boolean): Measured {
  const batch = (): void => {
    let done = 0;
    for (let n = 0; n < OPERATIONS; n++) if (act(keyAt(n))) done++;
    if (done !== OPERATIONS) throw new Error(`${name} has done ${done} of ${OPERATIONS}`);
  };
  return { name, operations: OPERATIONS, batch };
}

let unique = 0;

/** New keys at capacity; what is there was flushed before. */
function newCase(name: string, cache: Cache): Measured {
  return {
    name,
    operations: NEW_OPERATIONS,
    before: () => void cache.flushSync(),
    batch: () => {
      for (let n = 0; n < NEW_OPERATIONS; n++) cache.putSync(`new/${unique++}`, VALUE);
      if (cache.size !== cache.capacity) throw new Error(`${name}: ${cache.size} entries`);
    },
  };
}

function casesOf(name: string, cache: Cache): Measured[] {
  return [
    caseOf(`${name} get hit`, (key) => cache.getSync(key) === VALUE),
    caseOf(`${name} put`, (key) => {
      cache.putSync(key, VALUE);
      return true;
    }),
  ];
}

function baselines(map: Map<string, { value: string }>, tree: Tree<string, string>): Measured[] {
  return [
    caseOf('empty-loop', (key) => key.length > 0),
    caseOf('Map get', (key) => map.get(key)?.value === VALUE),
    caseOf('Map set', (key) => map.set(key, { value: VALUE }).size === KEYS),
    caseOf('tree get', (key) => tree.get(key) === VALUE),
    caseOf('tree put', (key) => tree.put(key, VALUE) > 0),
  ];
}

const AGAINST: Readonly<Record<string, string>> = {
  'memory get hit': 'Map get',
  'memory put': 'Map set',
  'durable get hit': 'tree get',
  'durable put': 'tree put',
};

/** The promised methods, each awaited: ns for each call, one figure for each round. */
async function awaited(
  acts: ReadonlyMap<string, (key: string) => Promise<unknown>>,
): Promise<ReadonlyMap<string, number[]>> {
  const figures = new Map<string, number[]>([...acts.keys()].map((name) => [name, []]));
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, act] of acts) {
      const since = performance.now();
      for (let n = 0; n < OPERATIONS; n++) await act(keyAt(n));
      const ns = ((performance.now() - since) * 1e6) / OPERATIONS;
      // The first round warms up.
      if (round >= 0) figures.get(name)?.push(ns);
    }
  }
  return figures;
}

export async function runWriteBehind(report: Report, options: SuiteOptions): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-bench-'));
  const db = await Weirpool.open(directory, { frames: 256 });
  try {
    const tree = db.tree('bare', { key: 'utf8', value: 'utf8' });
    const map = new Map<string, { value: string }>();
    const memory = WriteBehind.memory(store);
    const durable = await WriteBehind.open<string, string>(db, store, { value: 'utf8' });
    const capacity = KEYS / 2;
    const smallMemory = WriteBehind.memory(store, { capacity });
    const names = { value: 'utf8', name: 'small', capacity } as const;
    const smallDurable = await WriteBehind.open<string, string>(db, store, names);
    for (const key of keys) {
      tree.put(key, VALUE);
      map.set(key, { value: VALUE });
      for (const cache of [memory, durable, smallMemory, smallDurable]) cache.putSync(key, VALUE);
    }
    const cases = [
      ...baselines(map, tree),
      ...casesOf('memory', memory),
      ...casesOf('durable', durable),
      newCase('memory put new', smallMemory),
      newCase('durable put new', smallDurable),
    ];
    const figures = measureInTurns(cases, options.seconds);
    for (const [name, times] of figures) {
      const baseline = AGAINST[name];
      const others = baseline === undefined ? undefined : figures.get(baseline);
      const against =
        baseline === undefined || others === undefined
          ? undefined
          : { name: baseline, ratio: medianRatio(times, others) };
      report.time(`write-behind: ${name}`, quantity(times), against);
    }
    const acts = new Map<string, (key: string) => Promise<unknown>>();
    for (const [name, cache] of [['memory', memory] as const, ['durable', durable] as const]) {
      acts.set(`${name} get hit, awaited`, (key) => cache.get(key));
      acts.set(`${name} put, awaited`, (key) => cache.put(key, VALUE));
    }
    for (const [name, times] of await awaited(acts)) {
      report.time(`write-behind: ${name}`, quantity(times));
    }
  } finally {
    await db.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
