/**
 * Races over latches of frames, and threads that wait for themselves.
 *
 * Cases: `opposite`, `held`, `nested`, `starve`, `parks`, `counts`; each is described at its function.
 */
import { H_FRAME_WAITERS, LATCH_P } from '../../src/generated/layout.ts';
import { check, checkEqual, checkThrows, sleepSync } from '../support/checks.ts';
import {
  type Actor,
  BLOB_BYTES,
  enter,
  finale,
  frameOf,
  idAt,
  openStage,
  perform,
  until,
  waitersOf,
} from '../support/stage.ts';

const READY = 0;
const STEP = 1;
const DONE = 2;

// --- opposite: two threads hold a frame each and want the other's --------------------------------

const PAIRS = [
  ['write', 'write'],
  ['read', 'write'],
  ['write', 'read'],
] as const;

/** Holds its own blob, wants the other one; both have theirs before either asks. */
function cross({ pool, cues, ids }: Actor, side: 0 | 1): void {
  const own = idAt(ids, side);
  const other = idAt(ids, 1 - side);
  PAIRS.forEach(([hold, want], round) => {
    const guard = pool[hold](own);
    cues.add(STEP);
    cues.await(STEP, round * 4 + 2, 'both hold their blob');
    checkThrows(() => pool[want](other), 'OP_RESTART', 'D1 a thread that holds a latch only tries');
    cues.add(STEP);
    cues.await(STEP, round * 4 + 4, 'both have tried');
    guard.release();
    // Having let go, each gets both in turn.
    pool[want](other).release();
    cues.add(DONE);
    cues.await(DONE, round * 2 + 2, 'both had the blob that they wanted');
  });
}

async function oppositeCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { blobs: 2 });
  enter(stage, 'counterpart');
  cross(stage, 0);
  for (let frame = 0; frame < 4; frame++) {
    checkEqual(stage.memory.control.latchFlags(frame) & Number(LATCH_P), 0, 'claims left behind');
  }
  await finale(stage);
}

// --- held: what a thread holds already, it does not wait for ---------------------------------------

async function heldCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { blobs: 2 });
  const { pool, ids } = stage;
  const id = idAt(ids);
  const refused = (body: () => unknown, what: string) => checkThrows(body, 'LATCH_HELD', what);
  const pin = pool.pin(id);
  const shared = pool.read(id);
  refused(() => pool.write(id), 'write of a blob that the thread reads');
  refused(() => pin.write(), 'write through a pin of it');
  refused(() => pin.tryWrite(), 'tryWrite of it');
  refused(() => pin.optimistic().upgrade(), 'upgrade of it');
  refused(() => pool.writeBlob(idAt(ids, 1), new Uint8Array(BLOB_BYTES)), 'a commit meanwhile');
  shared.release();
  const exclusive = pool.write(id);
  refused(() => pool.read(id), 'read of a blob that the thread writes');
  refused(() => pool.write(id), 'second write of it');
  refused(() => pin.tryRead(), 'tryRead of it');
  refused(() => pool.deleteBlob(idAt(ids, 1)), 'a delete meanwhile');
  exclusive.release();
  pin.release();
  pool.write(id).release();
  checkEqual(pool.stats().latched, 0, 'latches at the end');
  checkEqual(pool.stats().pinned, 0, 'pins at the end');
  await finale(stage);
}

// --- nested: a thread reads what it reads, while a writer waits ------------------------------------

function writer({ pool, cues, ids }: Actor): void {
  const id = idAt(ids);
  const pin = pool.pin(id);
  cues.add(READY);
  const guard = pin.write();
  guard.u32[1] = 77;
  sleepSync(5);
  guard.u32[2] = 77;
  guard.release();
  pin.release();
}

async function nestedCase(): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, ids, memory } = stage;
  const id = idAt(ids);
  const outer = pool.read(id);
  const frame = frameOf(memory, id);
  enter(stage, 'writer');
  until(() => waitersOf(memory, frame) === 1, 'the writer waits');
  const inner = pool.read(id);
  const innermost = pool.read(id);
  checkEqual(
    pool.optimistic(id, ({ u32 }) => u32[1]),
    1,
    'an optimistic read beside them',
  );
  checkEqual(innermost.u32[1], 1, 'the value that all readers see');
  for (const guard of [outer, innermost, inner]) guard.release();
  until(() => memory.control.isLatched(frame) === 0 && outer.id === id, 'the writer is through');
  const target = new Uint8Array(BLOB_BYTES);
  until(() => {
    pool.readInto(id, target);
    return new Uint32Array(target.buffer)[1] === 77;
  }, 'the writer has written');
  await finale(stage);
}

// --- starve: readers that follow each other without a gap, and a writer ----------------------------

function lateReader({ pool, cues, ids }: Actor): void {
  const pin = pool.pin(idAt(ids));
  cues.add(READY);
  cues.await(STEP, 1, 'a writer waits');
  check(pin.tryRead() === undefined, 'no reader joins the others while a writer waits');
  cues.set(STEP, 2);
  const guard = pool.read(idAt(ids));
  checkEqual(guard.u32[2], 77, 'who came after the writer reads what it wrote');
  guard.release();
  pin.release();
}

async function starveCase(): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, cues, ids, memory } = stage;
  const id = idAt(ids);
  const first = pool.read(id);
  const frame = frameOf(memory, id);
  enter(stage, 'lateReader');
  cues.await(READY, 1, 'the late reader is there');
  enter(stage, 'writer');
  until(() => waitersOf(memory, frame) === 1, 'the writer waits');
  cues.set(STEP, 1);
  cues.await(STEP, 2, 'the late reader has tried');
  // The late reader now waits as well, or it has joined and reads the old value.
  until(() => waitersOf(memory, frame) === 2, 'the late reader waits behind the writer');
  first.release();
  await finale(stage);
}

// --- parks: more threads than processors, one latch -------------------------------------------------

const THREADS = 3;
const INCREMENTS = 4000;

function increment({ pool, ids }: Actor): void {
  const guard = pool.write(idAt(ids));
  guard.u32[1] = (guard.u32[1] as number) + 1;
  guard.release();
}

function parker(actor: Actor): void {
  const { pool, cues, ids } = actor;
  pool.pin(idAt(ids)).release();
  cues.add(READY);
  cues.await(STEP, 1, 'the blob is latched');
  for (let n = 0; n < INCREMENTS; n++) increment(actor);
  cues.add(DONE);
}

async function parksCase(parked: boolean): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, cues, ids, memory } = stage;
  const id = idAt(ids);
  enter(stage, 'parker', THREADS);
  cues.await(READY, THREADS, 'all are there');
  const guard = pool.write(id);
  const frame = frameOf(memory, id);
  const before = pool.stats().parks;
  cues.set(STEP, 1);
  if (parked) until(() => waitersOf(memory, frame) === THREADS, 'all of them are parked');
  sleepSync(20);
  guard.release();
  for (let n = 0; n < INCREMENTS; n++) increment(stage);
  cues.await(DONE, THREADS, 'every thread has got its turns');
  if (parked) check(pool.stats().parks >= before + THREADS, 'waiting threads park');
  const total = pool.optimistic(id, ({ u32 }) => u32[1]);
  checkEqual(total, (THREADS + 1) * INCREMENTS + 1, 'increments under the exclusive latch');
  checkEqual(waitersOf(memory, frame), 0, 'waiters at the end');
  checkEqual(memory.load(H_FRAME_WAITERS), 0, 'threads that wait for a frame at the end');
  await finale(stage);
}

await perform(
  {
    opposite: oppositeCase,
    held: heldCase,
    nested: nestedCase,
    starve: starveCase,
    parks: () => parksCase(true),
    counts: () => parksCase(false),
  },
  { counterpart: (actor) => cross(actor, 1), writer, lateReader, parker },
);
