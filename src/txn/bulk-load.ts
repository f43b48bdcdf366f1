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
import { Checksummer } from '../memory/checksum.ts';
import type { PoolThread } from '../memory/thread.ts';
import { type BlobId, type BlobMapping, BULK_OWNER } from '../store/contract.ts';
import { asWeirpoolError, type MappedStore } from '../store/mapped-store.ts';
import type { Roots } from './roots.ts';

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
}

export class BulkLoad implements AsyncDisposable {
  readonly #host: BulkHost;
  readonly #first: BlobId;
  readonly #blobsMax: number;
  readonly #free: Checksummer[] = [];
  #buffers = 0;
  readonly #writes = new Set<Promise<void>>();
  #slots: number[] = [];
  readonly #written: BlobMapping[] = [];
  #next: BlobId;
  #failure: WeirpoolError | undefined;
  #ended = false;

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
  }

  /** Blobs that were added. */
  get blobs(): number {
    return this.#next - this.#first;
  }

  /**
   * Adds a blob; resolves as soon as its bytes were taken over, while they are being written.
   *
   * @param bytes  blobBytes long, or a function that puts them into a buffer.
   * @returns      Its id: the ids of a load follow each other, so that parents can name children.
   * @throws {WeirpoolError} `STORE_FULL`; `STORE_IO` a write has failed: the load can only be
   *         aborted; `TX_ENDED`; {RangeError} wrong size, or more than `blobsMax` blobs.
   */
  async add(bytes: Uint8Array | Fill): Promise<BlobId> {
    this.#assertUsable();
    const { blobBytes } = this.#host.store;
    if (typeof bytes !== 'function' && bytes.length !== blobBytes) {
      throw new RangeError(`A blob has ${blobBytes} bytes, not ${bytes.length}`);
    }
    if (this.blobs === this.#blobsMax) {
      throw new RangeError(`The load was announced with ${this.#blobsMax} blobs`);
    }
    const id = this.#next++;
    try {
      await this.#put(id, bytes);
      return id;
    } catch (error) {
      // Its id is used up: without the blob the range must not be committed.
      this.#failure ??= asWeirpoolError(error, 'not_applied');
      throw error;
    }
  }

  async #put(id: BlobId, bytes: Uint8Array | Fill): Promise<void> {
    const { blobBytes } = this.#host.store;
    const buffer = await this.#takeBuffer();
    this.#assertUsable();
    const target = buffer.scratch(blobBytes);
    if (typeof bytes === 'function') bytes(target.fill(0), id);
    else target.set(bytes);
    const checksum = buffer.ofScratch(blobBytes, id);
    this.#start(buffer, { id, slot: this.#takeSlot(), checksum });
  }

  #assertUsable(): void {
    this.#host.thread.assertRunning();
    if (this.#ended)
      throw new WeirpoolError('TX_ENDED', 'The bulk load has ended. Begin a new one.');
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #takeBuffer(): Promise<Checksummer> {
    for (;;) {
      const buffer = this.#free.pop();
      if (buffer !== undefined) return buffer;
      if (this.#buffers < WRITES_IN_FLIGHT) break;
      await Promise.race(this.#writes);
    }
    this.#buffers++;
    const { shared } = this.#host.thread.memory;
    return new Checksummer(shared.modules.kernels, shared.blobBytes);
  }

  #takeSlot(): number {
    const { store } = this.#host;
    const slot = this.#slots.pop();
    if (slot !== undefined) return slot;
    const left = this.#blobsMax - this.blobs + 1;
    this.#slots = store.exclusively(() => store.takeSlots(Math.min(SLOTS_AT_ONCE, left)));
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
    const failure = await this.#host.store.writeSlot(blob.slot, source);
    if (failure === undefined) this.#written.push(blob);
    else this.#failure ??= failure;
  }

  async #settle(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }

  /**
   * Makes all blobs part of the store, atomically and durably. They are kept if a mini-transaction
   * adopts the range before the store is opened again.
   *
   * @throws {WeirpoolError} `STORE_IO`, `STORE_FULL`, `FENCED`, `TX_ENDED`, `POISONED`,
   *         `POOL_CLOSED`: none of them is there then (with outcome `unknown`: the next opening
   *         decides).
   */
  async commit(): Promise<BulkRange> {
    await this.#settle();
    this.#assertUsable();
    const { store, roots } = this.#host;
    const range = { first: this.#first, last: this.#next - 1, blobs: this.blobs };
    try {
      if (range.blobs > 0) {
        roots.assertRoom(BULK_OWNER + range.first);
        store.exclusively(() => this.#commitRange(range));
      }
    } catch (error) {
      this.#failure = asWeirpoolError(error);
      throw error;
    }
    this.#end();
    return range;
  }

  #commitRange({ first, last }: BulkRange): void {
    const { store, roots } = this.#host;
    const entry = new Map([[BULK_OWNER + first, last]]);
    store.sync();
    const mapped = this.#written.splice(0);
    try {
      const { leaseEnd: nextBlobId } = store;
      store.commitSynced({ mapped, deleted: [], nextBlobId, roots: entry });
    } catch (error) {
      this.#written.push(...mapped);
      throw error;
    }
    // It is in the manifest already: no round has to carry it.
    roots.set(entry, 0);
  }

  /** Gives everything back. Nothing of the load is in the store then. Idempotent. */
  async abort(): Promise<void> {
    if (this.#ended) return;
    await this.#settle();
    if (!this.#ended) this.#end();
  }

  #end(): void {
    this.#ended = true;
    const { store, thread } = this.#host;
    store.returnName(this.#blobsMax);
    const slots = [...this.#slots, ...this.#written.map(({ slot }) => slot)];
    // After an unknown outcome a slot may be named: it stays out of use.
    const known = this.#failure?.outcome !== 'unknown';
    if (slots.length === 0 || !known || !thread.attached) return;
    store.exclusively(() => store.returnSlots(slots));
  }

  /** Aborts what was not committed. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }
}
