/**
 * Long work that is to be watched and broken off: what is told, and when others get their turn.
 *
 * Owns:        how many bytes of work lie between two turns of the event loop.
 * Threads:     private to the caller.
 */
import { setImmediate } from 'node:timers/promises';

/** Work done between two turns: a few milliseconds on any disk. */
const TURN_BYTES = 16 * 1024 * 1024;

/** How far long work has come. */
export interface Progress<P extends string> {
  readonly phase: P;
  /** Of `total`. */
  readonly done: number;
  /** 0: not known before the end. */
  readonly total: number;
}

export interface PaceOptions<P extends string> {
  /** Called at the beginning and end of each phase and every few milliseconds; must not throw. */
  readonly onProgress?: ((progress: Progress<P>) => void) | undefined;
  /** Breaks the work off: the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export class Pace<P extends string> {
  readonly #options: PaceOptions<P>;
  #phase: P | undefined;
  #total = 0;
  #bytes = 0;

  constructor(options: PaceOptions<P>) {
    this.#options = options;
  }

  begin(phase: P, total: number): void {
    this.#options.signal?.throwIfAborted();
    this.#phase = phase;
    this.#total = total;
    this.#tell(0);
  }

  /** After so many bytes more; now and then the event loop has its turn. */
  async step(done: number, bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (this.#bytes < TURN_BYTES) return;
    this.#bytes = 0;
    this.#tell(done);
    await setImmediate();
    this.#options.signal?.throwIfAborted();
  }

  end(done: number): void {
    this.#tell(done);
    this.#options.signal?.throwIfAborted();
  }

  #tell(done: number): void {
    const phase = this.#phase as P;
    this.#options.onProgress?.({ phase, done, total: this.#total });
  }
}
