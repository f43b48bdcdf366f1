/**
 * What a pool tells those who listen: diagnostics channels, and listeners for a poison.
 *
 * Owns:        the names of the channels; one wait on H_DOORBELL for each pool object.
 * Threads:     a channel is heard in the thread where it is published: rounds in the opener's, an
 *              eviction in the thread that evicts, a poison in every thread that has the pool.
 */
import { channel } from 'node:diagnostics_channel';
import type { RoundEvent } from '../checkpoint/round.ts';
import type { WeirpoolError } from '../errors.ts';
import { H_DOORBELL, H_STATUS, STATUS_POISONED } from '../generated/layout.ts';
import { waitAsync } from '../memory/wait-async.ts';
import type { PoolCore } from './core.ts';

/** Published to `weirpool:poison`. */
export interface PoisonEvent {
  readonly error: WeirpoolError;
}

const ROUND_CHANNELS = {
  start: channel('weirpool:round:start'),
  end: channel('weirpool:round:end'),
  error: channel('weirpool:round:error'),
} as const;
const POISON_CHANNEL = channel('weirpool:poison');

export function publishRound(event: RoundEvent): void {
  ROUND_CHANNELS[event.kind].publish(event);
}

/** Not at once: a listener may use the pool, and a round may run inside an operation. */
export function publishLater(event: RoundEvent): void {
  queueMicrotask(() => {
    publishRound(event);
  });
}

/** Somebody who listens; a listener may be added twice. */
interface Listener {
  readonly call: (error: WeirpoolError) => void;
}

/** Tells this thread of a poison, whoever caused it. */
export class PoisonWatch {
  readonly #core: PoolCore;
  readonly #listeners = new Set<Listener>();
  #stopped = false;

  constructor(core: PoolCore) {
    this.#core = core;
    void this.#watch();
  }

  get #poisoned(): boolean {
    return this.#core.memory.load(H_STATUS) === STATUS_POISONED;
  }

  async #watch(): Promise<void> {
    const { memory } = this.#core;
    const index = H_DOORBELL / Int32Array.BYTES_PER_ELEMENT;
    while (!this.#stopped && !this.#poisoned) {
      const seen = Atomics.load(memory.i32, index);
      if (this.#poisoned) break;
      const wait = waitAsync(memory.i32, index, seen);
      if (wait.async) await wait.value;
    }
    if (!this.#poisoned) return;
    const error = this.#core.thread.stopped();
    POISON_CHANNEL.publish({ error } satisfies PoisonEvent);
    for (const listener of this.#listeners) this.#tell(listener);
  }

  /** In a turn of its own: one that throws takes it from nobody else. */
  #tell(listener: Listener): void {
    queueMicrotask(() => {
      if (this.#listeners.delete(listener)) listener.call(this.#core.thread.stopped());
    });
  }

  /** Calls the listener once when the pool is poisoned, soon if it is already. Takes it off again. */
  add(call: (error: WeirpoolError) => void): () => void {
    if (typeof call !== 'function') throw new TypeError('A listener is a function');
    const listener = { call };
    this.#listeners.add(listener);
    if (this.#poisoned) this.#tell(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  stop(): void {
    this.#stopped = true;
    // Nothing to say to others: whoever waits is woken, and the word stays.
    this.#core.memory.notify(H_DOORBELL);
  }
}
