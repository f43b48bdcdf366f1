/** Backing stores of tests and a clock of their own; also for programs that run outside of Vitest. */
import type {
  BackingStore,
  Clock,
  StoreOperation,
  WriteBehind,
} from '../../src/write-behind/index.ts';

export type Cache = WriteBehind<string, number>;

/** A store in memory that remembers what it was asked, and fails when it is told to. */
export class PlainStore implements BackingStore<string, number> {
  readonly content = new Map<string, number>();
  readonly calls: string[] = [];
  /** Throws what the store is to throw. */
  failure: (operation: StoreOperation, key: string) => unknown = () => undefined;

  #note(operation: StoreOperation, key: string, value?: number): void {
    const failure = this.failure(operation, key);
    if (failure !== undefined) throw failure;
    this.calls.push(value === undefined ? `${operation} ${key}` : `${operation} ${key}=${value}`);
  }

  read(key: string): number | undefined {
    this.#note('read', key);
    return this.content.get(key);
  }

  write(key: string, value: number): void {
    this.#note('write', key, value);
    this.content.set(key, value);
  }

  delete(key: string): void {
    this.#note('delete', key);
    this.content.delete(key);
  }

  /** What it was asked since the last time. */
  takeCalls(): string[] {
    return this.calls.splice(0);
  }
}

/** The same with promises. */
export class PromisedStore implements BackingStore<string, number> {
  readonly plain: PlainStore;

  constructor(plain: PlainStore) {
    this.plain = plain;
  }

  async read(key: string): Promise<number | undefined> {
    await Promise.resolve();
    return this.plain.read(key);
  }

  async write(key: string, value: number): Promise<void> {
    await Promise.resolve();
    this.plain.write(key, value);
  }

  async delete(key: string): Promise<void> {
    await Promise.resolve();
    this.plain.delete(key);
  }
}

/** One call of a staged store, which takes effect when the test says so. */
export interface StagedCall {
  readonly text: string;
  /** Takes effect, and resolves. A read brings what is there at `look`, or else now. */
  land(): Promise<void>;
  /** A read looks at the content now, and lands later. */
  look(): void;
  fail(error: Error): Promise<void>;
}

/** A store whose calls wait for the test. */
export class StagedStore implements BackingStore<string, number> {
  readonly content = new Map<string, number>();
  /** Calls that wait, in order. */
  readonly waiting: StagedCall[] = [];
  /** Of each key, writes and deletes that are under way. */
  readonly under = new Map<string, number>();
  /** More than one at a time has been seen. */
  overlapped = false;

  read(key: string): Promise<number | undefined> {
    let seen: { readonly value: number | undefined } | undefined;
    const look = (): void => {
      seen = { value: this.content.get(key) };
    };
    return this.#stage(`read ${key}`, look, () => {
      if (seen === undefined) look();
      return seen?.value;
    });
  }

  write(key: string, value: number): Promise<void> {
    this.#enter(key);
    return this.#stage(
      `write ${key}=${value}`,
      () => undefined,
      () => {
        this.content.set(key, value);
      },
      key,
    );
  }

  delete(key: string): Promise<void> {
    this.#enter(key);
    return this.#stage(
      `delete ${key}`,
      () => undefined,
      () => {
        this.content.delete(key);
      },
      key,
    );
  }

  #enter(key: string): void {
    const under = (this.under.get(key) ?? 0) + 1;
    this.under.set(key, under);
    if (under > 1) this.overlapped = true;
  }

  #stage<T>(text: string, look: () => void, act: () => T, changed?: string): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const end = async (settle: () => void): Promise<void> => {
        this.waiting.splice(this.waiting.indexOf(call), 1);
        if (changed !== undefined) this.under.set(changed, (this.under.get(changed) ?? 1) - 1);
        settle();
        await turn();
      };
      const call: StagedCall = {
        text,
        look,
        land: () => end(() => resolve(act())),
        fail: (error) => end(() => reject(error)),
      };
      this.waiting.push(call);
    });
  }

  get texts(): string[] {
    return this.waiting.map(({ text }) => text);
  }

  /** The oldest call that waits, which is this one. */
  next(text: string): StagedCall {
    const [call] = this.waiting;
    if (call?.text === text) return call;
    throw new Error(`the store was asked [${this.texts.join(', ')}], not first ${text}`);
  }
}

/** All that can go on without the test has gone on. */
export async function turn(): Promise<void> {
  for (let n = 0; n < 5; n++) await new Promise((done) => setImmediate(done));
}

/** Time that passes when the test says so. */
export class ManualClock implements Clock {
  #now = 1_000_000;
  readonly #timers = new Set<{ readonly at: number; readonly call: () => void }>();

  now(): number {
    return this.#now;
  }

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.#now + ms, call };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  get timers(): number {
    return this.#timers.size;
  }

  /** Goes on by so many ms, timer by timer, each with its consequences. */
  async pass(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      const due = [...this.#timers]
        .filter(({ at }) => at <= until)
        .sort((a, b) => a.at - b.at)
        .at(0);
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.call();
      await turn();
    }
    this.#now = until;
  }

  /** Somebody sets the clock. */
  jump(ms: number): void {
    this.#now += ms;
  }
}

/** What a call was rejected with, or threw. */
export async function failureOf(call: () => unknown): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('the call did not fail');
}
