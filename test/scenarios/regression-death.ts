/**
 * Deaths that are none, deaths of more than one, deaths in the middle of cleaning up.
 *
 * Cases: `descriptors` and `unmounted` (looking for the living fails), `two` (the owner of a lock
 * and the owner of a frame), `detaching` and `reaping` (while it gives back what it held, or what
 * another one had held), `poisoner` (while it stops the pool).
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { threadId } from 'node:worker_threads';
import { currentTask, type TaskIdentity, taskMayLive } from '../../src/fs/proc.ts';
import {
  H_POISON_CODE,
  LOCK_REPLACEMENT,
  OK,
  S_NODE_THREAD,
  S_START_TIME,
  S_TID,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
} from '../../src/generated/layout.ts';
import { poison } from '../../src/memory/poison.ts';
import type { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { PoolThread } from '../../src/memory/thread.ts';
import { check, checkEqual, checkThrows } from '../support/checks.ts';
import {
  type Actor,
  enter,
  finale,
  frameOf,
  idAt,
  openStage,
  perform,
  slotOf,
  until,
} from '../support/stage.ts';

const READY = 0;
const DIE = 1;
const LOOKS = 2;
const RELEASED = 3;

// --- descriptors, unmounted -------------------------------------------------------------------------

/** Looks that the writer makes, one after each park, before the reader goes. */
const LOOKS_MIN = 3;

function reader({ pool, cues, ids }: Actor): void {
  const guard = pool.read(idAt(ids));
  const before = guard.bytes.slice();
  cues.set(READY, 1);
  cues.await(LOOKS, LOOKS_MIN, 'the writer has looked for the living');
  checkEqual(Buffer.compare(guard.bytes, before), 0, 'I1 bytes under a shared latch stand still');
  cues.set(RELEASED, 1);
  guard.release();
}

async function failedLooks(code: string): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, cues, ids } = stage;
  const id = idAt(ids);
  enter(stage, 'reader');
  cues.await(READY, 1, 'a reader holds the blob');
  const read = fs.readFileSync;
  const failing = (path: unknown, ...rest: unknown[]): unknown => {
    if (!String(path).startsWith('/proc/')) return Reflect.apply(read, fs, [path, ...rest]);
    cues.add(LOOKS);
    throw Object.assign(new Error(`${code}: as planned`), { code });
  };
  fs.readFileSync = failing as typeof read;
  syncBuiltinESMExports();
  const guard = pool.write(id);
  checkEqual(cues.get(RELEASED), 1, 'I1 a writer waits for a reader that lives');
  guard.bytes.fill(77);
  guard.release();
  fs.readFileSync = read;
  syncBuiltinESMExports();
  await finale(stage);
}

// --- two --------------------------------------------------------------------------------------------

function tasksOfOthers(memory: ThreadMemory): TaskIdentity[] {
  const tasks: TaskIdentity[] = [];
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    const at = SLOTS + slot * SLOT_BYTES;
    if (memory.control.attachedState(slot) === 0) continue;
    if (memory.load(at + S_NODE_THREAD) === threadId) continue;
    tasks.push({ tid: memory.load(at + S_TID), startTime: memory.loadU64(at + S_START_TIME) });
  }
  return tasks;
}

/** Tells them to die and waits without a turn of the event loop: no `exit` event can come. */
function letDie({ cues, memory }: Actor): void {
  const tasks = tasksOfOthers(memory);
  check(tasks.length > 0, 'somebody is there to die');
  cues.set(DIE, 1);
  until(() => !tasks.some(taskMayLive), 'the workers are dead');
}

function die({ cues }: Actor): never {
  cues.add(READY);
  cues.await(DIE, 1, 'the time to die');
  process.exit(3);
}

function frameOwner(actor: Actor): void {
  const { control } = actor.memory;
  check(control.takeFree(slotOf(actor.memory), 100) >= 0, 'a frame is free');
  die(actor);
}

function lockOwner(actor: Actor): void {
  const { control } = actor.memory;
  checkEqual(control.lockTake(LOCK_REPLACEMENT, slotOf(actor.memory), 100), OK, 'the lock is free');
  die(actor);
}

async function two(): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, cues, ids } = stage;
  // The owner of the frame has the lower slot and is found first; its frame needs the lock.
  enter(stage, 'frameOwner');
  cues.await(READY, 1, 'one has a frame');
  enter(stage, 'lockOwner');
  cues.await(READY, 2, 'one has the lock');
  letDie(stage);
  const error = checkThrows(() => pool.pin(idAt(ids)), 'POISONED', 'G1 two deaths stop the pool');
  checkEqual((error.cause as { code?: string }).code, 'WORKER_DIED', 'why it has stopped');
  await Promise.all(stage.running);
  await pool.close();
}

// --- detaching, reaping -----------------------------------------------------------------------------

/** The first step of giving back what `slot` holds; nothing follows it. */
function beginOnly({ memory }: Actor, slot: number): void {
  const { tid, startTime } = currentTask();
  const { control } = memory;
  const seen = control.attachedState(slot);
  checkEqual(control.beginReap(slot, seen, threadId, tid, startTime), OK, 'the slot is its own');
}

function leaver(actor: Actor): void {
  const { memory, ids } = actor;
  const me = slotOf(memory);
  check(memory.control.pinShared(idAt(ids), me) >= 0, 'the blob is cached');
  beginOnly(actor, me);
  die(actor);
}

function reaper(actor: Actor): void {
  const { pool, ids } = actor;
  const dead = new PoolThread(pool.handle.memory);
  check(dead.control.pinShared(idAt(ids), dead.me) >= 0, 'the blob is cached');
  beginOnly(actor, dead.me);
  die(actor);
}

async function inTheMiddle(role: string): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, cues, ids, memory } = stage;
  const id = idAt(ids);
  pool.pin(id).release();
  // Once the event of its end comes, once the opener is parked for what it held.
  for (const parked of [false, true]) {
    cues.set(READY, 0);
    cues.set(DIE, 0);
    enter(stage, role);
    cues.await(READY, 1, 'it is in the middle');
    checkEqual(pool.stats().pinned, 1, 'its pin is still there');
    if (parked) {
      cues.set(DIE, 1);
      pool.write(id).release();
    } else {
      cues.set(DIE, 1);
    }
    await Promise.all(stage.running);
    await new Promise((done) => setImmediate(done));
    checkEqual(pool.stats().pinned, 0, 'G1 what a thread held that died giving back is free');
    checkEqual(memory.control.holdsOf(frameOf(memory, id)), 0, 'G1 holds of the frame');
    checkEqual(pool.stats().threads, 1, 'G1 its slot is free');
  }
  for (let slot = 1; slot < SLOTS_MAX; slot++) {
    checkEqual(memory.control.reapedState(slot), 0, `G1 slot ${slot} is not left half reaped`);
  }
  pool.writeBlob(id, new Uint8Array(pool.blobBytes));
  check(pool.evict(id), 'I1 the blob may be evicted');
  await pool.close();
}

// --- poisoner ---------------------------------------------------------------------------------------

async function poisoner(): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, memory, ids } = stage;
  // What a thread leaves behind that dies between the code and the status.
  memory.store(H_POISON_CODE, 5);
  pool.pin(idAt(ids)).release();
  poison(memory, 'STORE_IO', 'A sync failed.');
  checkThrows(() => pool.allocate(), 'POISONED', 'W2D the second cause stops the pool');
  checkThrows(() => pool.pin(idAt(ids)), 'POISONED', 'W2D for every way in');
  await pool.close();
}

await perform(
  {
    descriptors: () => failedLooks('EMFILE'),
    unmounted: () => failedLooks('ENOENT'),
    two,
    detaching: () => inTheMiddle('leaver'),
    reaping: () => inTheMiddle('reaper'),
    poisoner,
  },
  { reader, frameOwner, lockOwner, leaver, reaper },
);
