/**
 * Journal and checkpointer as steps of the thread that waits for them.
 *
 * Owns:        this thread's journal and checkpointer.
 * Threads:     the opener's, with `threads: 'inline'`: simulated file systems and model tests need
 *              that, and so does replay, before there are workers.
 */
import { H_LOG_FAILING, H_LOG_WAKE } from '../generated/layout.ts';
import { drawTicket, type LogServices, roundRefused } from '../memory/services.ts';
import type { PoolThread } from '../memory/thread.ts';
import type { Journal } from '../wal/journal.ts';
import { Checkpointer, type RoundTriggers } from './checkpointer.ts';
import type { RoundHost } from './round.ts';

/** Pause before a write that failed is tried again, in ms. */
const FAILING_NAP_MS = 5;

export class InlineServices implements LogServices {
  readonly inline = true;
  readonly checkpointer: Checkpointer;
  readonly #thread: PoolThread;
  readonly #journal: () => Journal;
  #running = false;

  /** @param journal  Made when it is first needed: replay opens the log late. */
  constructor(host: Omit<RoundHost, 'services'>, journal: () => Journal, triggers: RoundTriggers) {
    this.#thread = host.thread;
    this.#journal = journal;
    this.checkpointer = new Checkpointer({ ...host, services: this }, triggers);
  }

  journal(): void {
    const { memory, control } = this.#thread;
    const done = this.#journal().step();
    if (!done && memory.load(H_LOG_FAILING) !== 0) {
      control.park(H_LOG_WAKE, memory.load(H_LOG_WAKE), FAILING_NAP_MS);
    }
  }

  round(): number {
    if (this.#thread.isHolding) throw roundRefused();
    const ticket = drawTicket(this.#thread.memory);
    this.#run();
    return ticket;
  }

  settle(): void {
    if (this.checkpointer.isAwaited || this.checkpointer.isDue) this.#run();
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      this.#journal();
      this.checkpointer.runSync();
    } finally {
      this.#running = false;
    }
  }

  /** The last steps of a close. */
  finish(): void {
    this.#journal().finish();
  }
}
