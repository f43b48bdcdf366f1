/**
 * One death: a store of its own, a victim that stops at a step and is terminated there, and a look
 * at what is left: with the pool that goes on or has stopped, and after reopening.
 */
import type { Worker } from 'node:worker_threads';
import { changed, differences, type Facts } from '../../../src/harness/index.ts';
import { startThread } from '../../../src/harness/parts.ts';
import { BufferPool, verify, Weirpool, type WeirpoolOptions } from '../../../src/index.ts';
import type { Reaper } from '../../../src/memory/reaper.ts';
import {
  type Act,
  BLOBS,
  KEYS,
  keyOf,
  NEW,
  OLD,
  oldValue,
  POOL_FRAMES,
  type PoolAct,
  type PoolSide,
  type TreeAct,
  type TreeSide,
} from './death-acts.ts';
import {
  DEATH_WORDS,
  type GatedPaths,
  GO,
  REACHED,
  STATE,
  STEPS,
  TRACE_MAX,
} from './death-gate.ts';
import { heldOf } from './death-held.ts';

export const PLAY = 'death-victim';
const PATIENCE_MS = 30_000;
/** How long others keep what the victim waits for. */
const HOLD_MS = 40;
const RING_BYTES = 32 * 1024;

export const TREE_OPTIONS: WeirpoolOptions = {
  blobBytes: 4096,
  frames: 80,
  blobsMax: 1024,
  frameWaitMs: 5000,
  log: { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 3 * RING_BYTES },
  checkpoint: { intervalMs: 0, ageMs: 0 },
};

const POOL_OPTIONS = { blobBytes: 4096, frames: POOL_FRAMES, blobsMax: 64, frameWaitMs: 5000 };

export interface VictimTask {
  readonly act: string;
  readonly handle: unknown;
  readonly ids: readonly number[];
  readonly modules: GatedPaths;
  readonly dieAt: number;
  readonly words: Int32Array;
  readonly trace: Int32Array;
}

export interface Trial {
  readonly directory: string;
  readonly self: string;
  readonly modules: GatedPaths;
  /** After how many steps; -1: never. */
  readonly dieAt: number;
}

export interface Death {
  /** Whether the victim has come that far. */
  readonly reached: boolean;
  readonly poisoned: boolean;
  /** Sites of the steps that were made. */
  readonly trace: readonly number[];
  readonly wrong: readonly string[];
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function text(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return code === undefined ? String(message) : `${code}: ${message}`;
}

/** Why the pool has stopped, or undefined; anything but the death is wrong. */
function stopped(pool: BufferPool, wrong: string[]): boolean {
  try {
    pool.list();
    return false;
  } catch (error) {
    const cause = (error as Error).cause as { readonly code?: string } | undefined;
    if (cause?.code !== 'WORKER_DIED') wrong.push(`the pool has stopped by ${text(error)}`);
    return true;
  }
}

/** Lets the victim come to its step, and die there. */
async function kill(
  trial: Trial,
  task: Omit<VictimTask, 'words' | 'trace' | 'modules' | 'dieAt'>,
  meanwhile: () => (() => void) | undefined,
): Promise<{
  readonly reached: boolean;
  readonly trace: readonly number[];
  readonly wrong: string[];
}> {
  const words = new Int32Array(new SharedArrayBuffer(DEATH_WORDS * 4));
  const trace = new Int32Array(new SharedArrayBuffer(TRACE_MAX * 4));
  const { self, modules, dieAt } = trial;
  const worker: Worker = startThread(self, PLAY, { ...task, modules, dieAt, words, trace });
  const wrong: string[] = [];
  worker.on('error', (error) => wrong.push(`the victim: ${text(error)}`));
  const gone = new Promise((resolve) => worker.once('exit', resolve));
  const ready = new Promise((resolve) => worker.once('message', resolve));
  await Promise.race([ready, gone]);
  const release = meanwhile();
  const began = performance.now();
  let released = release === undefined;
  Atomics.store(words, STATE, GO);
  Atomics.notify(words, STATE);
  const state = (): number => Atomics.load(words, STATE);
  while (state() === GO && wrong.length === 0) {
    const ms = performance.now() - began;
    if (!released && ms > HOLD_MS) {
      released = true;
      release?.();
    }
    if (ms > PATIENCE_MS) wrong.push('the victim does not come to its end');
    await pause(1);
  }
  if (state() === REACHED || wrong.length > 0) await worker.terminate();
  await gone;
  if (!released) release?.();
  const steps = Math.min(TRACE_MAX, Atomics.load(words, STEPS));
  return { reached: state() === REACHED, trace: [...trace.subarray(0, steps)], wrong };
}

function reapNow(pool: BufferPool): void {
  const { reaper } = pool.core.thread as { readonly reaper: Reaper };
  try {
    reaper.reapVanished();
  } catch {
    // It has found that the pool must stop.
  }
}

async function closeStopped(opened: { close(): Promise<void> }, wrong: string[]): Promise<void> {
  try {
    await opened.close();
  } catch (error) {
    if ((error as { code?: string }).code !== 'POISONED') wrong.push(`close: ${text(error)}`);
  }
}

/** Whatever it says: it is known to be wrong. */
async function closeLeaking(
  opened: { close(): Promise<void> },
  wrong: string[],
): Promise<string[]> {
  await opened.close().catch(() => undefined);
  return wrong;
}

async function closeRunning(opened: { close(): Promise<void> }, wrong: string[]): Promise<void> {
  try {
    await opened.close();
  } catch (error) {
    wrong.push(`close: ${text(error)}`);
  }
}

// --- a store with a log ----------------------------------------------------------------------------

export function treeSideOf(db: Weirpool): TreeSide {
  const codecs = { key: 'utf8', value: 'utf8' } as const;
  return { db, trees: [db.tree('first', codecs), db.tree('second', codecs)] };
}

function factsOf({ trees }: TreeSide): Facts {
  return new Map(
    trees.flatMap((tree, n) => [...tree.range()].map(([k, v]) => [`${n}/${k}`, v] as const)),
  );
}

async function openTree(directory: string): Promise<TreeSide> {
  return treeSideOf(await Weirpool.open(directory, TREE_OPTIONS));
}

async function treeDeath(act: TreeAct, trial: Trial): Promise<Death> {
  const side = await openTree(trial.directory);
  const { db, trees } = side;
  for (const tree of trees) for (let n = 0; n < KEYS; n++) tree.put(keyOf(n), oldValue(n));
  await db.checkpoint();
  const { threads } = db.stats();
  const before = factsOf(side);
  const after = changed(
    before,
    new Map([...act.changes].map(([key, value]) => [`0/${key}`, value])),
  );
  const task = { act: act.name, handle: db.handle, ids: [] };
  const { wrong, ...rest } = await kill(trial, task, () => act.meanwhile?.(side));
  reapNow(db.pool);
  const poisoned = stopped(db.pool, wrong);
  let allowed: readonly Facts[] = rest.reached ? [before, after] : [after];
  if (poisoned) {
    await closeStopped(db, wrong);
  } else {
    wrong.push(...(await heldOf(db.pool, threads)));
    // Who goes on now may wait for the dead for ever.
    if (wrong.length > 0) return { ...rest, poisoned, wrong: await closeLeaking(db, wrong) };
    allowed = [await goOn(side, allowed, wrong)];
    await closeRunning(db, wrong);
  }
  const again = await openTree(trial.directory);
  compare(factsOf(again), allowed, 'after reopening', wrong);
  again.trees[0].put('one more', 'value');
  await again.db.close();
  const { findings } = await verify(trial.directory);
  wrong.push(...findings.map((finding) => `verify: ${JSON.stringify(finding)}`));
  return { ...rest, poisoned, wrong };
}

function compare(found: Facts, allowed: readonly Facts[], when: string, wrong: string[]): void {
  const texts = allowed.map((facts) => differences(found, facts));
  if (!texts.includes('')) wrong.push(`${when}: ${texts.join('; or: ')}`);
}

/** Everything was given back, everybody can do everything. What is there in the end. */
async function goOn(side: TreeSide, allowed: readonly Facts[], wrong: string[]): Promise<Facts> {
  const { db, trees } = side;
  try {
    compare(factsOf(side), allowed, 'the others see', wrong);
    for (let n = 0; n < KEYS; n++) trees[0].put(keyOf(n), oldValue(n + 1));
    await db.checkpoint();
    db.snapshot().close();
    const other = new Set(db.pool.list());
    for (const id of other) db.pool.evict(id);
  } catch (error) {
    wrong.push(`the others cannot go on: ${text(error)}`);
  }
  return factsOf(side);
}

// --- a pool without a log -------------------------------------------------------------------------------

/** The one value of all bytes of each blob; torn ones are wrong. */
function valuesOf({ pool, ids }: PoolSide, wrong: string[]): number[] {
  return ids.map((id) => {
    const bytes = new Uint8Array(pool.blobBytes);
    pool.readInto(id, bytes);
    const value = bytes[0] as number;
    if (bytes.some((byte) => byte !== value)) wrong.push(`blob ${id} is torn`);
    return value;
  });
}

function checkValues(
  side: PoolSide,
  first: readonly number[],
  when: string,
  wrong: string[],
): void {
  const [value, ...others] = valuesOf(side, wrong);
  if (!first.includes(value as number)) wrong.push(`${when}: the first blob has ${value}`);
  if (others.some((other) => other !== OLD)) wrong.push(`${when}: other blobs have ${others}`);
}

async function poolDeath(act: PoolAct, trial: Trial): Promise<Death> {
  const pool = await BufferPool.open(trial.directory, POOL_OPTIONS);
  const ids = Array.from({ length: BLOBS }, () => pool.allocate());
  for (const id of ids) pool.writeBlob(id, new Uint8Array(pool.blobBytes).fill(OLD));
  const side = { pool, ids };
  const { threads } = pool.stats();
  const task = { act: act.name, handle: pool.handle, ids };
  const { wrong, ...rest } = await kill(trial, task, () => act.meanwhile?.(side));
  reapNow(pool);
  const poisoned = stopped(pool, wrong);
  const allowed = act.changes ? (rest.reached ? [OLD, NEW] : [NEW]) : [OLD];
  if (poisoned) {
    await closeStopped(pool, wrong);
  } else {
    wrong.push(...(await heldOf(pool, threads)));
    if (wrong.length > 0) return { ...rest, poisoned, wrong: await closeLeaking(pool, wrong) };
    try {
      checkValues(side, allowed, 'the others see', wrong);
      for (const id of ids.slice(1)) pool.writeBlob(id, new Uint8Array(pool.blobBytes).fill(OLD));
    } catch (error) {
      wrong.push(`the others cannot go on: ${text(error)}`);
    }
    await closeRunning(pool, wrong);
  }
  const again = await BufferPool.open(trial.directory, POOL_OPTIONS);
  checkValues({ pool: again, ids }, allowed, 'after reopening', wrong);
  wrong.push(...again.verify().map((finding) => `verify: ${JSON.stringify(finding)}`));
  await again.close();
  return { ...rest, poisoned, wrong };
}

export function die(act: Act, trial: Trial): Promise<Death> {
  return act.kind === 'tree' ? treeDeath(act, trial) : poolDeath(act, trial);
}
