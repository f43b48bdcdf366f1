/**
 * Programs on the hybrid latch and on the locks: exclusion, validation, waking, upgrade.
 *
 * Frame 0 has a blob; its bytes are two data words that must always be equal.
 */
import { BUSY, LOCK_PREFETCH, OK, SLICE } from '../../../src/generated/layout.ts';
import type { Setup } from './setup.ts';
import { type Body, PARK_MS, type Program, type Thread } from './thread.ts';

const FRAME = 0;
const BLOB = 1;
/** Data words: who is in the exclusive section, who in the shared one (a bit for each thread). */
const WRITER = 8;
const READERS = 9;

function setup(s: Setup): void {
  s.load(BLOB);
}

function takeExclusive(t: Thread): void {
  t.ok(() => t.control.acquireExclusive(FRAME, t.me, PARK_MS), 'acquireExclusive');
}

function takeShared(t: Thread): void {
  t.ok(() => t.control.acquireShared(FRAME, t.me, PARK_MS), 'acquireShared');
}

/** What the holder of X may rely on, and a change of the bytes. */
function change(t: Thread): void {
  t.enterAlone(WRITER, 'D1 two threads hold the frame exclusively');
  t.equal(t.gate.read(READERS), 0, 'D1 a reader is in with a writer');
  const [first, second] = t.readHalves(FRAME);
  t.equal(second, first, 'D1 a writer finds a half change');
  t.writeHalves(FRAME, first + 1);
  t.leaveAlone(WRITER, 'D1 somebody came in while a writer was in');
  t.note(0);
}

const writer: Body = (t) => {
  takeExclusive(t);
  change(t);
  t.equal(t.control.releaseExclusive(FRAME, t.me), OK, 'releaseExclusive');
};

const sharedReader: Body = (t) => {
  takeShared(t);
  const bit = 1 << t.me;
  t.gate.write(READERS, t.gate.read(READERS) | bit);
  t.equal(t.gate.read(WRITER), 0, 'D1 a writer is in with a reader');
  const [first, second] = t.readHalves(FRAME);
  t.equal(second, first, 'D1 a shared reader sees a half change');
  t.gate.write(READERS, 0);
  t.equal(t.control.releaseShared(FRAME, t.me), OK, 'releaseShared');
};

/** As above, for programs with several shared readers: they do not tell each other apart. */
const quietReader: Body = (t) => {
  takeShared(t);
  const [first, second] = t.readHalves(FRAME);
  t.equal(second, first, 'D1 a shared reader sees a half change');
  t.equal(t.control.releaseShared(FRAME, t.me), OK, 'releaseShared');
};

const optimisticReader: Body = (t) => {
  const seen = new Map<number, number>();
  for (let attempt = 0; attempt < 2; attempt++) {
    const version = t.control.optimistic(FRAME);
    if (version < 0) {
      t.gate.yield();
      continue;
    }
    const [first, second] = t.readHalves(FRAME);
    if (!t.control.validate(FRAME, version)) continue;
    t.equal(second, first, 'I5 a torn read was validated');
    t.check((seen.get(version) ?? first) === first, 'I5 one version for different bytes');
    seen.set(version, first);
  }
};

const upgrader: Body = (t) => {
  const version = t.control.optimistic(FRAME);
  if (version < 0) return;
  const [first] = t.readHalves(FRAME);
  const result = t.control.upgrade(FRAME, version, t.me);
  t.check(result === OK || result === BUSY, `upgrade says ${result}`);
  if (result !== OK) return;
  t.equal(t.gate.read(FRAME), first, 'I5 the bytes changed between the version and the upgrade');
  change(t);
  t.equal(t.control.releaseExclusive(FRAME, t.me), OK, 'releaseExclusive');
};

/** Only tries; leaves nothing behind when it fails. */
const trier: Body = (t) => {
  const result = t.control.acquireExclusive(FRAME, t.me, 0);
  t.check(result === OK || result === BUSY, `a try says ${result}`);
  if (result !== OK) return;
  change(t);
  t.equal(t.control.releaseExclusive(FRAME, t.me), OK, 'releaseExclusive');
};

/** Waits once, then gives its claim up. */
const quitter: Body = (t) => {
  const result = t.control.acquireExclusive(FRAME, t.me, PARK_MS);
  if (result === SLICE) t.control.abandonExclusive(FRAME, t.me);
  if (result !== OK) return;
  change(t);
  t.equal(t.control.releaseExclusive(FRAME, t.me), OK, 'releaseExclusive');
};

function after(s: Setup): string | undefined {
  const wrong = s.wrongCounts() ?? s.wrongFrames();
  if (wrong !== undefined) return wrong;
  if (s.control.latchFlags(FRAME) !== 0) return 'D1 the latch is not free at the end';
  // Each change adds one: none was lost.
  const changes = s.data[32] as number;
  return s.data[0] === BLOB + changes ? undefined : `I5 ${changes} changes, bytes say ${s.data[0]}`;
}

// --- locks -------------------------------------------------------------------------------------

const locker: Body = (t) => {
  t.ok(() => t.control.lockTake(LOCK_PREFETCH, t.me, PARK_MS), 'lockTake');
  t.equal(t.control.lockOwner(LOCK_PREFETCH), t.me + 1, 'D1 the lock does not name its owner');
  t.enterAlone(WRITER, 'D1 two threads hold one lock');
  t.leaveAlone(WRITER, 'D1 somebody came in while the lock was held');
  t.control.lockGive(LOCK_PREFETCH);
};

const lockFree = (s: Setup) =>
  s.u32(LOCK_PREFETCH) === 0 ? undefined : 'D1 the lock is not free at the end';

export const LATCH_PROGRAMS: readonly Program[] = [
  { name: 'latch-writers', setup, after, bodies: [writer, writer, optimisticReader] },
  { name: 'latch-mixed', setup, after, bodies: [writer, sharedReader, optimisticReader] },
  { name: 'latch-shared', setup, after, bodies: [writer, quietReader, quietReader] },
  { name: 'latch-contended', setup, after, bodies: [writer, writer, quietReader] },
  { name: 'latch-upgrade', setup, after, bodies: [upgrader, upgrader, sharedReader] },
  { name: 'latch-try', setup, after, bodies: [trier, quietReader, quietReader] },
  { name: 'latch-quit', setup, after, bodies: [quitter, quietReader, writer], timeouts: true },
  { name: 'locks', setup, after: lockFree, bodies: [locker, locker, locker] },
];
