/**
 * An index of one's own over mini-transactions: four workers fill it, the process is killed in the
 * middle, and everything that was acknowledged is there when the store is opened again.
 *
 *   node examples/durable-index.mjs
 *
 * The index is a hash table of numbers: a table blob with the ids of its buckets, and buckets of
 * pairs, which grow by a chain of further blobs.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { BufferPool } from 'weirpool';

const BUCKETS = 8;
// Words of a bucket: the next blob of its chain, how many pairs it has, then key and value of each.
const NEXT = 0;
const COUNT = 1;
const PAIRS = 2;

/** Number that says whose records and whose root these are. */
const OWNER = 1;
const PUT_BYTES = 3 * 8;

// --- changes: first acquire and look, then, sealed, write -----------------------------------------

function planTable(op) {
  const table = op.create();
  const buckets = Array.from({ length: BUCKETS }, () => op.create().id);
  op.setRoot(OWNER, table.id);
  return () => table.f64.set(buckets);
}

function planPut(op, tableId, key, value) {
  let bucket = op.write(op.read(tableId).f64[key % BUCKETS]);
  for (;;) {
    const words = bucket.f64;
    const count = words[COUNT];
    for (let n = 0; n < count; n++) {
      const at = PAIRS + 2 * n;
      if (words[at] === key) return () => words.set([key, value], at);
    }
    if (PAIRS + 2 * (count + 1) <= words.length) return () => append(words, key, value);
    if (words[NEXT] === 0) {
      const next = op.create();
      return () => {
        words[NEXT] = next.id;
        append(next.f64, key, value);
      };
    }
    bucket = op.write(words[NEXT]);
  }
}

function append(words, key, value) {
  words.set([key, value], PAIRS + 2 * words[COUNT]);
  words[COUNT]++;
}

/** What a record says is done again the same way: its blobs are as they were before it. */
const owners = {
  [OWNER]: {
    replay({ payload }, op) {
      const [tableId, key, value] = new Float64Array(payload.slice().buffer);
      const write = tableId === undefined ? planTable(op) : planPut(op, tableId, key, value);
      op.seal();
      write();
    },
  },
};

function makeTable(pool) {
  pool.change(
    (op) => {
      const write = planTable(op);
      op.seal();
      write();
      op.commit(new Uint8Array(0));
    },
    { owner: OWNER },
  );
}

/** The seq of the change, by which one can wait for it to be safe. */
function put(pool, tableId, key, value) {
  return pool.change(
    (op) => {
      const write = planPut(op, tableId, key, value);
      op.seal(PUT_BYTES);
      write();
      return op.commit(new Uint8Array(Float64Array.of(tableId, key, value).buffer));
    },
    { owner: OWNER },
  );
}

/** Reads without a latch: each step is of one moment, or is done again. */
function get(pool, tableId, key) {
  let id = pool.optimistic(tableId, ({ f64 }) => f64[key % BUCKETS]);
  while (id !== 0) {
    const [value, next] = pool.optimistic(id, ({ f64 }) => {
      const end = Math.min(PAIRS + 2 * f64[COUNT], f64.length);
      for (let at = PAIRS; at < end; at += 2) if (f64[at] === key) return [f64[at + 1], 0];
      return [undefined, f64[NEXT]];
    });
    if (value !== undefined) return value;
    id = next;
  }
  return undefined;
}

// --- the program ------------------------------------------------------------------------------------

const WORKERS = 4;
const BATCH = 16;
const ENOUGH = 4000;
const OPTIONS = { frames: 256, blobBytes: 4096, log: true, owners };

const squareOf = (key) => key * key;

/** A worker: puts its keys for ever, and says up to which one they survive `kill -9`. */
async function work({ handle, tableId, first }) {
  const pool = await BufferPool.attach(handle);
  for (let key = first; ; key += WORKERS * BATCH) {
    let seq = 0;
    for (let n = 0; n < BATCH; n++) {
      seq = put(pool, tableId, key + n * WORKERS, squareOf(key + n * WORKERS));
    }
    pool.durableSync(seq, 'written');
    parentPort.postMessage(key + (BATCH - 1) * WORKERS);
  }
}

/** The process that will be killed: a line for each batch that is safe. */
async function write(directory) {
  const pool = await BufferPool.open(directory, OPTIONS);
  makeTable(pool);
  const tableId = pool.root(OWNER);
  for (let first = 0; first < WORKERS; first++) {
    const data = { handle: pool.handle, tableId, first };
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    worker.on('message', (last) => process.stdout.write(`${last}\n`));
  }
}

/** Starts it, kills it, and gives for each worker the last key that it said was safe. */
async function killedWriter(directory) {
  const writer = spawn(process.execPath, [process.argv[1], 'write', directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => writer.once('exit', resolve));
  const safe = new Map();
  for await (const line of createInterface({ input: writer.stdout })) {
    safe.set(Number(line) % WORKERS, Number(line));
    if (Math.min(...safe.values()) * Number(safe.size === WORKERS) > ENOUGH) {
      writer.kill('SIGKILL');
    }
  }
  await ended;
  return safe;
}

async function main() {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-example-'));
  const safe = await killedWriter(directory);

  const pool = await BufferPool.open(directory, OPTIONS); // replays what no round has taken
  const tableId = pool.root(OWNER);
  let [found, lost] = [0, 0];
  for (const last of safe.values()) {
    for (let key = last % WORKERS; key <= last; key += WORKERS) {
      if (get(pool, tableId, key) === squareOf(key)) found++;
      else lost++;
    }
  }
  await pool.close();
  rmSync(directory, { recursive: true });
  console.log(`killed after ${found + lost} safe keys: ${found} are there, ${lost} are lost`);
  if (lost > 0 || found < ENOUGH) process.exitCode = 1;
}

if (!isMainThread) await work(workerData);
else if (process.argv[2] === 'write') await write(process.argv[3]);
else await main();
