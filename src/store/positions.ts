/**
 * Positions in a store that all threads of a pool agree on, in the backend's shared words.
 *
 * Owns:        the meaning of the 16 words.
 * Threads:     read and written under the commit lock, except `stopped`, which any thread may set
 *              and nobody takes back.
 */
import type { StoreNumbers } from './store-state.ts';

const GENERATION = 0;
const LOG_END = 1;
const SNAPSHOT_END = 2;
const COMMIT_NUMBER = 3;
const EPOCH = 4;
const STORE_ID = 5;
const NEXT_BLOB_ID = 6;
const CHECKPOINT_SEQ = 7;
const STOPPED = 8;

export class Positions {
  readonly #words: BigInt64Array;

  constructor(words: BigInt64Array) {
    this.#words = words;
  }

  #get(word: number): number {
    return Number(Atomics.load(this.#words, word));
  }

  #set(word: number, value: number): void {
    Atomics.store(this.#words, word, BigInt(value));
  }

  /** Number of the manifest file that takes commits. */
  get generation(): number {
    return this.#get(GENERATION);
  }
  set generation(value: number) {
    this.#set(GENERATION, value);
  }

  /** Where the next record goes. */
  get logEnd(): number {
    return this.#get(LOG_END);
  }
  set logEnd(value: number) {
    this.#set(LOG_END, value);
  }

  /** Where the snapshot of that file ends. */
  get snapshotEnd(): number {
    return this.#get(SNAPSHOT_END);
  }
  set snapshotEnd(value: number) {
    this.#set(SNAPSHOT_END, value);
  }

  get commitNumber(): number {
    return this.#get(COMMIT_NUMBER);
  }
  set commitNumber(value: number) {
    this.#set(COMMIT_NUMBER, value);
  }

  get epoch(): number {
    return this.#get(EPOCH);
  }
  set epoch(value: number) {
    this.#set(EPOCH, value);
  }

  get storeId(): bigint {
    return BigInt.asUintN(64, Atomics.load(this.#words, STORE_ID));
  }
  set storeId(value: bigint) {
    Atomics.store(this.#words, STORE_ID, BigInt.asIntN(64, value));
  }

  get nextBlobId(): number {
    return this.#get(NEXT_BLOB_ID);
  }
  set nextBlobId(value: number) {
    this.#set(NEXT_BLOB_ID, value);
  }

  get checkpointSeq(): number {
    return this.#get(CHECKPOINT_SEQ);
  }
  set checkpointSeq(value: number) {
    this.#set(CHECKPOINT_SEQ, value);
  }

  /** What the last record carried. */
  publish(numbers: StoreNumbers): void {
    this.nextBlobId = numbers.nextBlobId;
    this.checkpointSeq = numbers.checkpointSeq;
    this.epoch = numbers.epoch;
    this.commitNumber = numbers.commitNumber;
  }

  /** Whether a sync failed or the store was lost: nothing may be synced or committed any more. */
  get stopped(): boolean {
    return this.#get(STOPPED) !== 0;
  }

  stop(): void {
    this.#set(STOPPED, 1);
  }

  /** For an opening that begins anew with words that were used before. */
  reset(): void {
    for (let word = 0; word <= STOPPED; word++) this.#set(word, 0);
  }
}
