/**
 * Closing a pool in its opener: refuse, drain, write what is dirty, let go.
 *
 * Owns:        the status from CLOSING to CLOSED.
 * Invariants:  I1  a dirty frame is written and committed before its mark is taken off;
 *              G1  what other threads hold is waited for; who never releases is reported.
 * Threads:     the opener.
 */
import { WeirpoolError } from '../errors.ts';
import {
  H_LOG_DURABLE,
  H_LOG_TAIL,
  H_STATUS,
  LOCK_COMMIT,
  OK,
  S_WRITING,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
  STATUS_CLOSED,
  STATUS_CLOSING,
  STATUS_OPEN,
  STATUS_POISONED,
} from '../generated/layout.ts';
import { moveStatus, wakeAll } from '../memory/poison.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import type { BlobId, BlobMapping } from '../store/contract.ts';
import type { PoolCore } from './core.ts';
import type { OpenedPool } from './open.ts';

/** How long a close waits for guards of other threads, in ms. */
const DRAIN_MS = 5000;
const DRAIN_NAP_MS = 2;
/** Dirty frames that one commit of a close carries. */
const FRAMES_PER_COMMIT = 64;

function nap(): Promise<void> {
  return new Promise((done) => setTimeout(done, DRAIN_NAP_MS));
}

function latchedFrames({ control, memory }: PoolCore): number[] {
  const frames: number[] = [];
  for (let frame = 0; frame < memory.shared.frames; frame++) {
    if (control.isLatched(frame) !== 0) frames.push(frame);
  }
  return frames;
}

/** Waits until nobody holds a latch any more: the frames that are still held after DRAIN_MS. */
async function drain(core: PoolCore): Promise<ReadonlySet<number>> {
  const deadline = performance.now() + DRAIN_MS;
  for (;;) {
    const held = latchedFrames(core);
    const inside = core.control.gateInside() !== 0;
    if ((held.length === 0 && !inside) || performance.now() > deadline) return new Set(held);
    core.thread.reaper.reapVanished();
    await nap();
  }
}

/** Writes the dirty frames that nobody holds: their bytes stand still, the pool is closing. */
function writeDirty(core: PoolCore, held: ReadonlySet<number>): void {
  const { control, memory, store } = core;
  let batch: number[] = [];
  const flush = (): void => {
    const frames = batch;
    batch = [];
    if (frames.length === 0) return;
    store.exclusively(() => commitFrames(core, frames));
    for (const frame of frames) control.clearDirty(frame);
  };
  for (let frame = 0; frame < memory.shared.frames; frame++) {
    if (control.dirtySeq(frame) === 0 || held.has(frame)) continue;
    batch.push(frame);
    if (batch.length === FRAMES_PER_COMMIT) flush();
  }
  flush();
}

function commitFrames({ control, memory, store }: PoolCore, frames: readonly number[]): void {
  const staged: BlobMapping[] = [];
  try {
    for (const frame of frames) {
      staged.push(store.stage(control.blobOf(frame), memory.frame(frame).bytes).blob);
    }
  } catch (error) {
    store.unstage(staged);
    throw error;
  }
  store.commit(staged, []);
}

/**
 * Takes the commit lock between two commits; false after `limitMs`, or when its owner has died and
 * keeps it for ever (the pool is poisoned then).
 */
async function takeCommits({ control, me, thread }: PoolCore, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (control.lockTake(LOCK_COMMIT, me, DRAIN_NAP_MS) !== OK) {
    thread.reaper.reapVanished();
    const owner = control.lockOwner(LOCK_COMMIT);
    const dead = owner !== 0 && control.attachedState(owner - 1) === 0;
    if (dead || performance.now() > deadline) return false;
    await nap();
  }
  return true;
}

/**
 * Refuses new operations from a moment on at which no commit is half way: who is inside one ends
 * it first, its cached image included. A commit may wait for a latch, so not for ever; whoever is
 * still inside then is refused the latch and comes out.
 */
async function beginClosing(core: PoolCore): Promise<void> {
  const taken = await takeCommits(core, DRAIN_MS);
  core.thread.closing = true;
  moveStatus(core.memory, STATUS_OPEN, STATUS_CLOSING);
  if (taken) core.control.lockGive(LOCK_COMMIT);
  wakeAll(core.memory);
}

/** Nobody commits any more: what a thread was inside of can only have been the disk. */
async function endCommits(core: PoolCore): Promise<void> {
  if (await takeCommits(core, Number.POSITIVE_INFINITY)) core.control.lockGive(LOCK_COMMIT);
}

function sumOfWrites(memory: ThreadMemory): number {
  let sum = 0;
  for (let slot = 0; slot < SLOTS_MAX; slot++)
    sum += memory.load(SLOTS + slot * SLOT_BYTES + S_WRITING);
  return sum;
}

/**
 * Waits for the writes that bulk loads of other threads have under way: they must not land in slots
 * of whoever opens the store next. A thread whose event loop stands still cannot say that its write
 * has ended, so not for ever.
 */
async function settleWrites({ memory, thread }: PoolCore): Promise<void> {
  const deadline = performance.now() + DRAIN_MS;
  while (sumOfWrites(memory) > 0 && performance.now() < deadline) {
    thread.reaper.reapVanished();
    await nap();
  }
}

function heldError(core: PoolCore, held: ReadonlySet<number>): WeirpoolError | undefined {
  const ids: BlobId[] = [...held]
    .filter((frame) => core.control.dirtySeq(frame) !== 0)
    .map((frame) => core.control.blobOf(frame));
  if (ids.length === 0) return undefined;
  return new WeirpoolError(
    'LATCH_HELD',
    `Blobs ${ids.join(', ')} were still held by another thread and were not written. Release all ` +
      'guards before the pool is closed.',
    { details: { ids: ids.join(',') } },
  );
}

/**
 * Before anything of a close is done.
 *
 * @throws {WeirpoolError} `LATCH_HELD`, `TX_NESTED`: this thread is in the middle of something.
 */
export function assertIdle({ log, memory, thread }: PoolCore): void {
  // The latches of a change that has poisoned the pool stay until its thread leaves.
  if (memory.load(H_STATUS) === STATUS_POISONED) return;
  log?.transactions.assertNone();
  if (thread.latchesHeld === 0) return;
  throw new WeirpoolError(
    'LATCH_HELD',
    'This thread still holds a latch. Release the guards, then close the pool.',
  );
}

/**
 * Somebody is still inside the gate: no round can end, and the journal must not. The pool stops, so
 * that what is committed in there is refused.
 */
function sealedError({ control, thread }: PoolCore): WeirpoolError | undefined {
  if (control.gateInside() === 0) return undefined;
  const error = new WeirpoolError(
    'LATCH_HELD',
    'Another thread was still between seal and commit of a change. End all mini-transactions ' +
      'before the pool is closed. What was committed is in the log.',
    { outcome: 'unknown' },
  );
  thread.poison(error);
  return error;
}

/**
 * A pool that has stopped may leave records in memory which nobody has waited for: who closes it
 * must hear of them.
 */
function lostError({ memory, thread }: PoolCore): WeirpoolError | undefined {
  const [durableSeq, lastSeq] = [memory.loadU64(H_LOG_DURABLE), memory.loadU64(H_LOG_TAIL)];
  if (memory.load(H_STATUS) !== STATUS_POISONED || durableSeq >= lastSeq) return undefined;
  const { cause, message } = thread.stopped();
  return new WeirpoolError(
    'POISONED',
    `${message} The log is safe up to seq ${durableSeq}; records up to ${lastSeq} were committed.`,
    { outcome: 'unknown', cause, details: { durableSeq, lastSeq } },
  );
}

/** Closes the opener's pool. The store is let go in every case; the first error is thrown. */
export async function closeOpened({ core, loader, sweep, log }: OpenedPool): Promise<void> {
  const { memory, store } = core;
  sweep?.stop();
  let failure: unknown;
  try {
    await core.log?.abortLoads();
    await log?.ready();
    await beginClosing(core);
    await loader?.stop();
    await endCommits(core);
    if (memory.load(H_STATUS) === STATUS_CLOSING) {
      const held = await drain(core);
      if (log !== undefined) failure = sealedError(core) ?? (await log.lastRound());
      if (core.writable) {
        writeDirty(core, held);
        failure = heldError(core, held);
      }
    }
  } catch (error) {
    failure = error;
  }
  await log?.stop();
  if (log !== undefined) failure ??= lostError(core);
  await settleWrites(core);
  const clean = moveStatus(memory, STATUS_CLOSING, STATUS_CLOSED);
  wakeAll(memory);
  try {
    await store.backend.close(clean && failure === undefined);
  } catch (error) {
    failure ??= error;
  } finally {
    core.detach();
  }
  if (failure !== undefined) throw failure;
}
