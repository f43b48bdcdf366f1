/**
 * What race scenarios share: a pool, actors on workers, cues between them.
 *
 * A scenario file has cases, chosen by the first argument. A case is a main part, which opens the
 * pool, and roles, which run on workers that attach to it. Threads tell each other how far they
 * are by cues, words of shared memory; every wait for one is bounded and ends in a violation.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, threadId, workerData } from 'node:worker_threads';
import {
  OK,
  S_NODE_THREAD,
  S_OUT,
  S_WAITING_ON,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
} from '../../src/generated/layout.ts';
import {
  type BlobId,
  BufferPool,
  type PoolHandle,
  type PoolOptions,
  type StoreModule,
} from '../../src/index.ts';
import { ThreadMemory } from '../../src/memory/pool-memory.ts';
import { check, checkEqual, startWorker, violation } from './checks.ts';
import { GATE, GATE_WORDS, GATED_STORE_ENV, type GatedStoreOptions } from './gated-store.ts';

export const BLOB_BYTES = 4096;
const CUE_WORDS = 64;
const CUE_WAIT_MS = 10_000;
const AWHILE_MS = 500;
const SLOTS_OF_GATED_STORE = 256;

/** Counters that threads wait for each other by. */
export class Cues {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(CUE_WORDS * 4)) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
  }

  get(cue: number): number {
    return Atomics.load(this.#words, cue);
  }

  set(cue: number, value: number): void {
    Atomics.store(this.#words, cue, value);
    Atomics.notify(this.#words, cue);
  }

  /** Sets without waking anybody: for what is polled in tight loops. */
  mark(cue: number, value: number): void {
    Atomics.store(this.#words, cue, value);
  }

  add(cue: number, by = 1): number {
    const before = Atomics.add(this.#words, cue, by);
    Atomics.notify(this.#words, cue);
    return before + by;
  }

  /** Parks until the cue is at least `value`; a violation after ten seconds. */
  await(cue: number, value: number, what: string): void {
    if (!this.awaitFor(cue, value, CUE_WAIT_MS)) violation(`never happened: ${what}`);
  }

  /** Parks until the cue is at least `value`, for at most `ms`: whether it is. */
  awaitFor(cue: number, value: number, ms: number): boolean {
    const end = performance.now() + ms;
    for (;;) {
      const seen = this.get(cue);
      if (seen >= value) return true;
      const left = end - performance.now();
      if (left <= 0) return false;
      Atomics.wait(this.#words, cue, seen, left);
    }
  }
}

/** Polls until `condition` holds; a violation after ten seconds. */
export function until(condition: () => boolean, what: string): void {
  const end = performance.now() + CUE_WAIT_MS;
  const nap = new Int32Array(new SharedArrayBuffer(4));
  while (!condition()) {
    if (performance.now() > end) violation(`never happened: ${what}`);
    Atomics.wait(nap, 0, 0, 1);
  }
}

/** Polls until what should not happen happens, for long enough that it would. */
export function awhile(happens: () => boolean): void {
  const end = performance.now() + AWHILE_MS;
  const nap = new Int32Array(new SharedArrayBuffer(4));
  while (!happens() && performance.now() < end) Atomics.wait(nap, 0, 0, 1);
}

/** What a role gets. */
export interface Actor {
  readonly pool: BufferPool;
  readonly cues: Cues;
  readonly ids: readonly BlobId[];
  /** Views of the pool's memory that belong to no thread slot: for looking, not for locks. */
  readonly memory: ThreadMemory;
  /** Which of the actors of the same role this is. */
  readonly index: number;
  /** Words of the gated store; unused with other stores. */
  readonly gate: Int32Array;
}

export type Role = (actor: Actor) => void | Promise<void>;

interface Cast {
  readonly role: string;
  readonly index: number;
  readonly handle: PoolHandle;
  readonly cues: SharedArrayBuffer;
  readonly gate: SharedArrayBuffer;
  readonly ids: readonly BlobId[];
}

/** The main part's view: an actor that can start others. */
export interface Stage extends Actor {
  readonly self: string;
  readonly running: Promise<number>[];
  /** Bytes of the gated store, by slots. */
  readonly data: Uint8Array;
}

/** A blob with its id in word 0 and `value` in all others. */
export function blobOf(id: BlobId, value: number): Uint8Array {
  const words = new Uint32Array(BLOB_BYTES / 4).fill(value);
  words[0] = id;
  return new Uint8Array(words.buffer);
}

function gatedStore(data: SharedArrayBuffer, words: SharedArrayBuffer): StoreModule {
  const module = process.env[GATED_STORE_ENV];
  check(module !== undefined, `${GATED_STORE_ENV} is not set`);
  const options: GatedStoreOptions = { module, data, words };
  return { module, options };
}

export interface StageOptions extends Omit<PoolOptions, 'store'> {
  readonly store?: 'memory' | 'gated' | 'file';
  /** Blobs to begin with, with value 1. Default 1. */
  readonly blobs?: number;
  readonly directory?: string;
}

/** Opens a small pool with some blobs, none of them cached unless it has a log. */
export async function openStage(self: string, options: StageOptions = {}): Promise<Stage> {
  const { store = 'memory', blobs = 1, directory = 'nowhere', ...rest } = options;
  const words = new SharedArrayBuffer(GATE_WORDS * 4);
  const data = new SharedArrayBuffer(SLOTS_OF_GATED_STORE * BLOB_BYTES);
  const pool = await BufferPool.open(directory, {
    frames: 4,
    blobBytes: BLOB_BYTES,
    blobsMax: 128,
    ...rest,
    store: store === 'gated' ? gatedStore(data, words) : store,
  });
  const gate = new Int32Array(words);
  Atomics.store(gate, GATE.patienceMs, 400);
  const logged = rest.log !== undefined;
  const ids = Array.from({ length: blobs }, () => (logged ? create(pool) : pool.allocate()));
  if (logged) await pool.checkpoint();
  else for (const id of ids) pool.writeBlob(id, blobOf(id, 1));
  const memory = new ThreadMemory(pool.handle.memory);
  const bytes = new Uint8Array(data);
  return { pool, cues: new Cues(), ids, memory, index: 0, self, gate, running: [], data: bytes };
}

function create(pool: BufferPool): BlobId {
  return pool.change((op) => {
    const blob = op.create();
    op.seal(0);
    blob.bytes.set(blobOf(blob.id, 1));
    op.commit(new Uint8Array(0));
    return blob.id;
  });
}

/** Sets the blobs to one value, in one mini-transaction: its seq. */
export function changeTo(pool: BufferPool, ids: readonly BlobId[], value: number): number {
  return pool.change((op) => {
    const blobs = ids.map((id) => op.write(id));
    op.seal(0);
    for (const { bytes, id } of blobs) bytes.set(blobOf(id, value));
    return op.commit(new Uint8Array(0));
  });
}

/** Value of the blob in the gated store, as the committed mapping has it. */
export function storedValue({ memory, data }: Stage, id: BlobId): number {
  const slot = slotOf(memory);
  if (memory.control.mapGet(id, slot) !== OK) violation(`blob ${id} is not in the mapping`);
  const at = (SLOTS + slot * SLOT_BYTES + S_OUT) / Float64Array.BYTES_PER_ELEMENT;
  const bytes = data.slice((memory.f64[at] as number) * BLOB_BYTES).buffer;
  const [first, value, ...others] = new Uint32Array(bytes, 0, BLOB_BYTES / 4);
  checkEqual(first, id, 'whose bytes are in the slot');
  check(
    others.every((word) => word === value),
    `blob ${id} is torn in the store`,
  );
  return value as number;
}

/** Starts `count` actors of a role. */
export function enter(stage: Stage, role: string, count = 1): void {
  const { pool, ids } = stage;
  const cues = stage.cues.shared;
  const gate = stage.gate.buffer as SharedArrayBuffer;
  for (let index = 0; index < count; index++) {
    const cast: Cast = { role, index, handle: pool.handle, cues, gate, ids };
    stage.running.push(startWorker(stage.self, cast).done);
  }
}

/** Waits until all actors have left with 0, then closes the pool. */
export async function finale(stage: Stage): Promise<void> {
  const codes = await Promise.all(stage.running);
  check(
    codes.every((code) => code === 0),
    `exit codes of the actors: ${codes}`,
  );
  await stage.pool.close();
}

/** Runs the case that the first argument names, or in a worker the role that it was given. */
export async function perform(
  cases: Readonly<Record<string, () => Promise<void>>>,
  roles: Readonly<Record<string, Role>> = {},
): Promise<void> {
  if (isMainThread) {
    const name = process.argv[2] ?? '';
    const play = cases[name];
    check(play !== undefined, `there is no case ${name}`);
    await play();
    return;
  }
  const { role, index, handle, cues, gate, ids } = workerData as Cast;
  const act = roles[role];
  check(act !== undefined, `there is no role ${role}`);
  const pool = await BufferPool.attach(handle);
  const memory = new ThreadMemory(handle.memory);
  const words = new Int32Array(gate);
  await act({ pool, cues: new Cues(cues), ids, memory, index, gate: words });
  await pool.close();
}

/** The only blob of a scenario, or the one at `index`. */
export function idAt(ids: readonly BlobId[], index = 0): BlobId {
  const id = ids[index];
  check(id !== undefined, `there is no blob number ${index}`);
  return id;
}

/** Frame that holds the blob, -1 if none does; by looking at all of them. */
export function frameOf(memory: ThreadMemory, id: BlobId): number {
  return framesOf(memory, id)[0] ?? -1;
}

export function framesOf(memory: ThreadMemory, id: BlobId): number[] {
  const frames: number[] = [];
  for (let frame = 0; frame < memory.shared.frames; frame++) {
    if (memory.control.blobOf(frame) === id) frames.push(frame);
  }
  return frames;
}

/** The calling thread's slot in the pool. */
export function slotOf(memory: ThreadMemory): number {
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    if (memory.control.attachedState(slot) === 0) continue;
    if (memory.load(SLOTS + slot * SLOT_BYTES + S_NODE_THREAD) === threadId) return slot;
  }
  violation('this thread is not attached');
}

/** Threads that are registered as waiters of the frame. */
export function waitersOf(memory: ThreadMemory, frame: number): number {
  let waiters = 0;
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    if (memory.load(SLOTS + slot * SLOT_BYTES + S_WAITING_ON) === frame + 1) waiters++;
  }
  return waiters;
}

/** Closes a gate of the gated store for whoever comes next, and counts from zero. */
export function closeReads({ gate }: Actor, place: number): void {
  Atomics.store(gate, GATE.reads, 0);
  Atomics.store(gate, GATE.readsAtGate, 0);
  Atomics.store(gate, GATE.readPlace, place);
  Atomics.store(gate, GATE.readGate, 1);
}

/** Opens a gate: whoever waits there goes on. */
export function openGate({ gate }: Actor, which: number): void {
  Atomics.store(gate, which, 0);
  Atomics.notify(gate, which);
}

/** Closes the gate for writes of rounds, for all (1) or for the first that comes (2). */
export function closeWrites({ gate }: Actor, which: 1 | 2): void {
  Atomics.store(gate, GATE.writesAtGate, 0);
  Atomics.store(gate, GATE.patienceMs, CUE_WAIT_MS);
  Atomics.store(gate, GATE.writeGate, which);
}

/** A directory for the time of `body`. */
export async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-race-'));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
