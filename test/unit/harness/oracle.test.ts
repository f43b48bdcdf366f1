/** The oracle: which prefixes of the log may be left, and what must never come back. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changed, differences, Oracle } from '../../../src/harness/oracle.ts';
import type { Facts } from '../../../src/harness/subject.ts';
import { testSeed } from '../../support/seed.ts';

function oracleOf(values: readonly string[]): Oracle {
  const oracle = new Oracle();
  for (const [at, value] of values.entries()) {
    oracle.add(10 * (at + 1), new Map([['a', value]]), undefined);
  }
  return oracle;
}

const only = (value: string): Facts => new Map([['a', value]]);

describe('the oracle', () => {
  it('allows what was acknowledged and every commit after it, and nothing before', () => {
    const oracle = oracleOf(['1', '2', '3']);
    oracle.acknowledge('synced', 1);
    oracle.acknowledge('written', 2);
    const { issued, written, synced } = oracle.mark();
    expect([synced, written, issued]).toEqual([1, 2, 3]);
    expect(oracle.findAll(only('1'), synced, issued)).toEqual([1]);
    expect(oracle.findAll(only('1'), written, issued)).toEqual([]);
    expect(oracle.findAll(only('3'), written, issued)).toEqual([3]);
    expect(oracle.findAll(new Map(), synced, issued)).toEqual([]);
    expect(oracle.explain(only('1'), written, issued)).toMatch(/after 1$/);
    expect(oracle.explain(only('x'), written, issued)).toMatch(/a is x, not [23]$/);
  });

  it('never takes an acknowledgement back', () => {
    const oracle = oracleOf(['1', '2', '3']);
    oracle.acknowledge('synced', 3);
    oracle.acknowledge('written', 1);
    expect(oracle.mark()).toMatchObject({ synced: 3, written: 3 });
  });

  it('allows an operation that is under way to be there or not', () => {
    const oracle = oracleOf(['1']);
    oracle.acknowledge('synced');
    oracle.begin(new Map([['a', '2']]));
    const { synced, issued } = oracle.mark();
    expect(oracle.isUndecided).toBe(true);
    expect(oracle.findAll(only('1'), synced, issued)).toEqual([1]);
    expect(oracle.findAll(only('2'), synced, issued)).toEqual([2]);
    expect(() => oracle.begin(new Map())).toThrow(/undecided/);
    const left = oracle.after(2, oracle.mark());
    expect([...left.facts]).toEqual([['a', '2']]);
    expect(left.mark()).toMatchObject({ synced: 2, issued: 2 });
    oracle.cancel();
    expect(oracle.findAll(only('2'), 0, oracle.mark().issued)).toEqual([]);
  });

  it('notices seqs and ids that come again, also after a crash', () => {
    const oracle = oracleOf(['1', '2']);
    oracle.noteId(4);
    const left = oracle.after(1, oracle.mark());
    left.noteId(4);
    left.add(20, new Map(), undefined);
    expect(left.violations).toEqual(['id 4 again, after 4', 'seq 20 again, after 20']);
  });

  it('finds facts again whatever order they came in, and tells the least difference', () => {
    const facts = fc.dictionary(fc.string(), fc.string());
    const property = fc.property(facts, facts, (before, after) => {
      const oracle = new Oracle();
      const from = new Map(Object.entries(before));
      const to = new Map(Object.entries(after));
      oracle.add(1, from, undefined);
      const changes = new Map<string, string | undefined>(to);
      for (const name of from.keys()) if (!to.has(name)) changes.set(name, undefined);
      oracle.add(2, changes, undefined);
      expect(changed(from, changes)).toEqual(to);
      const found = new Map([...to].reverse());
      expect(oracle.findAll(found, 2, 2)).toEqual([2]);
      expect(differences(found, oracle.facts)).toBe('');
      const wrong = new Map([...to, ['another name', 'x\u0000']]);
      expect(oracle.findAll(wrong, 0, 2)).toEqual([]);
    });
    fc.assert(property, { seed: testSeed() | 0, numRuns: 200 });
  });
});
