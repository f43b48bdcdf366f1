/** The dirty bookkeeping of frames: marking, capturing, retiring, restoring, one by one. */
import { describe, expect, it } from 'vitest';
import {
  BUSY,
  H_DIRTY_COUNT,
  H_STAGING_COUNT,
  MISS,
  NONE,
  OK,
} from '../../../src/generated/layout.ts';
import { Bench } from '../assembly/support.ts';

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, at) =>
    permutations(items.toSpliced(at, 1)).map((rest) => [item, ...rest]),
  );
}

/** A bench with one thread and so many blobs in frames; blob ids are 1, 2 and so on. */
function benchWith(blobs: number, frames = 8) {
  const bench = new Bench(frames);
  const me = bench.attach();
  const frameOf = Array.from({ length: blobs }, (_, at) => bench.load(at + 1, me));
  return { bench, control: bench.control, me, frameOf };
}

function dirtyCount(bench: Bench): number {
  return bench.memory.load(H_DIRTY_COUNT);
}

/** What a capture has taken: blob and seq. */
function captured({ control }: Bench, count: number): [number, number][] {
  return Array.from({ length: count }, (_, at) => [control.captureId(at), control.captureSeq(at)]);
}

describe('marking', () => {
  it.each(permutations([5, 7, 7, 12]).map((order) => [order] as const))(
    'I1 keeps the lowest seq of %j, and counts the frame once',
    (order) => {
      const { bench, control, frameOf } = benchWith(1);
      const [frame = 0] = frameOf;
      const clean = order.map((seq) => control.markDirty(frame, seq));
      expect(clean).toEqual([1, 0, 0, 0]);
      expect([control.dirtySeq(frame), dirtyCount(bench)]).toEqual([5, 1]);
      control.clearDirty(frame);
      control.clearDirty(frame);
      expect([control.dirtySeq(frame), dirtyCount(bench)]).toEqual([0, 0]);
    },
  );

  it('takes seqs up to 2^53', () => {
    const { control, frameOf } = benchWith(1);
    const [frame = 0] = frameOf;
    control.markDirty(frame, Number.MAX_SAFE_INTEGER);
    expect(control.dirtySeq(frame)).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('tells how long a frame has been dirty, also when the clock wraps', () => {
    const { control, frameOf } = benchWith(3);
    const [a = 0, b = 0] = frameOf;
    expect(control.oldestDirtyMs(1000)).toBe(-1);
    control.markDirty(a, 8);
    control.stampDirty(a, 2 ** 32 - 300);
    control.markDirty(b, 16);
    control.stampDirty(b, 2 ** 32 + 100);
    expect(control.oldestDirtyMs(2 ** 32 - 300)).toBe(2 ** 32 - 400);
    expect(control.oldestDirtyMs(2 ** 32 + 200)).toBe(500);
    control.clearDirty(a);
    expect(control.oldestDirtyMs(2 ** 32 + 200)).toBe(100);
  });
});

describe('a capture', () => {
  it('I3 empties the dirty set in one instant, and a racing mark lands in the new one', () => {
    const { bench, control, frameOf } = benchWith(3);
    const [a = 0, b = 0, c = 0] = frameOf;
    control.markDirty(a, 24);
    control.markDirty(c, 16);
    const count = control.captureAll(1);
    expect(new Map(captured(bench, count))).toEqual(
      new Map([
        [1, 24],
        [3, 16],
      ]),
    );
    expect([control.dirtySeq(a), control.dirtySeq(c), dirtyCount(bench)]).toEqual([0, 0, 0]);
    expect([control.flushingSeq(a), control.flushingSeq(b), control.flushingSeq(c)]).toEqual([
      24, 0, 16,
    ]);
    control.markDirty(a, 32);
    control.markDirty(b, 40);
    expect([control.dirtySeq(a), control.flushingSeq(a)]).toEqual([32, 24]);
    expect([dirtyCount(bench), control.lowestUnflushed()]).toEqual([2, 16]);
    expect([a, b, c].map((frame) => control.capturedBy(frame))).toEqual([1, 0, 1]);
    expect([a, b, c].map((frame) => control.unflushedSeq(frame))).toEqual([24, 40, 16]);
  });

  it('of nothing takes nothing', () => {
    const { control } = benchWith(2);
    expect([control.captureAll(1), control.lowestUnflushed()]).toEqual([0, 0]);
  });

  it('race 1 I1 a frame that is dirty, flushing or captured is not evicted', () => {
    const { control, me, frameOf } = benchWith(1);
    const [frame = 0] = frameOf;
    const evict = () => control.evictFrame(frame, 1, me, 0);
    control.markDirty(frame, 8);
    expect(evict()).toBe(BUSY);
    control.captureAll(1);
    expect(evict()).toBe(BUSY);
    expect(control.beginCopy(frame, 1)).toBe(OK);
    control.endCopy(frame);
    expect([control.capturedBy(frame), evict()]).toEqual([0, BUSY]);
    expect([control.retire(0), evict()]).toEqual([1, OK]);
  });

  it('gives the bytes to exactly one copier, and to none of another round', () => {
    const { control, frameOf } = benchWith(2);
    const [frame = 0, clean = 0] = frameOf;
    control.markDirty(frame, 8);
    control.captureAll(3);
    expect([control.beginCopy(frame, 2), control.beginCopy(frame, 4)]).toEqual([MISS, MISS]);
    expect(control.beginCopy(clean, 3)).toBe(MISS);
    expect([control.beginCopy(frame, 0), control.beginCopy(frame, 3)]).toEqual([OK, BUSY]);
    expect([control.beginCopy(frame, 0), control.spinWhileCopied(frame)]).toEqual([BUSY, 0]);
    expect(control.capturedBy(frame)).toBe(3);
    control.endCopy(frame);
    expect([control.beginCopy(frame, 3), control.spinWhileCopied(frame)]).toEqual([MISS, 1]);
  });
});

describe('retiring', () => {
  it('takes a frame that was not changed again', () => {
    const { bench, control, frameOf } = benchWith(1);
    const [frame = 0] = frameOf;
    control.markDirty(frame, 8);
    control.captureAll(1);
    expect(control.retire(0)).toBe(1);
    expect([control.unflushedSeq(frame), dirtyCount(bench)]).toEqual([0, 0]);
    expect(control.retire(0)).toBe(0);
  });

  it.each([
    ['race 4 I1 spares a frame that was changed again under the same seq', 8, 8],
    ['race 5 I1 spares a frame that a late writer changed under a lower seq', 16, 8],
    ['I1 spares a frame that was changed again under a later seq', 8, 16],
  ])('%s', (_, first, again) => {
    const { bench, control, me, frameOf } = benchWith(1);
    const [frame = 0] = frameOf;
    control.markDirty(frame, first);
    control.captureAll(1);
    control.markDirty(frame, again);
    expect(control.retire(0)).toBe(1);
    expect([control.dirtySeq(frame), control.flushingSeq(frame)]).toEqual([again, 0]);
    expect([control.lowestUnflushed(), dirtyCount(bench)]).toEqual([again, 1]);
    expect(control.evictFrame(frame, 1, me, 0)).toBe(BUSY);
    // And the next round takes it.
    expect(control.captureAll(2)).toBe(1);
    expect(captured(bench, 1)).toEqual([[1, again]]);
  });

  it('leaves a frame alone that was dropped, and one that was captured with another seq', () => {
    const { bench, control, frameOf } = benchWith(2);
    const [a = 0, b = 0] = frameOf;
    control.markDirty(a, 8);
    control.markDirty(b, 16);
    control.captureAll(1);
    control.forgetDirty(a);
    expect([control.retire(0), control.retire(1)]).toEqual([0, 1]);
    expect([control.unflushedSeq(a), dirtyCount(bench)]).toEqual([0, 0]);
  });
});

describe('restoring', () => {
  it.each([
    ['nothing', undefined, 16],
    ['a later seq', 24, 16],
    ['the same seq', 16, 16],
    ['a lower seq', 8, 8],
  ])('I1 puts the entry back, merged by minimum with %s', (_, later, expected) => {
    const { bench, control, frameOf } = benchWith(1);
    const [frame = 0] = frameOf;
    control.markDirty(frame, 16);
    control.stampDirty(frame, 1000);
    control.captureAll(1);
    if (later !== undefined) {
      control.markDirty(frame, later);
      control.stampDirty(frame, 5000);
    }
    expect(control.restore(0)).toBe(1);
    expect([control.dirtySeq(frame), control.flushingSeq(frame)]).toEqual([expected, 0]);
    expect([control.capturedBy(frame), dirtyCount(bench)]).toEqual([0, 1]);
    expect([control.lowestUnflushed(), control.oldestDirtyMs(6000)]).toEqual([expected, 5000]);
    expect(control.restore(0)).toBe(0);
  });

  it('skips a tombstone: a blob that was deleted since is not dirty again', () => {
    const { bench, control, frameOf } = benchWith(2);
    const [a = 0, b = 0] = frameOf;
    control.markDirty(a, 8);
    control.markDirty(b, 16);
    control.captureAll(1);
    control.forgetDirty(a);
    expect([control.restore(0), control.restore(1)]).toEqual([0, 1]);
    expect([control.unflushedSeq(a), control.unflushedSeq(b), dirtyCount(bench)]).toEqual([
      0, 16, 1,
    ]);
  });
});

describe('staging entries', () => {
  it('name their frame and round, and go from hand to hand', () => {
    const { bench, control } = benchWith(0);
    const { memory } = bench;
    const count = control.stagingFree();
    if (count > 0) throw new Error('a bench has no staging frames of its own');
    memory.store(H_STAGING_COUNT, 2);
    expect([control.stagingTake(), control.stagingTake(), control.stagingTake()]).toEqual([
      0,
      1,
      NONE,
    ]);
    expect([control.stagingNext(0), control.stagingFree()]).toEqual([NONE, 0]);
    control.stagingReady(1, 5, 7);
    expect([control.stagingNext(0), control.stagingNext(0)]).toEqual([1, NONE]);
    expect([control.stagingFrame(1), control.stagingRound(1)]).toEqual([5, 7]);
    control.stagingGive(1);
    expect([control.stagingFree(), control.stagingTake()]).toEqual([1, 1]);
  });
});
