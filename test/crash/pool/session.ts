/**
 * The bare pool under the harness: the little index in all its ways, aborts, changes without a
 * record, and what was replayed, record by record.
 */
import { createHash } from 'node:crypto';
import type { FileSystem } from '../../../src/fs/file-system.ts';
import type { Facts, Oracle } from '../../../src/harness/index.ts';
import {
  DIRECTORY,
  Session,
  type SessionParts,
  type Workload,
} from '../../../src/harness/session.ts';
import { BufferPool, type LogRecord } from '../../../src/index.ts';
import type { Owner } from '../../../src/recovery/replay.ts';
import { FileBackend } from '../../../src/store/file-backend.ts';
import type { Op } from '../../../src/txn/op.ts';
import type { DurabilityLevel } from '../../../src/wal/durability.ts';
import { simOptions } from '../../unit/store/workload.ts';
import { planOf, type State, type Wish, wishFrom } from './intents.ts';
import {
  applyIntent,
  BLOB_BYTES,
  COUNTER,
  INDEX,
  type Intent,
  SCRATCH_BYTES,
} from './little-index.ts';

const FRAMES = 12;
const RING_BYTES = 16 * 1024;
export const PAYLOAD_BYTES_MAX: number = RING_BYTES / 2;
const COMPARED_BYTES = BLOB_BYTES - SCRATCH_BYTES;

/** Beside a commit: what it did, and what there was afterwards. */
export interface Note {
  readonly intent: Intent;
  readonly state: State;
}

const NOTHING: State = { blobs: new Map(), roots: new Map() };

/** Every opening is a process of its own: those before it are dead. */
let processes = 0;

/** Opens the pool with small limits, so that everything that can be full gets full. */
export function openPool(fs: FileSystem, replayed: LogRecord[]): Promise<BufferPool> {
  const run = processes++;
  const owner: Owner = {
    replay(record, op): void {
      const { payload, created, deleted } = record;
      applyIntent(op, { payload, creates: created.length, deletes: deleted });
      op.commit();
      replayed.push(record);
    },
  };
  return BufferPool.open(DIRECTORY, {
    store: (context) => new FileBackend(DIRECTORY, context, simOptions(run, fs)),
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

/** What is compared of a blob, as a copy. */
function comparable(bytes: Uint8Array): Uint8Array {
  return bytes.slice(0, COMPARED_BYTES);
}

/** The stamp tells people which change it was, the sum is compared. */
function factOf(bytes: Uint8Array): string {
  const stamp = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
  const sum = createHash('md5').update(bytes.subarray(0, COMPARED_BYTES)).digest('base64');
  return `stamp ${stamp}, sum ${sum}`;
}

const blobFact = (id: number): string => `blob ${id}`;
const rootFact = (owner: number): string => `root of ${owner}`;

class Undone extends Error {}

class PoolSession extends Session<Note> {
  #pool: BufferPool | undefined;
  #replayed: LogRecord[] = [];

  protected async openOn(fs: FileSystem): Promise<BufferPool> {
    this.#replayed = [];
    this.#pool = await openPool(fs, this.#replayed);
    return this.#pool;
  }

  protected async closeStore(): Promise<void> {
    await this.#pool?.close();
  }

  facts(): Facts {
    const facts = new Map<string, string>();
    const bytes = new Uint8Array(BLOB_BYTES);
    for (const id of this.pool.list()) {
      this.pool.readInto(id, bytes);
      facts.set(blobFact(id), factOf(bytes));
    }
    for (const owner of [INDEX, COUNTER]) {
      const root = this.pool.root(owner) ?? 0;
      if (root !== 0) facts.set(rootFact(owner), String(root));
    }
    return facts;
  }

  check(): readonly string[] {
    return [];
  }

  /** R1: the records that were handed to replay are the last ones of the log, in order, once. */
  wrongReplay(count: number, { commits }: Oracle<Note>): readonly string[] {
    const replayed = this.#replayed;
    const first = count - replayed.length;
    const wrong = replayed.findIndex(({ seq, payload }, n) => {
      const commit = commits[first + n];
      return commit?.seq !== seq || Buffer.compare(commit.note.intent.payload, payload) !== 0;
    });
    return wrong < 0
      ? []
      : [`replay ${wrong} of ${replayed.length} has seq ${replayed[wrong]?.seq}`];
  }

  get #state(): State {
    return this.oracle.last?.note.state ?? NOTHING;
  }

  // --- steps ---------------------------------------------------------------------------------------

  protected async step(): Promise<void> {
    const { random, pool, oracle } = this;
    const kind = random.int(100);
    if (kind < 62) {
      const durability = random.pick(['none', 'none', 'written', 'synced'] as const);
      const count = this.#change(wishFrom(random), { durability });
      if (durability !== 'none') oracle.acknowledge(durability, count);
    } else if (kind < 69) {
      this.#abort(random.int(4));
    } else if (kind < 74) {
      this.#scribble();
    } else if (kind < 80) {
      const count = oracle.commits.length;
      const level = random.pick(['written', 'synced'] as const);
      await pool.durable(undefined, level);
      oracle.acknowledge(level, count);
    } else if (kind < 88) {
      const count = oracle.commits.length;
      await pool.checkpoint();
      oracle.acknowledge('synced', count);
    } else if (kind < 94) {
      await pool.flushIfNeeded(3);
    } else {
      const ids = [...this.#state.blobs.keys()];
      if (ids.length > 0) pool.evict(random.pick(ids));
    }
  }

  protected meanwhile(): void {
    const { random } = this;
    if (random.chance(0.3)) this.#reload();
    this.#change(wishFrom(random), { small: true });
    if (!random.chance(0.5)) return;
    this.pool.durableSync(undefined, 'synced');
    this.oracle.acknowledge('synced');
  }

  /** What is evicted must come back as it was. */
  #reload(): void {
    const ids = [...this.#state.blobs.keys()];
    for (const id of ids) this.pool.evict(id);
    const [id] = this.random.shuffled(ids);
    if (id === undefined) return;
    const bytes = new Uint8Array(BLOB_BYTES);
    this.pool.readInto(id, bytes);
    if (factOf(bytes) === this.oracle.facts.get(blobFact(id))) return;
    this.oracle.violations.push(`blob ${id} came back as another one`);
  }

  /** Commits up to and with this one, 0 if there was nothing to change. */
  #change(
    wish: Wish,
    { durability = 'none', small = false }: { durability?: DurabilityLevel; small?: boolean } = {},
  ): number {
    const { owner } = wish;
    let count = 0;
    const change = (op: Op): void => {
      const intent = planOf(wish, this.#state, small ? 0 : PAYLOAD_BYTES_MAX);
      if (intent === undefined) return;
      this.busy(() => this.#commit(op, intent));
      count = this.oracle.commits.length;
    };
    this.pool.change(change, { owner, durability, undo: this.random.chance(0.2) });
    return count;
  }

  #commit(op: Op, intent: Intent): void {
    const { oracle } = this;
    const touched = applyIntent(op, intent);
    const blobs = new Map(this.#state.blobs);
    const changes = new Map<string, string | undefined>();
    for (const { id, bytes } of touched.blobs) {
      blobs.set(id, comparable(bytes));
      changes.set(blobFact(id), factOf(bytes));
    }
    for (const id of touched.deleted) {
      blobs.delete(id);
      changes.set(blobFact(id), undefined);
    }
    for (const [owner, id] of touched.roots) {
      changes.set(rootFact(owner), id === 0 ? undefined : String(id));
    }
    const roots = new Map([...this.#state.roots, ...touched.roots]);
    for (const id of touched.created) oracle.noteId(id);
    const seq = op.commit(intent.payload);
    oracle.add(seq, changes, { intent, state: { blobs, roots } });
  }

  /** Changes that are taken back, in every way. */
  #abort(way: number): void {
    const { pool } = this;
    const [id] = this.#state.blobs.keys();
    if (id === undefined) return;
    const change = (op: Op): void => {
      const blob = op.write(id);
      const created = op.create();
      this.oracle.noteId(created.id);
      if (way === 0) return;
      if (way === 1) throw new Undone();
      op.seal(40);
      blob.bytes.fill(0xee);
      created.bytes.fill(0xee);
      if (way === 2) op.abort();
      else throw new Undone();
    };
    try {
      this.busy(() => pool.change(change, { owner: INDEX, undo: true }));
    } catch (error) {
      if (!(error instanceof Undone)) throw error;
    }
  }

  /** Changes the scratch of a blob, without a record. */
  #scribble(): void {
    const ids = [...this.#state.blobs.keys()];
    if (ids.length === 0) return;
    const id = this.random.pick(ids);
    const value = this.random.uint32();
    const change = (op: Op): void => {
      const { u32 } = op.write(id);
      op.seal();
      u32.fill(value, COMPARED_BYTES / 4);
      op.commit();
    };
    this.busy(() => this.pool.change(change));
  }
}

export const poolWorkload: Workload = {
  name: 'pool',
  session: (parts: SessionParts<Note>) => new PoolSession(parts),
};
