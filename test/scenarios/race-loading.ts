/**
 * Races around loading a blob, over a store whose reads and commits wait at gates.
 *
 * Cases: `miss`, `stale`, `failure`, `prefetch`, `delete`; each is described at its function.
 */
import { check, checkEqual, checkThrows } from '../support/checks.ts';
import { GATE } from '../support/gated-store.ts';
import {
  type Actor,
  blobOf,
  closeReads,
  enter,
  finale,
  frameOf,
  framesOf,
  idAt,
  openGate,
  openStage,
  perform,
  until,
  waitersOf,
} from '../support/stage.ts';

const ARRIVED = 0;
const GO = 1;
const DONE = 2;
const FRAME = 8; // and the following ones, by actor

function read({ gate }: Actor, which: number): number {
  return Atomics.load(gate, which);
}

// --- miss: two threads miss the same blob while no frame is free ------------------------------

function misser({ pool, cues, ids, index }: Actor): void {
  cues.add(ARRIVED);
  const pin = pool.pin(idAt(ids, 4));
  cues.set(FRAME + index, pin.optimistic().bytes.byteOffset + 1);
  cues.await(GO, 1, 'all have pinned');
  pin.release();
}

async function missCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { store: 'gated', blobs: 5 });
  const { pool, cues, ids, gate, memory } = stage;
  const wanted = idAt(ids, 4);
  const pins = ids.slice(0, 4).map((id) => pool.pin(id));
  Atomics.store(gate, GATE.reads, 0);
  enter(stage, 'misser', 2);
  // Both have found that it is not there, and wait for a frame each.
  until(() => pool.stats().misses >= 6 && pool.stats().parks >= 2, 'both wait for a frame');
  for (const pin of pins.slice(0, 3)) pin.release();
  cues.await(FRAME, 1, 'the first has pinned');
  cues.await(FRAME + 1, 1, 'the second has pinned');
  checkEqual(cues.get(FRAME), cues.get(FRAME + 1), 'I4 the frame of the same blob');
  checkEqual(framesOf(memory, wanted).length, 1, 'I4 frames that have the blob');
  checkEqual(read(stage, GATE.reads), 1, 'I4 reads of the store');
  cues.set(GO, 1);
  pins[3]?.release();
  await finale(stage);
}

// --- stale: a read that began before a change ends after it -------------------------------------

function earlyReader({ pool, cues, ids }: Actor): void {
  const pin = pool.pin(idAt(ids));
  cues.await(DONE, 1, 'the change is written');
  const guard = pin.read();
  checkEqual(guard.u32[1], 2, 'I1 what a reader sees after a change was written');
  guard.release();
  pin.release();
}

async function staleCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { store: 'gated' });
  const { pool, cues, ids } = stage;
  const id = idAt(ids);
  closeReads(stage, 2);
  enter(stage, 'earlyReader');
  until(() => read(stage, GATE.readsAtGate) === 1, 'the old image is read');
  // Returns only after the load that is under way; a store that does not wait opens the gate.
  pool.writeBlob(id, blobOf(id, 2));
  openGate(stage, GATE.readGate);
  until(() => framesOf(stage.memory, id).length === 1, 'the blob is in a frame');
  cues.set(DONE, 1);
  await finale(stage);
  // The pool is closed: nothing was dirty, so the store has what was written.
}

// --- failure: a read fails while others wait for it ----------------------------------------------

const WAITERS = 3;

function failing({ pool, cues, ids }: Actor): void {
  const error = checkThrows(() => pool.pin(idAt(ids)), 'STORE_IO', 'the failed read');
  check(error.message.length > 0, 'the error says what happened');
  cues.add(DONE);
  // Who leaves gives back all that it still has.
  cues.await(GO, 1, 'the others have looked');
}

async function failureCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { store: 'gated' });
  const { pool, cues, ids, gate, memory } = stage;
  const id = idAt(ids);
  const { free } = pool.stats();
  closeReads(stage, 0);
  Atomics.store(gate, GATE.patienceMs, 8000);
  Atomics.store(gate, GATE.readsFail, 1);
  enter(stage, 'failing', WAITERS);
  until(() => read(stage, GATE.readsAtGate) === 1, 'one thread reads');
  const frame = frameOf(memory, id);
  until(() => waitersOf(memory, frame) === WAITERS - 1, 'the others wait for it');
  openGate(stage, GATE.readGate);
  cues.await(DONE, WAITERS, 'every thread has the error');
  checkEqual(read(stage, GATE.reads), 1, 'reads of the store');
  checkEqual(pool.stats().free, free, 'free frames after the failure');
  checkEqual(pool.stats().loadFailures, 1, 'loads that failed');
  cues.set(GO, 1);
  Atomics.store(gate, GATE.readsFail, 0);
  const guard = pool.read(id);
  checkEqual(guard.u32[1], 1, 'the blob once the store works again');
  guard.release();
  await finale(stage);
}

// --- prefetch: one thread asks for a blob and pins it before its event loop runs again -----------

async function prefetchCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { store: 'gated' });
  const { pool, ids, gate } = stage;
  const id = idAt(ids);
  closeReads(stage, 0);
  Atomics.store(gate, GATE.patienceMs, 200);
  const asked = pool.prefetch([id]);
  // The loader thread reads, unless nobody else does the work.
  until(() => read(stage, GATE.readsAtGate) === 1 || pool.stats().loading === 1, 'a load begins');
  const guard = pool.read(id);
  checkEqual(guard.u32[0], id, 'the blob that was asked for');
  checkEqual(read(stage, GATE.reads), 1, 'I4 reads of the store');
  guard.release();
  await asked;
  await finale(stage);
}

// --- delete: a pin in the middle of a delete -------------------------------------------------------

function intruder(actor: Actor): void {
  const { pool, cues, ids } = actor;
  cues.add(ARRIVED);
  until(() => read(actor, GATE.commitsAtGate) === 1, 'the delete is being committed');
  const pin = pool.pin(idAt(ids));
  openGate(actor, GATE.commitGate);
  cues.await(DONE, 1, 'the delete is done');
  checkThrows(() => pin.read(), 'BLOB_GONE', 'a pin that outlived its blob');
  check(pin.optimistic().version < 0, 'no optimistic look at a deleted blob');
  pin.release();
}

async function deleteCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { store: 'gated', blobs: 2 });
  const { pool, cues, ids, gate, memory } = stage;
  const id = idAt(ids);
  pool.pin(id).release();
  enter(stage, 'intruder');
  cues.await(ARRIVED, 1, 'the intruder is there');
  Atomics.store(gate, GATE.patienceMs, 8000);
  Atomics.store(gate, GATE.commitGate, 1);
  check(pool.deleteBlob(id), 'there was a blob to delete');
  check(!pool.has(id), 'I4 a deleted blob is not there any more');
  checkEqual(framesOf(memory, id).length, 0, 'frames that still have the deleted blob');
  checkThrows(() => pool.pin(id), 'BLOB_NOT_FOUND', 'a pin of a deleted blob');
  cues.set(DONE, 1);
  await finale(stage);
}

await perform(
  {
    miss: missCase,
    stale: staleCase,
    failure: failureCase,
    prefetch: prefetchCase,
    delete: deleteCase,
  },
  { misser, earlyReader, failing, intruder },
);
