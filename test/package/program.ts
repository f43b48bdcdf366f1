/** Users' programs: main and worker code, as plain JavaScript that any module system can run. */

/** Blobs of a pool, read by a worker. */
const POOL_BODY = `
async function main() {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-user-'));
  try {
    const options = { frames: 16, blobBytes: 4096, blobsMax: 64 };
    let pool = await BufferPool.open(directory, options);
    const ids = [];
    for (let n = 1; n <= 8; n++) {
      const id = pool.allocate();
      pool.writeBlob(id, new Uint8Array(4096).fill(n));
      ids.push(id);
    }
    await pool.close();
    pool = await BufferPool.open(directory, options);
    await pool.prefetch(ids);
    const sums = ids.map((id) => pool.optimistic(id, sum));
    const worker = new Worker(process.argv[1], { workerData: { handle: pool.handle, ids } });
    const inWorker = await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await new Promise((resolve) => worker.once('exit', resolve));
    await pool.close();
    console.log(JSON.stringify({ sums, inWorker }));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function sum(frame) {
  let total = 0;
  for (const byte of frame.bytes) total += byte;
  return total / 4096;
}

async function work({ handle, ids }) {
  const pool = await BufferPool.attach(handle);
  parentPort.postMessage(ids.map((id) => pool.optimistic(id, sum)));
  await pool.close();
}

(isMainThread ? main() : work(workerData)).catch((error) => {
  console.error(error);
  process.exit(1);
});
`;

/** A store that two workers open and change at once. */
const STORE_BODY = `
async function main() {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-user-'));
  try {
    const db = await Weirpool.open(directory, { frames: 64, blobBytes: 4096, log: { ringBytes: 65536 } });
    db.tree('notes', TEXT).put('from main', 'hello');
    await Promise.all([1, 2].map((number) => new Promise((resolve, reject) => {
      const worker = new Worker(process.argv[1], { workerData: { handle: db.handle, number } });
      worker.once('error', reject);
      worker.once('exit', resolve);
    })));
    await db.close();
    const again = await Weirpool.open(directory);
    console.log(JSON.stringify([...again.tree('notes', TEXT).range()]));
    await again.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const TEXT = { key: 'utf8', value: 'utf8' };

async function work({ handle, number }) {
  const db = await Weirpool.attach(handle);
  const seq = db.tree('notes', TEXT).put(\`from worker \${number}\`, \`\${db.tree('notes', TEXT).get('from main')} \${number}\`);
  await db.durable(seq, 'synced');
  await db.close();
}

(isMainThread ? main() : work(workerData)).catch((error) => {
  console.error(error);
  process.exit(1);
});
`;

const MODULES: readonly (readonly [string, string])[] = [
  ['{ BufferPool, Weirpool }', 'weirpool'],
  ['{ mkdtempSync, rmSync }', 'node:fs'],
  ['{ tmpdir }', 'node:os'],
  ['{ join }', 'node:path'],
  ['{ isMainThread, parentPort, Worker, workerData }', 'node:worker_threads'],
];

const IMPORTS = MODULES.map(([names, from]) => `import ${names} from '${from}';\n`).join('');
const REQUIRES = MODULES.map(([names, from]) => `const ${names} = require('${from}');\n`).join('');

export interface Program {
  readonly name: string;
  readonly esm: string;
  readonly cjs: string;
  /** All that it prints. */
  readonly printed: string;
}

function programOf(name: string, body: string, printed: unknown): Program {
  return {
    name,
    esm: IMPORTS + body,
    cjs: REQUIRES + body,
    printed: `${JSON.stringify(printed)}\n`,
  };
}

const NUMBERS = [1, 2, 3, 4, 5, 6, 7, 8];

export const PROGRAMS: readonly Program[] = [
  // Each blob is filled with its number, in every thread.
  programOf('pool', POOL_BODY, { sums: NUMBERS, inWorker: NUMBERS }),
  programOf('store', STORE_BODY, [
    ['from main', 'hello'],
    ['from worker 1', 'hello 1'],
    ['from worker 2', 'hello 2'],
  ]),
];

/** A program that renders a pool's metrics. */
export const METRICS: string = `
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { BufferPool } from 'weirpool';

const { cache } = createRequire(import.meta.url);
const loaded = () => Object.keys(cache).some((path) => path.includes('prom-client'));
const before = loaded();
const { registerMetrics } = await import('weirpool/metrics');
const { register } = await import('prom-client');
const pool = await BufferPool.open(tmpdir(), { frames: 16, blobBytes: 4096, store: 'memory' });
const unregister = registerMetrics(pool);
const text = await register.metrics();
unregister();
await pool.close();
console.log(JSON.stringify({ before, after: loaded(), frames: /^weirpool_frames 16$/m.test(text) }));
`;

export const METRICS_PRINTED: string = `${JSON.stringify({
  before: false,
  after: true,
  frames: true,
})}\n`;

/** A typed use of the package; compiled, never run. */
export const TYPED: string = `
import { BufferPool, WeirpoolError, type BlobId } from 'weirpool';

export async function use(directory: string): Promise<number> {
  await using pool = await BufferPool.open(directory, { frames: 64 });
  const id: BlobId = pool.allocate();
  try {
    pool.writeBlob(id, new Uint8Array(512 * 1024));
    return pool.optimistic(id, (frame) => frame.bytes[0] ?? 0);
  } catch (error) {
    if (error instanceof WeirpoolError && error.code === 'POOL_EXHAUSTED') return -1;
    throw error;
  }
}
`;
