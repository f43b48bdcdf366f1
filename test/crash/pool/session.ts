/**
 * A pool that is used, on a simulated disk: opening, seeded steps, and what is known of them.
 *
 * The steps change the little index in all its ways, ask for durability and rounds, and abort. A
 * round that writes to the disk is interrupted by more changes, as other threads would make them:
 * the thread is the same, but the round holds nothing meanwhile that it would not share.
 */
import type { FileSystem } from '../../../src/fs/file-system.ts';
import { patched } from '../../../src/harness/faulty-file-system.ts';
import { countPool } from '../../../src/harness/garbage.ts';
import { impatiently, noteProgress, WaitedEnough } from '../../../src/harness/step-clock.ts';
import type * as productIndex from '../../../src/index.ts';
import type { WasmModule } from '../../../src/memory/webassembly.ts';
import type * as replay from '../../../src/recovery/replay.ts';
import type * as verification from '../../../src/recovery/verify.ts';
import type * as fileBackend from '../../../src/store/file-backend.ts';
import type { Op } from '../../../src/txn/op.ts';
import type { DurabilityLevel } from '../../../src/wal/durability.ts';
import type { LogRecord } from '../../../src/wal/format.ts';
import type { Random } from '../../support/seed.ts';
import { simOptions } from '../../unit/store/workload.ts';
import { comparable, digestOf, type History, type State } from './history.ts';
import { planOf, type Wish, wishFrom } from './intents.ts';
import {
  applyIntent,
  BLOB_BYTES,
  COUNTER,
  INDEX,
  type Intent,
  SCRATCH_BYTES,
} from './little-index.ts';

export const DIRECTORY = '/sim';
const DATA_FILE = `${DIRECTORY}/blobs.dat`;
const FRAMES = 12;
const RING_BYTES = 16 * 1024;
export const PAYLOAD_BYTES_MAX: number = RING_BYTES / 2;

/** The product, or a variant of it. */
export interface Product {
  readonly BufferPool: typeof productIndex.BufferPool;
  readonly WeirpoolError: typeof productIndex.WeirpoolError;
  readonly FileBackend: typeof fileBackend.FileBackend;
  readonly verifyStore: typeof verification.verifyStore;
  readonly kernels: WasmModule;
}

export type Pool = productIndex.BufferPool;

/** Every opening is a process of its own: those before it are dead. */
let processes = 0;

/** Opens the pool with small limits, so that everything that can be full gets full. */
export async function openPool(
  product: Product,
  fs: FileSystem,
  replayed: LogRecord[],
): Promise<Pool> {
  const run = processes++;
  await countPool();
  const owner: replay.Owner = {
    replay(record, op): void {
      const { payload, created, deleted } = record;
      applyIntent(op, { payload, creates: created.length, deletes: deleted });
      op.commit();
      replayed.push(record);
    },
  };
  return product.BufferPool.open(DIRECTORY, {
    store: (context) => new product.FileBackend(DIRECTORY, context, simOptions(run, fs)),
    fileSystem: fs,
    threads: 'inline',
    frames: FRAMES,
    blobBytes: BLOB_BYTES,
    blobsMax: 64,
    frameWaitMs: 2000,
    log: {
      ringBytes: RING_BYTES,
      segmentBytes: RING_BYTES,
      bytesMax: 2 * RING_BYTES,
      intervalMs: 0,
    },
    checkpoint: { intervalMs: 0, ageMs: 0, dirtyFrames: 6 },
    owners: { [INDEX]: owner, [COUNTER]: owner },
  });
}

/** Everything that a pool holds. */
export function stateOf(pool: Pool): State {
  const blobs = new Map<number, Uint8Array>();
  const bytes = new Uint8Array(BLOB_BYTES);
  for (const id of pool.list()) {
    pool.readInto(id, bytes);
    blobs.set(id, comparable(bytes));
  }
  const roots = [INDEX, COUNTER].map((owner) => [owner, pool.root(owner) ?? 0] as const);
  return { blobs, roots: new Map(roots) };
}

class Undone extends Error {}

export class Session {
  readonly #product: Product;
  /** What is known of the store; set anew once an opening has told what is left. */
  history: History;
  readonly #random: Random;
  readonly #fs: FileSystem;
  /** Errors that the pool threw, for those who make it fail. */
  readonly errors: unknown[] = [];
  #pool: Pool | undefined;
  #data: number | undefined;
  #inChange = false;
  #interrupting = false;
  /** Whether steps may be refused: then they are left out. */
  readonly #tolerant: boolean;

  constructor(
    product: Product,
    fs: FileSystem,
    history: History,
    random: Random,
    { tolerant = false } = {},
  ) {
    this.#product = product;
    this.history = history;
    this.#random = random;
    this.#tolerant = tolerant;
    this.#fs = this.#interrupted(fs);
  }

  get pool(): Pool {
    if (this.#pool === undefined) throw new Error('the pool is not open');
    return this.#pool;
  }

  get isOpen(): boolean {
    return this.#pool !== undefined;
  }

  /** Opens; what was replayed. */
  async open(): Promise<readonly LogRecord[]> {
    const replayed: LogRecord[] = [];
    this.#data = undefined;
    noteProgress();
    this.#pool = await openPool(this.#product, this.#fs, replayed);
    return replayed;
  }

  async close(): Promise<void> {
    const pool = this.pool;
    this.#pool = undefined;
    noteProgress();
    await pool.close();
    this.history.acknowledge('synced');
  }

  // --- interrupting rounds -----------------------------------------------------------------------

  /** The disk; before a slot is written or the slots are synced, others may change blobs. */
  #interrupted(fs: FileSystem): FileSystem {
    const meanwhile = (fd: number): void => {
      if (fd === this.#data && this.#random.chance(0.4)) this.#interrupt();
    };
    return patched(fs, {
      open: (path, flags, mode) => {
        const fd = fs.open(path, flags, mode);
        if (path === DATA_FILE) this.#data = fd;
        return fd;
      },
      write: (fd, source, position) => {
        meanwhile(fd);
        return fs.write(fd, source, position);
      },
      syncData: (fd) => {
        meanwhile(fd);
        fs.syncData(fd);
      },
    });
  }

  #interrupt(): void {
    if (this.#pool === undefined || this.#inChange || this.#interrupting) return;
    this.#interrupting = true;
    try {
      impatiently(() => this.#meanwhile());
    } catch (error) {
      // Another thread would wait for the round; this one must let it go on.
      const { code } = error as { code?: string };
      const expected = code === 'OP_RESTART' || code === 'POOL_EXHAUSTED';
      if (!expected && !(error instanceof WaitedEnough)) this.#refused(error);
    } finally {
      this.#interrupting = false;
    }
  }

  #meanwhile(): void {
    const random = this.#random;
    if (random.chance(0.3)) this.#reload();
    this.#change(wishFrom(random), { small: true });
    if (!random.chance(0.5)) return;
    this.pool.durableSync(undefined, 'synced');
    this.history.acknowledge('synced');
  }

  /** What is evicted must come back as it was. */
  #reload(): void {
    const { blobs } = this.history.state;
    for (const id of blobs.keys()) this.pool.evict(id);
    const [id] = this.#random.shuffled([...blobs.keys()]);
    if (id === undefined) return;
    const bytes = new Uint8Array(BLOB_BYTES);
    this.pool.readInto(id, bytes);
    const same = Buffer.compare(comparable(bytes), blobs.get(id) as Uint8Array) === 0;
    if (!same) this.history.violations.push(`blob ${id} came back as another one`);
  }

  /** @throws the error unless steps may be refused. */
  #refused(error: unknown): void {
    this.errors.push(error);
    if (!this.#tolerant) throw error;
  }

  // --- steps ---------------------------------------------------------------------------------------

  /** Some steps, as far as they go. */
  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      noteProgress();
      try {
        await this.#step();
      } catch (error) {
        this.#refused(error);
      }
    }
  }

  async #step(): Promise<void> {
    const random = this.#random;
    const { pool } = this;
    const history = this.history;
    const kind = random.int(100);
    if (kind < 62) {
      const durability = random.pick(['none', 'none', 'written', 'synced'] as const);
      const count = this.#change(wishFrom(random), { durability });
      if (durability !== 'none') history.acknowledge(durability, count);
    } else if (kind < 69) {
      this.#abort(random.int(4));
    } else if (kind < 74) {
      this.#scribble();
    } else if (kind < 80) {
      const count = history.commits.length;
      const level = random.pick(['written', 'synced'] as const);
      await pool.durable(undefined, level);
      history.acknowledge(level, count);
    } else if (kind < 88) {
      const count = history.commits.length;
      await pool.checkpoint();
      history.acknowledge('synced', count);
    } else if (kind < 94) {
      await pool.flushIfNeeded(3);
    } else {
      const ids = [...history.state.blobs.keys()];
      if (ids.length > 0) pool.evict(random.pick(ids));
    }
  }

  /** Commits up to and with this one, 0 if there was nothing to change. */
  #change(
    wish: Wish,
    { durability = 'none', small = false }: { durability?: DurabilityLevel; small?: boolean } = {},
  ): number {
    const { owner } = wish;
    let count = 0;
    const change = (op: Op): void => {
      const intent = planOf(wish, this.history.state, small ? 0 : PAYLOAD_BYTES_MAX);
      if (intent === undefined) return;
      this.#inChange = true;
      try {
        this.#commit(op, intent);
        count = this.history.commits.length;
      } finally {
        this.#inChange = false;
      }
    };
    this.pool.change(change, { owner, durability, undo: this.#random.chance(0.2) });
    return count;
  }

  #commit(op: Op, intent: Intent): void {
    const history = this.history;
    const touched = applyIntent(op, intent);
    const bytes = new Map([...touched.blobs].map((blob) => [blob.id, comparable(blob.bytes)]));
    for (const id of touched.created) history.noteId(id, true);
    const seq = op.commit(intent.payload);
    history.add(seq, intent, touched, bytes);
  }

  /** Changes that are taken back, in every way. */
  #abort(way: number): void {
    const { pool } = this;
    const [id] = this.history.state.blobs.keys();
    if (id === undefined) return;
    const change = (op: Op): void => {
      const blob = op.write(id);
      const created = op.create();
      this.history.noteId(created.id, true);
      if (way === 0) return;
      if (way === 1) throw new Undone();
      op.seal(40);
      blob.bytes.fill(0xee);
      created.bytes.fill(0xee);
      if (way === 2) op.abort();
      else throw new Undone();
    };
    try {
      this.#inChange = true;
      pool.change(change, { owner: INDEX, undo: true });
    } catch (error) {
      if (!(error instanceof Undone)) throw error;
    } finally {
      this.#inChange = false;
    }
  }

  /** Changes the scratch of a blob, without a record. */
  #scribble(): void {
    const ids = [...this.history.state.blobs.keys()];
    if (ids.length === 0) return;
    const id = this.#random.pick(ids);
    const value = this.#random.uint32();
    this.#inChange = true;
    try {
      this.pool.change((op) => {
        const { u32 } = op.write(id);
        op.seal();
        u32.fill(value, (BLOB_BYTES - SCRATCH_BYTES) / 4);
        op.commit();
      });
    } finally {
      this.#inChange = false;
    }
  }

  /** Whether the pool holds what was committed. */
  assertState(): void {
    const history = this.history;
    const found = stateOf(this.pool);
    const count = history.commits.length;
    if (digestOf(found) === history.digestAt(count)) return;
    history.violations.push(`the open pool differs: ${history.describe(found, count)}`);
  }
}
