/**
 * Programs on what a log adds: the commit gate, credit and records in the ring, images of captured
 * frames, retiring, pending deletes.
 *
 * The bytes of a frame, and of a staging frame behind all frames, are two data words.
 */
import { WeirpoolError } from '../../../src/errors.ts';
import {
  BUSY,
  H_CREDIT_WAKE,
  H_GATE,
  H_GATE_WAKE,
  H_LOG_CONSUMED,
  H_LOG_TAIL,
  H_LOG_TAKEN,
  H_RING,
  H_RING_MASK,
  H_STAGING_WAKE,
  H_STATUS,
  MISS,
  NONE,
  OK,
  R_HEADER_BYTES,
  R_LENGTH,
  R_OWNER,
  STAGING,
  STAGING_ENTRY,
  STATUS_OPEN,
} from '../../../src/generated/layout.ts';
import { latchAndCheck, readBytes } from './programs-table.ts';
import { homeOfDelete, type Setup } from './setup.ts';
import { type Body, PARK_MS, type Program, Stopped, type Thread } from './thread.ts';

const BLOB = 1;
const OTHER = 2;
const RING_BYTES = 128;
const LOG = { ringBytes: RING_BYTES, stagingFrames: 1 };

function after(s: Setup): string | undefined {
  return s.wrongCounts() ?? s.wrongFrames();
}

// --- the commit gate -----------------------------------------------------------------------------

/** As a mini-transaction does: parks until the gate is open. */
export function enterGate(t: Thread): void {
  for (;;) {
    const result = t.control.gateEnter(t.me);
    if (result === OK) return;
    t.equal(result, BUSY, 'gateEnter');
    t.control.park(H_GATE, 1, PARK_MS);
  }
}

/** As a round does: closes, and waits until everybody is out. */
export function closeGate(t: Thread): void {
  t.control.gateClose();
  for (;;) {
    const seen = t.memory.load(H_GATE_WAKE);
    if (t.control.gateInside() === 0) return;
    t.control.park(H_GATE_WAKE, seen, PARK_MS);
    if (t.memory.load(H_STATUS) !== STATUS_OPEN) throw new Stopped('the pool has stopped');
  }
}

/** Changes two words that belong together: the pair of its own. */
const committer: Body = (t) => {
  enterGate(t);
  t.writeHalves(t.me, 7);
  t.control.gateLeave(t.me);
};

const capturer: Body = (t) => {
  closeGate(t);
  for (const pair of [0, 1]) {
    const [first, second] = t.readHalves(pair);
    t.equal(second, first, 'I3 a capture sees half a change');
  }
  t.control.gateOpen();
};

// --- credit and records --------------------------------------------------------------------------

/** Records wrap; or each lap puts them where those of the lap before were. */
const WRAPS = 8;
const LAPS = RING_BYTES / 2 - R_HEADER_BYTES;
/** More than a record will have: the rest goes back. */
const CREDIT_SPARE = 16;
const RECORDS = 2;
const PRODUCERS = 2;
/** Payloads say owner and number. */
const OWNERS = 16;
const PAYLOADS = 4;
const PAYLOAD_STEP = 8;

function waitForCredit(t: Thread, bytes: number): void {
  for (;;) {
    const seen = t.memory.load(H_CREDIT_WAKE);
    if (t.control.creditTake(bytes, t.me) === OK) return;
    t.control.park(H_CREDIT_WAKE, seen, PARK_MS);
  }
}

function ringAt(t: Thread, position: number): number {
  return t.memory.load(H_RING) + (position & t.memory.load(H_RING_MASK));
}

/** Data word that stands for the payload of the record at that place of the ring. */
function payloadAt(position: number): number {
  return PAYLOADS + (position % RING_BYTES) / PAYLOAD_STEP;
}

/** Takes credit that it does not use after all, as in an abort. */
const giver: Body = (t) => {
  waitForCredit(t, RING_BYTES / 2 + CREDIT_SPARE);
  t.control.creditGive(t.me);
};

const producer =
  (payloadBytes: number): Body =>
  (t) => {
    const bytes = R_HEADER_BYTES + payloadBytes;
    for (let n = 1; n <= RECORDS; n++) {
      waitForCredit(t, bytes + CREDIT_SPARE);
      const payload = t.control.recordBegin(t.me + 1, 1, 0, 0, payloadBytes, t.me);
      t.gate.write(payloadAt(payload + RING_BYTES - R_HEADER_BYTES), (t.me + 1) * OWNERS + n);
      t.control.recordPublish(t.me);
    }
  };

/** The journal: takes what is published, in order, and gives the room back. */
const consumer =
  (payloadBytes: number): Body =>
  (t) => {
    const bytes = R_HEADER_BYTES + payloadBytes;
    const last = [0, 0, 0];
    let [from, left] = [0, RECORDS * PRODUCERS];
    while (left > 0) {
      const to = t.control.ringPublished(from, RING_BYTES);
      if (to === from) {
        t.gate.yield();
        continue;
      }
      for (let at = from; at < to; at += bytes, left--) {
        t.equal(t.memory.u32[ringAt(t, at + R_LENGTH) / 4], bytes, 'R1 length of a record');
        const owner = Number(t.memory.u64[ringAt(t, at + R_OWNER) / 8]);
        const n = t.gate.read(payloadAt(at));
        t.check(owner >= 1 && owner <= PRODUCERS, `R1 a record of owner ${owner}`);
        const next = (last[owner] as number) + 1;
        t.equal(n, owner * OWNERS + next, `R1 the next record of owner ${owner}`);
        last[owner] = next;
      }
      t.control.ringConsume(to);
      from = to;
    }
  };

function wrongCredit(s: Setup, end: number): string | undefined {
  const [tail, taken, consumed] = [H_LOG_TAIL, H_LOG_TAKEN, H_LOG_CONSUMED].map((at) => s.u64(at));
  if (tail !== BigInt(end)) return `R1 the log ends at ${tail}`;
  if (taken !== tail) return `R1 ${taken} bytes of credit are taken, ${tail} were used`;
  return consumed === tail ? undefined : `R1 ${consumed} bytes were consumed`;
}

function ring(name: string, payloadBytes: number): Program {
  const end = RECORDS * PRODUCERS * (R_HEADER_BYTES + payloadBytes);
  return {
    name,
    log: LOG,
    setup: () => {},
    after: (s) => wrongCredit(s, end),
    bodies: [producer(payloadBytes), producer(payloadBytes), consumer(payloadBytes)],
  };
}

// --- images of captured frames ---------------------------------------------------------------------

const ROUND = 1;
const CAPTURED = 2;

function capture(s: Setup): void {
  for (const id of [BLOB, OTHER]) s.control.markDirty(s.load(id), 5);
  if (s.control.captureAll(ROUND) !== CAPTURED) throw new Error('both frames are captured');
}

function copyToStaging(t: Thread, frame: number, staging: number): void {
  const at = t.memory.shared.frames + staging;
  const [first, second] = t.readHalves(frame);
  t.gate.write(at * 2, first);
  t.gate.write(at * 2 + 1, second);
  t.control.endCopy(frame);
  t.control.stagingReady(staging, frame, ROUND);
}

/** Whether the image of the frame is saved, or nobody wants it; as the product's `preserve`. */
function preserve(t: Thread, frame: number): boolean {
  for (;;) {
    const round = t.control.capturedBy(frame);
    if (round === 0) return true;
    const staging = t.control.stagingTake();
    if (staging === NONE) return false;
    if (t.control.beginCopy(frame, round) === OK) {
      copyToStaging(t, frame, staging);
      return true;
    }
    t.control.stagingGive(staging);
    t.gate.yield();
  }
}

/** Changes a captured frame; short of staging it waits outside, as an op does. */
const overwriter =
  (frame: number): Body =>
  (t) => {
    for (;;) {
      const seen = t.memory.load(H_STAGING_WAKE);
      if (preserve(t, frame)) break;
      if (t.control.stagingFree() === 0) t.control.park(H_STAGING_WAKE, seen, PARK_MS);
    }
    t.writeHalves(frame, 100);
  };

function nextImage(t: Thread, uncopied: number[]): number {
  const ready = t.control.stagingNext(0);
  if (ready !== NONE) return ready;
  for (const frame of [...uncopied]) {
    const staging = t.control.stagingTake();
    if (staging === NONE) return NONE;
    const result = t.control.beginCopy(frame, ROUND);
    if (result === OK) {
      copyToStaging(t, frame, staging);
      return t.control.stagingNext(0);
    }
    t.control.stagingGive(staging);
    if (result === MISS) uncopied.splice(uncopied.indexOf(frame), 1);
  }
  return NONE;
}

const checkpointer: Body = (t) => {
  const uncopied = [0, 1];
  const images = new Set<number>();
  while (images.size < CAPTURED) {
    const staging = nextImage(t, uncopied);
    if (staging === NONE) {
      t.gate.yield();
      continue;
    }
    const frame = t.control.stagingFrame(staging);
    t.equal(t.control.stagingRound(staging), ROUND, 'I3 the round of an image');
    t.check(!images.has(frame), `I3 frame ${frame} has two images`);
    images.add(frame);
    const at = t.memory.shared.frames + staging;
    for (const half of t.readHalves(at)) t.equal(half, frame + 1, 'I3 the bytes of a capture');
    t.control.stagingGive(staging);
  }
};

function afterImages(s: Setup): string | undefined {
  for (let frame = 0; frame < CAPTURED; frame++) {
    if (s.control.capturedBy(frame) !== 0) return `I3 frame ${frame} is still captured`;
  }
  for (let n = 0; n < s.shared.stagingFrames; n++) {
    if (s.u32(STAGING + n * STAGING_ENTRY) !== 0) return `I3 staging frame ${n} is not free`;
  }
  return after(s);
}

// --- retiring ------------------------------------------------------------------------------------

/** Data word: value of the blob in the store. */
const STORED = 12;

/** Frame 0 was captured, and its image is committed. */
function setupWritten(s: Setup): void {
  s.control.markDirty(s.load(BLOB), 5);
  s.control.captureAll(ROUND);
  s.control.endCopy(0);
  s.data[STORED] = BLOB;
}

const retirer: Body = (t) => {
  t.control.retire(0);
};

/** Changes the blob and commits, unless it was evicted before. */
const changer: Body = (t) => {
  const frame = t.control.pinExclusive(BLOB, t.me, 0);
  if (frame < 0) return;
  t.writeHalves(frame, 100);
  t.control.commitFrame(frame, t.me, 9);
};

/** Whoever evicts a frame leaves the store's image as the only one. */
const evictor: Body = (t) => {
  if (t.wait(() => t.control.evictFrame(0, BLOB, t.me, PARK_MS)) !== OK) return;
  for (const half of t.readHalves(0)) t.equal(half, t.peek(STORED), 'I1 a change was evicted');
  t.ok(() => t.control.unmap(0, t.me, PARK_MS), 'unmap');
  t.ok(() => t.control.giveFree(0, t.me, PARK_MS), 'giveFree');
};

function afterRetiring(s: Setup): string | undefined {
  if (s.control.flushingSeq(0) !== 0) return 'I1 the frame was not retired';
  const dirty = s.control.dirtySeq(0);
  if (s.data[0] === 100 && s.control.blobOf(0) === BLOB && dirty !== 9) {
    return `I1 the frame was changed again, its dirty seq is ${dirty}`;
  }
  return after(s);
}

function setupDirty(s: Setup): void {
  s.control.markDirty(s.load(BLOB), 5);
  s.data[STORED] = 0; // not there
}

const captureOnly: Body = (t) => {
  t.equal(t.control.captureAll(ROUND), 1, 'I3 frames that were captured');
};

// --- pending deletes -------------------------------------------------------------------------------

/** Data words: blobs that have the same place in the table as BLOB; whether BLOB is deleted. */
const NEIGHBOUR = 9;
const THIRD = 10;
const DELETED = 14;

function sameHome(count: number): number[] {
  const ids: number[] = [];
  for (let id = BLOB + 1; ids.length < count; id++) {
    if (homeOfDelete(id) === homeOfDelete(BLOB)) ids.push(id);
  }
  return ids;
}

function setupDeletes(s: Setup): void {
  const [neighbour, third] = sameHome(2) as [number, number];
  s.data[NEIGHBOUR] = neighbour;
  s.data[THIRD] = third;
  for (const id of [BLOB, neighbour]) s.control.deleteAdd(id, 5, 0, 0);
}

const deleteRemover: Body = (t) => {
  t.ok(() => t.control.deleteRemove(BLOB, t.me, PARK_MS), 'deleteRemove');
  t.equal(
    t.wait(() => t.control.deletePending(BLOB, t.me, PARK_MS)),
    MISS,
    'I4 a delete is done',
  );
};

const deleteAdder: Body = (t) => {
  const third = t.peek(THIRD);
  t.ok(() => t.control.deleteAdd(third, 7, t.me, PARK_MS), 'deleteAdd');
  t.equal(
    t.wait(() => t.control.deletePending(third, t.me, PARK_MS)),
    OK,
    'I4 a new delete',
  );
};

const deleteLooker: Body = (t) => {
  const id = t.peek(NEIGHBOUR);
  for (let n = 0; n < 2; n++) {
    t.equal(
      t.wait(() => t.control.deletePending(id, t.me, PARK_MS)),
      OK,
      'I4 a pending delete',
    );
  }
};

function afterDeletes(s: Setup): string | undefined {
  const pending = [BLOB, s.data[NEIGHBOUR] as number, s.data[THIRD] as number].map(
    (id) => s.control.deletePending(id, 0, 0) === OK,
  );
  const [first, second, third] = pending;
  return !first && second && third ? undefined : `I4 deletes that are pending: ${pending}`;
}

/** Deletes the blob as an op does, which has pinned and latched its frame. */
const deleter: Body = (t) => {
  const frame = t.control.pinExclusive(BLOB, t.me, 0);
  if (frame < 0) return;
  t.residency(() => undefined).dropForOp(frame, BLOB, 9);
  t.gate.write(DELETED, 1);
};

/** Pins the blob, which it may find until the delete has ended, and not after that. */
const reloader: Body = (t) => {
  const deleted = t.gate.read(DELETED) === 1;
  const isThere = (id: number): boolean =>
    t.wait(() => t.control.deletePending(id, t.me, PARK_MS)) !== OK;
  let frame: number;
  try {
    frame = t.residency(readBytes(t), isThere).pin(BLOB, true);
  } catch (error) {
    if (!(error instanceof WeirpoolError)) throw error;
    return; // deleted
  }
  t.check(!deleted, 'I4 a deleted blob is back');
  latchAndCheck(t, frame);
};

function afterDelete(s: Setup): string | undefined {
  for (let frame = 0; frame < s.frames; frame++) {
    const back = s.data[DELETED] === 1 && s.control.blobOf(frame) === BLOB;
    if (back) return `I4 a deleted blob is back in frame ${frame}`;
  }
  return after(s);
}

export const LOG_PROGRAMS: readonly Program[] = [
  { name: 'gate-capture', log: LOG, setup: () => {}, bodies: [committer, committer, capturer] },
  {
    name: 'ring-abort',
    log: LOG,
    setup: () => {},
    after: (s) => wrongCredit(s, 0),
    bodies: [giver, giver, giver],
  },
  ring('ring-credit', WRAPS),
  ring('ring-lap', LAPS),
  {
    name: 'images',
    frames: 2,
    log: LOG,
    setup: capture,
    after: afterImages,
    bodies: [overwriter(0), overwriter(1), checkpointer],
  },
  {
    name: 'images-spare',
    frames: 2,
    log: { ...LOG, stagingFrames: 3 },
    setup: capture,
    after: afterImages,
    bodies: [overwriter(0), checkpointer],
  },
  {
    name: 'retire-change',
    log: LOG,
    setup: setupWritten,
    after: afterRetiring,
    bodies: [retirer, changer, evictor],
  },
  { name: 'capture-evict', log: LOG, setup: setupDirty, bodies: [captureOnly, evictor] },
  {
    name: 'deletes',
    log: LOG,
    setup: setupDeletes,
    after: afterDeletes,
    bodies: [deleteRemover, deleteAdder, deleteLooker],
    plain: true,
  },
  {
    name: 'delete-load',
    frames: 2,
    log: LOG,
    setup: (s) => void s.load(BLOB),
    after: afterDelete,
    bodies: [deleter, reloader, reloader],
  },
];
