/**
 * Races of mini-transactions with each other and with rounds.
 *
 * Cases: `frame`, `credit`, `staging`, `backlog` (an op waits for what only a round gives, while the
 * round waits for the gate), `opposite` (two ops latch two blobs in opposite order), `early` (a guard
 * goes before the commit), `nested` and `held` (a thread waits for itself), `order` (group commit
 * acknowledges what is not there).
 */
import {
  type ControlExports,
  H_LOG_WRITTEN,
  OK,
  S_OP_RESTARTS,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
} from '../../src/generated/layout.ts';
import type { BufferPool, Op, PoolHandle } from '../../src/index.ts';
import { Checksummer } from '../../src/memory/checksum.ts';
import type { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { WorkerServices } from '../../src/memory/services.ts';
import { PoolThread } from '../../src/memory/thread.ts';
import { backendContext } from '../../src/pool/attach.ts';
import { PoolCore } from '../../src/pool/core.ts';
import type { PoolLog } from '../../src/pool/pool-log.ts';
import { attachBackend } from '../../src/store/attach-backend.ts';
import { MappedStore } from '../../src/store/mapped-store.ts';
import { KIND_CHANGE } from '../../src/wal/ring.ts';
import { check, checkEqual, checkThrows, violation } from '../support/checks.ts';
import { GATE } from '../support/gated-store.ts';
import {
  type Actor,
  awhile,
  changeTo,
  closeWrites,
  enter,
  finale,
  frameOf,
  idAt,
  inDirectory,
  openGate,
  openStage,
  perform,
  type Stage,
  type StageOptions,
  slotOf,
  until,
} from '../support/stage.ts';

const RING_BYTES = 16_384;
const QUIET: StageOptions = {
  log: { ringBytes: RING_BYTES, bytesMax: 2 * RING_BYTES, intervalMs: 0 },
  checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 0 },
  store: 'gated',
  frameWaitMs: 8000,
};
const NOTHING = new Uint8Array(0);
/** A round that nobody holds up is over long before. */
const ROUND_MS = 3000;

/** Cues. */
const BEGUN = 0;
const GO_ON = 1;
const FIRST = 2;
const DONE = 3;
const SEQ = 4;

/** Long enough for somebody who may go on to go on. */
const WHILE_MS = 1000;

async function onStage(
  options: StageOptions,
  body: (stage: Stage) => Promise<void>,
): Promise<void> {
  await inDirectory(async (directory) => {
    const stage = await openStage(import.meta.url, { ...QUIET, ...options, directory });
    await body(stage);
    await finale(stage);
  });
}

/** How often ops had to start again, in all threads. */
function restartsOf(memory: ThreadMemory): number {
  let sum = 0;
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    sum += memory.loadU64(SLOTS + slot * SLOT_BYTES + S_OP_RESTARTS);
  }
  return sum;
}

function atGate({ gate }: Stage, writes: number): void {
  until(() => Atomics.load(gate, GATE.writesAtGate) >= writes, `${writes} writes of a round`);
}

/** Runs a round, which must not have to wait for any op. */
async function roundInTime({ pool }: Stage): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('late')), ROUND_MS);
  });
  try {
    await Promise.race([pool.checkpoint(), late]);
  } catch (error) {
    violation(`D1 the round waits for somebody inside the gate: ${(error as Error).message}`);
  }
  clearTimeout(timer);
}

// --- waiting while a round waits for the gate --------------------------------------------------------

/** Needs two frames, of which there is one: the other one comes out of a round. */
async function frame(): Promise<void> {
  await onStage({ frames: 16 }, async ({ pool, ids }) => {
    // Ids are leased: what an op lacks is not to be an id.
    changeTo(pool, ids, 2);
    while (pool.stats().free > 1) create(pool, 1);
    checkEqual(pool.dirtyFrames(), 15, 'frames that only a round makes clean');
    checkEqual(create(pool, 2), 2, 'D1 an op gets frames out of a round that it waits for');
  });
}

function create(pool: Actor['pool'], count: number): number {
  return pool.change((op) => {
    for (let n = 0; n < count; n++) op.create();
    op.commit(NOTHING);
    return count;
  });
}

/** Has one blob to change, and says how it went. */
function changer({ pool, ids, cues }: Actor): void {
  cues.await(BEGUN, 1, 'the stage is set');
  changeTo(pool, [idAt(ids)], 5);
  cues.set(DONE, 1);
}

/** Credit is short, and a round runs meanwhile. */
async function credit(): Promise<void> {
  await onStage({ blobs: 2, frames: 16 }, async (stage) => {
    const { memory, cues, pool, ids } = stage;
    const holder = new PoolThread(pool.handle.memory);
    enter(stage, 'changer');
    changeTo(pool, [idAt(ids, 1)], 2);
    pool.durableSync();
    const { control } = holder;
    checkEqual(control.creditTake(RING_BYTES - 32, holder.me), OK, 'the credit of the whole ring');
    const before = restartsOf(memory);
    cues.set(BEGUN, 1);
    until(() => restartsOf(memory) > before, 'an op wants credit');
    awhile(() => memory.control.gateInside() !== 0);
    await roundInTime(stage);
    checkEqual(cues.get(DONE), 0, 'nobody commits without credit');
    control.creditGive(holder.me);
    cues.await(DONE, 1, 'the op that has waited for credit');
    holder.detach();
  });
}

/** Appends more than the log may hold above a round. */
function appender({ pool, ids, cues }: Actor): void {
  cues.await(BEGUN, 1, 'a round stands still');
  const payload = new Uint8Array(4000);
  for (let n = 0; n < 3 * (RING_BYTES / payload.length); n++) {
    pool.change((op) => {
      op.write(idAt(ids));
      op.seal(payload.length);
      return op.commit(payload);
    });
    cues.add(FIRST);
  }
  cues.set(DONE, 1);
}

/** The log is at its bound: whoever begins waits for a round, and must not be in its way. */
async function backlog(): Promise<void> {
  await onStage({ blobs: 2, frames: 16 }, async (stage) => {
    const { pool, ids, cues, memory } = stage;
    enter(stage, 'appender');
    changeTo(pool, [idAt(ids, 1)], 2);
    closeWrites(stage, 1);
    const round = pool.checkpoint();
    atGate(stage, 1);
    cues.set(BEGUN, 1);
    cues.await(FIRST, 2 * (RING_BYTES / 4096), 'as much as the log may hold');
    awhile(() => memory.control.gateInside() !== 0);
    checkEqual(cues.get(DONE), 0, 'D1 nobody goes on above the bound of the log');
    openGate(stage, GATE.writeGate);
    await round;
    cues.await(DONE, 1, 'D1 those who waited for a round');
    await roundInTime(stage);
  });
}

async function settled(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'done',
    (error: unknown) => String(error),
  );
}

/** Changes five captured blobs at once, for which there are four staging frames. */
function wide({ pool, ids, memory, cues }: Actor): void {
  cues.await(BEGUN, 1, 'a round holds all staging frames');
  const isHeld = (id: number): boolean => memory.control.capturedBy(frameOf(memory, id)) !== 0;
  const held = ids.filter(isHeld).slice(0, 5);
  checkEqual(held.length, 5, 'blobs that are captured and not copied');
  cues.set(FIRST, 1);
  changeTo(pool, held, 5);
  cues.set(DONE, 1);
}

async function staging(): Promise<void> {
  await onStage({ blobs: 10, frames: 24 }, async (stage) => {
    const { pool, ids, gate, cues, memory } = stage;
    enter(stage, 'wide');
    for (const id of ids) changeTo(pool, [id], 2);
    const before = restartsOf(memory);
    closeWrites(stage, 1);
    const round = settled(pool.checkpoint());
    atGate(stage, 4); // all staging frames are taken
    cues.set(BEGUN, 1);
    cues.await(FIRST, 1, 'an op that needs staging frames');
    awhile(() => memory.control.gateInside() !== 0);
    Atomics.store(gate, GATE.writesFail, 4);
    openGate(stage, GATE.writeGate);
    check((await round) !== 'done', 'a round whose writes fail');
    cues.await(DONE, 1, 'D1 the op that has waited for staging frames');
    check(restartsOf(memory) > before, 'D1 an op without staging gives everything back');
    Atomics.store(gate, GATE.writesFail, 0);
    await roundInTime(stage);
  });
}

// --- two ops -------------------------------------------------------------------------------------

/** Each takes its own blob first and wants the other one's then. */
function crosser({ pool, ids, cues, index }: Actor): void {
  let attempts = 0;
  const order = index === 0 ? [0, 1] : [1, 0];
  pool.change((op) => {
    const first = op.write(idAt(ids, order[0]));
    cues.add(FIRST);
    // Once: a second attempt must not wait for the other one, who may be through.
    if (attempts++ === 0) cues.await(FIRST, 2, 'both have their first blob');
    const second = op.write(idAt(ids, order[1]));
    op.seal(0);
    for (const { u32 } of [first, second]) u32[1] = (u32[1] as number) + 1;
    op.commit(NOTHING);
  });
}

async function opposite(): Promise<void> {
  await onStage({ blobs: 2, frames: 16 }, async (stage) => {
    enter(stage, 'crosser', 2);
    const codes = await Promise.all(stage.running);
    check(
      codes.every((code) => code === 0),
      `D1 both ops end: ${codes}`,
    );
    for (const id of stage.ids) {
      checkEqual(
        stage.pool.optimistic(id, ({ u32 }) => u32[1]),
        3,
        'I5 both have changed both',
      );
    }
  });
}

/** Counts in the blob: the value, and the seq of its record. */
function count(change: BufferPool['change'], id: number): readonly [number, number] {
  return change((op: Op) => {
    const { u32 } = op.write(id);
    op.seal(0);
    u32[1] = (u32[1] as number) + 1;
    return [u32[1], op.commit(NOTHING)] as const;
  });
}

/** Another place of this thread in the pool, with a hook where a record gets its place. */
async function hookedCore(handle: PoolHandle, before: () => void): Promise<PoolCore> {
  const { memory, backend, backendWords, frameWaitMs, log } = handle;
  check(backend !== undefined, 'the pool can be attached');
  const thread = new PoolThread(memory);
  const { control } = thread;
  const recordBegin: ControlExports['recordBegin'] = (...args) => {
    before();
    return control.recordBegin(...args);
  };
  Object.assign(thread, { control: { ...control, recordBegin } });
  thread.services = new WorkerServices(thread.memory);
  const { kernels } = memory.modules;
  const context = backendContext(kernels, memory.blobBytes, backendWords);
  const checksummer = new Checksummer(kernels, memory.blobBytes);
  const store = new MappedStore(thread, await attachBackend(backend, context), checksummer);
  return new PoolCore({ thread, store, frameWaitMs, readOnly: false, log });
}

/** Is scheduled away after its change, just before its record gets a place in the log. */
async function firstChanger({ pool, cues, ids }: Actor): Promise<void> {
  const core = await hookedCore(pool.handle, () => {
    cues.set(FIRST, 1);
    cues.awaitFor(DONE, 1, WHILE_MS);
  });
  const { transactions } = core.log as PoolLog;
  const [value, seq] = count(transactions.change.bind(transactions), idAt(ids));
  checkEqual(value, 2, 'who was first');
  cues.set(SEQ, seq);
  core.detach();
}

function secondChanger({ pool, cues, ids }: Actor): void {
  cues.await(FIRST, 1, 'a change without a place in the log');
  const [value, seq] = count(pool.change.bind(pool), idAt(ids));
  cues.set(DONE, 1);
  checkEqual(value, 3, 'who was second');
  cues.await(SEQ, 1, 'the record of the first change');
  const first = cues.get(SEQ);
  check(first < seq, `R1 the record of the second change (${seq}) is before the first (${first})`);
}

/** The order of the records is that of the changes, or a replay does something else. */
async function early(): Promise<void> {
  await onStage({ blobs: 1, frames: 16 }, async (stage) => {
    enter(stage, 'firstChanger');
    enter(stage, 'secondChanger');
    await Promise.all(stage.running);
  });
}

// --- waiting for oneself ---------------------------------------------------------------------------

async function nested(): Promise<void> {
  await onStage({ blobs: 2, frames: 16 }, async ({ pool, ids }) => {
    pool.change((op) => {
      op.write(idAt(ids));
      checkThrows(() => changeTo(pool, [idAt(ids, 1)], 2), 'TX_NESTED', 'D1 an op in an op');
      checkThrows(() => pool.begin(), 'TX_NESTED', 'D1 an op that begins in an op');
      op.seal(0);
      op.commit(NOTHING);
    });
    changeTo(pool, ids, 3);
  });
}

/** A shared guard is held across an await, and a change of the same blob begins then. */
async function held(): Promise<void> {
  await onStage({ blobs: 1, frames: 16 }, async ({ pool, ids }) => {
    const guard = pool.read(idAt(ids));
    await new Promise((done) => setTimeout(done, 1));
    checkThrows(() => changeTo(pool, ids, 2), 'LATCH_HELD', 'D1 a change under an own latch');
    checkThrows(() => pool.durableSync(), 'LATCH_HELD', 'D1 a wait for the disk under a latch');
    guard.release();
    changeTo(pool, ids, 2);
  });
}

// --- group commit ----------------------------------------------------------------------------------

/** Has reserved its place in the log and is scheduled away before it publishes. */
function slow({ memory, cues }: Actor): void {
  const { control } = memory;
  const me = slotOf(memory);
  checkEqual(control.creditTake(64, me), OK, 'credit');
  checkEqual(control.gateEnter(me), OK, 'the gate');
  control.recordBegin(0, KIND_CHANGE, 0, 0, 0, me);
  cues.set(FIRST, 1);
  cues.await(GO_ON, 1, 'the end of a slow commit');
  control.recordPublish(me);
  control.gateLeave(me);
}

async function order(): Promise<void> {
  await onStage({ blobs: 1, frames: 16 }, async (stage) => {
    const { pool, cues, ids, memory } = stage;
    await pool.durable(changeTo(pool, ids, 2), 'written');
    enter(stage, 'slow');
    cues.await(FIRST, 1, 'a record that is not published');
    const before = memory.loadU64(H_LOG_WRITTEN);
    const seq = changeTo(pool, ids, 3);
    let safe = false;
    const wait = pool.durable(seq, 'synced').then(() => {
      safe = true;
    });
    awhile(() => memory.loadU64(H_LOG_WRITTEN) !== before);
    await new Promise((done) => setTimeout(done, 1));
    check(!safe, 'R1 a record was acknowledged whose predecessor is not in the log');
    checkEqual(memory.loadU64(H_LOG_WRITTEN), before, 'R1 nothing is written beyond a hole');
    cues.set(GO_ON, 1);
    await wait;
    check(memory.loadU64(H_LOG_WRITTEN) >= seq, 'R1 both are written now');
  });
}

await perform(
  { frame, credit, backlog, staging, opposite, early, nested, held, order },
  { changer, appender, wide, crosser, firstChanger, secondChanger, slow },
);
