/**
 * The mode `concurrent`: several threads change and read one map at once, and what each of them saw
 * is checked. Each key must be linearizable, a scan must give for each key what it had at some moment
 * of the scan, a consistent scan the state of one moment, a batch all or nothing.
 *
 * Meanwhile rounds write blobs to the store and frames are emptied, so what is read may come from
 * anywhere. At the end the map is read once more, and in some runs again after reopening.
 *
 * A run depends on its seed and number, and on how the machine runs the threads: a violation that
 * was found once may take several runs to be found again.
 */
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { History, HOT_KEYS, KEYS, keyAt, type Notes, valueText } from './concurrent-history.ts';
import { GO, Player, type PlayerOptions, STOP, WORDS } from './concurrent-player.ts';
import { type AnyMapSubject, type ConcurrentMap, isMapSubject } from './map-subject.ts';
import type { Mode, Run } from './mode.ts';
import { type PartContext, type Play, startThread } from './parts.ts';
import type { Opened } from './subject.ts';
import { removeDirectory, temporaryDirectory } from './temporary.ts';

const NAME = 'concurrent';
const RUNS = 40;
const THREADS_MIN = 2;
const THREADS_MAX = 4;
const OPERATIONS = 2500;
/** How long threads may take until they are said to hang. */
const PATIENCE_MS = 120_000;
const PAUSE_MS_MAX = 8;
/** Share of the runs in which the map is read again after reopening. */
const REOPENED = 0.3;

interface Task extends PlayerOptions {
  readonly subject: string;
  readonly handle: unknown;
  readonly operations: number;
}

/** What a thread says: that it is ready, then what it has seen. */
type Message = 'ready' | Notes;

/** Histories of several threads, checked key by key. */
export function concurrentMode({ subjects, self }: PartContext): Mode {
  const maps = subjects.filter(isMapSubject);
  return {
    name: NAME,
    summary: 'threads change and read one map; each key must be linearizable, scans as promised',
    runs: RUNS,
    prepare: async () =>
      maps.length === 0 ? 'no subject is a map for several threads' : undefined,
    run: async (run) => {
      const subject = maps[run.number % maps.length] as AnyMapSubject;
      const found = await new ConcurrentRun(subject, self, run).run();
      return found.map((text) => `${subject.name}: ${text}`);
    },
  };
}

/** One of the threads. */
export const playConcurrent: Play = async (task: Task, { subjects }) => {
  const { parentPort } = await import('node:worker_threads');
  const { words, operations } = task;
  const subject = subjects.find(({ name }) => name === task.subject) as AnyMapSubject;
  const opened = await subject.attach(task.handle as never);
  const player = new Player(subject.map(opened), task);
  parentPort?.postMessage('ready' satisfies Message);
  Atomics.wait(words, GO, 0);
  player.play(operations);
  parentPort?.postMessage(player.notes satisfies Message);
  await opened.close();
};

/** A thread that was started, and the two things that it says. */
class Playing {
  readonly worker: Worker;
  readonly ready: Promise<void>;
  readonly notes: Promise<Notes>;
  readonly gone: Promise<void>;

  constructor(worker: Worker) {
    this.worker = worker;
    const failed = new Promise<never>((_, reject) => {
      worker.once('error', reject);
      worker.once('exit', (code) => reject(new Error(`a thread has ended with ${code}`)));
    });
    this.gone = new Promise((resolve) => worker.once('exit', () => resolve()));
    const said = { ready: () => {}, notes: (_: Notes) => {} };
    this.ready = Promise.race([new Promise<void>((resolve) => (said.ready = resolve)), failed]);
    this.notes = Promise.race([new Promise<Notes>((resolve) => (said.notes = resolve)), failed]);
    for (const promise of [failed, this.ready, this.notes]) promise.catch(() => undefined);
    worker.on('message', (message: Message) => {
      if (message === 'ready') said.ready();
      else said.notes(message);
    });
  }
}

class ConcurrentRun {
  readonly #subject: AnyMapSubject;
  readonly #self: string;
  readonly #run: Run;
  readonly #words = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT));
  readonly #history = new History();
  readonly #found: string[] = [];
  #looks = 0;

  constructor(subject: AnyMapSubject, self: string, run: Run) {
    this.#subject = subject;
    this.#self = self;
    this.#run = run;
  }

  async run(): Promise<string[]> {
    const directory = temporaryDirectory('concurrent');
    try {
      await this.#play(join(directory, 'store'));
    } finally {
      removeDirectory(directory);
    }
    this.#found.push(...this.#history.check());
    this.#run.tally.schedules += this.#history.keys;
    return this.#found;
  }

  async #play(directory: string): Promise<void> {
    const opened = await this.#subject.open(directory, {});
    const threads = THREADS_MIN + this.#run.random.int(THREADS_MAX - THREADS_MIN + 1);
    const map = this.#subject.map(opened);
    for (let key = 0; key < KEYS; key++) map.put(keyAt(key), valueText(key));
    const playing = Array.from({ length: threads }, (_, thread) => this.#start(opened, thread));
    try {
      await this.#together(opened, playing);
      this.#look(map);
    } finally {
      await Promise.all(playing.map(({ worker }) => worker.terminate()));
      // A pool that a terminated thread has stopped says so once more, and what came before counts.
      await opened.close().catch((error: Error) => this.#found.push(`close: ${error.message}`));
    }
    if (this.#run.random.chance(REOPENED)) await this.#reopen(directory);
  }

  /** Lets the threads go, and waits until they have said what they have seen. */
  async #together(opened: Opened, playing: readonly Playing[]): Promise<void> {
    const { signal } = this.#run;
    const ends = Promise.all(playing.map(({ notes }) => notes));
    const stop = (): void => void Atomics.store(this.#words, STOP, 1);
    signal.addEventListener('abort', stop);
    const late = setTimeout(() => {
      this.#found.push(`the threads have not ended after ${PATIENCE_MS} ms`);
      for (const { worker } of playing) void worker.terminate();
    }, PATIENCE_MS);
    const isOver = { is: false };
    await Promise.all(playing.map(({ ready }) => ready));
    const disturbing = this.#disturb(opened, isOver);
    disturbing.catch(() => undefined);
    try {
      Atomics.store(this.#words, GO, 1);
      Atomics.notify(this.#words, GO);
      for (const notes of await ends) this.#history.add(notes);
      await Promise.all(playing.map(({ gone }) => gone));
    } finally {
      isOver.is = true;
      clearTimeout(late);
      signal.removeEventListener('abort', stop);
    }
    await disturbing;
  }

  #start({ handle }: Opened, thread: number): Playing {
    const task: Task = {
      subject: this.#subject.name,
      handle,
      thread,
      seed: this.#run.random.uint32(),
      words: this.#words,
      operations: OPERATIONS,
    };
    return new Playing(startThread(this.#self, NAME, task));
  }

  /** Rounds, and frames that are emptied, until it is over. */
  async #disturb({ pool }: Opened, isOver: { readonly is: boolean }): Promise<void> {
    const { random } = this.#run;
    while (!isOver.is) {
      if (random.chance(0.3)) await pool.checkpoint();
      for (const id of pool.list()) if (random.chance(0.1)) pool.evict(id);
      await new Promise((resolve) => setTimeout(resolve, random.int(PAUSE_MS_MAX)));
    }
  }

  /** Everything is still there, and nothing else. */
  async #reopen(directory: string): Promise<void> {
    const again = await this.#subject.open(directory, {});
    this.#look(this.#subject.map(again));
    this.#found.push(...(this.#subject.check?.(again) ?? []));
    await again.close();
  }

  #look(map: ConcurrentMap): void {
    const thread = -1 - this.#looks++;
    const player = new Player(map, { thread, seed: 0, words: this.#words });
    const ordered = { reverse: false, entriesMax: KEYS + 1 };
    player.scan(0, KEYS, { ...ordered, consistent: false });
    if (map.hasConsistentScans === true) player.scan(0, KEYS, { ...ordered, consistent: true });
    for (const key of HOT_KEYS) player.get(key);
    this.#history.add(player.notes);
  }
}
