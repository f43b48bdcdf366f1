/**
 * A backend that fails as planned, around any other one: for tests of whoever uses a store.
 *
 * Owns:        the plan, the counts of calls, the trace.
 * Threads:     the thread that made it; other threads attach to the inner backend, without faults.
 *
 * What can go wrong, and how: a call fails before anything happened (`fail`), after all of it
 * happened (`failAfter`, so that the outcome is unknown), or in the middle of a slot (`tear`);
 * bytes are read with one bit flipped (`flip`); a call is late (`delayMs`).
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type Outcome, WeirpoolError } from '../errors.ts';
import type {
  BackendHandle,
  BackendUsage,
  SlotWrite,
  SlotWriteResult,
  StoreBackend,
  StoreChange,
  StoreImage,
} from './contract.ts';

/** `writeSlots` is the batch as a whole; each of its writes counts as a `writeSlot` of its own. */
export type BackendOperation =
  | 'open'
  | 'readSlot'
  | 'writeSlot'
  | 'writeSlots'
  | 'sync'
  | 'commit'
  | 'close';

export interface BackendFault {
  readonly operation: BackendOperation;
  /** Which call of that operation, from 1 on. Default 1. */
  readonly call?: number;
  /** Whether all later calls are hit, too. Default false. */
  readonly forEver?: boolean;
  /**
   * `fail` (default), `failAfter`, `tear` (writes: the first half reaches the store, then an
   * error), `flip` (reads: bit `bit` is wrong), `delay`.
   */
  readonly effect?: 'fail' | 'failAfter' | 'tear' | 'flip' | 'delay';
  /** Default `EIO`. */
  readonly errno?: string;
  /** Default: `unknown` for `failAfter` and for `sync`, else `not_applied`. */
  readonly outcome?: Outcome;
  /** Bit that `flip` flips. Default 0. */
  readonly bit?: number;
  /** Time before the call, with any effect. */
  readonly delayMs?: number;
}

/** One call, in the order in which they began. */
export interface BackendCall {
  readonly operation: BackendOperation;
  /** Which call of that operation, from 1 on. */
  readonly call: number;
  /** Undefined for calls that concern no single slot. */
  readonly slot: number | undefined;
  /** The fault that hit it. */
  readonly fault: BackendFault | undefined;
}

export class FaultyBackend implements StoreBackend {
  /** All calls so far. */
  readonly trace: BackendCall[] = [];
  readonly inner: StoreBackend;
  readonly #faults: BackendFault[];
  readonly #calls = new Map<BackendOperation, number>();

  constructor(inner: StoreBackend, faults: readonly BackendFault[] = []) {
    this.inner = inner;
    this.#faults = [...faults];
  }

  /** Adds a fault; its `call` counts from now on. */
  plan(fault: BackendFault): void {
    const before = this.#calls.get(fault.operation) ?? 0;
    this.#faults.push({ ...fault, call: before + (fault.call ?? 1) });
  }

  /** From now on nothing fails. */
  heal(): void {
    this.#faults.length = 0;
  }

  #count(operation: BackendOperation, slot?: number): BackendFault | undefined {
    const call = (this.#calls.get(operation) ?? 0) + 1;
    this.#calls.set(operation, call);
    const fault = this.#faults.find((candidate) => {
      const first = candidate.call ?? 1;
      const hits = candidate.forEver === true ? call >= first : call === first;
      return candidate.operation === operation && hits;
    });
    this.trace.push({ operation, call, slot, fault });
    return fault;
  }

  #error(fault: BackendFault, operation: BackendOperation, slot?: number): WeirpoolError {
    const errno = fault.errno ?? 'EIO';
    const late = fault.effect === 'failAfter' || operation === 'sync';
    const outcome = fault.outcome ?? (late ? 'unknown' : 'not_applied');
    const cause = Object.assign(new Error(`${errno}: injected into ${operation}`), { code: errno });
    return new WeirpoolError('STORE_IO', `${operation} failed as planned (${errno}).`, {
      cause,
      outcome,
      details: { operation, errno, ...(slot === undefined ? {} : { slot }) },
    });
  }

  /** Runs a synchronous call with its fault. */
  #run<T>(operation: BackendOperation, slot: number | undefined, call: () => T): T {
    const fault = this.#count(operation, slot);
    if (fault?.delayMs !== undefined) nap(fault.delayMs);
    const effect = fault === undefined ? undefined : (fault.effect ?? 'fail');
    if (fault !== undefined && effect === 'fail') throw this.#error(fault, operation, slot);
    const result = call();
    if (fault !== undefined && effect === 'failAfter') throw this.#error(fault, operation, slot);
    return result;
  }

  async #runAsync<T>(operation: BackendOperation, call: () => Promise<T>): Promise<T> {
    const fault = this.#count(operation);
    if (fault?.delayMs !== undefined) await pause(fault.delayMs);
    const effect = fault === undefined ? undefined : (fault.effect ?? 'fail');
    if (fault !== undefined && effect === 'fail') throw this.#error(fault, operation);
    const result = await call();
    if (fault !== undefined && effect === 'failAfter') throw this.#error(fault, operation);
    return result;
  }

  open(): Promise<StoreImage> {
    return this.#runAsync('open', () => this.inner.open());
  }

  handle(): BackendHandle {
    return this.inner.handle();
  }

  readSlot(slot: number, target: Uint8Array): void {
    this.#run('readSlot', slot, () => this.inner.readSlot(slot, target));
    const fault = this.trace.at(-1)?.fault;
    if (fault?.effect !== 'flip') return;
    const bit = fault.bit ?? 0;
    const index = Math.floor(bit / 8) % target.length;
    target[index] = (target[index] as number) ^ (1 << (bit % 8));
  }

  writeSlot(slot: number, source: Uint8Array): void {
    let torn: BackendFault | undefined;
    this.#run('writeSlot', slot, () => {
      const fault = this.trace.at(-1)?.fault;
      torn = fault?.effect === 'tear' ? fault : undefined;
      this.inner.writeSlot(slot, torn === undefined ? source : halfOf(source));
    });
    if (torn !== undefined) throw this.#error(torn, 'writeSlot', slot);
  }

  async writeSlots(writes: readonly SlotWrite[]): Promise<readonly SlotWriteResult[]> {
    return this.#runAsync('writeSlots', () =>
      Promise.all(writes.map((write) => this.#writeOne(write))),
    );
  }

  async #writeOne({ slot, source }: SlotWrite): Promise<SlotWriteResult> {
    const fault = this.#count('writeSlot', slot);
    if (fault?.delayMs !== undefined) await pause(fault.delayMs);
    const effect = fault === undefined ? 'delay' : (fault.effect ?? 'fail');
    if (fault !== undefined && effect === 'fail') {
      return { slot, error: this.#error(fault, 'writeSlot', slot) };
    }
    const bytes = effect === 'tear' ? halfOf(source) : source;
    const [result] = await this.inner.writeSlots([{ slot, source: bytes }]);
    const hit = effect === 'tear' || effect === 'failAfter';
    const error = fault !== undefined && hit ? this.#error(fault, 'writeSlot', slot) : undefined;
    return { slot, error: error ?? result?.error };
  }

  sync(): void {
    this.#run('sync', undefined, () => this.inner.sync());
  }

  commit(change: StoreChange): void {
    this.#run('commit', undefined, () => this.inner.commit(change));
  }

  usage(): BackendUsage {
    return this.inner.usage();
  }

  close(clean?: boolean): Promise<void> {
    return this.#runAsync('close', () => this.inner.close(clean));
  }
}

/** What a torn write leaves in a slot: the first half of the bytes, and something else. */
function halfOf(source: Uint8Array): Uint8Array {
  const half = new Uint8Array(source.length).fill(0xa5);
  half.set(source.subarray(0, source.length / 2));
  return half;
}

function nap(delayMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs);
}
