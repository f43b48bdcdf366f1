/**
 * The slot of a dead worker is used by a new one before a late reaper comes, who still means the
 * dead one: it must not touch what the new one holds.
 */
import { isMainThread, workerData } from 'node:worker_threads';
import { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { Reaper } from '../../src/memory/reaper.ts';
import type { PoolHandle } from '../../src/pool/attach.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import { check, checkEqual } from '../support/checks.ts';
import {
  BLOB_BYTES,
  checkNothingHeld,
  die,
  FRAMES,
  Signals,
  startMortal,
  writeBlobs,
} from './death-support.ts';

const HOLDING = 0;
const RELEASE = 1;
const RELEASED = 2;
/** Any slot number but the one that is reaped. */
const LATE_REAPER = 100;

interface Task {
  readonly mortal: boolean;
  readonly handle: PoolHandle;
  readonly words: Int32Array;
  readonly id: number;
}

async function work({ mortal, handle, words, id }: Task): Promise<void> {
  const pool = await BufferPool.attach(handle);
  const signals = new Signals(words);
  const guard = pool.read(id);
  signals.raise(HOLDING);
  signals.waitSync(RELEASE);
  if (mortal) die('terminate');
  checkEqual(guard.bytes[0], id, 'G1 the bytes under the latch of the new thread');
  guard.release();
  signals.raise(RELEASED);
  await pool.close();
}

async function main(): Promise<void> {
  const pool = await BufferPool.open('memory', {
    store: 'memory',
    frames: FRAMES,
    blobBytes: BLOB_BYTES,
  });
  const [id] = writeBlobs(pool, 1) as [number];
  const { control, memory } = view(pool);

  const first = new Signals();
  const dead = startMortal(import.meta.url, {
    mortal: true,
    handle: pool.handle,
    words: first.words,
    id,
  });
  await first.wait(HOLDING);
  const slot = attachedSlots(control).at(-1) as number;
  const seen = control.attachedState(slot);
  await dead.worker.terminate();
  await dead.gone;
  checkEqual(attachedSlots(control).length, 1, 'G1 the slot of the dead thread is free');

  const second = new Signals();
  const live = startMortal(import.meta.url, {
    mortal: false,
    handle: pool.handle,
    words: second.words,
    id,
  });
  await second.wait(HOLDING);
  checkEqual(attachedSlots(control).at(-1), slot, 'the new thread has the old slot');

  new Reaper(memory, LATE_REAPER, { tid: 0, startTime: 0 }).reap(slot, seen);
  const pin = pool.pin(id);
  check(pin.tryWrite() === undefined, 'G1 the latch of the new thread outlives the late reaper');
  pin.release();
  checkEqual(attachedSlots(control).length, 2, 'G1 the new thread stays attached');
  second.raise(RELEASE);
  await second.wait(RELEASED);
  await live.gone;
  checkNothingHeld(pool);
  await pool.close();
}

function view(pool: BufferPool) {
  const memory = new ThreadMemory(pool.handle.memory);
  return { memory, control: memory.control };
}

function attachedSlots(control: ThreadMemory['control']): number[] {
  return [0, 1, 2, 3].filter((slot) => control.attachedState(slot) !== 0);
}

if (isMainThread) void main();
else void work(workerData as Task);
