/** The tables of pending deletes and roots. */
import { describe, expect, it } from 'vitest';
import { FULL, OK, ROOT_ENTRIES, ROOTS_MAX } from '../../../src/generated/layout.ts';
import { Bench } from './support.ts';

const OWNER = 5;

describe('roots', () => {
  it('R1 the root of the later record stays, whichever of two ops sets it last', () => {
    const { control } = new Bench();
    // Two ops inside the gate append in one order and may get here in the other.
    expect(control.rootSet(OWNER, 70, 200, 0, 0)).toBe(OK);
    expect(control.rootSet(OWNER, 60, 100, 1, 0)).toBe(OK);
    expect(control.rootOf(OWNER)).toBe(70);
    expect(control.rootChangedAt(rootIndex(control), 150)).toBe(OWNER);
  });

  it('R1 an owner that has no root any more makes room for another, wherever it lies', () => {
    const { control } = new Bench();
    for (let owner = 0; owner < ROOTS_MAX; owner++) control.rootSet(owner, 1, 0, 0, 0);
    expect(control.rootRoom(ROOTS_MAX, 0)).toBe(FULL);
    for (let owner = ROOTS_MAX; owner < 4 * ROOTS_MAX; owner++) {
      control.rootSet(owner - ROOTS_MAX, 0, 0, 0, 0);
      expect(control.rootRoom(owner, 0), `${owner}`).toBe(OK);
      expect(control.rootSet(owner, owner, 0, 0, 0), `${owner}`).toBe(OK);
      expect(control.rootOf(owner)).toBe(owner);
      expect(control.rootOf(owner - ROOTS_MAX)).toBe(0);
    }
    expect(control.rootRoom(0, 0)).toBe(FULL);
  });

  it('R1 a root that a round has not committed yet keeps its entry', () => {
    const { control } = new Bench();
    for (let owner = 0; owner < ROOTS_MAX; owner++) control.rootSet(owner, 1, 0, 0, 0);
    control.rootSet(OWNER, 0, 10, 0, 0);
    expect(control.rootRoom(ROOTS_MAX, 0)).toBe(FULL);
    expect(control.rootRoom(OWNER, 0)).toBe(OK);
    expect(control.rootChangedAt(rootIndex(control), 9)).toBe(OWNER);
  });
});

function rootIndex(control: Bench['control']): number {
  for (let index = 0; index < ROOT_ENTRIES; index++) {
    if (control.rootChangedAt(index, 0) === OWNER) return index;
  }
  throw new Error('the owner has no entry');
}
