/**
 * The journal worker.
 *
 * Owns:        the log's files, while it lives.
 * Invariants:  on poison the published prefix is still written before it ends.
 * Threads:     one for each pool with a log. It parks when nobody waits, at most for the interval.
 */
import {
  H_JOURNAL,
  H_JOURNAL_PARKED,
  H_JOURNAL_WAKE,
  H_SERVICES,
  H_STATUS,
  SERVICES_RUN,
  STATUS_POISONED,
} from '../generated/layout.ts';
import { Spin } from '../memory/spin.ts';
import { PARK_MS } from '../memory/thread.ts';
import { attachCore } from '../pool/attach.ts';
import type { PoolCore } from '../pool/core.ts';
import type { ServiceData } from '../pool/log-service.ts';
import type { JournalHandle } from '../pool/open-log.ts';
import { adoptJournal } from '../pool/open-log.ts';
import type { PoolLog } from '../pool/pool-log.ts';
import type { Journal } from '../wal/journal.ts';

/** Pause when what somebody waits for is not published yet, in ms. */
const GAP_NAP_MS = 1;

function park({ control, memory }: PoolCore, journal: Journal, seen: number): void {
  memory.store(H_JOURNAL_PARKED, 1);
  control.park(H_JOURNAL_WAKE, seen, journal.isAwaited ? GAP_NAP_MS : PARK_MS);
  memory.store(H_JOURNAL_PARKED, 0);
}

function serve(core: PoolCore, journal: Journal): void {
  const { memory, thread } = core;
  const spin = new Spin();
  while (memory.load(H_SERVICES) === SERVICES_RUN && memory.load(H_STATUS) !== STATUS_POISONED) {
    const seen = memory.load(H_JOURNAL_WAKE);
    // Who was served just now often asks again at once.
    if (journal.step() && (journal.isPressing || spin.until(memory, H_JOURNAL_WAKE, seen)))
      continue;
    park(core, journal, seen);
    thread.reapNowAndThen();
  }
}

export async function runJournal({ handle, journal }: ServiceData): Promise<void> {
  const core = await attachCore(handle);
  core.thread.closing = true;
  core.memory.store(H_JOURNAL, core.me + 1);
  const writer = adoptJournal(core, (core.log as PoolLog).ring, journal as JournalHandle);
  try {
    serve(core, writer);
  } finally {
    writer.finish();
    await core.store.backend.close();
    core.memory.store(H_JOURNAL, 0);
    core.detach();
  }
}
