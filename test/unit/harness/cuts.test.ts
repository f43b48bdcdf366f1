/** Consistent reads and the order of commits: right ones, and each way of being wrong. */
import { describe, expect, it } from 'vitest';
import {
  checkCuts,
  checkOrder,
  type SeenChange,
  type SeenCut,
} from '../../../src/harness/index.ts';
import { Random, testSeed } from '../../support/seed.ts';

type Values = Readonly<Record<string, string | undefined>>;

function change(seq: number, invoked: number, responded: number, values: Values): SeenChange {
  return { seq, invoked, responded, changes: new Map(Object.entries(values)) };
}

function cut(invoked: number, responded: number, values: Record<string, string>): SeenCut {
  return { invoked, responded, covers: () => true, values: new Map(Object.entries(values)) };
}

const NONE = new Map<string, string>();
const BOTH = [
  change(10, 0, 1, { a: '1', b: '1' }),
  change(20, 2, 5, { a: '2', b: '2' }),
  change(30, 6, 9, { b: undefined }),
];

describe('checkCuts', () => {
  it.each([
    ['the state before', cut(3, 4, { a: '1', b: '1' })],
    ['the state behind a change that is under way', cut(3, 4, { a: '2', b: '2' })],
    ['the state behind a delete', cut(10, 11, { a: '2' })],
  ])('I3 accepts %s', (_, read) => {
    expect(checkCuts(NONE, BOTH, [read])).toBeUndefined();
  });

  it.each([
    [
      'half of a change',
      cut(3, 4, { a: '2', b: '1' }),
      /nearest is the one behind seq 10: a is 2, not 1/,
    ],
    ['a state that was over', cut(10, 11, { a: '2', b: '2' }), /b is 2, not missing/],
    ['a state that was not yet', cut(3, 4, { a: '2' }), /b is missing, not 2/],
    ['a key that nobody has put', cut(3, 4, { a: '1', b: '1', c: '1' }), /c is 1, not missing/],
    ['nothing', cut(3, 4, {}), /is the state of no moment/],
  ])('I3 refuses %s', (_, read, message) => {
    expect(checkCuts(NONE, BOTH, [read])).toMatch(message);
  });

  it('looks at what the read covers alone', () => {
    const read = { ...cut(3, 4, { a: '2' }), covers: (key: string) => key === 'a' };
    expect(checkCuts(NONE, BOTH, [read])).toBeUndefined();
  });

  it('begins with the initial state', () => {
    expect(checkCuts(new Map([['z', '0']]), [], [cut(0, 1, { z: '0' })])).toBeUndefined();
    expect(checkCuts(new Map([['z', '0']]), [], [cut(0, 1, {})])).toMatch(/z is missing, not 0/);
  });

  it('I3 accepts every state of a run, and refuses it with one value changed', () => {
    const random = new Random(testSeed());
    const changes: SeenChange[] = [];
    const cuts: SeenCut[] = [];
    const state = new Map<string, string>();
    for (let n = 0; n < 300; n++) {
      const moment = n * 2;
      const keys = random.shuffled(['a', 'b', 'c', 'd']).slice(0, 2);
      const values = Object.fromEntries(keys.map((key) => [key, `${n}`]));
      changes.push(change(n + 1, moment - random.float() * 6, moment + random.float() * 6, values));
      for (const key of keys) state.set(key, `${n}`);
      const invoked = moment + 1 - random.float() * 6;
      cuts.push({ ...cut(invoked, moment + 1 + random.float() * 6, {}), values: new Map(state) });
    }
    expect(checkOrder(changes)).toBeUndefined();
    expect(checkCuts(NONE, changes, cuts)).toBeUndefined();
    for (const read of cuts) {
      const values = new Map(read.values);
      values.set(random.pick([...values.keys()]), 'something else');
      expect(checkCuts(NONE, changes, [{ ...read, values }])).toBeDefined();
    }
  });
});

describe('checkOrder', () => {
  it('R1 accepts changes at once in any order', () => {
    expect(checkOrder([change(2, 0, 9, {}), change(1, 1, 8, {})])).toBeUndefined();
  });

  it('R1 refuses a later change with a lower seq', () => {
    const changes = [change(5, 0, 1, {}), change(7, 2, 3, {}), change(6, 4, 5, {})];
    expect(checkOrder(changes)).toMatch(/seq 6 was called at 4, when seq 7 had returned at 3/);
  });

  it('R1 refuses one seq for two changes', () => {
    expect(checkOrder([change(5, 0, 1, {}), change(5, 2, 3, {})])).toBe('two changes have seq 5');
  });
});
