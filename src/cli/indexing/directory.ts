/**
 * Indexing one directory: what is in it against what the tree says.
 *
 * Owns:        the entries of a directory, while it is being indexed; not what lies below them.
 * Invariants:  only what has changed is written, and what has vanished is deleted with all below it;
 *              below a directory that cannot be read, and for an entry that cannot be looked at,
 *              everything stays as it was;
 *              what is not a directory is never opened, but a regular file for its hash;
 *              links are never followed; the store's own directory is not there.
 * Threads:     a worker of the index; others are at work on other directories of the tree.
 */
import { Buffer } from 'node:buffer';
import { lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs';
import type { Tree } from '../../index.ts';
import { bytesOf } from '../text.ts';
import type { ContentHasher } from './content.ts';
import { describeEntry, type EntryType, hashOfSame, typeOf, withHash } from './entry.ts';
import { clearBelow, storedEntries } from './stored.ts';

/** What could not be indexed, and why. */
export interface Problem {
  /** Absolute, as a byte string. */
  readonly path: string;
  readonly code: string;
}

/** What was done, in numbers. */
export interface Tally {
  directories: number;
  files: number;
  /** Neither. */
  others: number;
  /** Of all files. */
  bytes: number;
  added: number;
  changed: number;
  removed: number;
  unchanged: number;
}

export interface IndexerParts {
  readonly tree: Tree;
  /** Absolute; a byte string. */
  readonly root: string;
  /** Longest key of the store. */
  readonly keyBytesMax: number;
  /** Device and inode of the store's directory. */
  readonly store: { readonly dev: number; readonly ino: number };
  readonly hasher: ContentHasher | undefined;
  readonly tally: Tally;
  /** Directories that were found; the tree has them already. */
  readonly found: (directories: readonly string[]) => void;
  readonly report: (problem: Problem) => void;
  /** Now and then. */
  readonly stepped: () => void;
  readonly isStopped: () => boolean;
}

/** An entry as it is now. */
interface Found {
  readonly type: EntryType;
  readonly stats: Stats;
  readonly value: string;
}

/** Entries after which others are told what was found. */
const VISITS = 256;
/** Entries after which others are told how far this is. */
const VISITS_STEP = 16;

const GONE: readonly string[] = ['ENOENT', 'ENOTDIR'];

function codeOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code === 'string') return code;
  throw error;
}

export function emptyTally(): Tally {
  return {
    directories: 0,
    files: 0,
    others: 0,
    bytes: 0,
    added: 0,
    changed: 0,
    removed: 0,
    unchanged: 0,
  };
}

/** One directory, from reading its names to its last change. */
class DirectoryPass {
  readonly #parts: IndexerParts;
  /** With a slash at its end; byte strings. */
  readonly #prefix: string;
  readonly #absolute: string;
  /** Names of directories that were found, and of entries that could not be looked at. */
  readonly #kept = new Set<string>();
  #found: string[] = [];
  #visits = 0;

  constructor(parts: IndexerParts, directory: string) {
    this.#parts = parts;
    this.#prefix = directory === '' ? '' : `${directory}/`;
    this.#absolute = `${parts.root === '/' ? '' : parts.root}/${this.#prefix}`;
  }

  run(): void {
    const directory = this.#prefix.slice(0, -1);
    let names: string[];
    try {
      names = readdirSync(bytesOf(this.#absolute), { encoding: 'latin1' });
    } catch (error) {
      const code = codeOf(error);
      if (GONE.includes(code) && directory !== '') this.#forget(bytesOf(directory));
      else this.#parts.report({ path: this.#absolute.slice(0, -1) || '/', code });
      return;
    }
    this.#parts.tally.directories++;
    // Byte strings are sorted as keys are.
    this.#merge(names.sort());
    this.#publish();
  }

  /** It was there a moment ago. */
  #forget(key: Buffer): void {
    const { tree, tally } = this.#parts;
    tally.removed += clearBelow(tree, key) + (tree.delete(key).existed ? 1 : 0);
  }

  /** Walks along both orders at once. */
  #merge(names: readonly string[]): void {
    const { tree, tally, isStopped } = this.#parts;
    let at = 0;
    for (const { key, value } of storedEntries(tree, bytesOf(this.#prefix))) {
      const name = key.toString('latin1', this.#prefix.length);
      for (; at < names.length && (names[at] as string) < name; at++) {
        this.#visit(names[at] as string, undefined);
      }
      if (isStopped()) return;
      if (value === undefined) {
        // All names up to this one have been visited: they are less than this one with its slash.
        if (names[at] === name) this.#visit(names[at++] as string, undefined);
        if (!this.#kept.has(name)) tally.removed += clearBelow(tree, key);
      } else if (names[at] === name) {
        this.#visit(names[at++] as string, value);
      } else {
        this.#remove(key);
      }
    }
    for (; at < names.length && !isStopped(); at++) this.#visit(names[at] as string, undefined);
  }

  #remove(key: Buffer): void {
    this.#parts.tree.delete(key);
    this.#parts.tally.removed++;
  }

  /** @param there  What the tree says. */
  #visit(name: string, there: Buffer | undefined): void {
    const { tally, keyBytesMax } = this.#parts;
    const key = this.#prefix + name;
    const found = this.#look(name);
    if (found === undefined) {
      if (there !== undefined && !this.#kept.has(name)) this.#remove(bytesOf(key));
      return;
    }
    if (key.length > keyBytesMax) {
      this.#parts.report({ path: this.#absolute + name, code: 'KEY_TOO_LONG' });
      return;
    }
    const { type, stats } = found;
    if (type === 'directory') {
      this.#kept.add(name);
      this.#found.push(key);
    } else if (type === 'file') {
      tally.files++;
      tally.bytes += stats.size;
    } else tally.others++;
    this.#record(name, found, there);
    this.#visits++;
    if (this.#visits % VISITS_STEP === 0) this.#parts.stepped();
    if (this.#visits % VISITS === 0) this.#publish();
  }

  /** What is there of that name; undefined: nothing, or nothing that is to be indexed. */
  #look(name: string): Found | undefined {
    const { store, report } = this.#parts;
    const path = bytesOf(this.#absolute + name);
    try {
      const stats = lstatSync(path, { throwIfNoEntry: false });
      if (stats === undefined) return undefined;
      const type = typeOf(stats);
      if (type === 'directory' && stats.ino === store.ino && stats.dev === store.dev)
        return undefined;
      const target = type === 'symlink' ? readlinkSync(path, { encoding: 'latin1' }) : undefined;
      return { type, stats, value: describeEntry(type, stats, target) };
    } catch (error) {
      const code = codeOf(error);
      if (GONE.includes(code)) return undefined;
      // A link that was replaced since it was looked at is seen the next time.
      this.#kept.add(name);
      report({ path: this.#absolute + name, code });
      return undefined;
    }
  }

  #record(name: string, { type, value }: Found, there: Buffer | undefined): void {
    const { tally, hasher } = this.#parts;
    const hash = there === undefined ? undefined : hashOfSame(value, there);
    const wantsHash = hasher !== undefined && type === 'file';
    if (hash !== undefined && (!wantsHash || hash.startsWith(hasher.prefix))) {
      tally.unchanged++;
      return;
    }
    const content = wantsHash ? this.#hash(name, hasher) : '';
    // Half a file was read: the next run begins it again.
    if (wantsHash && this.#parts.isStopped()) return;
    if (content === '' && hash === '') {
      tally.unchanged++;
      return;
    }
    const whole = content === '' ? value : withHash(value, content);
    this.#parts.tree.put(bytesOf(this.#prefix + name), Buffer.from(whole, 'utf8'));
    if (there === undefined) tally.added++;
    else tally.changed++;
  }

  /** The facts beside it are from before it was read: what changes meanwhile is seen the next time. */
  #hash(name: string, hasher: ContentHasher): string {
    const path = this.#absolute + name;
    try {
      return hasher.hash(bytesOf(path), () => this.#hashed()) ?? '';
    } catch (error) {
      const code = codeOf(error);
      if (!GONE.includes(code)) this.#parts.report({ path, code });
      return '';
    }
  }

  /** A piece was hashed: whether that is to go on. */
  #hashed(): boolean {
    this.#parts.stepped();
    return !this.#parts.isStopped();
  }

  /** The directories that were found, with their entries: whoever reads one may have to delete its. */
  #publish(): void {
    this.#parts.found(this.#found);
    this.#found = [];
    this.#parts.stepped();
  }
}

/** Indexes one directory; what has to be indexed below it goes to `parts.found`. */
export function indexDirectory(parts: IndexerParts, directory: string): void {
  new DirectoryPass(parts, directory).run();
}
