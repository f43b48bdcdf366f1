/**
 * Writes a level database from three threads until it is killed. Each writer counts: batch n puts n under
 * three keys, and deletes one of the batch before the last; every other one is synced. What was acknowledged
 * is said on standard output, `<writer> <n>`. Snapshots are open half of the time.
 *
 * Argument: the directory.
 */
import { writeSync } from 'node:fs';
import { isMainThread, workerData } from 'node:worker_threads';
import { WeirLevel, type WeirLevelHandle } from '../../src/level/index.ts';
import { startWorker } from '../support/checks.ts';

type Level = WeirLevel<string, string>;

interface Job {
  readonly handle: WeirLevelHandle;
  readonly writer: number;
}

const WRITERS = 3;

async function write(db: Level, writer: number): Promise<never> {
  const from = Number((await db.get(`count/${writer}`)) ?? 0);
  let snapshot: ReturnType<Level['snapshot']> | undefined;
  for (let n = from + 1; ; n++) {
    if (n % 8 === 0) snapshot = db.snapshot();
    if (n % 8 === 4) await snapshot?.close();
    const value = String(n);
    await db.batch(
      [
        { type: 'put', key: `a/${writer}/${n}`, value },
        { type: 'put', key: `count/${writer}`, value },
        { type: 'put', key: `z/${writer}/${n}`, value },
        { type: 'del', key: `z/${writer}/${n - 2}` },
      ],
      { sync: n % 2 === 0 },
    );
    writeSync(1, `${writer} ${n}\n`);
  }
}

if (isMainThread) {
  const store = { blobBytes: 65_536, frames: 512 };
  const db: Level = new WeirLevel(process.argv[2] as string, { store });
  await db.open();
  for (let writer = 1; writer < WRITERS; writer++) {
    const job: Job = { handle: db.handle, writer };
    startWorker(import.meta.url, job);
  }
  await write(db, 0);
} else {
  const { handle, writer } = workerData as Job;
  const db: Level = new WeirLevel(handle);
  await db.open();
  await write(db, writer);
}
