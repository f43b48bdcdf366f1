/** Programs on the mapping's seqlock and on store slots. */
import {
  BUSY,
  H_COMMIT_NUMBER,
  H_SLOTS_KEPT,
  LOCK_COMMIT,
  MISS,
  NONE,
  OK,
  S_READING,
  SNAPSHOT_ENTRY,
  SNAPSHOT_VERSION,
  SNAPSHOTS,
} from '../../../src/generated/layout.ts';
import { type Setup, slotOf } from './setup.ts';
import { type Body, PARK_MS, type Program, type Thread } from './thread.ts';

const BLOB = 1;
const OTHER = 2;
/** The checksum that belongs to a slot. */
const CHECKSUM = 100;
/** Data words: slot + 1 that is being read, that is being written. */
const READING = 0;
const WRITING = 1;

/** Same place in the table as BLOB: the second one probes past the first. */
function neighbour(s: Setup): number {
  const home = (id: number) =>
    Number((((BigInt(id) * 0x9e37_79b9_7f4a_7c15n) & 0xffff_ffff_ffff_ffffn) >> 32n) & 63n);
  let id = BLOB + 1;
  while (home(id) !== home(BLOB)) id++;
  s.data[8] = id;
  return id;
}

function put(s: Setup, id: number, slot: number): void {
  if (s.control.slotMark(slot) !== OK) throw new Error(`slot ${slot} is taken`);
  s.control.mapPut(id, slot, BigInt(CHECKSUM + slot));
}

function setup(s: Setup): void {
  put(s, BLOB, 0);
  put(s, neighbour(s), 5);
}

function publish(t: Thread, id: number, slot: number): void {
  t.control.mapBegin();
  t.equal(t.control.mapPut(id, slot, BigInt(CHECKSUM + slot)), OK, 'mapPut');
  t.control.mapEnd();
}

/** A blob that the mapping always has: its slot; its checksum must belong to the slot. */
function lookUp(t: Thread, id: number): number {
  let result = t.control.mapGet(id, t.me);
  while (result === BUSY) {
    t.gate.yield();
    result = t.control.mapGet(id, t.me);
  }
  t.equal(result, OK, `I6 the mapping misses blob ${id}`);
  const slot = t.out;
  t.equal(Number(t.outChecksum) - CHECKSUM, slot, 'I6 slot and checksum of different commits');
  return slot;
}

const committer: Body = (t) => {
  publish(t, BLOB, 1);
  publish(t, OTHER, 2);
  publish(t, BLOB, 3);
};

const reader: Body = (t) => {
  lookUp(t, BLOB);
  lookUp(t, BLOB);
};

const remover: Body = (t) => {
  t.control.mapBegin();
  t.equal(t.control.mapRemove(BLOB), OK, 'mapRemove');
  t.control.mapEnd();
};

const neighbourReader: Body = (t) => {
  t.equal(lookUp(t, t.peek(8)), 5, 'I6 the slot of a blob that nobody changed');
};

// --- slots ---------------------------------------------------------------------------------------

function writeSlot(t: Thread): number {
  const slot = t.control.slotTake();
  t.check(slot !== NONE, 'I6 there is no slot');
  t.gate.write(WRITING, slot + 1);
  t.check(t.gate.read(READING) !== slot + 1, `I6 slot ${slot} is written while it is read`);
  t.gate.write(WRITING, 0);
  return slot;
}

/** Two commits of one blob: the second may take the slot that the first gave up. */
const rewriter: Body = (t) => {
  let old = 0;
  for (let commit = 0; commit < 2; commit++) {
    const slot = writeSlot(t);
    publish(t, BLOB, slot);
    t.equal(t.control.slotFree(old), OK, 'slotFree');
    old = slot;
  }
};

const slotReader: Body = (t) => {
  let slot = lookUp(t, BLOB);
  for (;;) {
    t.control.readBegin(slot, t.me);
    const again = lookUp(t, BLOB);
    if (again === slot) break;
    slot = again;
  }
  t.gate.write(READING, slot + 1);
  t.check(t.gate.read(WRITING) !== slot + 1, `I6 slot ${slot} is read while it is written`);
  t.gate.write(READING, 0);
  t.control.readEnd(t.me);
};

function afterSlots(s: Setup): string | undefined {
  for (let me = 0; me < 2; me++) {
    if (s.u64(slotOf(me) + S_READING) !== 0n) return `I6 thread ${me} still announces a read`;
  }
  const used = [0, 1, 2, 3].filter((slot) => s.control.slotUsed(slot) as unknown as number);
  return used.length === 1 ? undefined : `I6 slots ${used} are in use, one should be`;
}

// --- snapshots -----------------------------------------------------------------------------------

function locked<T>(t: Thread, action: () => T): T {
  t.ok(() => t.control.lockTake(LOCK_COMMIT, t.me, PARK_MS), 'lockTake');
  const result = action();
  t.control.lockGive(LOCK_COMMIT);
  return result;
}

/** Two commits of one blob, as MappedStore publishes them. */
const keeper: Body = (t) => {
  let old = 0;
  for (let commit = 1; commit <= 2; commit++) {
    locked(t, () => {
      t.control.slotsReclaim();
      const slot = writeSlot(t);
      t.equal(t.control.slotNamed(slot, commit), OK, 'slotNamed');
      publish(t, BLOB, slot);
      t.check(t.control.slotLeft(old, commit) !== MISS, `slot ${old} was free already`);
      t.memory.storeU64(H_COMMIT_NUMBER, commit);
      old = slot;
    });
  }
};

/** Looks up after the entry was made, and again if a commit came in between, as Cuts does. */
const snapshotReader: Body = (t) => {
  let entry: number;
  let slot: number;
  for (;;) {
    entry = t.wait(() => t.control.snapshotOpen(t.me, PARK_MS));
    t.check(entry >= 0, 'there is no entry');
    const version = t.memory.load(SNAPSHOTS + entry * SNAPSHOT_ENTRY + SNAPSHOT_VERSION);
    slot = lookUp(t, BLOB);
    if (t.control.mapVersion() === version) break;
    t.control.snapshotEnd(entry, t.me);
  }
  t.gate.write(READING, slot + 1);
  t.check(t.gate.read(WRITING) !== slot + 1, `I6 slot ${slot} is written for a snapshot`);
  t.gate.write(READING, 0);
  t.equal(t.control.snapshotEnd(entry, t.me), OK, 'snapshotEnd');
};

/** Nothing is lost: whoever takes slots next has them all. */
function afterSnapshots(s: Setup): string | undefined {
  s.control.slotsReclaim();
  if (s.control.snapshotCount() !== 0) return 'I6 a snapshot is left';
  if (s.u32(H_SLOTS_KEPT) !== 0) return 'I6 a slot is kept for nobody';
  const used = [0, 1, 2, 3].filter((slot) => s.control.slotUsed(slot) as unknown as number);
  return used.length === 1 ? undefined : `I6 slots ${used} are in use, one should be`;
}

const afterRemove = (s: Setup) =>
  s.control.mapGet(BLOB, 0) === MISS ? undefined : 'I6 the removed blob is still there';

export const MAPPING_PROGRAMS: readonly Program[] = [
  { name: 'mapping-read', setup, bodies: [committer, reader] },
  { name: 'mapping-remove', setup, after: afterRemove, bodies: [remover, neighbourReader] },
  { name: 'slots', setup, after: afterSlots, bodies: [rewriter, slotReader] },
  { name: 'slots-kept', setup, after: afterSnapshots, bodies: [keeper, snapshotReader] },
];
