/**
 * Epochs: which snapshots of a level database are open in which thread, and who is writing.
 *
 * Owns:        the control words (a SharedArrayBuffer that goes with the handle): the gate, the epoch, the
 *              rows of the threads.
 * Invariants:  V1   a writer that finds the gate closed has not begun, and whoever closed it waits for
 *                   those that have: while the epoch or the base changes, nobody is inside a write;
 *              V2   an epoch that has been written under (`dirty`) is never given to a new snapshot;
 *              V3   while a snapshot is open, `live` is set, and its epoch stands in its thread's row;
 *              V4   what the gate guards is changed only by its holder, each store leaving it usable: a
 *                   holder that dies is followed by whoever waits, and its row is dropped;
 *              V5   epochs begin anew only while nobody clears or sweeps by the old ones.
 * Threads:     one object for each thread and database. Waiting is bounded, with a look for the dead and at
 *              the pool's status each time.
 * Source:      the two flags (my own `active`, everybody's gate) are Dekker's: each side sets its own before
 *              it reads the other one, and Atomics are sequentially consistent (ECMAScript, memory model).
 */
import { randomFillSync } from 'node:crypto';
import { SLOTS_MAX } from '../generated/layout.ts';
import type { PoolCore } from '../pool/core.ts';

// Words of the header.
/** 0: open; else the token of who has closed it. */
export const GATE = 0;
const EPOCH = 1;
const DIRTY = 2;
const LIVE = 3;
const BASE = 4;
const SAVED = 5;
const KEPT = 6;
const SWEEPER = 7;
/** Random words, by which one thread knows what it was sent twice. */
const IDENTITY = 8;
/** Base below which all is cleared: who was to do it may have died, or failed. */
const CLEARED = 12;
/** Rows that have been used: those behind are as they were made. Grows with the gate held. */
const ROWS_USED = 13;
const IDENTITY_WORDS = 4;
const ROWS = 32;
// Words of a row; a row is two cache lines, so that writers of different threads share none.
const ROW_WORDS = 32;
const R_STATE = 0;
const R_ACTIVE = 1;
const R_COUNT = 2;
const R_OVERFLOW = 3;
/** The thread is to clear what was saved, or is at it. */
const R_CLEARING = 4;
const R_EPOCHS = 5;
/** Epochs that a row can name; of a thread that has more, all from the oldest on count as open. */
const ROW_EPOCHS: number = ROW_WORDS - R_EPOCHS;

/** Longest wait before a look around, in ms. */
const WAIT_MS = 5;
/** Looks at a flag before the thread is parked: a short write takes a few microseconds. */
const SPINS = 200;
const SLOT_RADIX = 128;
/** Beyond it epochs begin anew as soon as no snapshot is open; far below what an Int32 can hold. */
export const EPOCH_MAX: number = 2 ** 30;

/** The words of a new database. */
export function makeVersionWords(): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(
    (ROWS + SLOTS_MAX * ROW_WORDS) * Int32Array.BYTES_PER_ELEMENT,
  );
  const words = new Int32Array(buffer);
  words[EPOCH] = 1;
  words.set(randomFillSync(new Int32Array(IDENTITY_WORDS)), IDENTITY);
  return buffer;
}

/** Whether both are the same memory; each message makes another object of it. */
export function areSameWords(a: SharedArrayBuffer, b: SharedArrayBuffer): boolean {
  if (a === b) return true;
  const [left, right] = [new Int32Array(a), new Int32Array(b)];
  for (let word = IDENTITY; word < IDENTITY + IDENTITY_WORDS; word++) {
    if (left[word] !== right[word]) return false;
  }
  return true;
}

/** What a thread that has closed the last snapshot, or one of many, is to do, and to note then. */
export interface Closed {
  /** Everything saved under a base below this one is needed no more; 0: nothing is to be cleared. */
  readonly clearBelow: number;
}

const NOTHING_TO_CLEAR: Closed = { clearBelow: 0 };

/** Which epochs may be read, seen at one moment. */
export interface OpenEpochs {
  /** The epoch of that moment: what is saved under it, or later, is not judged by this list. */
  readonly epoch: number;
  /** Open epochs in order. */
  readonly epochs: readonly number[];
  /** All epochs from here on count as open. */
  readonly from: number;
}

export class Versions {
  readonly shared: SharedArrayBuffer;
  readonly #core: PoolCore;
  readonly #words: Int32Array;
  readonly #me: number;
  readonly #row: number;
  /** Index of this thread's `active`. */
  readonly #active: number;
  readonly #token: number;
  /** Open snapshots of this thread by their epochs. */
  readonly #open = new Map<number, number>();
  #newest = 0;

  constructor(core: PoolCore, shared: SharedArrayBuffer) {
    this.#core = core;
    this.shared = shared;
    this.#words = new Int32Array(shared);
    this.#me = core.me;
    this.#row = ROWS + this.#me * ROW_WORDS;
    this.#active = this.#row + R_ACTIVE;
    const state = core.control.attachedState(this.#me) | 0;
    // With the state's generation: a thread that gets the same slot later has another token.
    this.#token = (Math.imul(state, SLOT_RADIX) + this.#me + 1) | 0;
    this.#lock();
    try {
      this.#dropRow(this.#me);
      Atomics.store(this.#words, this.#row + R_STATE, state);
      if (this.#rowsUsed <= this.#me) Atomics.store(this.#words, ROWS_USED, this.#me + 1);
    } finally {
      this.#unlock();
    }
  }

  get #rowsUsed(): number {
    return Atomics.load(this.#words, ROWS_USED);
  }

  /** Gives the row back. Open snapshots of this thread end. */
  leave(): Closed {
    this.#open.clear();
    this.#newest = 0;
    this.#lock();
    try {
      this.#publish();
      return this.#recount();
    } finally {
      this.#unlock();
    }
  }

  // --- writing -------------------------------------------------------------------------------------------

  /** Begins a write. Between this and `exit` the epoch and `isLive` stay as they are. */
  enter(): void {
    const words = this.#words;
    Atomics.store(words, this.#active, 1);
    if (Atomics.load(words, GATE) !== 0) this.#enterLater();
  }

  /** Ends a write. */
  exit(): void {
    const words = this.#words;
    Atomics.store(words, this.#active, 0);
    if (Atomics.load(words, GATE) !== 0) Atomics.notify(words, this.#active);
  }

  #enterLater(): void {
    const words = this.#words;
    try {
      do {
        this.exit();
        this.#awaitGate();
        Atomics.store(words, this.#active, 1);
      } while (Atomics.load(words, GATE) !== 0);
    } catch (error) {
      this.exit();
      throw error;
    }
  }

  /** Whether a snapshot may be open: then what a write replaces is to be saved before. */
  get isLive(): boolean {
    return Atomics.load(this.#words, LIVE) !== 0;
  }

  /** Under which epoch a write saves; it says so before it changes anything. Inside a write only. */
  noteDirty(): number {
    const words = this.#words;
    const epoch = Atomics.load(words, EPOCH);
    // All who are inside have the same epoch (V1), so nobody puts it back.
    if (Atomics.load(words, DIRTY) !== epoch) Atomics.store(words, DIRTY, epoch);
    return epoch;
  }

  noteSaved(entries: number): void {
    Atomics.add(this.#words, SAVED, entries);
  }

  // --- reading -------------------------------------------------------------------------------------------

  /**
   * Whether nothing was written since the epoch began. Asked after reading: a write says that it is one
   * before it changes anything.
   */
  isClean(epoch: number): boolean {
    return Atomics.load(this.#words, DIRTY) < epoch;
  }

  /** Prefix of everything that is saved now; it stays the same while a snapshot is open. */
  get base(): number {
    return Atomics.load(this.#words, BASE);
  }

  // --- snapshots -----------------------------------------------------------------------------------------

  /** Opens a snapshot of this moment: its epoch. Each call is one for `close`. */
  open(): number {
    const words = this.#words;
    const newest = this.#newest;
    // The thread's own open epoch is the present one, and nothing was written under it: one more of it.
    if (newest !== 0 && Atomics.load(words, EPOCH) === newest && this.isClean(newest)) {
      this.#open.set(newest, (this.#open.get(newest) as number) + 1);
      return newest;
    }
    this.#lock();
    try {
      this.#drain();
      const now = Atomics.load(words, EPOCH);
      const epoch = Atomics.load(words, DIRTY) >= now ? now + 1 : now;
      this.#open.set(epoch, (this.#open.get(epoch) ?? 0) + 1);
      this.#newest = epoch;
      // In this order: an epoch that nobody is known to read may be cleared away.
      this.#publish();
      Atomics.store(words, LIVE, 1);
      Atomics.store(words, EPOCH, epoch);
      return epoch;
    } finally {
      this.#unlock();
    }
  }

  close(epoch: number): Closed {
    const count = this.#open.get(epoch);
    if (count === undefined) return NOTHING_TO_CLEAR; // `leave` has ended it
    if (count > 1) {
      this.#open.set(epoch, count - 1);
      return NOTHING_TO_CLEAR;
    }
    this.#open.delete(epoch);
    this.#newest = 0;
    for (const other of this.#open.keys()) this.#newest = Math.max(this.#newest, other);
    this.#lock();
    try {
      this.#publish();
      return this.#recount();
    } finally {
      this.#unlock();
    }
  }

  /** Writes this thread's open epochs into its row; the gate is held. */
  #publish(): void {
    const words = this.#words;
    const row = this.#row;
    const epochs = [...this.#open.keys()].sort((a, b) => a - b);
    const overflow = epochs.length > ROW_EPOCHS;
    const count = overflow ? 1 : epochs.length;
    for (let index = 0; index < count; index++) {
      Atomics.store(words, row + R_EPOCHS + index, epochs[index] as number);
    }
    Atomics.store(words, row + R_OVERFLOW, overflow ? 1 : 0);
    Atomics.store(words, row + R_COUNT, count);
  }

  /** Looks whether a snapshot is open anywhere; if none is, what was saved is given up. Gate held. */
  #recount(): Closed {
    const words = this.#words;
    for (let slot = 0, end = this.#rowsUsed; slot < end; slot++) {
      if (Atomics.load(words, ROWS + slot * ROW_WORDS + R_COUNT) === 0) continue;
      if (this.#isAlive(slot)) return NOTHING_TO_CLEAR;
      this.#dropRow(slot);
    }
    Atomics.store(words, LIVE, 0);
    if (Atomics.load(words, DIRTY) >= Math.max(Atomics.load(words, BASE), 1)) {
      // A writer that has seen `live` saves under the base and the epoch that it has found (V1).
      this.#drain();
      const next = Atomics.load(words, EPOCH) + 1;
      Atomics.store(words, BASE, next);
      Atomics.store(words, EPOCH, next);
      Atomics.store(words, SAVED, 0);
      Atomics.store(words, KEPT, 0);
    }
    const base = Atomics.load(words, BASE);
    if (Atomics.load(words, CLEARED) >= base) return NOTHING_TO_CLEAR;
    Atomics.store(words, this.#row + R_CLEARING, 1);
    return { clearBelow: base };
  }

  /**
   * Ends what `Closed` has asked for: everything below a base is cleared, or (0) it could not be. Until
   * somebody has done it, `close` asks for it again.
   */
  endClearing(base: number): void {
    const words = this.#words;
    for (;;) {
      const before = Atomics.load(words, CLEARED);
      if (before >= base) break;
      if (Atomics.compareExchange(words, CLEARED, before, base) === before) break;
    }
    Atomics.store(words, this.#row + R_CLEARING, 0);
  }

  /** V5: whether somebody clears or sweeps who is still there; the gate is held. */
  #isBeingCleared(): boolean {
    const words = this.#words;
    const sweeper = Atomics.load(words, SWEEPER);
    if (sweeper !== 0 && this.#holds(sweeper)) return true;
    for (let slot = 0, end = this.#rowsUsed; slot < end; slot++) {
      const isAt = Atomics.load(words, ROWS + slot * ROW_WORDS + R_CLEARING) !== 0;
      if (isAt && this.#isAlive(slot)) return true;
    }
    return false;
  }

  /**
   * Begins epochs anew when their number has grown large: no snapshot is open, nobody writes or clears,
   * and `clearAll` has emptied the history meanwhile. Else a later call does; there is room for as many
   * epochs again.
   */
  restartIfDue(clearAll: () => void): void {
    const words = this.#words;
    if (Atomics.load(words, EPOCH) < EPOCH_MAX) return;
    this.#lock();
    try {
      const isInUse = this.isLive || this.#isBeingCleared();
      if (isInUse || Atomics.load(words, EPOCH) < EPOCH_MAX) return;
      this.#drain();
      clearAll();
      Atomics.store(words, DIRTY, 0);
      Atomics.store(words, CLEARED, 0);
      Atomics.store(words, BASE, 0);
      Atomics.store(words, EPOCH, 1);
    } finally {
      this.#unlock();
    }
  }

  // --- the dead ------------------------------------------------------------------------------------------

  /** Lets go what threads had open that are gone. Called now and then while there is something to save. */
  dropDead(): Closed {
    this.#core.thread.reapNowAndThen();
    this.#lock();
    try {
      return this.isLive ? this.#recount() : NOTHING_TO_CLEAR;
    } finally {
      this.#unlock();
    }
  }

  #isAlive(slot: number): boolean {
    const state = Atomics.load(this.#words, ROWS + slot * ROW_WORDS + R_STATE);
    return state !== 0 && (this.#core.control.attachedState(slot) | 0) === state;
  }

  /** Gate held. */
  #dropRow(slot: number): void {
    const row = ROWS + slot * ROW_WORDS;
    Atomics.store(this.#words, row + R_STATE, 0);
    Atomics.store(this.#words, row + R_COUNT, 0);
    Atomics.store(this.#words, row + R_OVERFLOW, 0);
    Atomics.store(this.#words, row + R_CLEARING, 0);
    Atomics.store(this.#words, row + R_ACTIVE, 0);
  }

  // --- sweeping ------------------------------------------------------------------------------------------

  /**
   * Takes the right to sweep, if so much was saved since the last time that it is worth it: as much as was
   * left then, and `savedMin` at least. The holder's death is noticed by who asks next.
   */
  beginSweep(savedMin: number): boolean {
    const words = this.#words;
    if (Atomics.load(words, SAVED) < Math.max(savedMin, Atomics.load(words, KEPT))) return false;
    const holder = Atomics.load(words, SWEEPER);
    if (holder !== 0 && this.#holds(holder)) return false;
    if (Atomics.compareExchange(words, SWEEPER, holder, this.#token) !== holder) return false;
    Atomics.store(words, SAVED, 0);
    return true;
  }

  endSweep(kept: number): void {
    Atomics.store(this.#words, KEPT, kept);
    Atomics.compareExchange(this.#words, SWEEPER, this.#token, 0);
  }

  openEpochs(): OpenEpochs {
    const words = this.#words;
    this.#lock();
    try {
      const epochs = new Set<number>();
      let from = Number.POSITIVE_INFINITY;
      for (let slot = 0, end = this.#rowsUsed; slot < end; slot++) {
        const row = ROWS + slot * ROW_WORDS;
        const count = Atomics.load(words, row + R_COUNT);
        if (count === 0 || !this.#isAlive(slot)) continue;
        for (let at = 0; at < count; at++) epochs.add(Atomics.load(words, row + R_EPOCHS + at));
        const overflows = Atomics.load(words, row + R_OVERFLOW) !== 0;
        if (overflows) from = Math.min(from, Atomics.load(words, row + R_EPOCHS));
      }
      const sorted = [...epochs].sort((a, b) => a - b);
      return { epoch: Atomics.load(words, EPOCH), epochs: sorted, from };
    } finally {
      this.#unlock();
    }
  }

  // --- the gate ------------------------------------------------------------------------------------------

  #lock(): void {
    const words = this.#words;
    for (;;) {
      const holder = Atomics.compareExchange(words, GATE, 0, this.#token);
      if (holder === 0) return;
      if (this.#awaitChange(GATE, holder)) continue;
      // Somebody died holding it; what it had changed is usable at every step (V4).
      if (this.#holds(holder)) continue;
      if (Atomics.compareExchange(words, GATE, holder, this.#token) === holder) return;
    }
  }

  #unlock(): void {
    Atomics.store(this.#words, GATE, 0);
    Atomics.notify(this.#words, GATE);
  }

  /** Whether the thread with that token may still be there. */
  #holds(token: number): boolean {
    const slot = (token & (SLOT_RADIX - 1)) - 1;
    if (slot < 0 || slot >= SLOTS_MAX) return false;
    const state = this.#core.control.attachedState(slot) | 0;
    return state !== 0 && ((Math.imul(state, SLOT_RADIX) + slot + 1) | 0) === token;
  }

  /** Waits until the gate is open, or its holder is dead. */
  #awaitGate(): void {
    for (;;) {
      const holder = Atomics.load(this.#words, GATE);
      if (holder === 0) return;
      if (this.#awaitChange(GATE, holder) || this.#holds(holder)) continue;
      this.#lock();
      this.#unlock();
    }
  }

  /** V1: waits until nobody is inside a write; the gate is held. */
  #drain(): void {
    const words = this.#words;
    for (let slot = 0, end = this.#rowsUsed; slot < end; slot++) {
      const active = ROWS + slot * ROW_WORDS + R_ACTIVE;
      if (slot === this.#me) continue;
      while (Atomics.load(words, active) !== 0) {
        if (this.#awaitChange(active, 1) || this.#isAlive(slot)) continue;
        this.#dropRow(slot);
      }
    }
  }

  /**
   * Waits a moment for a word to have another value: whether it has.
   *
   * @throws {WeirpoolError} `POISONED`, `POOL_CLOSED`.
   */
  #awaitChange(index: number, seen: number): boolean {
    const words = this.#words;
    for (let spin = 0; spin < SPINS; spin++) {
      if (Atomics.load(words, index) !== seen) return true;
    }
    Atomics.wait(words, index, seen, WAIT_MS);
    if (Atomics.load(words, index) !== seen) return true;
    this.#core.thread.lookAround();
    return false;
  }
}
