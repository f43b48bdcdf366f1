/**
 * Entry of the internal workers: loader, journal, checkpointer.
 *
 * Owns:        the choice of the role; a failure of the journal or the checkpointer poisons.
 * Threads:     one worker for each role and pool.
 *
 * The build bundles this file into one text, so that it starts from source, from the package and
 * from a bundle alike (scripts/build-assets.ts).
 */
import { workerData } from 'node:worker_threads';
import { poison } from '../memory/poison.ts';
import { ThreadMemory } from '../memory/pool-memory.ts';
import type { ServiceData } from '../pool/log-service.ts';
import { runCheckpointer } from './checkpointer.ts';
import { runJournal } from './journal.ts';
import { runLoader } from './loader.ts';

const data = workerData as ServiceData;

/**
 * The thread that has opened the pool may be blocked, waiting for this worker, and then no `exit`
 * event reaches it: the worker itself says that it ends.
 */
function fail(error: unknown): never {
  const why = error instanceof Error ? error.message : String(error);
  const message = `The ${data.role} worker could not go on: ${why}`;
  poison(new ThreadMemory(data.handle.memory), 'WORKER_DIED', message);
  throw error;
}

if (data.role === 'journal') void runJournal(data).catch(fail);
else if (data.role === 'checkpointer') void runCheckpointer(data).catch(fail);
else void runLoader(data);
