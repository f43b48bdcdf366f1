/**
 * What an optimistic hit writes (race 27): the control memory before and after many of them,
 * compared byte for byte, and looked at meanwhile.
 *
 * Allowed: the thread's own slot; the frame's recency, until it is at its bound.
 */
import {
  A_RECENCY,
  DESC_A,
  DESC_B,
  DESC_SHIFT,
  RECENCY_MAX,
  SLOT_BYTES,
  SLOTS,
} from '../../src/generated/layout.ts';
import { check, checkEqual, violation } from '../support/checks.ts';
import {
  type Actor,
  enter,
  finale,
  frameOf,
  idAt,
  openStage,
  perform,
  type Stage,
} from '../support/stage.ts';

const READY = 0;
const START = 1;
const DONE = 2;
const ENOUGH = 3;
/** Moves while the reader is at it. */
const PROGRESS = 4;
const HITS = 100_000;
const BLOBS = 3;
/** How often the reader must have moved between two looks, and how long that may take. */
const MOVES = 40;
const WATCH_MS = 4000;
/** The opener has thread slot 0, the reader the next one. */
const READER_SLOT = 1;
/** Above the bound: whoever stores without a look brings it back to it. */
const SENTINEL = RECENCY_MAX + 5;

function hit({ pool, ids }: Actor, times: number): void {
  for (let n = 0; n < times; n++) {
    const id = idAt(ids, n % BLOBS);
    checkEqual(
      pool.optimistic(id, ({ u32 }) => u32[0]),
      id,
      'the blob that was asked for',
    );
  }
}

function reader(actor: Actor): void {
  const { cues } = actor;
  cues.add(READY);
  cues.await(START, 1, 'the first round');
  hit(actor, HITS);
  cues.set(DONE, 1);
  cues.await(START, 2, 'the second round');
  while (cues.get(ENOUGH) === 0) {
    hit(actor, 1000);
    cues.mark(PROGRESS, cues.get(PROGRESS) + 1);
  }
  hit(actor, HITS);
  cues.set(DONE, 2);
}

function recencyAt(frame: number): number {
  return DESC_A + frame * 2 ** DESC_SHIFT + A_RECENCY;
}

const MOMENTARY: readonly (readonly [number, number])[] = [
  [0, SLOTS + READER_SLOT * SLOT_BYTES],
  [SLOTS + (READER_SLOT + 1) * SLOT_BYTES, DESC_A + (4 << DESC_SHIFT)],
  [DESC_B, DESC_B + (4 << DESC_SHIFT)],
];

/** A copy of the whole control memory. */
function snapshot({ memory }: Stage): Uint8Array {
  return new Uint8Array(memory.shared.control.buffer).slice();
}

/** First address at which the two differ, beside the reader's slot; -1 if none. */
function difference(a: Uint8Array, b: Uint8Array): number {
  if (Buffer.compare(a, b) === 0) return -1;
  for (let at = 0; at < a.length; at++) {
    if (a[at] === b[at]) continue;
    if (Math.floor((at - SLOTS) / SLOT_BYTES) !== READER_SLOT) return at;
  }
  return -1;
}

function assertStill(what: string, before: Uint8Array, after: Uint8Array): void {
  const at = difference(before, after);
  if (at >= 0) violation(`${what} write to address ${at} of the control memory`);
}

/** Looks at everything while the reader is at it: what comes and goes leaves no trace later. */
function watch({ cues, memory }: Stage, before: Uint8Array): void {
  const now = new Uint8Array(memory.shared.control.buffer);
  const end = performance.now() + WATCH_MS;
  let [moves, last] = [0, -1];
  while (moves < MOVES && performance.now() < end) {
    for (let sample = 0; sample < 400; sample++) {
      checkEqual(memory.control.holdsOf(sample & 3), 0, 'pins and latches that a hit takes');
    }
    for (const [from, to] of MOMENTARY) {
      const same = Buffer.compare(before.subarray(from, to), now.slice(from, to)) === 0;
      check(same, `hits write for a moment between ${from} and ${to}`);
    }
    if (cues.get(PROGRESS) !== last) moves++;
    last = cues.get(PROGRESS);
  }
}

async function hitsCase(): Promise<void> {
  const stage = await openStage(import.meta.url, { blobs: BLOBS });
  const { pool, cues, ids, memory } = stage;
  for (const id of ids) pool.pin(id).release();
  enter(stage, 'reader');
  cues.await(READY, 1, 'the reader is there');
  const frames = ids.map((id) => frameOf(memory, id));

  const before = snapshot(stage);
  cues.set(START, 1);
  cues.await(DONE, 1, 'the first hits');
  const after = snapshot(stage);
  for (const frame of frames) {
    checkEqual(after[recencyAt(frame)], RECENCY_MAX, 'the recency after many hits');
    after[recencyAt(frame)] = before[recencyAt(frame)] as number;
  }
  assertStill('hits', before, after);

  for (const frame of frames) memory.store(recencyAt(frame), SENTINEL);
  const saturated = snapshot(stage);
  cues.set(START, 2);
  watch(stage, saturated);
  cues.set(ENOUGH, 1);
  cues.await(DONE, 2, 'the second hits');
  assertStill('later hits', saturated, snapshot(stage));
  check(pool.stats().hits >= 2 * HITS, 'the hits are counted all the same');
  await finale(stage);
}

await perform({ hits: hitsCase }, { reader });
