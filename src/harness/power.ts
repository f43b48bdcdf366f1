/**
 * The mode `power`: the file system of a store loses its power while processes change the store.
 *
 * A run is one file system on a loop device and several cuts. The process is killed with each cut,
 * or some time after it, when every call has failed: what it acknowledges then must be as true. What
 * it says goes through a pipe, which no cut reaches. After each cut the file system is mounted again,
 * the store's files are verified, and the next process opens what was left and says what it holds:
 * everything that was acknowledged as synced, and of the rest a prefix.
 *
 * Before some cuts a file of the store is synced from outside, as the system may write back any file
 * at any time: then what was written later may be there without what was written before.
 */
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as nap } from 'node:timers/promises';
import { FAULT_CODES, hasToldWhy } from './failing-disk.ts';
import type { Life } from './life.ts';
import {
  type JournalFate,
  LOOP_KINDS,
  LOOP_PROGRAMS,
  LoopDisk,
  type LoopKind,
} from './loop-device.ts';
import { addDetails, type Mode, type Run } from './mode.ts';
import { drawMoment, MOMENTS, type Moment, momentText, watchFor } from './moments.ts';
import { MountSpace, missingPackages } from './mount-space.ts';
import { NO_SUBJECT, type PartContext } from './parts.ts';
import type { Random } from './random.ts';
import type { AnySubject } from './subject.ts';
import { Trial, type TrialTask } from './trial.ts';

/** Both kinds of file systems as often, and 40 cuts of them. */
const RUNS = 10;
const CUTS = 4;

const THREADS_MAX = 4;
/** Cuts before which a file is written back. */
const WRITTEN_BACK = 0.5;
/** Lives that go on for a while without power. */
const GO_ON = 0.5;
const GO_ON_MS = 30;

interface Plan {
  readonly task: TrialTask;
  readonly moment: Moment;
  readonly journal: JournalFate;
  /** Which file is synced before the cut, as a share of all names; undefined: none. */
  readonly writeBack: number | undefined;
  /** Between the cut and the kill. */
  readonly goOnMs: number;
}

function draw(random: Random): Plan {
  const moment = drawMoment(random);
  const task: TrialTask = {
    seed: random.uint32(),
    threads: 1 + random.int(THREADS_MAX),
    endAfterMs: moment.name === 'closing' ? 1 + random.int(MOMENTS.running.ms) : 0,
    ending: 'close',
    tolerated: FAULT_CODES,
  };
  return {
    task,
    moment,
    journal: random.pick(['written', 'lost', 'lost'] as const),
    writeBack: random.chance(WRITTEN_BACK) ? random.float() : undefined,
    goOnMs: random.chance(GO_ON) ? random.float() * GO_ON_MS : 0,
  };
}

function describe(kind: LoopKind, plan: Plan): string {
  const { task, moment, journal, goOnMs } = plan;
  const back = plan.writeBack === undefined ? '' : ', a file written back';
  const how = `journal ${journal}${back}, killed +${goOnMs.toFixed(1)} ms`;
  return `${kind}, ${task.threads} threads, cut ${momentText(moment)}, ${how}`;
}

/** Syncs one of the store's files, if there are any. */
async function writeBack(directory: string, share: number): Promise<void> {
  const names = await fs.readdir(directory).catch((): string[] => []);
  const name = names.sort()[Math.floor(share * names.length)];
  if (name === undefined) return;
  // It may have gone meanwhile.
  const file = await fs.open(join(directory, name), 'r').catch(() => undefined);
  await file?.datasync();
  await file?.close();
}

/** Cuts off one life as planned: whether that was before it had ended, and what is wrong. */
async function cutOnce(
  trial: Trial,
  disk: LoopDisk,
  plan: Plan,
): Promise<{ readonly wasCut: boolean; readonly wrong: readonly string[] }> {
  let cutting: Promise<void> | undefined;
  const cut = async (life: Life): Promise<void> => {
    await nap(plan.moment.delayMs);
    if (plan.writeBack !== undefined) await writeBack(trial.directory, plan.writeBack);
    await disk.cut(plan.journal);
    if (plan.goOnMs > 0) await nap(plan.goOnMs);
    life.kill();
  };
  const { wrong } = await trial.live(plan.task, {
    mayEnd: hasToldWhy,
    onLine: watchFor(plan.moment, (life: Life) => {
      cutting = cut(life);
    }),
    async onEnd() {
      await cutting;
      if (cutting !== undefined) trial.history.losePower();
      await disk.restore();
    },
  });
  return { wasCut: cutting !== undefined, wrong };
}

/** Kinds of file systems that can be cut on this machine; why not, for the others. */
async function tryKinds(space: MountSpace): Promise<Map<LoopKind, string | undefined>> {
  const outcomes = new Map<LoopKind, string | undefined>();
  for (const kind of LOOP_KINDS) {
    try {
      const disk = await LoopDisk.make(space, kind, `try-${kind}`);
      await disk.cut('lost');
      await disk.restore();
      await disk.remove();
      outcomes.set(kind, undefined);
    } catch (error) {
      outcomes.set(kind, (error as Error).message);
    }
  }
  return outcomes;
}

class PowerCuts {
  readonly #context: PartContext;
  #space: MountSpace | undefined;
  #kinds: readonly LoopKind[] = [];

  constructor(context: PartContext) {
    this.#context = context;
  }

  /** Why there can be no cuts here, or undefined. */
  async prepare(): Promise<string | undefined> {
    if (this.#context.subjects.length === 0) return NO_SUBJECT;
    const missing = await missingPackages(LOOP_PROGRAMS);
    if (missing !== undefined) return missing;
    try {
      this.#space = await MountSpace.open();
    } catch (error) {
      return `a mount namespace cannot be had; are you root? ${(error as Error).message}`;
    }
    const outcomes = await tryKinds(this.#space);
    this.#kinds = LOOP_KINDS.filter((kind) => outcomes.get(kind) === undefined);
    const why = [...outcomes].flatMap(([kind, error]) => (error ? [`${kind}: ${error}`] : []));
    if (this.#kinds.length === 0) return `no file system can be cut off here: ${why.join('; ')}`;
    for (const text of why) process.stderr.write(`without ${text}\n`);
    return undefined;
  }

  async run({ number, random, tally, details, signal }: Run): Promise<readonly string[]> {
    const { subjects, self } = this.#context;
    const kind = this.#kinds[number % this.#kinds.length] as LoopKind;
    const turn = Math.floor(number / this.#kinds.length);
    const subject = subjects[turn % subjects.length] as AnySubject;
    const disk = await LoopDisk.make(this.#space as MountSpace, kind, `run-${number}`);
    const trial = new Trial(subject, self, join(disk.path, 'store'));
    try {
      for (let n = 0; n < CUTS && !signal.aborted; n++) {
        const plan = draw(random);
        const { wasCut, wrong } = await cutOnce(trial, disk, plan);
        if (wasCut) tally.kills++;
        if (wrong.length > 0)
          return wrong.map((text) => `cut ${n}, ${describe(kind, plan)}: ${text}`);
      }
      return await trial.look(random.uint32());
    } finally {
      addDetails(details, trial.history.counts);
      await disk.remove();
    }
  }

  async finish(): Promise<void> {
    await this.#space?.close();
    this.#space = undefined;
  }
}

export function powerMode(context: PartContext): Mode {
  const cuts = new PowerCuts(context);
  return {
    name: 'power',
    summary: 'cuts the power of real file systems, ext4 and XFS; as root, on Linux',
    runs: RUNS,
    prepare: () => cuts.prepare(),
    run: (run) => cuts.run(run),
    finish: () => cuts.finish(),
  };
}
