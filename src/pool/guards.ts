/**
 * Guards: scoped ownership of a pin and, for latches, of one mode on one frame.
 *
 * Owns:        nothing in shared memory; a guard only returns what it took.
 * Invariants:  G1  a guard releases exactly once, on the thread that made it; release order is
 *                  latch, then pin;
 *              I1  the dirty mark is set before the exclusive latch is released, and the pin is
 *                  dropped last.
 * Threads:     a guard belongs to its thread. Posted to another one it arrives without methods.
 *
 * A guard is a small object of its own each time, 64 bytes of young heap: a recycled one could be
 * released a second time by its former user, and would take somebody else's latch away.
 */
import { WeirpoolError } from '../errors.ts';
import { BUSY, type ControlExports, GONE, HELD, OK, STOPPED } from '../generated/layout.ts';
import type { Frame } from '../memory/frame.ts';
import { PARK_MS } from '../memory/thread.ts';
import type { BlobId } from '../store/contract.ts';
import { goneError, heldError, type Residency } from './residency.ts';

/** Dirty seq of changes on a pool without a log: they are in no log, and in no order. */
export const SEQ_UNLOGGED = 1;

/** What guards need of their pool, in this thread. */
export interface GuardHost {
  readonly control: ControlExports;
  readonly me: number;
  readonly residency: Residency;
  /** False once this thread has closed or detached. */
  attached: boolean;
  /** Whether guards may change bytes; otherwise `refused` says why not. */
  readonly writable: boolean;
  refused(what: string): WeirpoolError;
  noteRestart(): void;
  stopped(): Error;
}

function releasedError(): WeirpoolError {
  return new WeirpoolError('GUARD_RELEASED', 'The guard was released. Take a new one.');
}

/**
 * Common to all guards: the frame's views while the guard is held.
 *
 * The fields are assigned in one constructor and only declared here: V8 inlines that, while class
 * fields and chains of constructors cost 30 ns a guard (measured).
 */
abstract class FrameGuard implements Disposable {
  declare protected readonly host: GuardHost;
  declare protected readonly frame: Frame;
  declare protected readonly ownsPin: boolean;
  declare protected held: boolean;
  /** The blob. */
  declare readonly id: BlobId;

  /** @internal */
  constructor(host: GuardHost, frame: Frame, id: BlobId, ownsPin: boolean) {
    this.host = host;
    this.frame = frame;
    this.id = id;
    this.ownsPin = ownsPin;
    this.held = true;
  }

  /** @throws {WeirpoolError} `GUARD_RELEASED`, `POOL_CLOSED`. */
  protected live(): Frame {
    if (this.held && this.host.attached) return this.frame;
    throw this.held ? this.host.stopped() : releasedError();
  }

  /** Gives back what the guard took. Idempotent; never throws. */
  abstract release(): void;

  [Symbol.dispose](): void {
    this.release();
  }
}

/** A guard that lets its holder look at the bytes. */
abstract class ByteGuard extends FrameGuard {
  /** The blob's bytes, in place; the same object each time. Errors as for every guard. */
  get bytes(): Uint8Array {
    return this.live().bytes;
  }

  /** The same bytes as a `DataView`. */
  get view(): DataView {
    return this.live().view;
  }

  /** The same bytes as 32-bit words, blobBytes / 4 of them. */
  get u32(): Uint32Array {
    return this.live().u32;
  }

  /** The same bytes as doubles, blobBytes / 8 of them. */
  get f64(): Float64Array {
    return this.live().f64;
  }
}

/** Shared latch: nobody writes while it is held. With its own pin if it was taken in one step. */
export class SharedGuard extends ByteGuard {
  override release(): void {
    if (!this.held) return;
    this.held = false;
    const { control, me, attached } = this.host;
    if (!attached) return;
    if (this.ownsPin) control.unpinShared(this.frame.index, me);
    else control.releaseShared(this.frame.index, me);
  }
}

/**
 * Exclusive latch: the holder may write. The frame is marked dirty from the start, so that no
 * change can be forgotten; the release moves the version.
 */
export class ExclusiveGuard extends ByteGuard {
  override release(): void {
    if (!this.held) return;
    this.held = false;
    const { control, me, attached } = this.host;
    if (!attached) return;
    if (this.ownsPin) control.unpinExclusive(this.frame.index, me);
    else control.releaseExclusive(this.frame.index, me);
  }
}

/**
 * An optimistic look at a pinned blob: what was read counts only if `validate` says so.
 * Nothing is held, nothing needs to be released.
 */
export class OptimisticGuard {
  readonly #pin: Pin;
  readonly #host: GuardHost;
  readonly #frame: Frame;
  /** The frame's version when the look began; -1 while somebody writes. */
  readonly version: number;

  /** @internal */
  constructor(pin: Pin, host: GuardHost, frame: Frame, version: number) {
    this.#pin = pin;
    this.#host = host;
    this.#frame = frame;
    this.version = version;
  }

  get bytes(): Uint8Array {
    return this.#pin.optimisticFrame().bytes;
  }

  get view(): DataView {
    return this.#pin.optimisticFrame().view;
  }

  get u32(): Uint32Array {
    return this.#pin.optimisticFrame().u32;
  }

  get f64(): Float64Array {
    return this.#pin.optimisticFrame().f64;
  }

  /** Whether everything read since the look began is whole and of one moment. */
  validate(): boolean {
    return this.version >= 0 && this.#host.control.validate(this.#frame.index, this.version) !== 0;
  }

  /**
   * Turns the look into an exclusive latch if nothing has changed since; undefined otherwise, and
   * then the caller starts again. Never waits.
   *
   * @throws {WeirpoolError} `LATCH_HELD`, `GUARD_RELEASED`, `LOGGED_POOL`, `READ_ONLY`, `POISONED`,
   *         `POOL_CLOSED`.
   */
  upgrade(): ExclusiveGuard | undefined {
    return this.#pin.upgrade(this.version);
  }
}

/**
 * Keeps a blob in its frame; gives no right to read or write by itself.
 * Latches taken through a pin are released before it.
 */
export class Pin extends FrameGuard {
  /** @internal */
  optimisticFrame(): Frame {
    return this.live();
  }

  /** Begins an optimistic look. Its `validate` is false at once while somebody writes. */
  optimistic(): OptimisticGuard {
    const frame = this.live();
    return new OptimisticGuard(this, this.host, frame, this.host.control.optimistic(frame.index));
  }

  /** @internal */
  upgrade(version: number): ExclusiveGuard | undefined {
    const { index } = this.#writable('upgrade');
    if (version < 0) return undefined;
    const result = this.host.control.upgrade(index, version, this.host.me);
    if (result === OK) return this.#exclusive(index);
    if (result === BUSY) return undefined;
    throw this.#latchError(result);
  }

  /**
   * Takes a shared latch; waits for a writer.
   *
   * @throws {WeirpoolError} `LATCH_HELD`, `BLOB_GONE`, `OP_RESTART` (it is latched and this thread
   *                         holds another latch), `GUARD_RELEASED`, `POISONED`, `POOL_CLOSED`.
   */
  read(): SharedGuard {
    const { index } = this.live();
    const { control, me, residency } = this.host;
    let result = control.acquireShared(index, me, PARK_MS);
    if (result !== OK) result = residency.acquireShared(index, this.id);
    if (result === GONE) throw goneError(this.id);
    return new SharedGuard(this.host, this.frame, this.id, false);
  }

  /** As `read`, but gives undefined instead of waiting. */
  tryRead(): SharedGuard | undefined {
    const { index } = this.live();
    const result = this.host.control.acquireShared(index, this.host.me, 0);
    if (result === OK) return new SharedGuard(this.host, this.frame, this.id, false);
    if (result === BUSY) return undefined;
    throw this.#latchError(result);
  }

  /**
   * Takes the exclusive latch; waits for readers and writers. Errors as `read`, and `LOGGED_POOL` on
   * a pool with a log, `READ_ONLY`.
   */
  write(): ExclusiveGuard {
    const { index } = this.#writable('write');
    const { control, me, residency } = this.host;
    let result = control.acquireExclusive(index, me, PARK_MS);
    if (result !== OK) result = residency.acquireExclusive(index, this.id);
    if (result === GONE) throw goneError(this.id);
    return this.#exclusive(index);
  }

  #writable(what: string): Frame {
    if (!this.host.writable) throw this.host.refused(what);
    return this.live();
  }

  #exclusive(index: number): ExclusiveGuard {
    this.host.control.markDirty(index, SEQ_UNLOGGED);
    return new ExclusiveGuard(this.host, this.frame, this.id, false);
  }

  /** As `write`, but gives undefined instead of waiting. */
  tryWrite(): ExclusiveGuard | undefined {
    const { index } = this.#writable('tryWrite');
    const result = this.host.control.acquireExclusive(index, this.host.me, 0);
    if (result === OK) return this.#exclusive(index);
    if (result === BUSY) return undefined;
    throw this.#latchError(result);
  }

  #latchError(result: number): Error {
    if (result === HELD) return heldError(this.id);
    if (result === GONE) return goneError(this.id);
    if (result === STOPPED) return this.host.stopped();
    return new WeirpoolError('INVARIANT_BROKEN', `Unknown latch result ${result}.`);
  }

  /** Counts a restart of the caller's own, for `stats().restarts`. */
  noteRestart(): void {
    this.host.noteRestart();
  }

  override release(): void {
    if (!this.held) return;
    this.held = false;
    if (this.host.attached) this.host.control.unpin(this.frame.index, this.host.me);
  }
}
