/**
 * Linearizability of one key: is there an order of the operations on it, each at a moment between
 * its call and its return, in which every one of them gives what it gave?
 *
 * A map is linearizable if every key of it is (Herlihy and Wing, "Linearizability", TOPLAS 1990), so
 * a history is checked key by key. The search puts operations in order one by one, and forgets
 * no state that it has been in: which operations are done, and the value (Wing and Gong, JPDC 1993;
 * Lowe, "Testing for linearizability", 2017). Operations that change nothing go first as soon as
 * they may. With few operations at once and values that are written once, that is near linear in
 * the length of the history.
 */
import {
  ABSENT,
  Alphabet,
  isPure,
  type Move,
  moveOf,
  OTHER,
  pendingOf,
  type RegisterAction,
  search,
} from './register-search.ts';

export type { RegisterAction } from './register-search.ts';

/** An operation as its caller saw it. Times are of one clock for all threads, such as a counter. */
export interface RegisterOperation<V> {
  readonly action: RegisterAction<V>;
  readonly invoked: number;
  /**
   * Infinity if it never came back, or failed without saying whether it was done: it was done once
   * or never, and what it gave counts for nothing.
   */
  readonly responded: number;
  /** Who called, for reports. */
  readonly by?: string | number;
}

/** Why a history is not linearizable. */
export interface RegisterViolation<V> {
  /** Between these times. */
  readonly from: number;
  readonly to: number;
  /** The operations that cannot be put in order, whatever the value was before them. */
  readonly operations: readonly RegisterOperation<V>[];
  readonly message: string;
}

/** A stretch of a history: what was returned after `from` and called before `to`. */
interface Window {
  readonly from: number;
  readonly to: number;
}

const ALWAYS = Number.NEGATIVE_INFINITY;

/**
 * Checks the history of one key. Values are compared with `Object.is`; a history in which each value
 * is written once says most.
 *
 * @param history  In any order. An operation may overlap others of the same caller.
 * @param initial  The value before all of it; undefined is none.
 * @returns        The shortest stretch that cannot be explained, or undefined: it is linearizable.
 */
export function checkRegister<V>(
  history: readonly RegisterOperation<V>[],
  initial?: V,
): RegisterViolation<V> | undefined {
  return new RegisterCheck(history, initial).run();
}

class RegisterCheck<V> {
  readonly #history: readonly RegisterOperation<V>[];
  readonly #alphabet = new Alphabet<V>();
  readonly #initial: number;

  constructor(history: readonly RegisterOperation<V>[], initial: V | undefined) {
    for (const { invoked, responded } of history) {
      if (invoked < responded) continue;
      throw new RangeError(`an operation returned at ${responded}, and was called at ${invoked}`);
    }
    this.#history = [...history].sort((a, b) => a.invoked - b.invoked);
    this.#initial = initial === undefined ? ABSENT : this.#alphabet.of(initial);
  }

  run(): RegisterViolation<V> | undefined {
    const whole = { from: ALWAYS, to: Number.POSITIVE_INFINITY };
    if (this.#isRight(whole)) return undefined;
    // What is cut off at the end, and then at the beginning, only makes it easier to explain.
    const ends = this.#times(({ responded }) => responded, whole);
    const to =
      ends[firstOf(ends.length, (n) => !this.#isRight({ from: ALWAYS, to: ends[n] ?? 0 }))];
    if (to === undefined) return this.#describe(whole);
    const begins = this.#times(({ responded }) => responded, { from: ALWAYS, to }).slice(0, -1);
    const right = firstOf(begins.length, (n) => this.#isRight({ from: begins[n] ?? 0, to }));
    return this.#describe({ from: begins[right - 1] ?? ALWAYS, to });
  }

  #times(of: (operation: RegisterOperation<V>) => number, { to }: Window): number[] {
    const times = this.#history.map(of).filter((time) => Number.isFinite(time) && time <= to);
    return [...new Set(times)].sort((a, b) => a - b);
  }

  #isRight(window: Window, operations: readonly RegisterOperation<V>[] = this.#history): boolean {
    const moves: Move[] = [];
    const pending: Move[] = [];
    for (const operation of operations) {
      const { invoked, responded, action } = operation;
      if (responded <= window.from || invoked >= window.to) continue;
      if (responded > window.to || responded === Number.POSITIVE_INFINITY) {
        const move = pendingOf(this.#alphabet, action, invoked);
        if (move !== undefined) pending.push(move);
        continue;
      }
      const move = moveOf(this.#alphabet, action, invoked, responded);
      // It may have happened before the window, and is a part of the value at its beginning then.
      if (invoked > window.from) moves.push(move);
      else if (!isPure(move)) moves.push({ ...move, optional: true });
    }
    const anything = [ABSENT, OTHER, ...this.#alphabet.all];
    return search(moves, pending, window.from === ALWAYS ? [this.#initial] : anything);
  }

  /** Without the operations that only looked, as far as it is wrong without them. */
  #describe(window: Window): RegisterViolation<V> {
    let operations = this.#history.filter(
      ({ invoked, responded }) => responded > window.from && invoked < window.to,
    );
    for (const operation of [...operations]) {
      if (operation.action.type === 'put') continue;
      const { invoked, responded, action } = operation;
      if (!isPure(moveOf(this.#alphabet, action, invoked, responded))) continue;
      const without = operations.filter((one) => one !== operation);
      if (!this.#isRight(window, without)) operations = without;
    }
    const before =
      window.from === ALWAYS ? textOf(this.#alphabet.valueOf(this.#initial)) : 'any value';
    const lines = operations.map((operation) => `  ${describeOperation(operation)}`);
    const message = `no order explains this, from ${before} on:\n${lines.join('\n')}`;
    return { from: window.from, to: window.to, operations, message };
  }
}

/** The first of `count` for which `holds` is true, from which on it is; `count` if for none. */
function firstOf(count: number, holds: (n: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function textOf(value: unknown): string {
  return value === undefined ? 'no value' : String(value);
}

/** One line for people. */
export function describeOperation<V>({
  action,
  invoked,
  responded,
  by,
}: RegisterOperation<V>): string {
  const who = by === undefined ? '' : ` by ${by}`;
  return `[${invoked}, ${responded}]${who}: ${describeAction(action)}`;
}

function describeAction<V>(action: RegisterAction<V>): string {
  switch (action.type) {
    case 'get':
      return `get gives ${textOf(action.value)}`;
    case 'put':
      return `put ${textOf(action.value)}`;
    case 'delete': {
      if (action.existed === undefined) return 'delete';
      return action.existed ? 'delete, it was there' : 'delete, it was not there';
    }
    case 'swap': {
      const { expected, value, swapped } = action;
      return `swap ${textOf(expected)} for ${textOf(value)}: ${swapped ? 'done' : 'not done'}`;
    }
  }
}
