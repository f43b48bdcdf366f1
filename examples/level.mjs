/**
 * An abstract-level database that all workers write at once, and a snapshot that stays as it is.
 *
 *   node examples/level.mjs        (needs abstract-level beside weirpool)
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { WeirLevel } from 'weirpool/level';

const WORKERS = 3;
const ORDERS = 200;
const json = { valueEncoding: 'json' };

async function takeOrders() {
  const db = new WeirLevel(workerData.db, json);
  for (let n = 0; n < ORDERS; n++) {
    const id = `${workerData.name}-${String(n).padStart(4, '0')}`;
    // Both or neither, in two sublevels.
    await db.batch([
      { type: 'put', sublevel: db.sublevel('orders', json), key: id, value: { n, paid: false } },
      { type: 'put', sublevel: db.sublevel('unpaid', json), key: id, value: n },
    ]);
  }
  await db.close();
}

async function main() {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-example-'));
  const db = new WeirLevel(join(directory, 'shop'), json);
  await db.open();
  const orders = db.sublevel('orders', json);
  await orders.put('first', { n: 0, paid: true });
  const snapshot = db.snapshot();

  const ended = Array.from({ length: WORKERS }, (_, n) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { db: db.handle, name: `worker${n}` },
    });
    return new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
  });
  await Promise.all(ended);

  const before = await orders.keys({ snapshot }).all();
  const now = await orders.keys().all();
  await snapshot.close();
  for await (const [id, order] of orders.iterator({ gte: 'worker1', limit: 1 })) {
    console.log(`${id} is order ${order.n}`);
  }
  await db.put('closed', true, { sync: true }); // survives power loss from here on
  await db.close();
  rmSync(directory, { recursive: true });
  console.log(`${before.length} order in the snapshot, ${now.length} now`);
  if (before.length !== 1 || now.length !== 1 + WORKERS * ORDERS) process.exitCode = 1;
}

await (isMainThread ? main() : takeOrders());
