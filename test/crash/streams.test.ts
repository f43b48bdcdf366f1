/**
 * Caching stores over trees, in processes that are killed at random moments: after each kill the trees
 * have what a flush has written, whole, of each store that of the last flush that returned or of the one
 * that was under way; and nothing that was not flushed.
 *
 * KILLS=n for another number of kills; SEED=n for the same ones again.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { verify, Weirpool } from '../../src/index.ts';
import { TreeStore } from '../../src/streams/index.ts';
import { bundleScenario, type Patch } from '../support/scenario.ts';
import { Random, testSeed } from '../support/seed.ts';
import { contentOf, Histories, NAMES, type Name, plainStores } from '../support/streams-history.ts';
import { temporaryDirectory } from '../support/variant.ts';

const KILLS = Number(process.env['KILLS'] ?? 5);
const MS_PER_KILL = 20_000;
/** Of a broken product, before it counts as not noticed. */
const VARIANT_KILLS = 12;
/** Flushes before a kill, and how much later it comes. */
const FLUSHES_MAX = 60;
const LATER_MS_MAX = 15;

interface Life {
  /** Flushes that returned. */
  readonly flushed: number;
  /** The last one that had begun. */
  readonly begun: number;
  readonly stderr: string;
  readonly signal: NodeJS.Signals | null;
}

/** Runs the program until it has flushed so often, and a moment longer. */
function live(
  program: string,
  directory: string,
  random: Random,
): Promise<Life & { seed: number }> {
  const seed = random.int(2 ** 31);
  const flushes = 1 + random.int(FLUSHES_MAX);
  const laterMs = random.int(LATER_MS_MAX);
  const env = { ...process.env };
  // The test runner's own settings for child processes are not meant for this one.
  delete env['NODE_OPTIONS'];
  const child = spawn(process.execPath, [program, directory, String(seed)], {
    env,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  let [flushed, begun, stderr] = [0, 0, ''];
  child.stderr?.on('data', (text: Buffer) => {
    stderr += String(text);
  });
  createInterface({ input: child.stdio[3] as NodeJS.ReadableStream }).on('line', (line) => {
    const [what, number] = line.split(' ');
    if (what === 'flushing') begun = Number(number);
    else flushed = Number(number);
    if (flushed === flushes) setTimeout(() => child.kill('SIGKILL'), laterMs);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (_, signal) => resolve({ flushed, begun, stderr, signal, seed }));
  });
}

/** What each tree ought to hold after the flushes from `first` on; the last ones are possible too. */
function statesOf(seed: number, from: number, until: number): ReadonlyMap<Name, string[][]> {
  const { stores, inner } = plainStores();
  const histories = new Histories(seed);
  const states = new Map<Name, string[][]>(NAMES.map((name) => [name, []]));
  for (let flush = 0; flush <= until; flush++) {
    if (flush > 0) {
      histories.round(stores);
      for (const name of NAMES) stores[name].flush();
    }
    if (flush >= from) for (const name of NAMES) states.get(name)?.push(inner(name));
  }
  return states;
}

/** What is wrong after one kill; undefined: nothing. */
async function kill(program: string, random: Random): Promise<string | undefined> {
  const directory = temporaryDirectory('streams-kill');
  const { flushed, begun, seed, stderr, signal } = await live(program, directory, random);
  if (signal !== 'SIGKILL') return `it ended by itself: ${stderr}`;
  const { findings } = await verify(directory);
  if (findings.length > 0) return `damaged: ${JSON.stringify(findings[0])}`;
  // What it said last may not have been heard: the pipe was read to its end, so it has been.
  const states = statesOf(seed, flushed, begun);
  const db = await Weirpool.open(directory, { readOnly: true });
  try {
    for (const name of NAMES) {
      const found = JSON.stringify(contentOf(new TreeStore(db.tree(name))));
      const possible = (states.get(name) ?? []).map((state) => JSON.stringify(state));
      if (possible.includes(found)) continue;
      return `${name} is of no flush from ${flushed} to ${begun}`;
    }
  } finally {
    await db.close();
  }
  return undefined;
}

it(
  'what was flushed survives a kill, whole, and nothing else does',
  async () => {
    const program = await bundleScenario('streams-kill');
    const random = new Random(testSeed());
    for (let number = 0; number < KILLS; number++) {
      expect(await kill(program, random), `kill ${number}`).toBeUndefined();
    }
  },
  KILLS * MS_PER_KILL,
);

const BROKEN: readonly (readonly [string, Patch])[] = [
  [
    'acknowledging what is in memory',
    {
      file: 'src/streams/tree-store.ts',
      find: 'this.#tree.batch(operations, this.#options);',
      replace: 'this.#tree.batch(operations);',
    },
  ],
  [
    'flushing in two batches',
    {
      file: 'src/streams/tree-store.ts',
      find: 'this.#tree.batch(operations, this.#options);',
      replace:
        'const half = operations.length >>> 1; this.#tree.batch(operations.slice(half), this.#options); ' +
        'if (half > 0) this.#tree.batch(operations.slice(0, half), this.#options);',
    },
  ],
];

it.each(BROKEN)(
  'a kill shows %s',
  async (_, patch) => {
    const program = await bundleScenario('streams-kill', [patch]);
    const random = new Random(1);
    const wrong: string[] = [];
    for (let number = 0; number < VARIANT_KILLS && wrong.length === 0; number++) {
      const found = await kill(program, random);
      if (found !== undefined) wrong.push(found);
    }
    expect(wrong.join()).toMatch(/is of no flush/);
  },
  VARIANT_KILLS * MS_PER_KILL,
);
