/** A pool on a disk that fails: one call, or all of a kind from one on, or a disk that is full. */
import type { FileSystem } from '../../../src/fs/file-system.ts';
import {
  type FileOperation,
  patched,
  systemError,
} from '../../../src/harness/faulty-file-system.ts';
import { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { takeHangs, underStepClock } from '../../../src/harness/step-clock.ts';
import { Random } from '../../support/seed.ts';
import { History } from './history.ts';
import { recover, violationsOf } from './images.ts';
import { type Product, Session } from './session.ts';

const STEPS = 24;
const STEPS_HEALED = 8;
const STEPS_AGAIN = 8;
const O_CREAT = 0o100;

export const KINDS: readonly FileOperation[] = [
  'read',
  'write',
  'syncData',
  'syncAll',
  'rename',
  'open',
  'unlink',
  'truncate',
  'list',
  'link',
  'stat',
  'statFd',
];

/** What a disk that fails may do to a pool: it must never look like damage. */
const EXPECTED: readonly string[] = [
  'OP_RESTART',
  'POISONED',
  'POOL_EXHAUSTED',
  'STORE_FULL',
  'STORE_IO',
];

export interface Fault {
  /** Which calls are counted and may fail; undefined: those that need space. */
  readonly kind: FileOperation | undefined;
  /** The first call that fails, from 1 on. */
  readonly n: number;
  /**
   * `once`; `late`: once, after the call has had its effect, or half of it; `ever`: until the disk
   * is replaced; `full`: until there is space again.
   */
  readonly mode: 'once' | 'late' | 'ever' | 'full';
  /** Calls that fail, too, once one has failed: those with which a failure is put right. */
  readonly also?: FileOperation;
}

/** The disk with a fault. */
class FaultyDisk {
  readonly fs: FileSystem;
  /** Calls of the kind so far. */
  count = 0;
  hit = false;
  healed = false;
  /** Descriptors whose sync has failed, and those of them that were synced again. */
  readonly #failedSyncs = new Set<number>();
  readonly violations: string[] = [];
  readonly #disk: SimFileSystem;
  readonly #fault: Fault;

  constructor(disk: SimFileSystem, fault: Fault) {
    this.#disk = disk;
    this.#fault = fault;
    const wrap =
      (operation: FileOperation) =>
      (...args: unknown[]): unknown =>
        this.#call(operation, args);
    const kinds = [...KINDS, 'close'] as const;
    this.fs = patched(disk, Object.fromEntries(kinds.map((kind) => [kind, wrap(kind)])));
  }

  /** Whether a sync of a file has failed: then nothing goes on but by opening again. */
  get hasFailedSync(): boolean {
    return this.#failedSyncs.size > 0;
  }

  heal(): void {
    this.healed = true;
  }

  #call(operation: FileOperation, args: readonly unknown[]): unknown {
    const call = (): unknown =>
      (this.#disk[operation] as (...all: readonly unknown[]) => unknown)(...args);
    const fd = args[0] as number;
    if (operation === 'close') this.#failedSyncs.delete(fd);
    if (operation === 'syncData' && this.#failedSyncs.has(fd)) {
      this.violations.push(`descriptor ${fd} is synced again after a sync of it has failed`);
    }
    if (!this.#fails(operation, args)) return call();
    this.hit = true;
    if (this.#fault.mode === 'late' && operation !== this.#fault.also)
      this.#halfway(operation, args, call);
    if (operation === 'syncData' || operation === 'syncAll') this.#disk.failSync(fd);
    if (operation === 'syncData') this.#failedSyncs.add(fd);
    throw systemError(this.#fault.mode === 'full' ? 'ENOSPC' : 'EIO');
  }

  #halfway(operation: FileOperation, args: readonly unknown[], call: () => unknown): void {
    if (operation === 'write') {
      const [fd, source, position] = args as [number, Uint8Array, number];
      const bytes = this.#fault.n % 2 === 0 ? source.length : Math.ceil(source.length / 2);
      this.#disk.write(fd, source.subarray(0, bytes), position);
    } else if (operation === 'open') {
      this.#disk.close(call() as number);
    } else if (operation === 'rename' || operation === 'link' || operation === 'unlink') {
      call();
    }
  }

  #fails(operation: FileOperation, args: readonly unknown[]): boolean {
    const { kind, n, mode, also } = this.#fault;
    if (operation === also && this.hit && !this.healed) return true;
    const counts = kind === undefined ? this.#needsSpace(operation, args) : operation === kind;
    if (!counts || this.healed) return false;
    this.count++;
    const lasts = mode === 'ever' || mode === 'full';
    return lasts ? this.count >= n : this.count === n;
  }

  #needsSpace(operation: FileOperation, args: readonly unknown[]): boolean {
    if (operation === 'write') {
      const [fd, source, position] = args as [number, Uint8Array, number];
      return position + source.length > this.#disk.statFd(fd).bytes;
    }
    if (operation === 'link') return true;
    return operation === 'open' && ((args[1] as number) & O_CREAT) !== 0;
  }
}

export interface TrialResult {
  readonly violations: readonly string[];
  /** Calls that the fault counts. */
  readonly count: number;
}

class Trial {
  readonly violations: string[] = [];
  readonly #product: Product;
  readonly #seed: number;
  readonly #disk = new SimFileSystem();
  readonly #faulty: FaultyDisk;
  readonly #fault: Fault;
  #history = new History();

  constructor(product: Product, seed: number, fault: Fault) {
    this.#product = product;
    this.#seed = seed;
    this.#fault = fault;
    this.#faulty = new FaultyDisk(this.#disk, fault);
  }

  async run(): Promise<TrialResult> {
    await this.#first();
    await this.#second();
    this.#faulty.heal();
    await this.#check(this.#history, 'in the end');
    const { count, violations } = this.#faulty;
    const all = [...takeHangs(), ...violations, ...this.violations];
    return { violations: all, count };
  }

  #random(n: number): Random {
    return Random.fork(this.#seed, n);
  }

  #note(error: unknown, doing: string): void {
    const known = error instanceof this.#product.WeirpoolError;
    if (known && EXPECTED.includes(error.code)) return;
    this.violations.push(`${doing}: ${(error as Error).stack}`);
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
  #stopped(session: Session): Error | undefined {
    try {
      session.pool.dirtyFrames();
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /** Opens a new store and uses it; then the disk is well, and work must go on. */
  async #first(): Promise<void> {
    const history = this.#history;
    const tolerant = { tolerant: true };
    const random = this.#random(1);
    const session = new Session(this.#product, this.#faulty.fs, history, random, tolerant);
    if (!(await this.#attempt('open', () => session.open()))) return;
    await session.run(STEPS);
    for (const error of session.errors) this.#note(error, 'a step');
    await this.#check(history, 'before the close');
    const { mode } = this.#fault;
    if (this.#faulty.hit || mode === 'ever' || mode === 'full') {
      this.#faulty.heal();
      await this.#goOn(session);
    }
    await this.#close(session);
  }

  async #goOn(session: Session): Promise<void> {
    const { errors, history } = session;
    const stopped = this.#stopped(session);
    if (stopped !== undefined) {
      this.#checkPoison(stopped);
      return;
    }
    if (this.#faulty.hasFailedSync) this.violations.push('a sync has failed, and nothing stops');
    const before = errors.length;
    await session.run(STEPS_HEALED);
    await this.#attempt('checkpoint', async () => {
      await session.pool.checkpoint();
      session.assertState();
    });
    const later = errors.slice(before).map((error) => `after healing: ${(error as Error).stack}`);
    this.violations.push(...later, ...history.violations);
  }

  #checkPoison(stopped: Error): void {
    const { code } = stopped as Error & { code?: string };
    if (code !== 'POISONED') this.violations.push(`the pool has stopped with ${code}`);
    if (!(stopped.cause instanceof this.#product.WeirpoolError)) {
      this.violations.push(`POISONED has no cause: ${stopped.message}`);
    }
    if (this.#fault.mode === 'full')
      this.violations.push(`a full disk poisons: ${stopped.message}`);
  }

  async #close(session: Session): Promise<void> {
    const well = this.#stopped(session) === undefined;
    const closed = await this.#attempt('close', () => session.close());
    if (!closed && well && this.#faulty.healed) this.violations.push('closing has failed');
    if (this.#disk.openCount > 0) {
      this.violations.push(`${this.#disk.openCount} descriptors are open after the close`);
    }
  }

  /** Opens it again in a process of its own, which may meet the fault now. */
  async #second(): Promise<void> {
    const history = this.#history;
    const expectation = { history, mark: history.mark(), least: history.written };
    await this.#attempt('open again', async () => {
      const random = this.#random(2);
      const found = await recover(this.#product, this.#faulty.fs, expectation, random, true);
      this.violations.push(...found.violations);
      const { session } = found;
      this.#history = session.history;
      await session.run(STEPS_AGAIN);
      for (const error of session.errors) this.#note(error, 'a step');
      await this.#close(session);
    });
  }

  /** A disk that is well, after the end of the process or the power, has what was promised. */
  async #check(history: History, when: string): Promise<void> {
    const mark = history.mark();
    const random = this.#random(3);
    const check = async (disk: SimFileSystem, least: number, what: string): Promise<void> => {
      const settings = { steps: 2, again: false };
      const expectation = { history, mark, least };
      const found = await violationsOf(this.#product, disk, expectation, random, settings);
      this.violations.push(...found.map((text) => `${when}, ${what}: ${text}`));
    };
    const nothing = (end: number): number => (end === 2 ? 1 : 0);
    const any = (end: number): number => random.int(end);
    const loss = this.#fault.n % 2 === 0 ? nothing : any;
    await check(this.#disk.afterKill(), history.written, 'killed');
    await check(this.#disk.afterCrash(loss), history.synced, 'without power');
  }
}

export function runTrial(product: Product, seed: number, fault: Fault): Promise<TrialResult> {
  return underStepClock(() => new Trial(product, seed, fault).run());
}
