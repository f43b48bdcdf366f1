/**
 * The directories that are still to be read, shared by all threads of an index.
 *
 * Owns:        one piece of shared memory: counters, and a stack of paths. What does not fit, and what
 *              nobody else needs, stays with the thread that found it.
 * Invariants:  PENDING counts the directories that were announced and are not done, wherever they are;
 *              it is raised for those below a directory before that one is done. At zero all is done.
 * Threads:     all workers; each waits blocked when there is nothing to do. `stop` from any thread.
 */
import { Buffer } from 'node:buffer';
import { bytesOf } from '../text.ts';

const PENDING = 0;
const WAITING = 1;
/** Changes whenever a waiting thread should look again. */
const WAKE = 2;
const STOPPED = 3;
const LOCK = 4;
/** Bytes on the stack. */
const TOP = 5;
const WORDS = 8;
const STACK_BYTES = 1024 * 1024;
const LENGTH_BYTES = 2;

/** States of the lock: free, taken, taken and somebody may wait for it. */
const FREE = 0;
const TAKEN = 1;
const CONTENDED = 2;

export type QueueMemory = SharedArrayBuffer;

/** For all threads; `first` is there already. */
export function makeQueue(first: string): QueueMemory {
  const memory = new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT + STACK_BYTES);
  const queue = new DirectoryQueue(memory);
  queue.add([first]);
  queue.shareAll();
  return memory;
}

export class DirectoryQueue {
  readonly #words: Int32Array;
  readonly #stack: Buffer;
  /** Found by this thread, and not shared. */
  readonly #own: string[] = [];

  constructor(memory: QueueMemory) {
    this.#words = new Int32Array(memory, 0, WORDS);
    this.#stack = Buffer.from(memory, WORDS * Int32Array.BYTES_PER_ELEMENT, STACK_BYTES);
  }

  /** Directories to be read; byte strings. */
  add(directories: readonly string[]): void {
    if (directories.length === 0) return;
    Atomics.add(this.#words, PENDING, directories.length);
    for (const directory of directories) this.#own.push(directory);
    if (Atomics.load(this.#words, WAITING) > 0) this.#share();
  }

  /** Gives the older half away: what was found early tends to hold more. */
  #share(): void {
    this.#give(Math.ceil(this.#own.length / 2));
  }

  shareAll(): void {
    this.#give(this.#own.length);
  }

  #give(count: number): void {
    this.#lock();
    let given = 0;
    while (given < count && this.#push(this.#own[given] as string)) given++;
    this.#unlock();
    this.#own.splice(0, given);
    if (given > 0) this.#wakeAll();
  }

  /**
   * The next directory, to be followed by `done`. Undefined: there will be none any more.
   */
  next(): string | undefined {
    for (;;) {
      if (Atomics.load(this.#words, STOPPED) !== 0) return undefined;
      const own = this.#own.pop();
      if (own !== undefined) {
        if (this.#own.length > 0 && Atomics.load(this.#words, WAITING) > 0) this.#share();
        return own;
      }
      const seen = Atomics.load(this.#words, WAKE);
      const shared = this.#take();
      if (shared !== undefined) return shared;
      if (Atomics.load(this.#words, PENDING) === 0) return undefined;
      Atomics.add(this.#words, WAITING, 1);
      Atomics.wait(this.#words, WAKE, seen);
      Atomics.sub(this.#words, WAITING, 1);
    }
  }

  #take(): string | undefined {
    this.#lock();
    const directory = this.#pop();
    this.#unlock();
    return directory;
  }

  /** The directory that `next` gave has been read, and what is below it was added. */
  done(): void {
    if (Atomics.sub(this.#words, PENDING, 1) === 1) this.#wakeAll();
  }

  /** Nobody gets another directory. */
  stop(): void {
    Atomics.store(this.#words, STOPPED, 1);
    this.#wakeAll();
  }

  get isStopped(): boolean {
    return Atomics.load(this.#words, STOPPED) !== 0;
  }

  /** Directories that are known and not done. */
  get pending(): number {
    return Atomics.load(this.#words, PENDING);
  }

  #wakeAll(): void {
    Atomics.add(this.#words, WAKE, 1);
    Atomics.notify(this.#words, WAKE);
  }

  // --- under the lock ----------------------------------------------------------------------------

  #lock(): void {
    const words = this.#words;
    if (Atomics.compareExchange(words, LOCK, FREE, TAKEN) === FREE) return;
    while (Atomics.exchange(words, LOCK, CONTENDED) !== FREE) Atomics.wait(words, LOCK, CONTENDED);
  }

  #unlock(): void {
    if (Atomics.exchange(this.#words, LOCK, FREE) === CONTENDED)
      Atomics.notify(this.#words, LOCK, 1);
  }

  /** The path, and its length behind it; false if there is no room. */
  #push(directory: string): boolean {
    const top = this.#words[TOP] as number;
    const end = top + directory.length;
    if (end + LENGTH_BYTES > STACK_BYTES) return false;
    this.#stack.set(bytesOf(directory), top);
    this.#stack.writeUInt16LE(directory.length, end);
    this.#words[TOP] = end + LENGTH_BYTES;
    return true;
  }

  #pop(): string | undefined {
    const top = this.#words[TOP] as number;
    if (top === 0) return undefined;
    const end = top - LENGTH_BYTES;
    const start = end - this.#stack.readUInt16LE(end);
    this.#words[TOP] = start;
    return this.#stack.toString('latin1', start, end);
  }
}
