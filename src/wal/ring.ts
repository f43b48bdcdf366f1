/**
 * Producing records: credit before a change, the record inside the commit gate.
 *
 * Owns:        nothing of its own; assembly/ring.ts has the protocol.
 * Invariants:  who has credit never waits for room, so that nothing waits inside the gate;
 *              D1  credit is only tried for while the thread holds anything.
 * Threads:     one object for each thread.
 */
import { WeirpoolError } from '../errors.ts';
import {
  type ControlExports,
  H_CREDIT_WAKE,
  H_LOG_CONSUMED,
  H_LOG_ERROR,
  H_LOG_FAILING,
  H_RING,
  H_RING_MASK,
  OK,
} from '../generated/layout.ts';
import type { ThreadMemory } from '../memory/pool-memory.ts';
import type { LogServices } from '../memory/services.ts';
import { getError } from '../memory/shared-error.ts';
import { PARK_MS, type PoolThread } from '../memory/thread.ts';
import { recordBytesOf } from './format.ts';

/** Kind of a record that a mini-transaction has made; others are for later versions. */
export const KIND_CHANGE = 1;
/** Payload is at most half of the ring, ids take at most an eighth. */
const PAYLOAD_SHARE = 2;
const IDS_SHARE = 8;

/** The largest payload of a record, in bytes, for a ring of that size. */
export function payloadBytesMax(ringBytes: number): number {
  return ringBytes / PAYLOAD_SHARE;
}

/** The largest record with its ids. */
export function ringRecordBytesMax(ringBytes: number): number {
  return ringBytes / PAYLOAD_SHARE + ringBytes / IDS_SHARE;
}

export class LogRing {
  readonly #control: ControlExports;
  readonly #memory: ThreadMemory;
  readonly #thread: PoolThread;
  readonly #services: () => LogServices;
  readonly #waitMs: number;
  readonly #me: number;
  readonly #bytes: Uint8Array;
  readonly #mask: number;
  readonly #recordBytesMax: number;
  /** The largest payload in bytes. */
  readonly payloadBytesMax: number;

  constructor(thread: PoolThread, services: () => LogServices, waitMs: number) {
    this.#thread = thread;
    this.#control = thread.control;
    this.#memory = thread.memory;
    this.#services = services;
    this.#waitMs = waitMs;
    const { ringBytes } = thread.memory.shared;
    const from = this.#memory.load(H_RING);
    this.#bytes = this.#memory.u8.subarray(from, from + ringBytes);
    this.#mask = this.#memory.load(H_RING_MASK);
    this.#me = thread.me;
    this.#recordBytesMax = ringRecordBytesMax(ringBytes);
    this.payloadBytesMax = payloadBytesMax(ringBytes);
  }

  /**
   * Bytes of a record.
   *
   * @throws {WeirpoolError} `RECORD_TOO_LARGE`.
   */
  bytesOf(ids: number, payloadBytes: number): number {
    const bytes = recordBytesOf(ids, 0, payloadBytes);
    if (payloadBytes <= this.payloadBytesMax && bytes <= this.#recordBytesMax) return bytes;
    throw new WeirpoolError(
      'RECORD_TOO_LARGE',
      `A record of ${payloadBytes} bytes with ${ids} ids exceeds what the log's ring of ` +
        `${this.#bytes.length} bytes takes: ${this.payloadBytesMax} bytes. Open the pool with a ` +
        'larger `log.ringBytes`, or make smaller changes. Nothing was changed.',
      { details: { bytes: payloadBytes, bytesMax: this.payloadBytesMax, ids } },
    );
  }

  /** Whether there was credit for so many bytes; it is this thread's now. */
  tryCredit(bytes: number): boolean {
    return this.#control.creditTake(bytes, this.#me) === OK;
  }

  /** Whether there is credit for so many bytes now; none is taken. This thread has none. */
  hasCredit(bytes: number): boolean {
    const has = this.tryCredit(bytes);
    if (has) this.giveCredit();
    return has;
  }

  giveCredit(): void {
    this.#control.creditGive(this.#me);
  }

  /**
   * Waits for credit, holding nothing, and takes it.
   *
   * @throws {WeirpoolError} `STORE_IO` when the log could not be written for that long, such as on a
   *         full disk; `POISONED`, `POOL_CLOSED`.
   */
  waitForCredit(bytes: number): void {
    const deadline = performance.now() + this.#waitMs;
    for (;;) {
      const isLast = performance.now() > deadline;
      const seen = this.#memory.load(H_CREDIT_WAKE);
      if (this.tryCredit(bytes)) return;
      if (isLast) throw this.#stalled();
      const services = this.#services();
      services.journal();
      services.settle();
      if (!services.inline) this.#control.park(H_CREDIT_WAKE, seen, PARK_MS);
      this.#thread.lookAround();
    }
  }

  #stalled(): WeirpoolError {
    const cause =
      this.#memory.load(H_LOG_FAILING) === 0 ? undefined : getError(this.#memory, H_LOG_ERROR);
    const why = cause === undefined ? 'the log is written too slowly' : cause.message;
    return new WeirpoolError(
      'STORE_IO',
      `There was no room in the log's ring for ${this.#waitMs} ms: ${why} Nothing was changed; ` +
        'try again when the disk takes writes.',
      { cause, details: { operation: 'append', consumed: this.#memory.loadU64(H_LOG_CONSUMED) } },
    );
  }

  /**
   * Appends a record, inside the gate and within this thread's credit: never waits, never fails.
   *
   * @returns Its seq.
   */
  append(
    owner: number,
    created: readonly number[],
    deleted: readonly number[],
    payload: Uint8Array,
  ): number {
    const control = this.#control;
    const me = this.#me;
    const at = control.recordBegin(
      owner,
      KIND_CHANGE,
      created.length,
      deleted.length,
      payload.length,
      me,
    );
    for (let n = 0; n < created.length; n++) control.recordId(n, created[n] as number, me);
    for (let n = 0; n < deleted.length; n++) {
      control.recordId(created.length + n, deleted[n] as number, me);
    }
    this.#put(at, payload);
    return control.recordPublish(me);
  }

  #put(from: number, payload: Uint8Array): void {
    const room = this.#bytes.length - from;
    if (payload.length <= room) {
      this.#bytes.set(payload, from);
    } else {
      this.#bytes.set(payload.subarray(0, room), from);
      this.#bytes.set(payload.subarray(room), 0);
    }
  }

  #offset(position: number): number {
    // Positions exceed 32 bits: the low half alone selects the place.
    return ((position % 2 ** 32) & this.#mask) >>> 0;
  }

  /** The bytes between two positions, in one piece or two. */
  views(from: number, to: number): Uint8Array[] {
    const begin = this.#offset(from);
    const end = begin + (to - from);
    if (end <= this.#bytes.length) return [this.#bytes.subarray(begin, end)];
    return [this.#bytes.subarray(begin), this.#bytes.subarray(0, end - this.#bytes.length)];
  }
}
