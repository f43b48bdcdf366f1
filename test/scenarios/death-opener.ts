/**
 * The opener is a worker, and dies. The main thread, attached and parked for what the opener holds,
 * learns it; then it opens the directory itself, in the same process.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import type { PoolHandle } from '../../src/pool/attach.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import { checkEqual, checkThrows } from '../support/checks.ts';
import {
  BLOB_BYTES,
  blobValue,
  checkPoisoned,
  die,
  FRAMES,
  filled,
  HOWS,
  type How,
  Signals,
  startMortal,
  writeBlobs,
} from './death-support.ts';

const DIE = 0;
const BLOBS = 5;
const UNWRITTEN = 250;

interface Task {
  readonly directory: string;
  readonly how: How;
  readonly words: Int32Array;
}

interface Opened {
  readonly handle: PoolHandle;
  readonly ids: readonly number[];
}

async function opener({ directory, how, words }: Task): Promise<void> {
  const pool = await BufferPool.open(directory, { frames: FRAMES, blobBytes: BLOB_BYTES });
  const ids = writeBlobs(pool, BLOBS);
  // A change that nobody has committed, and a latch that alone would be given back.
  const whole = pool.write(ids[1] as number);
  whole.bytes.set(filled(UNWRITTEN));
  whole.release();
  pool.read(ids[0] as number);
  parentPort?.postMessage({ handle: pool.handle, ids } satisfies Opened);
  new Signals(words).waitSync(DIE);
  die(how);
}

async function runCase(how: How, parked: boolean): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-opener-'));
  const signals = new Signals();
  const task: Task = { directory, how, words: signals.words };
  const { worker, gone } = startMortal(import.meta.url, task);
  const { handle, ids } = await new Promise<Opened>((done) => worker.once('message', done));
  const pool = await BufferPool.attach(handle);
  const [first] = ids as [number];
  const busy = await BufferPool.open(directory).catch((error: unknown) => error);
  checkThrows(() => throwIt(busy), 'STORE_LOCKED', 'the opener lives and has the directory');
  signals.raise(DIE);
  const ended = how === 'terminate' ? worker.terminate() : undefined;
  if (!parked) await gone;
  checkPoisoned(() => pool.write(first), `the opener ended by ${how}`);
  await gone;
  await ended;
  const late = await BufferPool.attach(handle).catch((error: unknown) => error);
  checkThrows(() => throwIt(late), 'POISONED', 'nobody joins a pool whose opener is dead');
  await pool.close();
  const again = await BufferPool.open(directory, { frames: FRAMES, blobBytes: BLOB_BYTES });
  for (const id of ids)
    checkEqual(blobValue(again, id), id, 'I6 what the dead opener had committed');
  const next = again.allocate();
  checkEqual(ids.includes(next), false, 'ids are not handed out again');
  await again.close();
  rmSync(directory, { recursive: true });
}

function throwIt(value: unknown): never {
  throw value;
}

async function main(): Promise<void> {
  for (const how of HOWS) await runCase(how, true);
  await runCase('terminate', false);
}

if (isMainThread) void main();
else void opener(workerData as Task);
