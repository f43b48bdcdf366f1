/** Looking at a word before parking on it, with memory that changes at a given look. */
import { expect, it } from 'vitest';
import type { ThreadMemory } from '../../../src/memory/pool-memory.ts';
import { Spin } from '../../../src/memory/spin.ts';

/** A word that is 0 for so many looks, and 1 from then on. */
function wordAfter(looks: number): { memory: ThreadMemory; looks: () => number } {
  let seen = 0;
  const memory = { load: () => (seen++ < looks ? 0 : 1) } as unknown as ThreadMemory;
  return { memory, looks: () => seen };
}

it('sees a change while it looks', () => {
  expect(new Spin().until(wordAfter(20).memory, 0, 0)).toBe(true);
});

/** Waits that park without a look, until one looks. */
function parksOf(spin: Spin): number {
  const changed = wordAfter(0);
  let parked = 0;
  while (!spin.until(changed.memory, 0, 0)) parked++;
  expect(changed.looks()).toBe(1);
  return parked;
}

it('gives up when nothing changes, and the next wait does not look at all', () => {
  const spin = new Spin();
  const never = wordAfter(Number.POSITIVE_INFINITY);
  expect(spin.until(never.memory, 0, 0)).toBe(false);
  expect(never.looks()).toBeGreaterThan(0);
  expect(parksOf(spin)).toBe(1);
});

it('looks the more seldom the more often that was in vain, until it was not', () => {
  const spin = new Spin();
  const never = wordAfter(Number.POSITIVE_INFINITY);
  expect(spin.until(never.memory, 0, 0)).toBe(false);
  expect(spin.until(never.memory, 0, 0)).toBe(false); // parks
  expect(spin.until(never.memory, 0, 0)).toBe(false);
  expect(parksOf(spin)).toBe(2);
  expect(spin.until(never.memory, 0, 0)).toBe(false);
  expect(parksOf(spin)).toBe(1);
});
