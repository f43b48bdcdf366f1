/**
 * `weirpool index`: brings a tree into line with a directory.
 *
 * Owns:        the order: the tree is noted as indexed before the first entry, and as whole after the
 *              last one, so that an index which was cut off is known as such.
 * Threads:     the main thread; the workers do the work.
 */
import type { Buffer } from 'node:buffer';
import { getHashes } from 'node:crypto';
import { lstatSync, realpathSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { PoolStats, Weirpool } from '../../index.ts';
import { CommandError, EXIT_FAILED, usageError } from '../failure.ts';
import type { IndexOutcome } from '../indexing/run.ts';
import { IndexRun } from '../indexing/run.ts';
import { openWriter, using } from '../open.ts';
import { type IndexedRoot, indexedRoots, noteRoot, treeNameOf } from '../roots.ts';
import { type Session, showProgress, tell } from '../session.ts';
import { bytesOf, counted, durationText, escapeBytes, grouped, sizeText } from '../text.ts';
import { poolLines } from './stat.ts';

/** Threads that a pool has room for, with some to spare. */
export const THREADS_MAX = 64;
const KEY_BYTES_MAX = 4096;
const KEYS_IN_BLOB = 8;

export interface IndexOptions {
  readonly threads?: number;
  readonly frames?: number;
  readonly tree?: string;
  readonly hash?: string | true;
  readonly stats?: boolean;
  readonly json?: boolean;
}

interface Report {
  readonly root: string;
  readonly tree: string;
  readonly threads: number;
  /** From the first directory to the closed store. */
  readonly seconds: number;
  readonly outcome: IndexOutcome;
  readonly stats: PoolStats;
}

const DEFAULT_HASH = 'sha256';

function hashOf(hash: IndexOptions['hash']): string | undefined {
  const name = hash === true ? DEFAULT_HASH : hash;
  if (name === undefined || getHashes().includes(name)) return name;
  throw usageError(
    `This Node.js has no hash "${name}".`,
    'Take sha256, sha512 or another it knows.',
  );
}

/** The directory without links in its path, as a byte string. */
function rootOf(directory: Buffer): string {
  let stats: ReturnType<typeof statSync> | undefined;
  try {
    stats = statSync(directory);
  } catch (error) {
    const { code = 'ERROR' } = error as NodeJS.ErrnoException;
    throw new CommandError(code, `${escapeBytes(directory)} cannot be indexed: ${code}.`, {
      hint: 'Check the path; the store comes first, then the directory.',
    });
  }
  if (!stats.isDirectory()) {
    throw new CommandError('ENOTDIR', `${escapeBytes(directory)} is no directory.`, {
      hint: 'Name the directory that is to be indexed.',
    });
  }
  return realpathSync(directory, { encoding: 'buffer' }).toString('latin1');
}

function noteStart(db: Weirpool, tree: string): IndexedRoot {
  const roots = indexedRoots(db);
  const order = Math.max(0, ...[...roots.values()].map((root) => root.order)) + 1;
  const { directories } = roots.get(tree) ?? {};
  const startedAt = new Date().toISOString();
  const root = { order, startedAt, ...(directories === undefined ? {} : { directories }) };
  noteRoot(db, tree, root);
  return root;
}

async function runIndex(
  session: Session,
  db: Weirpool,
  run: IndexRun,
  before: IndexedRoot,
  tree: string,
): Promise<IndexOutcome> {
  const read = () => {
    const { directories, entries, hashedBytes } = run.sums;
    const detail = hashedBytes > 0 ? `${sizeText(hashedBytes)} hashed` : '';
    // The last run knew how many there are; a first one knows only what it has seen.
    const isOpen = before.directories === undefined;
    const total = Math.max(before.directories ?? 0, directories + run.pending);
    return { done: directories, total, counted: entries, detail, isOpen };
  };
  const progress = showProgress(session, { label: 'Indexing', unit: 'entries' }, read);
  try {
    const outcome = await run.run();
    session.interrupt.check();
    const finishedAt = new Date().toISOString();
    noteRoot(db, tree, { ...before, finishedAt, directories: outcome.tally.directories });
    return outcome;
  } finally {
    progress.stop();
  }
}

export async function indexCommand(
  session: Session,
  store: string,
  directory: Buffer,
  options: IndexOptions,
): Promise<number> {
  const { threads = Math.min(availableParallelism(), THREADS_MAX), frames } = options;
  const hash = hashOf(options.hash);
  const root = rootOf(directory);
  const tree = options.tree ?? treeNameOf(root);
  const startedAt = performance.now();
  session.interrupt.advice = 'What was indexed is stored; the same command goes on from there.';
  const db = await openWriter(store, { frames, create: true });
  let stats = db.stats();
  const outcome = await using(db, async () => {
    const { dev, ino } = lstatSync(realpathSync(store));
    const keyBytesMax = Math.min(KEY_BYTES_MAX, Math.floor(stats.blobBytes / KEYS_IN_BLOB));
    session.interrupt.check();
    // Made here, so that the workers find it.
    db.tree(tree);
    const before = noteStart(db, tree);
    const { signal } = session.interrupt;
    const run = new IndexRun({
      db,
      tree,
      root,
      keyBytesMax,
      store: { dev, ino },
      threads,
      hash,
      signal,
    });
    const done = await runIndex(session, db, run, before, tree);
    stats = db.stats();
    return done;
  });
  const seconds = (performance.now() - startedAt) / 1000;
  await print(session, { root, tree, threads, seconds, outcome, stats }, options);
  return outcome.problemCount === 0 ? 0 : EXIT_FAILED;
}

function print(session: Session, report: Report, { json, stats }: IndexOptions): Promise<void> {
  if (json === true) session.out.line(JSON.stringify(jsonOf(report)));
  else for (const line of linesOf(report, stats === true)) session.out.line(line);
  tellProblems(report.outcome);
  return session.out.drain();
}

function rates({ seconds, outcome: { tally, hashedBytes } }: Report) {
  const entries = tally.added + tally.changed + tally.unchanged;
  return {
    entries,
    entriesPerSecond: Math.round(entries / seconds),
    hashedBytesPerSecond: Math.round(hashedBytes / seconds),
  };
}

function jsonOf(report: Report): Readonly<Record<string, unknown>> {
  const { root, tree, threads, seconds, outcome, stats } = report;
  const { tally, hashedBytes, problemCount, problems } = outcome;
  return {
    root: escapeBytes(bytesOf(root)),
    tree,
    threads,
    seconds: Math.round(seconds * 1000) / 1000,
    ...rates(report),
    ...tally,
    hashedBytes,
    problemCount,
    problems: problems.map(({ path, code }) => ({ path: escapeBytes(bytesOf(path)), code })),
    pool: stats,
  };
}

function linesOf(report: Report, withPool: boolean): string[] {
  const { root, threads, seconds, outcome, stats } = report;
  const { tally, hashedBytes } = outcome;
  const { entries, entriesPerSecond, hashedBytesPerSecond } = rates(report);
  const { added, changed, removed, unchanged, directories, files, others, bytes } = tally;
  const lines = [
    `${escapeBytes(bytesOf(root))}: ${counted(entries, 'entry', 'entries')} in ` +
      `${durationText(seconds)}, ${grouped(entriesPerSecond)}/s with ${counted(threads, 'thread')}`,
    `  ${counted(files, 'file')} of ${sizeText(bytes)}, ` +
      `${counted(directories, 'directory', 'directories')} read, ${counted(others, 'other')}`,
    `  ${grouped(added)} added, ${grouped(changed)} changed, ${grouped(removed)} removed, ` +
      `${grouped(unchanged)} unchanged`,
  ];
  if (hashedBytes > 0) {
    lines.push(`  ${sizeText(hashedBytes)} hashed, ${sizeText(hashedBytesPerSecond)}/s`);
  }
  return withPool ? [...lines, ...poolLines(stats)] : lines;
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EIO: 'the disk could not read it',
  ELOOP: 'it has become a link',
  ENAMETOOLONG: 'its path is too long for the system',
  KEY_TOO_LONG: 'its path is too long for a key of this store',
};

function tellProblems({ problems, problemCount }: IndexOutcome): void {
  if (problemCount === 0) return;
  for (const { path, code } of problems) {
    const reason = REASONS[code];
    tell(
      `weirpool: ${escapeBytes(bytesOf(path))}: ${code}${reason === undefined ? '' : ` (${reason})`}`,
    );
  }
  const more = problemCount - problems.length;
  if (more > 0) tell(`weirpool: and ${grouped(more)} more`);
  tell(
    `weirpool: ${counted(problemCount, 'path')} could not be indexed; what the store said about ` +
      `${problemCount === 1 ? 'it' : 'them'} was kept.\n  Give yourself the right to read ` +
      `${problemCount === 1 ? 'it' : 'them'}, and run the same command again.`,
  );
}
