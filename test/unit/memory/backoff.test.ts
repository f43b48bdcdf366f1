import { expect, it } from 'vitest';
import { Backoff } from '../../../src/memory/backoff.ts';

/** How often it is left until it is not. */
function left(backoff: Backoff): number {
  let times = 0;
  while (backoff.leaves()) times++;
  return times;
}

it('leaves nothing that was not in vain', () => {
  const backoff = new Backoff();
  expect(left(backoff)).toBe(0);
  backoff.note(true);
  expect(left(backoff)).toBe(0);
});

it('leaves twice as much after each time in vain, up to 32, until one is not', () => {
  const backoff = new Backoff();
  const times = Array.from({ length: 8 }, () => {
    backoff.note(false);
    return left(backoff);
  });
  expect(times).toEqual([1, 2, 4, 8, 16, 32, 32, 32]);
  backoff.note(true);
  expect(left(backoff)).toBe(0);
  backoff.note(false);
  expect(left(backoff)).toBe(1);
});
