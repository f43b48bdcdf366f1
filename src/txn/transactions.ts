/**
 * Mini-transactions of one thread: beginning, waiting between two attempts, replaying.
 *
 * Owns:        the thread's one mini-transaction; what it waits for before the next attempt.
 * Invariants:  D1   every wait here happens while the thread holds nothing;
 *              the backlog of the log is bounded: above the bound a begin waits for a round.
 * Threads:     one object for each thread.
 */
import type { RoundRequests } from '../checkpoint/requests.ts';
import { WeirpoolError } from '../errors.ts';
import {
  BUSY,
  type ControlExports,
  H_DIRTY_COUNT,
  H_DIRTY_TRIGGER,
  H_GATE,
  H_GATE_WAKE,
  H_LOADER,
  H_OPENED_AT,
  H_ROUND_PHASE,
  H_STAGING_FIRST,
  H_STAGING_WAKE,
  H_STATUS,
  HELD,
  NONE,
  OK,
  STATUS_POISONED,
} from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import { askForRound, type LogServices } from '../memory/services.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import type { Residency } from '../pool/residency.ts';
import { attachedThreads } from '../pool/stats.ts';
import { RestartError, type Want } from '../pool/want.ts';
import type { MappedStore } from '../store/mapped-store.ts';
import type { Durability, DurabilityLevel } from '../wal/durability.ts';
import { checkDurability } from '../wal/durability.ts';
import type { LogRecord } from '../wal/format.ts';
import type { LogRing } from '../wal/ring.ts';
import { Op } from './op.ts';
import type { OpHost } from './op-host.ts';
import { checkOwner, type Roots } from './roots.ts';
import { isThenable } from './thenable.ts';

/** Threads that a pool may have at most, for the share of frames that needs no counting. */
const THREADS_MAX = 117;
/** Journal and checkpointer. */
const SERVICE_WORKERS = 2;
/** Pause while somebody else copies a frame, in ms. */
const COPY_NAP_MS = 1;
/** Buffers for undo images that are kept. */
const UNDO_KEPT_MAX = 4;

export interface ChangeOptions {
  /** Whose record it is: its `replay` gets it after a crash. Default 0. */
  readonly owner?: number;
  /** Keep copies at the seal, so that an exception after it aborts instead of poisoning. */
  readonly undo?: boolean;
  /** Block until the change is so safe. Default `none`: see `durable`. */
  readonly durability?: DurabilityLevel;
}

const NO_OPTIONS: ChangeOptions = {};

/** A callback that makes one change. It runs again from its beginning after each OP_RESTART. */
export type Change<T> = (op: Op) => T;

export interface TransactionParts {
  readonly thread: PoolThread;
  readonly store: MappedStore;
  readonly residency: Residency;
  readonly ring: LogRing;
  readonly roots: Roots;
  readonly durability: Durability;
  readonly rounds: RoundRequests;
  readonly debug: boolean;
  readonly readOnly: boolean;
}

export function readOnlyError(what: string): WeirpoolError {
  return new WeirpoolError(
    'READ_ONLY',
    `The store was opened for reading only, and ${what} would change it. Open it without \`readOnly\`.`,
    { details: { operation: what } },
  );
}

export class Transactions implements OpHost {
  readonly thread: PoolThread;
  readonly control: ControlExports;
  readonly memory: ThreadMemory;
  readonly me: number;
  readonly store: MappedStore;
  readonly residency: Residency;
  readonly ring: LogRing;
  readonly roots: Roots;
  readonly debug: boolean;
  readonly frameShareMin: number;
  readonly #durability: Durability;
  readonly #readOnly: boolean;
  readonly #rounds: RoundRequests;
  #current: Op | undefined;
  /** Of the last change that went through; 0 if it changed nothing. */
  #seq = 0;
  #want: Want | undefined;
  /** How often in a row a frame was missing: so many are waited for. */
  #framesMissed = 0;
  #undoBuffers: Uint8Array[] = [];

  constructor(parts: TransactionParts) {
    this.thread = parts.thread;
    this.control = parts.thread.control;
    this.memory = parts.thread.memory;
    this.me = parts.thread.me;
    this.store = parts.store;
    this.residency = parts.residency;
    this.ring = parts.ring;
    this.roots = parts.roots;
    this.debug = parts.debug;
    this.#readOnly = parts.readOnly;
    this.#durability = parts.durability;
    this.#rounds = parts.rounds;
    this.frameShareMin = this.#share(THREADS_MAX);
  }

  get #services(): LogServices {
    return this.thread.services as LogServices;
  }

  get isUnderWay(): boolean {
    return this.#current !== undefined;
  }

  /** @throws {WeirpoolError} `TX_NESTED`: this thread has begun a mini-transaction. */
  assertNone(): void {
    if (this.#current === undefined) return;
    throw new WeirpoolError(
      'TX_NESTED',
      'This thread has begun a mini-transaction. Commit or abort it first.',
    );
  }

  /** Whether the log is so far behind that a change would wait for a round. */
  isBehind(): boolean {
    return this.control.opBegin(this.me) === BUSY;
  }

  // --- beginning ---------------------------------------------------------------------------------

  /** Begins a mini-transaction. Errors: see `BufferPool.begin`. */
  begin(options: ChangeOptions = NO_OPTIONS): Op {
    return this.#begin(checkOwner(options.owner ?? 0), options.undo === true, undefined);
  }

  #begin(owner: number, undo: boolean, record: LogRecord | undefined): Op {
    this.assertNone();
    const result = this.control.opBegin(this.me);
    const ready = result === OK && this.#want === undefined && this.thread.attached;
    if (!ready || this.#readOnly) this.#prepare(result, record);
    const op = new Op(this, owner, undo, record);
    this.#current = op;
    return op;
  }

  /** Refuses, or waits for what keeps a mini-transaction from beginning. */
  #prepare(result: number, record: LogRecord | undefined): void {
    this.thread.assertRunning();
    if (this.#readOnly && record === undefined) throw readOnlyError('a mini-transaction');
    if (result === HELD) {
      throw new WeirpoolError(
        'LATCH_HELD',
        'This thread holds a latch. Release the guards, then begin the mini-transaction.',
      );
    }
    // During replay the log is not written: nothing bounds it, and nothing has to.
    if (result === BUSY && record === undefined) this.#awaitBacklog();
    // Last: this wait may leave the thread with frames or credit, which only the end of an op returns.
    if (this.#want !== undefined) this.#awaitWanted(record !== undefined);
  }

  ended(op: Op): void {
    if (this.#current === op) this.#current = undefined;
    this.residency.returnSpares();
  }

  /** Runs `change` until it went through. Errors: see `BufferPool.change`. */
  change<T>(change: Change<T>, options: ChangeOptions = NO_OPTIONS): T {
    const { durability = 'none', undo = false } = options;
    if (durability !== 'none') checkDurability(durability);
    const result = this.#attempt(change, checkOwner(options.owner ?? 0), undo, undefined);
    this.#services.settle();
    if (durability !== 'none' && this.#seq > 0) {
      this.#durability.durableSync(this.#seq, durability);
    }
    return result;
  }

  /** The same for a record of the log: nothing is appended. */
  replay(record: LogRecord, replay: Change<unknown>): void {
    this.#attempt(replay, record.owner, false, record);
  }

  #attempt<T>(change: Change<T>, owner: number, undo: boolean, record: LogRecord | undefined): T {
    let deadline: number | undefined;
    let isLast = false;
    for (;;) {
      const op = this.#begin(owner, undo, record);
      try {
        const result = change(op);
        if (isThenable(result)) {
          throw new TypeError('A change is synchronous: its callback must not return a promise');
        }
        if (op.restart !== undefined && op.seq === 0) throw op.restart; // it was swallowed
        if (!op.ended) this.#finish(op, record?.payload);
        this.#framesMissed = 0;
        this.#seq = op.seq;
        return result;
      } catch (error) {
        // What is asked for beside the op, such as a pin, may have to wait just as well.
        if (error instanceof RestartError && !op.sealed) op.giveUp(error);
        else op.fail(error);
        // Whoever begins again, and waits for what was lacking, gets to try, however long that takes.
        if (op.restart !== undefined && error === op.restart && !isLast) {
          const now = performance.now();
          deadline ??= now + this.residency.frameWaitMs;
          isLast = now > deadline;
          continue;
        }
        // What this change lacked is not what the next one has to wait for.
        this.#want = undefined;
        this.#framesMissed = 0;
        throw error;
      }
    }
  }

  /** A callback that returns without a commit has decided to change nothing. */
  #finish(op: Op, replayed: Uint8Array | undefined): void {
    if (replayed !== undefined) op.commit(replayed);
    else if (op.sealed) {
      throw new TypeError('A change that has sealed its mini-transaction must commit or abort it');
    } else op.abort();
  }

  // --- waiting, while nothing is held --------------------------------------------------------------

  noteRestart(want: Want): void {
    this.#want = want;
    this.control.noteOpRestart(this.me);
    if (want.kind === 'frame') this.#framesMissed++;
  }

  #awaitWanted(replays: boolean): void {
    const want = this.#want as Want;
    this.#want = undefined;
    switch (want.kind) {
      case 'latch':
        this.residency.awaitLatch(want.id);
        return;
      case 'frame': {
        // Nobody else is there during replay, and the pool may have had more frames when it ran.
        const share = replays ? this.memory.shared.frames : this.frameShare();
        this.residency.reserveFrames(Math.min(this.#framesMissed, share));
        return;
      }
      case 'credit':
        this.ring.waitForCredit(want.bytes);
        return;
      case 'staging':
        this.#awaitStaging();
        return;
      case 'ids':
        this.store.extendLease(want.count);
        return;
      case 'round':
        this.#rounds.waitSync(() => false);
        return;
      case 'change':
        return;
    }
  }

  #awaitStaging(): void {
    const memory = this.memory;
    for (;;) {
      const seen = memory.load(H_STAGING_WAKE);
      if (this.control.stagingFree() > 0 || memory.load(H_ROUND_PHASE) === 0) return;
      if (this.#services.inline) return; // no round runs beside this thread
      this.control.park(H_STAGING_WAKE, seen, PARK_MS);
      this.thread.lookAround();
    }
  }

  #awaitBacklog(): void {
    this.#rounds.waitSync(() => this.control.opBegin(this.me) === OK);
  }

  waitForGate(): void {
    // The gate is closed for microseconds: whoever closes it waits for nobody but those inside.
    this.control.park(H_GATE, 1, PARK_MS);
    this.thread.lookAround();
  }

  // --- what an op asks for -------------------------------------------------------------------------

  #share(threads: number): number {
    return Math.max(1, Math.floor(this.memory.shared.frames / (2 * threads)));
  }

  frameShare(): number {
    // Journal and checkpointer may still be starting: a share that is too large for a moment only
    // means another attempt, one that is too small would refuse the op for good.
    const services = this.#services.inline ? 0 : SERVICE_WORKERS;
    const loaders = this.memory.load(H_LOADER) === 0 ? 0 : 1;
    return this.#share(Math.max(1, attachedThreads(this.memory) - services - loaders));
  }

  frameForOp(): number {
    return this.residency.obtainFrame();
  }

  preserve(frame: number): boolean {
    const control = this.control;
    for (;;) {
      this.#awaitCopied(frame);
      const round = control.capturedBy(frame);
      if (round === 0) return true;
      const staging = control.stagingTake();
      if (staging === NONE) return false;
      if (control.beginCopy(frame, round) === OK) {
        this.memory.copy(this.memory.load(H_STAGING_FIRST) + staging, frame);
        control.endCopy(frame);
        control.stagingReady(staging, frame, round);
        return true;
      }
      control.stagingGive(staging);
    }
  }

  /** The checkpointer may be copying this very frame: microseconds, unless it was scheduled away. */
  #awaitCopied(frame: number): void {
    while (this.control.spinWhileCopied(frame) === 0) {
      if (this.memory.load(H_STATUS) === STATUS_POISONED) throw this.thread.stopped();
      // Nobody else may be left to see that it has died.
      this.thread.reapNowAndThen();
      this.control.park(H_GATE_WAKE, this.memory.load(H_GATE_WAKE), COPY_NAP_MS);
    }
  }

  noteDirty(frame: number): void {
    const memory = this.memory;
    this.control.stampDirty(frame, Date.now() - memory.loadU64(H_OPENED_AT));
    const trigger = memory.load(H_DIRTY_TRIGGER);
    if (trigger > 0 && memory.load(H_DIRTY_COUNT) === trigger) askForRound(memory);
  }

  undoBuffer(): Uint8Array {
    return this.#undoBuffers.pop() ?? new Uint8Array(this.memory.shared.blobBytes);
  }

  returnUndo(buffer: Uint8Array): void {
    if (this.#undoBuffers.length < UNDO_KEPT_MAX) this.#undoBuffers.push(buffer);
  }
}
