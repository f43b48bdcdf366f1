/**
 * Threads that are at work while the opener closes.
 *
 * Cases: `slow` (a commit takes longer than close waits for latches), `cached` (the same, and the
 * blob has an image in a frame), `race` (many commits, some random moment), `latch` (the latch of a
 * frame comes free after the pool was stopped).
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { H_STATUS, STATUS_CLOSING, STATUS_OPEN, STOPPED } from '../../src/generated/layout.ts';
import { type BlobId, BufferPool } from '../../src/index.ts';
import { check, checkEqual } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';
import {
  type Actor,
  BLOB_BYTES,
  blobOf,
  enter,
  finale,
  frameOf,
  idAt,
  inDirectory,
  openStage,
  perform,
  slotOf,
  until,
  waitersOf,
} from '../support/stage.ts';

const COMMITTING = 0;
const GO_ON = 1;
const RESULT = 2;
const RETURNED = 1;
const REFUSED = 2;
const UNKNOWN = 3;

/** Cues of the race: the last value that was begun and that was acknowledged, of each writer. */
const BEGUN = 8;
const ACKNOWLEDGED = 16;

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** RETURNED, REFUSED with an error that says that nothing was done, or UNKNOWN. */
function tryWrite(pool: BufferPool, id: BlobId, value: number): number {
  try {
    pool.writeBlob(id, blobOf(id, value));
    return RETURNED;
  } catch (error) {
    const { code, outcome } = error as { code?: string; outcome?: string };
    if (outcome === 'unknown') return UNKNOWN;
    checkEqual(code, 'POOL_CLOSED', `what a write beside a close says (${error})`);
    checkEqual(outcome, 'not_applied', 'its outcome');
    return REFUSED;
  }
}

async function storedValue(directory: string, id: BlobId): Promise<number> {
  const pool = await BufferPool.open(directory, { frames: 4, threads: 'inline' });
  const bytes = new Uint8Array(BLOB_BYTES);
  pool.readInto(id, bytes);
  await pool.close();
  const words = new Uint32Array(bytes.buffer);
  const value = words[1] as number;
  check(
    words.subarray(1).every((word) => word === value),
    `I6 blob ${id} is whole`,
  );
  return value;
}

// --- slow, cached ---------------------------------------------------------------------------------

/** Writes once, over a disk that does not end the sync of the manifest before it is told to. */
function slowWriter({ pool, cues, ids }: Actor): void {
  const sync = fs.fdatasyncSync;
  fs.fdatasyncSync = (fd) => {
    if (fs.readlinkSync(`/proc/self/fd/${fd}`).includes('manifest')) {
      cues.set(COMMITTING, 1);
      cues.await(GO_ON, 1, 'the disk goes on');
    }
    sync(fd);
  };
  syncBuiltinESMExports();
  cues.set(RESULT, tryWrite(pool, idAt(ids), 2));
}

/** From now on five seconds of this thread are over at once. */
function hurryClock(): void {
  const { now } = performance;
  performance.now = () => now.call(performance) * 10_000;
}

/** Long enough for a close that does not wait; the timers of both run in this thread. */
const TURNS = 150;

async function slowCommit(cached: boolean): Promise<void> {
  await inDirectory(async (directory) => {
    const stage = await openStage(import.meta.url, { store: 'file', directory });
    const { pool, cues, ids, memory } = stage;
    const id = idAt(ids);
    if (cached) pool.pin(id).release();
    enter(stage, 'slowWriter');
    cues.await(COMMITTING, 1, 'the commit is at its sync');
    if (!cached) hurryClock();
    let closed = false;
    const closing = pool.close().finally(() => {
      closed = true;
    });
    let stopped = false;
    for (let turn = 0; turn < TURNS && !closed; turn++) {
      await pause(1);
      stopped ||= memory.load(H_STATUS) !== STATUS_OPEN;
      if (cached && turn > TURNS / 10) break;
    }
    const early = closed;
    if (!cached) check(stopped, 'new operations are refused after a while');
    cues.set(GO_ON, 1);
    await closing;
    const codes = await Promise.all(stage.running);
    checkEqual(codes[0], 0, 'the writer ends well');
    const value = await storedValue(directory, id);
    const result = cues.get(RESULT);
    const expected = result === RETURNED ? 2 : result === REFUSED ? 1 : value;
    checkEqual(value, expected, 'I6 what is stored of an acknowledged (2) or a refused (1) write');
    check(!early, 'I6 a close ends after the commit that was under way');
    checkEqual(result, RETURNED, 'I6 the result of the write that was under way');
  });
}

// --- race -------------------------------------------------------------------------------------------

const WRITERS = 2;
const ROUNDS = 8;

function writer({ pool, cues, ids, index }: Actor): void {
  for (let value = 2; ; value++) {
    cues.set(BEGUN + index, value);
    const result = tryWrite(pool, idAt(ids, index), value);
    check(result !== UNKNOWN, 'I6 a write beside a close knows its outcome');
    if (result === REFUSED) return;
    cues.set(ACKNOWLEDGED + index, value);
  }
}

async function race(): Promise<void> {
  const random = new Random(testSeed());
  for (let round = 0; round < ROUNDS; round++) {
    await inDirectory(async (directory) => {
      const options = { store: 'file', directory, blobs: WRITERS } as const;
      const stage = await openStage(import.meta.url, options);
      const { pool, cues, ids } = stage;
      if (random.chance(0.7)) for (const id of ids) pool.pin(id).release();
      enter(stage, 'writer', WRITERS);
      const enough = random.int(6);
      for (let index = 0; index < WRITERS; index++) {
        cues.await(BEGUN + index, 2 + enough, 'the writers write');
      }
      for (let turns = random.int(1000); turns > 0; turns--) cues.get(BEGUN);
      await pool.close();
      const codes = await Promise.all(stage.running);
      check(
        codes.every((code) => code === 0),
        `exit codes ${codes}`,
      );
      for (let index = 0; index < WRITERS; index++) {
        const acknowledged = Math.max(1, cues.get(ACKNOWLEDGED + index));
        checkEqual(
          await storedValue(directory, idAt(ids, index)),
          acknowledged,
          `I6 round ${round}: the last acknowledged write of writer ${index}`,
        );
      }
    });
  }
}

// --- latch ------------------------------------------------------------------------------------------

/** Longer than the scenario may take: all happens within one park. */
const PARK_MS = 8000;

function latcher({ memory, cues, ids }: Actor): void {
  const me = slotOf(memory);
  const frame = frameOf(memory, idAt(ids));
  const result = memory.control.acquireExclusive(frame, me, PARK_MS);
  cues.set(RESULT, result === STOPPED ? REFUSED : RETURNED);
}

async function latch(): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, cues, ids, memory } = stage;
  const id = idAt(ids);
  const guard = pool.read(id);
  const frame = frameOf(memory, id);
  enter(stage, 'latcher');
  until(() => waitersOf(memory, frame) === 1, 'a writer waits for the latch');
  // As a close does; a writer that is waked by it may find the latch free just then.
  memory.store(H_STATUS, STATUS_CLOSING);
  guard.release();
  cues.await(RESULT, 1, 'the writer has waited');
  checkEqual(cues.get(RESULT), REFUSED, 'I1 a latch that comes free after the stop is not taken');
  checkEqual(memory.control.latchFlags(frame), 0, 'I1 nor is it kept');
  checkEqual(waitersOf(memory, frame), 0, 'G1 nobody waits any more');
  memory.store(H_STATUS, STATUS_OPEN);
  pool.write(id).release();
  await finale(stage);
}

await perform(
  { slow: () => slowCommit(false), cached: () => slowCommit(true), race, latch },
  { slowWriter, writer, latcher },
);
