/**
 * What runs beside the threads that use a pool: the loader thread, the background sweep, and the
 * watch for workers that end.
 *
 * Owns:        the loader worker and the timers, in the opener; the watch, in every thread.
 * Threads:     the opener alone starts the loader; other threads ring for it (H_DOORBELL).
 */
import { Worker } from 'node:worker_threads';
import {
  FRAME_VALID,
  H_DOORBELL,
  H_LOADER,
  H_PREFETCH_HEAD,
  H_PREFETCH_TAIL,
  H_STATUS,
  SLOTS_MAX,
  STATUS_OPEN,
} from '../generated/layout.ts';
import { waitAsync } from '../memory/wait-async.ts';
import { offWorkerEnded, onWorkerEnded, type WorkerEnded } from '../memory/worker-watch.ts';
import type { PoolHandle } from './attach.ts';
import type { PoolCore } from './core.ts';
import { SERVICE_LIMITS, type ServiceData } from './log-service.ts';
import type { SweepOptions } from './options.ts';

/** Reaps the workers that this thread started, as soon as their `exit` event comes. */
export class WorkerWatch {
  readonly #ended: WorkerEnded;

  constructor(core: PoolCore) {
    this.#ended = (nodeThread): void => core.thread.reaper.reapNodeThread(nodeThread);
    onWorkerEnded(this.#ended);
  }

  stop(): void {
    offWorkerEnded(this.#ended);
  }
}

/** Loaders that may end one after the other without having dealt with an id. */
const LOADER_FAILURES_MAX = 3;

/** Starts the loader thread when somebody asks, and again if it dies. */
export class LoaderService {
  readonly #core: PoolCore;
  readonly #handle: PoolHandle;
  readonly #source: string;
  #worker: Worker | undefined;
  #ended: Promise<void> = Promise.resolve();
  #stopped = false;
  /** Head of the ring when the last loader ended, and how many have ended there. */
  #head = 0;
  #failures = 0;

  constructor(core: PoolCore, handle: PoolHandle, source: string) {
    this.#core = core;
    this.#handle = handle;
    this.#source = source;
    void this.#listen();
  }

  /** Answers other threads' bells for as long as the pool is open. */
  async #listen(): Promise<void> {
    const { memory } = this.#core;
    const index = H_DOORBELL / Int32Array.BYTES_PER_ELEMENT;
    while (!this.#stopped) {
      const seen = Atomics.load(memory.i32, index);
      if (this.#hasWork()) this.start();
      const wait = waitAsync(memory.i32, index, seen);
      if (wait.async) await wait.value;
    }
  }

  #hasWork(): boolean {
    const { memory } = this.#core;
    return memory.load(H_PREFETCH_HEAD) !== memory.load(H_PREFETCH_TAIL);
  }

  start(): void {
    if (this.#worker !== undefined || this.#stopped) return;
    if (this.#core.memory.load(H_STATUS) !== STATUS_OPEN) return;
    let worker: Worker;
    try {
      worker = new Worker(this.#source, {
        eval: true,
        workerData: { role: 'loader', handle: this.#handle } satisfies ServiceData,
        name: 'weirpool loader',
        resourceLimits: SERVICE_LIMITS,
      });
    } catch {
      this.#giveUp(); // such as a process that may not start workers
      return;
    }
    worker.unref();
    // Nobody's slot: until it says which one is its own, it counts as a service all the same.
    this.#core.memory.store(H_LOADER, SLOTS_MAX + 1);
    worker.on('error', () => {
      // Whatever it held is reaped; a prefetch is a hint, and the next one starts a new loader.
    });
    this.#worker = worker;
    this.#ended = new Promise((resolve) => {
      worker.once('exit', () => {
        this.#worker = undefined;
        this.#core.memory.store(H_LOADER, 0);
        this.#noteEnd();
        resolve();
      });
    });
  }

  /** A loader that cannot start, or that a blob kills each time, must not be started for ever. */
  #noteEnd(): void {
    const head = this.#core.memory.load(H_PREFETCH_HEAD);
    this.#failures = head === this.#head ? this.#failures + 1 : 1;
    this.#head = head;
    if (this.#failures >= LOADER_FAILURES_MAX) this.#giveUp();
  }

  /** Lets go of everything that was asked for: a prefetch is a hint, whoever pins loads. */
  #giveUp(): void {
    this.#failures = 0;
    while (this.#hasWork()) this.#core.control.prefetchDone();
    this.#head = this.#core.memory.load(H_PREFETCH_HEAD);
  }

  /** Waits until the loader is out; the pool's status has told it to leave. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const { memory } = this.#core;
    Atomics.add(memory.i32, H_DOORBELL / Int32Array.BYTES_PER_ELEMENT, 1);
    memory.notify(H_DOORBELL);
    this.#worker?.ref();
    await this.#ended;
  }
}

/**
 * Frees frames in the background, so that a miss finds one: at each tick the recency of every
 * frame fades, and blobs that had no hit for `idleTicks` ticks go until `framesFree` frames are
 * free. It never goes further, so a pool that has room enough keeps everything.
 */
export class BackgroundSweep {
  readonly #core: PoolCore;
  readonly #options: Required<SweepOptions>;
  readonly #idle: Uint32Array;
  readonly #timer: NodeJS.Timeout;

  constructor(core: PoolCore, options: Required<SweepOptions>) {
    this.#core = core;
    this.#options = options;
    this.#idle = new Uint32Array(core.memory.shared.frames);
    this.#timer = setInterval(() => this.tick(), options.intervalMs);
    this.#timer.unref();
  }

  /** One look. Public for tests, which do not wait for timers. */
  tick(): void {
    const { control, memory } = this.#core;
    for (let frame = 0; frame < this.#idle.length; frame++) {
      if (memory.load(H_STATUS) !== STATUS_OPEN) return;
      const used = control.stateOf(frame) !== FRAME_VALID || control.ageFrame(frame) > 0;
      const idle = used ? 0 : (this.#idle[frame] as number) + 1;
      this.#idle[frame] = idle;
      if (idle >= this.#options.idleTicks && this.#evict(frame)) this.#idle[frame] = 0;
    }
  }

  #evict(frame: number): boolean {
    const { control, residency } = this.#core;
    if (residency.framesFree >= this.#options.framesFree) return false;
    try {
      return residency.evictFrom(frame, control.blobOf(frame));
    } catch {
      return false; // stopped meanwhile: a timer is no place to hear of it
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
