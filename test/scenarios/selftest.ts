/**
 * The scenario that tests the scenario runner: two workers count under one lock of the product.
 *
 * The first argument chooses what happens: `count` (default), `hang`, `leave` (an exception in a
 * worker), `say` (prints what it was given).
 */
import { isMainThread, workerData } from 'node:worker_threads';
import { WeirpoolError } from '../../src/errors.ts';
import { CONTROL_FENCED_WASM, CONTROL_WASM, KERNELS_WASM } from '../../src/generated/assets.ts';
import { LOCK_PREFETCH, OK } from '../../src/generated/layout.ts';
import { compileModules, instantiateControl } from '../../src/memory/wasm.ts';
import { type WasmMemory, type WasmModule, wasm } from '../../src/memory/webassembly.ts';
import { Barrier, checkEqual, checkThrows, runWorkers, sleepSync } from '../support/checks.ts';
import { testSeed } from '../support/seed.ts';

const WORKERS = 2;
const ROUNDS = 40;
/** A word of the control memory's header that this program has for itself. */
const COUNTER = 1020;

interface Shared {
  readonly me: number;
  readonly mode: string;
  readonly memory: WasmMemory;
  readonly module: WasmModule;
  readonly barrier: SharedArrayBuffer;
}

function countUnderLock({ me, memory, module, barrier }: Shared): void {
  const control = instantiateControl(module, memory);
  const words = new Int32Array(memory.buffer);
  new Barrier(barrier, WORKERS).meet();
  for (let round = 0; round < ROUNDS; round++) {
    while (control.lockTake(LOCK_PREFETCH, me, 100) !== OK);
    const seen = words[COUNTER / 4] ?? 0;
    sleepSync(1);
    checkEqual(words[COUNTER / 4], seen, 'D1 the lock excludes');
    words[COUNTER / 4] = seen + 1;
    control.lockGive(LOCK_PREFETCH);
  }
}

function spinForEver(): never {
  for (;;) Math.sqrt(2);
}

async function main(mode: string): Promise<void> {
  if (mode === 'say') {
    const { SAID = '' } = process.env;
    console.log([...process.argv.slice(3), SAID, testSeed()].join(' '));
    return;
  }
  const memory = new wasm.Memory({ initial: 256, maximum: 256, shared: true });
  const module = compileModules({
    control: CONTROL_WASM,
    controlFenced: CONTROL_FENCED_WASM,
    kernels: KERNELS_WASM,
  }).control;
  const barrier = Barrier.shared();
  const workers = Array.from({ length: WORKERS }, (_, me): Shared => {
    return { me, mode, memory, module, barrier };
  });
  await runWorkers(import.meta.url, workers);
  const counted = new Int32Array(memory.buffer)[COUNTER / 4];
  checkEqual(counted, WORKERS * ROUNDS, 'D1 every increment counts');
  const fail = () => {
    throw new WeirpoolError('POOL_CLOSED', 'closed');
  };
  checkThrows(fail, 'POOL_CLOSED', 'the code survives');
}

function work(shared: Shared): void {
  if (shared.mode === 'leave') throw new Error(`worker ${shared.me} leaves`);
  if (shared.mode === 'hang' && shared.me === 0) spinForEver();
  if (shared.mode === 'hang') for (;;) sleepSync(100);
  countUnderLock(shared);
}

if (isMainThread) await main(process.argv[2] ?? 'count');
else work(workerData as Shared);
