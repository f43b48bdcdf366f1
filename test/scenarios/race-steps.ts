/**
 * Interleavings one by one: two logical threads in one, each with a thread slot of its own. While
 * the first runs an operation, a whole operation of the second is put in before its n-th kernel
 * call, for every n and every pair of operations. Kernel calls themselves are not divided.
 *
 * The second one gives up where it would have to wait, for the first cannot go on meanwhile. The
 * first must come to its end: there is nobody left whom it could wait for.
 */
import { type ControlExports, OK, SLICE } from '../../src/generated/layout.ts';
import { WeirpoolError } from '../../src/index.ts';
import { Checksummer } from '../../src/memory/checksum.ts';
import { PoolThread } from '../../src/memory/thread.ts';
import { backendContext, type PoolHandle } from '../../src/pool/attach.ts';
import { PoolCore } from '../../src/pool/core.ts';
import { Residency } from '../../src/pool/residency.ts';
import { attachBackend } from '../../src/store/attach-backend.ts';
import type { BlobId } from '../../src/store/contract.ts';
import { MappedStore } from '../../src/store/mapped-store.ts';
import { check, checkEqual, violation } from '../support/checks.ts';
import { blobOf, framesOf, idAt, openStage, perform, type Stage } from '../support/stage.ts';

/** More kernel calls than any operation makes. */
const STEPS_MAX = 60;
/** Parks of the first thread after which it waits for nobody. */
const PARKS_MAX = 3;

class GaveUp extends Error {}

type Wait = (step: () => number) => number;

/** A logical thread: its own slot, its own residency, a hook before each of its kernel calls. */
class Logical {
  readonly core: PoolCore;
  readonly residency: Residency;
  /** Called before each kernel call. */
  before: () => void = () => undefined;

  constructor(core: PoolCore, wait: Wait, lookAround?: () => never) {
    this.core = core;
    const control: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(core.control)) {
      control[name] = typeof value === 'function' ? this.#hooked(value) : value;
    }
    const thread = core.thread as unknown as {
      control: ControlExports;
      wait: Wait;
      lookAround: () => void;
    };
    if (lookAround !== undefined) thread.lookAround = lookAround;
    thread.control = control as unknown as ControlExports;
    thread.wait = wait;
    this.residency = new Residency(core.thread, core.store, 0);
  }

  #hooked(call: (...args: number[]) => unknown): (...args: number[]) => unknown {
    return (...args) => {
      this.before();
      return call(...args);
    };
  }

  // --- operations ------------------------------------------------------------------------------

  #unpin(frame: number): void {
    checkEqual(this.core.thread.control.unpin(frame, this.core.me), OK, 'a pin is given back');
  }

  pin(id: BlobId): void {
    const frame = this.residency.pin(id, true);
    checkEqual(this.core.control.blobOf(frame), id, 'I1 the blob of a pinned frame');
    this.#unpin(frame);
  }

  read(id: BlobId): void {
    const frame = this.residency.pin(id, true);
    try {
      this.residency.acquireShared(frame, id);
      checkEqual(this.core.memory.frame(frame).u32[0], id, 'I4 whose bytes are in the frame');
      this.core.thread.control.releaseShared(frame, this.core.me);
    } finally {
      this.#unpin(frame);
    }
  }

  evict(id: BlobId): void {
    this.residency.evict(id);
  }

  /** Evicts the blob and gives its frame, and all others, to other blobs. */
  displace(id: BlobId, others: readonly BlobId[]): void {
    this.residency.evict(id);
    for (const other of others) this.pin(other);
  }

  /** As `BufferPool.writeBlob`. */
  write(id: BlobId, value: number): void {
    const { store } = this.core;
    store.exclusively(() => {
      const staged = store.stage(id, blobOf(id, value));
      store.commit([staged.blob], []);
      this.residency.refresh(id, staged.bytes);
    });
  }

  /** As `BufferPool.deleteBlob`. */
  delete(id: BlobId): void {
    const { store } = this.core;
    store.exclusively(() => {
      store.commit([], [id]);
      this.residency.drop(id);
    });
  }
}

function waitAlone(): Wait {
  return (step) => {
    for (let parks = 0; parks < PARKS_MAX; parks++) {
      const result = step();
      if (result !== SLICE) return result;
    }
    violation('D1 a thread waits, and there is nobody left whom it could wait for');
  };
}

function giveUp(): never {
  throw new GaveUp();
}

function waitNever(step: () => number): number {
  const result = step();
  if (result === SLICE) giveUp();
  return result;
}

type Operation = (thread: Logical, id: BlobId, value: number) => void;

function operations(others: readonly BlobId[]): Readonly<Record<string, Operation>> {
  return {
    pin: (thread, id) => thread.pin(id),
    read: (thread, id) => thread.read(id),
    evict: (thread, id) => thread.evict(id),
    displace: (thread, id) => thread.displace(id, others),
    write: (thread, id, value) => thread.write(id, value),
    delete: (thread, id) => thread.delete(id),
  };
}

/** What the second thread does in the middle; whoever writes waits for the commit lock. */
const INTRUSIONS = ['pin', 'read', 'evict', 'displace'];

class Explorer {
  readonly #stage: Stage;
  readonly #first: Logical;
  readonly #second: Logical;
  readonly #operations: Readonly<Record<string, Operation>>;
  #value = 1;
  pairs = 0;

  constructor(stage: Stage, first: Logical, second: Logical) {
    this.#stage = stage;
    this.#first = first;
    this.#second = second;
    this.#operations = operations(stage.ids.slice(1));
  }

  #try(name: string, thread: Logical, id: BlobId, value: number): void {
    try {
      this.#operations[name]?.(thread, id, value);
    } catch (error) {
      if (error instanceof GaveUp || (error as Error).cause instanceof GaveUp) return;
      const code = error instanceof WeirpoolError ? error.code : 'none';
      const missing = code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE';
      if (!missing && code !== 'POOL_EXHAUSTED') throw error;
    }
  }

  /** One interleaving; false if the operation has fewer kernel calls than `step`. */
  play(name: string, intrusion: string, step: number, cached: boolean): boolean {
    const { pool } = this.#stage;
    const id = pool.allocate();
    pool.writeBlob(id, blobOf(id, this.#value));
    if (cached) pool.pin(id).release();
    let left = step;
    let played = false;
    this.#first.before = () => {
      if (left-- !== 0) return;
      played = true;
      this.#try(intrusion, this.#second, id, 0);
    };
    const value = this.#value + 1;
    this.#try(name, this.#first, id, value);
    this.#first.before = () => undefined;
    if (name === 'write') this.#value = value;
    this.#settle(`${name}, with ${intrusion} before call ${step}`, id, name === 'delete');
    this.pairs++;
    return played;
  }

  #settle(what: string, id: BlobId, deleted: boolean): void {
    const { pool, memory } = this.#stage;
    const frames = framesOf(memory, id).length;
    check(frames <= 1, `I4 ${frames} frames of one blob after ${what}`);
    const { pinned, latched, loading, dirty, free, cached } = pool.stats();
    checkEqual(pinned + latched + loading + dirty, 0, `G1 what is left after ${what}`);
    checkEqual(free + cached, 4, `frames after ${what}`);
    checkEqual(pool.has(id), !deleted, `I4 whether the blob is there after ${what}`);
    if (deleted) return;
    const found = pool.optimistic(id, ({ u32 }) => u32[1]);
    checkEqual(found, this.#value, `I1 the value after ${what}`);
    pool.deleteBlob(id);
  }
}

/** A thread slot more for this thread; a pool itself refuses to be attached twice. */
async function join({ memory, backend, backendWords }: PoolHandle): Promise<PoolCore> {
  check(backend !== undefined, 'the pool can be attached');
  const { kernels } = memory.modules;
  const thread = new PoolThread(memory);
  const context = backendContext(kernels, memory.blobBytes, backendWords);
  const checksummer = new Checksummer(kernels, memory.blobBytes);
  const store = new MappedStore(thread, await attachBackend(backend, context), checksummer);
  return new PoolCore({ thread, store, frameWaitMs: 0, readOnly: false, log: undefined });
}

async function steps(): Promise<void> {
  const stage = await openStage(import.meta.url, { blobs: 5, blobsMax: 4096 });
  const first = new Logical(await join(stage.pool.handle), waitAlone());
  const second = new Logical(await join(stage.pool.handle), waitNever, giveUp);
  const explorer = new Explorer(stage, first, second);
  for (const name of Object.keys(operations([]))) {
    for (const intrusion of INTRUSIONS) {
      for (const cached of [true, false]) {
        let step = 0;
        while (step < STEPS_MAX && explorer.play(name, intrusion, step, cached)) step++;
      }
    }
  }
  console.log(`${explorer.pairs} interleavings, blob ${idAt(stage.ids)} to begin with`);
  first.core.detach();
  second.core.detach();
  await stage.pool.close();
}

await perform({ steps });
