/**
 * A waiter is woken by the release and does not wait for its time to run out: here a park lasts a
 * minute, so that a wake-up that is lost is a hang. First each kind of waiting once, with the
 * waiter surely parked; then two threads that hand a latch to each other as fast as they can.
 */
import { isMainThread, workerData } from 'node:worker_threads';
import {
  B_WAITERS,
  BUSY,
  type ControlExports,
  DESC_B,
  DESC_SHIFT,
  H_FRAME_WAITERS,
  LOCK_PREFETCH,
  LOCK_WAITED,
  OK,
} from '../../src/generated/layout.ts';
import type { PoolMemory } from '../../src/memory/pool-memory.ts';
import { PoolThread } from '../../src/memory/thread.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import { checkEqual, runWorkers, startWorker } from '../support/checks.ts';

const LONG_MS = 60_000;
const BLOB_BYTES = 4096;
const HANDOVERS = 1500;

type Kind = 'shared' | 'exclusive' | 'exclusive after shared' | 'load' | 'frame' | 'lock' | 'swap';
const KINDS: readonly Kind[] = [
  'shared',
  'exclusive',
  'exclusive after shared',
  'load',
  'frame',
  'lock',
];

interface Task {
  readonly memory: PoolMemory;
  readonly kind: Kind;
  readonly frame: number;
  readonly version: number;
  readonly words: Int32Array;
  readonly turn: number;
}

function wait(task: Task): void {
  const { control, me } = new PoolThread(task.memory);
  if (task.kind === 'swap') {
    swap(task, control, me);
  } else if (task.kind === 'frame') {
    control.waitForFrame(me, control.enterFrameQueue(me), LONG_MS);
    control.leaveFrameQueue(me);
  } else {
    checkEqual(waitOnce(task, control, me), OK, task.kind);
  }
}

function waitOnce({ kind, frame, version }: Task, control: ControlExports, me: number): number {
  if (kind === 'shared') return control.acquireShared(frame, me, LONG_MS);
  if (kind === 'load') return control.waitMoved(frame, version, me, LONG_MS);
  if (kind === 'lock') return control.lockTake(LOCK_PREFETCH, me, LONG_MS);
  return control.acquireExclusive(frame, me, LONG_MS);
}

function swap({ frame, words, turn }: Task, control: ControlExports, me: number): void {
  for (let n = 0; n < HANDOVERS; n++) {
    // SLICE is: woken, but another thread was faster.
    if ((n + turn) % 3 === 0) {
      while (control.acquireShared(frame, me, LONG_MS) !== OK);
      control.releaseShared(frame, me);
    } else {
      while (control.acquireExclusive(frame, me, LONG_MS) !== OK);
      words[0] = (words[0] as number) + 1;
      control.releaseExclusive(frame, me);
    }
  }
}

/** Takes what `kind` waits for; returns how to give it back and the word that shows the waiter. */
function take(kind: string, { control, me }: PoolThread, frame: number) {
  const waiters = DESC_B + frame * 2 ** DESC_SHIFT + B_WAITERS;
  switch (kind) {
    case 'exclusive after shared':
      checkEqual(control.acquireShared(frame, me, 0), OK, kind);
      return { waiters, give: () => control.releaseShared(frame, me) };
    case 'load':
      checkEqual(control.evictFrame(frame, control.blobOf(frame), me, 0), OK, kind);
      return {
        waiters,
        give: () => control.unmap(frame, me, 0) || control.giveFree(frame, me, 0),
      };
    case 'frame':
      control.pin(control.blobOf(frame), me, 0);
      return { waiters: H_FRAME_WAITERS, give: () => control.unpin(frame, me) };
    case 'lock':
      checkEqual(control.lockTake(LOCK_PREFETCH, me, 0), OK, kind);
      return { waiters: LOCK_PREFETCH, give: () => control.lockGive(LOCK_PREFETCH) };
    default:
      checkEqual(control.acquireExclusive(frame, me, 0), OK, kind);
      return { waiters, give: () => control.releaseExclusive(frame, me) };
  }
}

async function one(kind: Kind): Promise<void> {
  const { pool, id } = await open();
  const thread = new PoolThread(pool.handle.memory);
  const frame = thread.control.pin(id, thread.me, 0);
  thread.control.unpin(frame, thread.me);
  const { waiters, give } = take(kind, thread, frame);
  const version = thread.control.movingVersion(frame, id);
  const words = new Int32Array(0);
  const task: Task = { memory: pool.handle.memory, kind, frame, version, words, turn: 0 };
  const { done } = startWorker(import.meta.url, task);
  const isWaiting = (): boolean => {
    const seen = thread.memory.load(waiters);
    return kind === 'lock' ? (seen & LOCK_WAITED) !== 0 : seen !== 0;
  };
  while (!isWaiting()) await new Promise((resolve) => setTimeout(resolve, 1));
  // Registered is not parked yet; a moment later it is, most of the time.
  await new Promise((resolve) => setTimeout(resolve, 5));
  give();
  checkEqual(await done, 0, `exit code of the thread that waited: ${kind}`);
}

async function open() {
  const options = { store: 'memory', frames: 4, blobBytes: BLOB_BYTES } as const;
  const pool = await BufferPool.open('memory', { ...options, threads: 'inline' });
  const id = pool.allocate();
  pool.writeBlob(id, new Uint8Array(BLOB_BYTES));
  pool.read(id).release();
  return { pool, id };
}

async function main(): Promise<void> {
  for (const kind of KINDS) await one(kind);
  const { pool, id } = await open();
  const { control, me } = new PoolThread(pool.handle.memory);
  const frame = control.pin(id, me, 0);
  checkEqual(frame === BUSY, false, 'the blob is there');
  const words = new Int32Array(new SharedArrayBuffer(4));
  const task: Omit<Task, 'turn'> = {
    memory: pool.handle.memory,
    kind: 'swap',
    frame,
    version: 0,
    words,
  };
  const turns = [0, 1, 2];
  await runWorkers(
    import.meta.url,
    turns.map((turn): Task => ({ ...task, turn })),
  );
  checkEqual(words[0], turns.length * HANDOVERS * (2 / 3), 'I1 every exclusive turn counts');
}

if (isMainThread) await main();
else wait(workerData as Task);
