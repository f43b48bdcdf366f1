/**
 * A thread that had to wait for a shard's lock goes on with the values it had before.
 *
 * The lock is taken by nobody's number and given back by a worker, so that every call parks.
 */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import * as assets from '../../src/generated/assets.ts';
import { LOCKS, SLICE } from '../../src/generated/layout.ts';
import { createPoolMemory } from '../../src/memory/pool-memory.ts';
import { PoolThread } from '../../src/memory/thread.ts';
import { compileModules } from '../../src/memory/wasm.ts';
import { checkEqual, sleepSync } from '../support/checks.ts';

const CALLS = 20;
const NOBODY = 77;
const PARK_MS = 100;
const HELD_MS = 2;

interface Job {
  readonly words: Int32Array;
  readonly turn: Int32Array;
}

const LOCK = LOCKS / Int32Array.BYTES_PER_ELEMENT;

function giveBack({ words, turn }: Job): void {
  for (let call = 0; call < CALLS; call++) {
    Atomics.wait(turn, 0, call);
    sleepSync(HELD_MS);
    Atomics.store(words, LOCK, 0);
    Atomics.notify(words, LOCK);
  }
}

function main(): void {
  const modules = compileModules({
    control: assets.CONTROL_WASM,
    controlFenced: assets.CONTROL_FENCED_WASM,
    kernels: assets.KERNELS_WASM,
  });
  const plan = { frames: 8, blobBytes: 4096, shards: 1, blobsMax: 64, slotsMin: 0 };
  const { control, memory, me } = new PoolThread(createPoolMemory(plan, modules));
  const turn = new Int32Array(new SharedArrayBuffer(4));
  const job: Job = { words: memory.i32, turn };
  new Worker(new URL(import.meta.url), { workerData: job });
  for (let call = 0; call < CALLS; call++) {
    const id = 5 + call;
    const frame = control.takeFree(me, PARK_MS);
    Atomics.store(memory.i32, LOCK, NOBODY);
    Atomics.store(turn, 0, call + 1);
    Atomics.notify(turn, 0);
    while (control.publishLoading(id, frame, me, PARK_MS) === SLICE);
    checkEqual(control.blobOf(frame), id, 'I4 the id that a thread published after it had waited');
    control.unmap(frame, me, PARK_MS);
    control.giveFree(frame, me, PARK_MS);
  }
}

if (isMainThread) main();
else giveBack(workerData as Job);
