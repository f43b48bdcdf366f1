/**
 * Threads of a pool with a log.
 *
 * Cases: `start` (the journal cannot start, and the opener blocks until it has written), `race`
 * (threads commit while the opener closes), `sealed` (one of them stays in the middle of a change).
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BlobId, BufferPool, type DurabilityLevel, type Op } from '../../src/index.ts';
import { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { check, checkEqual, checkThrows } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';
import {
  type Actor,
  Cues,
  enter,
  idAt,
  inDirectory,
  perform,
  type Stage,
} from '../support/stage.ts';

const OPTIONS = {
  blobBytes: 4096,
  frames: 16,
  log: { ringBytes: 16384, bytesMax: 1 << 20 },
  owners: {
    0: {
      replay(record: { readonly payload: Uint8Array }, op: Op): void {
        const [id = 0, value = 0] = new Uint32Array(record.payload.slice().buffer);
        const blob = id === 0 ? op.create() : op.write(id);
        op.seal(8);
        blob.u32[0] = value;
      },
    },
  },
} as const;

function payload(id: BlobId | 0, value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([id, value]).buffer);
}

function set(pool: BufferPool, id: BlobId, value: number, durability: DurabilityLevel): void {
  const change = (op: Op): void => {
    const blob = op.write(id);
    op.seal(8);
    blob.u32[0] = value;
    op.commit(payload(id, value));
  };
  pool.change(change, { durability });
}

function create(pool: BufferPool): BlobId {
  return pool.change((op) => {
    const { id } = op.create();
    op.commit(payload(0, 0));
    return id;
  });
}

async function openStage(directory: string, blobs: number): Promise<Stage> {
  const pool = await BufferPool.open(directory, OPTIONS);
  const ids = Array.from({ length: blobs }, () => create(pool));
  const memory = new ThreadMemory(pool.handle.memory);
  const gate = new Int32Array(new SharedArrayBuffer(64));
  const data = new Uint8Array(0);
  const cues = new Cues();
  return { pool, ids, memory, gate, data, cues, index: 0, self: import.meta.url, running: [] };
}

async function storedValues(directory: string, ids: readonly BlobId[]): Promise<number[]> {
  const pool = await BufferPool.open(directory, { ...OPTIONS, threads: 'inline' });
  const values = ids.map((id) => pool.optimistic(id, ({ u32 }) => u32[0] as number));
  await pool.close();
  return values;
}

// --- start ------------------------------------------------------------------------------------------

async function start(): Promise<void> {
  await inDirectory(async (directory) => {
    const pool = await BufferPool.open(directory, OPTIONS);
    // The workers are starting: whoever attaches now finds another data file than the opener's.
    const data = join(directory, 'blobs.dat');
    renameSync(data, `${data}.old`);
    writeFileSync(data, '');
    create(pool);
    const error = checkThrows(
      () => pool.durableSync(undefined, 'synced'),
      'POISONED',
      'W2D what a thread is told that waits for a journal which cannot start',
    );
    check(/worker could not go on/.test(error.message), `W2D the reason: ${error.message}`);
    await pool.close().catch(() => undefined);
  });
}

// --- race -------------------------------------------------------------------------------------------

const WRITERS = 3;
const ROUNDS = 4;
/** Cues: the last value that a writer has begun, that was acknowledged, whether one is in doubt. */
const BEGUN = 8;
const ACKNOWLEDGED = 16;
const DOUBTED = 24;
const LEVELS: readonly DurabilityLevel[] = ['none', 'written', 'synced'];

function writer({ pool, cues, ids, index }: Actor): void {
  for (let value = 1; ; value++) {
    cues.set(BEGUN + index, value);
    try {
      set(pool, idAt(ids, index), value, LEVELS[(value + index) % LEVELS.length] ?? 'none');
      cues.mark(ACKNOWLEDGED + index, value);
    } catch (error) {
      const { code, outcome } = error as { code?: string; outcome?: string };
      checkEqual(code, 'POOL_CLOSED', `what a change beside a close says (${error})`);
      cues.mark(DOUBTED + index, outcome === 'unknown' ? 1 : 0);
      return;
    }
  }
}

async function race(): Promise<void> {
  const random = new Random(testSeed());
  for (let round = 0; round < ROUNDS; round++) {
    await inDirectory(async (directory) => {
      const stage = await openStage(directory, WRITERS);
      const { pool, cues, ids } = stage;
      enter(stage, 'writer', WRITERS);
      for (let index = 0; index < WRITERS; index++) {
        cues.await(BEGUN + index, 1 + random.int(40), 'the writers write');
      }
      await pool.close();
      const codes = await Promise.all(stage.running);
      checkEqual(String(codes), '0,0,0', 'exit codes');
      for (const [index, value] of (await storedValues(directory, ids)).entries()) {
        const acknowledged = cues.get(ACKNOWLEDGED + index);
        const doubted = cues.get(DOUBTED + index);
        const known = value === acknowledged || (doubted === 1 && value === acknowledged + 1);
        const what = `acknowledged ${acknowledged}, ${doubted} in doubt, found ${value}`;
        check(known, `R1 round ${round}, writer ${index}: ${what}`);
      }
    });
  }
}

// --- sealed -----------------------------------------------------------------------------------------

const SEALED = 0;
const GO_ON = 1;
const REFUSED = 2;

function sealer({ pool, cues, ids }: Actor): void {
  const op = pool.begin();
  const blob = op.write(idAt(ids));
  op.seal(8);
  blob.u32[0] = 2;
  cues.set(SEALED, 1);
  cues.await(GO_ON, 1, 'the close has given up');
  const commit = (): number => op.commit(payload(blob.id, 2));
  checkThrows(commit, 'POISONED', 'R1 a commit that no journal will write');
  cues.set(REFUSED, 1);
}

/** From now on five seconds of this thread are over at once. */
function hurryClock(): void {
  const { now } = performance;
  performance.now = () => now.call(performance) * 1000;
}

async function sealed(): Promise<void> {
  await inDirectory(async (directory) => {
    const stage = await openStage(directory, 1);
    const { pool, cues, ids } = stage;
    set(pool, idAt(ids), 1, 'written');
    enter(stage, 'sealer');
    cues.await(SEALED, 1, 'a change is sealed');
    hurryClock();
    const error = await pool.close().then(
      () => undefined,
      (reason: unknown) => reason as { code?: string },
    );
    checkEqual(error?.code, 'LATCH_HELD', 'G1 what a close says that waited in vain');
    cues.set(GO_ON, 1);
    checkEqual((await Promise.all(stage.running))[0], 0, 'the sealer ends well');
    checkEqual(cues.get(REFUSED), 1, 'R1 its commit was refused');
    checkEqual((await storedValues(directory, ids))[0], 1, 'R1 what is stored');
  });
}

await perform({ start, race, sealed }, { writer, sealer });
