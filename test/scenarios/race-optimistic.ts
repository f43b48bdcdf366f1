/**
 * Races of optimistic readers: a callback that is halted in the middle, while another thread
 * changes what it reads.
 *
 * Cases: `recycled` (the frame gets another blob), `torn` (a writer comes and goes), `midway` (a
 * writer is not done yet), `throws` (the callback trips over torn bytes), `pinned` (the same on the
 * slow way), `changed` and `held` (an upgrade comes too late).
 */

import { type Frame, RESTART } from '../../src/index.ts';
import { check, checkEqual, checkThrows } from '../support/checks.ts';
import {
  type Actor,
  BLOB_BYTES,
  enter,
  finale,
  frameOf,
  idAt,
  openStage,
  perform,
  type Stage,
} from '../support/stage.ts';

const READY = 0;
/** The reader halts for the n-th time. */
const HALT = 1;
/** The other thread is through with the n-th change. */
const CHANGED = 2;
const RETURNED = 3;
const STALL_MS = 300;

/** Halts a callback until the other thread has made a change. */
function halt({ cues }: Actor): void {
  const turn = cues.add(HALT);
  cues.await(CHANGED, turn, 'the other thread changes what is being read');
}

async function withActor(role: string, body: (stage: Stage) => void): Promise<void> {
  const stage = await openStage(import.meta.url, { blobs: 2 });
  stage.pool.pin(idAt(stage.ids)).release();
  enter(stage, role);
  stage.cues.await(READY, 1, `the ${role} is there`);
  body(stage);
  stage.cues.set(HALT, 1000);
  await finale(stage);
}

/** Makes a change each time the reader halts. */
function onHalt({ cues }: Actor, change: () => unknown): void {
  cues.add(READY);
  for (let turn = 1; ; turn++) {
    cues.await(HALT, turn, 'the reader halts or the play is over');
    if (cues.get(HALT) >= 1000) return;
    change();
    cues.set(CHANGED, turn);
  }
}

// --- recycled ----------------------------------------------------------------------------------------

function recycler(actor: Actor): void {
  const { pool, ids, memory } = actor;
  const [mine, other] = [idAt(ids, 0), idAt(ids, 1)];
  onHalt(actor, () => {
    const frame = frameOf(memory, mine);
    check(pool.evict(mine), 'nothing keeps the blob: an optimistic reader has no pin');
    pool.pin(other).release();
    checkEqual(frameOf(memory, other), frame, 'the other blob is in the same frame now');
  });
}

function recycledCase(): Promise<void> {
  return withActor('recycler', (stage) => {
    const { pool, ids } = stage;
    let runs = 0;
    const read = ({ u32 }: Frame): number => {
      if (runs++ === 0) halt(stage);
      return u32[0] as number;
    };
    checkEqual(pool.optimistic(idAt(ids), read), idAt(ids), 'I5 whose bytes a reader gets');
    checkEqual(runs, 2, 'runs of the callback');
  });
}

// --- torn, midway, throws ------------------------------------------------------------------------------

/** Writes both words that readers compare, whole. */
function changer(actor: Actor): void {
  const { pool, ids } = actor;
  onHalt(actor, () => {
    const guard = pool.write(idAt(ids));
    guard.u32[1] = (guard.u32[1] as number) + 1;
    guard.u32[1000] = (guard.u32[1000] as number) + 1;
    guard.release();
  });
}

/** Writes one word, and the other one only when the reader has come to its end or waits. */
function dawdler({ pool, cues, ids }: Actor): void {
  cues.add(READY);
  cues.await(HALT, 1, 'the reader halts');
  const guard = pool.write(idAt(ids));
  guard.u32[1] = 2;
  cues.set(CHANGED, 1);
  cues.awaitFor(RETURNED, 1, STALL_MS);
  guard.u32[1000] = 2;
  guard.release();
}

function tornRead(stage: Stage): void {
  const { pool, cues, ids } = stage;
  let runs = 0;
  const same = pool.optimistic(idAt(ids), ({ u32 }) => {
    const before = u32[1];
    if (runs++ === 0) halt(stage);
    return before === u32[1] && before === u32[1000];
  });
  cues.set(RETURNED, 1);
  check(same, 'I5 a reader gets words of one moment');
  check(runs > 1, 'the first run was dropped');
}

function throwsCase(): Promise<void> {
  return withActor('changer', (stage) => {
    const { pool, ids } = stage;
    let runs = 0;
    const read = ({ u32 }: Frame): number => {
      const before = u32[1];
      if (runs++ === 0) halt(stage);
      if (u32[1] !== before) throw new RangeError('the bytes make no sense');
      return runs;
    };
    checkEqual(pool.optimistic(idAt(ids), read), 2, 'the run that counts');
    runs = 0;
    checkEqual(pool.tryOptimistic(idAt(ids), read), RESTART, 'one try over torn bytes');
    checkEqual(pool.stats().restarts, 2, 'restarts counted');
    // Over bytes that held still an exception is the caller's.
    const refuse = (): never => {
      throw new RangeError('on purpose');
    };
    checkThrows(() => pool.optimistic(idAt(ids), refuse), 'RangeError', 'an exception that counts');
    checkThrows(() => pool.tryOptimistic(idAt(ids), refuse), 'RangeError', 'one in a single try');
  });
}

/** Misses first, so that every attempt is made on the slow way. */
function pinnedCase(): Promise<void> {
  return withActor('changer', (stage) => {
    const { pool, ids } = stage;
    const id = idAt(ids);
    check(pool.evict(id), 'the blob can be evicted');
    let runs = 0;
    const read = ({ u32 }: Frame): number => {
      const before = u32[1];
      // Every attempt but the one under the shared latch is disturbed.
      if (runs++ < 7) halt(stage);
      if (u32[1] !== before) throw new RangeError('the bytes make no sense');
      if (u32[1] !== u32[1000]) return -1;
      return runs;
    };
    checkEqual(pool.optimistic(id, read), 8, 'the run under the shared latch');
    const { fallbacks, latched, pinned } = pool.stats();
    checkEqual(fallbacks, 1, 'fallbacks counted');
    checkEqual(latched + pinned, 0, 'latches and pins at the end');
    const target = new Uint8Array(BLOB_BYTES);
    pool.readInto(id, target);
    checkEqual(new Uint32Array(target.buffer)[1], 8, 'changes made meanwhile');
  });
}

// --- upgrade -------------------------------------------------------------------------------------------

/** Takes a shared latch and keeps it until the play is over. */
function holder(actor: Actor): void {
  const { pool, ids } = actor;
  const held: Disposable[] = [];
  onHalt(actor, () => held.push(pool.read(idAt(ids))));
  for (const guard of held) guard[Symbol.dispose]();
}

/** A look from before the other thread came cannot be upgraded. */
function upgradeLate(stage: Stage): void {
  const { pool, ids } = stage;
  const pin = pool.pin(idAt(ids));
  const look = pin.optimistic();
  halt(stage);
  check(look.upgrade() === undefined, 'I5 an upgrade fails once another thread has come');
  pin.release();
  checkEqual(pool.stats().dirty, pool.stats().latched === 0 ? 1 : 0, 'marks of the failed upgrade');
}

await perform(
  {
    recycled: recycledCase,
    torn: () => withActor('changer', tornRead),
    midway: () => withActor('dawdler', tornRead),
    changed: () => withActor('changer', upgradeLate),
    held: () => withActor('holder', upgradeLate),
    throws: throwsCase,
    pinned: pinnedCase,
  },
  { recycler, changer, dawdler, holder },
);
