/** The register check: hand-made histories, then random ones against a search of all orders. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkRegister,
  type RegisterAction,
  type RegisterOperation,
} from '../../../src/harness/index.ts';
import { Random, testSeed } from '../../support/seed.ts';

type Operation = RegisterOperation<number>;

const get = (value?: number): RegisterAction<number> => ({ type: 'get', value });
const put = (value: number): RegisterAction<number> => ({ type: 'put', value });
const del = (existed?: boolean): RegisterAction<number> =>
  existed === undefined ? { type: 'delete' } : { type: 'delete', existed };
const swap = (
  expected: number | undefined,
  value: number | undefined,
  swapped: boolean,
): RegisterAction<number> => ({ type: 'swap', expected, value, swapped });

function at(invoked: number, responded: number, action: RegisterAction<number>): Operation {
  return { invoked, responded, action };
}

const NEVER = Number.POSITIVE_INFINITY;

const GOOD: Readonly<Record<string, readonly Operation[]>> = {
  'nothing at all': [],
  'one thread': [at(0, 1, put(1)), at(2, 3, get(1)), at(4, 5, del(true)), at(6, 7, get())],
  'a get beside a put sees the old value': [at(0, 5, put(1)), at(1, 2, get())],
  'a get beside a put sees the new value': [at(0, 5, put(1)), at(1, 2, get(1))],
  'two puts at once, in either order': [at(0, 9, put(1)), at(1, 8, put(2)), at(10, 11, get(1))],
  'a swap between two others': [
    at(0, 1, put(1)),
    at(2, 9, swap(2, 3, true)),
    at(3, 8, swap(1, 2, true)),
    at(10, 11, get(3)),
  ],
  'a swap that fails beside the put that it misses': [
    at(0, 1, put(1)),
    at(2, 9, swap(2, 3, false)),
    at(3, 8, put(2)),
    at(10, 11, get(2)),
  ],
  'a put that never came back, and was done late': [
    at(0, NEVER, put(1)),
    at(1, 2, get()),
    at(3, 4, put(2)),
    at(5, 6, get(1)),
  ],
  'a put that never came back, and was not done': [at(0, NEVER, put(1)), at(1, 2, get())],
  'a delete that never came back between two gets': [
    at(0, 1, put(1)),
    at(2, NEVER, del(true)),
    at(3, 4, get(1)),
    at(5, 6, get()),
  ],
  'a swap that never came back, whatever it was noted as': [
    at(0, 1, put(1)),
    at(2, NEVER, swap(1, 2, false)),
    at(3, 4, get(2)),
  ],
  'a value that is written twice': [
    at(0, 1, put(1)),
    at(2, 3, put(2)),
    at(4, 5, put(1)),
    at(6, 7, get(1)),
  ],
};

/** With the times of the shortest stretch that is wrong. */
const BAD: Readonly<Record<string, readonly [Operation[], from: number, to: number]>> = {
  'a put is lost': [[at(0, 1, put(1)), at(2, 3, get())], Number.NEGATIVE_INFINITY, 3],
  'an old value comes back': [
    [at(0, 1, put(1)), at(2, 3, get(1)), at(4, 5, put(2)), at(6, 7, get(2)), at(8, 9, get(1))],
    5,
    9,
  ],
  'a value that nobody has written yet': [
    [at(0, 1, get(1)), at(2, 3, put(1))],
    Number.NEGATIVE_INFINITY,
    1,
  ],
  'two gets go back in time beside one put': [
    [at(0, 9, put(1)), at(1, 2, get(1)), at(3, 4, get())],
    Number.NEGATIVE_INFINITY,
    4,
  ],
  'two swaps of one value': [
    [at(0, 1, put(1)), at(2, 9, swap(1, 2, true)), at(3, 8, swap(1, 3, true))],
    1,
    9,
  ],
  'a swap that fails although nothing else is there': [
    [at(0, 1, put(1)), at(2, 3, swap(1, 2, false))],
    Number.NEGATIVE_INFINITY,
    3,
  ],
  'a delete of what is gone': [[at(0, 1, put(1)), at(2, 3, del(true)), at(4, 5, del(true))], 1, 5],
  'a delete that finds nothing beside no other': [
    [at(0, 1, put(1)), at(2, 3, del(false))],
    Number.NEGATIVE_INFINITY,
    3,
  ],
  'a put that never came back is done twice': [
    [at(0, NEVER, put(1)), at(1, 2, get(1)), at(3, 4, put(2)), at(5, 6, get(2)), at(7, 8, get(1))],
    Number.NEGATIVE_INFINITY,
    8,
  ],
};

describe('checkRegister', () => {
  it.each(Object.entries(GOOD))('accepts %s', (_, history) => {
    expect(checkRegister(history)?.message).toBeUndefined();
  });

  it.each(Object.entries(BAD))('R1 refuses that %s, and says where', (_, [history, from, to]) => {
    const wrong = checkRegister(history);
    expect(wrong).toMatchObject({ from, to });
    expect(wrong?.message).toContain('no order explains this');
  });

  it('begins with the initial value', () => {
    expect(checkRegister([at(0, 1, get(5))], 5)).toBeUndefined();
    expect(checkRegister([at(0, 1, get())], 5)?.message).toContain('from 5 on');
  });

  it('leaves out of the report what has nothing to do with it', () => {
    const history = Array.from({ length: 500 }, (_, n) => [
      at(n * 10, n * 10 + 1, put(n)),
      at(n * 10 + 2, n * 10 + 3, get(n)),
      at(n * 10 + 4, n * 10 + 5, get(n)),
    ]).flat();
    const stale = at(3001.5, 3001.8, get(7));
    const wrong = checkRegister([...history, { ...stale, by: 'a stale reader' }]);
    expect(wrong?.operations).toHaveLength(2);
    expect(wrong?.operations[1]).toMatchObject(stale);
    expect(wrong?.message).toContain('by a stale reader: get gives 7');
  });

  it('takes the order of its input for nothing', () => {
    const history = [at(6, 7, get()), at(0, 1, put(1)), at(4, 5, del(true)), at(2, 3, get(1))];
    expect(checkRegister(history)).toBeUndefined();
  });

  it('refuses an operation that returned before it was called', () => {
    expect(() => checkRegister([at(2, 1, get())])).toThrow(RangeError);
  });

  it('is done with a long history of four threads in bounded work', () => {
    const { history } = execution(new Random(1), {
      operations: 10_000,
      values: 1e9,
      width: 8,
      lost: 0.001,
    });
    expect(checkRegister(history)).toBeUndefined();
  });
});

// --- against all orders --------------------------------------------------------------------------------

/** The value after it, or false: it cannot have happened there. */
function happen(
  { action, responded }: Operation,
  value: number | undefined,
): number | undefined | false {
  const isKnown = responded !== NEVER;
  switch (action.type) {
    case 'get':
      return !isKnown || action.value === value ? value : false;
    case 'put':
      return action.value;
    case 'delete': {
      const fits = action.existed === undefined || action.existed === (value !== undefined);
      return !isKnown || fits ? undefined : false;
    }
    case 'swap': {
      const swaps = value === action.expected;
      if (isKnown && swaps !== action.swapped) return false;
      return swaps ? action.value : value;
    }
  }
}

/** Tries every order. */
function anyOrder(left: readonly Operation[], value: number | undefined): boolean {
  if (left.every(({ responded }) => responded === NEVER)) return true;
  return left.some((operation) => {
    if (left.some((other) => other.responded < operation.invoked)) return false;
    const next = happen(operation, value);
    if (next === false) return false;
    return anyOrder(
      left.filter((other) => other !== operation),
      next,
    );
  });
}

interface Drawn {
  readonly operations: number;
  readonly values: number;
  /** How far a call and a return may be from the moment between them, which are 2 apart. */
  readonly width: number;
  /** Share of those that never came back. */
  readonly lost?: number;
}

/** A history that happened: each operation at a moment of its own. */
function execution(
  random: Random,
  { operations, values, width, lost = 0.03 }: Drawn,
): { readonly history: Operation[] } {
  let value: number | undefined;
  const history: Operation[] = [];
  for (let n = 0; n < operations; n++) {
    const draw = (): number | undefined => (random.chance(0.2) ? undefined : random.int(values));
    const kind = random.int(4);
    const moment = n * 2;
    const invoked = moment - random.float() * width;
    const responded = moment + random.float() * width + 0.001;
    const [expected, next] = [random.chance(0.6) ? value : draw(), draw()];
    const written = random.int(values);
    const action = [
      get(value),
      put(written),
      del(value !== undefined),
      swap(expected, next, expected === value),
    ][kind] as RegisterAction<number>;
    const operation = at(invoked, responded, action);
    value = happen(operation, value) as number | undefined;
    history.push(random.chance(lost) ? { ...operation, responded: NEVER } : operation);
  }
  return { history };
}

const valueOrNone = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });
const anyAction: fc.Arbitrary<RegisterAction<number>> = fc.oneof(
  valueOrNone.map(get),
  fc.integer({ min: 1, max: 3 }).map(put),
  fc.option(fc.boolean(), { nil: undefined }).map(del),
  fc.tuple(valueOrNone, valueOrNone, fc.boolean()).map((given) => swap(...given)),
);

/** Any operations at any times, a few of which never came back. */
const anyHistory: fc.Arbitrary<Operation[]> = fc
  .array(fc.tuple(anyAction, fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(40), fc.nat(12)), {
    maxLength: 6,
  })
  .map((drawn) =>
    drawn.map(([action, shift, invoked, length], n) => {
      const start = invoked + n / 100 + shift / 1000;
      return at(start, length === 12 ? NEVER : start + length + 0.5, action);
    }),
  );

const RUNS = 3000;

describe('checkRegister and a search of all orders', () => {
  it('R1 agree on any history', () => {
    let wrong = 0;
    fc.assert(
      fc.property(anyHistory, (history) => {
        const found = checkRegister(history);
        if (found !== undefined) wrong++;
        expect(found === undefined).toBe(anyOrder(history, undefined));
      }),
      { seed: testSeed() | 0, numRuns: RUNS },
    );
    expect(wrong, 'wrong ones among them').toBeGreaterThan(RUNS / 20);
    expect(wrong, 'right ones among them').toBeLessThan(RUNS - RUNS / 20);
  });

  it('R1 agree on histories that happened, and on such with one changed result', () => {
    const random = new Random(testSeed());
    let wrong = 0;
    for (let run = 0; run < RUNS; run++) {
      const { history } = execution(random, { operations: 7, values: 3, width: 5 });
      expect(checkRegister(history)?.message).toBeUndefined();
      const n = random.int(history.length);
      const { invoked, responded } = history[n] as Operation;
      history[n] = at(invoked, responded, random.chance(0.5) ? get(random.int(3)) : put(9));
      const found = checkRegister(history);
      if (found !== undefined) wrong++;
      expect(found === undefined).toBe(anyOrder(history, undefined));
    }
    expect(wrong).toBeGreaterThan(RUNS / 20);
  });

  it('R1 report a stretch that no order explains, whatever was there before it', () => {
    const random = new Random(testSeed());
    for (let run = 0; run < RUNS; run++) {
      const { history } = execution(random, { operations: 7, values: 3, width: 5 });
      const n = random.int(history.length);
      history[n] = { ...(history[n] as Operation), action: get(random.int(3)) };
      const found = checkRegister(history);
      if (found === undefined || found.from === Number.NEGATIVE_INFINITY) continue;
      const cut = found.operations.map((operation): Operation => {
        return operation.responded > found.to ? { ...operation, responded: NEVER } : operation;
      });
      // What was called before it may have happened before it.
      const early = cut.filter(({ invoked }) => invoked <= found.from);
      for (let which = 0; which < 2 ** early.length; which++) {
        const left = cut.filter(
          (one) => (which & (2 ** early.indexOf(one))) === 0 || !early.includes(one),
        );
        for (const before of [undefined, 0, 1, 2, 3, 9, 77]) {
          expect(anyOrder(left, before)).toBe(false);
        }
      }
    }
  });
});
