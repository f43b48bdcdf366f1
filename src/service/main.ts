/**
 * Entry of the internal workers: loader, journal, checkpointer.
 *
 * Owns:        the choice of the role.
 * Threads:     one worker for each role and pool.
 *
 * The build bundles this file into one text, so that it starts from source, from the package and
 * from a bundle alike (scripts/build-assets.ts).
 */
import { workerData } from 'node:worker_threads';
import type { ServiceData } from '../pool/log-service.ts';
import { runCheckpointer } from './checkpointer.ts';
import { runJournal } from './journal.ts';
import { runLoader } from './loader.ts';

const data = workerData as ServiceData;

if (data.role === 'journal') void runJournal(data);
else if (data.role === 'checkpointer') void runCheckpointer(data);
else void runLoader(data);
