/**
 * A store in use on a simulated disk: opening, seeded steps, and what is known of them.
 *
 * Owns:        the open store, and the oracle, which hears of every commit and acknowledgement.
 * Threads:     one. A round that writes to the disk is interrupted by more changes, as other threads
 *              would make them: the thread is the same, but the round holds nothing meanwhile that
 *              it would not share.
 */
import { join } from 'node:path';
import { WeirpoolError } from '../errors.ts';
import type { FileSystem } from '../fs/file-system.ts';
import type { BufferPool } from '../pool/pool.ts';
import { DATA_FILE } from '../store/file-backend.ts';
import { patched } from './faulty-file-system.ts';
import { countPool } from './garbage.ts';
import { differences, type Oracle } from './oracle.ts';
import type { Random } from './random.ts';
import { impatiently, noteProgress, WaitedEnough } from './step-clock.ts';
import type { Acknowledged, AnySubject, Facts, Opened } from './subject.ts';

/** Where stores are on simulated disks. */
export const DIRECTORY = '/sim';

const INTERRUPTIONS = 0.4;
/** What a change in the middle of a round meets when another thread would wait for the round. */
const IN_THE_WAY: readonly string[] = ['OP_RESTART', 'POOL_EXHAUSTED'];

export interface SessionParts<N> {
  readonly fs: FileSystem;
  /** What is known of the store; set anew once an opening has told what is left. */
  readonly oracle: Oracle<N>;
  readonly random: Random;
  /** Whether steps may be refused: then they are left out. Default false. */
  readonly tolerant?: boolean;
}

/** Something that is crashed: how it is used on a disk. */
export interface Workload {
  readonly name: string;
  /** What is wrong with a store from its files alone. Default: what weirpool's `verify` finds. */
  verify?(directory: string, fileSystem: FileSystem): Promise<readonly string[]>;
  // biome-ignore lint/suspicious/noExplicitAny: notes are a matter of the workload alone
  session(parts: SessionParts<any>): Session<any>;
}

/** @typeParam N  Notes of the oracle's commits. */
export abstract class Session<N = undefined> {
  oracle: Oracle<N>;
  /** Errors that steps met, for those who make them fail. */
  readonly errors: unknown[] = [];
  protected readonly random: Random;
  readonly #fs: FileSystem;
  readonly #tolerant: boolean;
  #pool: BufferPool | undefined;
  #data: number | undefined;
  #busy = 0;
  #interrupting = false;

  constructor({ fs, oracle, random, tolerant = false }: SessionParts<N>) {
    this.oracle = oracle;
    this.random = random;
    this.#tolerant = tolerant;
    this.#fs = this.#interrupted(fs);
  }

  /** Opens the store in `DIRECTORY` of the disk. */
  protected abstract openOn(fs: FileSystem): Promise<BufferPool>;
  protected abstract closeStore(): Promise<void>;
  /** One random step. */
  protected abstract step(): Promise<void>;
  /** What other threads do in the middle of a round: short, and nothing that waits for the round. */
  protected abstract meanwhile(): void;
  /** What the store holds, read anew. */
  abstract facts(): Facts;
  /** What was wrong with the replay of the opening, if the store is the one after `count` commits. */
  abstract wrongReplay(count: number, oracle: Oracle<N>): readonly string[];
  /** What is wrong beyond facts. */
  abstract check(): readonly string[];

  get pool(): BufferPool {
    if (this.#pool === undefined) throw new Error('the store is not open');
    return this.#pool;
  }

  async open(): Promise<void> {
    this.#data = undefined;
    noteProgress();
    await countPool();
    this.#pool = await this.openOn(this.#fs);
  }

  async close(): Promise<void> {
    this.#pool = undefined;
    noteProgress();
    await this.closeStore();
    this.oracle.acknowledge('synced');
  }

  /** Some steps, as far as they go. */
  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      noteProgress();
      try {
        await this.step();
      } catch (error) {
        this.#refused(error);
      }
    }
  }

  /** Notes a violation unless the open store holds what was committed. */
  assertFacts(): void {
    const found = this.facts();
    const { oracle } = this;
    const { length } = oracle.commits;
    if (oracle.findAll(found, length, length).length === 0) {
      oracle.violations.push(`the open store differs: ${differences(found, oracle.facts)}`);
    }
    oracle.violations.push(...this.check());
  }

  /** Runs what no interruption may come into. */
  protected busy<T>(action: () => T): T {
    this.#busy++;
    try {
      return action();
    } finally {
      this.#busy--;
    }
  }

  /** @throws the error unless steps may be refused. */
  #refused(error: unknown): void {
    this.errors.push(error);
    if (!this.#tolerant) throw error;
  }

  /** The disk; before a slot is written or the slots are synced, others may change the store. */
  #interrupted(fs: FileSystem): FileSystem {
    const before = (fd: number): void => {
      if (fd === this.#data && this.random.chance(INTERRUPTIONS)) this.#interrupt();
    };
    return patched(fs, {
      open: (path, flags, mode) => {
        const fd = fs.open(path, flags, mode);
        if (path === join(DIRECTORY, DATA_FILE)) this.#data = fd;
        return fd;
      },
      write: (fd, source, position) => {
        before(fd);
        return fs.write(fd, source, position);
      },
      syncData: (fd) => {
        before(fd);
        fs.syncData(fd);
      },
    });
  }

  #interrupt(): void {
    if (this.#pool === undefined || this.#busy > 0 || this.#interrupting) return;
    this.#interrupting = true;
    try {
      impatiently(() => this.meanwhile());
    } catch (error) {
      // Another thread would wait for the round; this one must let it go on.
      const { code = '' } = error as { code?: string };
      const expected = IN_THE_WAY.includes(code) || error instanceof WaitedEnough;
      if (!expected) this.#refused(error);
    } finally {
      this.#interrupting = false;
    }
  }
}

/** Uses a subject: its own operations, and everything that a pool can be asked for beside them. */
class SubjectSession extends Session {
  readonly #subject: AnySubject;
  #opened: Opened | undefined;

  constructor(subject: AnySubject, parts: SessionParts<undefined>) {
    super(parts);
    this.#subject = subject;
  }

  protected async openOn(fileSystem: FileSystem): Promise<BufferPool> {
    const options = { threads: 'inline', fileSystem } as const;
    const opened: Opened = await this.#subject.open(DIRECTORY, options);
    this.#opened = opened;
    return opened.pool;
  }

  protected async closeStore(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    await opened?.close();
  }

  facts(): Facts {
    return this.#subject.facts(this.#opened);
  }

  check(): readonly string[] {
    return this.#subject.check?.(this.#opened) ?? [];
  }

  wrongReplay(): readonly string[] {
    return [];
  }

  protected async step(): Promise<void> {
    const { random, pool, oracle } = this;
    const kind = random.int(100);
    if (kind < 66) {
      this.#operate();
      const level = random.pick(['none', 'none', 'written', 'synced'] as const);
      if (level !== 'none') this.#awaitSync(level);
    } else if (kind < 74) {
      await this.#await(random.pick(['written', 'synced'] as const));
    } else if (kind < 84) {
      const count = oracle.commits.length;
      await pool.checkpoint();
      oracle.acknowledge('synced', count);
    } else if (kind < 90) {
      await pool.flushIfNeeded(3);
    } else if (kind < 94) {
      this.#evict();
    } else {
      this.busy(() => this.#exercise());
    }
  }

  /** What to wait for: everything, or an older commit alone. */
  #target(): { readonly count: number; readonly seq: number | undefined } {
    const { random, oracle } = this;
    const { commits } = oracle;
    if (commits.length === 0 || random.chance(0.5))
      return { count: commits.length, seq: undefined };
    const back = Math.min(commits.length - 1, random.int(4));
    const count = commits.length - back;
    return { count, seq: commits[count - 1]?.seq };
  }

  #awaitSync(level: Acknowledged): void {
    const { count, seq } = this.#target();
    try {
      this.pool.durableSync(seq, level);
    } catch (error) {
      throw this.#waited(error);
    }
    this.oracle.acknowledge(level, count);
  }

  async #await(level: Acknowledged): Promise<void> {
    const { count, seq } = this.#target();
    try {
      await this.pool.durable(seq, level);
    } catch (error) {
      throw this.#waited(error);
    }
    this.oracle.acknowledge(level, count);
  }

  /** A wait that fails leaves it open whether the commits survive: it must not deny them. */
  #waited(error: unknown): unknown {
    if (error instanceof WeirpoolError && error.outcome === 'not_applied') {
      this.oracle.violations.push(`a wait for durability denies the commit: ${error.stack}`);
    }
    return error;
  }

  #exercise(): void {
    const { random, oracle } = this;
    if (oracle.isUndecided) this.#decide();
    this.assertFacts();
    const found = this.#subject.exercise?.(this.#opened, random, oracle.facts) ?? [];
    oracle.violations.push(...found);
  }

  protected meanwhile(): void {
    const { random, pool, oracle } = this;
    if (random.chance(0.3)) this.#evict();
    this.#operate();
    if (!random.chance(0.3)) return;
    pool.durableSync(undefined, 'synced');
    oracle.acknowledge('synced');
  }

  #evict(): void {
    for (const id of this.random.shuffled([...this.pool.list()]).slice(0, 8)) this.pool.evict(id);
  }

  #operate(): void {
    const { random, oracle } = this;
    if (oracle.isUndecided) this.busy(() => this.#decide());
    const subject = this.#subject;
    const operation = subject.draw(random, oracle.facts, { thread: 0, threads: 1 });
    if (operation === undefined) return;
    this.busy(() => {
      oracle.begin(subject.expect(oracle.facts, operation));
      try {
        const seq = subject.apply(this.#opened, operation);
        if (seq === undefined) this.#nothing(operation);
        else oracle.commit(seq, undefined);
      } catch (error) {
        try {
          if (this.#decide() && (error as Partial<WeirpoolError>).outcome === 'not_applied') {
            oracle.violations.push(`it was done, and denied: ${(error as Error).stack}`);
          }
        } catch {
          // It cannot be read now: the next operation asks again, and before that both may be there.
        }
        throw error;
      }
    });
  }

  /** The operation says that it had nothing to change. */
  #nothing(operation: unknown): void {
    const { oracle } = this;
    const changes = this.#subject.expect(oracle.facts, operation);
    for (const [name, value] of changes) {
      if (oracle.facts.get(name) !== value) {
        oracle.violations.push(`${JSON.stringify(operation)} has not changed ${name}`);
      }
    }
    oracle.cancel();
  }

  /**
   * An operation has thrown: it was not done, unless what threw came after its commit. The store
   * itself tells.
   *
   * @returns Whether it was done.
   * @throws if it cannot be read.
   */
  #decide(): boolean {
    const { oracle } = this;
    const found = this.facts();
    const { length } = oracle.commits;
    // What changes nothing looks the same before and after: then it was not done.
    const count = oracle.findAll(found, length, length + 1).at(-1);
    if (count === length + 1) oracle.commit(undefined, undefined);
    else oracle.cancel();
    if (count === undefined) {
      oracle.violations.push(`half an operation: ${differences(found, oracle.facts)}`);
    }
    return count === length + 1;
  }
}

/** The workload of a subject. */
export function workloadOf(subject: AnySubject): Workload {
  const { name, verify } = subject;
  const session: Workload['session'] = (parts) => new SubjectSession(subject, parts);
  return verify === undefined ? { name, session } : { name, session, verify };
}
