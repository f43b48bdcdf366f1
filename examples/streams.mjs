/**
 * Page views by minute, and visits, of a stream of records: a window store and a session store behind
 * write-back caches, over trees that survive the process.
 *
 *   node examples/streams.mjs
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Weirpool } from 'weirpool';
import { SessionStore, ThreadCache, TreeStore, WindowStore } from 'weirpool/streams';

const MINUTE_MS = 60_000;
const GAP_MS = 30_000;

const directory = mkdtempSync(join(tmpdir(), 'weirpool-example-'));
const text = (bytes) => Buffer.from(bytes).toString();

function openStores(db) {
  const threadCache = new ThreadCache({ bytesMax: 8 * 2 ** 20 });
  const over = (name) => new TreeStore(db.tree(name), { durability: 'written' });
  const views = new WindowStore({ inner: over('views'), threadCache, retentionMs: 60 * MINUTE_MS });
  const visits = new SessionStore({ inner: over('visits'), threadCache });
  return { views, visits };
}

/** How many views the page had in this minute, one more. */
function countView({ views }, page, context) {
  const start = context.timestamp - (context.timestamp % MINUTE_MS);
  const count = Number(text(views.fetch(page, start)?.value ?? '0'));
  views.put(page, String(count + 1), start, context);
}

/** Merges the visits that this record is near enough to. */
function extendVisit({ visits }, user, context) {
  const { timestamp } = context;
  let [start, end, pages] = [timestamp, timestamp, 1];
  for (const visit of visits.findSessions(user, timestamp - GAP_MS, timestamp + GAP_MS).toArray()) {
    start = Math.min(start, visit.start);
    end = Math.max(end, visit.end);
    pages += Number(text(visit.value));
    visits.remove(visit, context);
  }
  visits.put({ key: user, start, end }, String(pages), context);
}

let db = await Weirpool.open(directory, { frames: 64 });
let stores = openStores(db);

const RECORDS = [
  ['ann', '/home', 1_000],
  ['ann', '/docs', 9_000],
  ['bob', '/home', 12_000],
  ['ann', '/docs', 70_000],
  ['ann', '/home', 75_000],
  ['bob', '/docs', 41_000],
];
RECORDS.forEach(([user, page, timestamp], offset) => {
  const context = { topic: 'views', partition: 0, offset, timestamp };
  countView(stores, page, context);
  extendVisit(stores, user, context);
});

// What has changed since the last flush, in order: for whoever comes next in the stream.
for (const { key, value, oldValue } of stores.visits.flushWithOld()) {
  if (value === undefined && oldValue === undefined) continue; // Came and went in between.
  const before = oldValue === undefined ? 'nothing' : `${text(oldValue)} pages`;
  const now = value === undefined ? 'nothing' : `${text(value)} pages`;
  console.log(`changed: ${text(key.subarray(0, -16))}, ${before} -> ${now}`);
}
stores.views.close();
stores.visits.close();
await db.close();

db = await Weirpool.open(directory, { frames: 64 });
stores = openStores(db);
for (const { start, value } of stores.views.fetch('/home', 0, undefined)) {
  console.log(`/home, minute ${start / MINUTE_MS}: ${text(value)}`);
}
for (const { key, start, end, value } of stores.visits.all()) {
  console.log(`${text(key)} from ${start / 1000} s to ${end / 1000} s: ${text(value)} pages`);
}
await db.close();
rmSync(directory, { recursive: true });
