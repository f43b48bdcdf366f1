/**
 * Handles of pools and stores: whatever a thread is given instead of one, attaching ends with a
 * `TypeError` or an error of ours, and the pool goes on for those who have it.
 *
 * A worker attaches: the opener has its own place already. What it attaches to by mistake it uses.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MessagePort, Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { toWire, type WireError } from '../../../src/errors.ts';
import { Weirpool, type WeirpoolHandle } from '../../../src/tree/weirpool.ts';
import { TEMPORARY_ENV } from '../../support/protocol.ts';
import { BOUNDARIES } from '../support/bytes.ts';
import { type Context, type Family, must, type Prepared } from '../support/family.ts';

/** A field of the handle, by its path; what it becomes. */
interface Harm {
  readonly path: string;
  readonly value: unknown;
  readonly way: 'set' | 'delete' | 'add';
}

interface Case {
  readonly harms: readonly Harm[];
}

const PATHS = [
  '',
  'pool',
  'flushBytes',
  'pool.memory',
  'pool.memory.control',
  'pool.memory.arenas',
  'pool.memory.arenas.0',
  'pool.memory.modules',
  'pool.memory.modules.control',
  'pool.memory.modules.kernels',
  'pool.memory.frames',
  'pool.memory.stagingFrames',
  'pool.memory.ringBytes',
  'pool.memory.framesPerArena',
  'pool.memory.scratchBytes',
  'pool.memory.blobBytes',
  'pool.backend',
  'pool.backend.kind',
  'pool.backend.directory',
  'pool.backend.lockFile',
  'pool.backend.readOnly',
  'pool.backend.dataDevice',
  'pool.backend.dataInode',
  'pool.backend.directWrites',
  'pool.backendWords',
  'pool.frameWaitMs',
  'pool.readOnly',
  'pool.log',
  'pool.log.durability',
  'pool.log.debug',
];

const values = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, 0, -1, 1, 1.5, Number.NaN, 2 ** 31, 2 ** 53, '', 'x'),
  fc.constantFrom<unknown>(
    true,
    {},
    [],
    0n,
    -1n,
    new SharedArrayBuffer(8),
    new SharedArrayBuffer(0),
  ),
  fc.constantFrom<unknown>(...BOUNDARIES, ...BOUNDARIES.map(Number)),
  fc.constantFrom<unknown>('memory', 'module', 'synced', '/nowhere/at/all', 'file'),
);

const cases: fc.Arbitrary<Case> = fc.record({
  harms: fc.array(
    fc.record({
      path: fc.constantFrom(...PATHS),
      value: values,
      way: fc.constantFrom('set', 'set', 'set', 'delete', 'add'),
    }),
    { minLength: 1, maxLength: 2 },
  ),
});

type Fields = Record<string, unknown>;

/** Copies what leads to the field; memories and modules stay what they are. */
function harmed(handle: unknown, { path, value, way }: Harm): unknown {
  if (path === '') return way === 'delete' ? undefined : value;
  const [name = '', ...rest] = path.split('.');
  if (typeof handle !== 'object' || handle === null) return handle;
  const copy: Fields = Array.isArray(handle)
    ? ([...handle] as unknown as Fields)
    : { ...(handle as Fields) };
  const before = copy[name];
  if (rest.length > 0) copy[name] = harmed(before, { path: rest.join('.'), value, way });
  else if (way === 'delete') delete copy[name];
  else if (way === 'add' && typeof before === 'number' && typeof value === 'number') {
    copy[name] = before + value;
  } else copy[name] = value;
  return copy;
}

interface Answer {
  readonly error: WireError | undefined;
}

/** Attaches, uses the store, leaves it. */
async function attachTo(handle: WeirpoolHandle): Promise<void> {
  const db = await Weirpool.attach(handle);
  try {
    const tree = db.tree('t', { key: 'utf8', value: 'utf8' });
    tree.get('key 7');
    if (handle.pool.readOnly !== true) tree.put('key 7', 'value');
    db.stats();
  } finally {
    await db.close();
  }
}

/** The worker: answers how attaching to what comes has ended. */
export function serveHandles(port: MessagePort): void {
  const answer = (error: WireError | undefined): void =>
    port.postMessage({ error } satisfies Answer);
  port.on('message', (handle: WeirpoolHandle) => {
    attachTo(handle).then(
      () => answer(undefined),
      (error: unknown) => answer(toWire(error)),
    );
  });
}

/** One question at a time. */
class Attacher {
  readonly #worker: Worker;
  #answered: (answer: Answer) => void = () => undefined;
  #failed: (error: Error) => void = () => undefined;

  constructor(program: string) {
    this.#worker = new Worker(new URL(program), { workerData: { attach: true } });
    this.#worker.on('message', (answer: Answer) => this.#answered(answer));
    this.#worker.on('error', (error) => this.#failed(error));
    this.#worker.on('exit', (code) => this.#failed(new Error(`the worker ended with ${code}`)));
  }

  ask(handle: unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#answered = resolve;
      this.#failed = reject;
      try {
        this.#worker.postMessage(handle);
      } catch (error) {
        // Not to be cloned: the sender is told.
        resolve({ error: toWire(error) });
      }
    });
  }

  async end(): Promise<void> {
    this.#failed = () => undefined;
    await this.#worker.terminate();
  }
}

const NAMES = ['WeirpoolError', 'TypeError', 'RangeError', 'DataCloneError'];

/** @param program  `import.meta.url` of the bundle. */
export function handlesOf(program: string): Family<Case> {
  return {
    name: 'handles',
    async prepare(context: Context): Promise<Prepared<Case>> {
      const at = join(process.env[TEMPORARY_ENV] ?? tmpdir(), `weirpool-fuzz-${process.pid}`);
      mkdirSync(at);
      process.once('exit', () => rmSync(at, { recursive: true, force: true }));
      const log = { ringBytes: 64 * 1024 };
      const db = await Weirpool.open(join(at, 'store'), { blobBytes: 4096, frames: 64, log });
      const tree = db.tree('t', { key: 'utf8', value: 'utf8' });
      for (let n = 0; n < 50; n++) tree.put(`key ${n}`, 'value');
      const attacher = new Attacher(program);
      const check = async ({ harms }: Case): Promise<void> => {
        const handle = harms.reduce<unknown>(harmed, db.handle);
        const { error } = await attacher.ask(handle);
        const outcome = error === undefined ? 'ok' : (error.code ?? error.name);
        context.note(`attach ${outcome}`);
        const isOurs = error === undefined || NAMES.includes(error.name);
        must(isOurs, `attaching ends with ${error?.name}: ${error?.stack}`);
        const isBare =
          error?.name === 'TypeError' &&
          /^Cannot |is not a function|is not iterable/.test(error.message);
        must(!isBare, `a handle was not looked at: ${error?.stack}`);
        must(tree.get('key 9') === 'value', 'the pool lost a value');
        tree.put('key 9', 'value');
        must(db.stats().log?.error === undefined, 'the log of the pool is broken');
      };
      const wanted = ['attach ok', 'attach TypeError'];
      const end = async (): Promise<void> => {
        await attacher.end();
        await db.close();
      };
      return { cases, check, wanted, end };
    },
  };
}
