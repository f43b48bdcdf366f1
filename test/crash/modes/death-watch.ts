/**
 * Ends the program when a survivor waits for a dead thread for ever: such a wait blocks the main
 * thread, which then can say nothing itself.
 *
 * Owns:        one word, the run that is under way; the watch waits for it to change.
 * Threads:     the main thread makes it; the part `death-watch` waits.
 */
import { writeSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { type Play, startThread } from '../../../src/harness/parts.ts';

const PART = 'death-watch';
/** All waits of a death together are shorter. */
const LIMIT_MS = 90_000;

interface WatchData {
  readonly word: Int32Array;
  readonly limitMs: number;
}

export const playWatch: Play = ({ word, limitMs }: WatchData) => {
  for (;;) {
    const run = Atomics.load(word, 0);
    if (Atomics.wait(word, 0, run, limitMs) !== 'timed-out') continue;
    writeSync(2, `violation: run ${run}: who is left waits for the dead thread for ever\n`);
    process.kill(process.pid, 'SIGKILL');
  }
};

export class DeathWatch {
  readonly #word = new Int32Array(new SharedArrayBuffer(4));
  readonly #thread: Worker;

  constructor(self: string, limitMs = LIMIT_MS) {
    const data: WatchData = { word: this.#word, limitMs };
    this.#thread = startThread(self, PART, data);
    this.#thread.unref();
  }

  begin(run: number): void {
    Atomics.store(this.#word, 0, run);
    Atomics.notify(this.#word, 0);
  }

  async end(): Promise<void> {
    await this.#thread.terminate();
  }
}
