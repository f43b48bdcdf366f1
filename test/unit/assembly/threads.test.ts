/** Thread slots and the reaper's kernels; real deaths are in test/concurrency/death.test.ts. */
import { describe, expect, it } from 'vitest';
import {
  B_WAITERS,
  BUSY,
  DESC_B,
  DESC_SHIFT,
  H_FRAME_WAITERS,
  LOCK_COMMIT,
  LOCK_PREFETCH,
  LOCK_REPLACEMENT,
  LOCKS,
  NONE,
  OK,
  S_INTENT,
  S_READING,
  S_WAITING_FRAME,
  S_WAITING_ON,
  SLICE,
  SLOT_BYTES,
  SLOTS,
  SLOTS_MAX,
  UNDECIDED,
} from '../../../src/generated/layout.ts';
import { Bench } from './support.ts';

/** A dead thread and a living one, with blob 1 in a frame. */
function stage() {
  const bench = new Bench();
  const [dead, me, third] = [bench.attach(11), bench.attach(12), bench.attach(13)];
  const frame = bench.load(1, me);
  const { control } = bench;
  /** Threads have no task here, and are told apart by number. */
  const begin = (slot: number, seen: number, reaper: number): number =>
    control.beginReap(slot, seen, reaper, 0, 0);
  /** The steps of src/memory/reaper.ts for one frame. */
  const reap = (): { readonly slot: number; readonly frame: number } => {
    expect(begin(dead, control.attachedState(dead), me)).toBe(OK);
    const slot = control.reapSlot(dead);
    const result = control.reapFrame(dead, frame, me, 0);
    if (result === BUSY) {
      expect(control.unmap(frame, me, 0)).toBe(OK);
      expect(control.giveFree(frame, me, 0)).toBe(OK);
    }
    control.endReap(dead);
    return { slot, frame: result };
  };
  const field = (name: number): number => SLOTS + dead * SLOT_BYTES + name;
  return { bench, control, dead, me, third, frame, begin, reap, field };
}

describe('slots', () => {
  it('are handed out lowest first, each once, until none is left', () => {
    const bench = new Bench();
    const slots = Array.from({ length: SLOTS_MAX }, () => bench.attach());
    expect(slots).toEqual(Array.from({ length: SLOTS_MAX }, (_, n) => n));
    expect(bench.attach()).toBe(NONE);
  });

  it('G1 come back under another generation, so that a late reaper finds nobody', () => {
    const { control, bench, dead, me, begin } = stage();
    const seen = control.attachedState(dead);
    expect(begin(dead, seen, me)).toBe(OK);
    expect([control.attachedState(dead), bench.attach()]).toEqual([0, 3]); // not free yet
    control.endReap(dead);
    expect(bench.attach(14)).toBe(dead);
    expect(control.attachedState(dead)).not.toBe(seen);
    expect(begin(dead, seen, me)).toBe(BUSY);
    expect(begin(dead, control.attachedState(dead), me)).toBe(OK);
  });

  it('G1 one reaper gets the right, the other one does not', () => {
    const { control, dead, me, third, begin } = stage();
    const seen = control.attachedState(dead);
    expect(begin(dead, seen, me)).toBe(OK);
    expect(begin(dead, seen, third)).toBe(BUSY);
  });
});

describe('what a dead thread held on a frame', () => {
  it('G1 pins and shared latches are subtracted, those of others stay', () => {
    const { bench, control, dead, third, frame, reap } = stage();
    for (let n = 0; n < 3; n++) control.pin(1, dead, 0);
    for (let n = 0; n < 2; n++) control.pinShared(1, dead);
    control.pinShared(1, third);
    expect([bench.pins(frame), bench.sharedCount(frame)]).toEqual([6, 3]);
    expect(control.heldBlob(dead, frame)).toBe(1);
    expect(reap()).toEqual({ slot: OK, frame: OK });
    expect([bench.pins(frame), bench.sharedCount(frame)]).toEqual([1, 1]);
    expect([control.holdOf(dead, frame), control.heldBlob(dead, frame)]).toEqual([0, 0]);
    expect(bench.attach()).toBe(dead);
    expect([bench.latches(dead), control.holdOf(dead, frame)]).toEqual([0, 0]);
  });

  it('G1 a claim is taken back, with the version that it had', () => {
    const { bench, control, dead, third, frame, reap } = stage();
    control.pinShared(1, third);
    control.pin(1, dead, 0);
    expect(control.acquireExclusive(frame, dead, 1)).toBe(SLICE);
    const version = bench.version(frame);
    expect([bench.flags(frame), reap().frame]).toEqual(['P', OK]);
    expect([bench.flags(frame), bench.version(frame)]).toEqual(['', version]);
    expect([control.latchOwner(frame), bench.pins(frame)]).toEqual([0, 1]);
  });

  it('I1 an exclusive latch is never given back', () => {
    const { bench, control, dead, me, frame, reap } = stage();
    control.pinExclusive(1, dead, 1);
    expect(reap().frame).toBe(UNDECIDED);
    expect([bench.flags(frame), control.latchOwner(frame)]).toEqual(['X', dead + 1]);
    expect(control.acquireShared(frame, me, 0)).toBe(BUSY);
  });

  it('I4 a load that it had begun is undone, and the frame is free again', () => {
    const { bench, control, dead, me, frame, reap } = stage();
    control.evictFrame(frame, 1, dead, 0);
    control.unmap(frame, dead, 0);
    control.publishLoading(2, frame, dead, 0);
    const version = control.movingVersion(frame, 2);
    expect(reap().frame).toBe(BUSY);
    expect([control.blobOf(frame), control.findLocked(2, me, 0)]).toEqual([0, -1]);
    expect(control.waitMoved(frame, version, me, 0)).toBe(OK);
    expect(Number(bench.version(frame))).toBeGreaterThan(version);
    expect(bench.load(2, me)).toBe(frame);
  });

  it('I4 an eviction that it had begun is finished', () => {
    const { bench, control, dead, me, frame, reap } = stage();
    expect(control.evictFrame(frame, 1, dead, 0)).toBe(OK);
    expect(reap().frame).toBe(BUSY);
    expect([control.isCached(1), control.blobOf(frame)]).toEqual([0, 0]);
    expect(bench.load(1, me)).toBe(frame);
  });

  it('I4 a frame that it had taken and not used yet is free again', () => {
    const { bench, control, dead, me, frame, begin } = stage();
    const taken = control.takeFree(dead, 0);
    expect(taken).not.toBe(frame);
    begin(dead, control.attachedState(dead), me);
    expect(control.reapFrame(dead, taken, me, 0)).toBe(BUSY);
    expect([control.unmap(taken, me, 0), control.giveFree(taken, me, 0)]).toEqual([OK, OK]);
    expect(bench.load(2, me)).toBe(taken);
  });
});

describe('what a dead thread held beside frames', () => {
  it('G1 its places in queues of waiters are given up, and the slot that it read', () => {
    const { bench, control, frame, reap, field, dead } = stage();
    const waiters = DESC_B + frame * 2 ** DESC_SHIFT + B_WAITERS;
    bench.memory.store(waiters, 2);
    bench.memory.store(field(S_WAITING_ON), frame + 1);
    expect(control.enterFrameQueue(dead)).toBe(0);
    control.readBegin(5, dead);
    expect(reap().slot).toBe(OK);
    expect([bench.memory.load(waiters), bench.memory.load(H_FRAME_WAITERS)]).toEqual([1, 0]);
    for (const name of [S_WAITING_ON, S_WAITING_FRAME, S_READING]) {
      expect(bench.memory.load(field(name))).toBe(0);
    }
  });

  it.each([
    ['a shard', LOCKS],
    ['the replacement', LOCK_REPLACEMENT],
    ['the commit', LOCK_COMMIT],
    ['the prefetch', LOCK_PREFETCH],
  ])('I1 %s lock cannot be given back', (_, lock) => {
    const { control, dead, me, reap } = stage();
    expect(control.lockTake(lock, dead, 0)).toBe(OK);
    expect(reap().slot).toBe(UNDECIDED);
    expect([control.lockOwner(lock), control.lockTake(lock, me, 1)]).toEqual([dead + 1, SLICE]);
  });

  it('I1 an intent that is left behind cannot be decided', () => {
    const { bench, reap, field, frame } = stage();
    bench.memory.store(field(S_INTENT), frame + 1);
    expect(reap().slot).toBe(UNDECIDED);
  });

  it('G1 a reaper that dies is followed by one other, who gives back the rest, once', () => {
    const { bench, control, dead, me, third, frame, begin } = stage();
    control.pinShared(1, third);
    control.pinShared(1, me);
    expect(begin(third, control.attachedState(third), dead)).toBe(OK);
    control.reapSlot(third);
    control.reapFrame(third, frame, dead, 0);
    const seen = control.reapedState(third);
    expect(begin(third, seen, me)).toBe(OK);
    expect([begin(third, seen, dead), control.attachedState(third)]).toEqual([BUSY, 0]);
    expect([control.reapSlot(third), control.reapFrame(third, frame, me, 0)]).toEqual([OK, OK]);
    control.endReap(third);
    expect([bench.pins(frame), bench.sharedCount(frame)]).toEqual([1, 1]);
    expect([control.reapedState(third), bench.attach()]).toEqual([0, third]);
  });
});

describe('locks', () => {
  it('name their owner, exclude, and wake who marked them', () => {
    const { control, dead, me } = stage();
    expect([control.lockTake(LOCK_COMMIT, me, 0), control.lockOwner(LOCK_COMMIT)]).toEqual([
      OK,
      me + 1,
    ]);
    expect(control.lockTake(LOCK_COMMIT, dead, 1)).toBe(SLICE);
    expect(control.lockOwner(LOCK_COMMIT)).toBe(me + 1); // marked, but still mine
    control.lockGive(LOCK_COMMIT);
    expect([control.lockOwner(LOCK_COMMIT), control.lockTake(LOCK_COMMIT, dead, 0)]).toEqual([
      0,
      OK,
    ]);
  });
});
