/**
 * Reads a store that is larger than its pool from end to end, asking for blobs ahead of time.
 *
 *   node examples/scan-with-prefetch.mjs
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BufferPool } from 'weirpool';

const BLOBS = 64;
const AHEAD = 4;

const directory = mkdtempSync(join(tmpdir(), 'weirpool-example-'));
const pool = await BufferPool.open(directory, { frames: 16 });
for (let n = 0; n < BLOBS; n++) {
  const id = pool.allocate();
  pool.writeBlob(id, new Uint8Array(pool.blobBytes).fill(id));
}

const sumOf = (frame) => frame.u32.reduce((sum, word) => (sum + word) >>> 0, 0);
const ids = pool.list();
let sum = 0;
for (let n = 0; n < ids.length; n++) {
  if (n % AHEAD === 0) void pool.prefetch(ids.slice(n + AHEAD, n + 2 * AHEAD));
  sum = (sum + pool.optimistic(ids[n], sumOf)) >>> 0;
}

const { misses, loads, evictions, cached, frames } = pool.stats();
console.log(`read ${ids.length} blobs through ${frames} frames, checksum ${sum.toString(16)}`);
console.log(
  `${loads} loads, ${misses} of them waited for; ${evictions} evictions, ${cached} cached`,
);
await pool.close();
rmSync(directory, { recursive: true });
