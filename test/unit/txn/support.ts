/** Pools with a log for these tests: everything inline, on a disk in memory that fails on demand. */
import { onTestFinished, vi } from 'vitest';
import { type Capture, Round } from '../../../src/checkpoint/round.ts';
import {
  type FaultyFileSystem,
  faultyFileSystem,
} from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import type { ThreadMemory } from '../../../src/memory/pool-memory.ts';
import type { LogServices } from '../../../src/memory/services.ts';
import { closeOpened } from '../../../src/pool/close.ts';
import type { PoolCore } from '../../../src/pool/core.ts';
import { openCore } from '../../../src/pool/open.ts';
import type { PoolOptions } from '../../../src/pool/options.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import type { PoolLog } from '../../../src/pool/pool-log.ts';
import type { Owner, Owners } from '../../../src/recovery/replay.ts';
import type { BlobId } from '../../../src/store/contract.ts';
import type { Op } from '../../../src/txn/op.ts';
import type { Change, ChangeOptions } from '../../../src/txn/transactions.ts';
import type { LogRecord } from '../../../src/wal/format.ts';

export const BLOB_BYTES = 4096;
export const DIRECTORY = '/sim';
export const RING_BYTES: number = 16 * 1024;
export const PAYLOAD_MAX: number = RING_BYTES / 2;

/** Nothing runs by itself, so that a test decides when. */
export const LOGGED = {
  blobBytes: BLOB_BYTES,
  frames: 16,
  frameWaitMs: 5000,
  threads: 'inline',
  log: { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 2 ** 20, intervalMs: 0 },
  checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 0 },
} as const satisfies PoolOptions;

// --- changes that a record describes -----------------------------------------------------------

/** One change; blobs are full of one byte. The record is the change itself. */
export interface Plan {
  /** Bytes that new blobs are full of. */
  readonly create?: readonly number[];
  readonly set?: readonly (readonly [id: BlobId, value: number])[];
  readonly delete?: readonly BlobId[];
  /** Root of an owner: a blob, 0 for none, or -1 for the first new blob. */
  readonly root?: readonly [owner: number, id: BlobId];
}

export interface Made {
  readonly seq: number;
  readonly ids: readonly BlobId[];
}

/** A pool, or its transactions. */
export interface Changer {
  change<T>(change: Change<T>, options?: ChangeOptions): T;
}

function encode(plan: Plan): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(plan));
}

/** Does the change in a mini-transaction: first everything is acquired, then bytes are changed. */
export function perform(op: Op, plan: Plan): Made {
  const made = (plan.create ?? []).map((value) => [op.create(), value] as const);
  const written = (plan.set ?? []).map(([id, value]) => [op.write(id), value] as const);
  for (const id of plan.delete ?? []) op.delete(id);
  const ids = made.map(([{ id }]) => id);
  if (plan.root !== undefined) {
    const [owner, id] = plan.root;
    op.setRoot(owner, id < 0 ? (ids[0] as BlobId) : id);
  }
  const record = encode(plan);
  op.seal(record.length);
  for (const [blob, value] of [...made, ...written]) blob.bytes.fill(value);
  return { seq: op.commit(record), ids };
}

export function change(pool: Changer, plan: Plan, options?: ChangeOptions): Made {
  return pool.change((op) => perform(op, plan), options);
}

/** Creates one blob full of `value`. */
export function create(pool: Changer, value: number): BlobId {
  return change(pool, { create: [value] }).ids[0] as BlobId;
}

export function set(pool: Changer, id: BlobId, value: number): number {
  return change(pool, { set: [[id, value]] }).seq;
}

export function remove(pool: Changer, id: BlobId): number {
  return change(pool, { delete: [id] }).seq;
}

/** A record without a payload only names ids. */
function planOf({ payload, created, deleted }: LogRecord): Plan {
  if (payload.length === 0) return { create: created.map(() => 0), delete: deleted };
  return JSON.parse(new TextDecoder().decode(payload)) as Plan;
}

/** Replays such changes and keeps the records that it has done again. */
export class PlanOwner implements Owner {
  readonly records: LogRecord[] = [];

  replay(record: LogRecord, op: Op): void {
    perform(op, planOf(record));
    this.records.push({ ...record, payload: record.payload.slice() });
  }

  get seqs(): number[] {
    return this.records.map(({ seq }) => seq);
  }
}

// --- pools ---------------------------------------------------------------------------------------

export interface Given {
  readonly options?: PoolOptions;
  readonly disk?: SimFileSystem;
  readonly owner?: PlanOwner;
}

function optionsOf({ options = {}, owner = new PlanOwner() }: Given, fs: FaultyFileSystem) {
  const owners: Owners = { 0: owner };
  return { ...LOGGED, owners, fileSystem: fs, ...options };
}

export interface OpenedLogged {
  readonly pool: BufferPool;
  readonly disk: SimFileSystem;
  readonly fs: FaultyFileSystem;
}

/** A pool on a simulated disk; closed when the test is over, whatever became of it. */
export async function openLogged(given: Given = {}): Promise<OpenedLogged> {
  const disk = given.disk ?? new SimFileSystem();
  const fs = faultyFileSystem(disk);
  const pool = await BufferPool.open(DIRECTORY, optionsOf(given, fs));
  onTestFinished(async () => {
    fs.plan = () => undefined;
    await pool.close().catch(() => undefined);
  });
  return { pool, disk, fs };
}

/** The parts of such a pool, for tests that go between them. */
export interface OpenedParts {
  readonly core: PoolCore;
  readonly log: PoolLog;
  readonly memory: ThreadMemory;
  readonly disk: SimFileSystem;
  readonly fs: FaultyFileSystem;
  /** A round of which nothing has run yet. */
  newRound(): Round;
  close(): Promise<void>;
}

export async function openParts(given: Given = {}): Promise<OpenedParts> {
  const disk = given.disk ?? new SimFileSystem();
  const fs = faultyFileSystem(disk);
  const opened = await openCore(DIRECTORY, optionsOf(given, fs));
  const { core } = opened;
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= closeOpened(opened);
    return closed;
  };
  onTestFinished(async () => {
    fs.plan = () => undefined;
    await close().catch(() => undefined);
  });
  const { thread, store, memory } = core;
  const services = thread.services as LogServices;
  const newRound = (): Round =>
    new Round({ thread, store, services, onRound: () => undefined, logWaitMs: 1000 });
  return { core, log: core.log as PoolLog, memory, disk, fs, newRound, close };
}

/** What power loss leaves of the disk if everything that was written has reached it. */
export function abandoned(disk: SimFileSystem): SimFileSystem {
  return disk.afterCrash(() => 1);
}

/** What power loss leaves if nothing has that was not synced. */
export function powerLost(disk: SimFileSystem): SimFileSystem {
  return disk.afterCrash(() => 0);
}

// --- looking ---------------------------------------------------------------------------------------

/** The one value that the blob is full of; NaN if it is not. */
export function valueIn(bytes: Uint8Array): number {
  const value = bytes[0] as number;
  return bytes.every((byte) => byte === value) ? value : Number.NaN;
}

export function valueAt(pool: BufferPool, id: BlobId): number {
  const bytes = new Uint8Array(BLOB_BYTES);
  pool.readInto(id, bytes);
  return valueIn(bytes);
}

/** All blobs with their values. */
export function contentOf(pool: BufferPool): [BlobId, number][] {
  return pool.list().map((id) => [id, valueAt(pool, id)]);
}

/** What the store itself has, without the frames. */
export function storedIn({ store }: PoolCore): [BlobId, number][] {
  return store.list().map((id) => [id, valueIn(store.readScratch(id))]);
}

/** A slot of the pool that stands for another thread, which lives for ever. */
export function otherThread({ control }: Pick<ThreadMemory, 'control'>): number {
  return control.attachSlot(1_000_000, 0, 0);
}

/** Runs what is left of a round after its capture. */
export function finishRound(round: Round, capture: Capture): void {
  round.logFirst(capture);
  round.writeThrough(capture);
  round.commit(capture);
  round.trim(capture);
}

/** Time that passes with every look at the clock, so that no test depends on the machine. */
export class FakeClock {
  nowMs: number = performance.now();

  /** @param stepMs  How far each look moves it. */
  constructor(stepMs: number) {
    const spy = vi.spyOn(performance, 'now').mockImplementation(() => {
      this.nowMs += stepMs;
      return this.nowMs;
    });
    onTestFinished(() => spy.mockRestore());
  }
}
