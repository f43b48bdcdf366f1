/** The directories that threads share, and signals: who gets what, and who is told when it is over. */
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { expect, it } from 'vitest';
import { DirectoryQueue, makeQueue } from '../../../src/cli/indexing/queue.ts';
import { Interrupt } from '../../../src/cli/interrupt.ts';
import { PROJECT, temporaryDirectory } from '../../support/variant.ts';

it('gives each directory once, the last found first, and ends when all are done', () => {
  const queue = new DirectoryQueue(makeQueue('root'));
  expect(queue.next()).toBe('root');
  queue.add(['a', 'b\xff']);
  queue.done();
  expect(queue.pending).toBe(2);
  expect(queue.next()).toBe('b\xff');
  queue.done();
  expect(queue.next()).toBe('a');
  queue.add(['a/b']);
  queue.done();
  expect(queue.next()).toBe('a/b');
  queue.done();
  expect(queue.next()).toBeUndefined();
});

it('keeps what does not fit into the shared part, and loses nothing', () => {
  const queue = new DirectoryQueue(makeQueue(''));
  queue.next();
  const directories = Array.from({ length: 10_000 }, (_, n) => `${NAME}/${n}`);
  queue.add(directories);
  queue.done();
  queue.shareAll();
  const seen: string[] = [];
  for (let next = queue.next(); next !== undefined; next = queue.next()) {
    seen.push(next);
    queue.done();
  }
  expect(seen.sort()).toEqual(directories.sort());
});

it('gives nothing any more once it was stopped', () => {
  const queue = new DirectoryQueue(makeQueue(''));
  queue.stop();
  expect(queue.next()).toBeUndefined();
  expect(queue.isStopped).toBe(true);
});

const DEPTH = 9;
const WORKERS = 4;
const NAME = 'n'.repeat(200);

const PROGRAM = `
import { parentPort, workerData } from 'node:worker_threads';
import { DirectoryQueue } from './src/cli/indexing/queue.ts';
const queue = new DirectoryQueue(workerData);
const seen = [];
for (let next = queue.next(); next !== undefined; next = queue.next()) {
  seen.push(next);
  const depth = next.split('/').length;
  if (depth <= ${DEPTH}) queue.add([next + '/0', next + '/1', next + '/']);
  queue.done();
}
parentPort.postMessage(seen);
`;

it('gives each directory to one of several threads', async () => {
  const outfile = join(temporaryDirectory('queue'), 'worker.mjs');
  await build({
    stdin: { contents: PROGRAM, resolveDir: PROJECT, loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    logLevel: 'silent',
  });
  const memory = makeQueue(NAME);
  const workers = Array.from(
    { length: WORKERS },
    () => new Worker(outfile, { workerData: memory }),
  );
  const lists = await Promise.all(
    workers.map(async (worker) => (await once(worker, 'message'))[0] as string[]),
  );
  const seen = lists.flat().sort();
  const expected: string[] = [];
  const grow = (path: string, depth: number): void => {
    expected.push(path);
    if (depth <= DEPTH) for (const n of ['0', '1', '']) grow(`${path}/${n}`, depth + 1);
  };
  grow(NAME, 1);
  expect(seen.length).toBe(expected.length);
  expect(seen).toEqual(expected.sort());
});

it('the first signal asks for an end, and leaves the second one to the system', () => {
  const before = process.listenerCount('SIGINT');
  let told = 0;
  const interrupt = new Interrupt(() => told++);
  expect(process.listenerCount('SIGINT')).toBe(before + 1);
  interrupt.check();
  process.emit('SIGINT', 'SIGINT');
  expect([told, interrupt.exitCode, interrupt.signal.aborted]).toEqual([1, 130, true]);
  expect(process.listenerCount('SIGINT')).toBe(before);
  expect(() => interrupt.check()).toThrow('');
  new Interrupt(() => undefined).end();
  expect(process.listenerCount('SIGINT')).toBe(before);
});
