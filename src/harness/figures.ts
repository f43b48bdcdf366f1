/** What a process has of memory, descriptors and threads, and what its store has of the disk. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { collectGarbage } from './garbage.ts';
import type { Figures } from './live-protocol.ts';

/** Turns of the event loop in which what was let go of gets collected. */
const COLLECTIONS = 3;

/** Entries of a directory of /proc; 0 where there is none. */
function countOf(path: string): number {
  try {
    return readdirSync(path).length;
  } catch {
    return 0;
  }
}

/** Bytes of the files in a directory; those that go meanwhile do not count. */
export function bytesIn(directory: string): number {
  let bytes = 0;
  for (const name of readdirSync(directory)) {
    bytes += statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

/** After a collection, so that what nobody needs does not count. */
export async function figuresOf(directory: string): Promise<Figures> {
  // With source maps the first stack that anybody looks at takes megabytes, and keeps them.
  void new Error('to be looked at').stack;
  for (let n = 0; n < COLLECTIONS; n++) {
    await new Promise(setImmediate);
    collectGarbage();
  }
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  return {
    rss,
    heap: heapUsed,
    external: external + arrayBuffers,
    descriptors: countOf('/proc/self/fd'),
    threads: countOf('/proc/self/task'),
    files: bytesIn(directory),
  };
}
