/**
 * Programs on pins, eviction, the page table and loading.
 *
 * The bytes of a frame are two data words; a loaded blob has its id in both.
 */

import { WeirpoolError } from '../../../src/errors.ts';
import { GONE, MISS, NONE, OK } from '../../../src/generated/layout.ts';
import type { Setup } from './setup.ts';
import { type Body, PARK_MS, type Program, type Thread } from './thread.ts';

const BLOB = 1;
const OTHER = 2;
const THIRD = 3;
/** Notes: loads that failed, pins that failed, pins that were got. */
const READS = 0;
const FAILED = 1;
const PINNED = 2;

/** What a pinned frame must be: this blob, whole, for as long as it is pinned. */
export function checkBytes(t: Thread, frame: number, id: number): void {
  t.equal(t.control.blobOf(frame), id, 'I1 a pinned frame changed its blob');
  for (const half of t.readHalves(frame)) t.equal(half, id, 'I1 the bytes of a pinned blob');
}

const pinner: Body = (t) => {
  const frame = t.control.pin(BLOB, t.me, 1);
  if (frame < 0) return;
  checkBytes(t, frame, BLOB);
  t.equal(t.control.unpin(frame, t.me), OK, 'unpin');
};

const sharedPinner: Body = (t) => {
  const frame = t.control.pinShared(BLOB, t.me);
  if (frame < 0) return;
  checkBytes(t, frame, BLOB);
  t.equal(t.control.unpinShared(frame, t.me), OK, 'unpinShared');
};

/** Latches a blob that is pinned: one that was dropped meanwhile is gone, and says so. */
export function latchAndCheck(t: Thread, frame: number): void {
  const result = t.wait(() => t.control.acquireShared(frame, t.me, PARK_MS));
  t.check(result === OK || result === GONE, `a shared latch says ${result}`);
  if (result === OK) {
    checkBytes(t, frame, BLOB);
    t.equal(t.control.releaseShared(frame, t.me), OK, 'releaseShared');
  }
  t.equal(t.control.unpin(frame, t.me), OK, 'unpin');
}

const latcher: Body = (t) => {
  const frame = t.control.pin(BLOB, t.me, 1);
  if (frame >= 0) latchAndCheck(t, frame);
};

const locator: Body = (t) => {
  const frame = t.control.locate(BLOB, t.me);
  if (frame < 0) return;
  const version = t.out;
  const halves = t.readHalves(frame);
  if (!t.control.validate(frame, version)) return;
  for (const half of halves) t.equal(half, BLOB, 'I4 a validated read of another blob');
};

function loadInto(t: Thread, frame: number, id: number): void {
  t.ok(() => t.control.publishLoading(id, frame, t.me, PARK_MS), 'publishLoading');
  t.writeHalves(frame, id);
  t.ok(() => t.control.finishLoad(frame, t.me, PARK_MS), 'finishLoad');
}

/** Takes a victim and loads another blob into its frame. */
const replacer: Body = (t) => {
  const frame = t.wait(() => t.control.sweep(t.me, PARK_MS));
  if (frame === NONE) return;
  t.equal(t.control.dirtySeq(frame), 0, 'I1 a dirty frame was evicted');
  const id = t.control.blobOf(frame);
  for (const half of t.readHalves(frame)) t.equal(half, id, 'I1 a change was evicted');
  t.ok(() => t.control.unmap(frame, t.me, PARK_MS), 'unmap');
  loadInto(t, frame, OTHER);
  t.equal(t.control.unpin(frame, t.me), OK, 'unpin');
};

const evictor: Body = (t) => {
  if (t.wait(() => t.control.evictFrame(0, BLOB, t.me, PARK_MS)) !== OK) return;
  t.ok(() => t.control.unmap(0, t.me, PARK_MS), 'unmap');
  t.ok(() => t.control.giveFree(0, t.me, PARK_MS), 'giveFree');
};

/** Changes the blob; a frame that was changed stays. */
const changer: Body = (t) => {
  const frame = t.control.pinExclusive(BLOB, t.me, 7);
  if (frame < 0) return;
  t.equal(t.control.blobOf(frame), BLOB, 'I1 a pinned frame changed its blob');
  const [before] = t.readHalves(frame);
  t.writeHalves(frame, before + 100);
  t.equal(t.control.unpinExclusive(frame, t.me), OK, 'unpinExclusive');
};

// --- a round that fails -------------------------------------------------------------------------

const ROUND = 1;

/** The blob was changed and captured, and its image copied. */
function setupCaptured(s: Setup): void {
  const frame = s.load(BLOB);
  s.control.markDirty(frame, 7);
  s.control.captureAll(ROUND);
  s.control.endCopy(frame);
}

/**
 * The round has failed: what it captured is dirty again. Its mark moves between two words, so that a
 * single look at both could find neither; an eviction looks before and after it has set E.
 */
const restorer: Body = (t) => {
  t.check(t.control.restore(0) !== 0, 'I1 a captured frame is put back');
};

function after(s: Setup): string | undefined {
  return s.wrongCounts() ?? s.wrongFrames();
}

// --- page table ----------------------------------------------------------------------------------

/** Same bucket as BLOB, and another one; of pools with up to 32 frames. */
const NEIGHBOURS = [56, 90];
const STRANGER = 2;

function setupChain(s: Setup): void {
  for (const id of NEIGHBOURS) {
    if (s.bucketOf(id) !== s.bucketOf(BLOB)) throw new Error(`${s.others(BLOB, 2, true)}`);
  }
  if (s.bucketOf(STRANGER) === s.bucketOf(BLOB)) throw new Error('the stranger is a neighbour');
  s.load(NEIGHBOURS[0] as number);
}

/** Pins as the product does, with the product's own code for misses; the bytes must be right. */
export function pinAndCheck(
  t: Thread,
  id: number,
  read: (id: number, frame: number) => void,
): void {
  const frame = t.residency(read).pin(id, true);
  t.note(PINNED);
  checkBytes(t, frame, id);
  t.equal(t.control.unpin(frame, t.me), OK, 'unpin');
}

export function readBytes(t: Thread): (id: number, frame: number) => void {
  return (id, frame) => {
    t.check(t.framesOf(id).length === 1, `I4 blob ${id} is in frames ${t.framesOf(id)}`);
    t.writeHalves(frame, id);
  };
}

const misser: Body = (t) => pinAndCheck(t, BLOB, readBytes(t));

/** The neighbour in the chain is always there: under the lock nobody may miss it. */
const finder: Body = (t) => {
  const id = NEIGHBOURS[0] as number;
  const there = t.framesOf(id)[0] as number;
  const seen = t.control.locate(id, t.me);
  t.check(seen === there || seen === MISS, `I4 locate finds ${seen} instead of ${there}`);
  const found = t.wait(() => t.control.findLocked(id, t.me, PARK_MS));
  t.equal(found, there, 'I4 a miss under the lock of a blob that is there');
};

/** Removes the head of the chain and puts its frame into another one. */
const mover: Body = (t) => {
  const frame = t.framesOf(BLOB)[0] as number;
  if (t.wait(() => t.control.evictFrame(frame, BLOB, t.me, PARK_MS)) !== OK) return;
  t.ok(() => t.control.unmap(frame, t.me, PARK_MS), 'unmap');
  loadInto(t, frame, STRANGER);
  t.equal(t.control.unpin(frame, t.me), OK, 'unpin');
};

const inserter: Body = (t) => {
  const id = NEIGHBOURS[1] as number;
  pinAndCheck(t, id, readBytes(t));
  t.check(t.framesOf(id).length <= 1, `I4 blob ${id} is in frames ${t.framesOf(id)}`);
};

// --- loads that fail, frames that are scarce -------------------------------------------------------

function ioError(): WeirpoolError {
  return new WeirpoolError('STORE_IO', 'the store does not answer', { details: { errno: 5 } });
}

/** The first read fails, all later ones do not. */
const loader: Body = (t) => {
  try {
    pinAndCheck(t, BLOB, (id, frame) => {
      t.note(READS);
      if (t.noted(READS) === 1) {
        t.gate.read(0);
        throw ioError();
      }
      readBytes(t)(id, frame);
    });
  } catch (error) {
    if (!(error instanceof WeirpoolError)) throw error;
    t.equal(error.code, 'STORE_IO', 'what a waiter is told');
    t.note(FAILED);
  }
};

function afterLoads(s: Setup): string | undefined {
  const [reads, failed, pinned] = [s.data[32], s.data[33], s.data[34]] as [number, number, number];
  if (failed < 1) return 'I4 the read that failed was nobody’s';
  if (failed + pinned !== 3) return `I4 ${failed} failures and ${pinned} pins of 3 threads`;
  // Frames are enough for all: who waits does not read.
  if (pinned > 0 && reads !== 2) return `I4 ${reads} reads instead of 2`;
  return after(s);
}

const unlucky: Body = (t) => {
  try {
    pinAndCheck(t, OTHER, () => {
      t.gate.read(0);
      throw ioError();
    });
  } catch (error) {
    if (!(error instanceof WeirpoolError)) throw error;
  }
};

/** Its own blob can be read: another one's failure is not its own. */
const lucky: Body = (t) => {
  try {
    pinAndCheck(t, BLOB, readBytes(t));
  } catch (error) {
    if (!(error instanceof WeirpoolError)) throw error;
    t.check(false, `I4 a waiter got the failure of another blob: ${error.message}`);
  }
};

const wanter =
  (id: number): Body =>
  (t) =>
    pinAndCheck(t, id, readBytes(t));

const optimisticUpgrader: Body = (t) => {
  const frame = t.control.locate(BLOB, t.me);
  if (frame < 0) return;
  if (t.control.upgrade(frame, t.out, t.me) !== OK) return;
  t.equal(t.control.releaseExclusive(frame, t.me), OK, 'releaseExclusive');
};

const dropper: Body = (t) => t.residency(() => undefined).drop(BLOB);

const loadingLatcher: Body = (t) => latchAndCheck(t, t.residency(readBytes(t)).pin(BLOB, true));

const residencyEvictor: Body = (t) => {
  t.residency(() => undefined).evict(BLOB);
};

function setupOne(s: Setup): void {
  s.load(BLOB);
}

function setupTwo(s: Setup): void {
  setupChain(s);
  s.load(BLOB);
}

export const TABLE_PROGRAMS: readonly Program[] = [
  { name: 'pin-replace', setup: setupOne, after, bodies: [pinner, replacer, pinner] },
  { name: 'pin-shared-replace', setup: setupOne, after, bodies: [sharedPinner, replacer] },
  { name: 'pin-evict', setup: setupOne, after, bodies: [pinner, evictor, sharedPinner] },
  { name: 'locate-replace', setup: setupOne, after, bodies: [locator, replacer] },
  { name: 'change-replace', setup: setupOne, after, bodies: [changer, replacer, changer] },
  { name: 'change-restored', setup: setupCaptured, after, bodies: [replacer, restorer] },
  { name: 'miss-twice', frames: 3, setup: setupChain, after, bodies: [misser, misser, finder] },
  { name: 'chain', frames: 3, setup: setupTwo, after, bodies: [mover, finder, inserter] },
  {
    name: 'load-fails',
    frames: 3,
    setup: () => {},
    after: afterLoads,
    bodies: [loader, loader, loader],
  },
  { name: 'load-fate', setup: setupOne, after, bodies: [unlucky, lucky] },
  {
    name: 'frames-scarce',
    setup: setupOne,
    after,
    bodies: [wanter(OTHER), wanter(BLOB), wanter(THIRD)],
  },
  {
    name: 'frames-latched',
    setup: setupOne,
    after,
    bodies: [wanter(OTHER), optimisticUpgrader, sharedPinner],
  },
  { name: 'drop', frames: 2, setup: setupOne, after, bodies: [dropper, sharedPinner, latcher] },
  {
    name: 'drop-evict',
    frames: 2,
    setup: setupOne,
    after,
    bodies: [dropper, residencyEvictor, loadingLatcher],
  },
];
