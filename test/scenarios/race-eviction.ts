/**
 * Races between using a frame and evicting it, call by call: a worker evicts the blob and puts it
 * back, all the time, in kernel calls alone; the main thread pins it, or writes it, and looks
 * whether it was taken away meanwhile.
 *
 * Cases: `pin` (a pin and an eviction pass each other), `mark` (a change is lost with its frame).
 */
import { OK } from '../../src/generated/layout.ts';
import { check, checkEqual } from '../support/checks.ts';
import { Random, testSeed } from '../support/seed.ts';
import {
  type Actor,
  type Cues,
  enter,
  finale,
  frameOf,
  idAt,
  openStage,
  perform,
  slotOf,
} from '../support/stage.ts';

const STOP = 0;
const READY = 1;
/** 1 while the worker has the frame to itself. */
const TAKEN = 2;
/** How often it had. */
const EVICTIONS = 3;

/** Rounds between which an eviction was made: only those put the threads side by side. */
const MEETINGS = 25_000;
/** However busy the machine is, this long at most, in ms. */
const PLAY_MS = 4000;
/** Looks at the worker's mark: longer than an eviction takes from its check to its end. */
const LOOKS = 12;
const PARK_MS = 100;

function evictor({ cues, ids, memory }: Actor): void {
  const { control } = memory;
  const id = idAt(ids);
  const me = slotOf(memory);
  const frame = frameOf(memory, id);
  cues.add(READY);
  while (cues.get(STOP) === 0) {
    if (control.evictFrame(frame, id, me, PARK_MS) !== OK) continue;
    cues.mark(TAKEN, 1);
    cues.mark(EVICTIONS, cues.get(EVICTIONS) + 1);
    for (let look = 0; look < LOOKS; look++) cues.get(STOP);
    cues.mark(TAKEN, 0);
    while (control.finishLoad(frame, me, PARK_MS) !== OK);
    control.unpin(frame, me);
  }
}

/** Some nanoseconds, so that the next step meets the other thread at another place. */
function dawdle({ cues }: Actor, steps: number): void {
  for (let n = 0; n < steps; n++) cues.get(STOP);
}

/** Counts how often the threads have met, until it is enough. */
class Meetings {
  readonly #cues: Cues;
  readonly #end = performance.now() + PLAY_MS;
  #rounds = 0;
  #count = 0;
  #last = 0;

  constructor(cues: Cues) {
    this.#cues = cues;
  }

  go(): boolean {
    const evictions = this.#cues.get(EVICTIONS);
    if (evictions !== this.#last) this.#count++;
    this.#last = evictions;
    // The clock is slow to read.
    const late = (this.#rounds++ & 0xff) === 0 && performance.now() > this.#end;
    if (late) check(this.#count > 0, 'the threads have met');
    return this.#count < MEETINGS && !late;
  }
}

async function pinCase(): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, cues, ids, memory } = stage;
  const { control } = memory;
  const random = new Random(testSeed());
  const id = idAt(ids);
  const me = slotOf(memory);
  pool.pin(id).release();
  enter(stage, 'evictor');
  cues.await(READY, 1, 'the evictor is there');
  const meetings = new Meetings(cues);
  while (meetings.go()) {
    const frame = control.pin(id, me, 0);
    if (frame < 0) continue;
    for (let look = 0; look < LOOKS; look++) {
      checkEqual(cues.get(TAKEN), 0, 'I1 a pinned frame is in nobody else’s hands');
    }
    control.unpin(frame, me);
    dawdle(stage, random.int(8));
  }
  cues.set(STOP, 1);
  await finale(stage);
}

async function markCase(): Promise<void> {
  const stage = await openStage(import.meta.url);
  const { pool, cues, ids, memory } = stage;
  const { control } = memory;
  const random = new Random(testSeed());
  const id = idAt(ids);
  pool.pin(id).release();
  enter(stage, 'evictor');
  cues.await(READY, 1, 'the evictor is there');
  const meetings = new Meetings(cues);
  for (let round = 0; meetings.go(); round++) {
    const guard = pool.write(id);
    const before = cues.get(EVICTIONS);
    guard.u32[1] = round;
    guard.release();
    for (let look = 0; look < LOOKS; look++) {
      checkEqual(cues.get(EVICTIONS), before, 'I1 evictions of a frame with an unwritten change');
    }
    // As if it had been written; nobody else changes it.
    control.clearDirty(frameOf(memory, id));
    dawdle(stage, random.int(8));
  }
  cues.set(STOP, 1);
  await finale(stage);
}

await perform({ pin: pinCase, mark: markCase }, { evictor });
