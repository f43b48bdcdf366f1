/** A main thread that goes on twice, then waits for ever, and what ends it. */
import { playPart } from '../../src/harness/parts.ts';
import { DeathWatch, playWatch } from '../crash/modes/death-watch.ts';

const LIMIT_MS = 1500;
const context = { subjects: [], self: import.meta.url };

if (!(await playPart({ 'death-watch': playWatch }, context))) {
  const watch = new DeathWatch(import.meta.url, LIMIT_MS);
  const word = new Int32Array(new SharedArrayBuffer(4));
  for (const run of [5, 6, 7]) {
    watch.begin(run);
    Atomics.wait(word, 0, 0, LIMIT_MS / 2);
  }
  Atomics.wait(word, 0, 0);
}
