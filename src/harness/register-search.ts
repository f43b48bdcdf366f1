/**
 * The search behind `checkRegister`: operations as moves between values, put in order one by one.
 *
 * Values are numbers here, given out by an Alphabet.
 */

/** What was done to the key, and what came of it; undefined is no value. */
export type RegisterAction<V> =
  | { readonly type: 'get'; readonly value: V | undefined }
  | { readonly type: 'put'; readonly value: V }
  /** Without `existed`, nobody was told. */
  | { readonly type: 'delete'; readonly existed?: boolean }
  | {
      readonly type: 'swap';
      readonly expected: V | undefined;
      readonly value: V | undefined;
      readonly swapped: boolean;
    };

/** There is no value. */
export const ABSENT = 0;
/** A value that no operation names. */
export const OTHER = -1;
/** The value stays as it is. */
const KEEP = -2;
const ANYTHING = -3;

/** Numbers for values. */
export class Alphabet<V> {
  readonly #numbers = new Map<V, number>();
  readonly #values: (V | undefined)[] = [undefined];

  of(value: V | undefined): number {
    if (value === undefined) return ABSENT;
    const known = this.#numbers.get(value);
    if (known !== undefined) return known;
    this.#numbers.set(value, this.#values.length);
    return this.#values.push(value) - 1;
  }

  valueOf(number: number): V | undefined {
    return this.#values[number];
  }

  get all(): number[] {
    return this.#values.map((_, number) => number).slice(1);
  }
}

/** An operation: in which values it can have happened, and which one it leaves. */
export interface Move {
  readonly invoked: number;
  readonly responded: number;
  /** The value that it needs, or ANYTHING. */
  readonly needs: number;
  /** Any value but that one. */
  readonly isNegated: boolean;
  /** The value that it leaves, or KEEP. */
  readonly leaves: number;
  /** It may as well not have happened. */
  readonly optional: boolean;
}

/** Whether it changes nothing, and so may happen as soon as it can. */
export function isPure({ leaves }: Move): boolean {
  return leaves === KEEP;
}

export function moveOf<V>(
  alphabet: Alphabet<V>,
  action: RegisterAction<V>,
  invoked: number,
  responded: number,
): Move {
  const move = (needs: number, isNegated: boolean, leaves: number): Move => {
    return { invoked, responded, needs, isNegated, leaves, optional: false };
  };
  switch (action.type) {
    case 'get':
      return move(alphabet.of(action.value), false, KEEP);
    case 'put':
      return move(ANYTHING, false, alphabet.of(action.value));
    case 'delete': {
      if (action.existed === undefined) return move(ANYTHING, false, ABSENT);
      return action.existed ? move(ABSENT, true, ABSENT) : move(ABSENT, false, KEEP);
    }
    case 'swap': {
      const expected = alphabet.of(action.expected);
      if (!action.swapped) return move(expected, true, KEEP);
      return move(expected, false, alphabet.of(action.value));
    }
  }
}

/** An operation of which nobody knows what came of it; undefined if that does not matter. */
export function pendingOf<V>(
  alphabet: Alphabet<V>,
  action: RegisterAction<V>,
  invoked: number,
): Move | undefined {
  if (action.type === 'get') return undefined;
  const done: RegisterAction<V> =
    action.type === 'swap'
      ? { ...action, swapped: true }
      : action.type === 'delete'
        ? { type: 'delete' }
        : action;
  return { ...moveOf(alphabet, done, invoked, Number.POSITIVE_INFINITY), optional: true };
}

/** A state of the search. */
interface Place {
  readonly value: number;
  /** All moves before this one are done. */
  readonly base: number;
  /** Those behind it that are done as well, in ascending order. */
  readonly ahead: readonly number[];
  /** Pending moves that are done. */
  readonly pending: readonly number[];
}

function fits({ needs, isNegated }: Move, value: number): boolean {
  return needs === ANYTHING || (needs === value) !== isNegated;
}

function after({ leaves }: Move, value: number): number {
  return leaves === KEEP ? value : leaves;
}

function inserted(list: readonly number[], n: number): readonly number[] {
  const at = list.findIndex((other) => other > n);
  return at < 0 ? [...list, n] : [...list.slice(0, at), n, ...list.slice(at)];
}

/**
 * Whether the moves can be put in an order that respects their times, beginning with one of the
 * values. All of `moves` happen, unless they are optional; of `pending`, which never came back,
 * any may happen. Both in the order in which they were invoked.
 */
export function search(
  moves: readonly Move[],
  pending: readonly Move[],
  values: readonly number[],
): boolean {
  const seen = new Set<string>();
  const waiting: Place[] = values.map((value) => ({ value, base: 0, ahead: [], pending: [] }));
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const settled = settle(moves, place);
    if (settled.base === moves.length) return true;
    const next = nextOf(moves, pending, settled);
    if (next.length > 1) {
      const { value, base, ahead } = settled;
      const name = `${value} ${base} ${ahead.join()} ${settled.pending.join()}`;
      if (seen.has(name)) continue;
      seen.add(name);
    }
    waiting.push(...next);
  }
  return false;
}

/** The moves that may come next: none of those that are left had returned when they were called. */
function enabled(moves: readonly Move[], { base, ahead }: Place): number[] {
  const found: number[] = [];
  let returned = Number.POSITIVE_INFINITY;
  let done = 0;
  for (let n = base; n < moves.length; n++) {
    if (ahead[done] === n) {
      done++;
      continue;
    }
    const { invoked, responded } = moves[n] as Move;
    if (invoked > returned) break;
    returned = Math.min(returned, responded);
    found.push(n);
  }
  return found;
}

/** The place behind those that are done from its base on. */
function advanced(place: Place): Place {
  const { ahead } = place;
  let { base } = place;
  let done = 0;
  while (ahead[done] === base) {
    base++;
    done++;
  }
  return done === 0 ? place : { ...place, base, ahead: ahead.slice(done) };
}

function doMove(place: Place, n: number, value: number): Place {
  return advanced({ ...place, value, ahead: inserted(place.ahead, n) });
}

/** Does what changes nothing and may come next: to wait with it would not help anybody. */
function settle(moves: readonly Move[], place: Place): Place {
  const { value, base, ahead } = place;
  const all: number[] = [];
  let returned = Number.POSITIVE_INFINITY;
  let done = 0;
  let n = base;
  for (; n < moves.length; n++) {
    if (ahead[done] === n) {
      done++;
      all.push(n);
      continue;
    }
    const move = moves[n] as Move;
    if (move.invoked > returned) break;
    if (isPure(move) && fits(move, value)) all.push(n);
    else returned = Math.min(returned, move.responded);
  }
  if (all.length === done) return place;
  return advanced({ ...place, ahead: all.concat(ahead.slice(done)) });
}

function nextOf(moves: readonly Move[], pending: readonly Move[], place: Place): Place[] {
  const { value } = place;
  const next: Place[] = [];
  const left = enabled(moves, place);
  let returned = Number.POSITIVE_INFINITY;
  for (const n of left) returned = Math.min(returned, (moves[n] as Move).responded);
  const unknown = pendingOnes(pending, place, returned);
  const others = [...left.map((n) => moves[n] as Move), ...unknown.map(({ move }) => move)];
  const tried = new Set<string>();
  for (const { n, move } of unknown) {
    // Of those that do the same, the one that was called first.
    const { needs, isNegated, leaves } = move;
    const name = `${needs} ${isNegated} ${leaves}`;
    if (!fits(move, value) || tried.has(name)) continue;
    tried.add(name);
    // What never came back may always happen later: it happens just before what needs it.
    const changed = after(move, value);
    const isNeeded = others.some((one) => one !== move && !fits(one, value) && fits(one, changed));
    if (!isNeeded) continue;
    next.push({ ...place, value: changed, pending: inserted(place.pending, n) });
  }
  // The last one is tried first: mostly it is the one that returned first.
  left.sort((a, b) => (moves[b] as Move).responded - (moves[a] as Move).responded);
  for (const n of left) {
    const move = moves[n] as Move;
    if (move.optional) next.push(doMove(place, n, value));
    if (fits(move, value)) next.push(doMove(place, n, after(move, value)));
  }
  return next;
}

/** Pending moves that may come next. */
function pendingOnes(
  pending: readonly Move[],
  place: Place,
  returned: number,
): { readonly n: number; readonly move: Move }[] {
  const found: { readonly n: number; readonly move: Move }[] = [];
  for (const [n, move] of pending.entries()) {
    if (move.invoked > returned) break;
    if (!place.pending.includes(n)) found.push({ n, move });
  }
  return found;
}
