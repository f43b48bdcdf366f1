/**
 * Journal worker and checkpointer worker, as the opener sees them.
 *
 * Owns:        both workers, from the opening to the close.
 * Invariants:  the pool does not outlive them: when one ends before it is told to, all threads stop;
 *              nothing that was acknowledged as written is lost by that.
 * Threads:     the opener. With `threads: 'inline'` there are no workers, and the opener takes their
 *              steps.
 */
import { Worker } from 'node:worker_threads';
import type { InlineServices } from '../checkpoint/inline.ts';
import { WeirpoolError } from '../errors.ts';
import {
  H_CHECKPOINTER,
  H_JOURNAL,
  H_JOURNAL_WAKE,
  H_ROUND_DONE,
  H_ROUND_ERROR,
  H_ROUND_OK,
  H_ROUND_WAKE,
  H_SERVICES,
  H_STATUS,
  SERVICES_STOP,
  STATUS_POISONED,
} from '../generated/layout.ts';
import { isReached, WorkerServices } from '../memory/services.ts';
import { getError } from '../memory/shared-error.ts';
import type { PoolHandle } from './attach.ts';
import type { PoolCore } from './core.ts';
import { publishRound } from './events.ts';
import type { CheckpointOptions } from './log-options.ts';
import type { JournalHandle, OpenedLog } from './open-log.ts';

const NAP_MS = 2;

/** Services make little garbage: without a limit each of them touches 5 MiB more for it (Node 20). */
export const SERVICE_LIMITS = { maxYoungGenerationSizeMb: 2 } as const;

/** What an internal worker is told. */
export interface ServiceData {
  readonly role: 'loader' | 'journal' | 'checkpointer';
  readonly handle: PoolHandle;
  readonly journal?: JournalHandle;
  readonly checkpoint?: Required<CheckpointOptions>;
}

function nap(): Promise<void> {
  return new Promise((done) => setTimeout(done, NAP_MS));
}

export class LogService {
  readonly #core: PoolCore;
  readonly #inline: InlineServices | undefined;
  readonly #ended: Promise<void>[] = [];
  readonly #workers: Worker[] = [];
  #stopped = false;

  constructor(
    core: PoolCore,
    handle: PoolHandle,
    { handle: journal, services }: OpenedLog,
    checkpoint: Required<CheckpointOptions>,
    source: string,
  ) {
    this.#core = core;
    this.#inline = journal === undefined ? services : undefined;
    if (journal === undefined) return;
    core.thread.services = new WorkerServices(core.memory);
    this.#start(source, { role: 'journal', handle, journal });
    this.#start(source, { role: 'checkpointer', handle, checkpoint });
  }

  #start(source: string, data: ServiceData): void {
    const name = `weirpool ${data.role}`;
    const limits = { resourceLimits: SERVICE_LIMITS };
    const worker = new Worker(source, { eval: true, workerData: data, name, ...limits });
    worker.on('message', publishRound);
    worker.unref();
    let failure = '';
    worker.on('error', (error: Error) => {
      failure = ` ${error.message}`;
    });
    this.#workers.push(worker);
    this.#ended.push(
      new Promise((resolve) => {
        worker.once('exit', () => {
          if (!this.#stopped) {
            const message = `The ${data.role} worker has ended.${failure}`;
            this.#core.thread.poison(new WeirpoolError('WORKER_DIED', message));
          }
          resolve();
        });
      }),
    );
  }

  /** Waits until both workers are in: who comes to a pool that is closing is turned away. */
  async ready(): Promise<void> {
    const { memory } = this.#core;
    const isIn = (): boolean =>
      this.#inline !== undefined ||
      memory.load(H_STATUS) === STATUS_POISONED ||
      (memory.load(H_JOURNAL) !== 0 && memory.load(H_CHECKPOINTER) !== 0);
    while (!isIn()) await nap();
  }

  /**
   * The last round of a close.
   *
   * @returns Why it failed, or undefined.
   */
  async lastRound(): Promise<Error | undefined> {
    const { memory, thread } = this.#core;
    const ticket = (this.#inline ?? (thread.services as WorkerServices)).round();
    while (!isReached(memory.load(H_ROUND_DONE), ticket)) {
      if (memory.load(H_STATUS) === STATUS_POISONED) return thread.stopped();
      await nap();
    }
    if (isReached(memory.load(H_ROUND_OK), ticket)) return undefined;
    return getError(memory, H_ROUND_ERROR) ?? new WeirpoolError('STORE_IO', 'A round failed.');
  }

  /** Tells the workers to end, after the journal has written what is left, and waits for them. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const { memory } = this.#core;
    memory.store(H_SERVICES, SERVICES_STOP);
    memory.bump(H_JOURNAL_WAKE);
    memory.bump(H_ROUND_WAKE);
    if (this.#inline !== undefined) this.#inline.finish();
    for (const worker of this.#workers) worker.ref();
    await Promise.all(this.#ended);
  }
}
