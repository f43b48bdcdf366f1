/**
 * A pool with a log against a map: random histories of changes, rounds, evictions, closes, crashes
 * and power losses, checked after each step, shrunk when they fail.
 *
 * The oracle keeps the state after every record. After the end of the process exactly the records
 * that were written are there; after a power loss a prefix of these that has at least those that
 * were durable. When rounds run by themselves is not predicted, only what must hold whenever they do.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Round } from '../../src/checkpoint/round.ts';
import {
  H_CHECKPOINT_SEQ,
  H_LOG_DURABLE,
  H_LOG_WRITTEN,
  MISS,
} from '../../src/generated/layout.ts';
import { type FaultyFileSystem, faultyFileSystem } from '../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../src/harness/sim-file-system.ts';
import type { LogServices } from '../../src/memory/services.ts';
import { closeOpened } from '../../src/pool/close.ts';
import { type OpenedPool, openCore } from '../../src/pool/open.ts';
import type { PoolLog } from '../../src/pool/pool-log.ts';
import * as unflushed from '../../src/pool/unflushed.ts';
import { Random, testSeed } from '../support/seed.ts';
import {
  abandoned,
  change,
  DIRECTORY,
  finishRound,
  LOGGED,
  type Plan,
  PlanOwner,
  valueIn,
} from '../unit/txn/support.ts';

const BLOBS_MAX = 12;
const OWNERS = 3;
const RUNS = 60;
/** Also for shrinking: a history that fails is shown as small as it has become by then. */
const TIME_MS_MAX = 45_000;

const KINDS = [
  'create',
  'create',
  'create',
  'set',
  'set',
  'set',
  'delete',
  'root',
  'several',
  'abort',
  'undo',
  'structural',
  'written',
  'synced',
  'round',
  'failRound',
  'splitRound',
  'flush',
  'evict',
  'reopen',
  'crash',
  'powerLoss',
] as const;
type Kind = (typeof KINDS)[number];

/** `at` chooses a blob, `value` what is written, and whatever else is to be chosen. */
interface Step {
  readonly kind: Kind;
  readonly at: number;
  readonly value: number;
}

/** What a store holds. */
interface State {
  /** Of the record after which this is the state. */
  readonly seq: number;
  readonly blobs: ReadonlyMap<number, number>;
  readonly roots: ReadonlyMap<number, number>;
}

class Subject {
  readonly #frames: number;
  #disk: SimFileSystem;
  #fs: FaultyFileSystem;
  #opened: OpenedPool;
  #owner: PlanOwner;
  readonly #blobs = new Map<number, number>();
  readonly #roots = new Map<number, number>();
  /** Since the last opening. */
  #states: State[] = [{ seq: 0, blobs: new Map(), roots: new Map() }];
  #idMax = 0;
  #seqMax = 0;
  #losses = 0;

  private constructor(frames: number, disk: SimFileSystem, opened: Opened) {
    this.#frames = frames;
    this.#disk = disk;
    this.#fs = opened.fs;
    this.#opened = opened.pool;
    this.#owner = opened.owner;
  }

  static async make(frames: number): Promise<Subject> {
    const disk = new SimFileSystem();
    return new Subject(frames, disk, await open(disk, frames));
  }

  get #core() {
    return this.#opened.core;
  }

  get #log(): PoolLog {
    return this.#core.log as PoolLog;
  }

  #newRound(): Round {
    const { thread, store } = this.#core;
    const services = thread.services as LogServices;
    const logWaitMs = 5000;
    return new Round({ thread, store, services, logWaitMs, onRound: () => undefined });
  }

  // --- what must be --------------------------------------------------------------------------------

  /** Without loading anything: from its frame, or from the store. */
  #valueOf(id: number): number {
    const { memory, residency, store } = this.#core;
    const frame = residency.frameOf(id);
    return valueIn(frame === MISS ? store.readScratch(id) : memory.frame(frame).bytes);
  }

  #now(): Pick<State, 'blobs' | 'roots'> {
    const { roots } = this.#log;
    const blobs = new Map(unflushed.listBlobs(this.#core).map((id) => [id, this.#valueOf(id)]));
    const owners = Array.from({ length: OWNERS }, (_, owner) => owner);
    const set = owners.flatMap((owner) => {
      const root = roots.get(owner);
      return root === undefined ? [] : [[owner, root] as const];
    });
    return { blobs, roots: new Map(set) };
  }

  check(): void {
    const core = this.#core;
    expect(this.#now()).toEqual({ blobs: sorted(this.#blobs), roots: sorted(this.#roots) });
    const dirty = unflushed.dirtyBlobs(core);
    const seqs = new Map(dirty.map(({ id, seq }) => [id, seq]));
    const cut = core.memory.loadU64(H_CHECKPOINT_SEQ);
    for (const [id, value] of this.#blobs) {
      expect(unflushed.hasBlob(core, id)).toBe(true);
      const seq = seqs.get(id);
      // I1: what is clean is in the store as it is; I2: what is dirty is above the cut.
      if (seq === undefined) expect(valueIn(core.store.readScratch(id))).toBe(value);
      else expect(seq).toBeGreaterThan(cut);
    }
    expect([...seqs.keys()].filter((id) => !this.#blobs.has(id))).toEqual([]);
    expect(unflushed.minUnflushedSeq(core)).toBe(
      dirty.length === 0 ? undefined : Math.min(...seqs.values()),
    );
    const deletes = unflushed.pendingDeletes(core);
    expect(deletes.filter((id) => this.#blobs.has(id) || unflushed.hasBlob(core, id))).toEqual([]);
    expect(core.thread.latchesHeld).toBe(0);
  }

  // --- changes -------------------------------------------------------------------------------------

  #pick(at: number): number | undefined {
    return [...this.#blobs.keys()][at % Math.max(1, this.#blobs.size)];
  }

  #change(plan: Plan): void {
    const { seq, ids } = change(this.#log.transactions, plan);
    expect(seq).toBeGreaterThan(this.#seqMax);
    this.#seqMax = seq;
    ids.forEach((id, n) => {
      expect(id).toBeGreaterThan(this.#idMax);
      this.#idMax = id;
      this.#blobs.set(id, plan.create?.[n] as number);
    });
    for (const [id, value] of plan.set ?? []) this.#blobs.set(id, value);
    for (const id of plan.delete ?? []) this.#blobs.delete(id);
    if (plan.root !== undefined) {
      const [owner, id] = plan.root;
      if (id === 0) this.#roots.delete(owner);
      else this.#roots.set(owner, id < 0 ? (ids[0] as number) : id);
    }
    this.#states.push({ seq, blobs: new Map(this.#blobs), roots: new Map(this.#roots) });
  }

  /** Begins a change of everything, and gives it up. */
  #giveUp({ at, value }: Step, sealed: boolean): void {
    const id = this.#pick(at);
    const other = this.#pick(at + 1);
    const cause = new Error('given up');
    const attempt = (): void =>
      this.#log.transactions.change(
        (op) => {
          const blobs = [op.create()];
          this.#idMax = Math.max(this.#idMax, blobs[0]?.id ?? 0);
          if (id !== undefined) blobs.push(op.write(id));
          if (other !== undefined && other !== id) op.delete(other);
          op.setRoot(value % OWNERS, 0);
          if (sealed) {
            op.seal(10);
            for (const { bytes } of blobs) bytes.fill(value);
          }
          throw cause;
        },
        { undo: true },
      );
    expect(attempt).toThrow(cause);
  }

  #structural(at: number): void {
    const id = this.#pick(at);
    if (id === undefined) return;
    this.#log.transactions.change((op) => {
      const blob = op.write(id);
      op.seal();
      blob.bytes.reverse(); // all bytes are the same
      op.commit();
    });
  }

  // --- rounds --------------------------------------------------------------------------------------

  #round(): void {
    this.#newRound().run();
    expect(unflushed.dirtyBlobs(this.#core)).toEqual([]);
    expect(unflushed.pendingDeletes(this.#core)).toEqual([]);
    expect(this.#core.store.list()).toEqual([...sorted(this.#blobs).keys()]);
  }

  #failRound(at: number): void {
    const before = unflushed.dirtyBlobs(this.#core);
    if (before.length === 0) return;
    const repair = this.#failing(at % before.length);
    expect(() => this.#newRound().run()).toThrow(/ENOSPC/);
    repair();
    expect(unflushed.dirtyBlobs(this.#core)).toEqual(before);
  }

  /** The n-th write of a blob from now on fails; the result ends that. */
  #failing(n: number): () => void {
    let count = 0;
    this.#fs.plan = ({ operation, file }) => {
      if (operation !== 'write' || file?.endsWith('blobs.dat') !== true) return undefined;
      return count++ === n ? 'ENOSPC' : undefined;
    };
    return () => {
      this.#fs.plan = () => undefined;
    };
  }

  /** A round with changes in its middle, which ends well, fails, or is where everything ends. */
  async #splitRound({ at, value }: Step): Promise<void> {
    const round = this.#newRound();
    const capture = round.capture();
    const [first, second] = [this.#pick(at), this.#pick(at + 1)];
    if (first !== undefined) this.#change({ set: [[first, value]] });
    if (second !== undefined && second !== first) this.#change({ delete: [second] });
    const fate = at % 5;
    if (fate === 0) return finishRound(round, capture);
    if (fate === 1) return round.restore(capture);
    round.logFirst(capture);
    round.writeThrough(capture);
    if (fate === 2) return round.restore(capture);
    if (fate === 3) round.commit(capture);
    return this.#crash();
  }

  // --- the end, and the beginning --------------------------------------------------------------------

  async #open(disk: SimFileSystem): Promise<void> {
    this.#disk = disk;
    const { fs, pool, owner } = await open(disk, this.#frames);
    this.#fs = fs;
    this.#opened = pool;
    this.#owner = owner;
  }

  async reopen(): Promise<void> {
    await this.close();
    // A clean end needs nothing that was not synced.
    await this.#open(this.#disk.afterCrash(() => 0));
    expect(this.#owner.seqs).toEqual([]);
    this.#adopt({ seq: 0, blobs: new Map(this.#blobs), roots: new Map(this.#roots) });
  }

  /** Goes on from a state. */
  #adopt({ blobs, roots }: State): void {
    this.#states = [{ seq: 0, blobs, roots }];
    this.#blobs.clear();
    for (const [id, value] of blobs) this.#blobs.set(id, value);
    this.#roots.clear();
    for (const [owner, id] of roots) this.#roots.set(owner, id);
    expect(this.#core.store.verify()).toEqual([]);
  }

  /** Position of the last state that a watermark covers. */
  #upTo(watermark: number): number {
    const seq = this.#core.memory.loadU64(watermark);
    return this.#states.findLastIndex((state) => state.seq <= seq);
  }

  async #crash(): Promise<void> {
    const state = this.#states[this.#upTo(H_LOG_WRITTEN)] as State;
    const image = abandoned(this.#disk);
    await this.close();
    await this.#open(image);
    this.#assertReplayed();
    this.#adopt(state);
  }

  async #powerLoss(value: number): Promise<void> {
    const from = this.#upTo(H_LOG_DURABLE);
    const possible = this.#states.slice(from, this.#upTo(H_LOG_WRITTEN) + 1);
    const random = Random.fork(testSeed() ^ value, this.#losses++);
    const image = this.#disk.afterCrash((end) => random.int(end));
    await this.close();
    await this.#open(image);
    this.#assertReplayed();
    const now = this.#now();
    const found = possible.findLast((state) => isSame(state, now));
    if (found === undefined) expect(now).toEqual(possible);
    else this.#adopt(found);
  }

  /** R1: in order, and once. */
  #assertReplayed(): void {
    const { seqs } = this.#owner;
    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
  }

  close(): Promise<void> {
    return closeOpened(this.#opened);
  }

  // --- steps ---------------------------------------------------------------------------------------

  async run(step: Step): Promise<void> {
    const { kind, at, value } = step;
    const id = this.#pick(at);
    switch (kind as string) {
      case 'create':
        if (this.#blobs.size < BLOBS_MAX) this.#change({ create: [value] });
        return;
      case 'set':
        if (id !== undefined) this.#change({ set: [[id, value]] });
        return;
      case 'delete':
        if (id !== undefined) this.#change({ delete: [id] });
        return;
      case 'root':
        this.#change({ root: [value % OWNERS, at % 4 === 0 ? 0 : (id ?? 0)] });
        return;
      case 'several':
        return this.#several(step);
      case 'abort':
      case 'undo':
        return this.#giveUp(step, kind === 'undo');
      case 'structural':
        return this.#structural(at);
      case 'written':
      case 'synced':
        return this.#log.durability.durableSync(
          undefined,
          kind === 'synced' ? 'synced' : 'written',
        );
      default:
        return this.#runOther(step);
    }
  }

  async #runOther({ kind, at, value }: Step): Promise<void> {
    const id = this.#pick(at);
    switch (kind as string) {
      case 'round':
        return this.#round();
      case 'failRound':
        return this.#failRound(at);
      case 'splitRound':
        return this.#splitRound({ kind, at, value });
      case 'flush':
        if (id !== undefined) await this.#log.flush(id);
        return;
      case 'evict':
        if (id !== undefined) this.#evict(id);
        return;
      case 'reopen':
        return this.reopen();
      case 'crash':
        return this.#crash();
      default:
        return this.#powerLoss(value);
    }
  }

  #several({ at, value }: Step): void {
    const [a, b] = [this.#pick(at), this.#pick(at + 1)];
    if (a === undefined || b === undefined || a === b) return;
    const create = this.#blobs.size < BLOBS_MAX ? [value] : [];
    const root = create.length > 0 ? ([value % OWNERS, -1] as const) : undefined;
    const changes = { create, set: [[a, value]], delete: [b] } as const;
    this.#change(root === undefined ? changes : { ...changes, root });
  }

  #evict(id: number): void {
    const dirty = unflushed.dirtyBlobs(this.#core).some((blob) => blob.id === id);
    const cached = this.#core.residency.frameOf(id) !== MISS;
    expect(this.#core.residency.evict(id)).toBe(cached && !dirty);
  }
}

interface Opened {
  readonly pool: OpenedPool;
  readonly fs: FaultyFileSystem;
  readonly owner: PlanOwner;
}

async function open(disk: SimFileSystem, frames: number): Promise<Opened> {
  const fs = faultyFileSystem(disk);
  const owner = new PlanOwner();
  const options = { ...LOGGED, frames, owners: { 0: owner }, fileSystem: fs, debug: true };
  return { fs, owner, pool: await openCore(DIRECTORY, options) };
}

function sorted(map: ReadonlyMap<number, number>): Map<number, number> {
  return new Map([...map].sort(([a], [b]) => a - b));
}

function isSame(state: State, now: Pick<State, 'blobs' | 'roots'>): boolean {
  const flat = ({ blobs, roots }: Pick<State, 'blobs' | 'roots'>) =>
    JSON.stringify([[...sorted(blobs)], [...sorted(roots)]]);
  return flat(state) === flat(now);
}

const STEPS = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom(...KINDS),
    at: fc.nat(BLOBS_MAX * 5),
    value: fc.integer({ min: 1, max: 255 }),
  }),
  { minLength: 10, maxLength: 50 },
);

/** Something to work with; more than the least frames can hold with what comes later. */
const FIRST = [1, 2, 3, 4, 5].map((value): Step => ({ kind: 'create', at: 0, value }));

it('R1 I1 I2 W2D a pool with a log behaves like a map, whatever happens to it', async () => {
  const frames = fc.integer({ min: 6, max: 12 });
  const property = fc.asyncProperty(frames, STEPS, async (count, steps) => {
    const subject = await Subject.make(count);
    try {
      for (const step of [...FIRST, ...steps]) {
        await subject.run(step);
        subject.check();
      }
      await subject.reopen();
      subject.check();
    } finally {
      await subject.close();
    }
  });
  const bounds = { numRuns: RUNS, interruptAfterTimeLimit: TIME_MS_MAX };
  await fc.assert(property, { seed: testSeed() | 0, ...bounds });
});
