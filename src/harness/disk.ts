/**
 * The mode `disk`: faults of the real file system under processes that change a store.
 *
 * A run is one store and one kind of fault. The process of each life is traced: from some call on,
 * once, a few times or for ever, its calls fail, take long, or kill it. It may refuse what it is
 * asked, or stop; it says so with errors of ours, it does not hang, and what it has acknowledged is
 * there for the next process, whose disk is well. One kind is a small file system in memory that
 * fills up, and has space again: there the process must go on.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { FAULT_CODES, hasToldWhy } from './failing-disk.ts';
import { FULL_PROGRAMS, fillUp, SmallDisk } from './full-disk.ts';
import type { Life } from './life.ts';
import type { Mode, Run } from './mode.ts';
import { MountSpace, missingPackages } from './mount-space.ts';
import { NO_SUBJECT, type PartContext } from './parts.ts';
import { Random } from './random.ts';
import type { AnySubject } from './subject.ts';
import { removeDirectory, temporaryDirectory } from './temporary.ts';
import {
  injectionsIn,
  TRACER_PROGRAMS,
  type TracedCall,
  type TracedEffect,
  type TracedFault,
  tracer,
} from './traced.ts';
import { Trial, type TrialTask } from './trial.ts';

/** A kind of fault, and the calls of a thread among which the first one is that it hits. */
interface Kind {
  readonly call: TracedCall;
  readonly effect: TracedEffect;
  readonly fromMax: number;
}

const EIO = { errno: 'EIO' } as const;
const ENOSPC = { errno: 'ENOSPC' } as const;
const KILL = { signal: 'KILL' } as const;

const KINDS: readonly (Kind | 'full')[] = [
  { call: 'pwrite64', effect: EIO, fromMax: 60 },
  { call: 'pwrite64', effect: ENOSPC, fromMax: 60 },
  { call: 'pwrite64', effect: { errno: 'EINTR' }, fromMax: 60 },
  { call: 'fdatasync', effect: EIO, fromMax: 40 },
  { call: 'fsync', effect: EIO, fromMax: 24 },
  { call: 'rename', effect: EIO, fromMax: 12 },
  { call: 'rename', effect: ENOSPC, fromMax: 12 },
  { call: 'link', effect: EIO, fromMax: 1 },
  { call: 'unlink', effect: EIO, fromMax: 2 },
  { call: 'mkdir', effect: ENOSPC, fromMax: 1 },
  { call: 'openat', effect: EIO, fromMax: 24 },
  { call: 'openat', effect: { errno: 'EMFILE' }, fromMax: 24 },
  { call: 'pread64', effect: EIO, fromMax: 12 },
  { call: 'statx', effect: EIO, fromMax: 8 },
  { call: 'getdents64', effect: EIO, fromMax: 8 },
  { call: 'pwrite64', effect: { delayMs: 2 }, fromMax: 4 },
  { call: 'fdatasync', effect: { delayMs: 10 }, fromMax: 4 },
  { call: 'fsync', effect: { delayMs: 20 }, fromMax: 4 },
  { call: 'pwrite64', effect: KILL, fromMax: 60 },
  { call: 'fdatasync', effect: KILL, fromMax: 40 },
  { call: 'fsync', effect: KILL, fromMax: 24 },
  { call: 'rename', effect: KILL, fromMax: 12 },
  { call: 'unlink', effect: KILL, fromMax: 2 },
  'full',
];

const RUNS = KINDS.length;
const LIVES = 3;
const THREADS_MAX = 3;
const LIFE_MS = 250;
/** After this time a process with a fault that does not end is killed, when it next says something. */
const PATIENCE_MS = 1500;
const FEW = 3;
const MANY = 50;

/** Kinds in the order of the runs of a seed: each once, and so on. */
function kindsOf(seed: number): readonly (typeof KINDS)[number][] {
  return Random.fork(seed, 0).shuffled(KINDS);
}

/** The first run of a seed on a disk that fills up. */
export function fullRunOf(seed: number): number {
  return kindsOf(seed).indexOf('full');
}

function faultOf({ call, effect, fromMax }: Kind, random: Random): TracedFault {
  // Small numbers more often: some threads make few calls.
  const from = Math.floor((fromMax + 1) ** random.float());
  if ('signal' in effect) return { call, effect, from, count: 1 };
  // Node's own I/O library calls again for as long as a call was interrupted.
  if ('errno' in effect && effect.errno === 'EINTR') return { call, effect, from, count: MANY };
  if ('delayMs' in effect) return { call, effect, from, count: undefined };
  return { call, effect, from, count: random.pick([1, 1, FEW, undefined]) };
}

function describe({ call, effect, from, count }: TracedFault): string {
  const times = count === undefined ? 'from then on' : `${count} times`;
  return `${call} ${from} of a thread, ${times}: ${Object.values(effect).join()}`;
}

function taskFrom(random: Random, endAfterMs: number): TrialTask {
  return {
    seed: random.uint32(),
    threads: 1 + random.int(THREADS_MAX),
    endAfterMs,
    ending: 'close',
    tolerated: FAULT_CODES,
  };
}

class DiskFaults {
  readonly #context: PartContext;
  #space: MountSpace | undefined;

  constructor(context: PartContext) {
    this.#context = context;
  }

  async prepare(): Promise<string | undefined> {
    if (this.#context.subjects.length === 0) return NO_SUBJECT;
    const missing = await missingPackages(TRACER_PROGRAMS);
    if (missing !== undefined) return missing;
    const withoutMounts = await missingPackages(FULL_PROGRAMS);
    try {
      if (withoutMounts !== undefined) throw new Error(withoutMounts);
      this.#space = await MountSpace.open();
    } catch (error) {
      process.stderr.write(`without a disk that fills up: ${(error as Error).message}\n`);
    }
    return undefined;
  }

  async run(run: Run): Promise<readonly string[]> {
    const { subjects, self } = this.#context;
    const order = kindsOf(run.seed);
    const kind = order[run.number % order.length] as (typeof KINDS)[number];
    const turn = Math.floor(run.number / KINDS.length);
    const subject = subjects[turn % subjects.length] as AnySubject;
    if (kind !== 'full') return this.#runKind(run, kind, (at) => new Trial(subject, self, at));
    if (this.#space === undefined) return [];
    const disk = await SmallDisk.make(this.#space, `run-${run.number}`);
    try {
      return await fillUp(
        run,
        disk,
        new Trial(subject, self, join(disk.path, 'store')),
        this.#trace(run),
      );
    } finally {
      await disk.remove();
    }
  }

  /** Where the tracer of a run on a small disk writes to: not on that disk. */
  #trace({ number }: Run): string {
    return join((this.#space as MountSpace).directory, `trace-${number}`);
  }

  async #runKind(
    { random, tally, signal }: Run,
    kind: Kind,
    makeTrial: (directory: string) => Trial,
  ): Promise<readonly string[]> {
    const folder = temporaryDirectory('disk');
    const output = join(folder, 'trace');
    try {
      const trial = makeTrial(join(folder, 'store'));
      for (let n = 0; n < LIVES && !signal.aborted; n++) {
        const fault = faultOf(kind, random);
        const { end, wrong } = await trial.live(taskFrom(random, 1 + random.int(LIFE_MS)), {
          under: tracer(fault, trial.directory, output),
          mayEnd: hasToldWhy,
          onLine: impatient(),
        });
        tally.injections += injectionsIn(output, fault);
        if ('signal' in fault.effect && end.signal === 'SIGKILL') tally.kills++;
        if (wrong.length > 0) return wrong.map((text) => `life ${n}, ${describe(fault)}: ${text}`);
        rmSync(output, { force: true });
      }
      return await trial.look(random.uint32());
    } finally {
      removeDirectory(folder);
    }
  }

  async finish(): Promise<void> {
    await this.#space?.close();
    this.#space = undefined;
  }
}

/** Kills a process that would go on for ever; one that hangs says nothing, and is left to that. */
function impatient(): (line: string, life: Life) => void {
  const end = performance.now() + PATIENCE_MS;
  return (_, life) => {
    if (performance.now() > end) life.kill();
  };
}

export function diskMode(context: PartContext): Mode {
  const faults = new DiskFaults(context);
  return {
    name: 'disk',
    summary: 'lets calls on the real file system fail, take long, or kill; fills a disk up',
    runs: RUNS,
    prepare: () => faults.prepare(),
    run: (run) => faults.run(run),
    finish: () => faults.finish(),
  };
}
