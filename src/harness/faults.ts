/**
 * Mode `faults`: a store on a disk that fails, at each call of a workload, in each way.
 *
 * A run takes one workload and one kind of fault, and has every call of that kind fail in turn; a
 * trial is one of them. What must hold: errors are ours and typed; what was promised is there after
 * the end of the process and of the power; once the disk is well, work goes on, or the pool has
 * stopped and says why; no sync is tried again after one has failed; nothing waits for ever.
 */
import { WeirpoolError } from '../errors.ts';
import { type Fault, FaultyDisk, KINDS } from './faulty-disk.ts';
import type { FileOperation } from './faulty-file-system.ts';
import { recover, violationsOf } from './images.ts';
import type { Mode } from './mode.ts';
import { type Mark, Oracle } from './oracle.ts';
import { Random } from './random.ts';
import type { Session, Workload } from './session.ts';
import { GRANULES, SimFileSystem } from './sim-file-system.ts';
import { takeHangs, underStepClock } from './step-clock.ts';

/** A crash between a fault and what puts it right comes within 2 to the power of this many calls. */
const LOOK_POWER_MAX = 7;
const LOOK_SYNCS_MAX = 8;
const STEPS = 24;
const STEPS_HEALED = 8;
const STEPS_AGAIN = 8;
/** No call fails: for counting them. */
const NEVER = Number.MAX_SAFE_INTEGER;

/** What a disk that fails may do to a store: it must never look like damage. */
const EXPECTED: readonly string[] = [
  'OP_RESTART',
  'POISONED',
  'POOL_EXHAUSTED',
  'STORE_FULL',
  'STORE_IO',
];

// biome-ignore lint/suspicious/noExplicitAny: notes are a matter of the workload alone
type AnySession = Session<any>;
type AnyOracle = AnySession['oracle'];

export interface TrialResult {
  readonly violations: readonly string[];
  /** Calls that the fault counts. */
  readonly count: number;
  /** Whether one of them failed. */
  readonly hit: boolean;
}

/** A disk as it was at a moment, and what was known then. */
interface Look {
  readonly disk: SimFileSystem;
  readonly oracle: AnyOracle;
  readonly mark: Mark;
  readonly calls: number;
}

class Trial {
  readonly #violations: string[] = [];
  readonly #workload: Workload;
  readonly #seed: number;
  readonly #disk = new SimFileSystem();
  readonly #faulty: FaultyDisk;
  readonly #fault: Fault;
  /** Decides about this fault alone; the workload's own numbers are the same for all. */
  readonly #chance: Random;
  readonly #whole: boolean;
  #oracle: AnyOracle = new Oracle();
  /** Call after the fault before which an image is taken. */
  readonly #lookAt: number;
  /**
   * Syncs after the fault behind which images are taken: what a call has left that failed late is
   * there until a later one puts it right, mostly behind a sync.
   */
  readonly #looksMax: number;
  #calls = 0;
  #syncs = 0;
  readonly #looks: Look[] = [];

  constructor(workload: Workload, seed: number, fault: Fault) {
    this.#workload = workload;
    this.#seed = seed;
    this.#fault = fault;
    this.#chance = Random.fork(seed, 4 + fault.n);
    this.#whole = this.#chance.chance(0.5);
    this.#lookAt = 1 + this.#chance.int(2 ** this.#chance.int(LOOK_POWER_MAX));
    this.#looksMax = fault.mode === 'late' ? LOOK_SYNCS_MAX : 1;
    this.#faulty = new FaultyDisk(this.#disk, { ...fault, whole: this.#whole }, (last) =>
      this.#look(last),
    );
  }

  async run(): Promise<TrialResult> {
    await this.#first();
    await this.#second();
    this.#faulty.heal();
    await this.#check(this.#oracle, 'in the end');
    for (const { disk, oracle, mark, calls } of this.#looks) {
      await this.#checkImages(disk, oracle, mark, `crashed ${calls} calls after the fault`);
    }
    const { count, violations, hit } = this.#faulty;
    return { violations: [...takeHangs(), ...violations, ...this.#violations], count, hit };
  }

  /** Now and then between the fault and what puts it right: what a crash there would leave. */
  #look(last: FileOperation): void {
    const isSynced = last === 'syncData' || last === 'syncAll';
    this.#calls++;
    if (isSynced) this.#syncs++;
    const isDue = isSynced && this.#syncs <= this.#looksMax;
    if (this.#calls !== this.#lookAt && !isDue) return;
    const oracle = this.#oracle;
    const disk = this.#disk.afterKill();
    // The history goes on: what it is now is kept.
    const then = oracle.fork();
    this.#looks.push({ disk, oracle: then, mark: oracle.mark(), calls: this.#calls });
  }

  #random(n: number): Random {
    return Random.fork(this.#seed, n);
  }

  #note(error: unknown, doing: string): void {
    if (error instanceof WeirpoolError && EXPECTED.includes(error.code)) return;
    this.#violations.push(`${doing}: ${(error as Error).stack}`);
  }

  /** What the action throws must be an error of ours; whether it went through. */
  async #attempt(doing: string, action: () => Promise<unknown>): Promise<boolean> {
    try {
      await action();
      return true;
    } catch (error) {
      this.#note(error, doing);
      return false;
    }
  }

  /** Why the pool has stopped, or undefined. */
  #stopped(session: AnySession): Error | undefined {
    try {
      session.pool.dirtyFrames();
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /** Opens a new store and uses it; then the disk is well, and work must go on. */
  async #first(): Promise<void> {
    const oracle = this.#oracle;
    const { fs } = this.#faulty;
    const random = this.#random(1);
    const session = this.#workload.session({ fs, oracle, random, tolerant: true });
    if (!(await this.#attempt('open', () => session.open()))) return;
    await session.run(STEPS);
    for (const error of session.errors) this.#note(error, 'a step');
    await this.#check(oracle, 'before the close');
    const { mode } = this.#fault;
    if (this.#faulty.hit || mode === 'ever' || mode === 'full') {
      this.#faulty.heal();
      await this.#goOn(session);
    }
    await this.#close(session);
  }

  async #goOn(session: AnySession): Promise<void> {
    const { errors, oracle } = session;
    const stopped = this.#stopped(session);
    if (stopped !== undefined) {
      this.#checkPoison(stopped);
      return;
    }
    if (this.#faulty.hasFailedSync) this.#violations.push('a sync has failed, and nothing stops');
    const before = errors.length;
    await session.run(STEPS_HEALED);
    await this.#attempt('checkpoint', async () => {
      await session.pool.checkpoint();
      session.assertFacts();
    });
    const later = errors.slice(before).map((error) => `after healing: ${(error as Error).stack}`);
    this.#violations.push(...later, ...oracle.violations);
  }

  #checkPoison(stopped: Error): void {
    const { code } = stopped as Error & { code?: string };
    const { mode } = this.#fault;
    if (code !== 'POISONED') this.#violations.push(`the pool has stopped with ${code}`);
    if (!(stopped.cause instanceof WeirpoolError)) {
      this.#violations.push(`POISONED has no cause: ${stopped.message}`);
    }
    if (mode === 'full' || mode === 'slow' || mode === 'short') {
      this.#violations.push(`a disk that is ${mode} poisons: ${stopped.message}`);
    }
  }

  async #close(session: AnySession): Promise<void> {
    const well = this.#stopped(session) === undefined;
    const closed = await this.#attempt('close', () => session.close());
    if (!closed && well && this.#faulty.healed) this.#violations.push('closing has failed');
    if (this.#disk.openCount > 0) {
      this.#violations.push(`${this.#disk.openCount} descriptors are open after the close`);
    }
  }

  /** Opens it again in a process of its own, which may meet the fault now. */
  async #second(): Promise<void> {
    const oracle = this.#oracle;
    const expectation = { oracle, mark: oracle.mark(), least: oracle.written };
    await this.#attempt('open again', async () => {
      const { fs } = this.#faulty;
      const found = await recover(this.#workload, fs, expectation, this.#random(2), true);
      this.#violations.push(...found.violations);
      const { session } = found;
      this.#oracle = session.oracle;
      await this.#check(session.oracle, 'just reopened');
      await session.run(STEPS_AGAIN);
      for (const error of session.errors) this.#note(error, 'a step');
      await this.#check(session.oracle, 'before the second close');
      await this.#close(session);
    });
  }

  /** A disk that is well, after the end of the process or the power, has what was promised. */
  async #check(oracle: AnyOracle, when: string): Promise<void> {
    await this.#checkImages(this.#disk, oracle, oracle.mark(), when);
  }

  async #checkImages(
    image: SimFileSystem,
    oracle: AnyOracle,
    mark: Mark,
    when: string,
  ): Promise<void> {
    const random = this.#chance;
    const check = async (disk: SimFileSystem, least: number, what: string): Promise<void> => {
      const settings = { steps: 2, again: false };
      const expectation = { oracle, mark, least };
      const found = await violationsOf(this.#workload, disk, expectation, random, settings);
      this.#violations.push(...found.map((text) => `${when}, ${what}: ${text}`));
    };
    const nothing = (end: number): number => (end === 2 ? 1 : 0);
    const any = (end: number): number => random.int(end);
    // One of them each time: there are several moments in a trial, and many trials.
    if (random.chance(0.3)) {
      await check(image.afterKill(), mark.written, 'killed');
      return;
    }
    const loss = random.chance(0.4) ? nothing : any;
    await check(image.afterCrash(loss, random.pick(GRANULES)), mark.synced, 'without power');
  }
}

export function runTrial(workload: Workload, seed: number, fault: Fault): Promise<TrialResult> {
  return underStepClock(() => new Trial(workload, seed, fault).run());
}

type KindOfFault = Omit<Fault, 'n'>;

/** Calls that come only when another one has failed: see `also`. */
const SELDOM: readonly string[] = ['truncate'];

/** Every kind of fault, in the order of the runs; those that find most come first. */
export const FAULTS: readonly KindOfFault[] = [
  { kind: 'write', mode: 'once' },
  { kind: undefined, mode: 'full' },
  ...(['syncData', 'rename', 'open'] as const).map((kind) => ({ kind, mode: 'once' }) as const),
  { kind: 'write', mode: 'full' },
  { kind: 'write', mode: 'short' },
  { kind: 'read', mode: 'short' },
  ...(['write', 'open', 'rename', 'unlink', 'link'] as const).map(
    (kind) => ({ kind, mode: 'late' }) as const,
  ),
  ...(['truncate', 'syncData', 'unlink', 'stat'] as const).map(
    (also) => ({ kind: 'write', mode: 'late', also }) as const,
  ),
  ...(['write', 'syncData', 'syncAll', 'read'] as const).map(
    (kind) => ({ kind, mode: 'slow' }) as const,
  ),
  ...KINDS.filter((kind) => !['write', 'syncData', 'rename', 'open', ...SELDOM].includes(kind)).map(
    (kind) => ({ kind, mode: 'once' }) as const,
  ),
  ...KINDS.filter((kind) => !SELDOM.includes(kind)).map(
    (kind) => ({ kind, mode: 'ever' }) as const,
  ),
];

function nameOf({ kind, mode, also }: KindOfFault): string {
  return `${kind ?? 'what needs space'} ${mode}${also === undefined ? '' : `, then ${also}`}`;
}

export interface FaultOptions {
  /** Trials of a run; of more calls than that every so manieth fails, other ones in each run. */
  readonly trialsMax: number;
}

/** A kind of fault and a workload for each run; all of them in FAULTS x workloads runs. */
export function faultsMode(
  workloads: readonly Workload[],
  { trialsMax }: FaultOptions = { trialsMax: Number.MAX_SAFE_INTEGER },
): Mode {
  return {
    name: 'faults',
    summary: 'every file call of seeded workloads fails in turn, in each way, on a simulated disk',
    runs: FAULTS.length * workloads.length,
    async run({ number, random, tally, signal }) {
      const workload = workloads[number % workloads.length] as Workload;
      const kind = FAULTS[Math.floor(number / workloads.length) % FAULTS.length] as KindOfFault;
      const workloadSeed = random.uint32();
      const { count } = await runTrial(workload, workloadSeed, { ...kind, n: NEVER });
      const step = Math.max(1, Math.ceil(count / trialsMax));
      for (let n = 1 + random.int(step); n <= count && !signal.aborted; n += step) {
        const found = await runTrial(workload, workloadSeed, { ...kind, n });
        if (found.hit) tally.injections++;
        if (found.violations.length === 0) continue;
        return found.violations.map(
          (text) => `${workload.name}, ${nameOf(kind)}, call ${n}: ${text}`,
        );
      }
      return [];
    },
  };
}
