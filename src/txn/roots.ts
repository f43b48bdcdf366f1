/**
 * Root blobs by owner.
 *
 * Owns:        nothing; assembly/pending.ts has the table.
 * Invariants:  I3  a root is part of the cut whose seq it does not exceed.
 * Threads:     any; set inside the gate.
 */
import { WeirpoolError } from '../errors.ts';
import { OK, ROOTS_MAX } from '../generated/layout.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import { type BlobId, BULK_OWNER } from '../store/contract.ts';

/** Instead of the last blob of a range that a mini-transaction is adopting; no blob has this id. */
const CLAIMED = Number.MAX_SAFE_INTEGER;

/** @throws {TypeError} not a number; {RangeError} not an owner. */
export function checkOwner(owner: unknown): number {
  if (typeof owner !== 'number') throw new TypeError(`An owner is a number, not ${typeof owner}`);
  if (!Number.isSafeInteger(owner) || owner < 0 || owner >= BULK_OWNER) {
    throw new RangeError(`An owner is a whole number from 0 to 2^52 - 1, not ${owner}`);
  }
  return owner;
}

export class Roots {
  readonly #thread: PoolThread;

  constructor(thread: PoolThread) {
    this.#thread = thread;
  }

  /** Root blob of the owner, undefined if it has none. */
  get(owner: number): BlobId | undefined {
    const root = this.#thread.control.rootOf(checkOwner(owner));
    return root === 0 ? undefined : root;
  }

  /**
   * @param others  Owners whose roots the same op sets.
   * @throws {WeirpoolError} `STORE_FULL` when there are too many owners.
   */
  assertSettable(owner: number, id: BlobId | 0, others: Iterable<number> = []): void {
    checkOwner(owner);
    if (typeof id !== 'number') throw new TypeError(`A root is a blob id, not ${typeof id}`);
    if (!Number.isSafeInteger(id) || id < 0) throw new RangeError(`${id} is no blob id`);
    this.assertRoom(owner, others);
  }

  assertRoom(owner: number, others: Iterable<number> = []): void {
    const { control } = this.#thread;
    let added = 0;
    for (const other of others) if (other !== owner && control.rootKnown(other) === 0) added++;
    if (control.rootRoom(owner, added) === OK) return;
    throw new WeirpoolError('STORE_FULL', `A store has roots for at most ${ROOTS_MAX} owners.`, {
      details: { owners: ROOTS_MAX },
    });
  }

  /**
   * Claims a bulk load's range for one mini-transaction; false if it is not there, or another one
   * was faster. To be given up unless `set` takes the range away.
   */
  claim(first: BlobId, last: BlobId): boolean {
    return this.#swap(BULK_OWNER + first, last, CLAIMED);
  }

  giveUp(first: BlobId, last: BlobId): void {
    this.#swap(BULK_OWNER + first, CLAIMED, last);
  }

  #swap(owner: number, from: number, to: number): boolean {
    const { control, me } = this.#thread;
    const step = (): number => control.rootSwap(owner, from, to, me, PARK_MS);
    return this.#thread.waitThrough(step) === OK;
  }

  /** Room was seen to before; the table has as much again, for ops that have done so together. */
  set(roots: ReadonlyMap<number, BlobId>, seq: number): void {
    const { control, me } = this.#thread;
    for (const [owner, id] of roots) {
      const step = (): number => control.rootSet(owner, id, seq, me, PARK_MS);
      if (this.#thread.waitThrough(step) === OK) continue;
      const error = new WeirpoolError(
        'INVARIANT_BROKEN',
        `There was no room for a root of ${owner}.`,
      );
      this.#thread.poison(error);
      throw error;
    }
  }
}
