/**
 * A write-behind cache before a slow store, shared by two threads: reads and writes at the speed of
 * memory, and what was not written yet survives the end of the process.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { Weirpool } from 'weirpool';
import { WriteBehind } from 'weirpool/write-behind';

/** Stands for a database at the other end of a network. */
class SlowStore {
  content = new Map([['stock/apples', 7]]);
  calls = 0;

  async #trip() {
    this.calls++;
    await wait(2);
  }

  async read(key) {
    await this.#trip();
    return this.content.get(key);
  }

  async write(key, value) {
    await this.#trip();
    this.content.set(key, value);
  }

  async delete(key) {
    await this.#trip();
    this.content.delete(key);
  }
}

async function worker() {
  const db = await Weirpool.attach(workerData.db);
  const cache = WriteBehind.attach(db, workerData, new SlowStore());
  for (let n = 1; n <= 1000; n++) await cache.put(`counter/${n % 10}`, n);
  await cache.close({ flush: false }); // the opener flushes
  await db.close();
}

async function main() {
  const directory = mkdtempSync(join(tmpdir(), 'weirpool-'));
  const store = new SlowStore();
  let db = await Weirpool.open(directory, { frames: 64 });
  let cache = await WriteBehind.open(db, store, { capacity: 1000, concurrency: 8 });

  assert.equal(await cache.get('stock/apples'), 7); // read through
  await cache.put('stock/apples', 6); // in memory and in the log
  await new Promise((resolve, reject) => {
    const thread = new Worker(new URL(import.meta.url), { workerData: cache.handle });
    thread.once('error', reject).once('exit', resolve);
  });
  console.log(
    `${cache.dirtyCount} dirty entries after 1001 puts, ${store.calls} call of the store`,
  );

  // The next life of the process: nothing was flushed, nothing is lost.
  await cache.close({ flush: false });
  await db.close();
  db = await Weirpool.open(directory, { frames: 64 });
  cache = await WriteBehind.open(db, store, { concurrency: 8 });
  assert.equal(cache.dirtyCount, 11);
  assert.equal(cache.peek('counter/0'), 1000);
  assert.equal(await cache.flush(), 11);
  assert.equal(store.content.get('stock/apples'), 6);
  console.log(`flushed after reopening: ${[...store.content.keys()].sort().join(' ')}`);

  await cache.close();
  await db.close();
  rmSync(directory, { recursive: true });
}

await (isMainThread ? main() : worker());
