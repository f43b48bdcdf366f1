/**
 * Programs in which thread 0 dies at every one of its steps, with gates before plain stores too;
 * thread 1 needs what the dead one had, thread 2 reaps with the product's own reaper.
 *
 * Afterwards everything is given back, or the pool is poisoned.
 */
import {
  H_LOG_TAIL,
  H_LOG_TAKEN,
  H_STATUS,
  OK,
  S_STATE,
  SLOT_CLAIMED,
  SLOT_FREE,
  SLOT_STATE_MASK,
  STATUS_OPEN,
} from '../../../src/generated/layout.ts';
import { Reaper } from '../../../src/memory/reaper.ts';
import { closeGate, enterGate } from './programs-log.ts';
import { pinAndCheck, readBytes } from './programs-table.ts';
import { type Setup, slotOf } from './setup.ts';
import { type Body, PARK_MS, type Program, Stopped, type Thread } from './thread.ts';

const VICTIM = 0;
const FRAME = 0;
const BLOB = 1;
const OTHER = 2;

/** No task: only the scheduler says who is dead. */
const TASK = { tid: 0, startTime: 0 };

function reap(t: Thread, slot: number): void {
  const seen = t.control.attachedState(slot) || t.control.reapedState(slot);
  if (seen !== 0) new Reaper(t.memory, t.me, TASK).reap(slot, seen);
}

const reaper: Body = (t) => {
  if (t.gate.awaitDeath()) reap(t, VICTIM);
};

/** A slot whose thread has died before: it has a pin, a shared latch, and waits for a frame. */
const DEAD_BEFORE = 3;

function setupDead(s: Setup): void {
  s.load(BLOB);
  if (s.control.attachSlot(DEAD_BEFORE + 1, 0, 0) !== DEAD_BEFORE) throw new Error('no slot');
  if (s.control.pinShared(BLOB, DEAD_BEFORE) !== FRAME) throw new Error('no pin');
  s.control.enterFrameQueue(DEAD_BEFORE);
}

function afterDead(s: Setup): string | undefined {
  const state = s.u32(slotOf(DEAD_BEFORE) + S_STATE) & SLOT_STATE_MASK;
  if (state === SLOT_CLAIMED && s.died) return undefined;
  const wrong = after(s);
  if (wrong !== undefined || s.poisoned || state === SLOT_FREE) return wrong;
  return `G1 the slot of who died first is in state ${state}`;
}

const firstReaper: Body = (t) => reap(t, DEAD_BEFORE);

const secondReaper: Body = (t) => {
  if (!t.gate.awaitDeath()) return;
  reap(t, VICTIM);
  reap(t, DEAD_BEFORE);
};

function shared(t: Thread): void {
  t.ok(() => t.control.acquireShared(FRAME, t.me, PARK_MS), 'acquireShared');
  const [first, second] = t.readHalves(FRAME);
  t.equal(second, first, 'I1 somebody sees half a change of the dead');
  t.equal(t.control.releaseShared(FRAME, t.me), OK, 'releaseShared');
}

function exclusive(t: Thread): void {
  t.ok(() => t.control.acquireExclusive(FRAME, t.me, PARK_MS), 'acquireExclusive');
  const [first, second] = t.readHalves(FRAME);
  t.equal(second, first, 'I1 somebody sees half a change of the dead');
  t.writeHalves(FRAME, first + 1);
  t.equal(t.control.releaseExclusive(FRAME, t.me), OK, 'releaseExclusive');
}

const pinned: Body = (t) => {
  const frame = t.control.pinShared(BLOB, t.me);
  if (frame < 0) return;
  t.readHalves(frame);
  t.equal(t.control.unpinShared(frame, t.me), OK, 'unpinShared');
};

const want =
  (id: number): Body =>
  (t) =>
    pinAndCheck(t, id, readBytes(t));

const drop: Body = (t) => t.residency(() => undefined).drop(BLOB);

const evict: Body = (t) => {
  t.residency(() => undefined).evict(BLOB);
};

/** Waits for the blob, or finds it dropped: a frame is always to be had. */
const wantAgain: Body = (t) => {
  t.residency(() => undefined).evict(BLOB);
  pinAndCheck(t, OTHER, readBytes(t));
};

function after(s: Setup): string | undefined {
  if (s.poisoned) {
    s.undecided++;
    return undefined;
  }
  const wrong = s.wrongCounts() ?? s.wrongFrames();
  if (wrong !== undefined) return wrong;
  for (let frame = 0; frame < s.frames; frame++) {
    if (s.control.latchOwner(frame) === VICTIM + 1) return `G1 the dead thread owns frame ${frame}`;
  }
  const state = s.u32(slotOf(VICTIM) + S_STATE);
  const free = (state & SLOT_STATE_MASK) === SLOT_FREE;
  return free || !s.died ? undefined : 'G1 the slot of the dead thread is not free';
}

function death(name: string, victim: Body, other: Body, frames = 1): Program {
  return {
    name: `death-${name}`,
    frames,
    setup: (s) => {
      s.load(BLOB);
    },
    bodies: [victim, other, reaper],
    after,
    victim: VICTIM,
    plain: true,
    timeouts: true,
  };
}

/** Commits a record inside the gate; whoever dies there leaves half a change. */
const commit: Body = (t) => {
  enterGate(t);
  t.writeHalves(FRAME, 7);
  t.control.recordBegin(0, 1, 0, 0, 0, t.me);
  t.control.recordPublish(t.me);
  t.control.gateLeave(t.me);
};

/** It has its credit already: nothing interrupts who takes it (see `SLOT_CLAIMED` below). */
const CREDIT_BYTES = 64;

function setupCommit(s: Setup): void {
  s.load(BLOB);
  if (s.control.creditTake(CREDIT_BYTES, VICTIM) !== OK) throw new Error('no credit');
}

/**
 * A round waits for those who are inside. What it has captured it writes only while the pool runs,
 * which is looked at once more before the first write.
 */
const capture: Body = (t) => {
  closeGate(t);
  const [first, second] = t.readHalves(FRAME);
  t.control.gateOpen();
  if (t.memory.load(H_STATUS) !== STATUS_OPEN) throw new Stopped('the pool has stopped');
  t.equal(second, first, 'I3 a capture sees half a change of the dead');
};

/** Nobody has credit at the end. */
function afterCommit(s: Setup): string | undefined {
  const wrong = after(s);
  if (wrong !== undefined || s.poisoned) return wrong;
  const [tail, taken] = [s.u64(H_LOG_TAIL), s.u64(H_LOG_TAKEN)];
  return taken === tail ? undefined : `G1 ${taken} bytes of credit are taken, ${tail} were used`;
}

export const DEATH_PROGRAMS: readonly Program[] = [
  death('pinned', pinned, exclusive),
  death('shared', shared, exclusive),
  death('exclusive', exclusive, shared),
  death('claim', exclusive, (t) => {
    shared(t);
    shared(t);
  }),
  death('loading', want(OTHER), want(OTHER), 2),
  death('evicting', evict, want(BLOB)),
  death('replacing', want(OTHER), want(BLOB)),
  death('dropping', drop, wantAgain),
  death('waiting-for-a-frame', want(OTHER), pinned),
  {
    ...death('gate', commit, capture),
    log: { ringBytes: 256, stagingFrames: 1 },
    setup: setupCommit,
    after: afterCommit,
  },
  // A reaper that dies between the two stores of `beginReap` leaves a claimed slot behind; no
  // thread can end there (assembly/layout.ts, SLOT_CLAIMED), so what is left then is not looked at.
  {
    ...death('reaping', firstReaper, pinned),
    setup: setupDead,
    after: afterDead,
    bodies: [firstReaper, pinned, secondReaper],
  },
];
