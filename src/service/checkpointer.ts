/**
 * The checkpointer worker.
 *
 * Owns:        the rounds of a pool, while it lives.
 * Threads:     one for each pool with a log. Between rounds it parks; during one its event loop
 *              serves the writes in flight.
 */
import { parentPort } from 'node:worker_threads';
import { Checkpointer } from '../checkpoint/checkpointer.ts';
import type { RoundEvent } from '../checkpoint/round.ts';
import {
  H_CHECKPOINTER,
  H_ROUND_WAKE,
  H_SERVICES,
  H_STATUS,
  SERVICES_RUN,
  STATUS_POISONED,
} from '../generated/layout.ts';
import type { LogServices } from '../memory/services.ts';
import { PARK_MS } from '../memory/thread.ts';
import { attachCore } from '../pool/attach.ts';
import type { PoolCore } from '../pool/core.ts';
import type { CheckpointOptions } from '../pool/log-options.ts';
import type { ServiceData } from '../pool/log-service.ts';

/** The opener publishes it: a channel is heard in one thread alone. */
function onRound(event: RoundEvent): void {
  parentPort?.postMessage(event);
}

async function serve(core: PoolCore, checkpointer: Checkpointer): Promise<void> {
  const { control, memory, thread } = core;
  while (memory.load(H_SERVICES) === SERVICES_RUN && memory.load(H_STATUS) !== STATUS_POISONED) {
    const seen = memory.load(H_ROUND_WAKE);
    if (checkpointer.isAwaited || checkpointer.isDue) {
      await checkpointer.run();
    } else {
      control.park(H_ROUND_WAKE, seen, PARK_MS);
      thread.reapNowAndThen();
    }
  }
}

export async function runCheckpointer({ handle, checkpoint }: ServiceData): Promise<void> {
  const core = await attachCore(handle);
  const { thread, store, memory } = core;
  thread.closing = true;
  memory.store(H_CHECKPOINTER, core.me + 1);
  const services = thread.services as LogServices;
  const triggers = checkpoint as Required<CheckpointOptions>;
  try {
    const logWaitMs = core.residency.frameWaitMs;
    const host = { thread, store, services, logWaitMs, onRound };
    await serve(core, new Checkpointer(host, triggers));
  } finally {
    await store.backend.close();
    memory.store(H_CHECKPOINTER, 0);
    core.detach();
  }
}
