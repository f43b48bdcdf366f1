import { Buffer } from 'node:buffer';
import { expect, it } from 'vitest';
import {
  epochIn,
  historyBase,
  historyBound,
  historyKey,
  historyKeyBytes,
  keyIn,
} from '../../../src/level/history-key.ts';
import { Random, testSeed } from '../../support/seed.ts';

/** Keys in which zero bytes, what stands for them, and prefixes are frequent. */
function drawKeys(count: number): Buffer[] {
  const random = Random.fork(testSeed(), 77);
  const bytes = [0, 0, 1, 0x61, 0xfe, 0xff];
  return Array.from({ length: count }, () =>
    Buffer.from(Array.from({ length: random.int(6) }, () => random.pick(bytes))),
  );
}

it('H1 keys of the history are in the order of the keys, and of one key in that of the epochs', () => {
  const keys = drawKeys(120);
  for (const a of keys) {
    for (const b of keys) {
      const order = Buffer.compare(a, b);
      const [low, high] = [historyKey(3, a, 0xffff_fffe), historyKey(3, b, 2)];
      if (order !== 0) expect(Buffer.compare(low, high)).toBe(order);
    }
    expect(Buffer.compare(historyKey(3, a, 2), historyKey(3, a, 256))).toBe(-1);
  }
});

it('H1 the key and the epoch are found again, and so is the length', () => {
  for (const key of drawKeys(200)) {
    const historical = historyKey(7, key, 123_456);
    expect(keyIn(historical)).toEqual(key);
    expect(epochIn(historical)).toBe(123_456);
    expect(historical.length).toBe(historyKeyBytes(key));
  }
});

it('bounds lie between what belongs to a key and what does not', () => {
  const keys = drawKeys(120);
  for (const a of keys) {
    const [below, behind] = [historyBound(5, a, false), historyBound(5, a, true)];
    for (const b of keys) {
      const order = Buffer.compare(b, a);
      for (const epoch of [0, 0xffff_ffff]) {
        const historical = historyKey(5, b, epoch);
        expect(Buffer.compare(historical, below)).toBe(order < 0 ? -1 : 1);
        expect(Buffer.compare(historical, behind)).toBe(order > 0 ? 1 : -1);
      }
    }
    expect(Buffer.compare(historyBase(5), below)).toBe(-1);
    expect(Buffer.compare(behind, historyBase(6))).toBe(-1);
  }
});
