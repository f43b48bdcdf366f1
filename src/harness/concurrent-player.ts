/**
 * What one thread does to the map in the mode `concurrent`, and how it notes it.
 *
 * Owns:        its notes and its random numbers. The clock is shared: a counter that goes on by one
 *              with every call and every return.
 */
import {
  DELETE,
  GET,
  HOT_KEYS,
  isHot,
  KEYS,
  keyAt,
  keyNumber,
  NOTHING,
  type Notes,
  newValue,
  PUT,
  SWAP,
  valueNumber,
  valueText,
} from './concurrent-history.ts';
import type { ConcurrentMap, ScanRange } from './map-subject.ts';
import { Random } from './random.ts';

/** Words that the threads of a run share. */
export const CLOCK = 0;
export const GO = 1;
export const STOP = 2;
export const WORDS = 4;

const HOTTEST = 4;
const WRONG_MAX = 5;
const RETRIES_MAX = 200;

export interface PlayerOptions {
  readonly thread: number;
  readonly seed: number;
  readonly words: Int32Array;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | undefined)?.code;
}

/** Does it, again where another thread was in the way for too long. */
function insist<T>(action: () => T): T {
  for (let retry = 0; ; retry++) {
    try {
      return action();
    } catch (error) {
      if (codeOf(error) !== 'OP_RESTART' || retry === RETRIES_MAX) throw error;
    }
  }
}

export class Player {
  readonly #map: ConcurrentMap;
  readonly #random: Random;
  readonly #words: Int32Array;
  readonly #thread: number;
  readonly #operations: number[] = [];
  readonly #scans: number[] = [];
  readonly #wrong: string[] = [];
  /** The value of each key that this thread has seen last. */
  readonly #seen = new Map<number, number>();
  #values = 0;

  constructor(map: ConcurrentMap, { thread, seed, words }: PlayerOptions) {
    this.#map = map;
    this.#thread = thread;
    this.#words = words;
    this.#random = new Random(seed);
  }

  get notes(): Notes {
    return {
      thread: this.#thread,
      operations: Float64Array.from(this.#operations),
      scans: Float64Array.from(this.#scans),
      wrong: this.#wrong,
    };
  }

  #now(): number {
    return Atomics.add(this.#words, CLOCK, 1);
  }

  /** Does so many operations, unless it is stopped, or has seen enough that is wrong. */
  play(count: number): void {
    for (let n = 0; n < count && Atomics.load(this.#words, STOP) === 0; n++) {
      if (this.#wrong.length >= WRONG_MAX) return;
      this.#step(this.#random.float());
    }
  }

  #step(chance: number): void {
    if (chance < 0.2) this.get(this.#key());
    else if (chance < 0.3) this.#getSteady(this.#random.int(KEYS));
    else if (chance < 0.55) this.#put(this.#key());
    else if (chance < 0.67) this.#delete(this.#key());
    else if (chance < 0.85) this.#swap(this.#key());
    else if (chance < 0.95) this.#batch();
    else if (chance < 0.999) this.#scan(false);
    else this.#scan(true);
  }

  #key(): number {
    const end = this.#random.chance(0.5) ? HOTTEST : HOT_KEYS.length;
    return HOT_KEYS[this.#random.int(end)] as number;
  }

  #newValue(): number {
    return newValue(this.#thread, this.#values++);
  }

  #note(...numbers: readonly [number, number, number, number, number, number, number]): void {
    this.#operations.push(...numbers);
  }

  #complain(text: string): void {
    if (this.#wrong.length < WRONG_MAX) this.#wrong.push(text);
  }

  #numberOf(key: number, text: string | undefined): number {
    const number = valueNumber(text);
    if (number !== undefined) return number;
    this.#complain(`${keyAt(key)} has a value that nobody has written: ${text?.slice(0, 60)}`);
    return NOTHING;
  }

  get(key: number): number {
    const invoked = this.#now();
    const text = insist(() => this.#map.get(keyAt(key)));
    const responded = this.#now();
    const value = this.#numberOf(key, text);
    this.#note(GET, key, value, NOTHING, invoked, responded, 0);
    this.#seen.set(key, value);
    return value;
  }

  /** A key that nobody changes, in leaves that others split and merge: it is never absent. */
  #getSteady(key: number): void {
    if (isHot(key)) return;
    const text = insist(() => this.#map.get(keyAt(key)));
    if (text === valueText(key)) return;
    this.#complain(`${keyAt(key)}, which is there all the time, is ${text?.slice(0, 60)}`);
  }

  #put(key: number): void {
    const value = this.#newValue();
    const text = valueText(value);
    const invoked = this.#now();
    const seq = insist(() => this.#map.put(keyAt(key), text));
    this.#note(PUT, key, value, NOTHING, invoked, this.#now(), seq);
    this.#seen.set(key, value);
  }

  #delete(key: number): void {
    const invoked = this.#now();
    const seq = insist(() => this.#map.delete(keyAt(key)));
    this.#note(DELETE, key, NOTHING, NOTHING, invoked, this.#now(), seq ?? 0);
    this.#seen.set(key, NOTHING);
  }

  #swap(key: number): void {
    const { compareAndSwap } = this.#map;
    if (compareAndSwap === undefined) {
      this.#put(key);
      return;
    }
    // With a value that was seen just now it mostly succeeds; with an older one it must not.
    const known = this.#random.chance(0.7) ? undefined : this.#seen.get(key);
    const expected = known ?? this.get(key);
    const isDelete = expected !== NOTHING && this.#random.chance(0.2);
    const value = isDelete ? NOTHING : this.#newValue();
    const textOf = (number: number) => (number === NOTHING ? undefined : valueText(number));
    const [old, text] = [textOf(expected), textOf(value)];
    const invoked = this.#now();
    const seq = insist(() => compareAndSwap.call(this.#map, keyAt(key), old, text));
    this.#note(SWAP, key, value, expected, invoked, this.#now(), seq ?? 0);
    if (seq !== undefined) this.#seen.set(key, value);
  }

  #batch(): void {
    const { putAll } = this.#map;
    const [first, second] = [this.#key(), this.#key()];
    if (putAll === undefined || first === second) {
      this.#put(first);
      return;
    }
    const values = new Map([first, second].map((key) => [key, this.#newValue()]));
    const entries = new Map([...values].map(([key, value]) => [keyAt(key), valueText(value)]));
    const invoked = this.#now();
    const seq = insist(() => putAll.call(this.#map, entries));
    const responded = this.#now();
    for (const [key, value] of values)
      this.#note(PUT, key, value, NOTHING, invoked, responded, seq);
  }

  // --- scans -----------------------------------------------------------------------------------------

  #scan(consistent: boolean): void {
    const { hasConsistentScans = false } = this.#map;
    const span = this.#random.pick([12, 12, 40, KEYS]);
    const from = this.#random.int(KEYS - span + 1);
    const reverse = this.#random.chance(0.3);
    const entriesMax = this.#random.chance(0.2) ? 1 + this.#random.int(span) : KEYS;
    this.scan(from, from + span, {
      reverse,
      consistent: consistent && hasConsistentScans,
      entriesMax,
    });
  }

  /** Scans the keys from `from` up to, but not including, `to`. */
  scan(
    from: number,
    to: number,
    options: Omit<ScanRange, 'from' | 'to'> & { readonly entriesMax: number },
  ): void {
    const { scan } = this.#map;
    if (scan === undefined) return;
    const { reverse, consistent, entriesMax } = options;
    const range = { from: keyAt(from), to: keyAt(to), reverse, consistent };
    const invoked = this.#now();
    const entries = insist(() => scan.call(this.#map, range));
    const called = this.#now();
    const seen: number[] = [];
    let last = reverse ? to : from - 1;
    let count = 0;
    // Changes of its own, in the middle of the scan, let it meet what it has not read yet.
    const busy = this.#random.chance(0.2);
    for (const [text, value] of entries) {
      const key = keyNumber(text);
      const given = this.#now();
      if (key === undefined || key < from || key >= to) {
        this.#complain(`a scan from ${range.from} to ${range.to} gives ${text}`);
        break;
      }
      if (reverse ? key >= last : key <= last) {
        this.#complain(`a scan gives ${text} behind ${keyAt(last)}`);
        break;
      }
      this.#checkBetween(last, key, reverse);
      last = key;
      this.#addEntry(seen, key, value, given);
      if (++count === entriesMax) break;
      if (busy && this.#random.chance(0.05)) this.#put(this.#key());
    }
    const isWhole = count < entriesMax;
    if (isWhole) this.#checkBetween(last, reverse ? from - 1 : to, reverse);
    const first = isWhole || !reverse ? from : last;
    const behind = isWhole || reverse ? to : last + 1;
    const flag = consistent ? 1 : 0;
    this.#scans.push(flag, first, behind, invoked, called, this.#now(), seen.length / 3, ...seen);
  }

  /** Keys that nobody changes must not be missing. */
  #checkBetween(last: number, key: number, reverse: boolean): void {
    for (let n = reverse ? key + 1 : last + 1; n < (reverse ? last : key); n++) {
      if (!isHot(n)) this.#complain(`a scan skips ${keyAt(n)}, which is there all the time`);
    }
  }

  #addEntry(seen: number[], key: number, text: string, given: number): void {
    const value = this.#numberOf(key, text);
    if (isHot(key)) seen.push(key, value, given);
    else if (value !== key) this.#complain(`${keyAt(key)} was never changed, and is ${value} now`);
  }
}
