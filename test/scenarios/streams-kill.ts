/**
 * A process that puts into three caching stores over trees of one Weirpool store, and flushes, until
 * it is killed. Everything that it does follows from the seed, so the parent knows what each flush
 * has written. On file descriptor 3, one line each:
 *
 *   flushing <n>   the n-th flush of all three stores begins
 *   flushed <n>    it has returned: what it wrote survives the process
 *
 * Arguments: directory, seed.
 */
import { writeSync } from 'node:fs';
import { Weirpool } from '../../src/index.ts';
import { Histories, openStores } from '../support/streams-history.ts';

const REPORTS = 3;

function say(text: string): void {
  writeSync(REPORTS, `${text}\n`);
}

const [directory = '', seed = '0'] = process.argv.slice(2);
const RING_BYTES = 64 * 1024;
/** Small, so that there is a round, and a new segment, every few flushes. */
const db = await Weirpool.open(directory, {
  frames: 64,
  blobBytes: 4096,
  log: { ringBytes: RING_BYTES, segmentBytes: RING_BYTES, bytesMax: 4 * RING_BYTES },
  checkpoint: { dirtyFrames: 16 },
});
const stores = openStores(db);
const histories = new Histories(Number(seed));
for (let flush = 1; ; flush++) {
  histories.round(stores);
  say(`flushing ${flush}`);
  for (const store of Object.values(stores)) store.flush();
  say(`flushed ${flush}`);
  // Lets the opener's timers run, so that rounds come in between.
  await new Promise((done) => setImmediate(done));
}
