/**
 * Threads that die in the middle of what others wait for in a level database. Nobody waits for ever, and
 * nothing is kept for the dead.
 *
 * `write`: inside a write, before it changes anything. `gate`: while it has the gate closed and waits for a
 * writer. `snapshot`: with snapshots open, and nobody else has any: writers must stop saving some time.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, workerData } from 'node:worker_threads';
import { Weirpool } from '../../src/index.ts';
import { historyName } from '../../src/level/database.ts';
import { WeirLevel, type WeirLevelHandle } from '../../src/level/index.ts';
import { GATE, Versions } from '../../src/level/versions.ts';
import { waitAsync } from '../../src/memory/wait-async.ts';
import { check, checkEqual, startWorker } from '../support/checks.ts';

type What = 'write' | 'gate' | 'snapshot';

interface Job {
  readonly handle: WeirLevelHandle;
  readonly what: What;
  readonly word: Int32Array;
}

const KEYS = 50;
/** More writes than there are between two looks for the dead. */
const WRITES = 2000;

/** Says that it has begun, and ends here. */
function begun(word: Int32Array): void {
  Atomics.store(word, 0, 1);
  Atomics.notify(word, 0);
}

async function die({ handle, what, word }: Job): Promise<void> {
  if (what === 'snapshot') {
    const db = new WeirLevel(handle);
    await db.open();
    for (let n = 0; n < 40; n++) {
      db.snapshot();
      await db.put('of the dead', String(n));
    }
    begun(word);
  } else {
    const store = await Weirpool.attach(handle.store);
    const versions = new Versions(store.pool.core, handle.words);
    if (what === 'write') versions.enter();
    begun(word);
    if (what === 'gate') versions.open(); // waits for the main thread, which is inside a write
  }
  for (;;) Atomics.wait(word, 0, 1, 1000);
}

async function startDying(db: WeirLevel, what: What): Promise<() => Promise<void>> {
  const word = new Int32Array(new SharedArrayBuffer(4));
  const job: Job = { handle: db.handle, what, word };
  const { worker, done } = startWorker(import.meta.url, job);
  const wait = waitAsync(word, 0, 0, 20_000);
  if (wait.async) checkEqual(await wait.value, 'ok', 'the worker has begun');
  return async () => {
    await worker.terminate();
    await done.catch(() => undefined);
  };
}

/** What everybody does must go on. */
async function goOn(db: WeirLevel): Promise<void> {
  const snapshot = db.snapshot();
  await db.put('key 0', 'later');
  checkEqual(await db.get('key 0', { snapshot }), 'value', 'a key of a snapshot');
  checkEqual(await db.get('key 0'), 'later', 'a key');
  await snapshot.close();
  checkEqual(db.store.tree(historyName('level')).count(), 0, 'H3 what is kept for nobody');
}

async function dieInWrite(db: WeirLevel): Promise<void> {
  const end = await startDying(db, 'write');
  await end();
  await goOn(db);
}

async function awaitGateClosed(db: WeirLevel): Promise<void> {
  const words = new Int32Array(db.handle.words);
  const end = performance.now() + 20_000;
  while (Atomics.load(words, GATE) === 0) {
    check(performance.now() < end, 'the worker has closed the gate');
    await new Promise((done) => setTimeout(done, 1));
  }
}

async function dieWithGate(db: WeirLevel): Promise<void> {
  const { core } = db.store.pool;
  // Of this very thread: it must be inside a write when the other one closes the gate.
  const versions = new Versions(core, db.handle.words);
  versions.enter();
  const end = await startDying(db, 'gate');
  // The gate is closed now, and stays so, for this thread is inside.
  await awaitGateClosed(db);
  await end();
  versions.exit();
  await db.put('key 1', 'first');
  await goOn(db);
}

async function dieWithSnapshots(db: WeirLevel): Promise<void> {
  const end = await startDying(db, 'snapshot');
  await end();
  const history = db.store.tree(historyName('level'));
  check(history.count() > 0, 'the dead thread has had something kept');
  for (let n = 0; n < WRITES; n++) await db.put(`key ${n % KEYS}`, 'value');
  checkEqual(history.count(), 0, 'H3 what writers still save for the dead');
  await goOn(db);
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-level-death-'));
  const store = { frames: 512, blobBytes: 65_536 };
  const db: WeirLevel = new WeirLevel(join(directory, 'store'), { store, durability: 'none' });
  await db.open();
  for (let n = 0; n < KEYS; n++) await db.put(`key ${n}`, 'value');
  const what = process.argv[2] as What;
  if (what === 'write') await dieInWrite(db);
  else if (what === 'gate') await dieWithGate(db);
  else await dieWithSnapshots(db);
  await db.close();
  rmSync(directory, { recursive: true });
}

if (isMainThread) await main();
else await die(workerData as Job);
