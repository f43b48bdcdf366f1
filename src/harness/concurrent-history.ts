/**
 * Histories of the mode `concurrent`: how a thread notes what it did, keys and values that check
 * themselves, and what is made of all threads' notes.
 *
 * Invariants:  a value is written once: its number says by whom, and its text follows from it.
 */
import { checkCuts, checkOrder, type SeenChange, type SeenCut } from './cuts.ts';
import { checkRegister, type RegisterAction, type RegisterOperation } from './linearizability.ts';

/** Keys, of which those in between are never changed: they keep those that are apart. */
export const KEYS = 400;
const HOT_EVERY = 4;
export const HOT_KEYS: readonly number[] = Array.from(
  { length: KEYS / HOT_EVERY },
  (_, n) => n * HOT_EVERY + 1,
);
const HOT = new Set(HOT_KEYS);
/** Number of no value. */
export const NOTHING = -1;
const SHORT_MAX = 60;
const LONG_MAX = 900;
const LONG_EVERY = 3;

const keys = Array.from({ length: KEYS + 1 }, (_, n) => {
  return `key/${String(n * 37).padStart(6, '0')}${n % 5 === 0 ? `/${'x'.repeat(n % 60)}` : ''}`;
});
const numbers = new Map(keys.map((key, n) => [key, n]));

/** The n-th key in order; one more than there are is a bound. */
export function keyAt(n: number): string {
  return keys[n] as string;
}

export function isHot(key: number): boolean {
  return HOT.has(key);
}

export function keyNumber(key: string): number | undefined {
  return numbers.get(key);
}

/** The value of a number: keys that are never changed are long, others mostly short. */
export function valueText(number: number): string {
  const isLong = number < KEYS ? !isHot(number) : number % LONG_EVERY === 0;
  const bytes = Math.imul(number + 1, 0x9e3779b1) >>> 0;
  const head = `${number}:`;
  return head.padEnd(head.length + (bytes % (isLong ? LONG_MAX : SHORT_MAX)), String(number % 10));
}

/** The number of a value; undefined if it is none that was ever written. */
export function valueNumber(text: string | undefined): number | undefined {
  if (text === undefined) return NOTHING;
  const number = Number.parseInt(text, 10);
  return valueText(number) === text ? number : undefined;
}

/** A number for each value that a thread writes; those below `KEYS` are there before. */
export function newValue(thread: number, count: number): number {
  return (thread + 1) * 10_000_000 + count;
}

// --- notes -----------------------------------------------------------------------------------------

export const GET = 0;
export const PUT = 1;
export const DELETE = 2;
export const SWAP = 3;
/** Numbers of a note: kind, key, value, expected value, invoked, responded, seq (0: not done). */
export const NOTE_NUMBERS = 7;
/** Of a scan: consistent, first key, behind the last key, invoked, called, responded, entries … */
export const SCAN_NUMBERS = 7;
/** … and of an entry: key, value, when it was given. */
export const ENTRY_NUMBERS = 3;

/** What one thread has done and seen, in numbers. */
export interface Notes {
  readonly thread: number;
  readonly operations: Float64Array;
  readonly scans: Float64Array;
  /** What was wrong already when it was seen. */
  readonly wrong: readonly string[];
}

interface Scan {
  readonly thread: number;
  readonly isConsistent: boolean;
  readonly from: number;
  readonly to: number;
  readonly invoked: number;
  readonly called: number;
  readonly responded: number;
  readonly entries: ReadonlyMap<number, { readonly value: number; readonly given: number }>;
}

function scansOf({ thread, scans }: Notes): Scan[] {
  const found: Scan[] = [];
  for (let at = 0; at < scans.length; ) {
    const [consistent = 0, from = 0, to = 0, invoked = 0, called = 0, responded = 0, count = 0] =
      scans.subarray(at, at + SCAN_NUMBERS);
    at += SCAN_NUMBERS;
    const entries = new Map<number, { value: number; given: number }>();
    for (let n = 0; n < count; n++, at += ENTRY_NUMBERS) {
      const [key = 0, value = 0, given = 0] = scans.subarray(at, at + ENTRY_NUMBERS);
      entries.set(key, { value, given });
    }
    const isConsistent = consistent === 1;
    found.push({ thread, isConsistent, from, to, invoked, called, responded, entries });
  }
  return found;
}

type Operation = RegisterOperation<number>;

function numberOrNone(value: number): number | undefined {
  return value === NOTHING ? undefined : value;
}

function actionOf(
  kind: number,
  value: number,
  expected: number,
  seq: number,
): RegisterAction<number> {
  if (kind === GET) return { type: 'get', value: numberOrNone(value) };
  if (kind === PUT) return { type: 'put', value };
  if (kind === DELETE) return { type: 'delete', existed: seq !== 0 };
  return {
    type: 'swap',
    expected: numberOrNone(expected),
    value: numberOrNone(value),
    swapped: seq !== 0,
  };
}

/** What all threads have done. */
export class History {
  readonly #operations = new Map<number, Operation[]>(HOT_KEYS.map((key) => [key, []]));
  readonly #changes = new Map<number, { invoked: number; responded: number; values: Values }>();
  readonly #cuts: SeenCut[] = [];
  readonly #wrong: string[] = [];

  add(notes: Notes): void {
    this.#wrong.push(...notes.wrong.map((text) => `thread ${notes.thread}: ${text}`));
    const { operations, thread } = notes;
    for (let at = 0; at < operations.length; at += NOTE_NUMBERS) {
      const [kind = 0, key = 0, value = 0, expected = 0, invoked = 0, responded = 0, seq = 0] =
        operations.subarray(at, at + NOTE_NUMBERS);
      const action = actionOf(kind, value, expected, seq);
      this.#operations.get(key)?.push({ action, invoked, responded, by: `thread ${thread}` });
      if (kind === GET || seq === 0) continue;
      const change = this.#changes.get(seq) ?? { invoked, responded, values: new Map() };
      // Two threads' commits with one seq cannot be told from a batch, unless their times differ.
      if (change.invoked !== invoked) this.#wrong.push(`two changes have seq ${seq}`);
      change.values.set(keyAt(key), kind === DELETE || value === NOTHING ? undefined : `${value}`);
      this.#changes.set(seq, change);
    }
    for (const scan of scansOf(notes)) this.#addScan(scan);
  }

  #addScan({ thread, isConsistent, from, to, invoked, called, responded, entries }: Scan): void {
    const by = `thread ${thread}, ${isConsistent ? 'a consistent scan' : 'a scan'}`;
    for (const [key, operations] of this.#operations) {
      if (key < from || key >= to) continue;
      const entry = entries.get(key);
      const action = { type: 'get', value: entry?.value } as const;
      const end = isConsistent ? called : (entry?.given ?? responded);
      operations.push({ action, invoked, responded: end, by });
    }
    if (!isConsistent) return;
    const values = new Map([...entries].map(([key, { value }]) => [keyAt(key), `${value}`]));
    const covers = (key: string): boolean => {
      const n = keyNumber(key) ?? -1;
      return n >= from && n < to && isHot(n);
    };
    this.#cuts.push({ invoked, responded: called, covers, values });
  }

  /** How many keys `check` looks at. */
  get keys(): number {
    return this.#operations.size;
  }

  /** What is wrong with it. */
  check(): string[] {
    const found = [...this.#wrong];
    for (const [key, operations] of this.#operations) {
      const wrong = checkRegister(operations, key);
      if (wrong !== undefined) found.push(`${keyAt(key)}: ${wrong.message}`);
    }
    const changes = [...this.#changes].map(([seq, { invoked, responded, values }]): SeenChange => {
      return { seq, changes: values, invoked, responded };
    });
    const initial = new Map(HOT_KEYS.map((key) => [keyAt(key), `${key}`]));
    const unordered = checkOrder(changes) ?? checkCuts(initial, changes, this.#cuts);
    if (unordered !== undefined) found.push(unordered);
    return found;
  }
}

type Values = Map<string, string | undefined>;
