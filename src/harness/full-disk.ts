/**
 * A small file system in memory that fills up, and has space again.
 *
 * While it is full, a process may be refused what needs space, and may wait; nothing else may fail.
 * With space again it goes on where it was, without being opened anew.
 *
 * Owns:        its mount in a MountSpace, and the file that takes the space.
 * Threads:     the main thread.
 */
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as nap } from 'node:timers/promises';
import { errnoOf } from '../errors.ts';
import { FAULT_CODES } from './failing-disk.ts';
import type { Run } from './mode.ts';
import type { MountSpace } from './mount-space.ts';
import { fullIn, watcher } from './traced.ts';
import type { Trial } from './trial.ts';

/** Programs that it takes, and the packages that have them on Debian. */
export const FULL_PROGRAMS: ReadonlyMap<string, string> = new Map([
  ['unshare', 'util-linux'],
  ['mount', 'mount'],
  ['umount', 'mount'],
]);

const BYTES = 8 * 1024 * 1024;
/** Taken in pieces of these sizes, so that nothing is left. */
const PIECES = [256 * 1024, 4096];
const THREADS_MAX = 3;
/** How long it has space, is full, and the process goes on, at most, in ms. */
const BEFORE_MS = 60;
const FULL_MS = 500;
const AFTER_MS = 300;

export class SmallDisk {
  /** Where it is mounted, for every process. */
  readonly path: string;
  readonly #space: MountSpace;
  readonly #folder: string;

  private constructor(space: MountSpace, folder: string) {
    this.#space = space;
    this.#folder = folder;
    this.path = space.seen(join(folder, 'mount'));
  }

  static async make(space: MountSpace, name: string): Promise<SmallDisk> {
    const folder = join(space.directory, name);
    const mount = join(folder, 'mount');
    mkdirSync(mount, { recursive: true });
    await space.run(['mount', '-t', 'tmpfs', '-o', `size=${BYTES}`, 'tmpfs', mount]);
    return new SmallDisk(space, folder);
  }

  get #ballast(): string {
    return join(this.path, 'ballast');
  }

  /** Takes all space that is left. */
  fill(): void {
    const fd = openSync(this.#ballast, 'w');
    try {
      for (const bytes of PIECES) this.#take(fd, Buffer.alloc(bytes));
    } finally {
      closeSync(fd);
    }
  }

  #take(fd: number, piece: Buffer): void {
    try {
      while (writeSync(fd, piece) === piece.length);
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC') throw error;
    }
  }

  /** Gives the space back. */
  free(): void {
    rmSync(this.#ballast, { force: true });
  }

  async remove(): Promise<void> {
    await this.#space.run(['umount', join(this.#folder, 'mount')]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A life on a disk that fills up and has space again, and what it leaves. */
export async function fillUp(
  { random, tally }: Run,
  disk: SmallDisk,
  trial: Trial,
  trace: string,
): Promise<readonly string[]> {
  const [before, full] = [random.float() * BEFORE_MS, FULL_MS * (0.3 + 0.7 * random.float())];
  let filling: Promise<void> | undefined;
  let hasSpaceAgain = false;
  let doneAfter = 0;
  const wrong: string[] = [];
  const fill = async (): Promise<void> => {
    await nap(before);
    disk.fill();
    await nap(full);
    disk.free();
    hasSpaceAgain = true;
  };
  const task = {
    seed: random.uint32(),
    threads: 1 + random.int(THREADS_MAX),
    endAfterMs: BEFORE_MS + FULL_MS + AFTER_MS,
    ending: 'close',
    tolerated: FAULT_CODES,
  } as const;
  const ended = await trial.live(task, {
    under: watcher(trace),
    onLine(line) {
      const what = line.split(' ', 1)[0];
      if (what === 'running') filling ??= fill();
      if (what === 'poisoned' || what === 'unclosed')
        wrong.push(`a full disk has stopped it: ${line}`);
      if (what === 'done' && hasSpaceAgain) doneAfter++;
    },
    onEnd: () => filling ?? Promise.resolve(),
  });
  tally.injections += fullIn(trace);
  if (doneAfter === 0) wrong.push('nothing was done after there was space again');
  return [...ended.wrong, ...wrong, ...(await trial.look(random.uint32()))];
}
