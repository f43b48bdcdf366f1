/**
 * `weirpool backup`, `restore` and `salvage`: a store out of another one.
 *
 * Invariants:  what is made appears whole or not at all (a salvage: as far as it went).
 * Threads:     the main thread.
 */
import { type CopyReport, restore, type SalvageReport, salvage } from '../../index.ts';
import { EXIT_FAILED } from '../failure.ts';
import { assertStore, openWriter, using } from '../open.ts';
import type { Progress } from '../progress.ts';
import { type Session, showProgress, tell } from '../session.ts';
import { counted, durationText, escapeBytes, grouped, sizeText, visible } from '../text.ts';

export interface CopyArguments {
  readonly frames?: number;
  readonly json?: boolean;
}

interface Watched {
  readonly progress: Progress;
  readonly onProgress: (now: { readonly blobs: number; readonly blobsTotal: number }) => void;
}

function watch(session: Session, label: string): Watched {
  let done = 0;
  let total: number | undefined;
  const progress = showProgress(session, { label, unit: 'blobs' }, () => ({ done, total }));
  return {
    progress,
    onProgress({ blobs, blobsTotal }) {
      done = blobs;
      total = blobsTotal;
    },
  };
}

async function printCopy(
  { out }: Session,
  { blobs, bytes, seq }: CopyReport,
  { verb, startedAt, json }: { verb: string; startedAt: number; json: boolean | undefined },
): Promise<number> {
  const seconds = (performance.now() - startedAt) / 1000;
  if (json === true) out.line(JSON.stringify({ blobs, bytes, seq, seconds }));
  else {
    const rate = sizeText(Math.round(bytes / seconds));
    out.line(
      `${counted(blobs, 'blob')} of ${sizeText(bytes)} ${verb} in ${durationText(seconds)}, ${rate}/s`,
    );
  }
  await out.drain();
  return 0;
}

export async function backupCommand(
  session: Session,
  store: string,
  target: string,
  { frames, json }: CopyArguments,
): Promise<number> {
  const startedAt = performance.now();
  const { signal } = session.interrupt;
  const report = await using(await openWriter(store, { frames, create: false }), async (db) => {
    const { progress, onProgress } = watch(session, 'Copying');
    try {
      return await db.backup(target, { onProgress, signal });
    } finally {
      progress.stop();
    }
  });
  return await printCopy(session, report, { verb: 'copied', startedAt, json });
}

export async function restoreCommand(
  session: Session,
  backup: string,
  store: string,
  { json }: CopyArguments,
): Promise<number> {
  assertStore(backup);
  const startedAt = performance.now();
  const { progress, onProgress } = watch(session, 'Restoring');
  const { signal } = session.interrupt;
  let report: CopyReport;
  try {
    report = await restore(backup, store, { onProgress, signal });
  } finally {
    progress.stop();
  }
  return await printCopy(session, report, { verb: 'restored', startedAt, json });
}

/** Keys of a lost range, as text. */
function rangeOf({ from, to }: SalvageReport['lost'][number]): string {
  const begin = from === undefined ? 'the first key' : `"${escapeBytes(from)}"`;
  const end = to === undefined ? 'the last key' : `below "${escapeBytes(to)}"`;
  return `from ${begin} to ${end}`;
}

async function printSalvage({ out }: Session, report: SalvageReport, json: boolean): Promise<void> {
  const { trees, lost, findings } = report;
  if (json) {
    const escaped = (bytes: Buffer | undefined) => bytes && escapeBytes(bytes);
    const ranges = lost.map((range) => ({
      ...range,
      from: escaped(range.from),
      to: escaped(range.to),
    }));
    out.line(JSON.stringify({ ...report, lost: ranges }));
  } else {
    for (const { name, entries } of trees) {
      out.line(`${counted(entries, 'entry', 'entries')} of ${visible(name)}`);
    }
    for (const { code, message } of findings) out.line(visible(`${code}: ${message}`));
    for (const range of lost) {
      const where = range.tree === undefined ? 'names of trees' : visible(range.tree);
      out.line(`${range.code}: ${where}, ${rangeOf(range)}, cannot be read`);
    }
  }
  await out.drain();
}

export async function salvageCommand(
  session: Session,
  from: string,
  to: string,
  { frames, json }: CopyArguments,
): Promise<number> {
  assertStore(from);
  let now: { phase: string; done: number; total: number } = { phase: 'blobs', done: 0, total: 0 };
  const look = { label: 'Saving', unit: 'steps' };
  const progress = showProgress(session, look, () => ({
    done: now.done,
    total: now.total === 0 ? undefined : now.total,
    detail: now.phase,
  }));
  let report: SalvageReport;
  try {
    const { signal } = session.interrupt;
    const onProgress = (next: typeof now): void => {
      now = next;
    };
    report = await salvage(from, to, { onProgress, signal, ...(frames && { frames }) });
  } finally {
    progress.stop();
  }
  await printSalvage(session, report, json === true);
  const { lost, findings } = report;
  if (lost.length === 0 && findings.length === 0) return 0;
  tell(
    `weirpool: ${counted(lost.length, 'range')} of keys lost, ${grouped(findings.length)} other ` +
      'findings. What could be read is in the new store.\n  Compare it with your last backup.',
  );
  return EXIT_FAILED;
}
