/**
 * Races of mini-transactions with each other and with rounds.
 *
 * Cases: `frame`, `credit`, `staging`, `backlog` (an op waits for what only a round gives, while the
 * round waits for the gate), `opposite` (two ops latch two blobs in opposite order), `early` (a guard
 * goes before the commit), `nested` and `held` (a thread waits for itself), `order` (group commit
 * acknowledges what is not there).
 */
import { cpSync, rmSync } from 'node:fs';
import {
  H_LOG_WRITTEN,
  OK,
  S_OP_RESTARTS,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
} from '../../src/generated/layout.ts';
import { BufferPool, type LogRecord, type Op } from '../../src/index.ts';
import type { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { PoolThread } from '../../src/memory/thread.ts';
import { KIND_CHANGE } from '../../src/wal/ring.ts';
import { check, checkEqual, checkThrows, sleepSync, violation } from '../support/checks.ts';
import { GATE } from '../support/gated-store.ts';
import {
  type Actor,
  BLOB_BYTES,
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

async function onStage(
  options: StageOptions,
  body: (stage: Stage & { readonly directory: string }) => Promise<void>,
): Promise<void> {
  await inDirectory(async (directory) => {
    const stage = await openStage(import.meta.url, { ...QUIET, ...options, directory });
    await body({ ...stage, directory });
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
    sleepSync(50);
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
    const { pool, ids, cues } = stage;
    enter(stage, 'appender');
    changeTo(pool, [idAt(ids, 1)], 2);
    closeWrites(stage, 1);
    const round = pool.checkpoint();
    atGate(stage, 1);
    cues.set(BEGUN, 1);
    cues.await(FIRST, 2 * (RING_BYTES / 4096), 'as much as the log may hold');
    sleepSync(50);
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
    sleepSync(50);
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

const COUNTS = 2000;

/** Counts in one blob; each record says the value. */
function counter({ pool, ids }: Actor): void {
  for (let n = 0; n < COUNTS; n++) {
    pool.change((op) => {
      const { u32 } = op.write(idAt(ids));
      op.seal(4);
      const next = (u32[1] as number) + 1;
      u32[1] = next;
      op.commit(new Uint8Array(new Uint32Array([next]).buffer));
    });
  }
}

/** The order of the records is that of the values, or a replay does something else. */
async function early(): Promise<void> {
  const log = { ringBytes: RING_BYTES, intervalMs: 0 };
  await onStage({ blobs: 1, frames: 16, store: 'file', log }, async (stage) => {
    const { pool, directory, ids } = stage;
    enter(stage, 'counter', 3);
    await Promise.all(stage.running);
    await pool.durable(changeTo(pool, ids, 0), 'written');
    const copy = `${directory}-copy`;
    cpSync(directory, copy, { recursive: true, filter: (name) => !/lock$/i.test(name) });
    let last = 1;
    const replay = ({ payload }: LogRecord, op: Op): void => {
      const [value] = new Uint32Array(payload.slice().buffer);
      if (value === undefined) return; // what the stage itself has changed
      checkEqual(value, last + 1, 'R1 the order of the records is that of the changes');
      last = value;
      const { u32 } = op.write(idAt(ids));
      op.seal(4);
      u32[1] = value;
    };
    const options = {
      ...QUIET,
      store: 'file',
      threads: 'inline',
      owners: { 0: { replay } },
    } as const;
    try {
      const again = await BufferPool.open(copy, { ...options, frames: 16, blobBytes: BLOB_BYTES });
      checkEqual(last, 3 * COUNTS + 1, 'R1 every change is in the log');
      await again.close();
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
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
  const position = control.recordBegin(0, KIND_CHANGE, 0, 0, 0);
  cues.set(FIRST, 1);
  cues.await(GO_ON, 1, 'the end of a slow commit');
  control.recordPublish(position, me);
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
    await new Promise((done) => setTimeout(done, 60));
    check(!safe, 'R1 a record was acknowledged whose predecessor is not in the log');
    checkEqual(memory.loadU64(H_LOG_WRITTEN), before, 'R1 nothing is written beyond a hole');
    cues.set(GO_ON, 1);
    await wait;
    check(memory.loadU64(H_LOG_WRITTEN) >= seq, 'R1 both are written now');
  });
}

await perform(
  { frame, credit, backlog, staging, opposite, early, nested, held, order },
  { changer, appender, wide, crosser, counter, slow },
);
