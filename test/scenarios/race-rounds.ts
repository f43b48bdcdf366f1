/**
 * Races of rounds with those who change blobs meanwhile. The store's writes wait at a gate, so that
 * a round stands still where a race needs it.
 *
 * Cases: `evict` (a frame that is being written looks clean), `cut` (images of different times),
 * `half` (a capture in the middle of a change), `log-first` (an image before its record), `manual`
 * (two rounds at once), `trim` (the log goes before the commit), `failed` (the image of a failed
 * round is taken for the next one's).
 */
import {
  H_CHECKPOINT_SEQ,
  H_LOG_DURABLE,
  H_ROUND,
  H_TRIM_SEQ,
} from '../../src/generated/layout.ts';
import type { BlobId } from '../../src/index.ts';
import { check, checkEqual, violation } from '../support/checks.ts';
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
  storedValue,
  until,
} from '../support/stage.ts';

/** Staging for twelve images, of which a round writes eight at a time. */
const FRAMES = 96;
const BLOBS = 12;
const IN_FLIGHT = 8;

const HALF = 0;
const GO_ON = 1;

/** No round runs by itself, and nothing is synced unless somebody asks. */
const QUIET = {
  frames: FRAMES,
  log: { ringBytes: 16_384, intervalMs: 0 },
  checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 0 },
  store: 'gated',
} as const;

async function onStage(body: (stage: Stage) => Promise<void>): Promise<void> {
  await inDirectory(async (directory) => {
    const stage = await openStage(import.meta.url, { ...QUIET, blobs: BLOBS, directory });
    await body(stage);
    await finale(stage);
  });
}

function atGate({ gate }: Stage, writes: number): void {
  until(() => Atomics.load(gate, GATE.writesAtGate) >= writes, `${writes} writes of a round`);
}

/** Changes all blobs and begins a round, whose first writes wait at the gate. */
function beginRound(stage: Stage, value: number): Promise<unknown> {
  for (const id of stage.ids) changeTo(stage.pool, [id], value);
  closeWrites(stage, 1);
  const round = stage.pool.checkpoint();
  atGate(stage, IN_FLIGHT);
  return round;
}

function cachedValue({ pool }: Stage, id: BlobId): number {
  return pool.optimistic(id, ({ u32 }) => u32[1] as number);
}

/** A blob whose image the round has copied, and one that still holds it in its frame. */
function copiedAndHeld({ ids, memory }: Stage): readonly [BlobId, BlobId] {
  const isHeld = (id: BlobId): boolean => memory.control.capturedBy(frameOf(memory, id)) !== 0;
  const [copied, held] = [ids.find((id) => !isHeld(id)), ids.find(isHeld)];
  if (copied === undefined || held === undefined) violation('the round stands in the middle');
  return [copied, held];
}

async function evict(): Promise<void> {
  await onStage(async (stage) => {
    const { pool, ids } = stage;
    const round = beginRound(stage, 2);
    for (const id of ids) {
      check(!pool.evict(id), `I1 blob ${id} was evicted before its image was in the store`);
      checkEqual(cachedValue(stage, id), 2, 'I1 the value beside a round');
    }
    openGate(stage, GATE.writeGate);
    await round;
    for (const id of ids) {
      check(pool.evict(id), `I1 blob ${id} is clean after the round`);
      checkEqual(cachedValue(stage, id), 2, 'I1 the value in the store');
    }
  });
}

/** Parent and child are changed together while one image is copied and the other is not. */
async function cut(): Promise<void> {
  await onStage(async (stage) => {
    const round = beginRound(stage, 2);
    const pair = copiedAndHeld(stage);
    changeTo(stage.pool, pair, 3);
    openGate(stage, GATE.writeGate);
    await round;
    for (const id of stage.ids) checkEqual(storedValue(stage, id), 2, 'I3 the image of the cut');
    for (const id of pair) checkEqual(cachedValue(stage, id), 3, 'I3 what was changed since');
    await stage.pool.checkpoint();
    for (const id of pair) checkEqual(storedValue(stage, id), 3, 'I3 the image of the next cut');
  });
}

/** Is in the middle of a change, as a thread is that was scheduled away. */
function halfWay({ pool, cues, ids }: Actor): void {
  pool.change((op) => {
    const blobs = ids.slice(0, 2).map((id) => op.write(id));
    op.seal(0);
    blobs[0]?.u32.fill(3, 1);
    cues.set(HALF, 1);
    cues.await(GO_ON, 1, 'the other half of a change');
    blobs[1]?.u32.fill(3, 1);
    op.commit(new Uint8Array(0));
  });
}

async function half(): Promise<void> {
  await onStage(async (stage) => {
    const { pool, cues, ids } = stage;
    changeTo(pool, ids, 2);
    enter(stage, 'halfWay');
    cues.await(HALF, 1, 'half of a change');
    const written = Atomics.load(stage.gate, GATE.writes);
    const round = pool.checkpoint();
    awhile(() => Atomics.load(stage.gate, GATE.writes) !== written);
    cues.set(GO_ON, 1);
    await round;
    const [a, b] = ids.slice(0, 2).map((id) => storedValue(stage, id));
    checkEqual(a, b, 'I3 two blobs that are always changed together');
  });
}

async function logFirst(): Promise<void> {
  await onStage(async (stage) => {
    const { memory, ids, pool } = stage;
    const round = beginRound(stage, 2);
    const seq = pool.dirtyBlobs().reduce((last, blob) => Math.max(last, blob.seq), 0);
    check(seq > 0, 'the round has captured something');
    const durable = memory.loadU64(H_LOG_DURABLE);
    check(durable >= seq, `W2D an image is written, its record (${seq}) is not safe (${durable})`);
    openGate(stage, GATE.writeGate);
    await round;
    checkEqual(storedValue(stage, idAt(ids)), 2, 'W2D the image in the store');
  });
}

/** A round by hand while another one is under way: the older image must not land last. */
async function manual(): Promise<void> {
  await onStage(async (stage) => {
    const { pool, memory, ids } = stage;
    const id = idAt(ids);
    changeTo(pool, [id], 2);
    closeWrites(stage, 2);
    const first = pool.checkpoint();
    atGate(stage, 1);
    const number = memory.loadU64(H_ROUND);
    changeTo(pool, [id], 3);
    const second = pool.checkpoint();
    awhile(() => memory.loadU64(H_ROUND) !== number);
    checkEqual(
      memory.loadU64(H_ROUND),
      number,
      'I1 a round begins while another one is on its way',
    );
    openGate(stage, GATE.writeGate);
    await Promise.all([first, second]);
    checkEqual(storedValue(stage, id), 3, 'I1 the image that landed last');
    check(pool.evict(id), 'I1 the blob is clean after both rounds');
    checkEqual(cachedValue(stage, id), 3, 'I1 the value in the store');
  });
}

async function trim(): Promise<void> {
  await onStage(async (stage) => {
    const { memory, gate, pool } = stage;
    const before = memory.loadU64(H_CHECKPOINT_SEQ);
    const checkTrim = (when: string): void => {
      awhile(() => memory.loadU64(H_TRIM_SEQ) > before);
      const [to, seq] = [memory.loadU64(H_TRIM_SEQ), memory.loadU64(H_CHECKPOINT_SEQ)];
      checkEqual(seq, before, `the round is not committed ${when}`);
      check(to <= seq, `I2 the log is trimmed to ${to} ${when}, the store has ${seq}`);
    };
    const round = beginRound(stage, 2);
    checkTrim('while images are written');
    Atomics.store(gate, GATE.commitsAtGate, 0);
    Atomics.store(gate, GATE.commitGate, 1);
    openGate(stage, GATE.writeGate);
    until(() => Atomics.load(gate, GATE.commitsAtGate) === 1, 'the commit of the round');
    checkTrim('between the writes and the commit');
    openGate(stage, GATE.commitGate);
    await round;
    const [to, seq] = [memory.loadU64(H_TRIM_SEQ), memory.loadU64(H_CHECKPOINT_SEQ)];
    check(seq > before && to === seq, `I2 the log is trimmed to ${to} after the round of ${seq}`);
    checkEqual(pool.minUnflushedSeq(), undefined, 'I2 nothing is left to write');
  });
}

async function failed(): Promise<void> {
  await onStage(async (stage) => {
    const { pool, gate, ids } = stage;
    const round = beginRound(stage, 2).then(
      () => 'done',
      (error: { code?: string }) => error.code,
    );
    const [, held] = copiedAndHeld(stage);
    changeTo(pool, [held], 3);
    Atomics.store(gate, GATE.writesFail, IN_FLIGHT);
    openGate(stage, GATE.writeGate);
    checkEqual(await round, 'STORE_IO', 'I1 a round whose writes fail');
    Atomics.store(gate, GATE.writesFail, 0);
    await pool.checkpoint();
    for (const id of ids) {
      const value = id === held ? 3 : 2;
      checkEqual(storedValue(stage, id), value, 'I1 the image after a round that has failed');
      check(pool.evict(id), `I1 blob ${id} is clean`);
      checkEqual(cachedValue(stage, id), value, 'I1 the value after a round that has failed');
    }
  });
}

await perform({ evict, cut, half, 'log-first': logFirst, manual, trim, failed }, { halfWay });
