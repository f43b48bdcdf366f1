/**
 * A worker dies while it holds something. Arguments: how it dies, what it holds, and whether the
 * main thread is `parked` (it waits for what the dead one holds, and no event can reach it) or has
 * `awaited` the end of the worker.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, threadId, workerData } from 'node:worker_threads';
import type { PoolHandle } from '../../src/pool/attach.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import type { BackendContext, StoreBackend } from '../../src/store/contract.ts';
import { createMemoryStore } from '../../src/store/memory-backend.ts';
import { check, checkEqual, startWorker } from '../support/checks.ts';
import {
  attachOther,
  BLOB_BYTES,
  blobValue,
  checkNothingHeld,
  checkPoisoned,
  die,
  FRAMES,
  filled,
  HOWS,
  type HookedOptions,
  type How,
  hookedBackend,
  hooks,
  Signals,
  startMortal,
  until,
  writeBlobs,
} from './death-support.ts';

type What = 'pins' | 'shared' | 'claim' | 'load' | 'exclusive' | 'commit' | 'nothing';
const WHATS: readonly What[] = [
  'pins',
  'shared',
  'claim',
  'load',
  'exclusive',
  'commit',
  'nothing',
];

/** Signals: the victim holds what it is to hold; it may die; a bystander is about to park. */
const HOLDING = 0;
const DIE = 1;
const PARKING = 2;

const BLOBS = FRAMES + 2;
const NEW_VALUE = 200;

interface Task {
  readonly role: 'victim' | 'bystander';
  readonly how: How;
  readonly what: What;
  readonly handle: PoolHandle;
  readonly words: Int32Array;
  readonly ids: readonly number[];
}

export function createBackend(context: BackendContext, options: unknown): StoreBackend {
  return hookedBackend(import.meta.url, context, options as HookedOptions);
}

// --- the worker that dies --------------------------------------------------------------------

async function victim({ how, what, handle, words, ids }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  const signals = new Signals(words);
  const end = (): never => {
    signals.raise(HOLDING);
    signals.waitSync(DIE);
    die(how);
  };
  const [first, second] = ids as [number, number];
  const uncached = ids.at(-1) as number;
  switch (what) {
    case 'pins':
      for (const id of ids.slice(0, FRAMES)) pool.pin(id);
      return end();
    case 'shared':
      pool.read(first);
      pool.read(first);
      return end();
    case 'claim':
      signals.raise(HOLDING);
      pool.write(first);
      return end();
    case 'load':
      hooks.read = end;
      pool.pin(uncached);
      return end();
    case 'exclusive':
      pool.write(first).bytes.fill(NEW_VALUE, 0, BLOB_BYTES / 2);
      return end();
    case 'commit':
      hooks.commit = end;
      pool.writeBlob(second, filled(NEW_VALUE));
      return end();
    case 'nothing':
      return end();
  }
}

/** Waits for what the victim holds; must learn of the poison. */
async function bystander({ what, handle, words, ids }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  new Signals(words).raise(PARKING);
  const [first, , third] = ids as [number, number, number];
  checkPoisoned(
    () => (what === 'exclusive' ? pool.read(first) : pool.writeBlob(third, filled(1))),
    `a parked worker learns that the holder of ${what} has died`,
  );
  await pool.close();
}

// --- the main thread -------------------------------------------------------------------------

interface Case {
  readonly how: How;
  readonly what: What;
  readonly parked: boolean;
}

function name({ how, what, parked }: Case): string {
  return `${how} holding ${what}, main thread ${parked ? 'parked' : 'awaiting'}`;
}

const poisons = (what: What): boolean => what === 'exclusive' || what === 'commit';

async function runCase(one: Case): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-death-'));
  const options: HookedOptions = poisons(one.what)
    ? { directory }
    : { data: createMemoryStore(BLOB_BYTES, { capacityBytes: 64 * BLOB_BYTES }) };
  const pool = await BufferPool.open(directory, {
    frames: FRAMES,
    blobBytes: BLOB_BYTES,
    frameWaitMs: 2500,
    store: { module: import.meta.url, options },
  });
  const ids = writeBlobs(pool, BLOBS);
  for (const id of ids.slice(0, FRAMES)) pool.read(id).release();
  try {
    await dieAndLook(one, pool, ids);
  } finally {
    await pool.close();
  }
  if (poisons(one.what)) await reopen(one, directory, ids);
  rmSync(directory, { recursive: true });
}

async function dieAndLook(one: Case, pool: BufferPool, ids: readonly number[]): Promise<void> {
  const { how, what, parked } = one;
  const signals = new Signals();
  const [first] = ids as [number];
  const helper = what === 'claim' ? await attachOther(pool) : undefined;
  const reader = helper?.read(first);
  const task: Task = { role: 'victim', how, what, handle: pool.handle, words: signals.words, ids };
  const { worker, gone } = startMortal(import.meta.url, task);
  await signals.wait(HOLDING);
  if (what === 'claim') await until(() => isClaimed(pool, first));
  const others = poisons(what) ? [await park({ ...task, role: 'bystander' })] : [];
  signals.raise(DIE);
  const ended = how === 'terminate' ? worker.terminate() : undefined;
  if (!parked) {
    await gone;
    await ended;
  }
  const guard = lookAt(one, pool, ids);
  await gone;
  await ended;
  for (const { done } of others) checkEqual(await done, 0, 'the parked worker ends well');
  if (poisons(what)) {
    checkPoisoned(() => pool.pin(first), name(one));
    checkPoisoned(() => pool.list(), name(one));
    return;
  }
  guard?.release();
  reader?.release();
  await helper?.close();
  await livesOn(pool, ids);
}

function isClaimed(pool: BufferPool, id: number): boolean {
  const pin = pool.pin(id);
  const latch = pin.tryRead();
  latch?.release();
  pin.release();
  return latch === undefined;
}

/** The end of the bystander, wrapped: a promise of a promise would wait for it. */
async function park(task: Task): Promise<{ readonly done: Promise<number> }> {
  const { done } = startWorker(import.meta.url, task);
  await new Signals(task.words).wait(PARKING);
  return { done };
}

/** What the main thread asks for: just what the dead worker was holding. */
function lookAt(one: Case, pool: BufferPool, ids: readonly number[]) {
  const { what, parked } = one;
  const [first, , , fourth] = ids as [number, number, number, number];
  const uncached = ids.at(-1) as number;
  switch (what) {
    case 'shared': {
      if (parked) return pool.write(first);
      using pin = pool.pin(first);
      const guard = pin.tryWrite();
      check(guard !== undefined, `G1 ${name(one)}: the shared latches were given back`);
      guard.release();
      return undefined;
    }
    case 'claim': {
      if (parked) return pool.read(first);
      using pin = pool.pin(first);
      const guard = pin.tryRead();
      check(guard !== undefined, `G1 ${name(one)}: the claim was taken back`);
      guard.release();
      return undefined;
    }
    case 'exclusive':
      checkPoisoned(() => pool.write(first), `I1 ${name(one)}`);
      return undefined;
    case 'commit':
      checkPoisoned(() => pool.writeBlob(fourth, filled(1)), `I6 ${name(one)}`);
      return undefined;
    case 'pins':
    case 'load':
    case 'nothing': {
      checkEqual(blobValue(pool, uncached), uncached, `I4 ${name(one)}: bytes of the blob`);
      return pool.pin(uncached);
    }
  }
}

/** The pool is as good as new: everything is there, everything can go, others can come. */
async function livesOn(pool: BufferPool, ids: readonly number[]): Promise<void> {
  checkNothingHeld(pool);
  checkEqual(pool.stats().threads, 1, 'G1 threads that are attached');
  for (const id of ids) {
    checkEqual(blobValue(pool, id), id, `I1 blob ${id} is unchanged`);
    pool.writeBlob(id, filled(id));
    check(pool.evict(id), `I1 blob ${id} can be evicted`);
  }
  checkEqual(pool.cachedCount(), 0, 'I4 blobs in frames');
  checkEqual(pool.stats().free, FRAMES, 'I4 no frame was lost');
  const again = await attachOther(pool);
  checkEqual(pool.stats().threads, 2, 'G1 the slot is used again');
  again.read(ids[0] as number).release();
  await again.close();
}

/** The same process opens the directory again and finds what was committed. */
async function reopen(one: Case, directory: string, ids: readonly number[]): Promise<void> {
  const pool = await BufferPool.open(directory, { frames: FRAMES, blobBytes: BLOB_BYTES });
  checkEqual(pool.list().join(), ids.join(), `I6 ${name(one)}: blobs after reopening`);
  for (const id of ids) {
    const value = blobValue(pool, id);
    const maybe = one.what === 'commit' && id === ids[1] && value === NEW_VALUE;
    check(value === id || maybe, `I6 ${name(one)}: blob ${id} is as committed, not ${value}`);
  }
  checkEqual(pool.verify().length, 0, 'I6 findings after reopening');
  await pool.close();
}

function* cases(): Generator<Case> {
  const [how, what, when] = process.argv.slice(2);
  for (const one of HOWS.filter((value) => how === undefined || value === how)) {
    for (const held of WHATS.filter((value) => what === undefined || value === what)) {
      // Nobody ends by itself while it is parked; what a store throws is an error, not a death.
      if (held === 'claim' && one !== 'terminate') continue;
      if (one === 'throw' && (held === 'load' || held === 'commit')) continue;
      for (const parked of [true, false]) {
        // To run out of memory takes long; the way that an event takes is known from the others.
        if (one === 'oom' && !parked && held !== 'pins') continue;
        if (when !== undefined && parked !== (when === 'parked')) continue;
        yield { how: one, what: held, parked };
      }
    }
  }
}

async function main(): Promise<void> {
  let count = 0;
  for (const one of cases()) {
    const began = performance.now();
    await runCase(one);
    count++;
    console.log(`${name(one)}: ${Math.round(performance.now() - began)} ms`);
  }
  check(count > 0, `there are such cases (thread ${threadId})`);
}

const task = workerData as Task | null;
// No top-level await: the pool imports this very module while `main` waits for it.
if (isMainThread) void main();
else if (task?.role === 'victim') void victim(task);
else if (task?.role === 'bystander') void bystander(task);
