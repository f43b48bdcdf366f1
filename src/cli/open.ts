/**
 * Opening stores and choosing trees as the command line does.
 *
 * Invariants:  reading commands make nothing, and need no more than to read;
 *              no store is made in a directory that holds something else.
 * Threads:     the main thread.
 */
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { Weirpool, WeirpoolError } from '../index.ts';
import { CommandError, usageError } from './failure.ts';
import { lastIndexed, ROOTS_TREE } from './roots.ts';

/** The tree of a store that has none yet. */
const FIRST_TREE = 'main';
const STORE_FILE = /^(?:blobs\.dat|(?:manifest|wal|lock)-[0-9a-z.]+)$/;
/** A reader keeps in frames what the log has changed: it may need more of them than the writer had. */
const FRAMES_AGAIN = 4096;

export interface OpenOptions {
  readonly frames?: number | undefined;
}

/** What is in a directory; undefined: there is none. */
function filesIn(directory: string): string[] | undefined {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** @throws {CommandError} `NO_STORE`. */
export function assertStore(directory: string): void {
  const files = filesIn(directory);
  if (files?.some((name) => name.startsWith('manifest-'))) return;
  const what =
    files === undefined ? `${directory} does not exist` : `There is no store in ${directory}`;
  throw new CommandError('NO_STORE', `${what}.`, {
    hint: 'Check the path, or make a store with `weirpool index` or `weirpool load`.',
  });
}

/** @throws {CommandError} `NOT_A_STORE`: the directory holds something else. */
export function assertRoomForStore(directory: string): void {
  const files = filesIn(directory) ?? [];
  if (files.every((name) => STORE_FILE.test(name))) return;
  if (files.some((name) => name.startsWith('manifest-'))) return;
  throw new CommandError(
    'NOT_A_STORE',
    `${directory} is not empty, and what is in it is no store. Nothing was changed.`,
    { hint: 'Name a new or an empty directory; the store comes first, then what goes into it.' },
  );
}

/** For reading only: writes nothing at all. */
export async function openReader(directory: string, { frames }: OpenOptions): Promise<Weirpool> {
  assertStore(directory);
  try {
    return await Weirpool.open(directory, { readOnly: true, ...(frames && { frames }) });
  } catch (error) {
    const isSmall = error instanceof WeirpoolError && error.code === 'POOL_EXHAUSTED';
    if (!isSmall || frames !== undefined) throw error;
    return await Weirpool.open(directory, { readOnly: true, frames: FRAMES_AGAIN });
  }
}

/** For writing; `create` makes a store where there is none. */
export async function openWriter(
  directory: string,
  { frames, create }: OpenOptions & { readonly create: boolean },
): Promise<Weirpool> {
  if (create) assertRoomForStore(directory);
  else assertStore(directory);
  return await Weirpool.open(directory, { ...(frames && { frames }) });
}

/** Why a change found no room in the log: what kept the log or a round from being written. */
function blockedBy(db: Weirpool, error: unknown): WeirpoolError | undefined {
  const isBlocked = error instanceof WeirpoolError && error.code === 'STORE_IO';
  if (!isBlocked) return undefined;
  const { log } = db.stats();
  return log?.error ?? log?.rounds.error;
}

/** Uses a store, and closes it in every case. The first error is thrown. */
export async function using<T>(db: Weirpool, use: (db: Weirpool) => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await use(db);
  } catch (error) {
    const why = blockedBy(db, error) ?? error;
    // What went wrong first says more than what a close in that state has to say.
    await db.close().catch(() => undefined);
    throw why;
  }
  await db.close();
  return result;
}

/** Names of the trees that lists show. */
export function shownTrees(db: Weirpool): string[] {
  return db.trees().filter((name) => name !== ROOTS_TREE);
}

function nameOfWanted(db: Weirpool, wanted: string): string {
  if (db.hasTree(wanted)) return wanted;
  // An indexed directory may be named as it was when it was indexed.
  const path = resolve(wanted).replaceAll('\\', '\\\\');
  return db.hasTree(path) ? path : wanted;
}

/**
 * The tree that a command is about: the one that is wanted, the only one, or the one indexed last.
 * Undefined: the store has none.
 */
function findTree(db: Weirpool, wanted: string | undefined): string | undefined {
  if (wanted !== undefined) return nameOfWanted(db, wanted);
  const names = shownTrees(db);
  if (names.length <= 1) return names[0];
  const last = lastIndexed(db);
  if (last !== undefined) return last;
  const list = names.map((name) => `  ${name}`).join('\n');
  throw usageError(`The store has ${names.length} trees:\n${list}`, 'Name one with --tree.');
}

/** As `findTree`; the tree is there. */
export function treeToRead(db: Weirpool, wanted: string | undefined): string {
  const name = findTree(db, wanted);
  if (name !== undefined && db.hasTree(name)) return name;
  const names = shownTrees(db);
  const there = names.length === 0 ? 'It has none.' : `It has: ${names.join(', ')}.`;
  const which = name === undefined ? 'no tree yet' : `no tree "${name}"`;
  throw new CommandError('NO_TREE', `The store has ${which}. ${there}`, {
    hint: names.length === 0 ? 'Fill it with `weirpool index`, `load` or `put`.' : 'See --tree.',
  });
}

/** As `findTree`; a tree that is not there is made by whoever writes to it. */
export function treeToWrite(db: Weirpool, wanted: string | undefined): string {
  return findTree(db, wanted) ?? FIRST_TREE;
}
