/**
 * The loader thread.
 *
 * Owns:        the consuming end of the prefetch ring, while it lives.
 * Invariants:  a load is completed by synchronous reads on this thread; nothing here waits for an
 *              event loop, so a thread may park for a blob that this one loads.
 * Threads:     one for each pool, started at the first prefetch.
 */
import { H_LOADER, H_STATUS, OK, STATUS_OPEN } from '../generated/layout.ts';
import { PARK_MS } from '../memory/thread.ts';
import { attachCore } from '../pool/attach.ts';
import type { PoolCore } from '../pool/core.ts';
import type { ServiceData } from '../pool/log-service.ts';

function loadOne({ control, memory, me, residency, thread }: PoolCore): void {
  const id = memory.f64[thread.outIndex] as number;
  try {
    control.unpin(residency.pin(id, false), me);
  } catch {
    // A prefetch is a hint: whoever pins the blob gets the error.
  }
}

function serve(core: PoolCore): void {
  const { control, memory, me, thread } = core;
  while (memory.load(H_STATUS) === STATUS_OPEN) {
    const seen = control.prefetchWake();
    while (memory.load(H_STATUS) === STATUS_OPEN && control.prefetchPeek(me) === OK) {
      loadOne(core);
      control.prefetchDone();
    }
    control.prefetchWait(seen, PARK_MS);
    if (memory.load(H_STATUS) === STATUS_OPEN) thread.reaper.reapVanished();
  }
}

export async function runLoader({ handle }: ServiceData): Promise<void> {
  const core = await attachCore({ ...handle, frameWaitMs: 0 }, H_LOADER);
  try {
    serve(core);
  } finally {
    core.memory.store(H_LOADER, 0);
    await core.store.backend.close();
    core.detach();
  }
}
