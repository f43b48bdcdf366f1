/**
 * The official test suite of abstract-level, on `WeirLevel`. It prints TAP.
 *
 * `directory`: each database opens a store of its own. `worker`: a worker runs the suite on databases that
 * the main thread has opened, each made from a handle, all in one store with services in threads.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  isMainThread,
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  Worker,
  workerData,
} from 'node:worker_threads';
// @ts-expect-error It comes without types.
import suite from 'abstract-level/test/index.js';
import tape from 'tape';
import { Weirpool, type WeirpoolHandle } from '../../src/index.ts';
import { WeirLevel, type WeirLevelHandle } from '../../src/level/index.ts';
import { check } from '../support/checks.ts';

type Options = ConstructorParameters<typeof WeirLevel>[1];

const LOG = { ringBytes: 262_144, segmentBytes: 262_144 };

function inDirectories(directory: string): void {
  const store = { frames: 32, blobBytes: 65_536, threads: 'inline', log: LOG } as const;
  let made = 0;
  suite({
    test: tape,
    factory: (options: Options) =>
      new WeirLevel(join(directory, String(made++)), { store, ...options }),
  });
}

interface Joining {
  readonly store: WeirpoolHandle;
  readonly answered: Int32Array;
}

/** Makes databases for the worker, one for each request. */
async function serve(directory: string): Promise<void> {
  const store = await Weirpool.open(directory, { frames: 2048, blobBytes: 4096, log: LOG });
  const answered = new Int32Array(new SharedArrayBuffer(4));
  const workerData: Joining = { store: store.handle, answered };
  const worker = new Worker(new URL(import.meta.url), { workerData });
  let asked = Promise.resolve();
  worker.on('message', (tree: string) => {
    asked = asked.then(async () => {
      const db = new WeirLevel(store, { tree });
      await db.open();
      worker.postMessage(db.handle);
      Atomics.add(answered, 0, 1);
      Atomics.notify(answered, 0);
    });
  });
  const [code] = (await once(worker, 'exit')) as [number];
  if (code !== 0) process.exitCode = code;
  await store.close();
}

/** Two databases of one tree that do not know of each other would not see each other's snapshots. */
async function checkRefused(attached: Weirpool): Promise<void> {
  const refused = await new WeirLevel(attached).open().catch((error: Error) => error.cause);
  check(
    refused instanceof TypeError,
    'a database without the words of the thread that has the store',
  );
}

async function inWorker({ store, answered }: Joining): Promise<void> {
  const port = parentPort as MessagePort;
  const attached = await Weirpool.attach(store);
  await checkRefused(attached);
  let made = 0;
  const handleOf = (tree: string): WeirLevelHandle => {
    const seen = Atomics.load(answered, 0);
    port.postMessage(tree);
    Atomics.wait(answered, 0, seen, 20_000);
    return receiveMessageOnPort(port)?.message as WeirLevelHandle;
  };
  suite({
    test: tape,
    factory: (options: Options) =>
      new WeirLevel(handleOf(`tree ${made++}`), { attached, ...options }),
  });
  tape.onFinish(() => void attached.close());
}

if (!isMainThread) await inWorker(workerData as Joining);
else {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-suite-'));
  process.once('exit', () => {
    rmSync(directory, { recursive: true, force: true });
  });
  if (process.argv[2] === 'worker') await serve(join(directory, 'store'));
  else inDirectories(directory);
}
