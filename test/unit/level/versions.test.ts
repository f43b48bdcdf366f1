/**
 * Epochs of several threads, staged in one: what is between two of a writer's instructions is done by a
 * replaced `Atomics.store`, and whoever would wait is thrown out.
 */
import { afterEach, expect, it, vi } from 'vitest';
import { EPOCH_MAX, makeVersionWords, Versions } from '../../../src/level/versions.ts';
import type { PoolCore } from '../../../src/pool/core.ts';

const EPOCH = 1;
const DIRTY = 2;

class Waits extends Error {}

/** What the epochs need of a pool whose threads all live. */
function fakeCore(me: number): PoolCore {
  const lookAround = () => {
    throw new Waits();
  };
  const thread = { lookAround, reapNowAndThen: () => undefined };
  return { me, thread, control: { attachedState: (slot: number) => slot + 1 } } as never;
}

function makeThreads() {
  const shared = makeVersionWords();
  const [a, b, c] = [0, 1, 2].map((me) => new Versions(fakeCore(me), shared));
  return { a, b, c, words: new Int32Array(shared) } as {
    a: Versions;
    b: Versions;
    c: Versions;
    words: Int32Array;
  };
}

/** A write that saves: under which base and epoch. */
function save(versions: Versions): { base: number; epoch: number } {
  return { base: versions.base, epoch: versions.noteDirty() };
}

/** Closes a snapshot as far as it goes while somebody is inside a write. */
function tryClose(versions: Versions, epoch: number): void {
  try {
    versions.close(epoch);
  } catch (error) {
    expect(error).toBeInstanceOf(Waits);
  }
}

/** Does something once, before the next store to a word. */
function beforeStore(word: number, act: () => void): void {
  const store = Atomics.store.bind(Atomics) as (a: Int32Array, i: number, v: number) => number;
  let armed = true;
  vi.spyOn(Atomics, 'store').mockImplementation(((a: Int32Array, i: number, v: number) => {
    if (armed && i === word) {
      armed = false;
      act();
    }
    return store(a, i, v);
  }) as never);
}

afterEach(() => {
  vi.restoreAllMocks();
});

it('V1 the last snapshot that is closed moves neither base nor epoch under who is inside a write', () => {
  const { a, b, c } = makeThreads();
  const first = a.open();
  b.enter();
  b.noteDirty();
  b.exit();
  const second = a.open();
  a.close(first);
  b.enter();
  c.enter();
  expect([b.isLive, c.isLive]).toEqual([true, true]);
  let saved = { base: -1, epoch: -1 };
  beforeStore(DIRTY, () => {
    tryClose(a, second);
    saved = save(c);
  });
  b.noteDirty();
  vi.restoreAllMocks();
  b.exit();
  c.exit();
  const third = a.open();
  expect(saved.epoch).toBeGreaterThan(0);
  // What was saved before the snapshot's moment is not what it reads.
  expect(saved.base === a.base && saved.epoch >= third).toBe(false);
  expect(a.isClean(third)).toBe(true);
});

it('V1 waits for a writer in whichever row, also one that came last', () => {
  const { a, b, c } = makeThreads();
  for (const writer of [b, c]) {
    writer.enter();
    expect(() => a.open()).toThrow(Waits);
    writer.exit();
  }
  const d = new Versions(fakeCore(7), a.shared);
  d.enter();
  expect(() => a.open()).toThrow(Waits);
  d.exit();
  // A snapshot of the last row keeps the others from giving up what is saved.
  const open = d.open();
  a.close(a.open());
  expect(a.isLive).toBe(true);
  d.close(open);
  expect(a.isLive).toBe(false);
});

it('H3 what nobody has cleared is to be cleared by the next who closes the last snapshot', () => {
  const { a, b } = makeThreads();
  const first = a.open();
  b.enter();
  save(b);
  b.exit();
  const { clearBelow } = a.close(first);
  expect(clearBelow).toBeGreaterThan(first);
  // Who was to do it has died; nothing was written since.
  expect(b.close(b.open())).toEqual({ clearBelow });
  b.endClearing(clearBelow);
  expect(a.close(a.open())).toEqual({ clearBelow: 0 });
});

it('H3 what is saved while the last snapshot closes is cleared with the rest', () => {
  const { a, b } = makeThreads();
  const first = a.open();
  b.enter();
  save(b);
  tryClose(a, first); // which would wait
  const saved = save(b);
  b.exit();
  const { clearBelow } = a.close(a.open());
  expect(clearBelow).toBeGreaterThan(saved.base);
});

it.each(['clears', 'sweeps'])('V5 epochs do not begin anew while somebody %s', (what) => {
  const { a, b, words } = makeThreads();
  const clearAll = vi.fn();
  const snapshot = a.open();
  b.enter();
  save(b);
  b.noteSaved(1);
  b.exit();
  words[EPOCH] = EPOCH_MAX;
  if (what === 'sweeps') expect(a.beginSweep(1)).toBe(true);
  // What a is to clear below is none of the new numbers.
  const { clearBelow } = a.close(snapshot);
  if (what === 'sweeps') a.endClearing(clearBelow);
  b.restartIfDue(clearAll);
  expect([clearAll.mock.calls.length, b.base]).toEqual([0, clearBelow]);
  if (what === 'sweeps') a.endSweep(0);
  else a.endClearing(0);
  b.restartIfDue(clearAll);
  expect([clearAll.mock.calls.length, b.base, b.open()]).toEqual([1, 0, 1]);
});

it('V5 who has left, and is still to clear, keeps epochs from beginning anew', () => {
  const { a, b, words } = makeThreads();
  const clearAll = vi.fn();
  a.open();
  b.enter();
  save(b);
  b.exit();
  words[EPOCH] = EPOCH_MAX;
  const { clearBelow } = a.leave();
  expect(clearBelow).toBeGreaterThan(EPOCH_MAX);
  b.restartIfDue(clearAll);
  expect(clearAll).not.toHaveBeenCalled();
  a.endClearing(clearBelow);
  b.restartIfDue(clearAll);
  expect(clearAll).toHaveBeenCalledOnce();
});
