/**
 * The plain model of a caching store: arrays and maps of texts, no structure, nothing asynchronous.
 * Keys and values are latin1 texts, whose order is that of the bytes.
 */
import { ENTRY_OVERHEAD_BYTES } from '../../src/streams/index.ts';

export interface PlainFlushed {
  readonly key: string;
  readonly value: string | undefined;
  readonly old: string | undefined;
}

interface Cached {
  readonly key: string;
  value: string | undefined;
  isDirty: boolean;
}

export interface PlainRange {
  readonly low?: string | undefined;
  readonly high?: string | undefined;
  readonly reverse?: boolean;
  readonly isHit?: boolean;
}

export class PlainStore {
  readonly inner = new Map<string, string>();
  /** The one used least recently first. */
  #cached: Cached[] = [];
  /** The order in which dirty keys are flushed. */
  #dirty: string[] = [];
  readonly #bytesMax: number;
  /** What each flush has written, in order. */
  readonly told: PlainFlushed[][] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get dirtyCount(): number {
    return this.#dirty.length;
  }

  get cachedCount(): number {
    return this.#cached.length;
  }

  get bytes(): number {
    return this.#cached.reduce((sum, { key, value = '' }) => {
      return sum + key.length + value.length + ENTRY_OVERHEAD_BYTES;
    }, 0);
  }

  get #isOver(): boolean {
    return this.bytes > this.#bytesMax;
  }

  #find(key: string): Cached | undefined {
    return this.#cached.find((cached) => cached.key === key);
  }

  #use(cached: Cached): void {
    this.#cached = [...this.#cached.filter((other) => other !== cached), cached];
  }

  /** What is there, in order. */
  merged(): [string, string][] {
    const all = new Map<string, string | undefined>(this.inner);
    for (const { key, value } of this.#cached) all.set(key, value);
    const there = [...all].filter((entry): entry is [string, string] => entry[1] !== undefined);
    return there.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  range({ low = '', high, reverse = false, isHit = true }: PlainRange = {}): [string, string][] {
    const isIn = (key: string): boolean => key >= low && (high === undefined || key < high);
    if (isHit) {
      const hits = this.#cached.filter(({ key }) => isIn(key));
      hits.sort((a, b) => (a.key < b.key ? -1 : 1));
      if (reverse) hits.reverse();
      for (const hit of hits) this.#use(hit);
    }
    const found = this.merged().filter(([key]) => isIn(key));
    return reverse ? found.reverse() : found;
  }

  get(key: string, isKept: boolean): string | undefined {
    const cached = this.#find(key);
    if (cached !== undefined) {
      this.#use(cached);
      return cached.value;
    }
    const value = this.inner.get(key);
    if (!isKept || value === undefined) return value;
    this.#cached.push({ key, value, isDirty: false });
    this.#evictClean();
    if (this.#isOver) this.#cached = this.#cached.filter((other) => other.key !== key);
    return value;
  }

  #evictClean(): void {
    while (this.#isOver && this.#cached[0]?.isDirty === false) this.#cached.shift();
  }

  put(key: string, value: string | undefined): void {
    const cached = this.#find(key) ?? { key, value, isDirty: true };
    cached.value = value;
    cached.isDirty = true;
    this.#use(cached);
    this.#dirty = [...this.#dirty.filter((other) => other !== key), key];
    for (this.#evictClean(); this.#isOver; this.#evictClean()) this.#flush(this.#cached[0]?.key);
  }

  flush(): PlainFlushed[] {
    const flushed = this.#flush(undefined);
    this.#evictClean();
    return flushed;
  }

  #flush(victim: string | undefined): PlainFlushed[] {
    const order =
      victim === undefined
        ? this.#dirty
        : [victim, ...this.#dirty.filter((other) => other !== victim)];
    const flushed = order.map((key) => {
      const value = this.#find(key)?.value;
      const old = this.inner.get(key);
      if (value === undefined) this.inner.delete(key);
      else this.inner.set(key, value);
      return { key, value, old };
    });
    this.#dirty = [];
    this.#cached = this.#cached.filter(({ value }) => value !== undefined);
    for (const cached of this.#cached) cached.isDirty = false;
    if (flushed.length > 0) this.told.push(flushed);
    return flushed;
  }

  clear(): void {
    this.inner.clear();
    this.forget();
  }

  /** The end of the process: what was not flushed is gone. */
  forget(): void {
    this.#cached = [];
    this.#dirty = [];
  }

  purge(isGone: (key: string) => boolean): number {
    const gone = [...this.inner.keys()].filter(
      (key) => isGone(key) && this.#find(key)?.isDirty !== true,
    );
    for (const key of gone) this.inner.delete(key);
    this.#cached = this.#cached.filter(({ key }) => !gone.includes(key));
    return gone.length;
  }
}
