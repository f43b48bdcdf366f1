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
  H_STATUS,
  LOCK_COMMIT,
  OK,
  STATUS_CLOSED,
  STATUS_CLOSING,
  STATUS_POISONED,
} from '../generated/layout.ts';
import { wakeAll } from '../memory/poison.ts';
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
    if (held.length === 0 || performance.now() > deadline) return new Set(held);
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
  store.assertRoom(frames.length);
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
 * A thread may be in the middle of a commit: it must be out before the store is let go. One that
 * died there keeps the lock for ever (the pool is poisoned), and is out.
 */
async function awaitCommits({ control, me, thread }: PoolCore): Promise<void> {
  const deadline = performance.now() + DRAIN_MS;
  while (control.lockTake(LOCK_COMMIT, me, DRAIN_NAP_MS) !== OK) {
    thread.reaper.reapVanished();
    const owner = control.lockOwner(LOCK_COMMIT);
    const dead = owner !== 0 && control.attachedState(owner - 1) === 0;
    if (dead || performance.now() > deadline) return;
    await nap();
  }
  control.lockGive(LOCK_COMMIT);
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

/** Closes the opener's pool. The store is let go in every case; the first error is thrown. */
export async function closeOpened({ core, loader, sweep }: OpenedPool): Promise<void> {
  const { memory, store, thread } = core;
  sweep?.stop();
  thread.closing = true;
  const poisoned = memory.load(H_STATUS) === STATUS_POISONED;
  if (!poisoned) memory.store(H_STATUS, STATUS_CLOSING);
  wakeAll(memory);
  let failure: unknown;
  try {
    await loader?.stop();
    await awaitCommits(core);
    if (!poisoned) {
      const held = await drain(core);
      writeDirty(core, held);
      failure = heldError(core, held);
    }
  } catch (error) {
    failure = error;
  } finally {
    if (memory.load(H_STATUS) !== STATUS_POISONED) memory.store(H_STATUS, STATUS_CLOSED);
    wakeAll(memory);
    await store.backend.close(memory.load(H_STATUS) === STATUS_CLOSED);
    core.detach();
  }
  if (failure !== undefined) throw failure;
}
