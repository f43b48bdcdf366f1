/**
 * `weirpool stat`: what a store holds, and what it takes.
 *
 * Threads:     the main thread.
 */
import type { PoolStats, Weirpool } from '../../index.ts';
import { openReader, shownTrees, using } from '../open.ts';
import { indexedRoots } from '../roots.ts';
import { type Session, showProgress } from '../session.ts';
import { tableText } from '../table.ts';
import { counted, grouped, sizeText, visible } from '../text.ts';

interface TreeFacts {
  readonly tree: string;
  readonly entries: number;
  /** When its directory was indexed; undefined if it is no index. */
  readonly indexed: string | undefined;
}

function factsOf(db: Weirpool, counted: (tree: string) => void): TreeFacts[] {
  const roots = indexedRoots(db);
  return shownTrees(db).map((tree) => {
    const root = roots.get(tree);
    const indexed = root && (root.finishedAt ?? `${root.startedAt}, not to its end`);
    counted(tree);
    return { tree, entries: db.tree(tree).count(), indexed };
  });
}

/** What a pool has done since it was opened. */
export function poolLines(stats: PoolStats): string[] {
  const { frames, blobBytes, cached, dirty, hits, misses, evictions, restarts, parks, log } = stats;
  const lookUps = hits + misses;
  const share = lookUps === 0 ? '' : ` (${((hits / lookUps) * 100).toFixed(2)}% hits)`;
  const lines = [
    `pool  ${grouped(frames)} frames of ${sizeText(blobBytes)}: ${grouped(cached)} cached, ${grouped(dirty)} dirty`,
    `      ${grouped(hits)} hits, ${grouped(misses)} misses${share}, ${grouped(evictions)} evictions`,
    `      ${grouped(restarts)} optimistic reads again, ${grouped(parks)} waits`,
  ];
  if (log === undefined) return lines;
  return [
    ...lines,
    `log   ${grouped(log.commits)} commits, ${grouped(log.opRestarts)} begun again, ` +
      `${sizeText(log.diskBytes)} on disk`,
    `      ${counted(log.rounds.succeeded, 'round')}, ${sizeText(log.rounds.bytesWritten)} written by them`,
  ];
}

export async function statCommand(
  session: Session,
  store: string,
  options: { readonly frames?: number; readonly json?: boolean },
): Promise<number> {
  const { out } = session;
  const { trees, stats } = await using(await openReader(store, options), async (db) => {
    let done = 0;
    const look = { label: 'Counting', unit: 'trees' };
    const progress = showProgress(session, look, () => ({ done, total: undefined }));
    try {
      const facts = factsOf(db, () => {
        done++;
      });
      return { trees: facts, stats: db.stats() };
    } finally {
      progress.stop();
    }
  });
  const { store: used, blobBytes, log } = stats;
  if (options.json === true) {
    const { checkpointSeq, backlogBytes, diskBytes } = log ?? {};
    const facts = { store, blobBytes, ...used, checkpointSeq, backlogBytes, logBytes: diskBytes };
    out.line(JSON.stringify({ ...facts, trees }));
  } else {
    out.line(
      `${visible(store)}: ${counted(used.blobs, 'blob')} of ${sizeText(blobBytes)}, ` +
        `${sizeText(used.slotsUsed * blobBytes)} live of ${sizeText(used.dataBytes)} in the data file`,
    );
    const rows = trees.map(({ tree, entries, indexed }) => [
      grouped(entries),
      visible(tree),
      indexed ?? '',
    ]);
    const columns = [
      { title: 'entries', align: 'right' },
      { title: 'tree' },
      { title: 'indexed' },
    ] as const;
    if (rows.length > 0) out.line(tableText(columns, rows));
    else out.line('no trees yet');
  }
  await out.drain();
  return 0;
}
