/**
 * Bulk load: full blobs straight into fresh slots, visible with one commit, then adopted.
 *
 * Owns:        a range of ids, names in the mapping, slots and buffers, from the first blob to commit
 *              or abort.
 * Invariants:  I6   blobs go to slots that no mapping names; a slot whose write failed stays out of
 *                   use;
 *              I2   S does not move: the commit names the range, and blobs that no record adopts are
 *                   dropped when the store is opened next;
 *              D1   no latch is held while it waits: it never touches a frame.
 * Threads:     the thread that began it. Rounds and other loads go on beside it.
 */
import { WeirpoolError } from '../errors.ts';
import { S_WRITING } from '../generated/layout.ts';
import { Checksummer } from '../memory/checksum.ts';
import type { PoolThread } from '../memory/thread.ts';
import { type BlobId, type BlobMapping, BULK_OWNER } from '../store/contract.ts';
import type { MappedStore } from '../store/mapped-store.ts';
import type { Roots } from './roots.ts';
import { isThenable } from './thenable.ts';

/** Writes that are under way at the same time, each from a buffer of its own. */
const WRITES_IN_FLIGHT = 8;
/** Slots that are taken at once. */
const SLOTS_AT_ONCE = 64;

/** Blobs that a bulk load has committed: `op.adopt` makes them part of an index. */
export interface BulkRange {
  /** First and last id of the range; all blobs of the load lie in it. */
  readonly first: BlobId;
  readonly last: BlobId;
  readonly blobs: number;
}

/** Puts a blob's bytes into `target` (blobBytes long, zeroed). */
export type Fill = (target: Uint8Array, id: BlobId) => void;

export interface BulkHost {
  readonly thread: PoolThread;
  readonly store: MappedStore;
  readonly roots: Roots;
  /** Loads of this thread that have not ended: whoever leaves the pool aborts them first. */
  readonly loads: Set<BulkLoad>;
}

export class BulkLoad implements AsyncDisposable {
  readonly #host: BulkHost;
  readonly #first: BlobId;
  readonly #blobsMax: number;
  /** Buffers that nobody writes from; the first one is the next to be filled. */
  readonly #free: Checksummer[] = [];
  #buffers = 0;
  readonly #writes = new Set<Promise<void>>();
  /** The last call of `add`: one after the other, so that ids follow the calls. */
  #accepting: Promise<unknown> = Promise.resolve();
  #slots: number[] = [];
  #written: BlobMapping[] = [];
  #next: BlobId;
  #failure: WeirpoolError | undefined;
  #state: 'open' | 'aborting' | 'ended' = 'open';

  /** @internal See `BufferPool.bulkLoad`. */
  constructor(host: BulkHost, blobsMax: number) {
    this.#host = host;
    this.#blobsMax = blobsMax;
    host.store.reserveNames(blobsMax);
    try {
      this.#first = host.store.allocateRange(blobsMax);
    } catch (error) {
      host.store.returnName(blobsMax);
      throw error;
    }
    this.#next = this.#first;
    host.loads.add(this);
  }

  /** Blobs that were added. */
  get blobs(): number {
    return this.#next - this.#first;
  }

  /**
   * Adds a blob; resolves as soon as its bytes were taken over, while they are being written.
   *
   * @param bytes  blobBytes long, or a synchronous function that puts them into a buffer.
   * @returns      Its id: the ids of a load follow each other in the order of the calls, so that
   *               parents can name children.
   * @throws {WeirpoolError} `STORE_FULL`, `LATCH_HELD`; `STORE_IO` a write has failed: the load can
   *         only be aborted; `TX_ENDED`; `POISONED`, `POOL_CLOSED`; {RangeError} wrong size, or more
   *         than `blobsMax` blobs; what the function throws. Nothing was added then.
   */
  add(bytes: Uint8Array | Fill): Promise<BlobId> {
    const accepted = this.#accepting.then(() => this.#accept(bytes));
    this.#accepting = accepted.catch(() => undefined);
    return accepted;
  }

  async #accept(bytes: Uint8Array | Fill): Promise<BlobId> {
    this.#assertUsable();
    const { blobBytes } = this.#host.store;
    if (typeof bytes !== 'function') checkBytes(bytes, blobBytes);
    if (this.blobs === this.#blobsMax) {
      throw new RangeError(`The load was announced with ${this.#blobsMax} blobs`);
    }
    const buffer = await this.#freeBuffer();
    this.#assertUsable();
    const id = this.#next;
    const target = buffer.scratch(blobBytes);
    if (typeof bytes === 'function') callFill(bytes, target.fill(0), id);
    else target.set(bytes);
    const checksum = buffer.ofScratch(blobBytes, id);
    const slot = this.#takeSlot();
    this.#next++;
    this.#free.shift();
    this.#start(buffer, { id, slot, checksum });
    return id;
  }

  #assertUsable(): void {
    this.#host.thread.assertRunning();
    if (this.#state !== 'open') {
      throw new WeirpoolError('TX_ENDED', 'The bulk load has ended. Begin a new one.');
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Waits until there is one; it stays the first of the free ones. */
  async #freeBuffer(): Promise<Checksummer> {
    if (this.#free.length === 0 && this.#buffers < WRITES_IN_FLIGHT) {
      const { shared } = this.#host.thread.memory;
      this.#free.push(new Checksummer(shared.modules.kernels, shared.blobBytes));
      this.#buffers++;
    }
    // Every other buffer is being written from, so that there is something to wait for.
    while (this.#free.length === 0) await Promise.race(this.#writes);
    return this.#free[0] as Checksummer;
  }

  #takeSlot(): number {
    const { store } = this.#host;
    if (this.#slots.length === 0) {
      const left = Math.min(SLOTS_AT_ONCE, this.#blobsMax - this.blobs);
      this.#slots = store.exclusively(() => store.takeSlots(left));
    }
    return this.#slots.pop() as number;
  }

  #start(buffer: Checksummer, blob: BlobMapping): void {
    const source = buffer.scratch(this.#host.store.blobBytes);
    const write = this.#write(source, blob).finally(() => {
      this.#writes.delete(write);
      this.#free.push(buffer);
    });
    this.#writes.add(write);
  }

  /** Never rejects: a failure ends the load at its next step. */
  async #write(source: Uint8Array, blob: BlobMapping): Promise<void> {
    this.#countWrite(1);
    const failure = await this.#host.store.writeSlot(blob.slot, source);
    this.#countWrite(-1);
    if (failure === undefined) this.#written.push(blob);
    else this.#failure ??= failure;
  }

  /** For the opener, which must not give the store to somebody else while they are under way. */
  #countWrite(by: number): void {
    const { thread } = this.#host;
    const at = thread.slotField(S_WRITING) / Uint32Array.BYTES_PER_ELEMENT;
    Atomics.add(thread.memory.u32, at, by);
  }

  /** Waits for all calls of `add`, and for the writes that they have begun. */
  async #settle(): Promise<void> {
    for (let last: unknown; last !== this.#accepting || this.#writes.size > 0; ) {
      last = this.#accepting;
      await last;
      await Promise.all(this.#writes);
    }
  }

  /**
   * Makes all blobs part of the store, atomically and durably. They are kept if a mini-transaction
   * adopts the range before the store is opened again.
   *
   * @throws {WeirpoolError} `STORE_IO`, `STORE_FULL`, `LATCH_HELD`: none of them is there, and it may
   *         be tried again; `FENCED`, `TX_ENDED`, `POISONED`, `POOL_CLOSED`. With the outcome
   *         `unknown` the next opening decides.
   */
  async commit(): Promise<BulkRange> {
    await this.#settle();
    this.#assertUsable();
    const range = { first: this.#first, last: this.#next - 1, blobs: this.blobs };
    if (range.blobs > 0) {
      this.#host.roots.assertRoom(BULK_OWNER + range.first);
      this.#host.store.exclusively(() => this.#commitRange(range));
    }
    this.#end();
    return range;
  }

  #commitRange({ first, last }: BulkRange): void {
    const { store, roots } = this.#host;
    const entry = new Map([[BULK_OWNER + first, last]]);
    store.sync();
    const { leaseEnd: nextBlobId } = store;
    store.commitSynced({ mapped: this.#written, deleted: [], nextBlobId, roots: entry });
    this.#written = [];
    // It is in the manifest already: no round has to carry it.
    roots.set(entry, 0);
  }

  /**
   * Gives everything back. Nothing of the load is in the store then. Idempotent.
   *
   * @throws {WeirpoolError} `LATCH_HELD`: nothing was given back yet; abort again.
   */
  async abort(): Promise<void> {
    if (this.#state === 'ended') return;
    this.#state = 'aborting';
    await this.#settle();
    if (this.#state === 'aborting') this.#end();
  }

  #end(): void {
    const { store, loads } = this.#host;
    // A slot whose write has failed is in neither list, and stays out of use.
    const slots = [...this.#slots, ...this.#written.map(({ slot }) => slot)];
    if (slots.length > 0) this.#returnSlots(slots);
    this.#slots = [];
    this.#written = [];
    store.returnName(this.#blobsMax);
    this.#state = 'ended';
    loads.delete(this);
  }

  #returnSlots(slots: readonly number[]): void {
    const { store } = this.#host;
    try {
      store.exclusively(() => store.returnSlots(slots));
    } catch (error) {
      // Of a pool that has stopped nobody takes slots any more.
      const { code } = error as WeirpoolError;
      if (code !== 'POISONED' && code !== 'POOL_CLOSED') throw error;
    }
  }

  /** Aborts what was not committed. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }
}

function checkBytes(bytes: unknown, blobBytes: number): void {
  if (!(bytes instanceof Uint8Array)) throw new TypeError('Bytes are given as a Uint8Array');
  if (bytes.length === blobBytes) return;
  throw new RangeError(`A blob has ${blobBytes} bytes, not ${bytes.length}`);
}

function callFill(fill: Fill, target: Uint8Array, id: BlobId): void {
  if (!isThenable(fill(target, id) as unknown)) return;
  throw new TypeError('A blob is filled at once: the function must not return a promise');
}
