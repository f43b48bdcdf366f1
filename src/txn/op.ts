/**
 * A mini-transaction: one atomic change of some blobs, with one record in the log.
 *
 * Owns:        pins, latches and private frames of its blobs, credit in the ring, from the first
 *              acquisition to commit or abort; the gate from the seal on.
 * Invariants:  D1   acquiring only tries while anything is held: what cannot be had unwinds the op
 *                   with a RestartError; after the seal nothing waits but for the end of others'
 *                   short critical sections;
 *              I1   dirty marks are set inside the gate, before latches and pins are given back;
 *              I3   a captured frame is preserved at the seal, before its bytes may change;
 *              W2D  a change and its record are one: without `commit` neither exists.
 * States:      acquiring -> sealed -> ended;  acquiring -> ended (abort, restart).
 * Threads:     the thread that began it.
 */
import { WeirpoolError } from '../errors.ts';
import {
  BUSY,
  DELETES_MAX,
  H_DELETES,
  H_LOG_TAIL,
  H_STATUS,
  OK,
  STATUS_POISONED,
  STOPPED,
} from '../generated/layout.ts';
import { checkBlobId } from '../pool/residency.ts';
import { RestartError } from '../pool/want.ts';
import { type BlobId, BULK_OWNER } from '../store/contract.ts';
import type { LogRecord } from '../wal/format.ts';
import type { BulkRange } from './bulk-load.ts';
import { endedError, OpBlob, type OpLife, type OpMode } from './op-blob.ts';
import type { OpHost } from './op-host.ts';

/** What an op has before it has anything; never changed. */
const NO_BLOBS: OpBlob[] = [];
const NO_IDS: BlobId[] = [];

/**
 * One for each change, so its fields are assigned in one constructor and only declared here (see
 * FrameGuard).
 */
export class Op implements OpLife, Disposable {
  declare private readonly host: OpHost;
  declare private readonly undo: boolean;
  /** The record that is being replayed: nothing is appended, its ids and its seq are used. */
  declare private readonly replayed: LogRecord | undefined;
  /** Whose record it is. */
  declare readonly owner: number;
  declare private state: 'acquiring' | 'sealed' | 'ended';
  declare private blobs: OpBlob[];
  /** Ids that the record names: created (and perhaps deleted again), first ones of adopted ranges. */
  declare private created: BlobId[];
  declare private roots: Map<number, BlobId> | undefined;
  /** Ranges that this op is adopting: no other one can. */
  declare private claimed: Pick<BulkRange, 'first' | 'last'>[] | undefined;
  declare private payloadMax: number;
  /** Seq of the commit, 0 before it. */
  declare seq: number;
  /** @internal Why it had to give everything back, to start again. */
  declare restart: RestartError | undefined;

  /** @internal See `BufferPool.change`. */
  constructor(host: OpHost, owner: number, undo: boolean, replayed: LogRecord | undefined) {
    this.host = host;
    this.owner = owner;
    this.undo = undo;
    this.replayed = replayed;
    this.state = 'acquiring';
    this.blobs = NO_BLOBS;
    this.created = NO_IDS;
    this.roots = undefined;
    this.claimed = undefined;
    this.payloadMax = 0;
    this.seq = 0;
    this.restart = undefined;
  }

  get ended(): boolean {
    return this.state === 'ended';
  }

  /** Whether the op has the blob. */
  holds(id: BlobId): boolean {
    return this.find(id) !== undefined;
  }

  get sealed(): boolean {
    return this.state === 'sealed';
  }

  // --- acquiring -------------------------------------------------------------------------------

  private assertAcquiring(): void {
    if (this.state === 'acquiring') return;
    if (this.state === 'ended') throw endedError();
    throw new WeirpoolError(
      'TX_ENDED',
      'The mini-transaction is sealed: acquire every blob before the seal.',
    );
  }

  /** @internal Gives everything back and unwinds. */
  giveUp(error: RestartError): RestartError {
    if (this.state !== 'acquiring') return error;
    this.host.noteRestart(error.want);
    this.restart = error;
    this.end();
    return error;
  }

  private find(id: BlobId): OpBlob | undefined {
    for (const blob of this.blobs) if (blob.id === id) return blob;
    return undefined;
  }

  private add(index: number, id: BlobId, mode: OpMode): OpBlob {
    const blob = new OpBlob(this, this.host.memory.frame(index), id, mode);
    if (this.blobs === NO_BLOBS) this.blobs = [blob];
    else this.blobs.push(blob);
    this.host.thread.framesTaken++;
    if (this.host.debug && mode !== 'create') blob.sum = this.host.memory.checksum(index, id);
    return blob;
  }

  private assertShare(): void {
    if (this.blobs.length < this.host.frameShareMin) return;
    // It was made in a pool with more frames perhaps, and nobody else is there during replay.
    const isReplay = this.replayed !== undefined;
    const share = isReplay ? this.host.memory.shared.frames : this.host.frameShare();
    if (this.blobs.length < share) return;
    const rule = isReplay ? 'all that the pool has' : 'frames / (2 x threads)';
    throw new WeirpoolError(
      'OP_TOO_LARGE',
      `A mini-transaction may have ${share} frames at once here, ${rule}. Make smaller changes, or ` +
        'open the pool with more `frames`.',
      { details: { frames: this.blobs.length + 1, share } },
    );
  }

  /**
   * Acquires a blob to change: its exclusive latch. The bytes may be looked at now and changed from
   * the seal on.
   *
   * @throws {WeirpoolError} `BLOB_NOT_FOUND`; `BLOB_GONE` (this op has deleted it); `LATCH_HELD`
   *         (this op has it for reading); `OP_RESTART`; `OP_TOO_LARGE`; `BLOB_CORRUPT`, `STORE_IO`,
   *         `POOL_EXHAUSTED`, `POISONED`, `POOL_CLOSED`, `TX_ENDED`.
   */
  write(id: BlobId): OpBlob {
    this.assertAcquiring();
    if (typeof id !== 'number') checkBlobId(id);
    const there = this.find(id);
    if (there !== undefined) return this.writable(there);
    this.assertShare();
    let index = this.host.control.pinExclusive(id, this.host.me, 0);
    if (index < 0) index = this.guarded(() => this.host.residency.latchForOp(id, true));
    return this.add(index, id, 'write');
  }

  private writable(blob: OpBlob): OpBlob {
    if (blob.mode === 'write' || blob.mode === 'create') return blob;
    if (blob.mode === 'delete') {
      throw new WeirpoolError('BLOB_GONE', `This mini-transaction has deleted blob ${blob.id}.`, {
        details: { id: blob.id },
      });
    }
    throw new WeirpoolError(
      'LATCH_HELD',
      `This mini-transaction has blob ${blob.id} for reading. Acquire it with write at once.`,
      { details: { id: blob.id } },
    );
  }

  /** Acquires a blob to read: its shared latch, until the end of the op. Errors as `write`. */
  read(id: BlobId): OpBlob {
    this.assertAcquiring();
    if (typeof id !== 'number') checkBlobId(id);
    const there = this.find(id);
    if (there !== undefined) return there.mode === 'read' ? there : this.writable(there);
    this.assertShare();
    let index = this.host.control.pinShared(id, this.host.me);
    if (index < 0) index = this.guarded(() => this.host.residency.latchForOp(id, false));
    return this.add(index, id, 'read');
  }

  private guarded<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw error instanceof RestartError ? this.giveUp(error) : error;
    }
  }

  /**
   * A new blob, all zeros, with the next id; there for others from the commit on.
   *
   * @throws {WeirpoolError} `STORE_FULL`, and as `write`.
   */
  create(): OpBlob {
    this.assertAcquiring();
    this.assertShare();
    const id = this.nextId();
    if (this.replayed !== undefined) this.assertNew(id);
    if (!this.host.store.reserveName()) throw this.host.store.fullError();
    let index: number;
    try {
      index = this.guarded(() => this.host.frameForOp());
    } catch (error) {
      this.host.store.returnName();
      throw error;
    }
    this.host.memory.clear(index);
    this.name(id);
    return this.add(index, id, 'create');
  }

  private name(id: BlobId): void {
    if (this.created === NO_IDS) this.created = [id];
    else this.created.push(id);
  }

  private nextId(): BlobId {
    const record = this.replayed;
    if (record === undefined) {
      const id = this.host.store.tryAllocate();
      if (id !== undefined) return id;
      // The next attempt needs as many again: those of this one are used up.
      throw this.giveUp(new RestartError({ kind: 'ids', count: this.created.length + 1 }));
    }
    const id = record.created[this.created.length];
    if (id !== undefined) return id;
    throw new WeirpoolError(
      'REPLAY_FAILED',
      `The record of seq ${record.seq} names ${record.created.length} new blobs; its replay asks ` +
        'for more.',
      { details: { seq: record.seq, owner: record.owner } },
    );
  }

  /**
   * Deletes a blob, from the commit on; false, and nothing done, if there is none. Its space is
   * free again after the next round. Errors as `write`.
   */
  delete(id: BlobId): boolean {
    this.assertAcquiring();
    checkBlobId(id);
    if (this.host.memory.load(H_DELETES) >= DELETES_MAX) {
      throw this.giveUp(new RestartError({ kind: 'round' }));
    }
    let blob = this.find(id);
    if (blob?.mode === 'delete') return false;
    if (blob?.mode === 'create') {
      this.dropCreated(blob);
      return true;
    }
    try {
      blob = this.write(id);
    } catch (error) {
      const { code } = error as WeirpoolError;
      if (code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE') return false;
      throw error;
    }
    blob.mode = 'delete';
    return true;
  }

  private dropCreated(blob: OpBlob): void {
    this.blobs = this.blobs.filter((other) => other !== blob);
    blob.mode = 'delete';
    this.host.thread.framesTaken--;
    this.host.residency.giveBack(blob.frame.index);
    this.host.store.returnName();
  }

  /**
   * Sets the root blob of an owner, from the commit on; 0 takes it away. It is part of every cut.
   *
   * @throws {WeirpoolError} `STORE_FULL` when there are too many owners; `TX_ENDED`.
   */
  setRoot(owner: number, id: BlobId | 0): void {
    this.assertAcquiring();
    this.host.roots.assertSettable(owner, id, this.roots?.keys());
    this.roots ??= new Map();
    this.roots.set(owner, id);
  }

  /**
   * Makes the blobs of a bulk load part of an index, from the commit on. The record must tell the
   * range to `replay`, which adopts it again.
   *
   * @throws {WeirpoolError} `BLOB_NOT_FOUND`: it is not there, or was adopted before, or is being
   *         adopted by another mini-transaction; `TX_ENDED`.
   */
  adopt(range: Pick<BulkRange, 'first' | 'last'>): void {
    this.assertAcquiring();
    const first = checkBlobId(range.first);
    const last = checkBlobId(range.last);
    if (this.replayed !== undefined) this.assertNamed(first);
    if (!this.host.roots.claim(first, last)) {
      throw new WeirpoolError(
        'BLOB_NOT_FOUND',
        `There is no bulk load of blobs ${first} to ${last} that waits to be adopted.`,
        { details: { first, last } },
      );
    }
    this.claimed ??= [];
    this.claimed.push({ first, last });
    this.name(first);
    this.roots ??= new Map();
    this.roots.set(BULK_OWNER + first, 0);
  }

  private assertNew(id: BlobId): void {
    if (!this.host.store.has(id)) return;
    throw new WeirpoolError(
      'REPLAY_FAILED',
      `The record adopts the bulk load of blob ${id} next; its replay creates a blob.`,
      { details: { id } },
    );
  }

  /** A record that adopts names the first blob of the range among those that it creates. */
  private assertNamed(first: BlobId): void {
    const named = this.nextId();
    if (named === first) return;
    throw new WeirpoolError(
      'REPLAY_FAILED',
      `The record creates or adopts blob ${named} next; its replay adopts blob ${first}.`,
      { details: { id: first, named } },
    );
  }

  // --- sealing -----------------------------------------------------------------------------------

  /**
   * Ends acquiring: from here on bytes may be changed, and nothing waits.
   *
   * @param recordBytesMax  Payload bytes that `commit` will have at most.
   * @throws {WeirpoolError} `RECORD_TOO_LARGE`, `OP_RESTART`, `POISONED`, `POOL_CLOSED`, `TX_ENDED`.
   */
  seal(recordBytesMax = 0): void {
    this.assertAcquiring();
    if (!Number.isSafeInteger(recordBytesMax) || recordBytesMax < 0) {
      throw new RangeError(`recordBytesMax is a count of bytes, not ${recordBytesMax}`);
    }
    this.payloadMax = recordBytesMax;
    if (this.host.debug) this.assertUntouched();
    if (this.undo) this.keepUndo();
    this.enterGate(this.replayed === undefined ? this.recordBytes(recordBytesMax) : 0);
  }

  private recordBytes(payloadMax: number): number {
    let deleted = 0;
    for (const { mode } of this.blobs) if (mode === 'delete') deleted++;
    return this.host.ring.bytesOf(this.created.length + deleted, payloadMax);
  }

  private keepUndo(): void {
    for (const blob of this.blobs) {
      if (blob.mode !== 'write') continue;
      const undo = this.host.undoBuffer();
      undo.set(blob.frame.bytes);
      blob.undo = undo;
    }
  }

  /**
   * With credit for `bytes` bytes of the log. Inside, every captured frame of this op is preserved;
   * short of staging it leaves again.
   */
  private enterGate(bytes: number): void {
    const { control, me } = this.host;
    let result = control.opSeal(bytes, me);
    while (result !== OK) {
      if (result === BUSY) throw this.giveUp(new RestartError({ kind: 'credit', bytes }));
      if (result === STOPPED) {
        this.end();
        throw this.host.thread.stopped();
      }
      this.host.waitForGate();
      result = control.opSeal(bytes, me);
    }
    for (const { mode, frame } of this.blobs) {
      if (mode === 'read' || mode === 'create') continue;
      if (control.capturedBy(frame.index) === 0) continue;
      if (this.host.preserve(frame.index)) continue;
      control.gateLeave(me);
      throw this.giveUp(new RestartError({ kind: 'staging' }));
    }
    this.state = 'sealed';
  }

  /** In the debug mode: bytes must not change before the seal. */
  private assertUntouched(): void {
    for (const { frame, id, sum } of this.blobs) {
      if (sum === undefined || this.host.memory.checksum(frame.index, id) === sum) continue;
      const error = new WeirpoolError(
        'INVARIANT_BROKEN',
        `Blob ${id} was changed before the seal of its mini-transaction: a crash could keep that ` +
          'change without its record.',
        { outcome: 'unknown', details: { id } },
      );
      this.host.thread.poison(error);
      throw error;
    }
  }

  /** Gives a created blob back that is not needed after all; its id is used up. After the seal. */
  discard(blob: OpBlob): void {
    if (this.state === 'ended') throw endedError();
    if (blob.mode === 'create') this.dropCreated(blob);
  }

  // --- committing --------------------------------------------------------------------------------

  /**
   * Makes the change: appends the record, marks the frames, gives everything back. The change is
   * in memory then; `durable` says when it is safe. Seals first if that was not done.
   *
   * @param record  Payload; without one, a change of structure that recovery can do without: it
   *                must not create, delete or set roots.
   * @returns       The seq; without a record, that of the last one before this change.
   * @throws {WeirpoolError} `RECORD_TOO_LARGE` above what the seal announced (the op goes on);
   *         `POISONED`; and as `seal`.
   */
  commit(record?: Uint8Array): number {
    if (record !== undefined && !(record instanceof Uint8Array)) {
      throw new TypeError('A record is a Uint8Array');
    }
    if (this.state === 'ended') throw endedError();
    const deleted = this.deletedIds();
    if (this.replayed !== undefined) this.assertSameIds(this.replayed, deleted);
    if (this.state === 'acquiring') this.seal(record?.length ?? 0);
    this.assertFits(record, deleted);
    const { memory, thread } = this.host;
    // No journal writes what comes after a poison.
    if (memory.load(H_STATUS) === STATUS_POISONED) throw thread.stopped();
    const mark = this.append(record, deleted);
    this.apply(mark);
    // A structural change has no record to wait for, only those before it.
    this.seq = record === undefined && this.replayed === undefined ? mark - 1 : mark;
    return this.seq;
  }

  /** A replay that makes or deletes other blobs than its record would leave another store. */
  private assertSameIds(record: LogRecord, dropped: readonly BlobId[]): void {
    const { created, deleted, seq, owner } = record;
    if (created.length + deleted.length + this.created.length + dropped.length === 0) return;
    const all = new Set(dropped);
    const same = deleted.length === all.size && deleted.every((id) => all.has(id));
    if (same && this.created.length === created.length) return;
    throw new WeirpoolError(
      'REPLAY_FAILED',
      `The record of seq ${seq} creates or adopts ${created.length} and deletes ` +
        `${deleted.length} blobs; its replay has ended with ${this.created.length} and ` +
        `${dropped.length}, or with others.`,
      { details: { seq, owner } },
    );
  }

  private assertFits(record: Uint8Array | undefined, deleted: readonly BlobId[]): void {
    if (this.replayed !== undefined) return;
    if (record === undefined) {
      if (this.created.length === 0 && this.roots === undefined && deleted.length === 0) return;
      throw new TypeError('A change that creates, deletes or sets roots needs a record');
    }
    if (record.length <= this.payloadMax) return;
    throw new WeirpoolError(
      'RECORD_TOO_LARGE',
      `A record of ${record.length} bytes exceeds the ${this.payloadMax} that the seal has announced.`,
      { details: { bytes: record.length, bytesMax: this.payloadMax } },
    );
  }

  private deletedIds(): readonly BlobId[] {
    let ids = NO_IDS;
    for (const { mode, id } of this.blobs) {
      if (mode === 'delete') ids = ids === NO_IDS ? [id] : [...ids, id];
    }
    return ids;
  }

  /** The seq that marks what was changed; without a record, one that no record has yet. */
  private append(record: Uint8Array | undefined, deleted: readonly BlobId[]): number {
    if (this.replayed !== undefined) return this.replayed.seq;
    const { ring, memory } = this.host;
    if (record !== undefined) return ring.append(this.owner, this.created, deleted, record);
    ring.giveCredit();
    return memory.loadU64(H_LOG_TAIL) + 1;
  }

  /** Marks, publishes, deletes; then gives the gate and the rest back. */
  private apply(seq: number): void {
    const host = this.host;
    // Children first: whoever follows a pointer out of a frame that was given back finds them.
    for (const { mode, frame, id } of this.blobs) {
      if (mode !== 'create') continue;
      host.residency.publishCreated(frame.index, id, seq);
      host.noteDirty(frame.index);
    }
    if (this.roots !== undefined) host.roots.set(this.roots, seq);
    for (const { mode, frame, id } of this.blobs) {
      if (mode === 'delete') host.residency.dropForOp(frame.index, id, seq);
      else if (mode === 'read') this.host.control.unpinShared(frame.index, this.host.me);
      else if (mode === 'write') {
        if (this.host.control.commitFrame(frame.index, this.host.me, seq) !== 0) {
          host.noteDirty(frame.index);
        }
      }
    }
    this.host.control.gateLeave(this.host.me);
    this.close();
  }

  // --- aborting ------------------------------------------------------------------------------------

  /**
   * Ends the op without a change. After the seal that needs `undo`: then the bytes are put back.
   *
   * @throws {WeirpoolError} `INVARIANT_BROKEN` after the seal of an op without `undo`: the pool is
   *         poisoned, for nobody knows what was changed.
   */
  abort(): void {
    if (this.state === 'ended') return;
    if (this.state === 'sealed') {
      if (!this.undo) throw this.poisonSealed(undefined);
      this.putBack();
    }
    this.end();
  }

  /** @internal The callback threw `cause`: aborts, or poisons what cannot be aborted. */
  fail(cause: unknown): void {
    if (this.state !== 'sealed' || this.undo) this.abort();
    else this.poisonSealed(cause);
  }

  private putBack(): void {
    for (const { undo, frame } of this.blobs) if (undo !== undefined) frame.bytes.set(undo);
    this.host.control.gateLeave(this.host.me);
  }

  private poisonSealed(cause: unknown): WeirpoolError {
    const why = cause instanceof Error ? ` ${cause.name}: ${cause.message}` : '';
    const error = new WeirpoolError(
      'INVARIANT_BROKEN',
      `A mini-transaction ended between its seal and its commit.${why} Its blobs may be half ` +
        'changed. Throw before the seal, or ask for `undo: true`.',
      { cause, outcome: 'unknown' },
    );
    this.host.thread.poison(error);
    // The latches stay: nobody may see the bytes.
    this.host.control.gateLeave(this.host.me);
    this.close();
    return error;
  }

  /** Gives back what was acquired, unchanged. */
  private end(): void {
    const { store, residency, ring, roots } = this.host;
    for (const { mode, frame } of this.blobs) {
      if (mode === 'read') this.host.control.unpinShared(frame.index, this.host.me);
      else if (mode === 'create') residency.giveBack(frame.index);
      else this.host.control.unpinExclusive(frame.index, this.host.me);
    }
    for (const { mode } of this.blobs) if (mode === 'create') store.returnName();
    for (const { first, last } of this.claimed ?? []) roots.giveUp(first, last);
    ring.giveCredit();
    this.close();
  }

  private close(): void {
    for (const { undo } of this.blobs) if (undo !== undefined) this.host.returnUndo(undo);
    this.host.thread.framesTaken -= this.blobs.length;
    this.blobs = NO_BLOBS;
    this.state = 'ended';
    this.host.ended(this);
  }

  /** Aborts what was not committed. */
  [Symbol.dispose](): void {
    this.abort();
  }
}
